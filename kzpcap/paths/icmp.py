"""ICMP errors and the packets they quote: RFC 792, RFC 4443, RFC 4884 and RFC 4950."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from kzpcap.capture.decode import ICMP, Packet

TIME_EXCEEDED = {4: 11, 6: 3}
UNREACHABLE = {4: 3, 6: 1}


@dataclass(frozen=True, slots=True)
class IcmpError:
    """An error and its quote; `ttl` is the error's own, `q_` marks the quoted packet, None what the quote lacks."""

    frame: int
    time_ns: int
    version: int
    kind: int
    code: int
    outer_src: str
    outer_dst: str
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

    @property
    def time_exceeded(self) -> bool:
        """Did the quoted packet's TTL run out?"""
        return self.kind == TIME_EXCEEDED[self.version]


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
    quote = body[8:]
    if quote[0] >> 4 == 4:
        header = (quote[0] & 15) * 4
        if header < 20:
            return None
        fields = (address(quote[12:16]), address(quote[16:20]), quote[8], quote[9])
        marks = (int.from_bytes(quote[4:6], "big"), quote[1], int.from_bytes(quote[2:4], "big"))
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
        packet.frame, packet.time_ns, version, kind, code, address(packet.src), address(packet.dst), packet.ttl,
        *fields, *marks, *ports, echo,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Echo:
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
    for _ in range(8):
        if protocol not in (0, 43, 44, 60) or len(quote) < at + 8:
            break
        size = 8 if protocol == 44 else (quote[at + 1] + 1) * 8
        protocol, at = quote[at], at + size
    return protocol, quote[at:]
