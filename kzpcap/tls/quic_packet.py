"""QUIC packets with long headers, and their protection: RFC 9000, 9001, 9369 and the drafts met in the wild.

Initial keys follow from the client's first Destination Connection ID, so anyone may read Initial packets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

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
MAX_VERSIONS = 32
INITIAL, HANDSHAKE, RETRY = 0, 2, 3
PADDING = re.compile(rb"[\0\1]+")
"""PADDING and PING frames (RFC 9000 section 19.1, 19.2): one byte each."""


class LongHeader(NamedTuple):
    """A long-header packet inside a datagram; `end` is where the next one begins."""

    kind: int
    version: int
    dcid: bytes
    scid: bytes
    pn_offset: int
    start: int
    end: int


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
        dcid, scid = reader.vector(1), reader.vector(1)
        if len(dcid) > 20 or len(scid) > 20 or version == NEGOTIATION:
            return None
        kind = (first >> 4 & 3) if version not in V2_TYPES else (first >> 4 & 3) - 1 & 3
        if kind == RETRY:
            return LongHeader(kind, version, dcid, scid, reader.pos, start, len(data))
        if kind == INITIAL:
            token = varint(reader)
            reader.take(token)
        length = varint(reader)
        return LongHeader(kind, version, dcid, scid, reader.pos, start, min(len(data), reader.pos + length))
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
