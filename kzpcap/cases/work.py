"""What a worker does with one file: every capture in it, judged and put into the case."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import json
import math
import shutil
import stat
import uuid
from collections.abc import Callable, Container, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kzpcap import __version__, analysis, reference
from kzpcap.capture.source import open_all
from kzpcap.cases.store import REPORT, Case, analysis_id, file_digest
from kzpcap.errors import CaptureError, KzpcapError, NotACapture, ReferenceDataError
from kzpcap.reference import Reference
from kzpcap.report import json as report_json

MAX_SIDECAR = 64 << 10
SIDECAR = ".custody.json"
FAILS = (KzpcapError, OSError, MemoryError, ValueError, LookupError, RuntimeError, ArithmeticError)
"""What one capture may come to, without an end of the run."""
CHANGED = "changed while it was read"
"""An outcome: neither the result nor the digest is that of a file that anybody has."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the reports of a run; paths as given."""

    targets: tuple[str, ...] = ()
    trusted_roots: tuple[str, ...] = ()
    interception_cas: tuple[str, ...] = ()
    genuine: tuple[str, ...] = ()
    asn: str | None = None
    keylog: str | None = None
    reference: str | None = None
    keep_addresses: bool = False
    witness: bool = False
    """Have tshark read each capture too."""

    def load(self) -> Reference:
        """The reference data; ReferenceDataError where something is wrong with it."""
        return reference.load(
            Path(self.reference) if self.reference else None,
            list(self.targets) or None,
            [Path(path) for path in self.trusted_roots],
            [Path(path) for path in self.interception_cas],
            [Path(path) for path in self.genuine],
            Path(self.asn) if self.asn else None,
        )

    def keys(self) -> bytes:
        """The lines of the key log; ReferenceDataError where it cannot be read."""
        try:
            return Path(self.keylog).read_bytes() if self.keylog else b""
        except OSError as error:
            raise ReferenceDataError(f"{self.keylog}: {error.strerror}") from error


@dataclass
class Outcome:
    """What became of one capture, as custody tells it."""

    outcome: str
    """analysed, already there, failed, not a capture."""
    member: str | None = None
    """Its name inside an archive."""
    sha256: str | None = None
    size: int | None = None
    why: str | None = None
    results: dict[str, str] = field(default_factory=dict)
    connections: int = 0
    intercepted: int = 0
    container: str | None = None
    """SHA-256 of the archive that it is a member of."""
    certificates: list[str] = field(default_factory=list)
    passing: bool = False
    """It failed for want of room, memory or time, and may not fail again."""

    def document(self) -> dict[str, Any]:
        """As custody tells it."""
        told = asdict(self)
        return {
            key: value
            for key, value in told.items()
            if value is not None and value is not False and value not in ({}, [])
        }


class Worker:
    """The reference data, loaded once, and the case."""

    def __init__(
        self, folder: str, workshop: str, settings: Settings, expected: str | None = None, vouched: Container[str] = ()
    ) -> None:
        self.vouched = vouched
        self.case = Case(Path(folder))
        self.workshop = Path(workshop)
        self.settings = settings
        self.reference = settings.load()
        self.keys = settings.keys()
        self.analysis = identity(self.reference, settings, self.keys)[0]
        if expected is not None and self.analysis != expected:
            raise ReferenceDataError("the reference data changed while the run began")

    def work(self, path: str) -> Iterator[Outcome]:
        """Every capture of a file; whatever goes wrong in an unpacker is told as a failure of that file."""
        try:
            yield from self._work(path)
        except FAILS as error:
            why = f"{type(error).__name__}: {error}"[:500]
            yield Outcome("failed", why=why, passing=isinstance(error, OSError))

    def _work(self, path: str) -> Iterator[Outcome]:
        told = stamp(path)
        container: str | None = None
        for name, source, notes in open_all(path):
            member = name[len(path) + 1 :] if name != path else None
            if member is not None or (isinstance(source, CaptureError) and not isinstance(source, NotACapture)):
                container = container or file_digest(Path(path))
            if isinstance(source, CaptureError):
                yield Outcome(_kind(source), member, why=str(source), container=container, passing=_passing(source))
                continue
            outcome = Outcome("failed", member, source.sha256, source.size, container=container)
            try:
                # A result that custody has not told of yet is not believed: it is made again and compared.
                digest = source.sha256 or ""
                if digest in self.vouched and self.case.has(digest, self.analysis):
                    outcome.outcome = "already there"
                    source.close()
                else:
                    self._analyse(outcome, source, notes, lambda: changed(path, told))
            except CaptureError as error:
                outcome.outcome, outcome.why, outcome.passing = _kind(error), str(error), _passing(error)
            except FAILS as error:
                outcome.outcome, outcome.why = "failed", f"{type(error).__name__}: {error}"[:500]
                outcome.passing = isinstance(error, (OSError, MemoryError))
            if outcome.outcome in ("analysed", "already there"):
                outcome.results = self.case.digests(source.sha256 or "", self.analysis)
            yield outcome

    def _analyse(self, outcome: Outcome, source: Any, notes: Any, alien: Callable[[], str | None]) -> None:
        again = source.again() if self.settings.witness else None
        report = analysis.analyze(source, self.reference, None, True, self.keys, notes)
        try:
            if again is not None:
                from kzpcap.corroborate import corroborate_report

                corroborate_report(report, again)
            made = self.workshop / uuid.uuid4().hex  # a process number may be another machine's too
            made.mkdir()
            with (made / REPORT).open("w", encoding="utf-8", errors="surrogatepass") as file:
                cut = None if self.settings.keep_addresses else report_json.cut_address
                summary = report_json.write(report, file.write, cut)
            for digest, certificate in report.surroundings.certificates.items():
                self.case.put_certificate(digest, certificate.der, self.workshop)
            outcome.connections = summary.connections
            outcome.intercepted = summary.intercepted
            outcome.certificates = sorted(report.surroundings.certificates)
            outcome.why = alien()
            if outcome.why:  # the report may be of other bytes than the digest
                outcome.outcome = CHANGED
                return
            place = self.case.result(source.sha256, self.analysis)
            if self.case.has(source.sha256, self.analysis):
                if not filecmp.cmp(place / REPORT, made / REPORT, shallow=False):
                    outcome.outcome, outcome.why = "failed", "the result that is there is not what this capture gives"
                    return
                shutil.rmtree(made)
                outcome.outcome = "already there"
                return
            outcome.outcome = "analysed" if self.case.put(made, source.sha256, self.analysis) else "already there"
        finally:
            report.close()
            if again is not None:
                again.close()


def identity(loaded: Reference, settings: Settings, keys: bytes) -> tuple[str, dict[str, Any]]:
    """The analysis id, and what it stands for."""
    what: dict[str, dict[str, Any]] = {
        "tool": {"name": "kzpcap", "version": __version__},
        "reference": {"files": loaded.digests, "supplied": loaded.supplied_digests},
        "options": {
            "keep_addresses": settings.keep_addresses,
            **({"witness": "tshark"} if settings.witness else {}),
            "targets": sorted(target.id for target in loaded.target_lists),
            "keylog": hashlib.sha256(keys).hexdigest() if keys else None,
        },
    }
    return analysis_id(what["tool"], what["reference"], what["options"]), what


def _kind(error: CaptureError) -> str:
    """A file that is no capture is nobody's fault; one that begins as one and cannot be read is a failure."""
    return "not a capture" if isinstance(error, NotACapture) else "failed"


def _passing(error: CaptureError) -> bool:
    """Was it for want of room?"""
    return isinstance(error.__cause__, OSError)


def stamp(path: str) -> dict[str, Any]:
    """Size, time and inode of a file, to be compared after the reading; OSError where there is no plain file."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no plain file")
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
        "device": status.st_dev,
    }


def changed(path: str, told: dict[str, Any]) -> str | None:
    """What a file's size, time or inode say of the time in which it was read; None: nothing."""
    try:
        now = stamp(path)
    except OSError as error:
        return f"afterwards: {error.strerror}"
    different = [key for key, value in told.items() if now[key] != value]
    return f"another {' and '.join(different)} afterwards" if different else None


OWN_WORDS = frozenset({"imported_from", "sealed_sha256", "scrubbed", "answers_lost"})
"""What custody itself says beside a capture: nobody else's file may say it."""


def imported_from(beside: dict[str, Any] | None) -> str:
    """Where a capture that the case keeps came from; empty for others."""
    name = (beside or {}).get("imported_from")
    return name if isinstance(name, str) else ""


def sidecar(path: str) -> dict[str, Any] | None:
    """What a file beside the capture tells of how it was taken (tool, filter, interface, system, clock)."""
    beside = Path(path + SIDECAR)
    try:
        if not beside.is_file():
            return None
        raw = beside.read_bytes() if beside.stat().st_size <= MAX_SIDECAR else b""
        found = json.loads(raw)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            return None  # no file beside it can have that name
        return {"unreadable": type(error).__name__}
    if not isinstance(found, dict):
        return {"unreadable": "no JSON object"}
    flat = {
        str(key)[:100]: value
        for key, value in list(found.items())[:64]
        if isinstance(value, (str, int, float, bool)) and key not in OWN_WORDS
        if not isinstance(value, float) or math.isfinite(value)
    }
    return {key: value[:1000] if isinstance(value, str) else value for key, value in flat.items()}
