"""Where a capture's bytes come from: a mapped file, standard input, or a compressed file unpacked to a bounded one.

The original is opened read-only. What is unpacked goes to an unnamed temporary file; a bomb is stopped by an absolute
limit and by a ratio.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import mmap
import os
import sys
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from kzpcap.capture.health import Notes
from kzpcap.errors import CaptureError

CHUNK = 1 << 20
MAX_UNPACKED = 64 << 30
MAX_RATIO = 200
RATIO_AFTER = 64 << 20
MAX_STDIN = 64 << 30

UNPACKERS: dict[bytes, tuple[str, Callable[[Any], Any]]] = {
    b"\x1f\x8b": ("gzip", lambda file: gzip.GzipFile(fileobj=file)),
    b"BZh": ("bzip2", bz2.BZ2File),
    b"\xfd7zXZ\x00": ("xz", lzma.LZMAFile),
}
NOT_READ = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
}


@dataclass
class Source:
    """An opened capture: `raw` is sliceable bytes; `size` and `sha256` are those of the input as it is."""

    raw: Any
    size: int
    sha256: str | None
    compression: str | None
    files: list[IO[bytes]]

    def release(self, upto: int) -> None:
        """Give back the mapped pages before an offset; a large capture must not count as resident memory."""
        if isinstance(self.raw, mmap.mmap) and hasattr(self.raw, "madvise"):
            self.raw.madvise(mmap.MADV_DONTNEED, 0, upto & ~(mmap.PAGESIZE - 1))

    def close(self) -> None:
        """Unmap and close; temporary files vanish."""
        if isinstance(self.raw, mmap.mmap):
            try:
                self.raw.close()
            except BufferError:
                self.raw = b""  # a scanner still points into it: the map goes with that
        for file in self.files:
            file.close()


def open_source(path: str, notes: Notes, want_digest: bool = True) -> Source:
    """Open a path, or standard input for "-"; CaptureError where there is nothing to read."""
    if path == "-":
        file: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115 - closed with the source
        _copy(sys.stdin.buffer, file, MAX_STDIN, None, notes)
    else:
        try:
            if not Path(path).is_file() and not Path(path).is_fifo():
                raise CaptureError("a folder, not a capture" if Path(path).is_dir() else "no such file")
            file = Path(path).open("rb")  # noqa: SIM115 - closed with the source
            if not file.seekable():
                spool: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115
                with file:
                    _copy(file, spool, MAX_STDIN, None, notes)
                file = spool
        except OSError as error:
            raise CaptureError(error.strerror or str(error)) from error
    file.seek(0)
    size = os.fstat(file.fileno()).st_size
    raw = _map(file, size)
    digest = _digest(raw) if want_digest else None
    source = Source(raw, size, digest, None, [file])
    head = bytes(raw[:8])
    if bytes(raw[257:262]) == b"ustar":
        source.close()
        raise CaptureError("a tar archive, which kzpcap does not unpack: unpack it first")
    for magic, name in NOT_READ.items():
        if head.startswith(magic):
            source.close()
            raise CaptureError(f"{name}, which kzpcap does not unpack: unpack it first")
    for magic, (name, opener) in UNPACKERS.items():
        if head.startswith(magic):
            unpacked: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115
            file.seek(0)
            _copy(opener(file), unpacked, MAX_UNPACKED, size, notes)
            unpacked.seek(0)
            inner = _map(unpacked, os.fstat(unpacked.fileno()).st_size)
            return Source(inner, size, digest, name, [file, unpacked])
    return source


def _map(file: IO[bytes], size: int) -> Any:
    if size == 0:
        return b""
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _digest(raw: Any) -> str:
    digest = hashlib.sha256()
    view = memoryview(raw)
    for at in range(0, len(view), CHUNK):
        digest.update(view[at : at + CHUNK])
    view.release()
    if isinstance(raw, mmap.mmap) and hasattr(raw, "madvise"):
        raw.madvise(mmap.MADV_DONTNEED)
    return digest.hexdigest()


def _copy(source: Any, target: IO[bytes], limit: int, packed: int | None, notes: Notes) -> None:
    """Copy within limits; damage inside a compressed file keeps what came before it."""
    written = 0
    while True:
        try:
            block = source.read(CHUNK)
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            notes.add("damaged", f"the compressed data breaks off: {error}", offset=written)
            break
        if not block:
            break
        written += len(block)
        if written > limit or (packed is not None and written > RATIO_AFTER and written > packed * MAX_RATIO):
            raise CaptureError(
                f"it unpacks to more than {written >> 20} MiB from {(packed or 0) >> 10} KiB: refused", written
            )
        try:
            target.write(block)
            target.flush()
        except OSError as error:
            raise CaptureError(f"no room to unpack it: {error.strerror}", written) from error
