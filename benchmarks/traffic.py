"""Build the benchmark's capture: real TLS connections of OpenSSL, repeated with other addresses, ports and times.

`python benchmarks/traffic.py OUT [--megabytes N] [--chains N]`. Half of the connections are TLS 1.2 with their
certificates, half TLS 1.3; about 110 packets and 120 kB each. Randoms are repeated with the connection: a
ServerKeyExchange is signed over them.
"""

from __future__ import annotations

import argparse
import datetime
import ssl
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "captures"))

from recipes.packets import SPRING_2026, Capture, Connection
from recipes.tls import Authority, client_context, openssl, server_context

RECORDS = 7
"""Records of 16 kB that follow each handshake."""
PORTS = 60_000


def connection(authority: Authority, name: str, version: ssl.TLSVersion, data: int = RECORDS) -> list[bytes]:
    """The frames of one connection with so many records of application data."""
    capture = Capture(SPRING_2026)
    talk = Connection(capture, 50_001)
    talk.close = lambda: None  # type: ignore[method-assign]
    server = server_context(*authority.issue([name], SPRING_2026 + datetime.timedelta(0)), version)
    openssl(talk, name, server, client_context())
    for _ in range(data):
        talk.send(1, b"\x17\x03\x03\x40\x00" + bytes(range(256)) * 64, wait=0.0002)
    Connection.close(talk)
    return [frame for _, frame in capture.packets]


def adjusted(checksum: bytes, difference: int) -> bytes:
    """A checksum after a change of words (RFC 1624): `difference` is the sum of the new ones minus that of the old."""
    total = 0xFFFF - int.from_bytes(checksum, "big") + difference
    total %= 0xFFFF
    return (0xFFFF - total).to_bytes(2, "big")


def words(raw: bytes) -> int:
    return sum(struct.unpack(f">{len(raw) // 2}H", raw))


def write(out: Path, megabytes: int, chains: int) -> tuple[int, int]:
    """(connections, packets) of the capture written to `out`."""
    authority = Authority.make("LAB benchmark root", SPRING_2026)
    older = [connection(authority, f"host{n}.example", ssl.TLSVersion.TLSv1_2) for n in range(chains)]
    newer = [connection(authority, f"host{n}.example", ssl.TLSVersion.TLSv1_3) for n in range(8)]
    made = packets = 0
    now = 1_775_000_000_000_000
    client = struct.pack(">BBBB", 192, 0, 2, 10)
    with out.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1))
        while file.tell() < megabytes * 1_000_000:
            frames = older[made // 2 % len(older)] if made % 2 == 0 else newer[made // 2 % len(newer)]
            address = struct.pack(">I", (10 << 24) + 1 + made // PORTS)
            port = struct.pack(">H", 1_024 + made % PORTS)
            parts = []
            for frame in frames:
                changed = bytearray(frame)
                at, ports = (26, 34) if frame[26:30] == client else (30, 36)
                moved = words(address) - words(frame[at : at + 4])
                changed[24:26] = adjusted(frame[24:26], moved)
                moved += words(port) - words(frame[ports : ports + 2])
                changed[50:52] = adjusted(frame[50:52], moved)
                changed[at : at + 4] = address
                changed[ports : ports + 2] = port
                now += 40
                parts.append(struct.pack("<IIII", now // 1_000_000, now % 1_000_000, len(frame), len(frame)) + changed)
            file.write(b"".join(parts))
            packets += len(frames)
            made += 1
    return made, packets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--megabytes", type=int, default=1_000)
    parser.add_argument("--chains", type=int, default=500)
    options = parser.parse_args()
    made, packets = write(options.out, options.megabytes, options.chains)
    counts = f"{packets:,} packets, {made:,} TLS connections (half TLS 1.2)"
    print(f"{options.out}: {options.out.stat().st_size:,} bytes, {counts}")


if __name__ == "__main__":
    main()
