"""Boolean tomography: which edges explain, together, what was intercepted and what was not.

The box was intermittent and its conditions "necessary, not sufficient" (FACTS 1.3), so one clean connection clears no
edge: each guilty edge has a miss rate of its own, fitted. A clean connection counts against an edge only if another
connection through the same edge was intercepted within ten minutes; beyond that nobody knows that the system was on.
Edges that always occur together cannot be told apart: they are one group. Every explanation within the tolerance is
given, not the best alone (Duffield 2006, "Network tomography of binary network performance characteristics"; the
miss rates make the tests of a path noisy-or).
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kzpcap.cases.crossings import Crossing, Edge

WINDOW = 600.0
"""Seconds: how near in time another connection through the edge must have been intercepted."""
MAX_EDGES = 3
MAX_EXPLANATIONS = 20_000
TOLERANCE = math.log(1000)
"""An explanation is given unless another is a thousand times as likely."""
ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Guilty:
    """One group of an explanation: edges that cannot be told apart, and how often the box there let pass."""

    edges: tuple[Edge, ...]
    intercepted: int
    """Intercepted connections whose box may be there."""
    let_pass: int
    """Clean ones, eligible, that crossed it while it was on."""
    miss_rate: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Boxes on these groups of edges explain every interception."""

    groups: tuple[Guilty, ...]
    likelihood: float
    """Logarithm, less half that of the number of observations for each group (BIC)."""


@dataclass(frozen=True, slots=True)
class Tomography:
    """What the crossings of a case say together."""

    intercepted: int
    clean: int
    """Eligible: counted against at least one edge."""
    neutral: tuple[tuple[str, int], ...]
    """(reason, how many) of what counted neither way."""
    explanations: tuple[Explanation, ...]
    """Likeliest first; none where no set of a few edges explains all."""
    contradictions: tuple[str, ...]
    innocent: int
    """Edges on which an intercepted connection's box may be by itself, and that no explanation needs."""


def near(times: Sequence[float], time: float) -> bool:
    """Is one of these sorted times within the window around another?"""
    at = bisect_left(times, time - WINDOW)
    return at < len(times) and times[at] <= time + WINDOW


def active_times(crossings: Iterable[Crossing]) -> dict[Edge, list[float]]:
    """Edge -> the sorted times at which a connection that crossed it was intercepted."""
    found: dict[Edge, list[float]] = defaultdict(list)
    for one in crossings:
        if one.outcome == "intercepted":
            for edge in set(one.path) | set(one.where):
                found[edge].append(one.time)
    return {edge: sorted(times) for edge, times in found.items()}


def explain(crossings: Sequence[Crossing]) -> Tomography:
    """The explanations of a case's crossings, each a few groups of edges."""
    active = active_times(crossings)
    neutral: Counter[str] = Counter()
    hits: Counter[frozenset[Edge]] = Counter()
    passes: Counter[frozenset[Edge]] = Counter()
    for one in crossings:
        if one.outcome == "intercepted":
            if one.where:
                hits[frozenset(one.where)] += 1
            else:
                neutral["intercepted, and no ladder in its capture shows the way"] += 1
        elif one.outcome == "clean":
            against = frozenset(edge for edge in one.path if near(active.get(edge, ()), one.time))
            if against:
                passes[against] += 1
            elif one.path:
                neutral["clean, and nothing on its way was intercepted within ten minutes"] += 1
            else:
                neutral["clean, and no ladder in its capture shows the way"] += 1
        else:
            neutral[one.why] += 1
    told = tuple(sorted(neutral.items(), key=lambda item: (-item[1], item[0])))
    if not hits:
        return Tomography(0, passes.total(), told, (), (), 0)
    groups = _groups(hits, passes)
    return _search(groups, hits, passes, told)


def _groups(hits: Counter[frozenset[Edge]], passes: Counter[frozenset[Edge]]) -> dict[Edge, tuple[Edge, ...]]:
    """Edge -> its group: the edges that occur in exactly the same observations."""
    where: dict[Edge, list[int]] = defaultdict(list)
    suspects = {edge for edges in hits for edge in edges}
    for number, edges in enumerate(itertools.chain(hits, passes)):
        for edge in edges & suspects:
            where[edge].append(number)
    same: dict[tuple[int, ...], list[Edge]] = defaultdict(list)
    for edge, numbers in where.items():
        same[tuple(numbers)].append(edge)
    return {edge: tuple(sorted(group)) for group in same.values() for edge in group}


Group = tuple[Edge, ...]
Tests = list[tuple[frozenset[Group], int]]


def _search(
    groups: dict[Edge, Group],
    hits: Counter[frozenset[Edge]],
    passes: Counter[frozenset[Edge]],
    neutral: tuple[tuple[str, int], ...],
) -> Tomography:
    def grouped(counts: Counter[frozenset[Edge]]) -> Tests:
        found: Counter[frozenset[Group]] = Counter()
        for edges, count in counts.items():
            found[frozenset(groups[edge] for edge in edges if edge in groups)] += count
        return sorted(found.items(), key=lambda item: (len(item[0]), -item[1], sorted(item[0])))

    positive, negative = grouped(hits), grouped(passes)
    sets = _hitting(positive)
    total = hits.total() + passes.total()
    found = [_fit(chosen, positive, negative, total) for chosen in sorted(sets, key=sorted)]
    found.sort(key=lambda one: (-one.likelihood, len(one.groups), [group.edges for group in one.groups]))
    kept = tuple(one for one in found if one.likelihood >= found[0].likelihood - TOLERANCE)
    needed = {edge for one in kept for group in one.groups for edge in group.edges}
    contradictions = []
    if not found:
        contradictions.append(f"no {MAX_EDGES} edges explain every interception: there are more boxes, or other ways")
    if len(sets) >= MAX_EXPLANATIONS:
        contradictions.append("there are more explanations than were looked at: more ladders would tell them apart")
    for one in kept[:1]:
        contradictions += [
            f"{_names(group.edges)} let {group.let_pass} of {group.let_pass + group.intercepted} pass"
            for group in one.groups
            if group.let_pass > group.intercepted
        ]
    return Tomography(hits.total(), passes.total(), neutral, kept, tuple(contradictions), len(set(groups) - needed))


def _hitting(positive: Tests) -> set[frozenset[Group]]:
    """Sets of at most a few groups of which every intercepted connection crossed one, none of them needless."""
    found: set[frozenset[Group]] = set()
    waiting: list[frozenset[Group]] = [frozenset()]
    seen = set(waiting)
    while waiting and len(seen) < MAX_EXPLANATIONS:
        chosen = waiting.pop()
        open_tests = next((edges for edges, _ in positive if not edges & chosen), None)
        if open_tests is None:
            if all(any(not edges & (chosen - {one}) for edges, _ in positive) for one in chosen):
                found.add(chosen)
        elif len(chosen) < MAX_EDGES:
            for one in sorted(open_tests):
                more = chosen | {one}
                if more not in seen:
                    seen.add(more)
                    waiting.append(more)
    return found


def _fit(chosen: frozenset[Group], positive: Tests, negative: Tests, total: int) -> Explanation:
    """The likeliest miss rate of each group, by expectation and maximization of a noisy-or."""
    act = dict.fromkeys(chosen, 0.5)
    hit = Counter[frozenset[Group]]()
    miss = Counter[frozenset[Group]]()
    for tests, into in ((positive, hit), (negative, miss)):
        for edges, count in tests:
            if edges & chosen:
                into[edges & chosen] += count
    for _ in range(ROUNDS if len(chosen) > 1 else 1):
        did: dict[Group, float] = dict.fromkeys(chosen, 0.0)
        crossed: dict[Group, float] = dict.fromkeys(chosen, 0.0)
        for edges, count in hit.items():
            some = 1 - math.prod(1 - act[one] for one in edges)
            for one in edges:
                did[one] += count * act[one] / max(some, 1e-12)
                crossed[one] += count
        for edges, count in miss.items():
            for one in edges:
                crossed[one] += count
        act = {one: did[one] / crossed[one] if crossed[one] else 0.0 for one in chosen}
        if len(chosen) == 1:
            (one,) = chosen
            act = {one: hit.total() / crossed[one]}
    score = sum(
        count * math.log(max(1 - math.prod(1 - act[one] for one in edges), 1e-12)) for edges, count in hit.items()
    )
    score += sum(count * sum(math.log(max(1 - act[one], 1e-12)) for one in edges) for edges, count in miss.items())
    score -= 0.5 * len(chosen) * math.log(total)
    told = []
    for one in sorted(chosen):
        seen = sum(count for edges, count in hit.items() if one in edges)
        passed = sum(count for edges, count in miss.items() if one in edges)
        told.append(Guilty(one, seen, passed, round(1 - act[one], 3)))
    return Explanation(tuple(told), score)


def _names(edges: tuple[Edge, ...]) -> str:
    return " or ".join(map(str, edges))
