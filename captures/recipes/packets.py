"""TCP connections written packet by packet with dpkt, as seen beside the client."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from pathlib import Path

import dpkt

CLIENT, SERVER, OTHER = "192.0.2.10", "203.0.113.80", "198.51.100.7"


JULY_2019 = datetime.datetime(2019, 7, 20, 9, 14, 2, tzinfo=datetime.UTC)


SPRING_2026 = datetime.datetime(2026, 4, 2, 12, 0, 0, tzinfo=datetime.UTC)


FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


HOPS = ["185.120.76.1", "88.204.195.89", "212.154.195.97", "92.47.151.210"]


HOPS += ["95.56.243.92", "178.89.110.198", "178.89.110.206"]


BOX_HOP, SERVER_HOP = 5, 8


def address(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


@dataclass
class Capture:
    """Packets with their times; written as pcapng."""

    start: datetime.datetime
    packets: list[tuple[float, bytes]] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.now = self.start.timestamp()

    def add(self, frame: bytes, wait: float) -> int:
        self.now += wait
        self.packets.append((self.now, frame))
        return len(self.packets)

    def write(self, path: Path) -> None:
        with path.open("wb") as file:
            writer = dpkt.pcapng.Writer(file)
            for when, frame in self.packets:
                writer.writepkt(frame, ts=when)


class Connection:
    """One TCP connection between a client and whoever answers; TTLs are as seen beside the client."""

    def __init__(self, capture: Capture, port: int, server: str = SERVER, server_port: int = 443) -> None:
        self.capture = capture
        self.ends = (CLIENT, port), (server, server_port)
        self.ttl = [64, 57]
        self.seq = [1_000_000 + port * 7919, 5_000_000 + port * 104_729]
        self.ip_id = [port, 0]
        self.last_frame = 0
        self.intercepted = False
        self.segment = 1400
        self.hops: list[str] = HOPS
        self.box_hop = BOX_HOP

    def packet(
        self, who: int, flags: int, payload: bytes = b"", wait: float = 0.0002, ttl: int | None = None, df: bool = True
    ) -> int:
        (src, sport), (dst, dport) = self.ends[who], self.ends[1 - who]
        options = b"\x02\x04\x05\xb4\x01\x01\x04\x02" if flags & SYN else b""
        tcp = dpkt.tcp.TCP(
            sport=sport,
            dport=dport,
            seq=self.seq[who] & 0xFFFFFFFF,
            ack=self.seq[1 - who] & 0xFFFFFFFF if flags & ACK else 0,
            flags=flags,
            win=64_240,
            opts=options,
            data=payload,
        )
        tcp.off = (20 + len(options)) // 4
        self.ip_id[who] = (self.ip_id[who] + 1) & 0xFFFF
        ip = dpkt.ip.IP(
            src=address(src),
            dst=address(dst),
            p=6,
            ttl=ttl if ttl is not None else self.ttl[who],
            id=self.ip_id[who],
            data=tcp,
            df=int(df),
        )
        ip.len = len(ip)
        frame = dpkt.ethernet.Ethernet(
            src=b"\x02\x00\x5e\x00\x53" + bytes([who]), dst=b"\x02\x00\x5e\x00\x53" + bytes([1 - who]), data=ip
        )
        number = self.capture.add(bytes(frame), wait)
        if not flags & RST:
            self.seq[who] += len(payload) + (1 if flags & (SYN | FIN) else 0)
        self.last_frame = number
        return number

    def open(self) -> None:
        self.packet(0, SYN)
        self.packet(1, SYN | ACK, wait=0.031)
        self.packet(0, ACK)

    def send(self, who: int, data: bytes, wait: float = 0.0005, ttl: int | None = None) -> int:
        frame = 0
        for at in range(0, len(data), self.segment):
            frame = self.packet(who, PSH | ACK, data[at : at + self.segment], wait if at == 0 else 0.0001, ttl)
        self.packet(1 - who, ACK)
        return frame

    def close(self) -> None:
        self.packet(0, FIN | ACK)
        self.packet(1, FIN | ACK, wait=0.03)
        self.packet(0, ACK)
