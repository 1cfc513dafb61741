"""What a case comes to: counts over all captures, each result read once, in memory that grows with what is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kzpcap.cases import second
from kzpcap.cases.across import Across
from kzpcap.cases.custody import latest, logs
from kzpcap.cases.repeats import Repeats, sound
from kzpcap.cases.store import REPORT, Case
from kzpcap.cases.work import imported_from
from kzpcap.errors import CaseError
from kzpcap.report import whom, words
from kzpcap.report.document import Document
from kzpcap.report.names import day_of, replayable, span
from kzpcap.report.text import wrap

JUDGED = ("analysed", "already there")
HEADS = f"{'intercepted':>12}{'suspected':>10}{'interfered':>11}{'genuine':>8}{'undet.':>8}"


@dataclass
class Total:
    """The counts of one analysis over all captures."""

    analysis: str = ""
    others: int = 0
    """Analyses under other versions, data or options that stand in the case too."""
    otherwise: int = 0
    """Captures that are judged under those alone, and count for nothing here."""
    tool: str = ""
    laboratory: bool = False
    captures: int = 0
    with_tls: int = 0
    first: str | None = None
    last: str | None = None
    packets: int = 0
    connections: int = 0
    states: Counter[str] = field(default_factory=Counter)
    targets: dict[str, Counter[str]] = field(default_factory=dict)
    below_targets: int = 0
    """Connections to names below a listed one, which are not counted with it."""
    identities: dict[str, Counter[str]] = field(default_factory=dict)
    """Identity to day (UTC) to intercepted connections."""
    captures_intercepted: int = 0
    again: int = 0
    """Connections that another capture has too, and are counted there."""
    replayable: int = 0
    """Intercepted ones that show a published certificate, whose key nobody is shown to hold."""
    altered: list[str] = field(default_factory=list)
    """Results that are not as custody says, and are in these counts all the same."""
    days: dict[str, Counter[str]] = field(default_factory=dict)
    """Day to the states of its target connections."""
    across: Across = field(default_factory=Across)
    second: list[dict[str, Any]] = field(default_factory=list)
    """Connections of which the case says more than their capture."""
    reasons: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    not_captures: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    """Capture that was scrubbed before it came -> answers of the original's that its copy does not give."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "analysis": self.analysis,
            "other_analyses": self.others,
            "captures_judged_otherwise": self.otherwise,
            "tool": self.tool,
            "laboratory": self.laboratory,
            "captures": {
                "judged": self.captures,
                "with_tls": self.with_tls,
                "with_interception": self.captures_intercepted,
                "failed": dict(sorted(self.failed.items())),
                "not_captures": self.not_captures,
                "scrubbed": len(self.lost),
                "scrubbed_with_answers_lost": sum(map(bool, self.lost.values())),
                "answers_lost": sum(self.lost.values()),
                "packets": self.packets,
                "first": self.first,
                "last": self.last,
            },
            "connections": self.connections,
            "connections_counted_once_though_in_several_captures": self.again,
            "connections_with_published_certificates": self.replayable,
            "results_not_as_custody_says": len(self.altered),
            "states": dict(sorted(self.states.items())),
            "connections_below_targets": self.below_targets,
            "targets": {name: dict(sorted(states.items())) for name, states in sorted(self.targets.items())},
            "interceptors": {name: dict(sorted(days.items())) for name, days in sorted(self.identities.items())},
            "days": {day: dict(sorted(states.items())) for day, states in sorted(self.days.items())},
            "reasons": dict(self.reasons.most_common()),
            "second_judgement": second.changes(self.second),
            "across": self.across.document(),
        }


def total(case: Case, analysis: str | None = None) -> Total:
    """The counts over every capture judged under one analysis (the last run's, where none is named)."""
    found = Total(analysis or latest(case) or "")
    analyses: set[str] = set()
    others = second.Others()
    for capture, report in reports(case, found.analysis, analyses):
        with sound(capture):
            _add(found, report)
            found.across.add(capture, report)
            others.add(capture, report)
    found.second = others.judge(case)
    if analysis is not None and analysis not in analyses:
        raise CaseError(f"no result of the analysis {analysis}")
    found.others = len(analyses - {found.analysis})
    found.otherwise = judged_otherwise(case, found.analysis)
    _custody(case, found)
    return found


def reports(case: Case, analysis: str, others: set[str] | None = None) -> Iterator[tuple[str, Document]]:
    """(capture, report) of every capture judged under one analysis; `others` is told of each analysis that is there.

    Each report can be read until the next is asked for. A connection that is in several captures is in one alone.
    """
    repeats = Repeats(lambda: _stored(case, analysis))
    for name, report in _stored(case, analysis, others):
        with sound(name):
            report.without = repeats.of(name, report)
        yield name, report


def _stored(case: Case, analysis: str, others: set[str] | None = None) -> Iterator[tuple[str, Document]]:
    for folder in sorted(case.results.iterdir()):
        for made in folder.iterdir() if folder.is_dir() else ():
            if others is not None:
                others.add(made.name)
            if made.name == analysis:
                with (made / REPORT).open("rb") as file:
                    yield folder.name, Document(file)


def judged_otherwise(case: Case, analysis: str) -> int:
    """How many captures are judged in the case, but not under this analysis."""
    made = [{result.name for result in folder.iterdir()} for folder in case.results.iterdir() if folder.is_dir()]
    return sum(bool(names) and analysis not in names for names in made)


NO_CAPTURE = "not a capture"


def _custody(case: Case, found: Total) -> None:
    """What never became a result, each file's last word under this analysis, and what scrubbing had cost."""
    last: dict[str, dict[str, Word]] = {}
    """File -> each capture in it, by name -> what was said last of it."""
    for log in logs(case):
        if not log.lines or log.lines[0].get("analysis") != found.analysis:
            continue
        now: dict[str, dict[str, Word]] = {}
        for line in log.lines:
            if line["what"] in ("capture", "unreadable") and line.get("outcome") != "failed before":
                name = imported_from(line.get("sidecar")) or line["name"]
                name += f"/{line['member']}" if line.get("member") else ""
                of = now.setdefault(line["name"], {})
                if name not in of or of[name].outcome in JUDGED:  # an archive may have two of one name
                    of[name] = _word(line)
        last.update(now)  # what a whole archive, or one member of it, came to before no longer counts
        for folder in last.keys() & _folders(now) - now.keys():
            del last[folder]  # it could not be read before
    for name, word in ((name, word) for of in last.values() for name, word in of.items()):
        if word.outcome == NO_CAPTURE:
            found.not_captures += 1
        elif word.outcome not in JUDGED:
            found.failed[name] = word.why or word.outcome
        elif word.lost is not None:
            found.lost[word.sha256] = word.lost


class Word(NamedTuple):
    """What is kept of a line of custody: there may be millions of files on a disk that are no captures."""

    outcome: str
    why: str = ""
    sha256: str = ""
    lost: int | None = None
    """Answers that scrubbing had cost; None where it was not scrubbed."""


NOTHING = Word(NO_CAPTURE)


def _word(line: dict[str, Any]) -> Word:
    outcome = str(line.get("outcome"))
    if outcome == NO_CAPTURE:
        return NOTHING
    if outcome not in JUDGED:
        return Word(outcome, line.get("why") or "")
    told = line.get("sidecar") or {}
    cost = told.get("answers_lost")
    lost = (max(cost, 0) if isinstance(cost, int) else 0) if "scrubbed" in told else None
    return Word(outcome, "", line["sha256"], lost)


def _folders(names: Iterable[str]) -> set[str]:
    """Every folder in which one of the files is."""
    found = set[str]()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def _add(found: Total, report: Document) -> None:
    capture = report["capture"]
    found.tool = f"{report['tool']['name']} {report['tool']['version']}"
    found.laboratory |= report["reference"]["laboratory"]
    found.captures += 1
    found.packets += capture["packets"]["read"]
    for stamp in (capture.get("first_time"), capture.get("last_time")):
        if stamp:
            found.first = min(found.first or stamp, stamp)
            found.last = max(found.last or stamp, stamp)
    found.with_tls += any(report["summary"]["states"].values())  # also of those that are counted elsewhere
    intercepted = found.states["intercepted"]
    found.again += len(report.without)
    for connection in report.connections():
        _connection(found, connection)
    found.captures_intercepted += found.states["intercepted"] > intercepted


def _connection(found: Total, connection: dict[str, Any]) -> None:
    state, day = connection["state"], day_of(connection)
    found.connections += 1
    found.states[state] += 1
    if state == "undetermined":
        found.reasons[connection["rule_id"]] += 1
    if state == "intercepted":
        found.replayable += replayable(connection)
        identity = connection["interceptor"]["identity"] if connection["interceptor"] else "unknown"
        found.identities.setdefault(identity, Counter())[day] += 1
    target = connection["target"]
    if target and target["match"] == "exact":
        found.targets.setdefault(target["name"], Counter())[state] += 1
        found.days.setdefault(day, Counter())[state] += 1
    elif target:
        found.below_targets += 1


def lines(found: Total) -> Iterator[str]:
    """For the terminal, at most 80 columns."""
    begun = f", {_minute(found.first)} to {_minute(found.last)} UTC" if found.first and found.last else ""
    yield f"{words.count(found.captures, 'capture')} judged ({found.with_tls:,} with TLS), {found.packets:,} packets"
    yield f"  {found.connections:,} connections{begun}"
    if found.analysis:
        yield f"  analysis {found.analysis}" + (f" by {found.tool}" if found.tool else "")
    if found.others:
        yield f"  results of {words.count(found.others, 'other analysis', 'other analyses')} stand beside it"
    if found.otherwise:
        yield from wrap(words.judged_otherwise(found.otherwise), 2).split("\n")
    if found.lost:
        yield from wrap(words.scrubbed(found.document()["captures"]), 2).split("\n")
    if found.again:
        text = f"{words.count(found.again, 'connection')} recorded more than once, and counted once"
        yield from wrap(text, 2).split("\n")
    if found.replayable:
        text = f"{words.published(found.replayable)}: a replay cannot be excluded"
        yield from wrap(text, 2).split("\n")
    if found.laboratory:
        yield "  LABORATORY: trust anchors or interception CAs were given on the command line"
    yield ""
    yield "STATES"
    for state in words.STATES:
        if found.states[state]:
            yield f"  {state:<14}{found.states[state]:>10,}"
    copies = " (copies of others left out)" if found.again else ""
    yield f"  in {words.count(found.captures_intercepted, 'capture')} something was intercepted{copies}"
    for one in second.changes(found.second):
        told = f"{one['connections']:,} more {one['of_the_case']} by the case ({one['of_the_capture']} by themselves)"
        yield f"  {told}"
        yield f"    {one['rule_id']}"
    if found.identities:
        yield ""
        yield "INTERCEPTED BY"
        for identity, days in sorted(found.identities.items()):
            yield f"  {whom.row(identity):<44.44}{sum(days.values()):>8,}  {span(days)}"
    if found.targets:
        yield ""
        yield f"{'TARGETS':<30}{HEADS}"
        order = sorted(found.targets.items(), key=lambda item: (-item[1]["intercepted"], -item[1].total(), item[0]))
        for name, states in order[:40]:
            counts = [states[state] or "-" for state in words.STATES]
            yield f"  {name:<28.28}{counts[0]:>12}{counts[1]:>10}{counts[2]:>11}{counts[3]:>8}{counts[4]:>8}"
        if len(order) > 40:
            yield f"  (+{len(order) - 40} more: --json has them)"
    if found.below_targets:
        names = words.count(found.below_targets, "connection")
        yield f"  {names} to names below listed ones are not counted here"
    if found.days:
        yield ""
        yield f"{'TARGETS BY DAY (UTC)':<30}{HEADS}"
        order_of_days = sorted(found.days.items())
        between = len(order_of_days) - 40
        for number, (day, states) in enumerate(order_of_days):
            if between > 0 and 20 <= number < 20 + between:
                if number == 20:
                    more = sum((counts for _, counts in order_of_days[20 : 20 + between]), Counter[str]())
                    counts = [more[state] or "-" for state in words.STATES]
                    what = f"({words.count(between, 'day')} between)"
                    yield f"  {what:<28}{counts[0]:>12}{counts[1]:>10}{counts[2]:>11}{counts[3]:>8}{counts[4]:>8}"
                continue
            counts = [states[state] or "-" for state in words.STATES]
            yield f"  {day:<28}{counts[0]:>12}{counts[1]:>10}{counts[2]:>11}{counts[3]:>8}{counts[4]:>8}"
        yield "  A day that is not here had no target connection: that is silence, not 'off'."
    yield from words.lines(found.across.document())
    if found.reasons:
        yield ""
        yield "NOT JUDGED, AND WHY"
        reasons = found.reasons.most_common()
        for rule, count in reasons[:12]:
            yield f"  {rule:<44}{count:>8,}"
        if len(reasons) > 12:
            what = f"({words.count(len(reasons) - 12, 'other rule')})"
            yield f"  {what:<44}{sum(count for _, count in reasons[12:]):>8,}"
    if found.failed or found.not_captures:
        yield ""
        failed = words.count(len(found.failed), "file or folder", "files or folders")
        none = words.count(found.not_captures, "file is no capture", "files are no captures")
        yield f"NOT READ      {failed} failed, {none}"
        for name, why in sorted(found.failed.items())[:10]:
            yield f"  {name[-60:]}"
            yield f"    {why[:74]}"
        if len(found.failed) > 10:
            yield f"  (+{len(found.failed) - 10} more: --json has them)"


def _minute(stamp: str) -> str:
    return stamp[:16].replace("T", " ")
