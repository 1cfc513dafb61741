"""Which bytes of one direction of a TLS connection stay, which are written anew, by record and message.

Record headers and message headers stay, so that lengths and order can be read. Of the bodies only what is named here
stays; application data, all that is encrypted, client certificates and key exchanges of the client are zero.
RFC 8446 sections 4 and 5, RFC 5246 section 7.4.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kzpcap.flows import Run, Stream
from kzpcap.iana import PROTOCOL
from kzpcap.tls import codes, records
from kzpcap.tls.messages import (
    ALPN,
    ECH,
    GROUPS,
    HELLO_RETRY_RANDOM,
    KEY_SHARE,
    POINT_FORMATS,
    PRE_SHARED_KEY,
    SCT,
    SERVER_NAME,
    SESSION_TICKET,
    SIGNATURE_ALGORITHMS,
    STATUS_REQUEST,
    SUPPORTED_VERSIONS,
)
from kzpcap.wire import Reader, ShortRead

CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, CERTIFICATE = 1, 2, 4, 11
SERVER_KEY_EXCHANGE, CERTIFICATE_STATUS = 12, 22
HELLO_VERSIONS = (b"\x03", b"\x7f", b"\xfb")
"""The first byte of a hello's version: SSL 3.0 and TLS, drafts, Facebook's experiments."""
CONNECTION_EXTENSIONS = frozenset({KEY_SHARE, SESSION_TICKET, PRE_SHARED_KEY, ECH, 42, 44, 57})
"""What tells one connection from another: keys, tickets, early data, cookies, QUIC's parameters."""
LISTS = {
    GROUPS: (2, 2), POINT_FORMATS: (1, 1), SIGNATURE_ALGORITHMS: (2, 2), SUPPORTED_VERSIONS: (1, 2), 27: (1, 2),
    34: (2, 2), 45: (1, 1), 50: (2, 2),
}  # fmt: skip
"""Extensions that say what a program can do, and nothing of who uses it (IANA's registry): bytes of the length in front
of the list, and of each number in it. One that is no such list may be anything."""
MAX_LISTED = 64
NO_RESPONDERS = {
    STATUS_REQUEST: re.compile(rb"\x01\x00{4}"),
    17: re.compile(rb"\x00[\x07\x0e](?:[\x01\x02]\x00\x04\x00{4}){1,2}"),
}
"""status_request and its second version as programs send them: their lists of responders and extensions are empty."""
SIZES = {1: 1, SCT: 0, 21: 0, 22: 0, 23: 0, 28: 2, 49: 0, 13_172: 0, 65_281: 1}
"""How many bytes those have in a ClientHello that are of one size there (NPN too); padding (21) is zeros."""
PROTOCOL_SETTINGS = frozenset({17_513, 17_613})
"""ALPS, which holds names of protocols, as ALPN does."""
ANSWERS = {
    SERVER_NAME: 0, 1: 1, STATUS_REQUEST: 0, 22: 0, 23: 0, 28: 2, SESSION_TICKET: 0, PRE_SHARED_KEY: 2,
    SUPPORTED_VERSIONS: 2, 65_281: 1,
}  # fmt: skip
"""How many bytes they have in a ServerHello: who answers could mark a subscriber in what is longer."""
SENTINEL = 8
"""The last bytes of ServerHello.random may be the downgrade sentinel of RFC 8446 section 4.1.3."""
MAX_RECORDS = 4_096


@dataclass(frozen=True, slots=True)
class Change:
    """Bytes `begin` to `end` of a message's body are to be `value`; zero where that is None."""

    begin: int
    end: int
    value: bytes | None = None


@dataclass(frozen=True)
class Policy:
    """What of a connection stays."""

    names: frozenset[bytes] = frozenset()
    """Server names that stay, raw; others become digests of the same length."""
    exact: bool = True
    """Randoms, session ids, tickets and key shares stay as they are."""
    certificates: str = "all"
    """all, none, or issuers: of those none but `issuers` by their SHA-256; the leaf is zero, wherever it stands."""
    key: bytes = b""
    """Of the digests; thrown away afterwards."""
    issuers: frozenset[str] = frozenset()
    verified: frozenset[str] | None = None
    """The certificates that may stay, where not every one of a list may."""

    def digest(self, value: bytes, purpose: bytes = b"value") -> bytes:
        """Bytes of the same length that are equal where the originals are, and say nothing else of them."""
        out = b""
        key = hmac.digest(self.key, purpose, hashlib.sha256)  # what a server may choose is never asked under a name's
        while len(out) < len(value):
            out += hmac.digest(key, len(out).to_bytes(4, "big") + value, hashlib.sha256)
        return out[: len(value)]

    def name(self, name: bytes) -> bytes:
        """A name of the same length in the place of one that does not stay; below `.invalid` where there is room."""
        folded = name.lower().rstrip(b".")
        if folded in self.names:
            return name
        letters = bytes(97 + byte % 26 for byte in self.digest(folded + bytes(len(name)), b"name"))
        end = b".invalid"
        room = len(name) - len(end)
        return letters[: len(name)] if room < 4 else letters[:room] + end


@dataclass
class Mask:
    """What stays of a stream, in stream offsets; what is in neither list is zero."""

    keep: list[tuple[int, int]] = field(default_factory=list)
    put: list[tuple[int, bytes]] = field(default_factory=list)
    encrypted: list[tuple[int, int, int]] = field(default_factory=list)
    """(offset, length, frame) of application-data records."""

    def within(self, begin: int, end: int) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, bytes], ...]]:
        """What of it lies between two stream offsets, relative to the first."""
        kept = tuple(
            (max(one, begin) - begin, min(two, end) - begin)
            for one, two in self.keep[_one_before(self.keep, begin) : bisect_left(self.keep, (end,))]
            if two > begin
        )
        written = tuple(
            (max(at, begin) - begin, value[max(0, begin - at) : end - at])
            for at, value in self.put[_one_before(self.put, begin) : bisect_left(self.put, (end,))]
            if at + len(value) > begin
        )
        return kept, written


def _one_before(ordered: Sequence[tuple[int, Any]], begin: int) -> int:
    """Where the last of them stands that begins before an offset, and so may reach beyond it: they do not overlap."""
    return max(0, bisect_left(ordered, (begin,)) - 1)


def mask(stream: Stream, from_client: bool, policy: Policy, begin: int | None, upgraded: bool = False) -> Mask:
    """The mask of one direction whose TLS starts at `begin`; nothing stays where there is none."""
    found = Mask()
    if begin is None:
        return found
    side = records.read(stream, upgraded)
    changed_cipher = False
    offsets = sorted({record.offset for record in side.encrypted} | {message.offset - 5 for message in side.messages})
    for run in stream.runs:
        start = _start(offsets, run, begin)
        if start is not None:
            changed_cipher = _run(found, stream, run, start, from_client, policy, changed_cipher)
    found.keep.sort()
    found.put.sort()
    return found


def _start(offsets: list[int], run: Run, begin: int) -> int | None:
    """Where in a run records begin: at the start of TLS, else where a record of it was read or can stand."""
    if run.offset <= begin < run.offset + len(run.data):
        return begin - run.offset
    if run.offset < begin:
        return None
    if records.looks_like_record(run.data, 0):
        return 0
    place = bisect_left(offsets, run.offset)
    if place < len(offsets) and offsets[place] < run.offset + len(run.data):
        return offsets[place] - run.offset
    return None


def _run(
    found: Mask, stream: Stream, run: Run, at: int, from_client: bool, policy: Policy, changed_cipher: bool
) -> bool:
    """Walk the records of one run; gives whether ChangeCipherSpec was met by its end."""
    data = run.data
    layer = Layer(sound=run.offset == 0)
    for _ in range(MAX_RECORDS):
        if len(data) - at < 5:
            if len(data) > at and records.looks_like_record(data, at, False):
                found.keep.append((run.offset + at, run.offset + len(data)))
            break
        if not records.looks_like_record(data, at, False):
            resumed = next(
                (s - run.offset for s in stream.starts if at < s - run.offset < len(data)
                 and records.looks_like_record(data, s - run.offset)),
                None,
            )  # fmt: skip
            if resumed is None:
                break
            at = resumed
            continue
        kind = data[at]
        length = data[at + 3] << 8 | data[at + 4]
        begin, stop = at + 5, min(len(data), at + 5 + length)
        found.keep.append((run.offset + at, run.offset + begin))
        clear = kind == codes.HANDSHAKE and (not changed_cipher or records.is_clear_hello(data, begin, stop))
        if clear:
            layer.add(data[begin:stop], run.offset + begin)
        elif kind == codes.CHANGE_CIPHER_SPEC:
            changed_cipher = True
            found.keep.append((run.offset + begin, run.offset + min(stop, begin + 1)))
        elif kind == codes.ALERT and length == 2:
            found.keep.append((run.offset + begin, run.offset + stop))
        elif kind == codes.APPLICATION_DATA:
            frame = stream.packet_at(run.offset + at).frame
            found.encrypted.append((run.offset + at, length, frame))
        at += 5 + length
    for message in layer.messages():
        _message(found, layer, message, from_client, policy)
    return changed_cipher


@dataclass
class Layer:
    """The handshake layer of a run: its bytes, and where in the stream each piece of them stood."""

    data: bytearray = field(default_factory=bytearray)
    sound: bool = True
    """It begins where TLS does: no part of a message can be taken for another."""
    pieces: list[tuple[int, int]] = field(default_factory=list)

    def add(self, piece: bytes, offset: int) -> None:
        """The body of one record, which stood at this stream offset."""
        self.pieces.append((len(self.data), offset))
        self.data += piece

    def messages(self) -> Iterator[tuple[int, int, int]]:
        """(type, begin, end) of each message's body; the last may be cut."""
        at = 0
        while len(self.data) - at >= 4:
            length = int.from_bytes(self.data[at + 1 : at + 4], "big")
            yield self.data[at], at + 4, min(len(self.data), at + 4 + length)
            at += 4 + length

    def spans(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(position, stream begin, stream end) of what lies between two positions, piece by piece."""
        for index in range(_one_before(self.pieces, begin), len(self.pieces)):
            position, offset = self.pieces[index]
            if position >= end:
                break
            stop = self.pieces[index + 1][0] if index + 1 < len(self.pieces) else len(self.data)
            low, high = max(begin, position), min(end, stop)
            if low < high:
                yield low, offset + low - position, offset + high - position


def _message(found: Mask, layer: Layer, message: tuple[int, int, int], from_client: bool, policy: Policy) -> None:
    kind, begin, end = message
    body = bytes(layer.data[begin:end])
    for _, low, high in layer.spans(begin - 4, begin):
        found.keep.append((low, high))
    changes = sorted(_changes(kind, body, from_client, policy, layer.sound), key=lambda change: change.begin)
    at = 0
    for change in [*changes, Change(len(body), len(body))]:
        for _, low, high in layer.spans(begin + at, begin + change.begin):
            found.keep.append((low, high))
        if change.value is not None:
            for position, low, high in layer.spans(begin + change.begin, begin + change.end):
                first = position - begin - change.begin
                found.put.append((low, change.value[first : first + high - low]))
        at = max(at, change.end)


def _plausible(kind: int, body: bytes) -> bool:
    """Can this be such a message, where what came before it was not seen? The middle of another may look like it."""
    if kind == SERVER_HELLO:
        return body[:1] in HELLO_VERSIONS
    if kind == CERTIFICATE:
        return len(body) > 6 and int.from_bytes(body[:3], "big") == len(body) - 3 and body[6:7] in (b"\x30", b"\0")
    if kind == SERVER_KEY_EXCHANGE:
        return body[:1] == b"\x03" and len(body) > 4 and len(body) > 4 + body[3] and 100 < len(body) < 1_200
    return kind == CERTIFICATE_STATUS and body[:1] == b"\x01" and int.from_bytes(body[1:4], "big") == len(body) - 4


def _changes(kind: int, body: bytes, from_client: bool, policy: Policy, sound: bool = True) -> list[Change]:
    """What of a message's body does not stay; `sound` where the server's side was read from its beginning."""
    everything = [Change(0, len(body))]
    if from_client:
        # Behind a gap, the middle of another message may begin with any byte.
        hello = kind == CLIENT_HELLO and body[:1] in HELLO_VERSIONS
        return list(client_hello(body, policy)) if hello else everything
    if not sound and not _plausible(kind, body):
        return everything
    if kind == SERVER_HELLO:
        return list(server_hello(body, policy))
    if kind == CERTIFICATE:
        return list(certificate_list(body, policy))
    if kind == SERVER_KEY_EXCHANGE:
        return [] if policy.exact else everything
    if kind == CERTIFICATE_STATUS:
        return [] if policy.certificates == "all" else everything
    if kind == NEW_SESSION_TICKET:
        return [] if policy.exact else [Change(min(6, len(body)), len(body), policy.digest(body[6:]))]
    return everything


def client_hello(body: bytes, policy: Policy) -> Iterator[Change]:
    """The name, and unless all is exact everything that could tell one client or connection from another."""
    reader = Reader(body)
    try:
        reader.take(2)
        yield from _digested(reader, 32, policy)
        yield from _digested(reader, reader.uint(1), policy)
        reader.vector(2)
        reader.vector(1)
        if not reader.left():
            return
        stated = reader.uint(2)
        end = min(len(body), reader.pos + stated)
        while end - reader.pos > 0:
            kind, length = reader.uint(2), reader.uint(2)
            begin = reader.pos
            ext = reader.take(min(length, max(0, end - begin)))
            yield from _client_extension(kind, ext, begin, policy)
        yield Change(min(reader.pos, len(body)), len(body))  # what stands behind the list is nobody's
    except ShortRead:
        yield Change(min(reader.pos, len(body)), len(body))  # what is cut in the middle cannot be told apart


def _digested(reader: Reader, size: int, policy: Policy) -> Iterator[Change]:
    begin = reader.pos
    value = reader.take(size)
    if not policy.exact and value:
        yield Change(begin, begin + size, policy.digest(value))


def _client_extension(kind: int, body: bytes, begin: int, policy: Policy) -> Iterator[Change]:
    if kind == SERVER_NAME:
        yield from _names(body, begin, policy)
    elif kind == ALPN or kind in PROTOCOL_SETTINGS:
        yield from _protocols(body, begin)
    elif kind in SIZES:
        if len(body) > SIZES[kind]:
            yield Change(begin, begin + len(body))
    elif kind in CONNECTION_EXTENSIONS:
        if policy.exact:
            return
        if kind == KEY_SHARE:
            yield from _shares(body, begin, policy, 2)
        elif kind == ECH:
            yield Change(begin + min(1, len(body)), begin + len(body), policy.digest(body[1:]))
        else:
            yield Change(begin, begin + len(body), policy.digest(body))
    elif not (_is_list(kind, body) or (kind & 0x0F0F == 0x0A0A and len(body) <= 1)):
        yield Change(begin, begin + len(body))


def _is_list(kind: int, body: bytes) -> bool:
    """Is it one of the extensions that are lists of numbers, and such a list?"""
    if kind in NO_RESPONDERS:
        return NO_RESPONDERS[kind].fullmatch(body) is not None
    if kind not in LISTS:
        return False
    front, size = LISTS[kind]
    rest = len(body) - front
    return 0 < rest <= MAX_LISTED * size and rest % size == 0 and int.from_bytes(body[:front], "big") == rest


def _protocols(body: bytes, begin: int) -> Iterator[Change]:
    """ALPN's names (RFC 7301): those that are registered or GREASE; what a program made up may be anything."""
    reader = Reader(body)
    try:
        reader.uint(2)
        while reader.left():
            length = reader.uint(1)
            at = reader.pos
            name = reader.take(length)
            grease = length == 2 and name[0] == name[1] and name[0] & 0x0F == 0x0A
            if not (grease or PROTOCOL.fullmatch(name)):
                yield Change(begin + at, begin + at + length)
    except ShortRead:
        yield Change(begin + min(2, len(body)), begin + len(body))


def _names(body: bytes, begin: int, policy: Policy) -> Iterator[Change]:
    """Each host_name of server_name (RFC 6066 section 3); other kinds of names do not stay."""
    reader = Reader(body)
    try:
        reader.uint(2)
        while reader.left():
            kind, length = reader.uint(1), reader.uint(2)
            at = reader.pos
            name = reader.take(length)
            if kind != 0:
                yield Change(begin + at, begin + at + length)
            else:
                other = policy.name(name)
                if other != name:
                    yield Change(begin + at, begin + at + length, other)
    except ShortRead:
        yield Change(begin + min(2, len(body)), begin + len(body))


def _shares(body: bytes, begin: int, policy: Policy, skip: int) -> Iterator[Change]:
    """The keys of key_share; the groups stay."""
    reader = Reader(body)
    try:
        reader.take(skip)
        while reader.left():
            reader.uint(2)
            length = reader.uint(2)
            at = reader.pos
            value = reader.take(length)
            yield Change(begin + at, begin + at + length, policy.digest(value))
    except ShortRead:
        yield Change(begin, begin + len(body))


def server_hello(body: bytes, policy: Policy) -> Iterator[Change]:
    """The random but for what may be a sentinel, the session id and the key share, unless all is exact."""
    if policy.exact:
        return
    reader = Reader(body)
    try:
        reader.take(2)
        random = reader.take(32)
        if random != HELLO_RETRY_RANDOM:
            end = 34 - SENTINEL if random[-SENTINEL:-1] == b"DOWNGRD" else 34
            yield Change(2, end, policy.digest(random)[: end - 2])
        yield from _digested(reader, reader.uint(1), policy)
        reader.take(3)
        if not reader.left():
            return
        reader.uint(2)
        while reader.left():
            kind, length = reader.uint(2), reader.uint(2)
            begin = reader.pos
            ext = reader.take(min(length, reader.left()))
            if kind == KEY_SHARE and len(ext) > 2:
                yield from _shares(ext, begin, policy, 0)
            elif kind == ALPN:
                yield from _protocols(ext, begin)
            elif not (_is_list(kind, ext) or (kind == KEY_SHARE and len(ext) == 2) or len(ext) <= ANSWERS.get(kind, 0)):
                yield Change(begin, begin + len(ext))
    except ShortRead:
        yield Change(min(reader.pos, len(body)), len(body))


def _stays(der: bytes, is_leaf: bool, policy: Policy) -> bool:
    if policy.certificates == "all" and policy.verified is None:
        return True
    digest = hashlib.sha256(der).hexdigest()
    if policy.verified is not None and digest not in policy.verified:
        return False
    return policy.certificates == "all" or (
        policy.certificates == "issuers" and not is_leaf and digest in policy.issuers
    )


def certificate_list(body: bytes, policy: Policy) -> Iterator[Change]:
    """The certificates as the policy has them; the lengths stay (RFC 5246 section 7.4.2).

    One that is cut decides nothing, and may bear any name: it does not stay.
    """
    reader = Reader(body)
    try:
        reader.uint(3)
        first = True
        while reader.left():
            length = reader.uint(3)
            begin, whole = reader.pos, length <= reader.left()
            der = reader.take(min(length, reader.left()))
            if not whole or not _stays(der, first, policy):
                yield Change(begin, reader.pos)
            first = False
    except ShortRead:
        yield Change(min(reader.pos, len(body)), len(body))
