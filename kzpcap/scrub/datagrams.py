"""What of QUIC stays: the Initial packets of the one connection that named the target, Retry, Version Negotiation.

RFC 9000 section 17.2. Of a Retry the token is zero: servers write the client's address into it. Anyone can read the
name in an Initial, so a datagram of any other connection between the same ports must not stay: each packet's ids are
followed from the first Initial on. What is coalesced behind an Initial, and every short header, is zero or dropped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kzpcap.capture.packet import Packet
from kzpcap.tls.quic_packet import INITIAL, RETRY, long_header, negotiation
from kzpcap.wire import Reader

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
    header = long_header(data, 0)
    if header is not None:
        end = header.pn_offset if header.kind == RETRY else header.end
        return Long(header.kind, header.dcid, header.scid, end)
    if negotiation(data) is None:
        return None
    reader = Reader(data, 5)
    return Long(None, reader.vector(1), reader.vector(1), len(data))


@dataclass
class Chain:
    """One connection: when it began, and what of it stays."""

    began: int
    found: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)


def kept(packets: Iterable[Packet], client: int, hello: int) -> dict[int, tuple[tuple[int, int], ...]]:
    """Frame to the ranges of its payload that stay, of one flow: the connection whose ClientHello is in frame `hello`.

    An answer stays where it can be that connection's alone: many clients choose an id of no length, and whom a Retry
    or an Initial of the server belongs to is then open as soon as there are two.
    """
    routes: dict[tuple[bytes, bytes], Chain] = {}
    answers: dict[bytes, Chain | None] = {}
    for packet in packets:
        one = read(packet.payload)
        if one is None:
            continue
        chain: Chain | None
        if packet.direction == client:
            if one.kind != INITIAL:
                continue
            chain = routes.get((one.of, one.to))
            if chain is None:
                chain = routes[one.of, one.to] = Chain(packet.time_ns)
                answers[one.of] = None if one.of in answers else chain
        else:
            chain = answers.get(one.to) if one.kind in (None, RETRY, INITIAL) else None
            if chain is not None and one.kind is not None:
                routes.setdefault((one.to, one.of), chain)
        if chain is not None and packet.time_ns - chain.began <= NS:
            chain.found[packet.frame] = ((0, one.end),)
    return next((chain.found for chain in routes.values() if hello in chain.found), {})
