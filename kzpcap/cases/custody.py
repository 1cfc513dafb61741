"""The chain of custody: one file of JSON lines a run, each line naming the one before by its digest.

A line is `{"run", "number", "previous", "time", "what", ...}` and `"digest"`: the SHA-256 of the line without it.
The first line names the last digest of every run that it found, so that the runs themselves form a chain: who knows
one head can tell whether anything before it was changed. Only the parent process of a run writes its file.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from kzpcap.cases.store import Case, canonical, is_running
from kzpcap.errors import CaseError

SYNC_EVERY = 1.0


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


def read(path: Path) -> Log:
    """Read a run's file and check its chain."""
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
        right = line["digest"] == digest_of(line) and canonical(line) + b"\n" == raw and isinstance(line["what"], str)
        right = right and (line["what"] != "capture" or isinstance(line["name"], str))
    except (ValueError, KeyError, TypeError, RecursionError):
        log.faults.append(Fault(name, f"line {number} is no line of custody"))
        return False
    if not right:
        log.faults.append(Fault(name, f"line {number} does not have the digest that it names"))
    if line.get("previous") != log.head or line.get("number") != number or line.get("run") != log.run:
        log.faults.append(Fault(name, f"line {number} does not follow the line before it"))
    log.head = line["digest"]
    return True


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


def logs(case: Case) -> Iterator[Log]:
    """Every run's file, by the time at which it began."""
    for path in sorted(case.custody.glob("*.jsonl")):
        if path.is_file() and not path.is_symlink():  # anything else does not belong there (verify.py)
            yield read(path)


class Chain:
    """The file of the run that goes on."""

    def __init__(self, case: Case, run: str, first: dict[str, Any]) -> None:
        self.case = case
        self.run = run
        self.number = 0
        self.previous: str | None = None
        self.synced = time.monotonic()
        others = list(logs(case))
        self.file = (case.custody / f"{run}.jsonl").open("xb")
        heads = {log.run: log.head for log in others if log.head}
        self.add("begin", heads=heads, **first)
        for log in others:
            if log.torn and not is_running(case, log.run):
                path = case.custody / f"{log.run}.jsonl"
                log = read(path)  # it may have gone on, and ended, since
                if log.torn:
                    with path.open("rb") as file:
                        file.seek(log.end)
                        torn = file.read()
                    os.truncate(path, log.end)
                    self.add("torn", of=log.run, bytes=len(torn), hex=torn[:4096].hex())

    def add(self, what: str, **more: Any) -> None:
        """One more line; on the disk within a second."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = {"run": self.run, "number": self.number, "previous": self.previous, "time": now, "what": what, **more}
        line["digest"] = digest_of(line)
        try:
            self.file.write(canonical(line) + b"\n")
            self.file.flush()
        except OSError as error:
            raise CaseError(f"custody cannot be written: {error.strerror}") from error
        self.number += 1
        self.previous = line["digest"]
        if time.monotonic() - self.synced > SYNC_EVERY:
            self.sync()

    def heads(self) -> dict[str, str]:
        """The last digest of every other run, as it is now."""
        return {log.run: log.head for log in logs(self.case) if log.head and log.run != self.run}

    def sync(self) -> None:
        """Put on the disk what was written so far."""
        os.fsync(self.file.fileno())
        self.synced = time.monotonic()

    def close(self) -> str:
        """End the run's file; its head, to be written down."""
        self.sync()
        self.file.close()
        assert self.previous
        return self.previous


def latest(case: Case) -> str | None:
    """The analysis of the run that began last."""
    begun = [(log.lines[0]["time"], log.lines[0].get("analysis")) for log in logs(case) if log.lines]
    return max(begun)[1] if begun else None


def reference_of(case: Case, analysis: str) -> dict[str, str]:
    """The reference data of an analysis: file -> digest, as the run that began last under it tells."""
    found: dict[str, str] = {}
    for log in logs(case):
        if log.lines and log.lines[0].get("analysis") == analysis:
            told = log.lines[0].get("reference", {})
            found = {**told.get("files", {}), **told.get("supplied", {})}
    return found
