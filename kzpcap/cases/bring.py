"""Captures that come from volunteers: opened where they are sealed, and kept in the case under their digest.

Each is a file, sealed (age) or not, a folder with such files, or the tar that a service exports. A `told.json` beside a
capture says what the volunteer told; custody tells it, with the digest of the sealed file, beside the capture's own. So
it tells, of a scrubbed capture whose manifest lies beside it, how many answers the scrubbing cost.
Nothing but captures is taken: a sealed file's content is looked at once it is open, and thrown away if it is anything
else.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from kzpcap.capture.source import may_hold_captures
from kzpcap.capture.tars import ends, is_tar, tar_members
from kzpcap.cases.custody import new_run
from kzpcap.cases.store import Case, file_digest, sync, workshop
from kzpcap.cases.work import OWN_WORDS, SIDECAR, sidecar
from kzpcap.errors import CaptureError
from kzpcap.sealing import SealError, is_armoured, is_sealed, unseal

TOLD = "told.json"
MANIFEST = "manifest.json"
SCRUBBED = "https://kzpcap.example/schema/scrub-1.json"
MAX_TOLD = 16 << 10
MAX_MANIFEST = 8 << 20
MAX_FIELD = 1_000
MAX_MEMBERS = 100_000
MAX_UNPACKED = 64 << 30
SEALED = ".age"
PCAPNG = b"\x0a\x0d\x0d\x0a"
LEFT = (TOLD, MANIFEST, "report.json", "report.html", "result.json")
"""Files of a service that are no captures and need no word: the report is made again."""
ORIGINAL = "original.age"
"""What was not scrubbed, beside the capture that was: taken only where it is named, not with its folder."""


@dataclass
class Brought:
    """What was taken into a case, and what was not."""

    captures: list[str] = field(default_factory=list)
    beside: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By the path in the case: where it came from and what was told of it."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    again: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """What came of a capture that had come already: its path in the case, and what was told of it this time."""
    skipped: list[tuple[str, str]] = field(default_factory=list)


def bring(case: Case, paths: list[Path], keys: list[object]) -> Brought:
    """Take the captures of some files, folders and exported tars into a case; what does not open is in `failures`.

    Opened bytes lie in a run's workshop until they are whole: what a crash leaves there, the next run drops.
    """
    with workshop(case, new_run()) as folder:
        return Bringer(case, folder, keys).all(paths)


class Bringer:
    """What goes on while captures are taken in."""

    def __init__(self, case: Case, folder: Path, keys: list[object]) -> None:
        self.case = case
        self.folder = folder
        self.keys = keys
        self.brought = Brought()

    def all(self, paths: list[Path]) -> Brought:
        """Each path in turn; one that fails is told and does not stop the rest."""
        self.case.captures.mkdir(exist_ok=True)
        for path in paths:
            try:
                if path.is_dir():
                    for folder, folders, names in os.walk(path, onerror=self._unreadable):
                        folders[:] = sorted(name for name in folders if not self._is_case(Path(folder) / name))
                        for name in sorted(names):
                            if name == ORIGINAL:
                                self.brought.skipped.append((str(Path(folder) / name), "an original: not scrubbed"))
                                continue
                            self._take(Path(folder) / name, str(Path(folder) / name))
                elif _is_tar(path):
                    self._unpack(path)
                else:
                    self._take(path, str(path), named=True)
            except (OSError, EOFError, tarfile.TarError, ValueError) as error:
                self.brought.failures.append((str(path), getattr(error, "strerror", None) or str(error)))
        return self.brought

    def _is_case(self, path: Path) -> bool:
        """Is this the case itself, below a folder that is taken in?"""
        return os.path.realpath(path) == os.path.realpath(self.case.folder)

    def _unreadable(self, error: OSError) -> None:
        self.brought.failures.append((str(error.filename), error.strerror or str(error)))

    def _take(self, path: Path, shown: str, named: bool = False) -> None:
        """One file; a failure is told and not raised."""
        if path.name in LEFT or path.name.endswith((f".{MANIFEST}", SIDECAR)):
            return
        try:
            if path.is_symlink() or not path.is_file():
                self.brought.skipped.append((shown, "no plain file"))
                return
            sealed = is_sealed(path)
            if not sealed and is_armoured(path):
                self.brought.failures.append((shown, "sealed in ASCII armour: `age --decrypt` opens it first"))
                return
            if sealed and not self.keys:
                self.brought.failures.append((shown, "sealed, and no --identity was given"))
                return
            aside = self.folder / "opened"
            with path.open("rb") as body, aside.open("wb") as out:
                if sealed:
                    unseal(body, out, self.keys)
                else:
                    shutil.copyfileobj(body, out, 1 << 20)
            if not may_hold_captures(str(aside)):
                # Whoever names a file, or sealed one, holds it for a capture.
                claims = shown.endswith(SEALED)  # what its name says was sealed is damaged, or was emptied
                left = self.brought.failures if named or sealed or claims else self.brought.skipped
                why = "named as sealed, and holds nothing that age has sealed" if claims else "no capture"
                left.append((shown, "what was sealed is no capture" if sealed else why))
                return
            told = {**(sidecar(str(path)) or {}), "imported_from": shown, **_told(path.with_name(TOLD))}
            told |= _scrubbed(path, aside.stat().st_size, self.keys)
            if sealed:
                told["sealed_sha256"] = file_digest(path)
            place = self._place(aside)
        except (OSError, SealError) as error:
            why = f"sealed, and not opened: {error}" if isinstance(error, SealError) else error.strerror or str(error)
            self.brought.failures.append((shown, why))
            return
        if place in self.brought.beside:
            self.brought.again.append((place, told))
        else:
            self.brought.captures.append(place)
            self.brought.beside[place] = told

    def _place(self, aside: Path) -> str:
        """Move an opened capture to the name that its digest gives it; one that is there already stays."""
        with aside.open("rb") as file:
            kind = "pcapng" if file.read(4) == PCAPNG else "pcap"
        place = self.case.captures / f"{file_digest(aside)}.{kind}"
        if not place.exists():
            aside.chmod(0o600)
            sync(aside)
            aside.replace(place)
            sync(self.case.captures)
        return str(place)

    def _unpack(self, path: Path) -> None:
        """Each plain member of a tar, under a name of our own: a member's path leads nowhere."""
        groups: dict[str, list[tuple[Path, str]]] = {}
        try:
            with path.open("rb") as body:
                if not ends(body, self._members(path, body, groups)):
                    self.brought.failures.append((str(path), "the tar has no end mark: it may be cut off"))
        except (OSError, EOFError, tarfile.TarError, ValueError) as error:  # what came before it is taken
            self.brought.failures.append((str(path), getattr(error, "strerror", None) or str(error)))
        for members in groups.values():
            for file, shown in members:
                self._take(file, shown)
                file.unlink(missing_ok=True)

    def _members(self, path: Path, file: IO[bytes], groups: dict[str, list[tuple[Path, str]]]) -> int:
        """Unpack them; gives where the last one ends."""
        left = MAX_UNPACKED
        end = 0
        for number, found in enumerate(tar_members(file)):
            if isinstance(found, CaptureError):
                self.brought.failures.append((str(path), str(found)))
                continue
            archive, member = found
            end = member.offset_data + (0 if member.isdir() else member.size)
            parent, _, name = member.name.rpartition("/")
            left -= member.size
            if number >= MAX_MEMBERS or left < 0:
                raise tarfile.TarError("more in it than an export holds")
            shown = f"{path}/{member.name}"
            body = archive.extractfile(member) if member.isfile() and not member.issparse() else None
            if body is None:
                if not member.isdir():
                    self.brought.skipped.append((shown, "no plain file"))
                continue
            if name in LEFT and name not in (TOLD, MANIFEST):
                continue
            place = self.folder / f"of-{hashlib.sha256(parent.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
            place.mkdir(exist_ok=True)
            copy = place / (name if name in LEFT else str(number))
            with body, copy.open("wb") as out:
                shutil.copyfileobj(body, out, 1 << 20)
            if name not in LEFT:
                groups.setdefault(parent, []).append((copy, shown))
        return end


def _is_tar(path: Path) -> bool:
    """A tar as a service exports it; one that is compressed is a capture's archive like any other."""
    with path.open("rb") as file:
        return is_tar(file.read(512))


def _scrubbed(path: Path, size: int, keys: list[object]) -> dict[str, Any]:
    """The profile of a scrubbed capture, and how many of the original's answers it lost, as its manifest says.

    That of a sealed capture is sealed for the same reader.
    """
    for place in (path.with_name(f"{path.name}.{MANIFEST}"), path.with_name(MANIFEST)):
        try:
            if not place.is_file() or place.is_symlink() or place.stat().st_size > MAX_MANIFEST:
                continue
            raw = io.BytesIO(place.read_bytes())
            if is_sealed(place):
                opened = io.BytesIO()
                unseal(raw, opened, keys)
                raw = opened
            found = json.loads(raw.getvalue())
            if found["schema"] == SCRUBBED and found["output"]["size"] == size:
                return {"scrubbed": str(found["profile"])[:MAX_FIELD], "answers_lost": len(found["proof"]["losses"])}
        except (OSError, ValueError, RecursionError, KeyError, TypeError, SealError):
            continue
    return {}


def _told(path: Path) -> dict[str, str]:
    """What the volunteer told: short strings under plain names, else nothing."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_TOLD:
            return {}
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(key)[:40]: value[:MAX_FIELD]
        for key, value in list(found.items())[:16]
        if isinstance(value, str) and key not in OWN_WORDS
    }
