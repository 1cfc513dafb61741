# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=True
"""The record layer of one direction: handshake messages, alerts and the rest, each with the packet that completed it.

RFC 8446 section 5, RFC 5246 section 6.2. A message may lie over many records and segments, a record may hold several
messages. After a gap the reader looks for the next record that can be one; nothing is read across the gap.

The file runs as it is; records.pxd gives the compiled form its types.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from kzpcap.capture.packet import Packet
from kzpcap.flows import Run, Stream, index_at
from kzpcap.iana import HANDSHAKE_TYPES
from kzpcap.tls import codes
from kzpcap.tls.messages import ClientHello, sslv2_client_hello

HELLO = re.compile(rb"(?:\x16\x03(?s:.)\0\0){0,64}\x16\x03(?s:...)(?:[\x01\x02]\x00(?s:..)[\x03\x7f\xfb](?s:.)|\Z)")
"""A record that starts with a hello: record header, message header, protocol version.

The minor version of a record means nothing (RFC 8446 section 5.1, RFC 5246 appendix E.1), and empty records of
handshake messages are read over by clients in use, though none may be sent.
"""


class Message:
    """A handshake message in clear; `packet` brought its last byte, `first_frame` its first."""

    def __init__(self, kind: int, body: bytes, complete: bool, offset: int, first_frame: int, packet: Packet) -> None:
        self.kind = kind
        self.body = body
        self.complete = complete
        self.offset = offset
        self.first_frame = first_frame
        self.packet = packet


class Alert(NamedTuple):
    """An alert in clear, or (`code` None) one that is encrypted."""

    level: int | None
    code: int | None
    packet: Packet


class EncryptedRecord(NamedTuple):
    """A record that cannot be read without keys: where it stood and how long it is."""

    kind: int
    offset: int
    length: int
    packet: Packet


class Side:
    """What one direction said.

    `begin` is the stream offset of the first TLS byte, None where there is no TLS; `order` what came, in letters of the
    history, with the packet of each; `lost`: bytes are missing inside the TLS part; `malformed`: the frame of the first
    bytes that are no record where one should stand; `full`: there were more messages than are kept.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.begin: int | None = None
        self.messages: list[Message] = []
        self.alerts: list[Alert] = []
        self.cipher_change: Packet | None = None
        self.encrypted: list[EncryptedRecord] = []
        self.application_bytes = 0
        self.order: list[tuple[Packet, str]] = []
        self.sslv2: tuple[ClientHello, Packet] | None = None
        self.lost = False
        self.malformed: int | None = None
        self.asked = False
        """A HelloRequest came: clients read over it, and so is every further one."""
        self.full = False

    def note(self, packet: Packet, letter: str) -> None:
        """Add to `order`, as far as the history goes."""
        if len(self.order) < codes.MAX_ORDER:
            self.order.append((packet, letter))


HISTORY = {
    0: "h", 1: "c", 2: "s", 3: "v", 4: "t", 5: "e", 8: "o", 11: "x", 12: "k", 13: "r", 14: "n", 15: "y", 16: "g",
    20: "f", 21: "w", 22: "u", 23: "a", 24: "p", 25: "x",
}  # fmt: skip
"""Zeek's ssl_history letters."""


def looks_like_record(data: bytes, at: int, strict: bool = True) -> bool:
    """Can a TLS record start at `at`? With `strict`, its version, its body and what follows must fit too."""
    if len(data) - at < 5:
        return not strict and len(data) - at > 0 and 20 <= data[at] <= 24
    kind = data[at]
    length = data[at + 3] << 8 | data[at + 4]
    if not 20 <= kind <= 24 or data[at + 1] != 3 or length > codes.MAX_RECORD:
        return False
    if length == 0 and kind != codes.HANDSHAKE and kind != codes.APPLICATION_DATA:
        return False
    if not strict:
        return True
    if kind == codes.HANDSHAKE and HELLO.match(data, at) and len(data) - at >= 11:
        return True
    if data[at + 2] > 4 or length == 0:
        return False
    if kind == codes.CHANGE_CIPHER_SPEC:
        return length == 1
    if kind == codes.ALERT and length != 2 and length < 16:
        return False
    follow = at + 5 + length
    if kind == codes.HANDSHAKE and len(data) > at + 5 and data[at + 5] not in HANDSHAKE_TYPES:
        return follow + 5 <= len(data) and looks_like_record(data, follow, False)
    if follow + 5 <= len(data):
        return looks_like_record(data, follow, False)
    return True


def read(stream: Stream, upgraded: bool = False) -> Side:
    """Read one direction; with `upgraded`, another protocol stands before TLS and the hello may begin anywhere."""
    side = Side(stream)
    expected: int | None = None
    for run in stream.runs:
        at = _start(side, run, expected, upgraded)
        if at is None:
            if side.begin is not None:
                side.lost = True
            continue
        if side.begin is None:
            side.begin = run.offset + at
        elif expected != run.offset + at:
            side.lost = True
        expected = _run(side, run, at)
    return side


def _start(side: Side, run: Run, expected: int | None, upgraded: bool) -> int | None:
    """Where in this run the records begin."""
    data = run.data
    if side.begin is None and side.stream.from_start and run.offset == 0 and 0 < len(data) < 11 and data[0] == 22:
        return 0  # the beginning of a hello, cut
    if side.begin is None:
        old = sslv2_client_hello(data) if run.offset == 0 else None
        if old is not None:
            hello, size = old
            packet = side.stream.packet_at(min(run.offset + size, run.offset + len(data)) - 1)
            side.sslv2 = (hello, packet)
            side.order.append((packet, "c"))
            return min(size, len(data))
    elif expected is not None and run.offset <= expected < run.offset + len(data):
        at = expected - run.offset
        if looks_like_record(data, at, False):
            return at
    if looks_like_record(data, 0):
        return 0
    starts = side.stream.starts
    index, end = index_at(starts, run.offset), run.offset + len(data)
    while index < len(starts) and starts[index] < end:
        at = starts[index] - run.offset
        if at > 0 and looks_like_record(data, at) and (side.begin is not None or _opening(data, at, side)):
            return at
        index += 1
    if upgraded:
        found = HELLO.search(data)
        if found and looks_like_record(data, found.start()):
            return found.start()
    return None


def _opening(data: bytes, at: int, side: Side) -> bool:
    """May TLS begin here? From the start of a connection only with a hello; in the middle of one with any record."""
    return HELLO.match(data, at) is not None or not side.stream.from_start


def _run(side: Side, run: Run, at: int) -> int:
    """Read the records of one run; gives the stream offset where the next record should begin."""
    data = run.data
    stream = side.stream
    pending = bytearray()
    marks: list[tuple[int, int]] = []  # (position in pending, stream offset)
    size = len(data)
    offset = run.offset
    while size - at >= 5:
        if not looks_like_record(data, at, False):
            side.malformed = side.malformed or stream.packet_at(offset + at).frame
            resumed = _resume(side, run, at)
            if resumed is None:
                break
            pending.clear()
            marks.clear()
            side.lost = True
            at = resumed
            continue
        kind = data[at]
        length = data[at + 3] << 8 | data[at + 4]
        start = at + 5
        stop = min(size, start + length)
        packet = stream.packet_at(offset + max(stop - 1, at))
        if kind == codes.HANDSHAKE and (side.cipher_change is None or is_clear_hello(data, start, stop)):
            marks.append((len(pending), offset + start))
            pending += data[start:stop]
            _messages(side, pending, marks, False)
        elif kind == codes.HANDSHAKE:
            side.note(packet, "z")
            if len(side.encrypted) < codes.MAX_ENCRYPTED:
                side.encrypted.append(EncryptedRecord(kind, offset + at, length, packet))
        elif kind == codes.CHANGE_CIPHER_SPEC:
            side.cipher_change = side.cipher_change or packet
            side.note(packet, "i")
        elif kind == codes.ALERT and len(side.alerts) < codes.MAX_ALERTS:
            if length == 2 and stop - start == 2:
                side.alerts.append(Alert(data[start], data[start + 1], packet))
            else:
                side.alerts.append(Alert(None, None, packet))
            side.note(packet, "l")
        elif kind == codes.APPLICATION_DATA:
            if not side.application_bytes:
                side.order.append((packet, "d"))
            side.application_bytes += length
            if len(side.encrypted) < codes.MAX_ENCRYPTED:
                side.encrypted.append(tuple.__new__(EncryptedRecord, (kind, offset + at, length, packet)))
        at = start + length
    if pending:
        _messages(side, pending, marks, True)
    return offset + at


def _resume(side: Side, run: Run, at: int) -> int | None:
    """The next segment that starts with a record, after bytes that are none."""
    data = run.data
    starts = side.stream.starts
    index, end = index_at(starts, run.offset + at), run.offset + len(data)
    while index < len(starts) and starts[index] < end:
        place = starts[index] - run.offset
        if place > at and looks_like_record(data, place):
            return place
        index += 1
    return None


def is_clear_hello(data: bytes, start: int, stop: int) -> bool:
    """A hello in clear after ChangeCipherSpec: the second ClientHello of a HelloRetryRequest in compatibility mode."""
    if stop - start < 6 or data[start] not in (1, 2):
        return False
    return (
        data[start + 1] == 0
        and data[start + 4] == 3
        and abs((data[start + 2] << 8 | data[start + 3]) + 4 - (stop - start)) < 4_096
    )


def _messages(side: Side, pending: bytearray, marks: list[tuple[int, int]], final: bool) -> None:
    """Take whole messages off the front of `pending`; with `final`, also one that is cut."""
    at = 0
    while len(pending) - at >= 4 and len(side.messages) < codes.MAX_MESSAGES:
        length = pending[at + 1] << 16 | pending[at + 2] << 8 | pending[at + 3]
        if length > codes.MAX_MESSAGE:
            side.malformed = side.malformed or side.stream.packet_at(_stream_offset(marks, at)).frame
            at = len(pending)
            break
        whole = len(pending) - at >= 4 + length
        if not whole and not final:
            break
        kind = pending[at]
        if kind == 0 and length == 0:
            if side.asked:
                at += 4
                continue
            side.asked = True
        offset = _stream_offset(marks, at)
        body = bytes(pending[at + 4 : at + 4 + length])
        at += 4 + len(body)
        packet = side.stream.packet_at(_stream_offset(marks, at - 1))
        first = side.stream.packet_at(offset)
        side.messages.append(Message(kind, body, whole, offset, first.frame, packet))
        side.order.append((packet, HISTORY.get(kind, "z")))
    if len(pending) - at >= 4 and len(side.messages) >= codes.MAX_MESSAGES:
        side.full = True
    if final or at == len(pending):
        pending.clear()
        marks.clear()
    elif at:
        del pending[:at]
        rest = [(position - at, place) for position, place in marks if position > at]
        marks[:] = [(0, _stream_offset(marks, at)), *rest]


def _stream_offset(marks: list[tuple[int, int]], position: int) -> int:
    """The stream offset of a byte of the handshake layer."""
    index = len(marks) - 1
    mark = marks[index]
    while index and mark[0] > position:
        index -= 1
        mark = marks[index]
    return mark[1] + position - mark[0]
