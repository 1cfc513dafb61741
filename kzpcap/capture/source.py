"""Where a capture's bytes come from: a mapped file, standard input, a compressed file, the members of an archive.

The original is opened read-only. What is unpacked goes to an unnamed temporary file; a bomb is stopped by an absolute
limit and by a ratio.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import mmap
import os
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from kzpcap.capture.health import Notes
from kzpcap.errors import CaptureError, NotACapture, SeveralCaptures

CHUNK = 1 << 20
MAX_UNPACKED = 64 << 30
MAX_RATIO = 200
RATIO_AFTER = 64 << 20
MAX_STDIN = 64 << 30
MAX_DICTIONARY = 128 << 20
"""Memory for unpacking xz: `xz -9` takes 65 MB."""
PIECE = 1 << 16
MAX_DIRECTORY = 16 << 20
"""Bytes of a zip archive's directory, which is read whole."""
MAX_LONG_HEADER = 1 << 20
"""Bytes of one of a tar archive's headers for long names, which are read whole too."""
MAX_GLOBAL_HEADER = 4_096
"""The same of one for all members that follow, each of which gets a copy."""
SPARSE_MAP = b"GNU.sparse.major=1"
"""In the header of a member whose map of holes stands in its data, to be read whole as well."""
LZMA = 14
"""The method of a zip member (APPNOTE.TXT 4.4.5)."""


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
NOT_READ = {
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
}
MAX_MEMBERS = 10_000
WINDOW = 16 << 20
"""A multiple of every page size."""
CAPTURE_MAGICS = (
    b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1", b"\xa1\xb2\x3c\x4d", b"\x34\xcd\xb2\xa1",
    b"\xa1\xb2\xcd\x34", b"\n\r\r\n", b"snoop\0\0\0",
)  # fmt: skip


class Part(NamedTuple):
    """One of several files that were laid together: digest and size of the file as it is, and what it brought."""

    sha256: str | None
    size: int
    compression: str | None
    format: str
    packets: int
    damaged: bool


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


def open_source(path: str, notes: Notes, want_digest: bool = True) -> Source:
    """Open one capture, or standard input for "-"; of an archive its only one. CaptureError where there is none, or are
    several."""
    file = _open(path, notes)
    source = _unpack(file, notes, want_digest)
    kind = archive_kind(source)
    return _only(source, kind, notes) if kind else source


def _only(archive: Source, kind: str, notes: Notes) -> Source:
    """The one capture of an archive, with size and digest of the archive as it is."""
    found: Source | None = None
    problem: CaptureError = NotACapture(f"a {kind} archive with no capture in it")
    try:
        for _, member, told in _members(archive, kind):
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
        source = _unpack(_open(path, notes), notes, want_digest)
    except CaptureError as error:
        yield path, error, notes
        return
    kind = archive_kind(source)
    if not kind:
        yield path, source, notes
        return
    found = 0
    try:
        for name, member, told in _members(source, kind):
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
            yield f"{path}/{name}", member, told
    finally:
        source.close()
    if not found:
        yield path, NotACapture(f"a {kind} archive with no capture in it"), notes


def may_hold_captures(path: str) -> bool:
    """Do a file's first bytes say that it is a capture, a compressed file or an archive? OSError where it has none."""
    with Path(path).open("rb") as file:
        head = file.read(512)
    beginnings = (*CAPTURE_MAGICS, *UNPACKERS, *NOT_READ, b"PK\x03\x04")
    return head.startswith(beginnings) or head[257:262] == b"ustar"


def archive_kind(source: Source) -> str | None:
    """zip or tar, by content; None for anything else."""
    if bytes(source.raw[:4]) == b"PK\x03\x04":
        return "zip"
    return "tar" if bytes(source.raw[257:262]) == b"ustar" else None


def _members(source: Source, kind: str) -> Iterator[tuple[str, Source | CaptureError, Notes]]:
    """The files of an archive, one after the other, each in a bounded temporary file of its own."""
    file = source.files[-1]
    file.seek(0)
    spent = 0
    try:
        refuse_unbounded(file, kind)
    except (ValueError, OSError) as error:
        yield "(archive)", CaptureError(f"the {kind} archive is not unpacked: {error}"), Notes()
        return
    try:
        if kind == "zip":
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
                for entry in entries[:MAX_MEMBERS]:
                    if not entry.is_dir():
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
            with tarfile.open(fileobj=file, mode="r:") as tape:
                for number, info in enumerate(tape):
                    tape.members = []  # type: ignore[attr-defined]  # it would keep each, and all that its headers say
                    if number >= MAX_MEMBERS:
                        yield "(archive)", _too_many(None), Notes()
                        break
                    if info.isfile():
                        body = tape.extractfile(info) if info.issparse() else _Slice(file, info.offset_data, info.size)
                        member, notes, size = _member(lambda: body, source.size, spent)  # noqa: B023
                        spent += size
                        yield info.name, member, notes
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
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


def refuse_unbounded(file: IO[bytes], kind: str) -> None:
    """ValueError for an archive whose headers alone would take the memory: both modules read them whole."""
    size = os.fstat(file.fileno()).st_size
    if kind == "tar":
        at = 0
        while at + 512 <= size:
            file.seek(at)
            block = file.read(512)
            try:
                length = tarfile.nti(block[124:136])  # type: ignore[attr-defined]
            except tarfile.TarError:
                break  # damaged from here on: tarfile says so
            what = block[156:157]
            if what in (b"x", b"g", b"L", b"K") and length > (MAX_GLOBAL_HEADER if what == b"g" else MAX_LONG_HEADER):
                raise ValueError(f"a header of {length:,} bytes at offset {at:,}")
            if what == b"x" and SPARSE_MAP in file.read(max(0, length)):
                raise ValueError(f"a sparse file with its map in its data at offset {at:,}")
            at += 512 + (max(0, length) + 511) // 512 * 512
    else:
        file.seek(max(0, size - 65_557))
        tail = file.read()
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
            _copy(body, file, MAX_UNPACKED - spent, packed, notes, spent)
        cost = file.tell()
        file.seek(0)
        source = _unpack(file, notes, True, packed)
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


def _is_capture(source: Source) -> bool:
    return bytes(source.raw[:8]).startswith(CAPTURE_MAGICS)


def _open(path: str, notes: Notes) -> IO[bytes]:
    """The file of a path, seekable: pipes and standard input are spooled."""
    if path == "-":
        if sys.stdin is None:
            raise CaptureError("standard input is closed")
        file: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115 - closed with the source
        _copy(sys.stdin.buffer, file, MAX_STDIN, None, notes)
        return file
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
    return file


def _unpack(file: IO[bytes], notes: Notes, want_digest: bool, packed: int | None = None) -> Source:
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
    head = bytes(raw[:8])
    for magic, name in NOT_READ.items():
        if head.startswith(magic):
            source.close()
            raise CaptureError(f"{name}, which kzpcap does not unpack: unpack it first")
    for magic, (name, opener) in UNPACKERS.items():
        if head.startswith(magic):
            try:
                unpacked: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115
            except OSError as error:
                source.close()
                raise CaptureError(f"no room to unpack it: {error.strerror}") from error
            file.seek(0)
            try:
                _copy(opener(file), unpacked, MAX_UNPACKED, size if packed is None else packed, notes)
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
            inner = mapped(unpacked, length)
            return Source(inner, size, digest, name, [file, unpacked])
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


def _copy(source: Any, target: IO[bytes], limit: int, packed: int | None, notes: Notes, spent: int = 0) -> None:
    """Copy within limits; damage inside a compressed file keeps what came before it, up to the last byte.

    So each read makes what one piece of the input gives (`read1`): a longer one that fails drops what it had.

    `spent` is what other members of the same archive unpacked to: the ratio is that of the whole.
    """
    written = 0
    while True:
        try:
            block = source.read1(CHUNK)
        except Exception as error:  # of the operating system, or whatever an unpacker makes of hostile bytes
            notes.add("damaged", f"the compressed data breaks off: {error}", offset=written)
            break
        if not block:
            break
        written += len(block)
        total = spent + written
        if written > limit or (packed is not None and total > RATIO_AFTER and total > packed * MAX_RATIO):
            raise CaptureError(
                f"it unpacks to more than {written >> 20} MiB from {(packed or 0) >> 10} KiB: refused", written
            )
        try:
            target.write(block)
            target.flush()
        except OSError as error:
            raise CaptureError(f"no room to unpack it: {error.strerror}", written) from error
