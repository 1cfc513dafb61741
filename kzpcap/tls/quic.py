"""QUIC Initial packets to the ClientHello and ServerHello in them: RFC 9000, 9001, 9369 and the drafts met in the wild.

Initial keys follow from the client's first Destination Connection ID, so anyone may read them; with a key log the
server's Handshake packets are opened too (keylog.py), and nothing else. CRYPTO frames may lie over many packets and
come out of order; datagrams may hold several packets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet
from kzpcap.flows import Stream
from kzpcap.tls.records import HISTORY, Message, Side
from kzpcap.tls.secrets import aead, expand_label, extract
from kzpcap.wire import Reader, ShortRead

NEGOTIATION, V1, V2 = 0, 0x00000001, 0x6B3343CF
SALT_V1 = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
SALT_V2 = bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")
SALT_V2_DRAFT = bytes.fromhex("a707c203a59b47184a1d62ca570406ea7ae3e5d3")
SALT_29 = bytes.fromhex("afbfec289993d24c9e9786f19c6111e04390a899")
SALT_23 = bytes.fromhex("c3eef712c72ebb5a11a7d2432bb46365bef9f502")
SALT_21 = bytes.fromhex("7fbcdb0e7c66bbe9193a96cd21519ebd7a02644a")
DRAFT_SALTS = ((33, SALT_V1), (29, SALT_29), (23, SALT_23), (21, SALT_21))
"""The first draft with it, salt."""
OTHER_SALTS = {
    0xFACEB001: SALT_21,  # Facebook's mvfst, by the draft it followed
    0xFACEB002: SALT_23,
    0xFACEB00E: SALT_23,
    0x54303530: bytes.fromhex("7ff579e5acd072915580304c43a2367c60488310"),  # Google's T050, T051
    0x54303531: bytes.fromhex("7a4edef4e7ccee5fa4506c19124fc8ccda6e033d"),
}
V2_LIKE = {V2: SALT_V2, 0xFF020000: SALT_V2_DRAFT, 0x709A50C4: SALT_V2_DRAFT}
"""Version 2 and its drafts: other labels, and from the second draft on other numbers of the packet types."""
V2_TYPES = frozenset({V2, 0x709A50C4})
MAX_CRYPTO = 65_536
MAX_MESSAGES = 17
MAX_KEYS = 8
MAX_VERSIONS = 32
MAX_FAILED = 128
"""Initials of a flow that no keys open, after which no more are tried."""
MAX_TRIES = 8
"""Initials on which keys are tried that opened none."""
INITIAL, HANDSHAKE, RETRY = 0, 2, 3
PADDING = re.compile(rb"[\0\1]+")
"""PADDING and PING frames (RFC 9000 section 19.1, 19.2): one byte each."""


class LongHeader(NamedTuple):
    """A long-header packet inside a datagram; `end` is where the next one begins."""

    kind: int
    version: int
    dcid: bytes
    pn_offset: int
    start: int
    end: int


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


def salts(version: int) -> tuple[bytes, ...]:
    """The Initial salt of a version; for one that is not known, all that it may have borrowed.

    Whether a salt was right the packet's authentication says.
    """
    if version == V1:
        return (SALT_V1,)
    if version in V2_LIKE:
        return (V2_LIKE[version],)
    if version >> 8 == 0xFF0000:
        return tuple(value for first, value in DRAFT_SALTS if version & 0xFF >= first)[:1]
    if version in OTHER_SALTS:
        return (OTHER_SALTS[version],)
    return (SALT_V1, SALT_29, SALT_23, SALT_21)


def varint(reader: Reader) -> int:
    """RFC 9000 section 16."""
    first = reader.uint(1)
    value = first & 0x3F
    for _ in range((1 << (first >> 6)) - 1):
        value = value << 8 | reader.uint(1)
    return value


def long_header(data: bytes, start: int) -> LongHeader | None:
    """The long header at `start`; None for anything else."""
    reader = Reader(data, start)
    try:
        first = reader.uint(1)
        if not first & 0x80:
            return None
        version = reader.uint(4)
        dcid = reader.vector(1)
        if len(dcid) > 20 or len(reader.vector(1)) > 20 or version == NEGOTIATION:
            return None
        kind = (first >> 4 & 3) if version not in V2_TYPES else (first >> 4 & 3) - 1 & 3
        if kind == RETRY:
            return LongHeader(kind, version, dcid, reader.pos, start, len(data))
        if kind == INITIAL:
            token = varint(reader)
            reader.take(token)
        length = varint(reader)
        return LongHeader(kind, version, dcid, reader.pos, start, min(len(data), reader.pos + length))
    except ShortRead:
        return None


def coalesced(data: bytes) -> Iterator[LongHeader]:
    """The long-header packets of one datagram (RFC 9000 section 12.2)."""
    at = 0
    while at < len(data):
        header = long_header(data, at)
        if header is None or header.end <= at:
            return
        at = header.end
        yield header


class Keys(NamedTuple):
    """Packet protection keys of one direction at one level; `kind` is the AEAD."""

    key: bytes
    iv: bytes
    hp: bytes
    kind: str = "gcm"


def packet_keys(version: int, secret: bytes, kind: str = "gcm", size: int = 16, digest: str = "sha256") -> Keys:
    """The keys that follow from a traffic secret (RFC 9001 section 5.1, RFC 9369 section 3.3.2)."""
    prefix = "quicv2 " if version in V2_LIKE else "quic "
    return Keys(
        expand_label(secret, prefix + "key", size, digest),
        expand_label(secret, prefix + "iv", 12, digest),
        expand_label(secret, prefix + "hp", size, digest),
        kind,
    )


def initial_keys(version: int, dcid: bytes, label: str) -> tuple[Keys, ...]:
    """The keys of "client in" or "server in" by each salt of a version (RFC 9001 5.2, RFC 9369 3.3.1)."""
    return tuple(packet_keys(version, expand_label(extract(chosen, dcid), label, 32)) for chosen in salts(version))


def _mask(keys: Keys, sample: bytes) -> bytes:
    """The header protection mask (RFC 9001 section 5.4)."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    if keys.kind == "chacha":
        return Cipher(algorithms.ChaCha20(keys.hp, sample), None).encryptor().update(bytes(5))
    return Cipher(algorithms.AES(keys.hp), modes.ECB()).encryptor().update(sample)


class Unprotected(NamedTuple):
    """A packet in clear: its first byte, its packet number as sent, its payload."""

    first: int
    number: bytes
    payload: bytes


def unprotect(data: bytes, header: LongHeader, keys: Keys) -> bytes | None:
    """The payload of a long-header packet; None where the keys do not fit."""
    found = opened(data, header, keys)
    return None if found is None else found.payload


def opened(data: bytes, header: LongHeader, keys: Keys) -> Unprotected | None:
    """A long-header packet in clear (RFC 9001 sections 5.3 and 5.4); None where the keys do not fit.

    Packet numbers are taken as sent: a handshake does not get so far that they are cut short.
    """
    from cryptography.exceptions import InvalidTag

    sample = data[header.pn_offset + 4 : header.pn_offset + 20]
    if len(sample) < 16 or header.end - header.pn_offset < 20:
        return None
    mask = _mask(keys, sample)
    first = data[header.start] ^ (mask[0] & 0x0F)
    size = (first & 3) + 1
    number = bytes(data[header.pn_offset + i] ^ mask[1 + i] for i in range(size))
    aad = bytes([first]) + data[header.start + 1 : header.pn_offset] + number
    sealed = data[header.pn_offset + size : header.end]
    try:
        plain: bytes = aead(keys.kind, keys.key).decrypt(_nonce(keys, number), sealed, aad)
    except InvalidTag:
        return None
    return Unprotected(first, number, plain)


def sealed(found: Unprotected, rest: bytes, keys: Keys) -> bytes:
    """The packet of what was opened; `rest` is its header behind the first byte, up to the packet number."""
    head = bytes([found.first]) + rest + found.number
    made = bytearray(head + aead(keys.kind, keys.key).encrypt(_nonce(keys, found.number), found.payload, head))
    at = len(head) - len(found.number)
    mask = _mask(keys, bytes(made[at + 4 : at + 20]))
    made[0] ^= mask[0] & 0x0F
    for index in range(len(found.number)):
        made[at + index] ^= mask[1 + index]
    return bytes(made)


def _nonce(keys: Keys, number: bytes) -> bytes:
    return (int.from_bytes(keys.iv, "big") ^ int.from_bytes(number, "big")).to_bytes(12, "big")


def crypto_frames(payload: bytes) -> list[tuple[int, bytes]]:
    """(offset, data) of the CRYPTO frames of an Initial packet's payload."""
    return [(offset, data) for offset, data, _ in placed_crypto_frames(payload)[0]]


def placed_crypto_frames(payload: bytes) -> tuple[list[tuple[int, bytes, int]], int]:
    """The same, each with the position of its data in the payload; and up to where there are frames of an Initial."""
    reader = Reader(payload)
    end = 0
    found: list[tuple[int, bytes, int]] = []
    try:
        while reader.left() > 0:
            end = reader.pos
            if padding := PADDING.match(payload, reader.pos):  # most of a client's first datagram
                reader.pos = padding.end()
                continue
            kind = reader.uint(1)
            if kind in (2, 3):
                varint(reader)
                varint(reader)
                ranges = varint(reader)
                varint(reader)
                for _ in range(min(ranges, 4_096)):
                    varint(reader)
                    varint(reader)
                if kind == 3:
                    for _ in range(3):
                        varint(reader)
            elif kind in (6, 8):  # 8 in T050 and T051; elsewhere it is STREAM, which no Initial may hold
                offset = varint(reader)
                data = reader.take(varint(reader))
                found.append((offset, data, reader.pos - len(data)))
            else:
                return found, end
        end = reader.pos
    except ShortRead:
        pass
    return found, end


def is_gquic(flow: Flow) -> bool:
    """Google's own QUIC (Q0xx), which is not TLS and is left alone."""
    for packet in flow.packets[:4]:
        first = packet.payload[0] if packet.payload else 0
        if packet.payload[1:3] == b"Q0" if first & 0x80 else first & 1 and packet.payload[9:11] == b"Q0":
            return True
    return False


def negotiation(data: bytes) -> tuple[int, ...] | None:
    """The versions of a Version Negotiation packet (RFC 9000 section 17.2.1); None for anything else."""
    reader = Reader(data)
    try:
        if not reader.uint(1) & 0x80 or reader.uint(4) != NEGOTIATION:
            return None
        reader.vector(1)
        reader.vector(1)
    except ShortRead:
        return None
    body = reader.take(reader.left())
    if not body or len(body) % 4:
        return None
    return tuple(int.from_bytes(body[at : at + 4], "big") for at in range(0, len(body), 4))[:MAX_VERSIONS]


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
                if payload is not None or (header.version, dcid) in tried or len(tried) >= MAX_KEYS:
                    continue
                tried.add((header.version, dcid))
                found = (initial_keys(header.version, dcid, label) for label in ("client in", "server in"))
                candidates += [Candidate(dcid, pair) for pair in zip(*found, strict=True)]
            for one in tuple(candidates) if payload is None else ():
                payload = unprotect(packet.payload, header, one.keys[0 if from_client else 1])
                if payload is not None:
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
