"""The folder of a case: everything in it is named by its content, written aside and moved into place.

    case.json                                       what this folder is
    results/<capture sha256>/<analysis id>/         report.json: the report, without file name, client addresses cut
    certificates/<sha256>.der                       every certificate that was seen
    captures/<sha256>.pcapng                        what volunteers sent, opened (bring.py)
    judgements/<sha256>.json                        what the case says beside its captures (second.py)
    stamps/<sha256>.tsr                             time-stamps of custody by others (stamps.py)
    custody/<run id>.jsonl                          what each run read and wrote (custody.py)
    runs/<run id>/                                  a run's workshop, held by a lock; the next run drops it

Nothing is ever overwritten, so two runs, or one that was killed and run again, leave the same files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from kzpcap.errors import CaseError

FORMAT = {"format": "kzpcap-case", "version": 1}
REPORT = "report.json"
PARTS = (
    "case.json",
    "results",
    "certificates",
    "custody",
    "runs",
    "segments",
    "captures",
    "judgements",
    "stamps",
    ".gate",
)


def canonical(value: object) -> bytes:
    """One JSON text for one value: sorted keys, no spaces, ASCII (names need not be Unicode); ValueError for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def analysis_id(tool: dict[str, Any], reference: dict[str, Any], options: dict[str, Any]) -> str:
    """The digest of all that decides a report beside the capture: version, reference data, options."""
    return hashlib.sha256(canonical({"tool": tool, "reference": reference, "options": options})).hexdigest()[:32]


class Case:
    """The folder of a case."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.certificates = folder / "certificates"
        self.custody = folder / "custody"
        self.runs = folder / "runs"
        self.captures = folder / "captures"

    @classmethod
    def open(cls, folder: Path) -> Case:
        """An existing case; CaseError where the folder is none, or one of a later kzpcap."""
        try:
            found = json.loads((folder / "case.json").read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            why = "it has no case.json" if isinstance(error, OSError) else "its case.json cannot be read"
            raise CaseError(f"{folder} is no case: {why} (`kzpcap batch ... --case DIR` makes one)") from error
        if not isinstance(found, dict) or found.get("format") != FORMAT["format"]:
            raise CaseError(f"{folder} is no case: its case.json says something else")
        if found.get("version") != FORMAT["version"]:
            raise CaseError(f"{folder} is a case of format {found.get('version')}, which this kzpcap does not know")
        return cls(folder)

    @classmethod
    def create(cls, folder: Path) -> Case:
        """A case that may exist already; a folder with other things in it is left alone (CaseError)."""
        case = cls(folder)
        try:
            if (folder / "case.json").exists():
                case = cls.open(folder)
                for part in (case.results, case.certificates, case.custody, case.runs):
                    part.mkdir(exist_ok=True)
                return case
            if folder.exists() and any(entry.name not in PARTS for entry in folder.iterdir()):
                raise CaseError(f"{folder} is not empty and no case")
            for part in (case.results, case.certificates, case.custody, case.runs):
                part.mkdir(parents=True, exist_ok=True)
            aside = case.runs / f".case.json.{os.getpid()}"  # another run may be making the same case
            aside.write_bytes(canonical(FORMAT) + b"\n")
            aside.replace(folder / "case.json")
        except OSError as error:
            raise CaseError(f"{folder}: {error.strerror}") from error
        return case

    def result(self, capture: str, analysis: str) -> Path:
        """Where the result of a capture is, or would be."""
        return self.results / capture / analysis

    def has(self, capture: str, analysis: str) -> bool:
        """Is the result there? What is there is whole."""
        return (self.result(capture, analysis) / REPORT).exists()

    def put(self, made: Path, capture: str, analysis: str) -> bool:
        """Move a finished folder into place; False where an equal one stands there already."""
        place = self.result(capture, analysis)
        place.parent.mkdir(exist_ok=True)
        for path in made.iterdir():
            sync(path)
        try:
            made.rename(place)
        except OSError:
            if not self.has(capture, analysis):
                raise
            shutil.rmtree(made)
            return False
        sync(place.parent)
        return True

    def put_certificate(self, digest: str, der: bytes, workshop: Path) -> None:
        """Keep a certificate under its digest."""
        place = self.certificates / f"{digest}.der"
        if place.exists():
            return
        aside = workshop / f"{digest}.{uuid.uuid4().hex}.der"
        aside.write_bytes(der)
        sync(aside)
        aside.replace(place)

    def certificate(self, digest: str) -> bytes | None:
        """The DER of a certificate by its digest; None where the case has it not, or another in its place."""
        try:
            der = (self.certificates / f"{digest}.der").read_bytes()
        except OSError:
            return None
        return der if hashlib.sha256(der).hexdigest() == digest else None

    def digests(self, capture: str, analysis: str) -> dict[str, str]:
        """Name -> SHA-256 of each file of a result."""
        folder = self.result(capture, analysis)
        return {path.name: file_digest(path) if path.is_file() else "a folder" for path in sorted(folder.iterdir())}


def file_digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


LEFT_SECONDS = 3_600


def write_whole(raw: bytes, place: Path) -> None:
    """Write a small file wholly or not at all; what was cut off while it did so, an hour ago or more, goes."""
    for left in place.parent.glob(".*"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                left.unlink()
    aside = place.parent / f".{uuid.uuid4().hex}"
    try:
        aside.write_bytes(raw)
        sync(aside)
        aside.replace(place)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync(place.parent)


def sync(path: Path) -> None:
    """Make sure that a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def workshop(case: Case, run: str) -> Iterator[Path]:
    """A run's own folder for what is not finished, held by a lock that ends with the process, however that ends."""
    folder = case.runs / run
    with contextlib.ExitStack() as stack:
        with _gate(case):
            folder.mkdir(parents=True)
            lock = stack.enter_context((folder / "lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def is_running(case: Case, run: str) -> bool:
    """Does a process hold this run's workshop?"""
    try:
        with (case.runs / run / "lock").open("r") as lock:
            return not _free(lock)
    except OSError:
        return False


def clear(case: Case) -> int:
    """Drop the workshops of runs that ended without doing so; how many there were."""
    dropped = 0
    with _gate(case):
        for folder in case.runs.iterdir():
            if folder.is_dir() and not is_running(case, folder.name):
                shutil.rmtree(folder, ignore_errors=True)
                dropped += 1
    return dropped


@contextlib.contextmanager
def _gate(case: Case) -> Iterator[None]:
    """Nobody clears while another makes a workshop that is not locked yet."""
    case.runs.mkdir(exist_ok=True)
    with (case.folder / ".gate").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        yield


def _free(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
