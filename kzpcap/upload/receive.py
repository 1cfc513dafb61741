"""Bytes from the network to the disk: bounded, one writer an upload, and nowhere but in `incoming/`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from kzpcap.upload.config import Config
from kzpcap.upload.store import TOLD, Store

MAX_FIELDS = 16


class Refused(Exception):
    """An upload that is not taken: the word of words.py that says why, and the HTTP status."""

    def __init__(self, why: str, status: int) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


class Gate:
    """How many uploads there are at once, and whether there is room for one more."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store = store
        self.config = config
        self.open = 0
        self.writers: set[str] = set()

    def enter(self) -> None:
        """Begin one; Refused where there are too many."""
        if self.open >= self.config.max_uploads:
            raise Refused("too_many", 503)
        self.open += 1

    def leave(self) -> None:
        """End one."""
        self.open -= 1

    def room(self, size: int, landed: int = 0) -> None:
        """Is there room for so many bytes, of which `landed` are on the disk already? Refused where there is not."""
        config = self.config
        if size > config.max_file:
            raise Refused("too_large", 413)
        if self.store.received_today() + size > config.max_day or self.store.used() + size - landed > config.max_kept:
            raise Refused("full", 507)
        if self.store.free() - size < config.min_free:
            raise Refused("full", 507)


async def pieces(request: Request, idle: float) -> AsyncIterator[bytes]:
    """The body, piece by piece; Refused where it breaks off or sends nothing for `idle` seconds."""
    stream = request.stream()
    try:
        while True:
            try:
                piece = await asyncio.wait_for(anext(stream), idle)
            except StopAsyncIteration:
                return
            yield piece
    except (TimeoutError, ClientDisconnect):
        raise Refused("broken", 400) from None


class Form:
    """A multipart form as it comes: the file to the disk, the few fields to memory, all else to nowhere (RFC 7578)."""

    def __init__(self, boundary: bytes, path: Path, limit: int) -> None:
        self.path = path
        self.limit = limit
        self.size = 0
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
            self._out = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == "file" and self._out is not None:
            self.size += end - start
            if self.size > self.limit:
                raise Refused("too_large", 413)
            self._out.write(data[start:end])
        elif self._name in TOLD and len(self._text) < 4_096:
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


async def take_form(request: Request, gate: Gate, path: Path) -> Form:
    """Take a whole form; Refused, and nothing left of it, where it is none or too large."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise Refused("broken", 400)
    try:
        stated = int(request.headers.get("content-length", "0"))
    except ValueError:
        raise Refused("broken", 400) from None
    gate.room(max(0, stated - 65_536))
    form = Form(boundary, path, gate.config.max_file)
    try:
        since = 0
        async for piece in pieces(request, gate.config.idle_seconds):
            form.parser.write(piece)
            since += len(piece)
            if since > 32 << 20:
                since = 0
                gate.room(0)
        form.parser.finalize()
        await asyncio.to_thread(form.close)  # a full disk queue may take seconds, and pages come first
        gate.room(form.size, form.size)
    except FormParserError:
        raise Refused("broken", 400) from None
    except OSError:
        raise Refused("full", 507) from None
    return form
