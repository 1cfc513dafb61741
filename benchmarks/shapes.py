"""CPU and peak memory of `kzpcap analyze` on hostile shapes of traffic, each at growing sizes: neither may grow faster.

`python benchmarks/shapes.py [--largest N] [--shape NAME]`. Each shape is built at N/100, N/10 and N elements; a row is
one of them, with microseconds for each element above the start of the process.

- `connections`: whole TLS 1.3 handshakes without application data.
- `names`: the same, each at another server with another name.
- `scan`: one SYN a connection, each from another port, and no answer.
- `long`: one connection of so many packets.
- `bytes`: the same handshakes, every segment one byte long (an element is a segment).
- `reversed`: the same handshakes, the segments of each direction in reverse (an element is a segment).
- `certificates`: TLS 1.2 handshakes, each with a certificate that nobody else has.
"""

from __future__ import annotations

import argparse
import os
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "captures"))

from recipes.packets import SPRING_2026
from recipes.tls import Authority
from traffic import adjusted, connection, words

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
CLIENT, SERVER = struct.pack(">BBBB", 192, 0, 2, 10), struct.pack(">BBBB", 198, 51, 100, 7)
SYN, ACK, PSH = 2, 16, 8
PORTS = 60_000
Frames = Iterator[bytes]


def segment(
    client: int, to_server: bool, seq: int, ack: int, flags: int, payload: bytes = b"", server: bytes = SERVER
) -> bytes:
    """One frame between client number `client` and the server."""
    address, port = struct.pack(">I", (10 << 24) + 1 + client // PORTS), 1_024 + client % PORTS
    source, target, sport, dport = (address, server, port, 443) if to_server else (server, address, 443, port)
    numbers = seq & 0xFFFFFFFF, ack & 0xFFFFFFFF
    tcp = struct.pack(">HHIIBBHHH", sport, dport, *numbers, 5 << 4, flags, 64_240, 0, 0) + payload
    padded = tcp + b"\0" * (len(tcp) % 2)
    total = words(source + target + padded) + 6 + len(tcp)
    check = (0xFFFF - total % 0xFFFF) & 0xFFFF
    tcp = tcp[:16] + check.to_bytes(2, "big") + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), seq & 0xFFFF, 0x4000, 64, 6, 0) + source + target
    ip = ip[:10] + ((0xFFFF - words(ip) % 0xFFFF) & 0xFFFF).to_bytes(2, "big") + ip[12:]
    return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0" + ip + tcp


def speeches(version: ssl.TLSVersion) -> list[tuple[bool, bytes]]:
    """What each side of a real handshake sends, in turns."""
    authority = Authority.make("LAB shapes root", SPRING_2026)
    said: list[tuple[bool, bytes]] = []
    for frame in connection(authority, "host.example", version, 0):
        payload = frame[14 + 20 + (frame[46] >> 4) * 4 :]
        if payload:
            said.append((frame[26:30] == CLIENT, payload))
    return said


def handshake(
    client: int, said: list[tuple[bool, bytes]], size: int, backwards: bool = False, server: bytes = SERVER
) -> Frames:
    """A connection in segments of `size` bytes."""
    yield segment(client, True, 0, 0, SYN, server=server)
    yield segment(client, False, 0, 1, SYN | ACK, server=server)
    sent = {True: 1, False: 1}
    turns = []
    for to_server, payload in said:
        for at in range(0, len(payload), size):
            piece = payload[at : at + size]
            turns.append(segment(client, to_server, sent[to_server], sent[not to_server], PSH | ACK, piece, server))
            sent[to_server] += len(piece)
    yield from reversed(turns) if backwards else turns


def connections(count: int) -> Frames:
    said = speeches(ssl.TLSVersion.TLSv1_3)
    for number in range(count):
        yield from handshake(number, said, 1_400)


def names(count: int) -> Frames:
    said = speeches(ssl.TLSVersion.TLSv1_3)
    for number in range(count):
        name = f"h{number:07x}.org".encode()
        changed = [(to_server, payload.replace(b"host.example", name)) for to_server, payload in said]
        yield from handshake(number, changed, 1_400, server=struct.pack(">I", (45 << 24) + number))


def scan(count: int) -> Frames:
    one = segment(0, True, 7, 0, SYN)
    for number in range(count):
        address, port = struct.pack(">I", (10 << 24) + 1 + number // PORTS), (1_024 + number % PORTS).to_bytes(2, "big")
        moved = words(address) - words(one[26:30])
        check = adjusted(one[24:26], moved), adjusted(one[50:52], moved + words(port) - words(one[34:36]))
        yield b"".join((one[:24], check[0], address, one[30:34], port, one[36:50], check[1], one[52:]))


def long(count: int) -> Frames:
    yield from handshake(0, speeches(ssl.TLSVersion.TLSv1_3), 1_400)
    data = b"\x17\x03\x03\0\x5f" + b"\x5a" * 95
    for number in range(count):
        yield segment(0, bool(number % 2), 9_000 + number // 2 * 100, 9_000, PSH | ACK, data)


def pieces(count: int, size: int, backwards: bool) -> Frames:
    said = speeches(ssl.TLSVersion.TLSv1_2)
    made = number = 0
    while made < count:
        for frame in handshake(number, said, size, backwards):
            made += 1
            yield frame
        number += 1


def certificates(count: int) -> Frames:
    """Each leaf is another by the last bytes of its signature."""
    said = speeches(ssl.TLSVersion.TLSv1_2)
    for number in range(count):
        changed = []
        for to_server, payload in said:
            if not to_server and b"host.example" in payload:
                at = payload.index(b"\x30\x82", payload.index(b"\x0b\0"))
                end = at + 4 + int.from_bytes(payload[at + 2 : at + 4], "big")
                payload = payload[: end - 4] + number.to_bytes(4, "big") + payload[end:]
            changed.append((to_server, payload))
        yield from handshake(number, changed, 1_400)


SHAPES: dict[str, Callable[[int], Frames]] = {
    "connections": connections,
    "names": names,
    "scan": scan,
    "long": long,
    "bytes": lambda count: pieces(count, 1, False),
    "reversed": lambda count: pieces(count, 64, True),
    "certificates": certificates,
}


def write(path: Path, frames: Frames) -> None:
    now = 1_775_000_000_000_000
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))
        for frame in frames:
            now += 40
            file.write(struct.pack("<IIII", now // 1_000_000, now % 1_000_000, len(frame), len(frame)) + frame)


def run(path: Path) -> tuple[float, int]:
    """CPU seconds and peak memory in MB of one analysis."""
    with Path(os.devnull).open("w") as nowhere:
        command = [sys.executable, "-m", "kzpcap", "analyze", "--json", "--no-digest", str(path)]
        process = subprocess.Popen(command, stdout=nowhere, env=ENVIRONMENT)
        _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"{path}: exit status {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--shape", choices=SHAPES)
    options = parser.parse_args()
    print("| shape | elements | MB | CPU seconds | microseconds each | peak MB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder) / "empty.pcap"
        write(empty, iter(()))
        run(empty)
        start = min(run(empty)[0] for _ in range(3))
        for name, make in SHAPES.items():
            if options.shape not in (None, name):
                continue
            for count in (options.largest // 100, options.largest // 10, options.largest):
                path = Path(folder) / f"{name}.pcap"
                write(path, make(count))
                size = path.stat().st_size / 1e6
                spent, memory = run(path)
                each = (spent - start) / count * 1e6
                print(f"| {name} | {count:,} | {size:,.1f} | {spent:.2f} | {each:.1f} | {memory} |", flush=True)
                path.unlink()


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"\n{time.perf_counter() - started:.0f} s", file=sys.stderr)
