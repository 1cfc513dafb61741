"""A run: find the captures, have them judged, and tell custody of each."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kzpcap.capture.source import may_hold_captures
from kzpcap.cases.bring import Brought
from kzpcap.cases.cluster import Cluster
from kzpcap.cases.custody import Chain, logs, new_run
from kzpcap.cases.pool import Limits, Pool
from kzpcap.cases.store import Case, clear, workshop
from kzpcap.cases.work import CHANGED, Outcome, Settings, changed, identity, imported_from, sidecar, stamp

FAILURES = ("failed", "failed before", CHANGED, "unreadable")


@dataclass
class Tally:
    """What a run came to."""

    run: str = ""
    analysis: str = ""
    head: str = ""
    files: int = 0
    total: int | None = None
    """Files below the paths, once they are counted."""
    bytes: int = 0
    members: int = 0
    """Captures that came in archives."""
    outcomes: Counter[str] = field(default_factory=Counter)
    intercepted: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    """Files that hold other bytes than custody tells of an earlier run."""
    interrupted: bool = False

    @property
    def failed(self) -> int:
        """Captures of which there is no result, and should be."""
        return sum(self.outcomes[kind] for kind in FAILURES)


def find(
    paths: list[str],
    case: Path,
    complain: Callable[[str, str], None],
    skip: Callable[[str, str], None] | None = None,
) -> Iterator[tuple[str, bool]]:
    """(file, named by the user) of everything that may hold captures, by content, each file once.

    Links to folders are not followed, links to files are; what is no plain file is left out (`skip` is told of both),
    and so is the case itself.
    """
    seen: dict[tuple[int, int], str] = {}
    inside = os.path.realpath(case)
    for path in paths:
        if not os.path.isdir(path):
            with contextlib.suppress(OSError):  # what is not there is told by whoever opens it
                status = os.stat(path)
                if _again(seen, status, path, skip):
                    continue
            yield path, True
            continue
        for folder, folders, names in os.walk(path, onerror=lambda error: complain(str(error.filename), str(error))):
            for name in folders:
                if skip and os.path.islink(os.path.join(folder, name)):
                    skip(os.path.join(folder, name), "a link to a folder")
            folders[:] = sorted(name for name in folders if os.path.realpath(os.path.join(folder, name)) != inside)
            for name in sorted(names):
                file = os.path.join(folder, name)
                try:
                    status = os.stat(file)
                    plain = os.path.isfile(file)
                    if _again(seen, status, file, skip):
                        continue
                    if plain:
                        yield file, False
                    elif skip:
                        skip(file, "no plain file")
                except OSError as error:
                    complain(file, error.strerror or str(error))


def _again(
    seen: dict[tuple[int, int], str], status: os.stat_result, path: str, skip: Callable[[str, str], None] | None
) -> bool:
    """Was this file met before? Under another name, a link's, `skip` is told of it.

    The number of a file that was deleted since may be another file's by now.
    """
    key = status.st_dev, status.st_ino
    if key not in seen or not _is_still(seen[key], key):
        seen[key] = path
        return False
    if skip and full(path) != full(seen[key]):
        skip(path, f"the same file as {full(seen[key])}")
    return True


def _is_still(path: str, key: tuple[int, int]) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == key


def full(path: str) -> str:
    """A path from the root, as custody names it: behind a link to a folder, `..` is another folder than beside it."""
    folder, name = os.path.split(path)
    if name == "..":
        return os.path.realpath(path)
    return os.path.join(os.path.realpath(folder), name) if ".." in folder.split(os.sep) else os.path.abspath(path)


def count(paths: list[str], case: Path, tally: Tally) -> None:
    """Count the files below the paths, for whoever waits: beside the run, by names alone."""
    tally.total = sum(1 for _ in find(paths, case, lambda _path, _why: None))


def batch(
    case: Case,
    paths: list[str],
    settings: Settings,
    jobs: int,
    limits: Limits,
    progress: Callable[[Tally], Any] | None = None,
    retry: bool = False,
    brought: Brought | None = None,
    dask: str | None = None,
) -> Tally:
    """Judge every capture below some paths into a case; a capture that fails is told and does not stop the rest.

    `brought` is what custody is to tell of captures that were opened for this run. `dask` is the address of a cluster
    that does the work in place of `jobs` processes of this machine's.
    """
    analysis, what = identity(settings.load(), settings, settings.keys())
    tally = Tally(new_run(), analysis)
    clear(case)
    if progress is not None:
        threading.Thread(target=count, args=(paths, case.folder, tally), daemon=True).start()
    with workshop(case, tally.run) as folder:
        run = Run(case, analysis, tally, retry, {**what, "paths": [full(path) for path in paths]}, folder)
        try:
            if brought is not None:
                run.beside = brought.beside
                for path, why in brought.failures:
                    run.complain(path, why)
                for path, why in brought.skipped:
                    run.skip(path, why)
                for path, told in brought.again:
                    tally.outcomes["came again"] += 1
                    run.chain.add("came again", name=full(path), sidecar=told)
            where, vouched = (os.path.abspath(case.folder), os.path.abspath(folder)), frozenset(run.vouched)
            with contextlib.closing(
                Pool(jobs, *where, settings, limits, analysis, vouched)
                if dask is None
                else Cluster(dask, *where, settings, analysis, vouched)
            ) as pool:
                for path, outcome in pool.run(run.files(paths), lambda: progress(tally) if progress else None):
                    if outcome is None:
                        run.finish(path)
                    else:
                        run.held.setdefault(path, []).append(outcome)
            run.end("end")
        except KeyboardInterrupt:
            tally.interrupted = True
            run.end("interrupted")
        finally:
            run.chain.file.close()
    return tally


class Run:
    """What the parent of a run knows: which files are out, what came of them, and the chain that is told of it."""

    def __init__(
        self, case: Case, analysis: str, tally: Tally, retry: bool, first: dict[str, Any], workshop: Path
    ) -> None:
        self.case = case
        self.tally = tally
        self.gone_before = set() if retry else failed_before(case, analysis)
        self.vouched = named_results(case, analysis)
        self.read_before = read_before(case)
        self.chain = Chain(case, tally.run, {"analysis": analysis, **first}, workshop)
        self.before: dict[str, dict[str, Any]] = {}
        self.held: dict[str, list[Outcome]] = {}
        self.beside: dict[str, dict[str, Any]] = {}

    def files(self, paths: list[str]) -> Iterator[str]:
        """The files that workers are to read; custody is told of the others at once."""
        for path, named in find(paths, self.case.folder, self.complain, self.skip):
            try:
                told = stamp(path)
                promising = may_hold_captures(path)
            except OSError as error:
                self.complain(path, error.strerror or str(error))
                continue
            self.tally.files += 1
            if not promising:
                self.note(path, told, Outcome("not a capture", size=told["size"]), named)
            elif (full(path), told["size"], told["mtime_ns"]) in self.gone_before:
                why = "it failed before: --retry tries it again"
                self.note(path, told, Outcome("failed before", size=told["size"], why=why))
            else:
                self.before[path] = told
                yield path

    def complain(self, path: str, why: str) -> None:
        """A file or folder that cannot be read."""
        self.tally.outcomes["unreadable"] += 1
        self.tally.failures.append((path, why))
        self.chain.add("unreadable", name=full(path), why=why)

    def skip(self, path: str, why: str) -> None:
        """Something in a folder that is left out on purpose."""
        self.tally.outcomes["skipped"] += 1
        told = sidecar(path)
        self.chain.add("skipped", name=full(path), why=why, **({"sidecar": told} if told else {}))

    def finish(self, path: str) -> None:
        """A worker is through with a file: compare the file with what it was, and tell of each capture in it."""
        told = self.before.pop(path)
        different = changed(path, told)
        self.tally.bytes += told["size"]
        for one in self.held.pop(path, []):
            if different and one.outcome in ("analysed", "already there"):
                one.outcome, one.why = CHANGED, different
            if one.outcome == "already there" and self.vouched.get(one.sha256 or "", one.results) != one.results:
                one.outcome, one.why = "failed", "the result that is there is not what custody says"
                one.results, one.certificates, one.passing = {}, [], True  # vouched for by nothing, until it is mended
            self.note(path, told, one)

    def note(self, path: str, told: dict[str, Any], outcome: Outcome, named: bool = False) -> None:
        """Count what became of a capture, and tell custody; `named`: the user asked for this very file."""
        kind = outcome.outcome
        self.tally.outcomes[kind] += 1
        self.tally.members += outcome.member is not None
        self.tally.intercepted += outcome.intercepted if kind == "analysed" else 0
        beside = self.beside.get(path) or (sidecar(path) if kind != "not a capture" else None)
        if kind in FAILURES or (named and kind == "not a capture"):
            name = imported_from(beside) or path
            name = name if outcome.member is None else f"{name}/{outcome.member}"
            self.tally.failures.append((name, outcome.why or kind))
        digest = outcome.container or (outcome.sha256 if outcome.member is None else None)
        if digest and self.read_before.setdefault(full(path), digest) != digest:
            self.tally.replaced.append(full(path))
            self.read_before[full(path)] = digest
        more = {"file": told}
        if beside is not None and kind != "not a capture":
            more["sidecar"] = beside
        self.chain.add("capture", name=full(path), **more, **outcome.document())

    def end(self, how: str) -> None:
        """Close the chain; the heads of runs beside this one, or begun since, are vouched for as well."""
        self.chain.add(how, outcomes=dict(sorted(self.tally.outcomes.items())), heads=self.chain.heads())
        self.tally.head = self.chain.close()


def named_results(case: Case, analysis: str) -> dict[str, dict[str, str]]:
    """Capture -> the digests of its result, as sound custody tells them."""
    found: dict[str, dict[str, str]] = {}
    for log in logs(case):
        if log.lines and not log.faults and log.lines[0].get("analysis") == analysis:
            for line in log.lines:
                if line["what"] == "capture" and line.get("results"):
                    found.setdefault(line["sha256"], line["results"])
    return found


def read_before(case: Case) -> dict[str, str]:
    """File -> the digest of what it held when a run last read it, as sound custody tells it."""
    found: dict[str, str] = {}
    for log in logs(case):
        for line in log.lines if not log.faults else ():
            if line["what"] == "capture" and (line.get("container") or ("member" not in line and line.get("sha256"))):
                found[line["name"]] = line.get("container") or line["sha256"]
    return found


def failed_before(case: Case, analysis: str) -> set[tuple[str, int, int]]:
    """Files as they were when a capture in them failed under the same analysis: only --retry tries them again."""
    found = set()
    for log in logs(case):
        if not log.lines or log.lines[0].get("analysis") != analysis:
            continue
        came: dict[tuple[str, int, int], set[str]] = {}
        for line in log.lines:
            if line["what"] == "capture" and "file" in line:
                key = (line["name"], line["file"]["size"], line["file"]["mtime_ns"])
                came.setdefault(key, set()).add("passing" if line.get("passing") else line.get("outcome", ""))
        for key, outcomes in came.items():
            if "passing" in outcomes:  # of an archive some were not read for want of time
                found.discard(key)
            elif "failed" in outcomes:
                found.add(key)
            elif outcomes & {"analysed", "already there"}:
                found.discard(key)
    return found
