"""TCP over IPv4, read and written byte by byte, for boxes and probes that speak without the kernel."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMPS = 0, 1, 2, 3, 4, 8


@dataclass
class Segment:
    """One TCP segment with what a box needs of its IP header."""

    source: tuple[str, int]
    destination: tuple[str, int]
    seq: int
    ack: int
    flags: int
    window: int = 64_240
    payload: bytes = b""
    options: dict[int, bytes] = field(default_factory=dict)
    ttl: int = 64
    ip_id: int = 0
    dont_fragment: bool = True

    @property
    def key(self) -> tuple[tuple[str, int], tuple[str, int]]:
        return self.source, self.destination

    def bytes(self) -> bytes:
        """The whole packet, with both checksums."""
        options = b"".join(bytes([kind, len(body) + 2]) + body for kind, body in self.options.items())
        options += bytes([NOP]) * (-len(options) % 4)
        tcp = struct.pack(
            ">HHIIBBHHH",
            self.source[1],
            self.destination[1],
            self.seq & 0xFFFFFFFF,
            self.ack & 0xFFFFFFFF,
            (20 + len(options)) // 4 << 4,
            self.flags,
            self.window,
            0,
            0,
        )
        tcp += options + self.payload
        ends = socket.inet_aton(self.source[0]) + socket.inet_aton(self.destination[0])
        check = checksum(ends + struct.pack(">BBH", 0, 6, len(tcp)) + tcp)
        tcp = tcp[:16] + struct.pack(">H", check) + tcp[18:]
        fragment = 0x4000 if self.dont_fragment else 0
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), self.ip_id, fragment, self.ttl, 6, 0) + ends
        return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + tcp


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def segment(packet: bytes) -> Segment | None:
    """Read an IPv4 packet; None where it carries no TCP header."""
    if packet[0] >> 4 != 4 or packet[9] != 6:
        return None
    tcp = packet[(packet[0] & 15) * 4 : struct.unpack_from(">H", packet, 2)[0]]
    sport, dport, seq, ack, offset, flags, window = struct.unpack_from(">HHIIBBH", tcp)
    size = (offset >> 4) * 4
    options: dict[int, bytes] = {}
    rest = tcp[20:size]
    while rest and rest[0] != END:
        if rest[0] == NOP:
            rest = rest[1:]
            continue
        options[rest[0]] = rest[2 : rest[1]]
        rest = rest[rest[1] :]
    return Segment(
        (socket.inet_ntoa(packet[12:16]), sport),
        (socket.inet_ntoa(packet[16:20]), dport),
        seq,
        ack,
        flags,
        window,
        tcp[size:],
        options,
        packet[8],
        struct.unpack_from(">H", packet, 4)[0],
        bool(packet[6] & 0x40),
    )


def raw_socket() -> socket.socket:
    """A socket for whole IPv4 packets, whatever their source address."""
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    out.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    return out
