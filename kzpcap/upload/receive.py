"""Bytes from the network to the disk: bounded, one writer an upload, and nowhere but in `incoming/`."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from kzpcap.upload.config import Config
from kzpcap.upload.store import TOLD, Store

MAX_FIELDS = 16
MAX_REST = 1 << 20
"""Bytes of a form beside its file."""
CHECKED = 8 << 20
"""After so many bytes it is asked again whether there is room."""
HURRY_SECONDS = 10
COUNTED_SECONDS = 60
"""So long the sum of what is kept is taken from memory, with what came since added to it."""
REFUSED_SECONDS = 1
LEAST_RATE = 4_096
"""Bytes a second below which an upload gives up its place, where all are taken: a phone in Tor Browser brings more."""


class Refused(Exception):
    """An upload that is not taken: the word of upload/words that says why, and the HTTP status."""

    def __init__(self, why: str, status: int) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


class Place:
    """One upload that is under way."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.taken = 0
        self.lost = False
        self.waiting: asyncio.Timeout | None = None

    @property
    def rate(self) -> float:
        """Bytes a second since it began; without end for one that has only just begun."""
        age = time.monotonic() - self.begun
        return self.taken / age if age >= HURRY_SECONDS else math.inf

    def lose(self) -> None:
        """End it, also while it waits for the next piece."""
        self.lost = True
        if self.waiting is not None:
            self.waiting.reschedule(asyncio.get_running_loop().time())


class Gate:
    """How many uploads there are at once, and whether there is room for one more."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store = store
        self.config = config
        self.places: set[Place] = set()
        self.writers: set[str] = set()
        self._counting = threading.Lock()
        self._counted = -math.inf
        self._sum = self._since = 0

    def enter(self) -> Place:
        """Begin one; where all places are taken, in that of the slowest. Refused where none is slow."""
        if len(self.places) >= self.config.max_uploads:
            slowest = min(self.places, key=lambda place: place.rate, default=None)
            if slowest is None or slowest.rate >= LEAST_RATE:
                raise Refused("too_many", 503)
            slowest.lose()
            self.places.discard(slowest)
        place = Place()
        self.places.add(place)
        return place

    def leave(self, place: Place) -> None:
        """End one."""
        self.places.discard(place)

    def room(self, size: int, landed: int = 0) -> None:
        """Is there room for so many bytes, of which `landed` are on the disk already? Refused where there is not.

        It may look at every file that is kept: for a thread.
        """
        config = self.config
        if size > config.max_file:
            raise Refused("too_large", 413)
        size_beside = size - landed
        if self._used() + size_beside > config.max_kept and self._used(REFUSED_SECONDS) + size_beside > config.max_kept:
            raise Refused("full", 507)  # counted anew before that: what was deleted since has its room again
        if self.store.received_today() + size > config.max_day:
            raise Refused("full", 507)
        if self.store.free() - size < config.min_free:
            raise Refused("full", 507)

    def came(self, size: int) -> None:
        """So many bytes more are on the disk."""
        self._since += size

    def _used(self, old: int = COUNTED_SECONDS) -> int:
        """Bytes that are kept: by a count that may be so many seconds old, and what came since."""
        with self._counting:
            now = time.monotonic()
            if now - self._counted > old:
                self._since = 0  # before the count: what comes while it lasts may count twice
                self._sum, self._counted = self.store.used(), now
            return self._sum + self._since


async def pieces(request: Request, gate: Gate, place: Place) -> AsyncIterator[bytes]:
    """The body, piece by piece; Refused where it breaks off, sends nothing for long, or there is no room for more."""
    stream = request.stream()
    unchecked = 0
    try:
        while True:
            try:
                async with asyncio.timeout(gate.config.idle_seconds) as place.waiting:
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            finally:
                place.waiting = None
            if place.lost:
                raise Refused("broken", 400)
            place.taken += len(piece)
            gate.came(len(piece))
            unchecked += len(piece)
            if unchecked > CHECKED:
                unchecked = 0
                await asyncio.to_thread(gate.room, 0)
            yield piece
    except (TimeoutError, ClientDisconnect):
        raise Refused("broken", 400) from None


class Form:
    """A multipart form as it comes: the file to the disk, the few fields to memory, all else to nowhere (RFC 7578)."""

    def __init__(self, boundary: bytes, path: Path, limit: int) -> None:
        self.path = path
        self.limit = limit
        self.size = self._rest = 0
        self.fields: dict[str, str] = {}
        self.seen_file = False
        self._out: IO[bytes] | None = None
        self._header = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._text = bytearray()
        self._parts = 0
        self.parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_header_field": self._field,
                "on_header_value": self._said,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
            },
        )

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_FIELDS:
            raise Refused("broken", 400)
        self._headers, self._text = {}, bytearray()

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _said(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name == "file" and self.seen_file:
            self._name = ""  # one file a form: a second one goes nowhere
        elif self._name == "file":
            self.seen_file = True
            self._out = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_TRUNC), "wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file" and self._out is not None:
            self.size += end - start
            if self.size > self.limit:
                raise Refused("too_large", 413)
            self._out.write(data[start:end])
            return
        self._rest += end - start
        if self._rest > MAX_REST:
            raise Refused("too_large", 413)
        if self._name in TOLD and len(self._text) < 4_096:
            self._text += data[start:end]

    def _end(self) -> None:
        if self._name in TOLD:
            self.fields[self._name] = self._text.decode("utf-8", "replace")

    def close(self) -> None:
        """The file is on the disk now."""
        if self._out is not None:
            self._out.flush()
            os.fsync(self._out.fileno())
            self._out.close()
            self._out = None


async def take_form(request: Request, gate: Gate, place: Place, path: Path) -> Form:
    """Take a whole form; Refused, and nothing left of it, where it is none or too large."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise Refused("broken", 400)
    try:
        stated = int(request.headers.get("content-length", "0"))
    except ValueError:
        raise Refused("broken", 400) from None
    await asyncio.to_thread(gate.room, max(0, stated - 65_536))
    path.touch(0o600, exist_ok=False)  # an upload without a file is one that was lost
    form = Form(boundary, path, gate.config.max_file)
    try:
        async for piece in pieces(request, gate, place):
            form.parser.write(piece)
        form.parser.finalize()
        await asyncio.to_thread(form.close)  # a full disk queue may take seconds, and pages come first
        await asyncio.to_thread(gate.room, form.size, form.size)
    except FormParserError:
        raise Refused("broken", 400) from None
    except OSError:
        raise Refused("full", 507) from None
    return form
