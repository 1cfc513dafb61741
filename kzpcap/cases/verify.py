"""Is a case what its custody says? Every chain, every result, every certificate, and nothing beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kzpcap.cases.custody import Fault, Log, logs
from kzpcap.cases.second import wrong as wrong_judgements
from kzpcap.cases.stamps import Stamp, check
from kzpcap.cases.store import FORMAT, PARTS, Case, canonical, file_digest, is_running
from kzpcap.cases.tables import altered_segments, unchanging, wrong_segments
from kzpcap.cases.work import CHANGED, changed
from kzpcap.errors import WitnessMissing

ENDS = ("end", "interrupted")


@dataclass
class Verdict:
    """What was looked at, what is wrong, and what is open."""

    runs: int = 0
    lines: int = 0
    results: int = 0
    files: int = 0
    certificates: int = 0
    originals: int = 0
    heads: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    open: list[Fault] = field(default_factory=list)
    """No fault, and yet to be told: a run that goes on or was cut off, a result that no run has told of yet."""
    stamps: list[Stamp] = field(default_factory=list)


def verify(case: Case, rehash: bool = False, heads: Sequence[str] = (), authorities: tuple[bytes, ...] = ()) -> Verdict:
    """Check a case; with `rehash`, read the originals again.

    `heads` are digests that were written down elsewhere, `authorities` certificates (DER) of time-stamp authorities.
    """
    found = Verdict()
    named: dict[tuple[str, str], dict[str, str]] = {}
    known: dict[str, Log] = {}
    if (case.folder / "case.json").read_bytes() != canonical(FORMAT) + b"\n":
        found.faults.append(Fault("case.json", "is not what it was"))
    for log in logs(case, fresh=True):
        known[log.run] = log
        _run(case, log, found, named)
    _heads(known, found)
    _cut_off(case, known, found)
    certificates, brought, missing = set[str](), set[str](), set(heads)
    for line in (line for log in known.values() for line in log.lines):
        certificates.update(line.get("certificates", ()))
        missing.discard(line["digest"])
        if _brought(line):
            brought.add(Path(line["name"]).name)
    found.faults += [Fault("custody", f"no run has the digest {head}") for head in heads if head in missing]
    _results(case, named, found)
    _certificates(case, certificates, found)
    _captures(case, brought, found)
    _strays(case, found)
    found.faults += [Fault(path, says) for path, says in wrong_judgements(case)]
    try:
        with unchanging(case):
            found.faults += [Fault(path, says) for path, says in wrong_segments(case)]
            found.faults += [Fault(path, says) for path, says in altered_segments(case)]
    except WitnessMissing as error:
        found.open.append(Fault("segments", f"are not compared with the results: {error}"))
    except OSError as error:
        found.open.append(Fault("segments", f"are not compared with the results: {error.strerror}"))
    if authorities and not any((case.folder / "stamps").glob("*")):
        found.open.append(Fault("stamps", "no time-stamp is in this case"))
    try:
        for stamp in check(case, list(known.values()), authorities):
            if isinstance(stamp, Stamp):
                found.stamps.append(stamp)
            else:
                found.faults.append(Fault(*stamp))
    except WitnessMissing as error:
        found.open.append(Fault("stamps", f"are not read: {error}"))
    if rehash:
        _originals(case, known, found)
    return found


def _run(case: Case, log: Log, found: Verdict, named: dict[tuple[str, str], dict[str, str]]) -> None:
    name = f"custody/{log.run}.jsonl"
    found.runs += 1
    found.lines += len(log.lines)
    found.faults += [Fault(f"custody/{fault.path}", fault.says) for fault in log.faults]
    if not log.lines and not log.faults:
        found.open.append(Fault(name, "has no line: it was emptied, or an earlier kzpcap was killed as its run began"))
    goes_on = is_running(case, log.run)
    if log.torn and not goes_on:
        found.open.append(Fault(name, f"its last line is torn after {log.end:,} bytes: the next run cuts it off"))
    if log.head:
        found.heads[log.run] = log.head
    analysis = log.lines[0].get("analysis") if log.lines else None
    for line in log.lines:
        if line["what"] != "capture" or "results" not in line or analysis is None:
            continue
        before = named.setdefault((line["sha256"], analysis), line["results"])
        if before != line["results"]:
            found.faults.append(
                Fault(name, f"line {line['number']} gives the result of {line['sha256']} other digests")
            )


def _cut_off(case: Case, known: dict[str, Log], found: Verdict) -> None:
    """A run without an end is open, until a later one that saw all of it, or who saw it, came to its own end."""
    ended = [log for log in known.values() if log.lines and log.lines[-1]["what"] in ENDS]
    told: set[tuple[str, str]] = set()
    through = list(ended)
    while through:
        for run, head in through.pop().named - told:
            told.add((run, head))
            through += [known[run]] if run in known and known[run].head == head else []
    for log in known.values():
        if not log.lines or log.lines[-1]["what"] in ENDS:
            continue
        seen = (log.run, log.head) in told
        if is_running(case, log.run):
            found.open.append(Fault(f"custody/{log.run}.jsonl", "the run goes on"))
        elif not seen:
            found.open.append(Fault(f"custody/{log.run}.jsonl", "the run was cut off: run it again"))


def _heads(known: dict[str, Log], found: Verdict) -> None:
    """Each run names the heads that it saw: they must be there, in those runs."""
    seen: dict[str, dict[str, str]] = {}
    for log in known.values():
        for run, head in log.named:
            seen.setdefault(run, {}).setdefault(head, log.run)
    for run, heads in seen.items():
        if run not in known:
            by = next(iter(heads.values()))
            found.faults.append(Fault(f"custody/{run}.jsonl", f"is missing, and {by} saw it"))
            continue
        missing = heads.keys() - (line["digest"] for line in known[run].lines)
        for by in sorted(heads[head] for head in missing):
            found.faults.append(Fault(f"custody/{run}.jsonl", f"has not the line that {by} saw last in it"))


def _results(case: Case, named: dict[tuple[str, str], dict[str, str]], found: Verdict) -> None:
    there = {(path.parent.name, path.name) for path in case.results.glob("*/*") if path.is_dir()}
    for path in (*case.results.glob("*"), *case.results.glob("*/*"), *case.results.glob("*/*/*")):
        deep = len(path.relative_to(case.results).parts)
        if path.is_symlink() or path.is_dir() != (deep < 3):
            found.faults.append(Fault(f"results/{path.relative_to(case.results)}", "does not belong there"))
    for key in sorted(named.keys() - there):
        found.faults.append(Fault(f"results/{'/'.join(key)}", "is missing"))
    for key in sorted(there - named.keys()):
        text = "is in no run's custody: run its capture again, and it will be"
        found.open.append(Fault(f"results/{'/'.join(key)}", text))
    for key in sorted(there & named.keys()):
        found.results += 1
        try:
            now = case.digests(*key)
        except OSError as error:
            found.faults.append(_unreadable(f"results/{'/'.join(key)}", error))
            continue
        found.files += len(now)
        for name in sorted(now.keys() | named[key].keys()):
            if now.get(name) != named[key].get(name):
                why = "is missing" if name not in now else "is not what it was" if name in named[key] else "is unknown"
                found.faults.append(Fault(f"results/{'/'.join(key)}/{name}", why))


def altered(case: Case, analysis: str) -> list[str]:
    """The results under an analysis that are not as a run's custody says, or in none; each by its path."""
    named: dict[tuple[str, str], dict[str, str]] = {}
    for log in logs(case):
        if not log.faults:  # a chain that is broken vouches for nothing
            _run(case, log, Verdict(), named)
    told = {key: digests for key, digests in named.items() if key[1] == analysis}
    there = {(path.parent.name, analysis) for path in case.results.glob(f"*/{analysis}")}
    return [
        f"results/{'/'.join(key)}"
        for key in sorted(told.keys() | there)
        if key not in there or case.digests(*key) != told.get(key)
    ]


def exchanged(case: Case) -> list[str]:
    """The certificates that are not what their names say; each by its path."""
    return [f"certificates/{path.name}" for path in sorted(case.certificates.iterdir()) if not _is_named(path)]


def _is_named(path: Path) -> bool:
    return path.suffix == ".der" and _bears(path, path.stem)


def _bears(path: Path, digest: str) -> bool:
    """Is it a file with this digest? One that cannot be read is not."""
    try:
        return _plain(path) and file_digest(path) == digest
    except OSError:
        return False


def _unreadable(path: str, error: OSError) -> Fault:
    return Fault(path, f"cannot be read: {error.strerror}")


def _certificates(case: Case, told: set[str], found: Verdict) -> None:
    there = set()
    for path in sorted(case.certificates.iterdir()):
        there.add(path.stem)
        found.certificates += 1
        if not _is_named(path):
            found.faults.append(Fault(f"certificates/{path.name}", "is not what its name says"))
    for digest in sorted(told - there):
        found.faults.append(Fault(f"certificates/{digest}.der", "is missing"))
    for digest in sorted(there - told):
        found.open.append(Fault(f"certificates/{digest}.der", "is in no run's custody"))


def _brought(line: dict[str, Any]) -> bool:
    """Does a line of custody tell of a capture that is kept in the case?"""
    return line["what"] == "capture" and "imported_from" in (line.get("sidecar") or {})


def _captures(case: Case, told: set[str], found: Verdict) -> None:
    """Captures that were imported: the case has the only copy, so each is read each time, and must be there."""
    there = sorted(case.captures.iterdir()) if case.captures.is_dir() else []
    for path in there:
        if not _bears(path, path.stem):
            found.faults.append(Fault(f"captures/{path.name}", "is not what its name says"))
        elif path.name not in told:
            text = "is in no run's custody: import it again, and it will be"
            found.open.append(Fault(f"captures/{path.name}", text))
    for name in sorted(told - {path.name for path in there}):
        found.faults.append(Fault(f"captures/{name}", "is missing"))


def _plain(path: Path) -> bool:
    """Is it a file, and no link to one elsewhere?"""
    return path.is_file() and not path.is_symlink()


def _strays(case: Case, found: Verdict) -> None:
    links = (path for path in case.folder.iterdir() if path.is_symlink())
    found.faults += [Fault(path.name, "is a link to elsewhere") for path in sorted(links)]
    strays: Iterator[Path] = (path for path in case.folder.iterdir() if path.name not in PARTS)
    found.faults += [Fault(path.name, "does not belong to a case") for path in sorted(strays)]
    wrong = (path for path in case.custody.iterdir() if path.suffix != ".jsonl" or not _plain(path))
    found.faults += [Fault(f"custody/{path.name}", "does not belong there") for path in sorted(wrong)]
    for path in sorted(case.runs.glob("*")):
        if not path.is_dir() or path.is_symlink():
            found.faults.append(Fault(f"runs/{path.name}", "does not belong there"))
        elif not is_running(case, path.name):
            found.open.append(Fault(f"runs/{path.name}", "was left by a run that was cut off: the next run drops it"))
    for path in (case.folder / ".gate", case.folder / "segments" / "lock"):
        if path.is_symlink() or (path.exists() and (not path.is_file() or path.stat().st_size)):
            found.faults.append(Fault(str(path.relative_to(case.folder)), "is a lock, and not empty"))
    for part in ("judgements", "stamps", "segments"):
        for path in sorted((case.folder / part).glob(".*")):
            found.open.append(Fault(f"{part}/{path.name}", "is not finished: what writes it goes on or was cut off"))
    for path in sorted(case.results.iterdir()):
        if path.is_dir() and not any(path.iterdir()):
            found.open.append(Fault(f"results/{path.name}", "is empty: a run goes on or was cut off"))


def _originals(case: Case, known: dict[str, Log], found: Verdict) -> None:
    """Read again each original that is still somewhere: at any name that custody tells for what was read."""
    told: dict[str, dict[Path, dict[str, Any]]] = {}
    """Digest of what was read -> where -> the last line of that."""
    last: dict[Path, str] = {}
    since: dict[tuple[str, Path], int] = {}
    """Which run first told of a digest there."""
    for number, log in enumerate(known.values()):
        for line in log.lines:
            if line["what"] == "capture" and (line.get("container") or ("member" not in line and line.get("sha256"))):
                # An imported capture is in the case, which may have moved since.
                path = case.captures / Path(line["name"]).name if _brought(line) else Path(line["name"])
                digest = line.get("container") or line["sha256"]
                told.setdefault(digest, {})[path] = line
                last[path] = digest
                since.setdefault((digest, path), number)
    now: dict[Path, str] = {}
    for path in last:
        try:
            if path.is_file():
                now[path] = file_digest(path)
        except OSError as error:
            found.faults.append(_unreadable(str(path), error))
            for places in told.values():
                places.pop(path, None)
    told = {digest: places for digest, places in told.items() if places}
    found.originals += len(now)
    for path, digest in sorted(now.items()):
        line = told[last[path]][path]
        if digest == last[path]:
            continue
        if line.get("outcome") == CHANGED:
            found.open.append(Fault(str(path), "the original changed while it was read: there is nothing to compare"))
        else:
            different = changed(str(path), line["file"]) or "its size and time are the same"
            found.faults.append(Fault(str(path), f"the original is not what was read ({different})"))
    there = set(now.values())
    for digest, places in sorted(told.items(), key=lambda item: min(item[1])):
        # Custody may have told of the other one too, and it is what custody told: it is another file all the same.
        replaced = [path for path in sorted(places) if path in now and digest not in (now[path], last[path])]
        # Files of a ring get other names: what a later run found elsewhere was moved there.
        moved = max((since[digest, path] for path in places if now.get(path) == digest), default=-1)
        replaced = [path for path in replaced if since[digest, path] >= moved]
        found.open += [Fault(str(path), f"held {digest} when it was read: another took its place") for path in replaced]
        if not (replaced or digest in there or any(path in now and last[path] == digest for path in places)):
            found.open.append(Fault(str(min(places)), "the original is no longer there"))
