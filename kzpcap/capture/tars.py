"""The members of tar archives: with bounds on what headers take, and on behind damage and behind an end mark.

Python's tarfile reads headers of any length whole, ends without a word at a header that is damaged, and takes the end
mark of the first of several archives that were joined for the end of all.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from typing import IO, Any

from kzpcap.errors import CaptureError

BLOCK = 512
CHUNK = 1 << 20
MAX_HEADERS = 1 << 18
"""Bytes of all headers of one member (long names, maps of sparse files), which are read whole."""
MAX_DAMAGES = 100
"""Places at which an archive may be damaged; what lies behind them is not read."""
DIGITS = re.compile(rb"\d{200}")
"""No header has such a number, and tarfile looks for one from each of its digits on."""
MAX_GLOBAL_HEADER = 4_096
"""Bytes of the headers for all members that follow, each of which gets a copy."""


def is_tar(head: bytes) -> bool:
    """Is this the beginning of a tar archive (POSIX.1-2017 pax, "ustar Interchange Format", or older)?"""
    return head[257:262] == b"ustar" or _is_header(head[:BLOCK])


def tar_members(file: IO[bytes]) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo] | CaptureError]:
    """Each member with the archive to extract it from; an error, with its offset, for what cannot be read.

    Behind damage it goes on with the next header that is whole.
    """
    size = file.seek(0, os.SEEK_END)
    at: int | None = 0
    damages = 0
    while at is not None:
        if damages > MAX_DAMAGES:
            yield CaptureError("the tar archive is damaged in too many places: the rest is not read", at)
            return
        meter = _Meter(file)
        file.seek(at)
        problem = ""
        behind = data = at
        try:
            tape: Any = tarfile.open(fileobj=meter, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
            for info in tape:
                shared = sum(len(key) + len(value) + 5 for key, value in tape.pax_headers.items())
                if shared > MAX_GLOBAL_HEADER:
                    raise tarfile.ReadError(f"headers of {shared:,} bytes for all members")
                if tape.offset <= behind:
                    raise tarfile.ReadError("a negative size")
                behind, data = tape.offset, info.offset_data
                tape.members = []  # it would keep each, and all that its headers say
                meter.left = None  # what is extracted counts for the reader
                yield tape, info
                meter.left = MAX_HEADERS
        except (tarfile.TarError, EOFError, ValueError, OSError, RecursionError) as error:
            problem = str(error)
        if behind > size:  # the last member claims more than there is: others may begin before that
            behind = max(at, data - BLOCK)
        if problem or behind == at:
            damages += 1
            yield CaptureError(f"the tar archive is damaged: {problem or 'a header that cannot be read'}", behind)
            at = _next(file, behind + BLOCK, size)
        else:
            at = _filled(file, behind, size)
            if at is not None and not _header_at(file, at):
                damages += 1
                yield CaptureError("the tar archive is damaged: no header where one should be", at)
                at = _next(file, at + BLOCK, size)


def ends(file: IO[bytes], at: int) -> bool:
    """Are there two blocks of zeros behind `at`, where the last member ends (POSIX.1-2017)? Else it may be cut off."""
    file.seek(at + -at % BLOCK)
    return file.read(2 * BLOCK) == bytes(2 * BLOCK)


class _Meter:
    """A file for tarfile, which lets no member's headers take more than their share."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.left: int | None = MAX_HEADERS
        """None while a member is extracted."""

    def read(self, size: int) -> bytes:
        """As of a file; ValueError beyond the bound."""
        if self.left is None:
            return self.file.read(size)
        if size < 0 or size > self.left:
            raise ValueError(f"a header of {size:,} bytes" if size > BLOCK else "a header without bounds")
        self.left -= size
        found = self.file.read(size)
        if DIGITS.search(found):
            raise ValueError("a header with a number of hundreds of digits")
        return found

    def seek(self, at: int) -> int:
        """As of a file."""
        return self.file.seek(at)

    def tell(self) -> int:
        """As of a file."""
        return self.file.tell()


def _is_header(block: bytes) -> bool:
    """Does the checksum of a header fit?"""
    try:
        return len(block) == BLOCK and tarfile.nti(block[148:156]) in tarfile.calc_chksums(block)  # type: ignore[attr-defined]
    except tarfile.TarError:
        return False


def _header_at(file: IO[bytes], at: int) -> bool:
    file.seek(at)
    return _is_header(file.read(BLOCK))


def _filled(file: IO[bytes], at: int, size: int) -> int | None:
    """The first block from `at` on that is not all zeros."""
    while at < size:
        file.seek(at)
        chunk = file.read(CHUNK)
        rest = chunk.lstrip(b"\0")
        if rest:
            return at + (len(chunk) - len(rest)) // BLOCK * BLOCK
        at += CHUNK
    return None


def _next(file: IO[bytes], at: int, size: int) -> int | None:
    """The first block from `at` on that is a whole header of POSIX's."""
    while at + BLOCK <= size:
        file.seek(at)
        chunk = file.read(CHUNK)
        found = chunk.find(b"ustar")
        while found >= 0:
            begin = found - 257
            if begin >= 0 and begin % BLOCK == 0 and _is_header(chunk[begin : begin + BLOCK]):
                return at + begin
            found = chunk.find(b"ustar", found + 1)
        at += CHUNK
    return None
