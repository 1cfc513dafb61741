"""The resumable upload protocol tus 1.0.0 (tus.io): core, creation, termination, expiration.

The upload's address is its receipt: who knows it may go on, look and delete. One writer at a time; what is written is
on the disk before the offset says so.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os

from starlette.requests import Request
from starlette.responses import Response

from kzpcap.sealing import is_sealed
from kzpcap.upload.receive import Gate, Place, Refused, pieces
from kzpcap.upload.store import RECEIVING, TOLD, Upload
from kzpcap.upload.worker import Workers

HEADERS = {"Tus-Resumable": "1.0.0", "Cache-Control": "no-store"}
OFFERS = {"Tus-Version": "1.0.0", "Tus-Extension": "creation,termination,expiration"}
MAX_METADATA = 16_384
UNFINISHED = 16
"""Uploads that were begun, for each that is under way: beyond, the one with the fewest bytes makes room."""


def options(gate: Gate) -> Response:
    """What the server can do."""
    return Response(None, 204, {**HEADERS, **OFFERS, "Tus-Max-Size": str(gate.config.max_file)})


def _metadata(text: str) -> dict[str, str]:
    """Upload-Metadata: the fields that a volunteer may tell, nothing else (a file's name above all)."""
    found: dict[str, str] = {}
    for pair in text[:MAX_METADATA].split(","):
        key, _, value = pair.strip().partition(" ")
        if key in TOLD:
            try:
                found[key] = base64.b64decode(value, validate=True).decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                continue
    return found


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Refused("broken", 400)
    return int(text)


def create(request: Request, gate: Gate) -> Response:
    """A new upload of a known length; blocks on the disk."""
    length = _number(request, "upload-length")
    if not length:
        raise Refused("no_file", 400)
    gate.room(length)
    if gate.store.count(RECEIVING) >= UNFINISHED * gate.config.max_uploads and not gate.store.drop_smallest(
        gate.writers
    ):
        raise Refused("too_many", 503)
    told = _metadata(request.headers.get("upload-metadata", ""))
    name, receipt = gate.store.create(told)
    gate.store.length(name, length)
    handle = os.open(gate.store.part(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(handle)
    return Response(None, 201, {**HEADERS, "Location": f"/files/{receipt}"})


def _offset(gate: Gate, upload: Upload) -> int:
    if upload.state != RECEIVING:
        return upload.size
    try:
        return gate.store.part(upload.id).stat().st_size
    except OSError:
        raise Refused("no_receipt", 410) from None


def head(gate: Gate, upload: Upload) -> Response:
    """How far it got."""
    length = gate.store.length_of(upload.id) or upload.size
    offset = str(_offset(gate, upload))
    return Response(None, 200, {**HEADERS, "Upload-Offset": offset, "Upload-Length": str(length)})


async def patch(request: Request, gate: Gate, upload: Upload, workers: Workers) -> Response:
    """Go on where it broke off; the last piece begins the analysis."""
    if request.headers.get("content-type") != "application/offset+octet-stream":
        return Response(None, 415, HEADERS)
    offset, length = _number(request, "upload-offset"), gate.store.length_of(upload.id)
    if upload.state != RECEIVING or length is None or upload.id in gate.writers:
        return Response(None, 423 if upload.id in gate.writers else 409, HEADERS)
    place = gate.enter()
    gate.writers.add(upload.id)
    try:
        await asyncio.to_thread(gate.room, 0)
        if offset != _offset(gate, upload):
            return Response(None, 409, HEADERS)
        offset = await _write(request, gate, place, upload, offset, length)
        if offset == length:
            if is_sealed(gate.store.part(upload.id)):
                await asyncio.to_thread(gate.store.sealed, upload.id, length)
            else:
                await asyncio.to_thread(gate.store.arrived, upload.id, length)
                workers.wake.set()
    except FileNotFoundError:  # deleted meanwhile
        raise Refused("no_receipt", 410) from None
    finally:
        gate.writers.discard(upload.id)
        gate.leave(place)
    return Response(None, 204, {**HEADERS, "Upload-Offset": str(offset)})


async def _write(request: Request, gate: Gate, place: Place, upload: Upload, offset: int, length: int) -> int:
    """Append what comes, no more than was announced; what came before a break is kept."""
    try:
        with gate.store.part(upload.id).open("ab") as file:
            try:
                async for piece in pieces(request, gate, place):
                    if offset + len(piece) > length:
                        raise Refused("broken", 413)
                    file.write(piece)
                    offset += len(piece)
            finally:
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
    except OSError:
        raise Refused("full", 507) from None
    return offset
