# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""One packet: link layer, tunnels, IP, then TCP, UDP or ICMP.

`decode()` fills a reusable `Packet` with offsets into the buffer and returns what came of it: OK, FRAGMENT, or the
reason why there is nothing to analyse. Nothing is copied until the scanner keeps the packet. Every read is behind a
check against `end`; lengths inside the packet can only make `end` smaller.

The file runs as it is; decode.pxd gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture import codes, links, packet, pieces, tunnels
from kzpcap.capture.packet import Packet

REASONS = {
    codes.NOT_IP: "not IP",
    codes.UNKNOWN_LINK: "link type not supported",
    codes.SHORT: "cut inside a header",
    codes.MALFORMED: "malformed header",
    codes.FRAGMENT: "IP fragment",
    codes.OTHER_IP: "IP, neither TCP nor UDP nor ICMP",
    codes.ENCRYPTED: "encrypted Wi-Fi or MACsec",
    codes.NESTED: "too many layers",
    codes.EMPTY: "no bytes captured",
}


def decode(p: Packet, data: bytes, at: int, captured: int, original: int, link_type: int) -> int:
    """Fill `p` from one captured packet; `captured` bytes at `at`, `original` bytes on the wire."""
    _begin(p)
    p.link_type = link_type
    if captured == 0:
        return codes.EMPTY
    return _inner(p, data, links.link(p, data, link_type, at, at + captured, original - captured))


def decode_more(p: Packet, data: bytes, at: int, end: int, within: int) -> int:
    """Fill `p` from a further packet of the same frame, which `more_at`, `more_end` and `more_within` of the one before
    tell: the last is the version of the IP packet that carries the frame in a tunnel, or 0.
    """
    _begin(p)
    p.version = within
    return _inner(p, data, links.subframe(p, data, at, end))


def _begin(p: Packet) -> None:
    p.depth = 0
    p.tunnels = 0
    p.ppp = False
    p.outer_ttl = -1
    p.protocol = 0
    p.version = 0
    p.plain_udp = False
    p.trailer_at = 0
    p.more_at = 0


def decode_ip(p: Packet, data: bytes, at: int, end: int) -> int:
    """Fill `p` from a reassembled IP packet; what was found around it is kept."""
    p.plain_udp = False
    return _inner(p, data, ip(p, data, at, end, 0))


def _inner(p: Packet, data: bytes, outcome: int) -> int:
    """Go on as long as there is an IP packet inside of what was read."""
    while outcome == codes.IP:
        outcome = ip(p, data, p.inner_at, p.inner_end, p.inner_missing)
    return outcome


def ip(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """IPv4 or IPv6, by the version nibble."""
    p.depth += 1
    if p.depth > codes.MAX_DEPTH + 4:
        return codes.NESTED
    if at >= end:
        return codes.SHORT
    version = data[at] >> 4
    if version == 4:
        return ipv4(p, data, at, end, missing)
    if version == 6:
        return ipv6(p, data, at, end, missing)
    return codes.MALFORMED


def ipv4(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 791; a total length of zero is segmentation offload: the capture's length counts."""
    if end - at < 20:
        return codes.SHORT
    header = (data[at] & 15) * 4
    total = pieces.be16(data, at + 2)
    if header < 20 or (total != 0 and total < header):
        return codes.MALFORMED
    if end - at < header:
        return codes.SHORT
    if total != 0:
        if total <= end - at:
            if total < end - at:
                p.trailer_at = at + total
            end = at + total
            missing = 0
        else:
            missing = total - (end - at)
    note_tunnel(p)
    p.version = 4
    p.ip_at = at
    p.address_at = at + 12
    p.tos = data[at + 1]
    p.ip_id = pieces.be16(data, at + 4)
    p.ttl = data[at + 8]
    fragment = pieces.be16(data, at + 6)
    p.dont_fragment = fragment & 0x4000 != 0
    protocol = data[at + 9]
    if fragment & 0x3FFF:
        p.fragment_at = at + header
        p.fragment_end = end
        p.fragment_offset = (fragment & 0x1FFF) * 8
        p.more_fragments = fragment & 0x2000 != 0
        p.fragment_id = p.ip_id
        p.fragment_protocol = protocol
        return codes.SHORT if missing else codes.FRAGMENT
    return transport(p, data, protocol, at + header, end, missing)


def ipv6(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 8200 with its extension headers; a payload length of zero is offload or a jumbogram."""
    if end - at < 40:
        return codes.SHORT
    total = pieces.be16(data, at + 4)
    if total != 0:
        if total + 40 <= end - at:
            if total + 40 < end - at:
                p.trailer_at = at + 40 + total
            end = at + 40 + total
            missing = 0
        else:
            missing = total + 40 - (end - at)
    note_tunnel(p)
    p.version = 6
    p.ip_at = at
    p.address_at = at + 8
    p.tos = (data[at] & 15) << 4 | data[at + 1] >> 4
    p.ip_id = 0
    p.ttl = data[at + 7]
    p.dont_fragment = True
    protocol = data[at + 6]
    at += 40
    headers = 0
    while protocol in (0, 43, 44, 51, 60, 135):
        headers += 1
        if headers > 16:
            return codes.NESTED
        if end - at < 8:
            return codes.SHORT
        if protocol == 44:
            fragment = pieces.be16(data, at + 2)
            protocol = data[at]
            if fragment & 0xFFF9:
                p.fragment_at = at + 8
                p.fragment_end = end
                p.fragment_offset = fragment & 0xFFF8
                p.more_fragments = fragment & 1 != 0
                p.fragment_id = pieces.be32(data, at + 4)
                p.fragment_protocol = protocol
                return codes.SHORT if missing else codes.FRAGMENT
            at += 8
            continue
        size = (data[at + 1] + 2) * 4 if protocol == 51 else (data[at + 1] + 1) * 8
        protocol = data[at]
        at += size
        if at > end:
            return codes.SHORT
    return transport(p, data, protocol, at, end, missing)


def note_tunnel(p: Packet) -> None:
    """A second IP header: what stood before was a tunnel."""
    if p.version:
        if p.outer_ttl < 0:
            p.outer_ttl = p.ttl
        p.tunnels += 1


def transport(p: Packet, data: bytes, protocol: int, at: int, end: int, missing: int) -> int:
    """By IP protocol number."""
    if protocol == codes.TCP:
        return tcp(p, data, at, end, missing)
    if protocol == codes.UDP:
        return udp(p, data, at, end, missing)
    if protocol == codes.ICMP or protocol == codes.ICMPV6:
        p.protocol = protocol
        p.l4_at = at
        p.sport = 0
        p.dport = 0
        p.flags = 0
        p.options_length = 0
        p.payload_at = at
        p.captured = end - at
        p.length = end - at + missing
        return codes.OK
    if protocol == 4 or protocol == 41:
        return packet.carries(p, at, end, missing)
    if protocol == 47:
        return tunnels.gre(p, data, at, end, missing)
    if protocol == 51:  # AH over IPv4
        if end - at < 12:
            return codes.SHORT
        p.depth += 1
        if p.depth > codes.MAX_DEPTH:
            return codes.NESTED
        return transport(p, data, data[at], at + (data[at + 1] + 2) * 4, end, missing)
    if protocol == 97:  # EtherIP
        return links.ethernet(p, data, at + 2, end, missing)
    if protocol == 137:
        return links.mpls(p, data, at, end, missing)
    if protocol == 115:  # L2TPv3 over IP: session, then (no cookie) the frame
        return links.ethernet(p, data, at + 4, end, missing)
    return codes.OTHER_IP


def tcp(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 9293 section 3.1."""
    if end - at < 20:
        return codes.SHORT
    header = (data[at + 12] >> 4) * 4
    if header < 20:
        return codes.MALFORMED
    p.protocol = codes.TCP
    p.l4_at = at
    p.sport = pieces.be16(data, at)
    p.dport = pieces.be16(data, at + 2)
    p.seq = pieces.be32(data, at + 4)
    p.ack = pieces.be32(data, at + 8)
    p.flags = data[at + 13]
    p.window = pieces.be16(data, at + 14)
    if header > end - at:
        p.options_length = end - at - 20
        p.payload_at = end
        p.captured = 0
        p.length = max(0, missing - (header - (end - at)))
        return codes.OK
    p.options_length = header - 20
    p.payload_at = at + header
    p.captured = end - at - header
    p.length = p.captured + missing
    return codes.OK


def udp(p: Packet, data: bytes, at: int, end: int, missing: int) -> int:
    """RFC 768; a tunnel is followed if what it carries decodes, else it is a datagram like any other."""
    if end - at < 8:
        return codes.SHORT
    length = pieces.be16(data, at + 4)
    limit = end
    if 8 <= length <= end - at:
        limit = at + length
        missing = 0
    sport = pieces.be16(data, at)
    dport = pieces.be16(data, at + 2)
    if not p.plain_udp and p.depth < codes.MAX_DEPTH and tunnels.is_port(sport, dport):
        ip_at = p.ip_at
        depth = p.depth
        outer_ttl = p.outer_ttl
        nested = p.tunnels
        outcome = _inner(p, data, tunnels.in_udp(p, data, sport, dport, at + 8, limit, missing))
        if outcome == codes.OK or outcome == codes.FRAGMENT:
            return outcome
        p.version = 0
        p.outer_ttl = -1
        p.tunnels = 0
        p.plain_udp = True
        outcome = ip(p, data, ip_at, end, missing)
        p.depth = depth
        p.outer_ttl = outer_ttl
        p.tunnels = nested
        return outcome
    p.protocol = codes.UDP
    p.l4_at = at
    p.sport = sport
    p.dport = dport
    p.seq = 0
    p.ack = 0
    p.flags = 0
    p.window = 0
    p.options_length = 0
    p.payload_at = at + 8
    p.captured = limit - at - 8
    p.length = p.captured + missing
    return codes.OK
