"""ICMP errors and the packets they quote: RFC 792, RFC 4443, RFC 4884 and RFC 4950."""

# Annotations are not postponed: NamedTuple would compile each of them at every start.
import ipaddress
from functools import lru_cache
from typing import NamedTuple

from kzpcap.capture.codes import ICMP
from kzpcap.capture.packet import Packet

TIME_EXCEEDED = {4: 11, 6: 3}
UNREACHABLE = {4: 3, 6: 1}


MPLS_CLASS, MPLS_STACK = 1, 1
EXTENSION_VERSION = 2
MAX_HEADERS = 32
LEGACY_QUOTE = 128
"""Where extensions begin in messages without a length, by routers older than RFC 4884 (its section 5.5)."""


class Label(NamedTuple):
    """One entry of an MPLS label stack (RFC 3032), outermost first."""

    label: int
    traffic_class: int
    bottom: bool
    ttl: int


class IcmpError(NamedTuple):
    """An error and its quote; `ttl` is the error's own, `q_` marks the quoted packet, None what the quote lacks."""

    frame: int
    time_ns: int
    version: int
    kind: int
    code: int
    outer_src: str
    ttl: int
    q_src: str
    q_dst: str
    q_ttl: int
    q_protocol: int
    q_id: int
    q_tos: int
    q_length: int
    q_sport: int | None = None
    q_dport: int | None = None
    q_seq: int | None = None
    q_echo: tuple[int, int] | None = None
    """Identifier and sequence number of a quoted echo request."""
    q_df: bool | None = None
    """Don't Fragment; None for IPv6."""
    labels: tuple[Label, ...] = ()
    """The MPLS labels under which the packet arrived (RFC 4950)."""

    @property
    def time_exceeded(self) -> bool:
        """Is it a Time Exceeded, of whatever kind?"""
        return self.kind == TIME_EXCEEDED[self.version]

    @property
    def of_a_hop(self) -> bool:
        """Did the quoted packet's TTL run out on the way, and does a router say so? Code 1 is of a host (RFC 792), and
        no router has the address of a group, of nobody or of the one who asks."""
        return self.time_exceeded and self.code == 0 and self.outer_src != self.q_src and is_unicast(self.outer_src)


@lru_cache(maxsize=4_096)
def is_unicast(text: str) -> bool:
    """May an address be one machine's on a network?"""
    one = ipaddress.ip_address(text)
    return not (one.is_multicast or one.is_unspecified or one.is_loopback or text == "255.255.255.255")


@lru_cache(maxsize=4_096)
def address(raw: bytes) -> str:
    """An address in its standard text form."""
    return str(ipaddress.ip_address(raw))


def read(packet: Packet) -> IcmpError | None:
    """The error in an ICMP packet; None for anything else (echo, neighbour discovery) or too short a quote."""
    body = packet.payload
    version = 4 if packet.protocol == ICMP else 6
    if len(body) < 8 + 20:
        return None
    kind, code = body[0], body[1]
    if kind not in ((3, 4, 5, 11, 12) if version == 4 else (1, 2, 3, 4)):
        return None
    length = 0  # of the quote (RFC 4884 section 4): where the type has one, and the router is not older
    if kind in ((3, 11, 12) if version == 4 else (1, 3)):
        length = body[5] * 4 if version == 4 else body[4] * 8
    quote = body[8 : 8 + length] if 20 <= length <= len(body) - 8 else body[8:]
    dont_fragment: bool | None = None
    if quote[0] >> 4 == 4:
        header = (quote[0] & 15) * 4
        if header < 20:
            return None
        fields = (address(quote[12:16]), address(quote[16:20]), quote[8], quote[9])
        marks = (int.from_bytes(quote[4:6], "big"), quote[1], int.from_bytes(quote[2:4], "big"))
        dont_fragment = bool(quote[6] & 0x40)
        protocol, upper = quote[9], quote[header:]
    elif quote[0] >> 4 == 6 and len(quote) >= 40:
        protocol, upper = _upper_v6(quote)
        fields = (address(quote[8:24]), address(quote[24:40]), quote[7], protocol)
        marks = (0, (quote[0] & 15) << 4 | quote[1] >> 4, int.from_bytes(quote[4:6], "big") + 40)
    else:
        return None
    ports: tuple[int | None, int | None, int | None] = (None, None, None)
    if protocol in (6, 17, 132) and len(upper) >= 4:
        seq = int.from_bytes(upper[4:8], "big") if protocol == 6 and len(upper) >= 8 else None
        ports = (int.from_bytes(upper[:2], "big"), int.from_bytes(upper[2:4], "big"), seq)
    echo = None
    if protocol in (1, 58) and len(upper) >= 8 and upper[0] in (8, 128):
        echo = (int.from_bytes(upper[4:6], "big"), int.from_bytes(upper[6:8], "big"))
    return IcmpError(
        packet.frame, packet.time_ns, version, kind, code, address(packet.src), packet.ttl,
        *fields, *marks, *ports, echo, dont_fragment, labels(body, 8 + (length or LEGACY_QUOTE), bool(length)),
    )  # fmt: skip


def labels(body: bytes, at: int, stated: bool) -> tuple[Label, ...]:
    """The MPLS labels of the extension structure at `at`; where no length `stated` it, its checksum must fit."""
    header = body[at : at + 4]
    if len(header) < 4 or header[0] >> 4 != EXTENSION_VERSION:
        return ()
    if not stated and _sum(body[at:]) != 0xFFFF:
        return ()
    found: list[Label] = []
    at += 4
    while len(body) - at >= 4:
        size, kind, subtype = int.from_bytes(body[at : at + 2], "big"), body[at + 2], body[at + 3]
        if size < 4:
            break
        if (kind, subtype) == (MPLS_CLASS, MPLS_STACK):
            for entry in range(at + 4, min(at + size, len(body)) - 3, 4):
                word = int.from_bytes(body[entry : entry + 4], "big")
                found.append(Label(word >> 12, word >> 9 & 7, bool(word >> 8 & 1), word & 255))
        at += size
    return tuple(found[:16])


def _sum(raw: bytes) -> int:
    """The ones' complement sum of 16-bit words (RFC 1071)."""
    total = sum(int.from_bytes(raw[at : at + 2].ljust(2, b"\0"), "big") for at in range(0, len(raw), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Echo(NamedTuple):
    """An echo request or reply."""

    frame: int
    request: bool
    src: str
    dst: str
    ttl: int
    key: tuple[int, int]


def read_echo(packet: Packet) -> Echo | None:
    """The echo request or reply in an ICMP packet."""
    body = packet.payload
    if len(body) < 8 or body[0] not in ((8, 0) if packet.protocol == ICMP else (128, 129)):
        return None
    key = (int.from_bytes(body[4:6], "big"), int.from_bytes(body[6:8], "big"))
    return Echo(packet.frame, body[0] in (8, 128), address(packet.src), address(packet.dst), packet.ttl, key)


def _upper_v6(quote: bytes) -> tuple[int, bytes]:
    """The upper-layer protocol and its bytes behind the extension headers of a quoted IPv6 packet."""
    protocol, at = quote[6], 40
    for _ in range(MAX_HEADERS):
        if protocol not in (0, 43, 44, 60) or len(quote) < at + 8:
            break
        size = 8 if protocol == 44 else (quote[at + 1] + 1) * 8
        protocol, at = quote[at], at + size
    return protocol, quote[at:]
