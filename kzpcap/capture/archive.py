"""The members of zip and tar archives, each unpacked within what bounds one file; headers are bounded beforehand."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

from kzpcap.capture import zips
from kzpcap.capture.health import Notes
from kzpcap.capture.tars import is_tar, tar_members
from kzpcap.capture.unpack import MAX_DICTIONARY, MAX_UNPACKED, Source, copy, unpack
from kzpcap.errors import CaptureError

MAX_MEMBERS = 10_000
MAX_DIRECTORY = 16 << 20
"""Bytes of a zip archive's directory, which is read whole."""
SPLIT = b"PK\x07\x08"
"""Before the first member of a zip archive that was to be split, and fitted into one file (APPNOTE.TXT 8.5.4)."""
ZIP_MAGICS = (b"PK\x03\x04", SPLIT)
LZMA = 14
"""The method of a zip member (APPNOTE.TXT 4.4.5)."""


def archive_kind(source: Source) -> str | None:
    """zip or tar, by content; None for anything else."""
    if bytes(source.raw[:4]) in ZIP_MAGICS:
        return "zip"
    return "tar" if is_tar(bytes(source.raw[:512])) else None


def members(source: Source, kind: str) -> Iterator[tuple[str, Source | CaptureError, Notes]]:
    """The files of an archive, one after the other, each in a bounded temporary file of its own."""
    file = source.files[-1]
    file.seek(0)
    spent = 0
    if kind == "zip":
        try:
            refuse_unbounded(file)
        except (ValueError, OSError) as error:
            yield "(archive)", CaptureError(f"the zip archive is not unpacked: {error}"), Notes()
            return
    try:
        if kind == "zip" and not zipfile.is_zipfile(file):
            for number, (name, part) in enumerate(zips.members(file)):
                if number >= MAX_MEMBERS:
                    yield "(archive)", _too_many(None), Notes()
                    break
                if isinstance(part, CaptureError):
                    yield name, part, Notes()
                    continue
                member, notes, size = _member(lambda: part, source.size, spent)  # noqa: B023
                spent += size
                yield name, member, notes
        elif kind == "zip":
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                begin = min((entry.header_offset for entry in entries), default=source.size)
                if begin > (4 if bytes(source.raw[:4]) == SPLIT else 0):
                    why = f"what stands before the members that the zip archive lists: {begin:,} bytes are not read"
                    yield "(archive)", CaptureError(why, 0), Notes()
                for entry in entries[:MAX_MEMBERS]:
                    if not entry.is_dir() or entry.file_size:
                        if entry.compress_type == LZMA and _dictionary(file, entry.header_offset) > MAX_DICTIONARY:
                            yield (
                                entry.filename,
                                CaptureError("packed with a dictionary of more memory than is given"),
                                Notes(),
                            )
                            continue
                        member, notes, size = _member(lambda: archive.open(entry), source.size, spent)  # noqa: B023
                        spent += size
                        yield entry.filename, member, notes
                if len(entries) > MAX_MEMBERS:
                    yield "(archive)", _too_many(len(entries) - MAX_MEMBERS), Notes()
        else:
            for number, found in enumerate(tar_members(file)):
                if number >= MAX_MEMBERS:
                    yield "(archive)", _too_many(None), Notes()
                    break
                if isinstance(found, CaptureError):
                    yield "(archive)", found, Notes()
                    continue
                tape, info = found
                if info.isfile():
                    body = tape.extractfile(info) if info.issparse() else _Slice(file, info.offset_data, info.size)
                    member, notes, size = _member(lambda: body, source.size, spent)  # noqa: B023
                    spent += size
                    yield info.name, member, notes
    except (
        zipfile.BadZipFile,
        EOFError,
        OSError,
        zlib.error,
        RuntimeError,
        NotImplementedError,
        ValueError,
        IndexError,
    ) as error:
        yield "(archive)", CaptureError(f"the {kind} archive is damaged or encrypted: {error}"), Notes()


def _dictionary(file: IO[bytes], at: int) -> int:
    """How much memory a zip member packed with LZMA asks for (APPNOTE.TXT 5.8.8), by its local header's place."""
    file.seek(at)
    head = file.read(30)
    file.seek(at + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little"))
    return int.from_bytes(file.read(9)[5:9], "little")


def refuse_unbounded(file: IO[bytes]) -> None:
    """ValueError for a zip archive whose directory alone would take the memory: zipfile reads it whole."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 65_557))
    tail = file.read()
    end = len(tail) - 22  # where zipfile looks first: the end of an archive without a comment
    if end < 0 or tail[end : end + 4] != b"PK\5\6" or tail[-2:] != b"\0\0":
        end = tail.rfind(b"PK\5\6")
    directory = int.from_bytes(tail[end + 12 : end + 16], "little") if end >= 0 else 0
    if directory == 0xFFFFFFFF and tail[max(0, end - 20) : end][:4] == b"PK\6\7":
        file.seek(min(size, int.from_bytes(tail[end - 12 : end - 4], "little")))
        directory = int.from_bytes(file.read(56)[40:48], "little")
    if directory > MAX_DIRECTORY:
        raise ValueError(f"a directory of {directory:,} bytes")
    file.seek(0)


class _Slice(io.RawIOBase):
    """A member of a tar archive, where it stands in the file; EOFError behind what is there of one that was cut."""

    def __init__(self, file: IO[bytes], begin: int, size: int) -> None:
        self.file = file
        self.at = begin
        self.left = size

    def read1(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        wanted = min(size, self.left)
        self.file.seek(self.at)
        block = self.file.read(wanted)
        if wanted and not block:
            raise EOFError(f"the archive ends, and {self.left:,} more bytes belong to this file")
        self.at += len(block)
        self.left -= len(block)
        return block


def _too_many(left: int | None) -> CaptureError:
    more = f"{left:,} files" if left is not None else "files"
    return CaptureError(f"more than {MAX_MEMBERS:,} members: {more} were not looked at")


def _member(opened: Callable[[], Any], packed: int, spent: int) -> tuple[Source | CaptureError, Notes, int]:
    """One member, unpacked once more where it is compressed itself, nothing deeper; and the bytes that it cost."""
    notes = Notes()
    file: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115 - closed with the source
    try:
        with opened() as body:
            copy(body, file, MAX_UNPACKED - spent, packed, notes, spent)
        cost = file.tell()
        file.seek(0)
        source = unpack(file, notes, True, packed)
        return source, notes, cost + (source.files[-1].seek(0, os.SEEK_END) if len(source.files) > 1 else 0)
    except CaptureError as error:
        cost = file.tell() if not file.closed else 0
        file.close()
        return error, notes, cost
    except Exception as error:  # whatever an unpacker makes of hostile bytes: one member's trouble, not the archive's
        cost = file.tell() if not file.closed else 0
        file.close()
        locked = isinstance(error, RuntimeError) and "encrypted" in str(error)
        why = "it is encrypted" if locked else f"damaged: {type(error).__name__}: {error}"[:300]
        return CaptureError(f"a member that cannot be unpacked: {why}"), notes, cost
