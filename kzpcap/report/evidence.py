"""The evidence of one connection on the terminal: the tree of its verdict, and what stands beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kzpcap.iana import CERTIFICATE_ALERTS, alert_name, version_name
from kzpcap.report import twin
from kzpcap.report.beside import beside
from kzpcap.report.text import WIDTH, day_and_time, decode, safe, wrap
from kzpcap.verdict.logic import Finding
from kzpcap.verdict.rules import NOTHING, RULES, State

if TYPE_CHECKING:
    from kzpcap.analysis import Connection, Report
    from kzpcap.observations import Observation

SHOWN = (State.INTERCEPTED, State.SUSPECTED, State.INTERFERED)
SIGNS = {True: "+", False: "-", None: "?"}
RULE_BY_ID = {rule.id: rule for rule in RULES}
RULE_WORDS = {rule.id: rule.because for rule in (*RULES, NOTHING)}
RULE_STATES = {rule.id: rule.state for rule in RULES}


def sni(observation: Observation) -> str:
    """The name that was asked for, or why there is none."""
    if observation.server_name_raw is not None:
        return safe(decode(observation.server_name_raw)) + ("" if observation.name_status == "seen" else "~")
    return {"absent": "(no name)", "cut": "(name cut off)"}.get(observation.name_status, "(no name seen)")


def show(report: Report, connection: Connection, out: Callable[[str], object]) -> None:
    """Print it."""
    observation, verdict = connection.observation, connection.verdict
    head = f"{sni(observation)}, {observation.server[0]}:{observation.server[1]}, {observation.transport}"
    out("\n" + wrap(f"{head}, frames {observation.first_frame}-{observation.last_frame}", 0, 2) + "\n")
    out(f"  {verdict.state.value:<14}{'rule ' + verdict.rule.id:>{WIDTH - 16}}\n")
    out(wrap(verdict.rule.says, 2) + "\n")
    _finding(verdict.evidence, 4, out)
    twin.show(observation, report.surroundings, out)
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
        force = {True: "in force then", False: "outside its dates", None: "dates not known"}[target.in_force]
        out(wrap(f"the name {kind} the list {target.list_id} ({force})", 2, 4) + "\n")
    requested = decode(observation.requested_name) if observation.requested_name else None
    for sentence in beside(observation.upgrade, requested, observation.name_split):
        out(wrap(sentence, 2, 4) + "\n")
    if observation.version is not None:
        reaction = {
            "went_on": "the client went on",
            "refused": f"the client refused the certificate{_alert(observation)}",
            "closed": "the client closed the connection",
            "silent": "nothing more of the client is seen",
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
    if verdict.unsettled and verdict.state not in (State.INTERCEPTED, State.INTERFERED):
        out("  cannot be settled here\n")
        reasons: dict[str, list[str]] = {}
        for rule in verdict.unsettled:
            reasons.setdefault(_open(RULE_BY_ID[rule].when(observation, report.surroundings)), []).append(rule)
        for reason, rules in reasons.items():
            for rule in rules:
                out(f"    ? {RULE_WORDS.get(rule, rule)} (rule {rule})\n")
            out(wrap(reason, 8, 8) + "\n" if reason else "")


def _alert(observation: Observation) -> str:
    """With which alert, where it was sent in clear."""
    for alert in observation.alerts:
        if alert.from_client and alert.code in CERTIFICATE_ALERTS:
            return f" ({alert_name(alert.code)}, frame {alert.seen.frame})"
    return ""


def _open(found: Finding) -> str:
    """Why something cannot be told: what the first of its facts says that cannot."""
    if found.value is not None:
        return ""
    for child in found.children if not found.says else ():
        reason = _open(child)
        if reason:
            return reason
    return safe(found.says)


def _told(found: Finding) -> set[str]:
    return {found.says}.union(*map(_told, found.children))


def _finding(found: Finding, indent: int, out: Callable[[str], object]) -> None:
    sign = SIGNS[found.value]
    if found.operator and not found.says:
        if len(found.children) == 1:
            only = found.children[0]
            if found.operator in ("none_of", "not_shown") and only.value is not None:
                only = only._replace(value=found.value)  # what it says is already said of what is not there
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
