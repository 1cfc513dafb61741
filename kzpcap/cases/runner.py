"""A run: find the captures, have them judged, and tell custody of each."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kzpcap.capture.source import may_hold_captures
from kzpcap.cases.custody import Chain, logs, new_run
from kzpcap.cases.pool import Limits, Pool
from kzpcap.cases.store import Case, clear, workshop
from kzpcap.cases.work import Outcome, Settings, changed, identity, sidecar, stamp

FAILURES = ("failed", "failed before", "changed while it was read", "unreadable")


@dataclass
class Tally:
    """What a run came to."""

    run: str = ""
    analysis: str = ""
    head: str = ""
    files: int = 0
    bytes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    intercepted: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
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
    seen: set[tuple[int, int]] = set()
    inside = os.path.realpath(case)
    for path in paths:
        if not os.path.isdir(path):
            with contextlib.suppress(OSError):  # what is not there is told by whoever opens it
                status = os.stat(path)
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
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
                    if (status.st_dev, status.st_ino) in seen:
                        continue
                    seen.add((status.st_dev, status.st_ino))
                    if plain:
                        yield file, False
                    elif skip:
                        skip(file, "no plain file")
                except OSError as error:
                    complain(file, error.strerror or str(error))


def batch(
    case: Case,
    paths: list[str],
    settings: Settings,
    jobs: int,
    limits: Limits,
    progress: Callable[[Tally], Any] | None = None,
    retry: bool = False,
) -> Tally:
    """Judge every capture below some paths into a case; a capture that fails is told and does not stop the rest."""
    loaded = settings.load()
    analysis, what = identity(loaded, settings, settings.keys())
    tally = Tally(new_run(), analysis)
    clear(case)
    gone_before = set() if retry else failed_before(case, analysis)
    with workshop(case, tally.run) as folder:
        vouched = named_results(case, analysis)
        chain = Chain(
            case, tally.run, {"analysis": analysis, **what, "paths": [os.path.abspath(path) for path in paths]}
        )
        before: dict[str, dict[str, Any]] = {}
        held: dict[str, list[Outcome]] = {}

        def complain(path: str, why: str) -> None:
            tally.outcomes["unreadable"] += 1
            tally.failures.append((path, why))
            chain.add("unreadable", name=os.path.abspath(path), why=why)

        def files() -> Iterator[str]:
            def skip(path: str, why: str) -> None:
                tally.outcomes["skipped"] += 1
                chain.add("skipped", name=os.path.abspath(path), why=why)

            for path, named in find(paths, case.folder, complain, skip):
                try:
                    told = stamp(path)
                    promising = may_hold_captures(path)
                except OSError as error:
                    complain(path, error.strerror or str(error))
                    continue
                tally.files += 1
                if not promising:
                    note(path, told, Outcome("not a capture", size=told["size"]), named)
                    continue
                if (os.path.abspath(path), told["size"], told["mtime_ns"]) in gone_before:
                    again = "it failed before: --retry tries it again"
                    note(path, told, Outcome("failed before", size=told["size"], why=again), named)
                    continue
                before[path] = told
                yield path

        def note(path: str, told: dict[str, Any], outcome: Outcome, named: bool = False) -> None:
            kind = outcome.outcome
            tally.outcomes[kind] += 1
            tally.intercepted += outcome.intercepted if kind == "analysed" else 0
            if kind in FAILURES or (named and kind == "not a capture"):
                tally.failures.append(
                    (path if outcome.member is None else f"{path}/{outcome.member}", outcome.why or kind)
                )
            more = {"file": told, "sidecar": sidecar(path)} if kind != "not a capture" else {"file": told}
            more = {key: value for key, value in more.items() if value is not None}
            chain.add("capture", name=os.path.abspath(path), **more, **outcome.document())

        try:
            with contextlib.closing(
                Pool(jobs, str(case.folder), str(folder), settings, limits, analysis, frozenset(vouched))
            ) as pool:
                for path, outcome in pool.run(files(), lambda: progress(tally) if progress else None):
                    if outcome is not None:
                        held.setdefault(path, []).append(outcome)
                        continue
                    told = before.pop(path)
                    different = changed(path, told)
                    tally.bytes += told["size"]
                    for one in held.pop(path, []):
                        if different and one.outcome in ("analysed", "already there"):
                            one.outcome, one.why = "changed while it was read", different
                        if one.outcome == "already there" and vouched.get(one.sha256 or "", one.results) != one.results:
                            one.outcome, one.why = "failed", "the result that is there is not what custody says"
                        note(path, told, one)
            _end(chain, tally, "end")
        except KeyboardInterrupt:
            tally.interrupted = True
            _end(chain, tally, "interrupted")
        finally:
            chain.file.close()
    return tally


def _end(chain: Chain, tally: Tally, how: str) -> None:
    # The heads of runs that went on beside this one, or began since: so each run vouches for all that ended before it.
    chain.add(how, outcomes=dict(sorted(tally.outcomes.items())), heads=chain.heads())
    tally.head = chain.close()


def named_results(case: Case, analysis: str) -> dict[str, dict[str, str]]:
    """Capture -> the digests of its result, as sound custody tells them."""
    found: dict[str, dict[str, str]] = {}
    for log in logs(case):
        if log.lines and not log.faults and log.lines[0].get("analysis") == analysis:
            for line in log.lines:
                if line["what"] == "capture" and line.get("results"):
                    found.setdefault(line["sha256"], line["results"])
    return found


def failed_before(case: Case, analysis: str) -> set[tuple[str, int, int]]:
    """Files as they were when a capture in them failed under the same analysis: only --retry tries them again."""
    found = set()
    for log in logs(case):
        if not log.lines or log.lines[0].get("analysis") != analysis:
            continue
        for line in log.lines:
            if line["what"] == "capture" and "file" in line:
                key = (line["name"], line["file"]["size"], line["file"]["mtime_ns"])
                if line.get("outcome") == "failed" and not line.get("passing"):
                    found.add(key)
                elif line.get("outcome") in ("analysed", "already there"):
                    found.discard(key)
    return found
