"""What of QUIC stays: the Initial packets of the one connection that named the target, Retry and Version Negotiation.

RFC 9000 section 17.2. Anyone can read the name in an Initial, so a datagram of any other connection between the same
ports must not stay: each packet's connection ids are followed from the first Initial on. What is coalesced behind an
Initial, and every short header, is zero or dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kzpcap.capture.decode import Packet
from kzpcap.wire import Reader, ShortRead

V2 = frozenset({0x6B3343CF, 0x709A50C4})
"""QUIC version 2 and its last drafts count their packet types from Retry on (RFC 9369 section 3.2)."""
INITIAL, RETRY = 0, 3
NS = 10 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Long:
    """One packet with a long header; `kind` None for Version Negotiation."""

    kind: int | None
    to: bytes
    of: bytes
    end: int


def read(data: bytes) -> Long | None:
    """The first packet of a datagram; None where it has no long header of a version with the known layout."""
    reader = Reader(data)
    try:
        head, version = reader.uint(1), reader.uint(4)
        if not head & 0x80:
            return None
        to, of = reader.vector(1), reader.vector(1)
        if version == 0:
            return Long(None, to, of, len(data))
        kind = head >> 4 & 3
        kind = (kind - 1) & 3 if version in V2 else kind
        if kind == RETRY:
            return Long(RETRY, to, of, len(data))
        if kind == INITIAL:
            reader.take(_varint(reader))
        length = _varint(reader)
        return Long(kind, to, of, min(len(data), reader.pos + length))
    except ShortRead:
        return None


def _varint(reader: Reader) -> int:
    first = reader.uint(1)
    size = 1 << (first >> 6)
    return (first & 0x3F) << 8 * (size - 1) | (reader.uint(size - 1) if size > 1 else 0)


@dataclass
class Chain:
    """The connection ids that belong to the connection of the first Initial."""

    client: bytes
    servers: set[bytes] = field(default_factory=set)


def kept(packets: Iterable[Packet], client: int) -> dict[int, tuple[tuple[int, int], ...]]:
    """Frame to the ranges of its payload that stay, of one flow."""
    found: dict[int, tuple[tuple[int, int], ...]] = {}
    chain: Chain | None = None
    began = 0
    for packet in packets:
        one = read(packet.payload)
        if one is None:
            continue
        if chain is None:
            if packet.direction != client or one.kind != INITIAL:
                continue
            chain, began = Chain(one.of, {one.to}), packet.time_ns
        if packet.time_ns - began > NS:
            break
        if packet.direction == client:
            belongs = one.kind == INITIAL and one.of == chain.client and one.to in chain.servers
        else:
            belongs = one.kind in (None, RETRY, INITIAL) and one.to == chain.client
            if belongs and one.kind is not None:
                chain.servers.add(one.of)
        if belongs:
            found[packet.frame] = ((0, one.end),)
    return found
