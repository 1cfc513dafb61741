"""The report for a reader at a terminal: 80 columns, plain words first, the evidence under them.

Colour only helps: every word stands without it. Text from the capture passes `safe` before it is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kzpcap.report.evidence import RULE_STATES, RULE_WORDS, SHOWN, show, sni
from kzpcap.report.ladders import draw
from kzpcap.report.names import two_senders
from kzpcap.report.summary import Summary
from kzpcap.report.text import WIDTH, cut, day_and_time, safe, wrap
from kzpcap.report.whom import told
from kzpcap.report.words import BY_ISSUER, LABORATORY
from kzpcap.report.words import count as counted
from kzpcap.verdict.facts import chain_is_specimen
from kzpcap.verdict.identity import is_known, parts
from kzpcap.verdict.judge import Verdict
from kzpcap.verdict.rules import State

if TYPE_CHECKING:
    from kzpcap.analysis import Connection, Report
    from kzpcap.observations import Observation

MAX_TREES = 12
MAX_LINES = 200
COLOURS = {State.INTERCEPTED: "31;1", State.SUSPECTED: "33", State.INTERFERED: "35", State.GENUINE: "32"}


@dataclass
class Options:
    """What to show."""

    name: str
    all_lines: bool = False
    explain: bool = False
    colour: bool = False


@dataclass
class Collected:
    """What the terminal shows of the connections, bounded; what decides (whom, where) is collected from all."""

    shown: list[Connection] = field(default_factory=list)
    """intercepted, suspected, interfered."""
    plain: list[Connection] = field(default_factory=list)
    lines_left: int = 0
    trees: dict[tuple[object, ...], list[Connection]] = field(default_factory=dict)
    """Connections of one kind (server, name, rule): the first is explained, the others are counted."""
    trees_left: int = 0
    grouped: dict[str, Counter[str]] = field(default_factory=dict)
    issuers: dict[str, Counter[str]] = field(default_factory=dict)
    identities: dict[State, Counter[str]] = field(default_factory=dict)
    places: dict[State, Counter[str]] = field(default_factory=dict)
    specimens: Counter[State] = field(default_factory=Counter)
    two_senders: Counter[str] = field(default_factory=Counter)
    """State -> connections that are in order, or open, and have marks of two senders."""
    nameless: Counter[str] = field(default_factory=Counter)

    @property
    def lines(self) -> list[Connection]:
        """The table's lines in order."""
        return sorted(self.shown + self.plain, key=lambda connection: connection.observation.first_frame)


def address(text: str, width: int) -> str:
    """An address in a column: of a long one its beginning, and its end, which tells it from its neighbours."""
    return text if len(text) <= width else f"{text[: width // 2 - 1]}~{text[len(text) - (width - width // 2) :]}"


def write(report: Report, options: Options, out: Callable[[str], object]) -> Summary:
    """Print one report."""
    summary = Summary()
    collected = _collect(report, options, summary)
    _health(report.capture, options, out)
    if report.reference.laboratory:
        out(wrap(LABORATORY, 2) + "\n")
    _findings(report, summary, collected, out)
    _table(collected, options, out)
    for alike in collected.trees.values():
        show(report, alike[0], out)
        if len(alike) > 1:
            frames = ", ".join(str(connection.observation.first_frame) for connection in alike[1:9])
            more = " ..." if len(alike) > 9 else ""
            which = f"{len(alike) - 1} more with this server, name and rule, from frame{'s' if len(alike) > 2 else ''}"
            out(wrap(f"{which} {frames}{more}", 2, 4) + "\n")
    for ladder in report.ladders[:MAX_TREES]:
        draw(ladder, report.networks, out)
    if collected.trees_left:
        out(f"\n(+{collected.trees_left} more connections with evidence: --explain shows all)\n")
    _counts(report, summary, collected, out)
    if report.corroboration:
        _corroboration(report.corroboration, out)
    return summary


def _collect(report: Report, options: Options, summary: Summary) -> Collected:
    collected = Collected()
    for connection in report.connections():
        observation, verdict = connection.observation, connection.verdict
        summary.add(observation, verdict)
        exact = observation.target is not None and observation.target.exact
        shown = verdict.state in SHOWN
        if observation.name_status in ("cut", "no_hello"):
            collected.nameless[verdict.state.value] += 1
        if shown or exact or options.all_lines:
            lines = collected.shown if shown else collected.plain
            if len(lines) < MAX_LINES or options.all_lines:
                lines.append(connection)
            else:
                collected.lines_left += 1
        if shown or options.explain:
            kind: tuple[object, ...] = (observation.server, observation.server_name, verdict.rule.id)
            if options.explain:
                kind = (observation.number,)
            if kind in collected.trees:
                if len(collected.trees[kind]) < MAX_LINES:
                    collected.trees[kind].append(connection)
            elif len(collected.trees) < MAX_TREES or options.explain:
                collected.trees[kind] = [connection]
            else:
                collected.trees_left += 1
        if shown:
            _whom_and_where(report, connection, collected)
        else:
            if any(remark.value and two_senders(remark.says) for remark in verdict.remarks):
                collected.two_senders[verdict.state.value] += 1
            collected.grouped.setdefault(verdict.rule.id, Counter())["targets" if exact else "others"] += 1
            if verdict.rule.id in BY_ISSUER and observation.chain:
                facts = report.surroundings.chain_facts(observation)
                end = (facts.last_shown if facts.issuer_missing else facts.end) if facts else None
                if end is not None:
                    collected.issuers.setdefault(verdict.rule.id, Counter())[
                        end.issuer_common_name or end.issuer or "(no name)"
                    ] += 1
    return collected


def _whom_and_where(report: Report, connection: Connection, collected: Collected) -> None:
    verdict = connection.verdict
    state = verdict.state
    if verdict.interceptor is not None:
        titles = report.reference.titles
        words = told(verdict.interceptor.identity, verdict.interceptor.basis, titles)
        collected.identities.setdefault(state, Counter())[words] += 1
    place = verdict.place
    words = place.basis if place.where != "unknown" else f"unknown: {place.basis}"
    collected.places.setdefault(state, Counter())[words] += 1
    if chain_is_specimen(connection.observation, report.surroundings).value:
        collected.specimens[state] += 1


def _health(capture: dict[str, Any], options: Options, out: Callable[[str], object]) -> None:
    name = safe(options.name)
    out((name if len(name) <= WIDTH else "~" + name[-WIDTH + 1 :]) + "\n")
    if capture["sha256"]:
        out(f"  sha256 {capture['sha256']}\n")
    packets = capture["packets"]
    links = ", ".join(entry["name"].split(" (")[0] for entry in capture["link_types"]) or "no packets"
    for number, part in enumerate(capture["parts"], 1):
        digest = f"sha256 {part['sha256']}, " if part["sha256"] else ""
        out(wrap(f"file {number}: {digest}{part['packets']:,} packets", 2, 4) + "\n")
    kind = capture["format"] + (f" in {capture['compression']}" if capture["compression"] else "")
    times = ""
    if capture["first_time"]:
        first, last = capture["first_time"][:19].replace("T", " "), capture["last_time"][:19].replace("T", " ")
        times = f", {first} to {last[11:] if last[:10] == first[:10] else last} UTC"
    counts = f"{packets['read']:,} packets ({packets['decoded']:,} decoded)"
    if packets["decoded"] > packets["read"]:
        counts = f"{packets['read']:,} frames ({packets['decoded']:,} packets in them decoded)"
    out(wrap(f"{kind}, {links}, {capture['size']:,} bytes, {counts}{times}", 2, 4) + "\n")
    out(_row("seen from", f"{capture['vantage']['where']}: {capture['vantage']['basis']}"))
    has = []
    if capture["syn"]:
        has.append("TCP handshakes" if capture["connections"] else "SYNs of TCP")
    if capture["connections"]:
        has.append("both directions" if capture["both_directions"] else "one direction only")
    has.append(f"{packets['cut']:,} of {packets['read']:,} packets cut short" if packets["cut"] else "whole packets")
    has.append("ICMP" if capture["icmp"] else "no ICMP")
    out(_row("it has", ", ".join(has)))
    if packets["skipped"]:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in packets["skipped"].items())
        out(_row("skipped", reasons))
    for note in capture["notes"]:
        place = (
            f"frame {note['frame']}"
            if note["frame"]
            else f"offset {note['offset']:,}"
            if note["offset"] is not None
            else ""
        )
        out(_row("note", f"{safe(note['text'])}" + (f" ({place})" if place else "")))
    if capture["checksums"]["wrong"]:
        wrong, checked = capture["checksums"]["wrong"], capture["checksums"]["checked"]
        out(_row("checksums", f"{wrong:,} of {checked:,} kept packets are wrong (offloading may do that)"))
    if capture["duplicates"]:
        out(_row("duplicates", f"packets captured or sent twice at once, counted once: {capture['duplicates']:,}"))
    for sentence in capture["means"]:
        out(_row("so", sentence))


def _row(label: str, text: str) -> str:
    return wrap(f"{label:<11} {text}", 2, 14) + "\n"


def _findings(report: Report, summary: Summary, collected: Collected, out: Callable[[str], object]) -> None:
    out("\nFINDINGS\n")
    states, targets = summary.states, summary.target_states
    total_targets = sum(targets.values())
    if not summary.connections:
        packets = report.capture["packets"]
        unread = packets["read"] and not packets["decoded"]
        nothing = "no TLS in this capture, and no connection to a port where TLS is expected"
        if unread:
            nothing = "none of its packets could be read: nothing is known of what is in them"
        elif report.capture["unanswered"]["attempts"]:
            nothing = "no TLS in this capture: nothing answered what tried to connect to a port where TLS is expected"
        out(wrap(nothing, 2) + "\n")
        return
    for state in SHOWN:
        count = states[state.value]
        if not count:
            continue
        parts = []
        if targets[state.value]:
            lists = ", ".join(
                f"{name}{_force(summary, name, counts)}"
                for name, counts in summary.lists.items()
                if counts[state.value]
            )
            noun = "target connection" if total_targets == 1 else "target connections"
            parts.append(f"{targets[state.value]} of {total_targets} {noun} ({lists})")
        unnamed = collected.nameless[state.value]
        others = count - targets[state.value] - unnamed
        if others > 0:
            parts.append(f"{others} other{'s' if others > 1 else ''}")
        if unnamed:
            parts.append(f"{unnamed} whose name was not seen")
        out(_found(state.value, ", ".join(parts)))
        if state is not State.INTERFERED:
            for words in _counted(collected.identities.get(state, Counter())):
                out(wrap(f"by   {words}", 17, 22) + "\n")
        for words in _counted(collected.places.get(state, Counter())):
            out(wrap(f"at   {words}", 17, 22) + "\n")
        if collected.specimens[state]:
            which = "its certificate is" if count == 1 else f"the certificate of {collected.specimens[state]} is"
            out(wrap(f"but  {which} a published one: a replay cannot be excluded", 17, 22) + "\n")
    where = report.capture["vantage"]["where"]
    seen = " (as seen here, towards the server)" if where in ("server", "router") else ""
    for state, more in ((State.GENUINE, seen), (State.UNDETERMINED, "")):
        name = state.value
        unnamed = collected.nameless[name]
        out(_found(name, _both(targets[name], states[name] - targets[name] - unnamed, unnamed) + more))
        if collected.two_senders[name]:
            out(
                wrap(f"but  {collected.two_senders[name]} of them with marks of two senders (--explain)", 17, 22) + "\n"
            )
    for rule, counts in sorted(collected.grouped.items(), key=lambda item: -sum(item[1].values())):
        if RULE_STATES.get(rule) is State.GENUINE:
            continue
        words = f"{sum(counts.values()):>4} {RULE_WORDS.get(rule, rule)}"
        names = [f'"{safe(name)[:40]}"' for name, _ in collected.issuers.get(rule, Counter()).most_common(3)]
        out(wrap(words + (f": {', '.join(names)}" if names else ""), 17, 22) + "\n")


def _counted(seen: Counter[str]) -> Iterator[str]:
    """The first of some answers, what is not known last; each with its count where there are several."""
    for words in sorted(seen, key=lambda text: text.startswith("unknown"))[:4]:
        yield f"({seen[words]}) {words}" if len(seen) > 1 else words
    if len(seen) > 4:
        yield f"(+{len(seen) - 4} more: --json has them)"


def _found(label: str, text: str) -> str:
    return wrap(f"{label:<14} {text}", 2, 17) + "\n"


def _both(targets: int, others: int, unnamed: int) -> str:
    text = f"{targets} target{'' if targets == 1 else 's'}, {others} other{'' if others == 1 else 's'}"
    return text + (f", {unnamed} whose name was not seen" if unnamed else "")


def _force(summary: Summary, name: str, counts: Counter[str]) -> str:
    total = sum(counts.values())
    if summary.in_force[name] == total:
        return ", in force then"
    if summary.out_of_force[name] == total:
        return ", outside its dates"
    return ", partly in force then" if summary.in_force[name] else ""


def _table(collected: Collected, options: Options, out: Callable[[str], object]) -> None:
    if not collected.shown and not collected.plain:
        return
    lines = collected.lines
    names = [_target_name(connection.observation) for connection in lines]
    server = max(6, min(15, max(len(connection.observation.server[0]) for connection in lines)))
    room = WIDTH - 8 - 2 - server - 2 - 2 - 12 - 2
    name = max(8, min(max(map(len, names)), room - 17))
    reason = room - name
    out(f"\n{'TIME':<8}  {'SERVER':<{server}}  {'SNI':<{name}}  {'STATE':<12}  BECAUSE\n")
    days = {day_and_time(connection.observation.time_ns)[:10] for connection in lines}
    today = ""
    for connection, named in zip(lines, names, strict=True):
        observation, verdict = connection.observation, connection.verdict
        day = day_and_time(observation.time_ns)[:10]
        if len(days) > 1 and day != today:
            out(f"{day}\n")
            today = day
        time = day_and_time(observation.time_ns)[11:] if observation.time_ns else "--:--:--"
        state = f"{verdict.state.value:<12}"
        if options.colour and verdict.state in COLOURS:
            state = f"\x1b[{COLOURS[verdict.state]}m{state}\x1b[0m"
        out(
            f"{time}  {address(observation.server[0], server):<{server}}  "
            f"{cut(named, name):<{name}}  {state}  {cut(_because(verdict), reason)}\n"
        )
    if collected.lines_left:
        out(f"(+{collected.lines_left} more: --all shows them)\n")


def _because(verdict: Verdict) -> str:
    """The reason in half a line, and by whom where a verified key says so."""
    identity = verdict.interceptor.identity if verdict.interceptor else ""
    if is_known(identity):
        return f"key of {parts(identity)[1]}"
    return verdict.rule.because


def _target_name(observation: Observation) -> str:
    target = observation.target
    return ("(sub) " if target is not None and not target.exact else "") + sni(observation)


def _no_target(summary: Summary, collected: Collected) -> str:
    """How many connections are to no name on a list, and of how many that cannot be told."""
    unnamed = collected.nameless.total()
    others = summary.connections - sum(summary.target_states.values()) - unnamed
    told = [f"{others:,} of them to no target"] if others or not unnamed else []
    told += [f"{unnamed:,} whose name was not seen"] if unnamed else []
    return "".join(f", {text}" for text in told)


def _counts(report: Report, summary: Summary, collected: Collected, out: Callable[[str], object]) -> None:
    out("\nCOUNTS\n")
    for name, counts in summary.lists.items():
        states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        total = sum(counts.values())
        out(
            _found(
                name, f"{total} target connection{'' if total == 1 else 's'}{_force(summary, name, counts)}: {states}"
            )
        )
    if summary.subdomains:
        out(
            _found(
                "subdomains",
                f"{counted(summary.subdomains, 'connection')} to subdomains of listed names (not counted as targets)",
            )
        )
    out(_found("connections", f"{summary.connections:,} with TLS or to TLS ports{_no_target(summary, collected)}"))
    out(_found("certificates", f"{len(report.surroundings.certificates):,} in all, each counted once"))
    if summary.absent:
        reasons = ", ".join(
            f"{count:,} {reason.lower().replace('_', ' ')}" for reason, count in summary.absent.most_common()
        )
        out(_found("without one", f"(why there is no certificate) {reasons}"))


def _corroboration(found: dict[str, Any], out: Callable[[str], object]) -> None:
    """What the witness read, and where it differs."""
    out("\nWITNESS\n")
    if found["failed"]:
        out(wrap(safe(f"{found['witness']}: compared nothing: {found['failed']}"), 2, 4) + "\n")
        return
    count = found["differences_in_all"]
    words = f"{count:,} difference{'' if count == 1 else 's'}" if count else "no difference"
    more = f"; {found['not_seen']:,} that it does not read" if found["not_seen"] else ""
    connections = f"{found['connections']:,} connection{'' if found['connections'] == 1 else 's'}"
    out(wrap(f"{found['witness']}: {connections}, {found['fields']:,} fields, {words}{more}", 2, 4))
    out("\n")
    for entry in found["differences"][:MAX_TREES]:
        values = f"ours {entry['ours']!r}, theirs {entry['theirs']!r}"
        out(wrap(safe(f"frame {entry['frame']}: {entry['field']}: {values} ({entry['what']})"), 4, 6) + "\n")


__all__ = ["Options", "Verdict", "write"]
