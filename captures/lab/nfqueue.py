"""The kernel's packet queue (nfnetlink_queue) in plain Python: each packet waits for a verdict."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

DROP, ACCEPT = 0, 1
NETLINK_NETFILTER, SUBSYSTEM_QUEUE = 12, 3
MESSAGE_PACKET, MESSAGE_VERDICT, MESSAGE_CONFIG = 0, 1, 2
CONFIG_COMMAND, CONFIG_PARAMETERS, BIND, COPY_PACKET = 1, 2, 1, 2
ATTRIBUTE_HEADER, ATTRIBUTE_VERDICT, ATTRIBUTE_PAYLOAD = 1, 2, 10


@dataclass
class Queued:
    """A packet of which the kernel wants to know what becomes of it."""

    number: int
    data: bytes  # from the IP header on


class Queue:
    """One queue, to be read by one process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((0, 0))
        self._send(MESSAGE_CONFIG, attribute(CONFIG_COMMAND, struct.pack(">BxH", BIND, socket.AF_INET)))
        self._send(MESSAGE_CONFIG, attribute(CONFIG_PARAMETERS, struct.pack(">IB", 0xFFFF, COPY_PACKET)))

    def fileno(self) -> int:
        return self.socket.fileno()

    def _send(self, kind: int, body: bytes) -> None:
        general = struct.pack(">BBH", socket.AF_UNSPEC, 0, self.number)
        size = 16 + len(general) + len(body)
        self.socket.send(struct.pack("=IHHII", size, SUBSYSTEM_QUEUE << 8 | kind, 1, 0, 0) + general + body)

    def verdict(self, packet: Queued, what: int) -> None:
        self._send(MESSAGE_VERDICT, attribute(ATTRIBUTE_VERDICT, struct.pack(">II", what, packet.number)))

    def packets(self) -> Iterator[Queued]:
        """What has arrived, at least one packet, in order."""
        data = self.socket.recv(1 << 17)
        while len(data) >= 16:
            size, kind = struct.unpack_from("=IH", data)
            if kind == SUBSYSTEM_QUEUE << 8 | MESSAGE_PACKET:
                found = dict(attributes(data[20:size]))
                yield Queued(struct.unpack_from(">I", found[ATTRIBUTE_HEADER])[0], found[ATTRIBUTE_PAYLOAD])
            data = data[(size + 3) & ~3 :]


def attribute(kind: int, body: bytes) -> bytes:
    return struct.pack("=HH", len(body) + 4, kind) + body + bytes(-len(body) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            return
        yield kind & 0x3FFF, data[4:size]
        data = data[(size + 3) & ~3 :]
