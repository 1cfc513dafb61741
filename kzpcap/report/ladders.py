"""Ladders in the report: the JSON, with the AS of each hop, and the drawing for the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kzpcap.paths.networks import Networks
from kzpcap.report.text import cut, rfc3339, safe, wrap
from kzpcap.verdict.ladders import Ladder
from kzpcap.verdict.routers import Hop

ANSWERS = {
    "intercepted": "forged certificate",
    "suspected": "suspect certificate",
    "interfered": "blocked",
    "genuine": "genuine certificate",
    "trusted": "trusted certificate",
    "answered": "TLS answer",
    "reset": "a reset",
    "closed": "closed",
    "alert": "an alert",
    "plain": "a plain answer",
    "silence": "(no answer)",
}
SHORT = {"intercepted": "forged", "suspected": "suspect", "interfered": "blocked", "plain": "plain text"}
"""In half a cell, where probes with one TTL drew different things."""
MET = ("intercepted", "suspected", "interfered")
EFFECTS = {
    "certificate": "the target got the forged certificate",
    "suspected_certificate": "the target got a suspect certificate",
    "reset": "the target was reset",
    "alert": "the target got an alert",
    "plain_answer": "the target got a plain answer",
    "closed": "the target's connection was closed",
    "silence": "the target got nothing",
}


ASYMMETRIC = 2
"""Hops of difference between there and back below which nothing is said: a router may count itself in or not."""


def document(ladder: Ladder, networks: Networks) -> dict[str, Any]:
    """One ladder as JSON."""
    return {
        "client": ladder.client,
        "server": {"address": ladder.server, "port": ladder.dport},
        "server_name": ladder.server_name,
        "control_server_name": ladder.control_server_name,
        "shape": ladder.shape,
        "method": "PROBED",
        "first_time": rfc3339(ladder.first_ns) if ladder.first_ns else None,
        "last_time": rfc3339(ladder.last_ns) if ladder.last_ns else None,
        "interceptor_ttl": ladder.interceptor_ttl,
        "effect": ladder.effect,
        "control_terminating_ttl": ladder.control_terminating_ttl,
        "bound": ladder.bound,
        "last_clean_hop": hop(ladder.last_clean_hop, networks),
        "first_intercepted_hop": hop(ladder.first_intercepted_hop, networks),
        "last_answering_hop": hop(ladder.last_answering_hop, networks),
        "placement": ladder.placement,
        "inferred_hop": ladder.inferred_hop,
        "destination_ttl": ladder.destination_ttl,
        "support": {
            "ttls_with_effect": ladder.hits,
            "ttls_probed_from_there": ladder.tries,
            "answers_with_effect": ladder.met,
            "answers_from_there": ladder.answers,
            "mixed": ladder.mixed,
            "runs": len(ladder.runs),
            "runs_with_effect": sum(ttl is not None for ttl in ladder.runs),
            "modal_ttl": ladder.modal_ttl,
            "runs_at_modal_ttl": ladder.runs.count(ladder.modal_ttl) if ladder.modal_ttl is not None else 0,
        },
        "notes": list(ladder.notes),
        "as_source": networks.source,
        "steps": [
            {"ttl": step.ttl, "target": _side(step.target, networks), "control": _side(step.control, networks)}
            for step in ladder.steps
        ],
    }


def _side(side: dict[str, object] | None, networks: Networks) -> dict[str, object] | None:
    """What one series drew at a TTL, with the AS of each router that answered."""
    if side is None:
        return None
    entries: Any = side["time_exceeded"]
    told = []
    for entry in entries:
        network = networks.of(entry["address"])
        whose = {"asn": network.asn, "network": network.operator or network.name} if network else {}
        told.append({**entry, "asn": None, "network": None, **whose})
    return {**side, "time_exceeded": told}


def hop(seen: Hop | None, networks: Networks) -> dict[str, Any] | None:
    """A hop with its AS; null address where the router was not seen."""
    if seen is None:
        return None
    network = networks.of(seen.address) if seen.address else None
    return {
        "ttl": seen.ttl,
        "address": seen.address,
        "asn": network.asn if network else None,
        "network": (network.operator or network.name) if network else None,
        "published": networks.published(seen.address) if seen.address else None,
        "seen_by": seen.seen_by,
        "other_addresses": list(seen.others),
    }


def draw(ladder: Ladder, networks: Networks, out: Callable[[str], object]) -> None:
    """The ladder hop by hop, target beside control, with the box where it sits."""
    out(f"\nPATH to {safe(ladder.server)}, counted from the capture point\n")
    target = safe(ladder.server_name or "(no name)")
    control = f"{safe(ladder.control_server_name or '(no name)')} (control)"
    has_control = any(step.control for step in ladder.steps)
    out(f"  TTL  {_column(target)}  {control[:34] if has_control else ''}".rstrip() + "\n")
    for step in ladder.steps:
        if ladder.interceptor_ttl is not None and step.ttl == ladder.interceptor_ttl:
            words = f" from here on {EFFECTS.get(ladder.effect or '', 'the target was answered')} "
            out("  " + words.center(76, "=") + "\n")
        line = f"  {step.ttl:>3}  {_column(_cell(step.target, networks))}  {_cell(step.control, networks)[:35]}"
        out(line.rstrip() + "\n")
    for sentence in sentences(ladder, networks):
        out(wrap(sentence, 2, 4) + "\n")


def _column(text: str) -> str:
    return f"{text[:34]:<34}"


def _cell(side: dict[str, object] | None, networks: Networks) -> str:
    if side is None:
        return ""
    exceeded: Any = side["time_exceeded"]
    answer = str(side["answer"])
    answers: Any = side["answers"]
    if len(answers) > 1:
        told = ", ".join(f"{number} {SHORT.get(what, what)}" for what, number in answers.items())
        return f"{cut(told, 27)} + ICMP" if exceeded else told
    if answer in ANSWERS and answer != "silence":
        return ANSWERS[answer] + (" + ICMP" if exceeded else "")
    if exceeded:
        first = str(exceeded[0]["address"])
        network = networks.of(first)
        return f"{first:<15} {f'AS{network.asn}' if network else ''}" + (" ..." if len(exceeded) > 1 else "")
    return ANSWERS["silence"]


def sentences(ladder: Ladder, networks: Networks) -> list[str]:
    """What the ladder shows, in words, each bound and doubt told."""
    if ladder.interceptor_ttl is None:
        said = [_nothing_found(ladder)]
        if (first := ladder.control_terminating_ttl) is not None:
            said.append(
                f"the control got a trusted certificate from TTL {first} on:"
                " the server is there, or something that ends TCP for it"
            )
        return [*said, *ladder.notes]
    k = ladder.interceptor_ttl
    said = []
    before, after = ladder.last_clean_hop, ladder.first_intercepted_hop
    if ladder.bound == "exact":
        said.append(f"between {_hop_text(before, k - 1)} and {_hop_text(after, k)}")
    elif ladder.bound == "at_or_before" and before is not None:
        said.append(f"between {_hop_text(before, before.ttl)} and {_hop_text(after, k)}")
    elif ladder.bound == "at_or_before":
        said.append(f"at {_hop_text(after, k)} or nearer")
    elif ladder.bound is None:
        said.append(f"near {_hop_text(after, k)}: at it, nearer or beyond")
    else:
        said.append(f"at {_hop_text(after, k)} or beyond it, not nearer")
    said += [_as_text(entry, networks) for entry in (before, after) if entry and entry.address]
    last = ladder.control_terminating_ttl
    if last is not None and last > k and ladder.bound == "exact":
        further = f"{last - k} hop{'' if last - k == 1 else 's'}"
        said.append(f"exact: the control went {further} further, to TTL {last}")
    said.append(
        {
            "in_path": "in the path: no ICMP came beside the answer, and the control's did"
            if ladder.effect != "silence"
            else "in the path: the probes went no further, and the control's did",
            "on_path": "beside the path: the probe travelled on, ICMP came beside the answer",
            "at_destination": "at the destination's own hop, by an independent traceroute",
            "unknown": "whether it sits in the path or beside it cannot be told",
        }[ladder.placement]
    )
    if before and not before.address and ladder.last_answering_hop:
        nearest = _hop_text(ladder.last_answering_hop, k - 1)
        said.append(f"hop {before.ttl} was not seen; the nearest router that answered is {nearest}")
    if ladder.mixed:
        said.append(f"mixed: {ladder.met} of {ladder.answers} answers from there on had the effect")
    if len(ladder.runs) > 1 and ladder.modal_ttl is not None:
        others = sorted({ttl for ttl in ladder.runs if ttl not in (None, ladder.modal_ttl)}, key=str)
        varied = f"; in others first at hop {', '.join(map(str, others))}" if others else ""
        agree = ladder.runs.count(ladder.modal_ttl)
        said.append(f"first at hop {ladder.modal_ttl} in {agree} of {len(ladder.runs)} runs{varied}")
    said += ladder.notes
    said += _quotes(ladder)
    said += _asymmetry(ladder)
    said += _surer(ladder)
    said.append(
        f"AS numbers by {safe(networks.source)}; those of border routers are uncertain, and MPLS or NAT may hide hops"
    )
    return said


def _nothing_found(ladder: Ladder) -> str:
    """What a ladder without an effect says: where no certificate could be judged, that is no clean answer."""
    answered = {step.ttl: step.target["answer"] for step in ladder.steps if step.target}
    unread = [ttl for ttl, answer in answered.items() if answer == "answered"]
    if unread and not any(answer in ("genuine", "trusted") for answer in answered.values()):
        return (
            f"the target was answered in TLS from TTL {min(unread)} on, and by no certificate that could be judged:"
            " whether an interceptor answered cannot be told"
        )
    return "no answer to the target on this ladder shows an interceptor or a blocker"


def _asymmetry(ladder: Ladder) -> list[str]:
    """Routers whose answers came back over another number of hops than the probes went, by every initial TTL.

    In a tunnel of MPLS an answer first goes on to the tunnel's end: that too is a longer way back.
    """
    found = []
    for step in ladder.steps:
        entries: Any = step.target["time_exceeded"] if step.target else ()
        for entry in entries:
            back = entry["return_hops"]
            if back and min(abs(hops - (step.ttl - 1)) for hops in back) >= ASYMMETRIC:
                over = " or ".join(str(hops) for hops in back)
                found.append(f"hop {step.ttl}'s answer came back over {over} routers, not {step.ttl - 1}")
    if not found:
        return []
    more = f" (and {len(found) - 3} more)" if len(found) > 3 else ""
    return [f"by their TTLs, over another way back or through MPLS: {'; '.join(found[:3])}{more}"]


def _surer(ladder: Ladder) -> list[str]:
    """What would have made the answer surer."""
    sides = [side for step in ladder.steps for side in (step.target, step.control) if side is not None]
    advice = []
    if not any(side["time_exceeded"] for side in sides):
        advice.append("no router's ICMP is in the capture: record without a port filter")
    if ladder.control_server_name is None and not any(step.control for step in ladder.steps):
        advice.append("ask the same server for a name on no list too, with the same TTLs")
    if any(step.control and step.control["answer"] in MET for step in ladder.steps):
        advice.append("ask the same server for a name that it lets by too, with the same TTLs")
    if ladder.shape == "one_connection" and ladder.bound != "exact":
        advice.append("use one connection for each TTL, so that each answer belongs to its probe")
    hops = (ladder.last_clean_hop, ladder.first_intercepted_hop)
    if ladder.bound == "exact" and any(hop is not None and not hop.known for hop in hops):
        advice.append("run a traceroute over UDP to the same address beside it")
    if ladder.bound != "at_or_beyond" and ladder.inferred_hop is None and len(ladder.runs) == 1:
        advice.append("go up the ladder several times: one run may have gone another way")
    return [f"surer: {'; '.join(advice)}"] if advice else []


def _quotes(ladder: Ladder) -> list[str]:
    """What the routers' quotes show: from which hop on the probes arrive changed, and where they arrive in MPLS."""
    changes: dict[str, list[int]] = {}
    answered: list[int] = []
    tunnels: list[str] = []
    for step in ladder.steps:
        entries: Any = step.target["time_exceeded"] if step.target else ()
        for entry in entries:
            answered.append(step.ttl)
            for change in entry["changed"]:
                changes.setdefault(change, []).append(step.ttl)
            if entry["mpls"]:
                labels = ", ".join(str(one["label"]) for one in entry["mpls"][:3])
                tunnels.append(f"hop {step.ttl} ({entry['address']}, label {labels})")
    said = []
    for change, ttls in list(changes.items())[:4]:
        lasting = set(ttls) == {ttl for ttl in answered if ttl >= ttls[0]} and len(set(ttls)) > 1
        where = f"from hop {ttls[0]} on" if lasting else f"at hop {', '.join(map(str, sorted(set(ttls))[:6]))}"
        said.append(f"{where} the quoted probes differ from what was sent: {change}")
    if tunnels:
        said.append(f"MPLS at {'; '.join(tunnels[:4])}: routers inside a tunnel may not be seen")
    return said


def _hop_text(entry: Hop | None, ttl: int) -> str:
    if entry is None or ttl < 1:
        return "the capture point" if ttl < 1 else f"hop {ttl}"
    if entry.others:
        return f"hop {entry.ttl} ({' or '.join(entry.others[:3])})"
    return f"hop {entry.ttl} ({entry.address})" if entry.address else f"hop {entry.ttl} (not seen on this path)"


def _as_text(entry: Hop, networks: Networks) -> str:
    address = entry.address or ""
    found = networks.by_each_table(address)
    parts = [safe(f"{network.text}, {network.source}") for network in found] or ["no AS in the table"]
    published = networks.published(address)
    if published:
        parts.append(published)
    return f"{address}: {'; '.join(parts)}"
