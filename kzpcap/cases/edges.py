"""The edge table of a case: between which routers ladders found the box, with support and counter-examples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kzpcap.cases.crossings import EXACT, NOT_KNOWN, Crossing, Edge, vantages
from kzpcap.cases.tomography import active_times, near

MAX_EXAMPLES = 20
SHARE = 0.95


@dataclass
class Row:
    """One edge: what ladders say of it, and who else crossed it."""

    edge: Edge
    ladders: Counter[str] = field(default_factory=Counter)
    """Bound -> ladders that have the box there."""
    runs: int = 0
    effects: Counter[str] = field(default_factory=Counter)
    days: set[str] = field(default_factory=set)
    captures: set[str] = field(default_factory=set)
    networks: set[str] = field(default_factory=set)
    exact_networks: set[str] = field(default_factory=set)
    """Those whose ladders have the box exactly here."""
    intercepted: int = 0
    """Connections and ladders that crossed it and were intercepted, there or elsewhere on their way."""
    clean: int = 0
    """Eligible: to a listed name, a trusted origin, another one through this edge intercepted within ten minutes."""
    out_of_time: int = 0
    """Clean, and nothing through this edge was intercepted within ten minutes."""
    neutral: int = 0
    examples: list[tuple[str, int]] = field(default_factory=list)
    """(capture, frame) of ladders that found the box here."""
    counter: list[tuple[str, int]] = field(default_factory=list)
    """(capture, frame) of eligible clean ones."""

    def document(self, networks: dict[str, str]) -> dict[str, Any]:
        """As JSON; `networks` has the AS of routers."""
        return {
            "before": self.edge.before,
            "after": self.edge.after,
            "routers_not_seen_between": self.edge.silent,
            "before_network": networks.get(self.edge.before),
            "after_network": networks.get(self.edge.after),
            "ladders": dict(sorted(self.ladders.items())),
            "runs": self.runs,
            "effects": dict(sorted(self.effects.items())),
            "days": sorted(self.days),
            "captures": len(self.captures),
            "vantage_networks": vantages(self.networks),
            "vantage_networks_exact": vantages(self.exact_networks),
            "intercepted": self.intercepted,
            "clean_eligible": self.clean,
            "clean_not_eligible": self.out_of_time,
            "neutral": self.neutral,
            "examples": [{"capture": capture, "frame": frame} for capture, frame in self.examples],
            "counter_examples": [{"capture": capture, "frame": frame} for capture, frame in self.counter],
        }


def day(time: float) -> str:
    """The day (UTC) of a time."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")


def table(crossings: Sequence[Crossing]) -> list[Row]:
    """Each edge that a ladder names, exactly or within a bound; those with most support first."""
    rows: dict[Edge, Row] = {}
    for one in crossings:
        if one.bound is None:
            continue
        for edge in one.where or one.path:
            row = rows.setdefault(edge, Row(edge))
            if one.where:
                row.ladders[one.bound] += 1
                row.runs += one.runs
                row.effects[one.effect or "?"] += 1
                row.days.add(day(one.time))
                row.captures.add(one.capture)
                row.networks.add(one.network)
                if one.bound == EXACT:
                    row.exact_networks.add(one.network)
                if one.bound == EXACT and len(row.examples) < MAX_EXAMPLES:
                    row.examples.append((one.capture, one.frame))
    named = {edge: row for edge, row in rows.items() if row.ladders}
    active = active_times(crossings)
    for one in crossings:
        for edge in set(one.path) & set(named):
            row = named[edge]
            if one.outcome == "intercepted":
                row.intercepted += 1
            elif one.outcome != "clean":
                row.neutral += 1
            elif near(active.get(edge, ()), one.time):
                row.clean += 1
                if len(row.counter) < MAX_EXAMPLES:
                    row.counter.append((one.capture, one.frame))
            else:
                row.out_of_time += 1
    return sorted(named.values(), key=lambda row: (-row.ladders[EXACT], -row.ladders.total(), row.edge))


@dataclass(frozen=True, slots=True)
class Mostly:
    """Between which routers most exact edges lie: the fewest pairs that make up 95 in a hundred."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    count: int
    of: int
    other_side: int
    """Ladders beside these that name the same routers from the other side."""

    def sentence(self) -> str:
        """In words, with n and the denominator."""
        more = ""
        if self.other_side:
            names = "ladder names" if self.other_side == 1 else "ladders name"
            more = f" {self.other_side} more {names} the same routers from the other side."
        return (
            f"In {self.count} of {self.of} ladders with an exact edge ({100 * self.count / self.of:.0f} %), the last"
            f" hop before injection is {' or '.join(self.before)}, and the hop after is {' or '.join(self.after)}."
            f"{more}"
        )


def mostly(rows: Sequence[Row]) -> Mostly | None:
    """The sentence's facts; None where fewer than two ladders have an exact edge of which both ends are known."""
    named = {row.edge: row.ladders[EXACT] for row in rows if row.ladders[EXACT] and not row.edge.silent}
    order = sorted(named, key=lambda edge: (-named[edge], edge))
    exact: dict[Edge, int] = {}
    other_side = 0
    for edge in order:
        if Edge(edge.after, edge.before) in exact:
            other_side += named[edge]
        else:
            exact[edge] = named[edge]
    total = sum(exact.values())
    if total < 2:
        return None
    beginning, ending = defaultdict[str, list[Edge]](list), defaultdict[str, list[Edge]](list)
    for edge in exact:
        beginning[edge.before].append(edge)
        ending[edge.after].append(edge)
    before, after, most = Counter[str](), Counter[str](), 0
    for edge, count in exact.items():
        if most >= SHARE * total:
            break
        if edge.before not in before:
            most += sum(exact[one] for one in beginning[edge.before] if one.after in after)
        before[edge.before] += count
        if edge.after not in after:
            most += sum(exact[one] for one in ending[edge.after] if one.before in before)
        after[edge.after] += count

    def told(counts: Counter[str]) -> tuple[str, ...]:
        return tuple(name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    return Mostly(told(before), told(after), most, total, other_side)


def disagreements(crossings: Sequence[Crossing]) -> list[str]:
    """Pairs of exact ladders from one network to one server and name that name different edges.

    Who is in a network that is not known may have come from elsewhere: there nothing disagrees.
    """
    found: dict[tuple[str, str, str], set[Edge]] = defaultdict(set)
    for one in crossings:
        if one.bound == EXACT and len(one.where) == 1 and one.network != NOT_KNOWN:
            found[one.network, one.server, one.name].update(one.where)
    return [
        f"ladders from {network} to {server} for {name} name different edges: {'; '.join(map(str, sorted(edges)))}"
        for (network, server, name), edges in sorted(found.items())
        if len(edges) > 1
    ]
