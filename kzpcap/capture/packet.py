# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""What is known of one packet while it is examined, and the integers of its headers.

The file runs as it is; packet.pxd gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture import codes, pieces


class Packet:
    """One decoded packet: offsets while it is examined, bytes of its own once it is kept (`addresses`, `payload`)."""

    def __init__(self) -> None:
        self.frame = 0
        self.time_ns = 0
        self.link_type = 0
        self.protocol = 0
        self.version = 0
        self.ip_at = 0
        self.address_at = 0
        self.l4_at = 0
        self.ttl = 0
        self.ip_id = 0
        self.tos = 0
        self.dont_fragment = False
        self.outer_ttl = -1
        self.tunnels = 0
        self.ppp = False
        self.sport = 0
        self.dport = 0
        self.seq = 0
        self.ack = 0
        self.flags = 0
        self.window = 0
        self.options_length = 0
        self.payload_at = 0
        self.captured = 0
        self.length = 0
        self.inner_at = 0
        self.inner_end = 0
        self.inner_missing = 0
        self.fragment_at = 0
        self.fragment_end = 0
        self.fragment_offset = 0
        self.fragment_id = 0
        self.fragment_protocol = 0
        self.more_fragments = False
        self.depth = 0
        self.plain_udp = False
        self.trailer_at = 0
        self.more_at = 0
        self.more_end = 0
        self.more_within = 0
        self.direction = 0
        # bytes of its own, once kept
        self.src = b""
        self.dst = b""
        self.payload = b""
        self.options = b""
        self.checksum_ok = True


def carries(p: Packet, at: int, end: int, missing: int) -> int:
    """An IP packet lies from `at` to `end`, and `missing` bytes of it were not captured: for the decoder to go on."""
    p.inner_at = at
    p.inner_end = end
    p.inner_missing = missing
    return codes.IP


def checksum_matches(p: Packet, data: bytes) -> bool:
    """Does the TCP or UDP checksum fit (RFC 9293 section 3.1)? True where it cannot be told (cut, UDP without)."""
    if p.captured < p.length or (p.protocol != codes.TCP and p.protocol != codes.UDP):
        return True
    start = p.l4_at
    end = p.payload_at + p.captured
    length = end - start
    if p.protocol == codes.UDP and pieces.be16(data, start + 6) == 0:
        return True
    at = p.address_at
    addresses = pieces.modulo(data, at, at + (8 if p.version == 4 else 32))
    return (p.protocol + length + addresses + pieces.modulo(data, start, end)) % 0xFFFF == 0
