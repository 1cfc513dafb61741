"""The members of a zip archive that has lost its directory, by the local header before each (APPNOTE.TXT 4.3.7)."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import IO

from kzpcap.errors import CaptureError

LOCAL, HEAD = b"PK\3\4", 30
NEXT = (LOCAL, b"PK\1\2", b"PK\6\6", b"PK\5\6")
"""What may stand behind a member: another one, the directory, its end."""
DESCRIPTOR = 24
"""Bytes, at most, that tell a member's size behind it, where it was not known before (4.3.9)."""
STORED, DEFLATED = 0, 8
ENCRYPTED, SIZE_BEHIND, UTF8 = 1, 8, 0x800
CHUNK = 1 << 16


class Member(io.RawIOBase):
    """One member where it stands; `size` None where only its own end tells. EOFError where the file ends before."""

    def __init__(self, file: IO[bytes], begin: int, size: int | None, deflated: bool) -> None:
        self.file = file
        self.at = begin
        self.stop = None if size is None else begin + size
        self.inflate = zlib.decompressobj(-zlib.MAX_WBITS) if deflated else None

    def read1(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        while self.inflate is None or not self.inflate.eof:
            wanted = CHUNK if self.stop is None else min(CHUNK, self.stop - self.at)
            if not wanted and self.inflate is None:
                break
            self.file.seek(self.at)
            block = self.file.read(wanted)
            if not block:
                raise EOFError("the archive ends within this file")
            if self.inflate is None:
                self.at += len(block)
                return block
            out = self.inflate.decompress(block, size)
            # At the end of the data both may hold what lies behind it.
            left = self.inflate.unused_data if self.inflate.eof else self.inflate.unconsumed_tail
            self.at += len(block) - len(left)
            if out:
                return out
        return b""


def members(file: IO[bytes]) -> Iterator[tuple[str, Member | CaptureError]]:
    """Each member by its name, to be read before the next is asked for; at the end what is said of the whole."""
    at = 4 if _read(file, 0, 4) == b"PK\7\x08" else 0
    while True:
        head = _read(file, at, HEAD)
        if head[:4] != LOCAL or len(head) < HEAD:
            break
        flags, method = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
        packed, length = int.from_bytes(head[18:22], "little"), int.from_bytes(head[26:28], "little")
        name = _read(file, at + HEAD, length).decode("utf-8" if flags & UTF8 else "cp437", "replace")
        begin = at + HEAD + length + int.from_bytes(head[28:30], "little")
        size = None if flags & SIZE_BEHIND or packed == 0xFFFFFFFF else packed
        if flags & ENCRYPTED or method not in (STORED, DEFLATED) or (method == STORED and size is None):
            why = (
                "it is encrypted"
                if flags & ENCRYPTED
                else "its size is told in the directory alone, which is lost"
                if method == STORED
                else f"packed by method {method}, which is not read without a directory"
            )
            yield name, CaptureError(f"a member that cannot be unpacked: {why}", at)
            if size is None:
                break
            at = begin + size
            continue
        member = Member(file, begin, size, method == DEFLATED)
        if not name.endswith("/"):
            yield name, member
        at = begin + size if size is not None else _behind(file, member.at)
    why = "it was cut short, or is damaged: its members were read one after the other"
    yield "(archive)", CaptureError(f"the zip archive has lost its directory: {why}, up to offset {at:,}", at)


def _behind(file: IO[bytes], at: int) -> int:
    """Where the next thing begins behind a member whose size stands behind it."""
    body = _read(file, at, DESCRIPTOR + 4)
    return min((at + place for magic in NEXT if (place := body.find(magic)) >= 0), default=at)


def _read(file: IO[bytes], at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)
