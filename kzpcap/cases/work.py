"""What a worker does with one file: every capture in it, judged and put into the case."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kzpcap import __version__, analysis, reference
from kzpcap.capture.source import open_all
from kzpcap.cases.store import REPORT, Case, analysis_id
from kzpcap.errors import CaptureError, KzpcapError, NotACapture, ReferenceDataError
from kzpcap.reference import Reference
from kzpcap.report import json as report_json

MAX_SIDECAR = 64 << 10
SIDECAR = ".custody.json"


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
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """As custody tells it."""
        return {key: value for key, value in asdict(self).items() if value not in (None, {}) and key != "seconds"}


class Worker:
    """The reference data, loaded once, and the case."""

    def __init__(self, folder: str, workshop: str, settings: Settings) -> None:
        self.case = Case(Path(folder))
        self.workshop = Path(workshop)
        self.settings = settings
        self.reference = settings.load()
        self.keys = settings.keys()
        self.analysis = identity(self.reference, settings, self.keys)[0]
        self.count = 0

    def work(self, path: str) -> Iterator[Outcome]:
        """Every capture of a file."""
        told = stamp(path)
        for name, source, notes in open_all(path):
            member = name[len(path) + 1 :] if name != path else None
            began = time.monotonic()
            if isinstance(source, CaptureError):
                yield Outcome(_kind(source), member, why=str(source))
                continue
            outcome = Outcome("failed", member, source.sha256, source.size)
            try:
                if self.case.has(source.sha256 or "", self.analysis):
                    outcome.outcome = "already there"
                    source.close()
                else:
                    self._analyse(outcome, source, notes, lambda: changed(path, told))
            except CaptureError as error:
                outcome.outcome, outcome.why = _kind(error), str(error)
            except (KzpcapError, OSError, MemoryError, RecursionError, ValueError) as error:
                outcome.outcome, outcome.why = "failed", f"{type(error).__name__}: {error}"[:500]
            if outcome.outcome in ("analysed", "already there"):
                outcome.results = self.case.digests(source.sha256 or "", self.analysis)
            outcome.seconds = time.monotonic() - began
            yield outcome

    def _analyse(self, outcome: Outcome, source: Any, notes: Any, alien: Callable[[], str | None]) -> None:
        report = analysis.analyze(source, self.reference, None, True, self.keys, notes)
        try:
            self.count += 1
            made = self.workshop / f"{os.getpid()}-{self.count}"
            made.mkdir()
            with (made / REPORT).open("w", encoding="utf-8", errors="surrogatepass") as file:
                cut = None if self.settings.keep_addresses else report_json.cut_address
                summary = report_json.write(report, file.write, cut)
            for digest, certificate in report.surroundings.certificates.items():
                self.case.put_certificate(digest, certificate.der, self.workshop)
            outcome.connections = summary.connections
            outcome.intercepted = summary.intercepted
            outcome.why = alien()
            if outcome.why:  # the report may be of other bytes than the digest
                outcome.outcome = "changed while it was read"
                return
            self.case.put(made, source.sha256, self.analysis)
            outcome.outcome = "analysed"
        finally:
            report.close()


def identity(loaded: Reference, settings: Settings, keys: bytes) -> tuple[str, dict[str, Any]]:
    """The analysis id, and what it stands for."""
    what: dict[str, dict[str, Any]] = {
        "tool": {"name": "kzpcap", "version": __version__},
        "reference": {"files": loaded.digests, "supplied": loaded.supplied_digests},
        "options": {
            "keep_addresses": settings.keep_addresses,
            "targets": sorted(target.id for target in loaded.target_lists),
            "keylog": hashlib.sha256(keys).hexdigest() if keys else None,
        },
    }
    return analysis_id(what["tool"], what["reference"], what["options"]), what


def _kind(error: CaptureError) -> str:
    """A file that is no capture is nobody's fault; one that begins as one and cannot be read is a failure."""
    return "not a capture" if isinstance(error, NotACapture) else "failed"


def stamp(path: str) -> dict[str, Any]:
    """Size, time and inode of a file, to be compared after the reading; OSError where there is no plain file."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "no plain file")
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "inode": status.st_ino}


def changed(path: str, told: dict[str, Any]) -> str | None:
    """What a file's size, time or inode say of the time in which it was read; None: nothing."""
    try:
        now = stamp(path)
    except OSError as error:
        return f"afterwards: {error.strerror}"
    different = [key for key, value in told.items() if now[key] != value]
    return f"another {' and '.join(different)} afterwards" if different else None


def sidecar(path: str) -> dict[str, Any] | None:
    """What a file beside the capture tells of how it was taken (tool, filter, interface, system, clock)."""
    beside = Path(path + SIDECAR)
    try:
        if not beside.is_file() or beside.stat().st_size > MAX_SIDECAR:
            return None
        found = json.loads(beside.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
