"""A name server of a few lines (RFC 1035): A records from a table, NXDOMAIN for the rest.

python -m lab.names ADDRESS '{"name": "address"}'
"""

from __future__ import annotations

import json
import socket
import struct
import sys


def question(data: bytes) -> tuple[str, int]:
    """The name asked for, and where the question ends."""
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("ascii"))
        at += 1 + data[at]
    return ".".join(labels), at + 5


def query(name: str, number: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def main(address: str, table: dict[str, str]) -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    print("ready", flush=True)
    while True:
        data, peer = server.recvfrom(4096)
        name, end = question(data)
        found = table.get(name.lower())
        head = data[:2] + struct.pack(">HHHHH", 0x8180 if found else 0x8183, 1, bool(found), 0, 0)
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(found) if found else b""
        server.sendto(head + data[12:end] + answer, peer)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
