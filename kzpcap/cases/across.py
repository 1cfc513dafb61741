"""What only the captures of a case together show: edges, explanations, on and off, and whose keys came again.

Gathered in one reading of the reports, in memory that grows with the connections to listed names alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kzpcap.cases import edges, timeline, tomography
from kzpcap.cases.crossings import (
    EXACT,
    FIRST_TIME,
    LAST_TIME,
    Crossing,
    Edge,
    Path,
    crossings,
    network_of,
    settled,
    vantages,
)
from kzpcap.report.document import Document
from kzpcap.report.names import NO_TIME, day_of, identity_of, listed_name

MAX_PATHS = 12
MAX_ROWS = 200
MAX_NAMES = 12
FACTS = ("subject", "issuer", "not_before", "not_after", "serial", "key", "exponent", "has_scts", "sha256")
"""What is laid side by side of a forged certificate and its genuine twin."""


@dataclass
class Key:
    """A public key that stood in chains of intercepted connections."""

    subjects: set[str] = field(default_factory=set)
    identities: set[str] = field(default_factory=set)
    certificates: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    captures: set[str] = field(default_factory=set)
    networks: set[str] = field(default_factory=set)
    first: str = ""
    last: str = ""
    connections: int = 0

    def add(self, certificate: dict[str, Any], capture: str, connection: dict[str, Any]) -> None:
        """It was seen once more."""
        self.subjects.add(certificate["subject"])
        self.identities.add(identity_of(connection))
        self.certificates.add(certificate["sha256"])
        self.names.add(listed_name(connection) or connection["server_name"] or "(no name)")
        self.captures.add(capture)
        self.networks.add(network_of(connection["client"]["address"]))
        if connection["time"]:
            self.first = min(self.first or connection["time"], connection["time"])
            self.last = max(self.last, connection["time"])
        self.connections += 1

    def document(self, spki: str) -> dict[str, Any]:
        """As JSON."""
        return {
            "spki_sha256": spki,
            "subjects": sorted(self.subjects)[:MAX_NAMES],
            "identities": sorted(self.identities),
            "certificates": sorted(self.certificates)[:MAX_NAMES],
            "certificate_count": len(self.certificates),
            "server_names": sorted(self.names)[:MAX_NAMES],
            "server_name_count": len(self.names),
            "captures": len(self.captures),
            "vantage_networks": vantages(self.networks),
            "first": self.first,
            "last": self.last,
            "connections": self.connections,
        }


@dataclass
class Across:
    """What is gathered of each capture; `document` draws it together."""

    crossings: list[Crossing] = field(default_factory=list)
    paths: dict[Path, list[tuple[str, int]]] = field(default_factory=dict)
    """Way of a ladder that found a box -> (capture, interceptor_ttl) of each."""
    seen: set[tuple[object, ...]] = field(default_factory=set)
    again: int = 0
    """Connections and ladders that are in another capture too, and count once."""
    routers: dict[str, str] = field(default_factory=dict)
    issuers: dict[str, Key] = field(default_factory=dict)
    leaves: dict[str, Key] = field(default_factory=dict)
    identities: dict[str, dict[str, Counter[str]]] = field(default_factory=dict)
    """Identity -> subject of the issuing certificate -> day -> intercepted connections."""
    servers: dict[tuple[str, str, bool], Counter[str]] = field(default_factory=dict)
    """(server, name, is it listed) -> states, of servers to which a listed name was sent."""
    triggers: dict[tuple[str, str, str], Counter[str]] = field(default_factory=dict)
    """(listed name, server, hour in UTC) -> outcomes."""
    forged: dict[tuple[str, str, str], list[tuple[str, int]]] = field(default_factory=dict)
    """(name, shift, serial difference) of a re-signed copy -> where it was seen."""
    pairs: dict[tuple[str, str, str], tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    """The first forged certificate of each, and its genuine twin where that is in the capture."""
    clocks: Counter[str] = field(default_factory=Counter)
    vantages: Counter[str] = field(default_factory=Counter)
    icmp: Counter[bool] = field(default_factory=Counter)
    as_sources: set[str] = field(default_factory=set)
    """The tables by which the reports tell whose a router is, each with its date."""
    possession: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    """State -> the first connections to listed names that have it."""

    def add(self, capture: str, report: Document) -> None:
        """Take in the report of one capture."""
        for crossing, path in crossings(capture, report):
            if crossing.same in self.seen:  # the same packets in another capture
                self.again += 1
                continue
            self.seen.add(crossing.same)
            self.crossings.append(crossing)
            if path is not None:
                self.routers.update(path.networks)
                if crossing.where and crossing.bound == EXACT:
                    self.paths.setdefault(path.as_far_as_seen(), []).append((capture, crossing.frame))
            if crossing.path:
                hour = datetime.fromtimestamp(crossing.time, UTC).strftime("%Y-%m-%d %H")
                self.triggers.setdefault((crossing.name, crossing.server, hour), Counter())[crossing.outcome] += 1
        self.as_sources.update(ladder["as_source"] for ladder in report["ladders"] if ladder["as_source"])
        head = report["capture"]
        self.clocks[head["clock"]["status"]] += 1
        self.vantages[head["vantage"]["where"]] += 1
        listed, wanted = set[str](), set[str]()
        for one in report.connections():
            if listed_name(one):
                listed.add(one["server"]["address"])
            if one["state"] == "intercepted":
                wanted.update(one["certificates"], [one["twin"]["sha256"]] if one.get("twin") else ())
        if listed:
            self.icmp[any(_has_icmp(ladder) for ladder in report["ladders"])] += 1
        certificates = report.chosen(wanted)
        for one in report.connections():
            if one["server"]["address"] in listed:
                name = listed_name(one)
                key = one["server"]["address"], name or one["server_name"] or "(no name)", name is not None
                self.servers.setdefault(key, Counter())[one["state"]] += 1
                if name is not None:
                    examples = self.examples.setdefault(one["state"], [])
                    if len(examples) < edges.MAX_EXAMPLES:
                        examples.append((capture, one["frame"]))
            if one["state"] == "intercepted":
                self._intercepted(capture, one, certificates)

    def _intercepted(self, capture: str, one: dict[str, Any], certificates: dict[str, Any]) -> None:
        self.possession[one["possession"] or "not known"] += 1
        chain = [certificates[digest] for digest in one["certificates"] if certificates[digest].get("spki_sha256")]
        for position, certificate in enumerate(chain):
            if position and certificate["sha256"] == chain[0]["sha256"]:
                continue  # a leaf that was sent twice
            keys = self.issuers if position and certificate["is_ca"] else self.leaves
            keys.setdefault(certificate["spki_sha256"], Key()).add(certificate, capture, one)
        identity = identity_of(one)
        by = chain[0]["issuer"] if chain else "(no chain)"
        self.identities.setdefault(identity, {}).setdefault(by, Counter())[day_of(one)] += 1
        twin = one.get("twin")
        if twin:
            shift = "" if twin["shift_seconds"] is None else f"{twin['shift_seconds']:+d} s"
            key = listed_name(one) or one["server_name"] or "(no name)", shift, twin["serial_difference"] or ""
            seen = self.forged.setdefault(key, [])
            genuine = certificates.get(twin["sha256"])
            if genuine is not None and chain:
                self.pairs.setdefault(key, (_facts(chain[0]), _facts(genuine)))
            if len(seen) < edges.MAX_EXAMPLES:
                seen.append((capture, one["frame"]))

    def document(self) -> dict[str, Any]:
        """As JSON, drawn together."""
        every = settled(self.crossings)
        rows = edges.table(every)
        mostly = edges.mostly(rows)
        found = tomography.explain(every)
        when = timeline.timeline(every)
        by_clock = Counter[tuple[int, str]](
            (int(one.time // timeline.HOUR) % 24, one.outcome) for one in every if one.outcome != "neutral"
        )
        return {
            "counted_once_though_in_several_captures": self.again,
            "edges": [row.document(self.routers) for row in rows[:MAX_ROWS]],
            "as_sources": sorted(self.as_sources),
            "edges_left_out": max(0, len(rows) - MAX_ROWS),
            "mostly": None if mostly is None else {**_plain(mostly), "says": mostly.sentence()},
            "disagreements": edges.disagreements(every),
            "explanations": _tomography(found),
            "timeline": _timeline(when),
            "hours": [
                {"hour": stamp(hour * timeline.HOUR)[:13], **dict(sorted(counts.items()))}
                for hour, counts in timeline.hours(every).items()
            ],
            "hours_of_day": [
                {"utc": hour, "intercepted": by_clock[hour, "intercepted"], "clean": by_clock[hour, "clean"]}
                for hour in range(24)
            ],
            "days_by_target": _days(every),
            "paths": self._paths(every),
            "interceptors": [
                {
                    "identity": identity,
                    "issuer": issuer,
                    "first": min(set(days) - {NO_TIME}, default=NO_TIME),
                    "last": max(set(days) - {NO_TIME}, default=NO_TIME),
                    "days": dict(sorted(days.items())),
                }
                for identity, issuers in sorted(self.identities.items())
                for issuer, days in sorted(issuers.items())
            ],
            "issuer_keys": _keys(self.issuers.items()),
            "leaf_keys_seen_again": _keys(
                (spki, key) for spki, key in self.leaves.items() if len(key.captures) > 1 or len(key.certificates) > 1
            ),
            "leaf_keys": len(self.leaves),
            "servers": self._servers(),
            "triggers": [
                {"server_name": name, "server": server, "hour": hour, **dict(sorted(counts.items()))}
                for (name, server, hour), counts in sorted(self.triggers.items())[:MAX_ROWS]
            ],
            "forged_minus_genuine": self._forged(),
            "how_sure": {
                "intercepted_on_known_ways": sum(one.outcome == "intercepted" and bool(one.path) for one in every),
                "of_these_with_published_certificates": sum(
                    one.outcome == "intercepted" and bool(one.path) and one.published for one in every
                ),
                "clocks": dict(sorted(self.clocks.items())),
                "vantages": dict(sorted(self.vantages.items())),
                "captures_with_listed_names_and_icmp": self.icmp[True],
                "captures_with_listed_names_without_icmp": self.icmp[False],
                "possession_of_intercepted": dict(sorted(self.possession.items())),
                "ladders_with_an_exact_edge": sum(one.bound == EXACT and bool(one.where) for one in every),
            },
            "examples": {state: _references(seen) for state, seen in sorted(self.examples.items())},
        }

    def _paths(self, every: list[Crossing]) -> list[dict[str, Any]]:
        boxes = {(one.capture, one.frame): one.where[0] for one in every if len(one.where) == 1}
        order = sorted(self.paths.items(), key=lambda item: (-len(item[1]), str(item[0].hops)))
        return [
            {
                "hops": [
                    {"ttl": ttl, "address": router, "network": self.routers.get(router or "")}
                    for ttl, router in path.hops
                ],
                "edges": [_edge(edge) for edge in sorted({boxes[one] for one in seen if one in boxes})],
                "ladders": len(seen),
                "seen": _references(seen),
            }
            for path, seen in order[:MAX_PATHS]
        ]

    def _forged(self) -> list[dict[str, Any]]:
        found = []
        for key, seen in sorted(self.forged.items())[:MAX_ROWS]:
            forged, genuine = self.pairs.get(key, (None, None))
            told = {"server_name": key[0], "dates": key[1], "serial": key[2], "seen": _references(seen)}
            found.append({**told, "forged": forged, "genuine": genuine})
        return found

    def _servers(self) -> list[dict[str, Any]]:
        order = sorted(self.servers.items(), key=lambda item: (item[0][0], not item[0][2], item[0][1]))
        return [
            {"server": server, "server_name": name, "listed": listed, "states": dict(sorted(states.items()))}
            for (server, name, listed), states in order[:MAX_ROWS]
        ]


def _has_icmp(ladder: dict[str, Any]) -> bool:
    sides = (step[side] for step in ladder["steps"] for side in ("target", "control"))
    return any(side and side["time_exceeded"] for side in sides)


def _facts(certificate: dict[str, Any]) -> dict[str, Any]:
    return {key: certificate[key] for key in FACTS if key in certificate}


def stamp(time: float) -> str:
    """A time as in a report, to the second."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _references(seen: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    return [{"capture": capture, "frame": frame} for capture, frame in list(seen)[: edges.MAX_EXAMPLES]]


def _edge(edge: Edge) -> dict[str, Any]:
    return {"before": edge.before, "after": edge.after, "routers_not_seen_between": edge.silent}


def _plain(mostly: edges.Mostly) -> dict[str, Any]:
    told = {"before": list(mostly.before), "after": list(mostly.after), "ladders": mostly.count, "of": mostly.of}
    return {**told, "from_the_other_side": mostly.other_side}


def _keys(keys: Iterable[tuple[str, Key]]) -> list[dict[str, Any]]:
    order = sorted(keys, key=lambda item: (-item[1].connections, item[0]))
    return [key.document(spki) for spki, key in order[:MAX_ROWS]]


def _days(every: list[Crossing]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Counter[str]]] = {}
    for one in every:
        if not FIRST_TIME <= one.time <= LAST_TIME:
            continue
        counts = found.setdefault(one.name, {}).setdefault(edges.day(one.time), Counter())
        counts[one.outcome] += 1
        if one.doubtful:
            counts["doubtful"] += 1
    return [
        {"name": name, "days": {day: dict(sorted(counts.items())) for day, counts in sorted(days.items())}}
        for name, days in sorted(found.items())
    ]


def _tomography(found: tomography.Tomography) -> dict[str, Any]:
    return {
        "intercepted": found.intercepted,
        "clean_eligible": found.clean,
        "neutral": dict(found.neutral),
        "explanations": [
            {
                "groups": [
                    {
                        "edges": [_edge(edge) for edge in group.edges],
                        "intercepted": group.intercepted,
                        "clean_eligible": group.let_pass,
                        "miss_rate": group.miss_rate,
                    }
                    for group in one.groups
                ],
                "less_likely_than_the_first_by": round(found.explanations[0].likelihood - one.likelihood, 3),
            }
            for one in found.explanations
        ],
        "edges_not_needed": found.innocent,
        "contradictions": list(found.contradictions),
    }


def _timeline(when: timeline.Timeline) -> dict[str, Any]:
    return {
        "periods": [
            {
                "is": one.kind,
                "first": stamp(one.first),
                "last": stamp(one.last),
                "intercepted": one.intercepted,
                "clean_eligible": one.clean,
                "ways": one.ways,
                "longest_silence_seconds": round(one.longest_silence),
                "last_intercepted_before": None if one.before is None else stamp(one.before),
                "first_intercepted_after": None if one.after is None else stamp(one.after),
            }
            for one in when.periods
        ],
        "gaps": [{"from": stamp(begin), "to": stamp(end)} for begin, end in when.gaps],
        "share_intercepted_while_on": when.share,
        "ways": when.ways,
        "eligible": when.eligible,
    }
