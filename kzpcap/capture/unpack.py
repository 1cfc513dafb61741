"""The bytes of one file: mapped, and unpacked where it is compressed, within an absolute limit and a ratio.

What is unpacked goes to an unnamed temporary file.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import mmap
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

from kzpcap.capture.health import Notes
from kzpcap.errors import CaptureError

CHUNK = 1 << 20
STEP = 4_096
"""Bytes of one step of unpacking, as many as may be lost behind the last whole one."""
MAX_UNPACKED = 64 << 30
MAX_RATIO = 200
RATIO_AFTER = 64 << 20
MAX_DICTIONARY = 128 << 20
"""Memory for unpacking xz: `xz -9` takes 65 MB."""
PIECE = 1 << 16
WINDOW = 16 << 20
"""A multiple of every page size."""


class Part(NamedTuple):
    """One of several files that were laid together: digest and size of the file as it is, and what it brought."""

    sha256: str | None
    size: int
    compression: str | None
    format: str
    packets: int
    damaged: bool
    filtered: bool


@dataclass
class Source:
    """An opened capture: `raw` is sliceable bytes; `size` and `sha256` are those of the input as it is."""

    raw: Any
    size: int
    sha256: str | None
    compression: str | None
    files: list[IO[bytes]]
    parts: tuple[Part, ...] = ()
    """The files that it was laid together from (capture/together.py); one file has none."""
    released: int = 0
    """Where the pages begin that were not given back yet."""

    def again(self) -> IO[bytes]:
        """The unpacked capture as a file of its own, at its start, for a reader that wants one (`/dev/fd/N`)."""
        file = os.fdopen(os.dup(self.files[-1].fileno()), "rb")
        file.seek(0)
        return file

    def release(self, upto: int) -> None:
        """Give back the mapped pages before an offset; a large capture must not count as resident memory."""
        upto &= ~(mmap.PAGESIZE - 1)
        begin = 0 if upto < self.released else self.released  # 0: it is read once more from the start
        if isinstance(self.raw, mmap.mmap) and hasattr(self.raw, "madvise") and upto > begin:
            self.raw.madvise(mmap.MADV_DONTNEED, begin, upto - begin)
            self.released = upto

    def mapped_size(self) -> int:
        """How much of the map there still is a file behind: reading on in one that was cut ends the process."""
        there = os.fstat(self.files[-1].fileno()).st_size
        return min(len(self.raw), there) if isinstance(self.raw, mmap.mmap) else len(self.raw)

    def close(self) -> None:
        """Unmap and close; temporary files vanish."""
        if isinstance(self.raw, mmap.mmap):
            try:
                self.raw.close()
            except BufferError:
                self.raw = b""  # a scanner still points into it: the map goes with that
        for file in self.files:
            file.close()


def _zstd(file: Any) -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14
    except ImportError:
        from backports import zstd
    return zstd.ZstdFile(file)


def _lz4(file: Any) -> Any:
    from lz4 import frame

    return frame.LZ4FrameFile(file)


class _Xz:
    """The streams of an xz file, one after the other, with a bound on the memory that their dictionaries take."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.unpacker: lzma.LZMADecompressor | None = None
        self.rest = b""

    def read1(self, size: int) -> bytes:
        """The next bytes; none at the end."""
        while True:
            if self.unpacker is None:
                self.rest = (self.rest or self.file.read(PIECE)).lstrip(b"\0")  # padding between streams
                if not self.rest:
                    return b""
                self.unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DICTIONARY)
            given = self.rest or (self.file.read(PIECE) if self.unpacker.needs_input else b"")
            if not given and self.unpacker.needs_input:
                raise EOFError("the file ends before the end of its last stream")
            self.rest = b""
            found = self.unpacker.decompress(given, size)
            if self.unpacker.eof:
                self.rest, self.unpacker = self.unpacker.unused_data, None
            if found:
                return found


UNPACKERS: dict[bytes, tuple[str, Callable[[Any], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda file: gzip.GzipFile(fileobj=file)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lambda file: _Xz(file)),
    b"\x28\xb5\x2f\xfd": ("zstd", _zstd),
    b"\x04\x22\x4d\x18": ("lz4", _lz4),
}
UNPACK_FIRST, CONVERT_FIRST = "unpack it first", "convert it first, as with editcap"
NOT_READ = {
    b"7z\xbc\xaf": ("a 7z archive", UNPACK_FIRST),
    b"Rar!": ("a RAR archive", UNPACK_FIRST),
    b"\x1f\x9d": ("a file of compress (.Z)", UNPACK_FIRST),
    b"LZIP": ("an lzip file", UNPACK_FIRST),
    b"\x89LZO\0": ("an lzop file", UNPACK_FIRST),
    b"MSCF": ("a cabinet archive", UNPACK_FIRST),
    b"RTSS": ("a Network Monitor 1 capture", CONVERT_FIRST),
    b"GMBU": ("a Network Monitor 2 capture", CONVERT_FIRST),
    b"\x01\x00ERF": ("an ERF capture", CONVERT_FIRST),
    b"TRSNIFF data    \x1a": ("a Sniffer capture", CONVERT_FIRST),
    b"XCP\0": ("a NetXRay capture", CONVERT_FIRST),
    b"ObserverPktBuffe": ("an Observer capture", CONVERT_FIRST),
    b"\x05VNF": ("a Visual Networks capture", CONVERT_FIRST),
    b"\x00\x01BD": ("an EtherPeek or OmniPeek capture", CONVERT_FIRST),
} | {
    bytes([number]) + b"\x2a\x4d\x18": ("a zstd or lz4 file that begins with a skippable frame", UNPACK_FIRST)
    for number in range(0x50, 0x60)
}
"""What is known by its first bytes, and not read."""
LZMA = b"\x5d\0\0"
"""An LZMA file of before xz has no magic: this, the rest of the dictionary's size, and mostly an unknown length."""


def not_read(head: bytes) -> str | None:
    """What a file is that kzpcap knows by its first 32 bytes and does not read, and what to do; None for any other."""
    for magic, (what, how) in NOT_READ.items():
        if head.startswith(magic):
            return f"{what}, which kzpcap does not read: {how}"
    if head.startswith(LZMA) and head[5:13] == b"\xff" * 8:
        return f"an LZMA file, which kzpcap does not read: {UNPACK_FIRST}"
    return None


def unpack(file: IO[bytes], notes: Notes, want_digest: bool, packed: int | None = None) -> Source:
    """A source over a file, unpacked where it is compressed; the digest is that of the file as it is.

    `packed` is the size of the archive that a member came in: the ratio is that of all layers together.
    """
    try:
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        raw = mapped(file, size)
    except OSError as error:  # no descriptor left, or a file that cannot be mapped
        file.close()
        raise CaptureError(error.strerror or str(error)) from error
    digest = _digest(raw) if want_digest else None
    source = Source(raw, size, digest, None, [file])
    head = bytes(raw[:32])
    if why := not_read(head):
        source.close()
        raise CaptureError(why)
    for magic, (name, opener) in UNPACKERS.items():
        if head.startswith(magic):
            try:
                unpacked: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115
            except OSError as error:
                source.close()
                raise CaptureError(f"no room to unpack it: {error.strerror}") from error
            file.seek(0)
            try:
                copy(opener(file), unpacked, MAX_UNPACKED, size if packed is None else packed, notes)
            except BaseException:
                source.close()
                unpacked.close()
                raise
            unpacked.seek(0)
            length = os.fstat(unpacked.fileno()).st_size
            if not length and notes.kept:
                source.close()
                unpacked.close()
                raise CaptureError(f"damaged {name}, of which nothing can be unpacked: {notes.kept[0].text}", 0)
            found = Source(mapped(unpacked, length), size, digest, name, [file, unpacked])
            within = bytes(found.raw[:32])
            twice = within.startswith(tuple(UNPACKERS))
            why = f"compressed more than once: {UNPACK_FIRST}" if twice else not_read(within)
            if why:
                found.close()
                raise CaptureError(why)
            return found
    return source


def mapped(file: IO[bytes], size: int) -> Any:
    """The bytes of a file, mapped read-only; an empty file has none."""
    if size == 0:
        return b""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _digest(raw: Any) -> str:
    """SHA-256 in hex; mapped pages are given back as they were read, for they count as memory."""
    digest = hashlib.sha256()
    releases = isinstance(raw, mmap.mmap) and hasattr(raw, "madvise")
    view = memoryview(raw)
    for at in range(0, len(view), WINDOW):
        piece = view[at : at + WINDOW]
        digest.update(piece)
        piece.release()
        if releases:
            raw.madvise(mmap.MADV_DONTNEED, at, min(WINDOW, len(view) - at))
    view.release()
    return digest.hexdigest()


def copy(source: Any, target: IO[bytes], limit: int, packed: int | None, notes: Notes, spent: int = 0) -> None:
    """Copy within limits; damage inside a compressed file keeps what came before it, up to the last byte.

    So each read makes what one piece of the input gives (`read1`), and little of it: one that fails drops what it had,
    and the check of a whole file may be what fails.

    `spent` is what other members of the same archive unpacked to: the ratio is that of the whole.
    """
    written = 0
    pending = bytearray()
    while True:
        try:
            block = source.read1(STEP)
        except Exception as error:  # of the operating system, or whatever an unpacker makes of hostile bytes
            notes.add("damaged", f"the compressed data is damaged, or cut short: {error}", offset=written)
            break
        if not block:
            break
        written += len(block)
        total = spent + written
        if written > limit or (packed is not None and total > RATIO_AFTER and total > packed * MAX_RATIO):
            raise CaptureError(
                f"it unpacks to more than {total >> 20} MiB from {(packed or 0) >> 10} KiB: refused", written
            )
        pending += block
        if len(pending) >= CHUNK:
            _write(target, pending, written)
            pending.clear()
    _write(target, pending, written)


def _write(target: IO[bytes], pending: bytearray, written: int) -> None:
    """Write what was collected, past every buffer that would try again when the file is closed."""
    try:
        for at in range(0, len(pending), CHUNK):
            target.write(pending[at : at + CHUNK])
            target.flush()
    except OSError as error:
        raise CaptureError(f"no room to unpack it: {error.strerror}", written) from error
