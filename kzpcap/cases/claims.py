"""Claims of a case: what may be said, how well it is supported, and every other explanation with what excludes it.

A claim is *observed* (seen at all), *corroborated* (from two networks, or on two days, with possession of the leaf's
key proved or a witness that agrees), or *publishable* (all of the conditions below). The unit is the vantage-day: what
one network saw on one day. The same connection in two captures counts once. Shares carry n, the denominator and a 95 %
interval (Wilson 1927), and volunteers are not a sample.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from kzpcap.cases.crossings import (
    EXACT,
    FIRST_TIME,
    LAST_TIME,
    NOT_KNOWN,
    TRUSTED_RULES,
    Crossing,
    Edge,
    crossings,
    network_of,
    scope,
    seconds,
    settled,
    vantages,
)
from kzpcap.cases.edges import day
from kzpcap.cases.tomography import Tomography
from kzpcap.report.document import Document
from kzpcap.report.names import day_of, identity_of, replayable
from kzpcap.report.whom import claimed
from kzpcap.report.words import NOT_EXCLUDED, count, ends
from kzpcap.verdict.identity import KNOWN, is_known, is_product

VANTAGES, SYSTEMS, DAYS = 3, 2, 2
INTERLEAVED = 600.0
"""Seconds within which a control of the same client stands beside a target."""
MAX_EXAMPLES = 20
GOT_THROUGH = TRUSTED_RULES | {"no-name-sent", "name-not-captured"}
"""Rules by which a control was answered with a trusted chain, whatever its names."""
VantageDay = tuple[str, str]
"""A network and a day."""


def vantage_days(seen: Iterable[VantageDay]) -> int:
    """How many these are at least: each day its networks (crossings.py)."""
    days: dict[str, set[str]] = {}
    for network, date in seen:
        days.setdefault(date, set()).add(network)
    return sum(vantages(networks) for networks in days.values())


@dataclass
class Support:
    """What stands behind one claim."""

    connections: int = 0
    vantage_days: set[VantageDay] = field(default_factory=set)
    networks: set[str] = field(default_factory=set)
    systems: set[int] = field(default_factory=set)
    """AS of the clients, where known."""
    days: set[str] = field(default_factory=set)
    captures: set[str] = field(default_factory=set)
    interleaved: set[str] = field(default_factory=set)
    """Captures in which a control got through within ten minutes of a target."""
    same_server: set[str] = field(default_factory=set)
    """Captures in which the very server answered another name, or a later TTL, with a trusted chain."""
    possession: int = 0
    verified: int = 0
    """Connections whose chain leads by signatures to a key that was published as the system's."""
    anchored: set[str] = field(default_factory=set)
    agree: int = 0
    differ: int = 0
    published: int = 0
    """Connections that show a published certificate, whose key nobody is shown to hold."""
    examples: list[tuple[str, int]] = field(default_factory=list)
    proved: dict[str, str] = field(default_factory=dict)
    """Capture in which possession was proved -> the network of its client."""
    of_capture: dict[str, tuple[str, int | None, str]] = field(default_factory=dict)
    """Capture -> network, AS and day of its first connection: who was where twice in one capture is one vantage."""
    agreeing: set[str] = field(default_factory=set)
    """Captures that an independent reader reads the same."""

    @property
    def sound(self) -> list[tuple[str, int | None, str]]:
        """The vantages that count: their capture has controls, and an independent reader that agrees."""
        return [seen for name, seen in self.of_capture.items() if name in self.interleaved & self.agreeing]

    def document(self) -> dict[str, Any]:
        """As JSON, counts only."""
        return {
            "connections": self.connections,
            "vantage_days": vantage_days(self.vantage_days),
            "vantage_networks": vantages(self.networks),
            "client_as": sorted(self.systems),
            "days": sorted(self.days),
            "captures": len(self.captures),
            "captures_with_interleaved_controls": len(self.interleaved),
            "captures_with_a_control_at_the_same_server": len(self.same_server),
            "possession_proved": self.possession,
            "signatures_by_a_known_key": self.verified,
            "captures_with_anchored_clock": len(self.anchored),
            "published_certificates": self.published,
            "witness_agrees": self.agree,
            "witness_differs": self.differ,
            "examples": [{"capture": capture, "frame": frame} for capture, frame in self.examples],
        }


@dataclass
class Gathered:
    """What the claims are made of, from each report in turn."""

    by_identity: dict[str, Support] = field(default_factory=dict)
    by_edge: dict[Edge, Support] = field(default_factory=dict)
    crossings: list[Crossing] = field(default_factory=list)
    seen: dict[tuple[Any, ...], set[str]] = field(default_factory=dict)
    """What tells a connection and its minute -> the networks of its client."""
    same: set[tuple[object, ...]] = field(default_factory=set)
    laboratory: bool = False
    again: int = 0
    """Connections that another capture has too, and are counted there."""
    alike: int = 0
    """Those that a second machine may have recorded, by a clock of its own."""
    otherwise: int = 0
    """Captures of the case that were judged under other options alone, and are not in this."""
    altered: int = 0
    """Results that are not as custody says, and are in this all the same."""

    def add(self, capture: str, report: Document) -> None:
        """Take in the report of one capture."""
        self.laboratory |= report["reference"]["laboratory"]
        self.again += len(report.without)
        controls = Controls()
        for one in report.connections():
            if not one["target"] and one["rule_id"] in GOT_THROUGH:
                controls.add(one)
        anchored = report["capture"]["clock"]["status"] == "anchored"
        for one in report.connections():
            listed = one["target"] and one["target"]["match"] == EXACT  # a name below a listed one is on no list
            if one["state"] != "intercepted" or not listed or self._again(one):
                continue
            if not FIRST_TIME <= seconds(one["time"]) <= LAST_TIME:
                continue  # what has no time supports no day
            support = self.by_identity.setdefault(identity_of(one), Support())
            self._support(support, capture, one, controls, anchored)
        ladders = {}
        for crossing, path in crossings(capture, report):
            if crossing.same in self.same:
                continue
            self.same.add(crossing.same)
            self.crossings.append(crossing)
            if path is not None and crossing.bound == EXACT and len(crossing.where) == 1:
                ladders[crossing.frame] = crossing
        for found, one in _intercepted(report, ladders):
            support = self.by_edge.setdefault(found.where[0], Support())
            self._support(support, capture, one, controls, anchored)
            if found.control_answered:
                support.same_server.add(capture)

    def _again(self, one: dict[str, Any]) -> bool:
        """Was this connection in another capture, by another clock? Those of two networks that are known are two."""
        leaf = one["certificates"][0] if one["certificates"] else ""
        client = one["client"]["port"]  # not its address, which another copy of the capture may have without
        server = one["server"]["address"], one["server"]["port"], one["server_name"], one["ja3"], leaf
        minute = int(seconds(one["time"]) // 60)
        keys = [(client, *server, minute + shift) for shift in (-1, 0, 1)]
        network = network_of(one["client"]["address"])
        there = set[str]().union(*(self.seen.get(key, ()) for key in keys))
        if there and (network == NOT_KNOWN or there & {network, NOT_KNOWN}):
            self.alike += 1
            return True
        self.seen.setdefault(keys[1], set()).add(network)
        return False

    def _support(self, support: Support, capture: str, one: dict[str, Any], controls: Controls, anchored: bool) -> None:
        network, day = network_of(one["client"]["address"]), day_of(one)
        support.connections += 1
        support.vantage_days.add((network, day))
        support.networks.add(network)
        support.days.add(day)
        support.captures.add(capture)
        if one["client"].get("asn"):
            support.systems.add(one["client"]["asn"])
        if anchored:
            support.anchored.add(capture)
        support.of_capture.setdefault(capture, (network, one["client"].get("asn"), day))
        support.possession += one["possession"] == "proved"
        if one["possession"] == "proved":
            support.proved[capture] = network
        agrees = one.get("corroboration") == "agrees" and not replayable(one)  # a replay reads alike to all
        if agrees:
            support.agreeing.add(capture)
        support.verified += is_known(identity_of(one))
        support.agree += agrees
        support.published += replayable(one)
        support.differ += one.get("corroboration") == "differs"
        when = seconds(one["time"])
        if controls.beside("client", one["client"]["address"], when):
            support.interleaved.add(capture)
        if controls.beside("server", one["server"]["address"], when):
            support.same_server.add(capture)
        if len(support.examples) < MAX_EXAMPLES:
            support.examples.append((capture, one["frame"]))


class Controls:
    """When the controls of one capture got through, by each end."""

    def __init__(self) -> None:
        self._times: dict[tuple[str, str], array[float]] = {}
        self._sorted = True

    def add(self, one: dict[str, Any]) -> None:
        """A control that got through."""
        for end in ("client", "server"):
            self._times.setdefault((end, one[end]["address"]), array("d")).append(seconds(one["time"]))
        self._sorted = False

    def beside(self, end: str, address: str, when: float) -> bool:
        """Did a control with that end get through within ten minutes?"""
        if not self._sorted:  # connections come in the order in which they ended
            self._times = {key: array("d", sorted(times)) for key, times in self._times.items()}
            self._sorted = True
        times = self._times.get((end, address), array("d"))
        at = bisect_left(times, when - INTERLEAVED)
        return at < len(times) and times[at] <= when + INTERLEAVED


def _intercepted(report: Document, ladders: dict[int, Crossing]) -> Iterator[tuple[Crossing, dict[str, Any]]]:
    """Each of the ladders (by the frame of its first probe), with the first connection of its client and name that was
    intercepted. Where there is none, with that probe.
    """
    if not ladders:
        return
    probes = [(ladders[one["frame"]], one) for one in report.connections() if one["frame"] in ladders]
    wanted = {_asked(one) for _, one in probes}
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in report.connections():
        if one["state"] == "intercepted" and _asked(one) in wanted and not is_product(identity_of(one)):
            first.setdefault(_asked(one), one)
    for found, probe in probes:
        yield found, first.get(_asked(probe), probe)


def _asked(one: dict[str, Any]) -> tuple[Any, ...]:
    """By whom, of which server, for which name."""
    return one["client"]["address"], one["server"]["address"], one["server"]["port"], one["server_name"]


def wilson(hits: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    z, share = 1.959964, hits / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim: its fixed words, its level, each condition met or not, and each alternative with what excludes it."""

    says: str
    about: str
    level: str
    scope: str
    conditions: tuple[tuple[str, bool], ...]
    alternatives: tuple[tuple[str, str], ...]
    support: Support
    edge: Edge | None = None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "says": self.says,
            "about": self.about,
            "edge": None if self.edge is None else [self.edge.before, self.edge.after],
            "level": self.level,
            "scope": self.scope,
            "conditions": [{"condition": what, "met": met} for what, met in self.conditions],
            "alternatives": [{"alternative": what, "excluded_by": why} for what, why in self.alternatives],
            "support": self.support.document(),
        }


def claims(found: Gathered, titles: dict[str, str], explained: Tomography) -> list[Claim]:
    """Every claim of a case, the best supported first."""
    made = [
        _claim(f"TLS to listed names was intercepted {claimed(identity, titles)}", "identity", identity, support)
        for identity, support in found.by_identity.items()
    ]
    best = {edge for one in explained.explanations[:1] for group in one.groups for edge in group.edges}
    for edge, support in found.by_edge.items():
        claim = _claim(
            through(edge.before, edge.after),
            "place",
            KNOWN if support.verified == support.connections else "",
            support,
        )
        alone = edge in best and len(explained.explanations) == 1
        claim = replace(claim, edge=edge)
        made.append(_with(claim, "no other set of edges explains the case as well", alone))
    if found.laboratory:
        made = [_with(claim, "no trust anchor or interception CA of a laboratory", False) for claim in made]
    order = ("publishable", "corroborated", "observed")
    return sorted(made, key=lambda one: (order.index(one.level), -one.support.connections, one.says))


def through(before: str, after: str) -> str:
    """On which path, in fixed words."""
    return f"TLS to listed names was intercepted on a path through {ends(before, after)}"


def _with(claim: Claim, condition: str, met: bool) -> Claim:
    """The claim under one more condition."""
    level = claim.level if met or claim.level != "publishable" else "corroborated"
    return replace(claim, level=level, conditions=(*claim.conditions, (condition, met)))


def _claim(says: str, about: str, identity: str, support: Support) -> Claim:
    alternatives = tuple(_alternatives(identity, support))
    sound = support.sound
    systems, days = ({seen[part] for seen in sound if seen[part]} for part in (1, 2))
    one_network = vantages(network for network, _, _ in sound) < VANTAGES or len(systems) < SYSTEMS
    conditions = (
        (f"seen from {VANTAGES} networks in {SYSTEMS} AS", not one_network),
        (f"seen on {DAYS} days", len(days) >= DAYS),
        ("targets and controls interleaved in the same captures", bool(support.interleaved)),
        ("possession of the leaf's key proved at least once", support.possession > 0),
        ("a clock that is anchored", bool(support.anchored)),
        ("an independent reader agrees, and nowhere differs", support.agree > 0 and not support.differ),
        ("no alternative left", all(why != NOT_EXCLUDED for _, why in alternatives)),
    )
    alone = len(support.networks) == 1 and NOT_KNOWN not in support.networks
    rest = [met for _, met in conditions[1:]]
    # With its scope said, what one network alone saw may be published, if everything else holds.
    if all(rest) and (not one_network or alone):
        level = "publishable"
    elif (vantages(support.networks) > 1 or len(support.days) > 1) and (support.possession or support.agree):
        level = "corroborated"
    else:
        level = "observed"
    return Claim(says, about, level, scope(support.networks), conditions, alternatives, support)


def _alternatives(identity: str, support: Support) -> Iterable[tuple[str, str]]:
    """Every other explanation, with the fact that excludes it."""
    known = is_known(identity) and support.verified == support.connections
    signatures = count(support.verified, "verified signature")
    signed = f"{signatures} by a key that was published as the system's" if known else ""
    # One sound capture vouches for none of the others: the key must have been proved from as many networks as count.
    enough = vantages(support.proved.values()) >= min(VANTAGES, vantages(support.networks))
    proved = support.possession > 0 and enough
    proofs = f"{count(support.possession, 'proof')} that whoever answered held the leaf's key"
    control = f"in {count(len(support.same_server), 'capture')} the same server answered a control with a trusted chain"
    yield "a local product (antivirus, company gateway)", signed or NOT_EXCLUDED
    yield "an accelerator or other TLS terminator of the site's", signed or NOT_EXCLUDED
    yield "a CDN with other certificates", signed or NOT_EXCLUDED
    yield "DNS that led to another server", control if support.same_server else NOT_EXCLUDED
    yield "the server refused the name", "a certificate was shown, nothing was refused"
    yield "an imitation of the names", signed or NOT_EXCLUDED
    yield "a fabricated or replayed capture", proofs if proved else NOT_EXCLUDED
    clock = f"the clock is anchored in {count(len(support.anchored), 'capture')}"
    yield "a wrong clock", clock if support.anchored else NOT_EXCLUDED


def document(found: Gathered, made: list[Claim]) -> dict[str, Any]:
    """The dossier as JSON."""
    days: dict[str, set[VantageDay]] = {}
    for one in settled(found.crossings):
        if one.outcome != "neutral":  # among these are those without a time
            days.setdefault(one.outcome, set()).add((one.network, day(one.time)))
    hit, clean = (days.get(outcome, set()) for outcome in ("intercepted", "clean"))
    share = vantage_days(hit), vantage_days(hit | clean)
    low, high = wilson(*share)
    return {
        "claims": [claim.document() for claim in made],
        "vantage_days": {
            "with_interception": share[0],
            "eligible": share[1],
            "share_interval_95": [round(low, 3), round(high, 3)],
            "note": "volunteers are not a sample: this is a share of what was recorded",
        },
        "connections_counted_once_though_in_several_captures": found.again,
        "connections_counted_once_since_they_may_be_the_same": found.alike,
        "captures_judged_otherwise": found.otherwise,
        "results_not_as_custody_says": found.altered,
        "laboratory": found.laboratory,
        "levels": dict(Counter(claim.level for claim in made)),
    }
