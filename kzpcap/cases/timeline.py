"""When the system was on, when it was off, and when nobody looked.

An intercepted connection shows that it was on at that moment. That it was off needs many clean ones in a row, for it
acted on a part of the connections only (FACTS 1.3): a run of clean connections is called off where one such run in the
whole case would have a chance of one in a thousand with the system on. Only connections count that could have been
intercepted: to a listed name, with a publicly trusted origin, from a network to a server where interception of that
very name was seen. Connections of one such way within a minute are one observation: they are not independent.
A change lies between two observations, never at one: after the last intercepted connection, and before so many clean
ones that they would have a chance of one in a thousand with the system still on. Hours without such a connection are
silence, not "off".
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kzpcap.cases.crossings import FIRST_TIME, LAST_TIME, Crossing

EVIDENCE = math.log(1000)
"""For one run; the logarithm of how many runs there could be is added, as one in so many is long by chance."""
PRIOR = 2.0
"""As many connections as the whole case's share weighs in that of one way."""
HIGHEST = 0.98
"""No share is taken to be certain: one clean connection never shows "off" by itself."""
SILENCE = 3 * 3600.0
"""Seconds without a connection that could have been intercepted that are told as a gap."""
CUT = 24 * 3600.0
"""Seconds without one that end a period: what was so long unseen is told apart."""
HOUR = 3600
ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Period:
    """A time in which it was on, or off, or in which too little was seen to tell."""

    kind: str
    """on, off, unclear."""
    first: float
    last: float
    """Where it was on, the first and last intercepted connection; where it was off, when that was sure, and until when
    it stayed so; else the first and last clean one."""
    intercepted: int
    clean: int
    ways: int
    """Network, server and name of which these observations are: how many."""
    longest_silence: float
    """Seconds within it in which nobody looked."""
    before: float | None
    """The last intercepted connection before it; None where there is none."""
    after: float | None
    """The first intercepted connection after it."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """On and off in order, the gaps of coverage, and how much was intercepted while it was on."""

    periods: tuple[Period, ...]
    gaps: tuple[tuple[float, float], ...]
    """(from, to) of each silence between two observations."""
    share: float
    """Of the connections that could be intercepted while it was on, how many were."""
    ways: int
    eligible: int


Way = tuple[str, str, str]
"""Network, server, name."""
Seen = tuple[float, bool, Way]
"""When, was it intercepted, on which way."""


def timeline(crossings: Sequence[Crossing]) -> Timeline:
    """The timeline of a case's crossings, in any order."""
    ways = {_way(one) for one in crossings if one.outcome == "intercepted"}
    minutes: dict[tuple[Way, int], Seen] = {}
    for one in sorted(crossings, key=lambda one: (one.time, one.outcome != "intercepted")):
        way = _way(one)
        if one.outcome == "neutral" or way not in ways:
            continue
        key = way, int(one.time // 60)
        if key not in minutes or (one.outcome == "intercepted" and not minutes[key][1]):
            minutes[key] = one.time, one.outcome == "intercepted", way
    seen = sorted(minutes.values())
    if not seen:
        return Timeline((), (), 0.0, 0, 0)
    off = [False] * len(seen)
    weight: dict[Way, float] = {}
    share = 0.0
    for _ in range(ROUNDS):
        hits, clean = Counter[Way](), Counter[Way]()
        for (_, hit, way), is_off in zip(seen, off, strict=True):
            if not is_off:
                (hits if hit else clean)[way] += 1
        share = hits.total() / (hits.total() + clean.total())
        weight = {}
        for way in ways:
            own = (hits[way] + PRIOR * share) / (hits[way] + clean[way] + PRIOR)
            weight[way] = -math.log(1 - min(own, HIGHEST))
        before, off = off, _off(seen, weight)
        if off == before:
            break
    return Timeline(_periods(seen, off, weight), _gaps(seen), round(share, 3), len(ways), len(seen))


def _way(one: Crossing) -> Way:
    return one.network, one.server, one.name


def _off(seen: Sequence[Seen], weight: dict[Way, float]) -> list[bool]:
    """Which observations belong to a run of clean ones that is too unlikely with the system on."""
    off = [False] * len(seen)
    enough = EVIDENCE + max(EVIDENCE, math.log(1 + sum(hit for _, hit, _ in seen)))  # each end takes its own
    begin = 0
    while begin < len(seen):
        end = begin
        while end < len(seen) and not seen[end][1] and (end == begin or seen[end][0] - seen[end - 1][0] < CUT):
            end += 1
        if end > begin and sum(weight[way] for _, _, way in seen[begin:end]) >= enough:
            off[begin:end] = [True] * (end - begin)
        begin = max(end, begin + 1)
    return off


def _periods(seen: Sequence[Seen], off: list[bool], weight: dict[Way, float]) -> tuple[Period, ...]:
    times = [time for time, hit, _ in seen if hit]
    periods: list[Period] = []
    begin = 0
    while begin < len(seen):
        end = begin + 1
        while end < len(seen) and off[end] == off[begin] and seen[end][0] - seen[end - 1][0] < CUT:
            end += 1
        part = seen[begin:end]
        hits = [time for time, hit, _ in part if hit]
        at, after = bisect_left(times, part[0][0]), bisect_right(times, part[-1][0])
        first, last = (hits[0], hits[-1]) if hits else (part[0][0], part[-1][0])
        if off[begin]:
            first, last = _sure(part, weight), _sure(part[::-1], weight)
            first, last = min(first, last), max(first, last)
        elif hits:
            at, after = bisect_left(times, first), bisect_right(times, last)
        periods.append(
            Period(
                "on" if hits else "off" if off[begin] else "unclear",
                first,
                last,
                len(hits),
                len(part) - len(hits),
                len({way for _, _, way in part}),
                max((later[0] - sooner[0] for sooner, later in itertools.pairwise(part)), default=0.0),
                times[at - 1] if at else None,
                times[after] if after < len(times) else None,
            )
        )
        begin = end
    return tuple(periods)


def _sure(run: Sequence[Seen], weight: dict[Way, float]) -> float:
    """The time from which on, along a run of clean ones, the change must have happened."""
    total = 0.0
    for time, _, way in run:
        total += weight[way]
        if total >= EVIDENCE:
            return time
    return run[-1][0]


def _gaps(seen: Sequence[Seen]) -> tuple[tuple[float, float], ...]:
    times = [time for time, _, _ in seen]
    return tuple((sooner, later) for sooner, later in itertools.pairwise(times) if later - sooner >= SILENCE)


def hours(crossings: Sequence[Crossing]) -> dict[int, Counter[str]]:
    """Hour since 1970 (UTC) -> how many connections to listed names had each outcome, and how many were suspected or
    interfered with, which are neutral: `doubtful`."""
    found: dict[int, Counter[str]] = {}
    for one in crossings:
        if not FIRST_TIME <= one.time <= LAST_TIME:
            continue
        counts = found.setdefault(int(one.time // HOUR), Counter())
        counts[one.outcome] += 1
        if one.doubtful:
            counts["doubtful"] += 1
    return dict(sorted(found.items()))
