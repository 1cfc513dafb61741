"""The chain of custody: one file of JSON lines a run, each line naming the one before by its digest.

A line is `{"run", "number", "previous", "time", "what", ...}` and `"digest"`: the SHA-256 of the line without it.
The first line names the last digest of every run that it found and that no other had named, so that the runs themselves
form a chain: who knows one head can tell whether anything before it was changed. Only a run's parent process writes its
file.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import secrets
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Any, NamedTuple, overload

from kzpcap.cases.store import Case, canonical, is_running, sync
from kzpcap.errors import CaseError

SYNC_EVERY = 1.0
WHOLE = 1 << 20
"""Bytes of a buffer that takes any line whole."""


def new_run() -> str:
    """A run's id: when it began, and something that no other run has."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def digest_of(line: dict[str, Any]) -> str:
    """The digest that a line must carry."""
    return hashlib.sha256(canonical({key: value for key, value in line.items() if key != "digest"})).hexdigest()


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong in a file of a case."""

    path: str
    says: str


class Lines(Sequence[dict[str, Any]]):
    """The whole lines of a run's file, in order: read from it again each time, since a run may have very many."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts = array("Q")

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, at: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, at: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(at, slice):
            return [self[number] for number in range(*at.indices(len(self)))]
        with self.path.open("rb") as file:
            file.seek(self.starts[at])
            return _line(file.readline())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        with self.path.open("rb") as file:
            for raw, _ in zip(file, self.starts, strict=False):
                yield _line(raw)


def _line(raw: bytes) -> dict[str, Any]:
    line: dict[str, Any] = json.loads(raw)
    return line


@dataclass
class Log:
    """A run's file as it was read: its whole lines, and where the last of them ends."""

    run: str
    lines: Lines
    end: int
    torn: int
    """Bytes after the last whole line: a write that never ended."""
    faults: list[Fault]
    head: str | None = None
    """The digest of the last line: it vouches for all before it."""
    named: set[tuple[str, str]] = field(default_factory=set)
    """The heads of other runs that its lines name: (run, digest)."""
    after: frozenset[str] = frozenset()
    """The runs that its first line names: they had begun before it."""


def read(path: Path, fresh: bool = False) -> Log:
    """Read a run's file and check its chain; what this process read already is not read again, unless `fresh`."""
    told = path.stat()
    how = _read.__wrapped__ if fresh else _read
    return how(path, (told.st_ino, told.st_size, told.st_mtime_ns, told.st_ctime_ns))


@lru_cache(maxsize=4_096)
def _read(path: Path, stamp: tuple[int, ...]) -> Log:
    """The same; the stamp tells whether the file is what it was."""
    del stamp
    log = Log(path.stem, Lines(path), 0, 0, [])
    tail = b""
    with path.open("rb") as file:
        for number, raw in enumerate(file):
            if not raw.endswith(b"\n"):
                tail = raw
                break
            if not _check(log, path.name, number, raw):
                break
            log.lines.starts.append(log.end)
            log.end += len(raw)
        rest = len(tail) + sum(len(more) for more in file)
    if tail:
        log.torn = rest
    if log.torn and _is_line(tail):
        # The whole last line is there, but for its end: no torn write, and nothing to be cut off.
        log.faults.append(Fault(path.name, "the end of its last line is not what it was"))
        log.torn = 0
    return log


def _check(log: Log, name: str, number: int, raw: bytes) -> bool:
    """Is this a line of custody, whatever else is wrong with it? What is wrong is told."""
    try:
        line = json.loads(raw)
        right = line["digest"] == digest_of(line) and canonical(line) + b"\n" == raw
        if not _shaped(line):
            raise ValueError("a value of another kind than custody writes")
    except (ValueError, KeyError, TypeError, RecursionError):
        log.faults.append(Fault(name, f"line {number} is no line of custody"))
        return False
    if not right:
        log.faults.append(Fault(name, f"line {number} does not have the digest that it names"))
    if line.get("previous") != log.head or line.get("number") != number or line.get("run") != log.run:
        log.faults.append(Fault(name, f"line {number} does not follow the line before it"))
    log.head = line["digest"]
    heads = line.get("heads") or {}
    log.named.update(heads.items())
    if number == 0:
        log.after = frozenset(heads)
    return True


TEXTS = ("run", "time", "what", "digest", "analysis", "name", "outcome", "why", "member", "sha256", "container", "of")
NAMED_TEXTS = ("heads", "results")


def _shaped(line: dict[str, Any]) -> bool:
    """Is every value that is read somewhere of the kind that custody writes?"""
    what = line["what"]
    file = line.get("file", {})
    return (
        all(isinstance(line[key], str) for key in TEXTS if key in line)
        and all(_texts(line[key]) for key in NAMED_TEXTS if key in line)
        and all(isinstance(line.get(key, {}), dict) for key in ("reference", "sidecar", "outcomes"))
        and all(_texts(told) for told in line.get("reference", {}).values() if isinstance(told, dict))
        and isinstance(line.get("certificates", []), list)
        and all(isinstance(digest, str) for digest in line.get("certificates", []))
        and isinstance(file, dict)
        and (not file or all(type(file[key]) is int for key in ("size", "mtime_ns")))
        and isinstance(line["time"], str)
        and (what not in ("capture", "unreadable", "skipped", "came again") or "name" in line)
        and ("results" not in line or "sha256" in line)
    )


def _texts(told: object) -> bool:
    return isinstance(told, dict) and all(isinstance(one, str) for pair in told.items() for one in pair)


def _is_line(tail: bytes) -> bool:
    """Is this a line of custody, its last byte aside?"""
    for raw in (tail, tail[:-1]):
        try:
            line = json.loads(raw)
            if line["digest"] == digest_of(line):
                return True
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return False


def logs(case: Case, fresh: bool = False) -> list[Log]:
    """Every run's file (read), each behind those that it found: a clock is asked only where that leaves a choice."""
    # Anything but a file does not belong there (verify.py).
    found = [read(path, fresh) for path in case.custody.glob("*.jsonl") if path.is_file() and not path.is_symlink()]
    known = {log.run: log for log in found}
    waits = {log.run: len(log.after & (known.keys() - {log.run})) for log in found}
    found_by: dict[str, list[str]] = {}
    for log in found:
        for earlier in log.after:
            found_by.setdefault(earlier, []).append(log.run)
    ready = [(_began(log), log.run) for log in found if not waits[log.run]]
    heapify(ready)
    order: dict[str, Log] = {}
    while ready:
        _, run = heappop(ready)
        order[run] = known[run]
        for later in found_by.get(run, ()):
            waits[later] -= 1
            if not waits[later] and later not in order:
                heappush(ready, (_began(known[later]), later))
    # Runs that name each other in a circle: no run wrote that.
    circle = sorted((_began(log), log.run) for log in found if log.run not in order)
    return [*order.values(), *(known[run] for _, run in circle)]


def _began(log: Log) -> str:
    return log.lines[0]["time"] if len(log.lines) else ""


class Last(NamedTuple):
    """The last line of a file: how many there are, its digest, and where it ends."""

    number: int
    digest: str | None
    end: int


def last_heads(runs: Sequence[Log]) -> dict[str, str]:
    """The last digest of each run but of those that a later one named: that one vouches for them."""
    named = {item for log in runs for item in log.named}
    return {log.run: log.head for log in runs if log.head and (log.run, log.head) not in named}


class Chain:
    """The file of the run that goes on. It appears in custody with its first line: one without a line was emptied."""

    def __init__(self, case: Case, run: str, first: dict[str, Any], workshop: Path) -> None:
        self.case = case
        self.run = run
        self.last = Last(0, None, 0)
        self.pending: Last | None = None
        """What `last` is once the line that is being written is."""
        self.synced = time.monotonic()
        others = logs(case)
        aside, place = workshop / f"{run}.jsonl", case.custody / f"{run}.jsonl"
        self.file = aside.open("xb", buffering=WHOLE)
        self.named = last_heads(others)
        try:
            self.add("begin", heads=self.named, **first)
            self.sync()
            if place.exists():
                raise CaseError(f"{place} is there already")
            aside.rename(place)
        except BaseException:
            self.file.close()
            raise
        sync(case.custody)
        for log in others:
            if log.torn and not is_running(case, log.run):
                path = case.custody / f"{log.run}.jsonl"
                log = read(path, True)  # it may have gone on, and ended, since
                if log.torn:
                    with path.open("rb") as file:
                        file.seek(log.end)
                        torn = file.read()
                    os.truncate(path, log.end)
                    self.add("torn", of=log.run, bytes=len(torn), hex=torn[:4096].hex())

    def add(self, what: str, **more: Any) -> None:
        """One more line; on the disk within a second. An interrupt at any point leaves the chain whole."""
        self._settle()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        number, previous, end = self.last
        line = {"run": self.run, "number": number, "previous": previous, "time": now, "what": what, **more}
        line["digest"] = digest_of(line)
        raw = canonical(line) + b"\n"
        self.pending = Last(number + 1, line["digest"], end + len(raw))
        try:
            self.file.write(raw)
            self.file.flush()
        except OSError as error:
            raise CaseError(f"custody cannot be written: {error.strerror}") from error
        self._settle()
        if time.monotonic() - self.synced > SYNC_EVERY:
            self.sync()

    def _settle(self) -> None:
        """An interrupt may have come between a line's bytes and what is known of it: where the file ends tells."""
        if self.pending is not None and self.file.tell() >= self.pending.end:
            self.last = self.pending
        self.pending = None

    def heads(self) -> dict[str, str]:
        """The last digests of the other runs as they are now, where the first line did not name them."""
        found = last_heads([log for log in logs(self.case) if log.run != self.run])
        return {run: head for run, head in found.items() if self.named.get(run) != head}

    def sync(self) -> None:
        """Put on the disk what was written so far."""
        os.fsync(self.file.fileno())
        self.synced = time.monotonic()

    def close(self) -> str:
        """End the run's file; its head, to be written down."""
        self._settle()
        self.sync()
        self.file.close()
        assert self.last.digest
        return self.last.digest


def latest(case: Case) -> str | None:
    """The analysis of the run that began last, whatever the clock said then."""
    begun = [log for log in logs(case) if log.lines]
    return begun[-1].lines[0].get("analysis") or None if begun else None


def reference_of(case: Case, analysis: str) -> dict[str, str]:
    """The reference data of an analysis: file -> digest, as the run that began last under it tells."""
    found: dict[str, str] = {}
    for log in logs(case):
        if log.lines and log.lines[0].get("analysis") == analysis:
            told = log.lines[0].get("reference", {})
            found = {**told.get("files", {}), **told.get("supplied", {})}
    return found
