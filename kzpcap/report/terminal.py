"""The report for a reader at a terminal: 80 columns, plain words first, the evidence under them.

Colour only helps: every word stands without it. Text from the capture passes `safe` before it is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kzpcap.iana import version_name
from kzpcap.report.ladders import draw
from kzpcap.report.summary import Summary
from kzpcap.report.text import WIDTH, day_and_time, decode, safe, wrap
from kzpcap.verdict.judge import Verdict
from kzpcap.verdict.logic import Finding
from kzpcap.verdict.rules import NOTHING, RULES, State

if TYPE_CHECKING:
    from kzpcap.analysis import Connection, Report
    from kzpcap.observations import Observation

LABORATORY = (
    "LABORATORY: trust anchors or interception CAs were given on the command line; "
    "this is no finding about the public network."
)
SHOWN = (State.INTERCEPTED, State.SUSPECTED, State.INTERFERED)
MAX_TREES = 12
MAX_LINES = 200
SIGNS = {True: "+", False: "-", None: "?"}
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
    """What the terminal shows of the connections, bounded."""

    lines: list[Connection] = field(default_factory=list)
    trees: list[Connection] = field(default_factory=list)
    lines_left: int = 0
    trees_left: int = 0
    grouped: dict[str, Counter[str]] = field(default_factory=dict)


def cut(text: str, width: int) -> str:
    """Text in a column, cut with a mark where it is too long."""
    return text if len(text) <= width else text[: width - 1] + "~"


def write(report: Report, options: Options, out: Callable[[str], object]) -> Summary:
    """Print one report."""
    summary = Summary()
    collected = _collect(report, options, summary)
    _health(report.capture, options, out)
    if report.reference.laboratory:
        out(wrap(LABORATORY, 2) + "\n")
    _findings(report, summary, collected, out)
    _table(collected, options, out)
    for connection in collected.trees:
        _tree(report, connection, out)
    for ladder in report.ladders[:MAX_TREES]:
        draw(ladder, report.networks, out)
    if collected.trees_left:
        out(f"\n(+{collected.trees_left} more with the same kinds of evidence: --json has all)\n")
    _counts(report, summary, out)
    return summary


def _collect(report: Report, options: Options, summary: Summary) -> Collected:
    collected = Collected()
    for connection in report.connections():
        observation, verdict = connection.observation, connection.verdict
        summary.add(observation, verdict)
        exact = observation.target is not None and observation.target.exact
        if verdict.state in SHOWN or exact or options.all_lines:
            if len(collected.lines) < MAX_LINES or options.all_lines:
                collected.lines.append(connection)
            else:
                collected.lines_left += 1
        if verdict.state in SHOWN or options.explain:
            if len(collected.trees) < MAX_TREES or options.explain:
                collected.trees.append(connection)
            else:
                collected.trees_left += 1
        if verdict.state not in SHOWN:
            kind = "targets" if exact else "others"
            collected.grouped.setdefault(verdict.rule.id, Counter())[kind] += 1
    return collected


def _health(capture: dict[str, Any], options: Options, out: Callable[[str], object]) -> None:
    digest = capture["sha256"]
    short = f"   sha256 {digest[:8]}...{digest[-4:]}" if digest else ""
    out(f"{cut(safe(options.name), WIDTH - len(short))}{short}\n")
    packets = capture["packets"]
    links = ", ".join(entry["name"].split(" (")[0] for entry in capture["link_types"]) or "no packets"
    kind = capture["format"] + (f" in {capture['compression']}" if capture["compression"] else "")
    times = ""
    if capture["first_time"]:
        first, last = capture["first_time"][:19].replace("T", " "), capture["last_time"][:19].replace("T", " ")
        times = f", {first} to {last[11:] if last[:10] == first[:10] else last} UTC"
    out(wrap(f"{kind}, {links}, {capture['size']:,} bytes, {packets['read']:,} packets{times}", 2, 4) + "\n")
    out(_row("seen from", f"{capture['vantage']['where']}: {capture['vantage']['basis']}"))
    has = []
    for what, there in (
        ("TCP handshakes", capture["syn"] > 0),
        ("both directions", capture["both_directions"] > 0),
        ("whole packets", packets["cut"] == 0),
        ("ICMP", capture["icmp"] > 0),
    ):
        has.append(what if there else f"no {what}")
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
        out(_row("checksums", f"{wrong:,} of {checked:,} kept packets are wrong (offloading does that)"))
    if capture["duplicates"]:
        out(_row("duplicates", f"{capture['duplicates']:,} packets captured twice were counted once"))
    for sentence in capture["means"]:
        out(_row("so", sentence))
    out(_row("clock", "every date below rests on the capture's own clock"))


def _row(label: str, text: str) -> str:
    return wrap(f"{label:<11} {text}", 2, 14) + "\n"


def _findings(report: Report, summary: Summary, collected: Collected, out: Callable[[str], object]) -> None:
    out("\nFINDINGS\n")
    states, targets = summary.states, summary.target_states
    total_targets = sum(targets.values())
    for state in (State.INTERCEPTED, State.SUSPECTED, State.INTERFERED):
        count = states[state.value]
        if not count:
            continue
        others = count - targets[state.value]
        parts = []
        if targets[state.value]:
            lists = ", ".join(
                f"{name}{_force(summary, name, counts)}"
                for name, counts in summary.lists.items()
                if counts[state.value]
            )
            noun = "target connection" if total_targets == 1 else "target connections"
            parts.append(f"{targets[state.value]} of {total_targets} {noun} ({lists})")
        if others:
            parts.append(f"{others} other{'s' if others > 1 else ''}")
        out(_found(state.value, ", ".join(parts)))
        if state is not State.INTERFERED:
            for identity in _identities(collected, state, report):
                out(wrap(f"by   {identity}", 17, 22) + "\n")
        for place in _places(collected, state):
            out(wrap(f"at   {place}", 17, 22) + "\n")
    out(_found("genuine", _both(targets["genuine"], states["genuine"] - targets["genuine"])))
    out(_found("undetermined", _both(targets["undetermined"], states["undetermined"] - targets["undetermined"])))
    for rule, counts in sorted(collected.grouped.items(), key=lambda item: -sum(item[1].values())):
        because = RULE_WORDS.get(rule, rule)
        if rule != "publicly-trusted":
            out(wrap(f"{sum(counts.values()):>4} {because}", 17, 22) + "\n")


def _found(label: str, text: str) -> str:
    return wrap(f"{label:<14} {text}", 2, 17) + "\n"


def _both(targets: int, others: int) -> str:
    return f"{targets} target{'' if targets == 1 else 's'}, {others} other{'' if others == 1 else 's'}"


def _force(summary: Summary, name: str, counts: Counter[str]) -> str:
    total = sum(counts.values())
    if summary.in_force[name] == total:
        return ", in force then"
    return ", not in force then" if not summary.in_force[name] else ", partly in force then"


def _identities(collected: Collected, state: State, report: Report) -> Iterable[str]:
    """Whom the verdicts name, each once."""
    found: dict[str, None] = {}
    generations = report.reference.generations
    for connection in collected.lines:
        verdict = connection.verdict
        if verdict.state is not state or verdict.interceptor is None:
            continue
        identity = verdict.interceptor.identity
        if identity.startswith("known_generation:"):
            found[generations[identity.split(":", 1)[1]].title] = None
        elif identity == "supplied_ca":
            found[f"a CA given on the command line ({safe(verdict.interceptor.basis)})"] = None
        else:
            found["unknown: no verified signature by a known key"] = None
    return found


def _places(collected: Collected, state: State) -> Iterable[str]:
    """Where the verdicts place it, each once; the unknown last."""
    found: dict[str, None] = {}
    for connection in collected.lines:
        if connection.verdict.state is state:
            place = connection.verdict.place
            found[place.basis if place.where != "unknown" else f"unknown: {place.basis}"] = None
    return sorted(found, key=lambda text: text.startswith("unknown"))[:4]


def _table(collected: Collected, options: Options, out: Callable[[str], object]) -> None:
    if not collected.lines:
        return
    names = [_target_name(connection.observation) for connection in collected.lines]
    server = max(6, min(20, max(len(connection.observation.server[0]) for connection in collected.lines)))
    room = WIDTH - 8 - 2 - server - 2 - 2 - 12 - 2
    name = max(8, min(max(map(len, names)), room - min(34, max(len(c.verdict.rule.because) for c in collected.lines))))
    reason = room - name
    out(f"\n{'TIME':<8}  {'SERVER':<{server}}  {'SNI':<{name}}  {'STATE':<12}  BECAUSE\n")
    for connection, sni in zip(collected.lines, names, strict=True):
        observation, verdict = connection.observation, connection.verdict
        state = f"{verdict.state.value:<12}"
        if options.colour and verdict.state in COLOURS:
            state = f"\x1b[{COLOURS[verdict.state]}m{state}\x1b[0m"
        out(
            f"{day_and_time(observation.time_ns)[11:]}  {cut(observation.server[0], server):<{server}}  "
            f"{cut(sni, name):<{name}}  {state}  {cut(verdict.rule.because, reason)}\n"
        )
    if collected.lines_left:
        out(f"(+{collected.lines_left} more: --all shows them)\n")


def _target_name(observation: Observation) -> str:
    target = observation.target
    return ("(sub) " if target is not None and not target.exact else "") + _sni(observation)


def _sni(observation: Observation) -> str:
    if observation.server_name_raw is not None:
        return safe(decode(observation.server_name_raw)) + ("" if observation.name_status == "seen" else "~")
    return {"absent": "(no name)", "cut": "(name cut off)"}.get(observation.name_status, "(not captured)")


def _tree(report: Report, connection: Connection, out: Callable[[str], object]) -> None:
    observation, verdict = connection.observation, connection.verdict
    head = f"{_sni(observation)}, {observation.server[0]}:{observation.server[1]}, {observation.transport}"
    out("\n" + wrap(f"{head}, frames {observation.first_frame}-{observation.last_frame}", 0, 2) + "\n")
    out(f"  {verdict.state.value:<14}{'rule ' + verdict.rule.id:>{WIDTH - 16}}\n")
    out(wrap(verdict.rule.says, 2) + "\n")
    _finding(verdict.evidence, 4, out)
    further = [rule for rule in verdict.also if RULE_STATES.get(rule) in SHOWN]
    told = _told(verdict.evidence)
    remarks = [remark for remark in verdict.remarks if remark.says not in told]
    if remarks or further:
        out("  also\n")
        for remark in remarks:
            _finding(remark, 4, out)
        for rule in further:
            out(f"    + rule {rule} holds too\n")
    target = observation.target
    if target is not None:
        kind = "is on" if target.exact else f"is a subdomain of {target.name}, which is on"
        force = {True: "in force then", False: "not in force then", None: "dates not known"}[target.in_force]
        out(wrap(f"the name {kind} the list {target.list_id} ({force})", 2, 4) + "\n")
    if observation.version is not None:
        reaction = {
            "went_on": "the client went on",
            "refused": "the client refused the certificate",
            "closed": "the client closed the connection",
            "silent": "the client fell silent",
        }.get(observation.reaction.value)
        out(wrap(f"{version_name(observation.version)}{'; ' + reaction if reaction else ''}", 2, 4) + "\n")
    for name in observation.chain[:4]:
        certificate = report.surroundings.certificates[name]
        dates = (
            f"{day_and_time(certificate.not_before)[:10]} to {day_and_time(certificate.not_after)[:10]}"
            if certificate.subject
            else "unreadable"
        )
        what = safe(certificate.common_name or certificate.subject)[:60]
        out(wrap(f"certificate {name[:16]}... {what}, {certificate.key}, {dates}", 2, 6) + "\n")
    if verdict.unsettled and verdict.state is not State.INTERFERED:
        out("  cannot be settled here\n")
        for rule in verdict.unsettled:
            out(f"    ? {RULE_WORDS.get(rule, rule)} (rule {rule})\n")


def _told(found: Finding) -> set[str]:
    return {found.says}.union(*map(_told, found.children))


def _finding(found: Finding, indent: int, out: Callable[[str], object]) -> None:
    sign = SIGNS[found.value]
    if found.operator and not found.says:
        if len(found.children) == 1:
            only = found.children[0]
            if found.operator in ("none_of", "not_shown") and only.value is not None:
                only = replace(only, value=found.value)  # what it says is already said of what is not there
            _finding(only, indent, out)
            return
        words = {"all_of": "all of", "any_of": "any of", "none_of": "none of", "not_shown": "not shown"}[found.operator]
        out(f"{' ' * indent}{sign} {words}\n")
    else:
        frames = (
            f"  [frame{'s' if len(found.frames) > 1 else ''} {', '.join(map(str, found.frames[:6]))}]"
            if found.frames
            else ""
        )
        out(wrap(f"{sign} {safe(found.says)}{frames}", indent, indent + 4) + "\n")
    for child in found.children[:12]:
        _finding(child, indent + 2, out)


def _counts(report: Report, summary: Summary, out: Callable[[str], object]) -> None:
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
                "subdomains", f"{summary.subdomains} connections to subdomains of listed names (not counted as targets)"
            )
        )
    others = summary.connections - sum(summary.target_states.values())
    out(_found("connections", f"{summary.connections:,} with TLS or to TLS ports, {others:,} to no target"))
    out(_found("certificates", f"{len(report.surroundings.certificates):,} different ones"))
    if summary.absent:
        reasons = ", ".join(
            f"{count:,} {reason.lower().replace('_', ' ')}" for reason, count in summary.absent.most_common()
        )
        out(_found("without one", reasons))


RULE_WORDS = {rule.id: rule.because for rule in (*RULES, NOTHING)}
RULE_STATES = {rule.id: rule.state for rule in RULES}

__all__ = ["Options", "Verdict", "write"]
