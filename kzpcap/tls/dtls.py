"""DTLS hellos and certificates: RFC 6347, RFC 9147, and the 0x0100 of old OpenSSL.

Messages are put together from their fragments by message_seq; what is encrypted (epoch 1 and above) is left.
"""

from __future__ import annotations

from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet
from kzpcap.flows import Stream
from kzpcap.iana import HANDSHAKE_TYPES
from kzpcap.tls.records import HISTORY, Alert, Message, Side

VERSIONS = (0xFEFF, 0xFEFD, 0xFEFC, 0x0100)
MAX_MESSAGE = 1 << 17
MAX_MESSAGES = 64
MAX_CONNECTIONS = 256
"""Of one flow."""
MAX_BEGUN = 8


class Assembly:
    """One handshake message of DTLS in the making."""

    def __init__(self, kind: int, length: int, packet: Packet, begun: int = 1) -> None:
        self.kind = kind
        self.begun = begun
        """How often one of its number was, with another length each time."""
        self.body = bytearray(length)
        self.have = bytearray(length)
        self.first = packet
        self.done = False

    def add(self, offset: int, data: bytes) -> bool:
        """Add a fragment; True once, when the message is whole."""
        end = min(offset + len(data), len(self.body))
        if offset < end and not self.done:
            self.body[offset:end] = data[: end - offset]
            self.have[offset:end] = b"\1" * (end - offset)
        if self.done or 0 in self.have:
            return False
        self.done = True
        return True


def read(flow: Flow) -> tuple[Side, Side, int] | None:
    """(client's side, server's side, the client's direction); None where there is no DTLS handshake."""
    sides = tuple(_side([packet for packet in flow.packets if packet.direction == index]) for index in (0, 1))
    for index, side in enumerate(sides):
        if any(message.kind == 1 for message in side.messages):
            return side, sides[1 - index], index
    for index, side in enumerate(sides):
        if any(message.kind in (2, 3, 11) for message in side.messages):
            return sides[1 - index], side, 1 - index
    return None


def _side(packets: list[Packet]) -> Side:
    side = Side(Stream(packets))
    held: dict[int, Assembly] = {}
    for packet in packets:
        data = packet.payload
        at = _start(data)
        while len(data) - at >= 13:
            kind = data[at]
            version = data[at + 1] << 8 | data[at + 2]
            epoch = data[at + 3] << 8 | data[at + 4]
            length = data[at + 11] << 8 | data[at + 12]
            if not 20 <= kind <= 26 or version not in VERSIONS:
                break
            body = data[at + 13 : at + 13 + length]
            at += 13 + length
            if epoch:
                continue
            if kind == 22:
                _fragments(side, held, body, packet)
            elif kind == 21 and len(body) >= 2:
                side.alerts.append(Alert(body[0], body[1], packet))
                side.order.append((packet, "l"))
            elif kind == 20:
                side.cipher_change = side.cipher_change or packet
                side.order.append((packet, "i"))
    if side.messages:
        side.begin = 0
    return side


def connections(flow: Flow) -> list[Flow]:
    """The handshakes of a flow: after a ServerHello, a ClientHello with another random begins one.

    After a HelloVerifyRequest the random should stay (RFC 6347 section 4.2.1), and does not with every client.
    """
    parts: list[list[Packet]] = [[]]
    random = b""
    answered = False
    for packet in flow.packets:
        begins = _random_of(packet.payload)
        if begins and random and begins != random and answered and len(parts) < MAX_CONNECTIONS:
            parts.append([])
            answered = False
        random = begins or random
        answered = answered or _begins_with(packet.payload, b"\2")
        parts[-1].append(packet)
    return [flow] if len(parts) < 2 else [flow.part(packets) for packets in parts]


def _random_of(data: bytes) -> bytes:
    """The random of a ClientHello that begins a datagram; empty for anything else."""
    at = _start(data)
    return data[at + 27 : at + 59] if _begins_with(data, b"\1") and len(data) >= at + 59 else b""


def _begins_with(data: bytes, kind: bytes) -> bool:
    """Is the beginning of such a message the first thing in a datagram, in clear?"""
    at = _start(data)
    clear = data[at : at + 1] == b"\x16" and data[at + 3 : at + 5] == b"\0\0"
    return clear and data[at + 13 : at + 14] == kind and data[at + 19 : at + 22] == b"\0\0\0"


def _start(data: bytes) -> int:
    """Behind CAPWAP's DTLS preamble (RFC 5415 section 4.2), if there is one."""
    return 4 if len(data) > 17 and data[0] == 1 and data[1:4] == b"\0\0\0" and 20 <= data[4] <= 26 else 0


def _fragments(side: Side, held: dict[int, Assembly], body: bytes, packet: Packet) -> None:
    at = 0
    while len(body) - at >= 12 and len(side.messages) < MAX_MESSAGES:
        kind = body[at]
        length = int.from_bytes(body[at + 1 : at + 4], "big")
        sequence = body[at + 4] << 8 | body[at + 5]
        offset = int.from_bytes(body[at + 6 : at + 9], "big")
        size = int.from_bytes(body[at + 9 : at + 12], "big")
        if kind not in HANDSHAKE_TYPES or length > MAX_MESSAGE or size > len(body) - at - 12:
            return
        key = kind << 16 | sequence
        message = held.get(key)
        if message is None and len(held) >= MAX_MESSAGES:
            side.full = True
            return
        if message is None or len(message.body) != length:  # of another handshake, as after HelloVerifyRequest; or junk
            begun = message.begun if message is not None else 0
            if begun >= MAX_BEGUN:
                at += 12 + size
                continue
            message = held[key] = Assembly(kind, length, packet, begun + 1)
        if message.add(offset, body[at + 12 : at + 12 + size]):
            side.messages.append(Message(kind, bytes(message.body), True, 0, message.first.frame, packet))
            side.order.append((packet, HISTORY.get(kind, "z")))
        at += 12 + size
