"""Several files of one recording as one capture: the files of a ring buffer, or a scan's target and control apart.

Their packets are written in the order of time into a temporary pcapng, and that is read like any other. Frames are
counted through all files, as in what `mergecap -w all.pcapng FILES` writes. Link types, clocks to the nanosecond,
decryption secrets and lengths on the wire are kept; names, comments and all else that is no packet is left out.
"""

from __future__ import annotations

import heapq
import os
import struct
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from kzpcap.capture.container import open_records
from kzpcap.capture.health import Notes
from kzpcap.capture.records import Records
from kzpcap.capture.source import open_all
from kzpcap.capture.unpack import Part, Source, mapped
from kzpcap.errors import CaptureError

SECTION = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
TLS_KEYS = 0x544C534B
UNKNOWN_LINK = 0xFFFF
RELEASE = 16 << 20


@dataclass(slots=True)
class _Reader:
    """One file being walked."""

    source: Source
    records: Records
    secrets: int = 0
    time_ns: int = 0
    released: int = 0

    def advance(self) -> bool:
        """Go to the next packet; one without a time stays behind the one before it."""
        if not self.records.advance():
            return False
        self.time_ns = self.records.time_ns or self.time_ns
        if self.records.pos - self.released > RELEASE:
            self.released = self.records.pos
            self.source.release(self.released)
        return True

    def new_secrets(self) -> Iterator[bytes]:
        """Blocks of the decryption secrets that were met since the last time."""
        for secret in self.records.secrets[self.secrets :]:
            self.secrets += 1
            yield _block(10, struct.pack("<II", TLS_KEYS, len(secret)) + secret)


def open_together(paths: list[str], want_digest: bool = True) -> Iterator[tuple[str, Source | CaptureError, Notes]]:
    """As `open_all`, of several paths as one capture: what is none is told first, the others are laid together."""
    opened: list[Source] = []
    notes = Notes()
    try:
        for path in paths:
            for name, source, told in open_all(path, want_digest):
                refused = source if isinstance(source, CaptureError) else _refused(source)
                if refused is not None or isinstance(source, CaptureError):
                    yield name, refused or source, told
                    continue
                for file in source.files:  # the map holds on to the file; a descriptor more for each is too many
                    file.close()
                source.files.clear()
                opened.append(source)
                for note in told.kept:
                    notes.add(note.kind, f"file {len(opened)}: {note.text}", note.frame, note.offset)
        title = f"{len(opened)} files laid together"
        if opened:
            try:
                laid: Source | CaptureError = together(opened, notes)
            except CaptureError as error:
                laid = error
            opened = []
            yield title, laid, notes
    finally:
        for source in opened:
            source.close()


def _refused(source: Source) -> CaptureError | None:
    """Why a source is no capture; it is closed then."""
    try:
        open_records(source.raw, Notes())
    except CaptureError as error:
        source.close()
        return error
    return None


def together(sources: list[Source], notes: Notes) -> Source:
    """One source over the packets of all, with what each brought as its `parts`; the given sources are closed.

    CaptureError where one of them is no capture, or where there is no room for the temporary file.
    """
    out: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115 - closed with the source
    readers: list[_Reader] = []
    try:
        readers += [_Reader(source, open_records(source.raw, Notes())) for source in sources]
        out.write(SECTION)
        for block in _blocks(readers):
            out.write(block)
        out.flush()
        for number, reader in enumerate(readers, 1):
            told = reader.records.notes
            for note in told.kept:
                notes.add(note.kind, f"file {number}: {note.text}", None, note.offset)
            notes.counts.update(told.counts - Counter(note.kind for note in told.kept))
        parts = tuple(_part(reader) for reader in readers)
        size = out.seek(0, os.SEEK_END)
        out.seek(0)
        return Source(mapped(out, size), sum(part.size for part in parts), None, None, [out], parts)
    except OSError as error:
        out.close()
        raise CaptureError(f"no room to lay the files together: {error.strerror}") from error
    except BaseException:
        out.close()
        raise
    finally:
        readers.clear()  # their views of the maps go before the maps
        for source in sources:
            source.close()


def _part(reader: _Reader) -> Part:
    source, records = reader.source, reader.records
    damaged = bool(records.truncated or records.skipped_bytes)
    packets, filtered = int(records.frame), bool(records.filtered)
    return Part(source.sha256, source.size, source.compression, records.format, packets, damaged, filtered)


def _blocks(readers: list[_Reader]) -> Iterator[bytes]:
    """The blocks of the merged capture, the packets in the order of time; of equal times the earlier file's first."""
    interfaces: dict[int, int] = {}  # by link type, for all files together: a capture has room for 65,536
    waiting = []
    for number, reader in enumerate(readers):
        if reader.advance():
            waiting.append((reader.time_ns, number))
        else:
            yield from reader.new_secrets()
    heapq.heapify(waiting)
    while waiting:
        _, number = waiting[0]
        reader = readers[number]
        records = reader.records
        yield from reader.new_secrets()
        link = records.link_type if 0 <= records.link_type < UNKNOWN_LINK else UNKNOWN_LINK
        interface = interfaces.get(link)
        if interface is None:
            interface = interfaces[link] = len(interfaces)
            yield _block(1, struct.pack("<HHI", link, 0, 0) + struct.pack("<HHB3xHH", 9, 1, 9, 0, 0))
        time_ns = records.time_ns
        head = (interface, time_ns >> 32, time_ns & 0xFFFFFFFF, records.captured, records.original)
        yield _block(
            6, struct.pack("<IIIII", *head) + bytes(records.raw[records.offset : records.offset + records.captured])
        )
        if reader.advance():
            heapq.heapreplace(waiting, (reader.time_ns, number))
        else:
            heapq.heappop(waiting)
            yield from reader.new_secrets()


def _block(kind: int, body: bytes) -> bytes:
    """A pcapng block with its body padded to 32 bits."""
    body += bytes(-len(body) & 3)
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length
