"""Where a capture's bytes come from: a file, standard input, a compressed file, the members of an archive.

The original is opened read-only.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kzpcap.capture.archive import ZIP_MAGICS, archive_kind, members
from kzpcap.capture.health import Notes
from kzpcap.capture.tars import is_tar
from kzpcap.capture.unpack import UNPACKERS, Source, copy, not_read, unpack
from kzpcap.errors import CaptureError, NotACapture, SeveralCaptures

MAX_STDIN = 64 << 30
CAPTURE_MAGICS = (
    b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x34\xcd\xb2\xa1",
    b"\xa1\xb2\xcd\x34", b"\n\r\r\n", b"snoop\0\0\0",
)  # fmt: skip


def open_source(path: str, notes: Notes, want_digest: bool = True) -> Source:
    """Open one capture, or standard input for "-"; of an archive its only one. CaptureError where there is none, or are
    several."""
    file = _open(path, notes)
    source = unpack(file, notes, want_digest)
    kind = archive_kind(source)
    return _only(source, kind, notes) if kind else source


def _only(archive: Source, kind: str, notes: Notes) -> Source:
    """The one capture of an archive, with size and digest of the archive as it is."""
    found: Source | None = None
    problem: CaptureError = NotACapture(f"a {kind} archive with no capture in it")
    try:
        for _, member, told in members(archive, kind):
            if isinstance(member, CaptureError):
                problem = member
                notes.add("damaged", str(member))
            elif not _is_capture(member):
                member.close()
            elif found is None:
                found = member
                for note in told.kept:
                    notes.add(note.kind, note.text, note.frame, note.offset)
            else:
                member.close()
                raise SeveralCaptures(f"a {kind} archive of several captures, not one")
        if found is None:
            raise problem
    except CaptureError:
        if found is not None:
            found.close()
        raise
    finally:
        archive.close()
    return Source(found.raw, archive.size, archive.sha256, kind, found.files)


def open_all(path: str, want_digest: bool = True) -> Iterator[tuple[str, Source | CaptureError, Notes]]:
    """Every capture of a path: itself, or the members of a zip or tar archive, each by its name.

    Members that are no captures are left out, unless none is one. Names inside an archive are only ever shown.
    """
    notes = Notes()
    try:
        source = unpack(_open(path, notes), notes, want_digest)
    except CaptureError as error:
        yield path, error, notes
        return
    kind = archive_kind(source)
    if not kind:
        yield path, source, notes
        return
    found = 0
    try:
        if notes.kept:  # the compressed archive is damaged: what is in it may be changed, or missing
            found += 1
            yield f"{path}/(archive)", CaptureError(notes.kept[0].text, notes.kept[0].offset), Notes()
        for name, member, told in members(source, kind):
            if isinstance(member, Source) and not _is_capture(member):
                inner = archive_kind(member)
                member.close()
                if inner:
                    member = CaptureError(f"a {inner} archive inside an archive is not read: unpack it first")
                elif told.kept:
                    member = CaptureError(f"a damaged member of the archive: {told.kept[0].text}")
                else:
                    continue
            found += 1
            for note in notes.kept if not told.counts["damaged"] else ():
                told.add(note.kind, f"of the archive: {note.text}", offset=note.offset)
            yield f"{path}/{name}", member, told
    finally:
        source.close()
    if not found:
        yield path, NotACapture(f"a {kind} archive with no capture in it"), notes


def may_hold_captures(path: str) -> bool:
    """Do a file's first bytes say that it is a capture, a compressed file or an archive? OSError where it has none.

    So do those of captures and archives that are known and not read: that is to be told.
    """
    with Path(path).open("rb") as file:
        head = file.read(512)
    beginnings = (*CAPTURE_MAGICS, *UNPACKERS, *ZIP_MAGICS)
    return head.startswith(beginnings) or is_tar(head) or not_read(head) is not None


def _is_capture(source: Source) -> bool:
    return bytes(source.raw[:8]).startswith(CAPTURE_MAGICS)


def _open(path: str, notes: Notes) -> IO[bytes]:
    """The file of a path, seekable: pipes and standard input are spooled."""
    if path == "-":
        if sys.stdin is None:
            raise CaptureError("standard input is closed")
        file: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115 - closed with the source
        copy(sys.stdin.buffer, file, MAX_STDIN, None, notes)
        return file
    try:
        if not Path(path).is_file() and not Path(path).is_fifo():
            raise CaptureError("a folder, not a capture" if Path(path).is_dir() else "no such file")
        file = Path(path).open("rb")  # noqa: SIM115 - closed with the source
        if not file.seekable():
            spool: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115
            with file:
                copy(file, spool, MAX_STDIN, None, notes)
            file = spool
    except OSError as error:
        raise CaptureError(error.strerror or str(error)) from error
    return file
