"""The report of one capture as one HTML file: no script, nothing from elsewhere, for a screen, a phone and paper.

It is made of the JSON document alone, so that it can say nothing that is not in there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import MAXYEAR, UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kzpcap.report.beside import beside
from kzpcap.report.document import Document, written
from kzpcap.report.ladders import ANSWERS, EFFECTS, sentences
from kzpcap.report.names import two_senders
from kzpcap.report.text import safe
from kzpcap.report.whom import told
from kzpcap.report.words import BY_ISSUER, STATES
from kzpcap.verdict.identity import is_known
from kzpcap.verdict.rules import NOTHING, RULES

if TYPE_CHECKING:
    from kzpcap.analysis import Report
    from kzpcap.report.summary import Summary

SIGNS = {"intercepted": "■", "suspected": "▲", "interfered": "◆", "genuine": "●", "undetermined": "○"}
"""A shape for each state: no colour is needed to tell them apart."""
MEANS = {
    "intercepted": "an artefact settles it: a verified signature, or a proven copy",
    "suspected": "fits interception; nothing settles it",
    "interfered": "a reset, FIN, alert, page or silence shown to come from another, or repeated beside controls",
    "genuine": "publicly trusted on that day for the name asked, as seen at this point",
    "undetermined": "the evidence does not reach; not “genuine”, and no error",
}
MAX_ROWS, MAX_TREES, MAX_TOPS = 400, 60, 64
ALMATY_2024 = datetime(2024, 2, 29, 18, tzinfo=UTC)
"""On 1 March 2024 Almaty went from UTC+6 to UTC+5, with the whole country."""


def almaty(text: str | None) -> str:
    """A time of the report in Almaty's own, to the second."""
    if not text:
        return ""
    moment = datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    offset = timezone(timedelta(hours=6 if moment < ALMATY_2024 else 5))
    if moment.year == MAXYEAR:
        return utc(text)
    return moment.astimezone(offset).strftime("%Y-%m-%d %H:%M:%S")


def utc(text: str | None) -> str:
    """A time of the report as it is read, to the second."""
    return text[:19].replace("T", " ") if text else ""


ANSWERED = {answer: f"({ANSWERS[answer]})" for answer in ("genuine", "trusted", "answered")}
"""What stands in a router's place where the server's side answered as it should: that hop is no router's."""


def path_figure(ladder: dict[str, Any]) -> dict[str, Any]:
    """A ladder as a figure: the routers in a row, the box between or at them, each with its AS."""
    k = ladder["interceptor_ttl"]
    hops = []
    for step in ladder["steps"]:
        sides = [side for side in (step["target"], step["control"]) if side]
        routers = [entry for side in sides for entry in side["time_exceeded"]]
        seen = [entry["address"] for entry in routers]
        asn = routers[0]["asn"] if routers else None
        answer = step["target"]["answer"] if step["target"] else ""
        hops.append(
            {
                "ttl": step["ttl"],
                "address": safe(seen[0]) if seen else ANSWERED.get(answer, "not seen"),
                "more": len(set(seen)) - 1 if seen else 0,
                "network": safe(f"AS{asn} {routers[0]['network'] or ''}").strip() if asn else "",
                "answer": answer,
                "control": step["control"]["answer"] if step["control"] else "",
                "frames": [frame for side in sides for frame in side["frames"][:2]],
                "box": k is not None and step["ttl"] == k,
                "hit": k is not None and step["ttl"] >= k and answer in STATES[:3],
            }
        )
    for end in ("last_clean_hop", "first_intercepted_hop"):
        known = ladder[end]
        for hop in hops:
            if known and hop["ttl"] == known["ttl"] and known["asn"] and not hop["network"]:
                hop["network"] = safe(f"AS{known['asn']} {known['network'] or ''}").strip()
    effect = EFFECTS.get(ladder["effect"] or "", "") if k is not None else ""
    return {"hops": hops, "k": k, "effect": effect, "edge": ladder["bound"] == "exact", "height": 46 * len(hops) + 60}


@dataclass
class Rows:
    """What the page shows of the connections, gathered in one reading of them."""

    shown: list[dict[str, Any]] = field(default_factory=list)
    """The first that matter: a connection to a listed name, or one that is not in order."""
    trees: list[dict[str, Any]] = field(default_factory=list)
    """The first whose evidence is laid open."""
    left: int = 0
    lists: dict[str, Counter[str]] = field(default_factory=dict)
    forces: dict[str, set[bool | None]] = field(default_factory=dict)
    replayable: int = 0
    two_senders: Counter[str] = field(default_factory=Counter)
    """State -> connections that are in order, or open, and have marks of two senders."""
    by: Counter[tuple[bool, str]] = field(default_factory=Counter)
    """(a key that was verified, by whom) -> connections."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Rule that left a connection undetermined -> connections."""
    tops: dict[str, Counter[str]] = field(default_factory=dict)
    """The same -> last certificates of their chains; of many some."""

    def add(self, one: dict[str, Any], titles: dict[str, str]) -> None:
        """The next connection."""
        target, state = one["target"], one["state"]
        listed = bool(target) and target["match"] == "exact"
        if listed:
            self.lists.setdefault(target["list"], Counter())[state] += 1
            self.forces.setdefault(target["list"], set()).add(target["in_force"])
        if one["interceptor"]:
            self.by[_whom(one, titles)] += 1
        if state == "undetermined":
            self.reasons[one["rule_id"]] += 1
            tops = self.tops.setdefault(one["rule_id"], Counter())
            named = one["certificates"] and one["rule_id"] in BY_ISSUER
            if named and (len(tops) < MAX_TOPS or one["certificates"][-1] in tops):
                tops[one["certificates"][-1]] += 1
        remarks = [remark["says"] for remark in one["remarks"] if remark["value"]]
        self.two_senders[state] += state not in STATES[:3] and any(map(two_senders, remarks))
        if not listed and state not in STATES[:3]:
            return
        if len(self.shown) < MAX_ROWS:
            self.shown.append(one)
        else:
            self.left += 1
        if state in STATES[:3] and len(self.trees) < MAX_TREES:
            self.trees.append(one)
        self.replayable += state in STATES[:2] and any(map(_replayable, one["remarks"]))


def write(report: Report, name: str, also: Callable[[str], object] | None = None) -> tuple[str, Summary]:
    """The page of a report, and its counts; `name` is what the capture is called on it, `also` is given the JSON."""
    with written(report, also) as (document, summary):
        return render(report, document, name), summary


def render(report: Report, document: Document, name: str) -> str:
    """The page of a report, from its JSON document."""
    from jinja2 import Environment, FileSystemLoader

    titles = report.reference.titles
    rows = Rows()
    for one in document.connections():
        rows.add(one, titles)
    twins = [one["twin"]["sha256"] for one in rows.trees if one["twin"]]
    leaves = [one["certificates"][0] for one in rows.trees if one["certificates"]]
    tops = {digest for seen in rows.tops.values() for digest, _ in seen.most_common(3)}
    certificates = document.chosen({*twins, *leaves, *tops})
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    environment.filters |= {"utc": utc, "almaty": almaty, "safe_text": _clean}
    return environment.get_template("report.html").render(
        name=safe(name),
        d=document,
        capture=document["capture"],
        certificates=certificates,
        because={rule.id: rule.because for rule in (*RULES, NOTHING)},
        reasons=[(rule, count, _issuers(rows.tops[rule], certificates)) for rule, count in rows.reasons.most_common()],
        beside=beside,
        states=STATES,
        signs=SIGNS,
        means=MEANS,
        rows=rows.shown,
        left=rows.left,
        trees=rows.trees,
        lists=rows.lists,
        forces={name: _force(seen) for name, seen in rows.forces.items()},
        replayable=rows.replayable,
        two_senders=+rows.two_senders,
        whom=[(known, words, count) for (known, words), count in rows.by.most_common()],
        ladders=[
            (document, path_figure(document), sentences(judged, report.networks))
            for document, judged in zip(document["ladders"], report.ladders, strict=True)
        ],
    )


def _whom(one: dict[str, Any], titles: dict[str, str]) -> tuple[bool, str]:
    """(is it a key that was verified, by whom); who stands on the user's own side is told so."""
    found = one["interceptor"]
    words = told(found["identity"], found["basis"], titles)
    own = f"; {one['place']['basis']}" if one["place"]["where"] == "volunteer_side" else ""
    return is_known(found["identity"]), words + own


def _issuers(tops: Counter[str], certificates: dict[str, dict[str, Any]]) -> list[str]:
    """Who issued the last certificates of some chains, the most first."""
    issuers = (certificates.get(digest, {}).get("issuer") for digest, _ in tops.most_common(3))
    return list(dict.fromkeys(issuer for issuer in issuers if issuer))


def _force(seen: set[bool | None]) -> str:
    if seen == {True}:
        return ", in force then"
    return ", outside its dates" if seen == {False} else ", partly in force then" if True in seen else ""


def _replayable(remark: dict[str, Any]) -> bool:
    return "a replay cannot be excluded" in remark["says"]


def _clean(value: object) -> str:
    return safe(str(value)) if value is not None else ""
