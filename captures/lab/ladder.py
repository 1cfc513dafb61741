"""TTL-limited ClientHello probes in both published shapes, for a target and for a control.

    python -m lab.ladder SPEC.json

- `connection`: a new connection for each TTL, by the kernel; the TTL is lowered for the ClientHello, and stays so for
  what the kernel sends again (CenTrace).
- `one`: the same ClientHello segment again and again with TTL 1, 2, 3 ... in one connection, from a raw socket, until
  anything of TCP comes back (the script of July 2019).
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import struct
import sys
import time
from pathlib import Path
from typing import Any

from lab import journal
from lab.packets import ACK, MSS, PSH, RST, SYN, Segment, raw_socket, segment

LINGER_RESET = struct.pack("=ii", 1, 0)


def client_hello(name: str | None, highest: str = "TLSv1.2") -> bytes:
    """OpenSSL's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if highest == "TLSv1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def by_connection(spec: dict[str, Any], name: str | None, ttl: int, sport: int) -> None:
    server = (spec["server"], 443)
    with socket.socket() as out:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        out.settimeout(2)
        out.bind(("0.0.0.0", sport))
        try:
            out.connect(server)
        except OSError:
            return
        out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        out.sendall(client_hello(name))
        until = time.monotonic() + spec.get("seconds", 0.35)
        got = b""
        with contextlib.suppress(OSError):
            while time.monotonic() < until and select.select([out], [], [], max(until - time.monotonic(), 0))[0]:
                data = out.recv(16_384)
                if not data:
                    break
                got += data
                until = time.monotonic() + 0.05  # the rest of the flight
        out.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    more = {"server_name": name, "tool": "ladder", "ttl": ttl}
    journal.note("client", "tried", ("client", sport), server, **more)


class Raw:
    """A connection of a raw socket's; the kernel is kept from answering by the scenario (iptables)."""

    def __init__(self, source: str, sport: int, server: str) -> None:
        self.ends = (source, sport), (server, 443)
        self.out = raw_socket()
        self.into = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        self.seq, self.ack = 123_456_789, 0

    def send(self, flags: int, payload: bytes = b"", ttl: int = 64, options: dict[int, bytes] | None = None) -> None:
        made = Segment(*self.ends, self.seq, self.ack, flags, 29_200, payload, options or {}, ttl, sent_id())
        self.out.sendto(made.bytes(), (self.ends[1][0], 0))

    def receive(self, seconds: float) -> Segment | None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self.into], [], [], left)[0]:
                return None
            seen = segment(self.into.recv(65_535))
            if seen and seen.key == (self.ends[1], self.ends[0]):
                return seen
        return None

    def close(self) -> None:
        self.send(RST, ttl=63)  # with the kernel's 64 it would be held back like the kernel's own
        self.out.close()
        self.into.close()


IDS = iter(range(0x3000, 0xFFFF))


def sent_id() -> int:
    return next(IDS)


def in_one(spec: dict[str, Any], name: str | None, sport: int) -> None:
    raw = Raw(spec["source"], sport, spec["server"])
    raw.send(SYN, options={MSS: struct.pack(">H", 1460)} if spec.get("mss") else None)
    answer = raw.receive(2)
    if answer is None:
        raw.close()
        return
    raw.seq, raw.ack = raw.seq + 1, answer.seq + 1
    raw.send(ACK)
    time.sleep(0.05)
    hello = client_hello(name)
    for ttl in range(1, spec["most"] + 1):
        raw.send(PSH | ACK, hello, ttl)
        answer = raw.receive(spec.get("seconds", 0.25))
        if answer:
            raw.seq = answer.ack  # a reset counts only at the place that the other side expects
            while raw.receive(0.25):
                pass
            break
    raw.close()
    journal.note("client", "tried", ("client", sport), raw.ends[1], server_name=name, tool="ladder", ttl=ttl)


def main(spec: dict[str, Any]) -> None:
    names = [spec["target"], spec["control"]]
    sport = spec["sport"]
    for _ in range(spec.get("runs", 1)):
        if spec["shape"] == "one":
            for name in names:
                in_one(spec, name, sport)
                sport += 1
            continue
        for ttl in range(1, spec["most"] + 1):
            for name in names:
                by_connection(spec, name, ttl, sport)
                sport += 1


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
