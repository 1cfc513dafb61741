"""QUIC Initial packets (quic_packet.py) to the ClientHello and ServerHello in them.

With a key log the server's Handshake packets are opened too (keylog.py), and nothing else. CRYPTO frames may lie over
many packets and come out of order; datagrams may hold several packets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet
from kzpcap.flows import Stream
from kzpcap.tls.quic_packet import (
    HANDSHAKE,
    INITIAL,
    RETRY,
    Keys,
    LongHeader,
    coalesced,
    crypto_frames,
    initial_keys,
    long_header,
    negotiation,
    packet_keys,
    unprotect,
)
from kzpcap.tls.records import HISTORY, Message, Side

MAX_CRYPTO = 65_536
MAX_MESSAGES = 17
MAX_KEYS = 8
MAX_FAILED = 128
"""Initials of a flow that no keys open, after which no more are tried."""
WELL_KNOWN = 1_024
MAX_CONNECTIONS = 256
"""Of one flow."""
MAX_TRIES = 8
"""Initials on which keys are tried that opened none."""


class Turns(NamedTuple):
    """How a QUIC connection began: its version, and the server's Retry or Version Negotiation (RFC 9000 section 17.2).

    Neither is protected (Version Negotiation not at all): anyone on the path can send one.
    """

    version: int
    """Of the last Initial of the client."""
    retry_frame: int | None = None
    negotiation_frame: int | None = None
    offered: tuple[int, ...] = ()
    """The versions that Version Negotiation lists."""


@dataclass(slots=True)
class Crypto:
    """The CRYPTO stream of one direction's Initial packets."""

    pieces: dict[int, tuple[bytes, Packet]] = field(default_factory=dict)

    def add(self, offset: int, data: bytes, packet: Packet) -> None:
        """Keep a frame; the longest at an offset counts."""
        if offset + len(data) <= MAX_CRYPTO and len(data) > len(self.pieces.get(offset, (b"", None))[0]):
            self.pieces[offset] = (data, packet)

    def assemble(self) -> list[tuple[int, bytes, list[tuple[int, Packet]]]]:
        """Contiguous runs: (offset, bytes, [(offset, packet that brought it)])."""
        runs: list[tuple[int, bytearray, list[tuple[int, Packet]]]] = []
        for offset in sorted(self.pieces):
            data, packet = self.pieces[offset]
            if runs and offset <= runs[-1][0] + len(runs[-1][1]):
                begin, body, owners = runs[-1]
                fresh = data[begin + len(body) - offset :]
                if fresh:
                    owners.append((begin + len(body), packet))
                    body += fresh
            else:
                runs.append((offset, bytearray(data), [(offset, packet)]))
        return [(begin, bytes(body), owners) for begin, body, owners in runs]


@dataclass(eq=False, slots=True)
class Begun:
    """One of a flow's connections: the direction of who began it, the ids it goes by, and its packets."""

    client: int
    own: set[bytes] = field(default_factory=set)
    """What the client is called."""
    first: set[bytes] = field(default_factory=set)
    """What the client called the server before that chose for itself."""
    chosen: set[bytes] = field(default_factory=set)
    refused: bool = False
    """Version Negotiation was the last answer: the client begins anew."""
    packets: list[Packet] = field(default_factory=list)

    def goes_on(self, header: LongHeader) -> bool:
        """Is a packet of the client's direction this connection's? Until the server's ids are seen, by the client's."""
        if header.dcid in self.first or header.dcid in self.chosen or self.refused:
            return True
        return not self.chosen and header.scid in self.own and header.scid != b""


def connections(flow: Flow) -> list[Flow]:
    """The connections of a flow, by their ids (RFC 9000 section 7.2): a client may keep one socket for many."""
    begun: list[Begun] = []
    before: list[Packet] = []
    for packet in flow.packets:
        one = _whose(packet, begun)
        (before if one is None else one.packets).append(packet)
    if len(begun) < 2:
        return [flow]
    begun[0].packets[:0] = before
    return [flow.part(one.packets) for one in begun if one.packets]


def _whose(packet: Packet, begun: list[Begun]) -> Begun | None:
    """The connection of a packet; one that it begins is added."""
    header = long_header(packet.payload, 0)
    latest = begun[-1] if begun else None
    if latest is None and packet.sport < WELL_KNOWN <= packet.dport:
        return None  # the server's, recorded before what it answers
    if header is None:
        if latest is not None and packet.direction != latest.client and negotiation(packet.payload) is not None:
            latest.refused = True
        return latest
    if latest is not None and packet.direction != latest.client:
        one = _answered(header, begun)
        one.chosen.add(header.scid)
        return one
    found = next((old for old in reversed(begun) if old.goes_on(header)), None)
    if found is None and header.kind == INITIAL and begun:
        found = _by_keys(packet.payload, header, begun)
        if found is not None:
            found.chosen.add(header.dcid)  # the server chose it, in a packet that is not there, or comes late
    if found is None:
        if header.kind != INITIAL or len(begun) >= MAX_CONNECTIONS:
            return latest
        found = Begun(packet.direction)
        begun.append(found)
    if found.refused or not found.first:
        found.first.add(header.dcid)
    found.own.add(header.scid)
    found.refused = False
    return found


def _by_keys(data: bytes, header: LongHeader, begun: list[Begun]) -> Begun | None:
    """The connection under whose first id an Initial was sealed, unless it is one that begins under its own."""
    if _opens(data, header, header.dcid):
        return None
    for old in begun[: -MAX_KEYS - 1 : -1]:
        if any(_opens(data, header, first) for first in old.first):
            return old
    return None


def _opens(data: bytes, header: LongHeader, dcid: bytes) -> bool:
    return any(unprotect(data, header, keys) is not None for keys in initial_keys(header.version, dcid, "client in"))


def _answered(header: LongHeader, begun: list[Begun]) -> Begun:
    """The connection that the server answers: by its own id, else the newest of that client's id without an answer."""
    asked = [old for old in reversed(begun) if header.dcid in old.own] or begun[::-1]
    return next(
        (old for old in asked if header.scid in old.chosen and header.scid != b""),
        next((old for old in asked if not old.chosen), asked[0]),
    )


def is_gquic(flow: Flow) -> bool:
    """Google's own QUIC (Q0xx), which is not TLS and is left alone."""
    for packet in flow.packets[:4]:
        first = packet.payload[0] if packet.payload else 0
        if packet.payload[1:3] == b"Q0" if first & 0x80 else first & 1 and packet.payload[9:11] == b"Q0":
            return True
    return False


def turns(flow: Flow, client: int) -> Turns:
    """What came before the handshake of a flow whose Initials could be read."""
    version = 0
    retry: int | None = None
    refused: int | None = None
    offered: tuple[int, ...] = ()
    for packet in flow.packets:
        header = long_header(packet.payload, 0)
        if packet.direction == client:
            if header is not None and header.kind == INITIAL:
                version = header.version
        elif header is None:
            listed = negotiation(packet.payload)
            if listed is not None and refused is None:
                refused, offered = packet.frame, listed
        elif header.kind == RETRY and retry is None:
            retry = packet.frame
    return Turns(version, retry, refused, offered)


def read(flow: Flow) -> tuple[Side, Side, int] | None:
    """(client's side, server's side, the client's direction); None where no Initial packet can be read."""
    for direction in (0, 1):
        sides = _read(flow, direction)
        if sides is not None:
            return (*sides, direction)
    return None


@dataclass(eq=False, slots=True)
class Candidate:
    """Keys that follow from a connection ID and have opened nothing so far: the first Initial may be damaged."""

    dcid: bytes
    keys: tuple[Keys, Keys]
    tries: int = 0


def _initials(flow: Flow) -> Iterator[tuple[Packet, LongHeader]]:
    for packet in flow.packets:
        for header in coalesced(packet.payload):
            if header.kind == INITIAL:
                yield packet, header


def _read(flow: Flow, client: int) -> tuple[Side, Side] | None:
    keys: list[tuple[Keys, Keys]] = []
    tried: set[tuple[int, bytes]] = set()
    opened: list[bytes] = []
    """Connection IDs by which a client's Initial was opened: a server that switches versions keeps to them."""
    candidates: list[Candidate] = []
    streams = (Crypto(), Crypto())
    early: list[tuple[Packet, LongHeader]] = []
    """The server's Initials that were recorded before any of the client's, which has the connection ID."""
    version: int | None = None
    failed = 0
    for initials in (_initials(flow), early):
        for packet, header in initials:
            from_client = packet.direction == client
            if failed >= MAX_FAILED:
                break
            if not from_client and not keys and initials is not early and len(early) < MAX_FAILED:
                early.append((packet, header))
                continue
            payload = None
            for ours, theirs in reversed(keys):
                payload = unprotect(packet.payload, header, ours if from_client else theirs)
                if payload is not None:
                    break
            for dcid in (header.dcid,) if from_client else tuple(opened):  # RFC 9368 section 2.3
                if payload is not None or (header.version, dcid) in tried:
                    continue
                if len(candidates) >= MAX_KEYS:
                    del candidates[0]  # the first Initials may be made up, to hide the true one
                tried.add((header.version, dcid))
                found = (initial_keys(header.version, dcid, label) for label in ("client in", "server in"))
                candidates += [Candidate(dcid, pair) for pair in zip(*found, strict=True)]
            for one in tuple(candidates) if payload is None else ():
                payload = unprotect(packet.payload, header, one.keys[0 if from_client else 1])
                if payload is not None:
                    del keys[: len(keys) + 1 - MAX_KEYS]
                    keys.append(one.keys)
                    opened.append(one.dcid)
                    candidates.remove(one)
                    break
                one.tries += 1
                if one.tries >= MAX_TRIES:
                    candidates.remove(one)
            if payload is None:
                failed += 1
                continue
            frames = crypto_frames(payload)
            if from_client and frames:
                if version not in (None, header.version) and frames[0][0] == 0:
                    streams = (Crypto(), Crypto())  # the client began anew after Version Negotiation
                version = header.version
            for offset, data in frames:
                streams[0 if from_client else 1].add(offset, data, packet)
    if not keys:
        return None
    sides = tuple(
        _side(stream, [p for p in flow.packets if (p.direction == client) == (index == 0)])
        for index, stream in enumerate(streams)
    )
    return sides[0], sides[1]


def handshake_crypto(flow: Flow, client: int, secret: bytes, kind: str, size: int, digest: str) -> Crypto:
    """The CRYPTO stream of the server's Handshake packets that open with its handshake traffic secret."""
    crypto = Crypto()
    keys: dict[int, Keys] = {}
    for packet in flow.packets:
        if packet.direction == client:
            continue
        for header in coalesced(packet.payload):
            if header.kind != HANDSHAKE or len(keys) > MAX_KEYS:
                continue
            if header.version not in keys:
                keys[header.version] = packet_keys(header.version, secret, kind, size, digest)
            payload = unprotect(packet.payload, header, keys[header.version])
            for offset, data in crypto_frames(payload or b""):
                crypto.add(offset, data, packet)
    return crypto


def _side(crypto: Crypto, packets: list[Packet]) -> Side:
    """The handshake messages of a CRYPTO stream."""
    side = Side(Stream(packets))
    for begin, data, owners in crypto.assemble():
        if begin != 0:
            side.lost = True
            continue
        at = 0
        while len(data) - at >= 4:
            length = int.from_bytes(data[at + 1 : at + 4], "big")
            body = data[at + 4 : at + 4 + length]
            last = max((owner for owner in owners if owner[0] < at + 4 + len(body)), key=_frame_of)[1]
            first = max((owner for owner in owners if owner[0] <= at), key=_offset_of)[1]
            side.begin = 0
            side.messages.append(Message(data[at], body, len(body) == length, at, first.frame, last))
            side.order.append((last, HISTORY.get(data[at], "z")))
            at += 4 + length
            if len(body) < length:
                break
            if len(side.messages) >= MAX_MESSAGES:
                side.full = at < len(data)
                break
    return side


def _frame_of(owner: tuple[int, Any]) -> int:
    frame: int = owner[1].frame
    return frame


def _offset_of(owner: tuple[int, Any]) -> int:
    return owner[0]
