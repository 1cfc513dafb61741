"""Ladders judged: from what each TTL drew to an edge or a bound. Never more than the packets show.

- A ladder concludes only by what came back: a forged certificate, a reset, an alert, a block page; for a drop, by
  silence where the control still drew answers. A merely earlier TLS answer is nothing.
- An edge is exact only if a control outlives the target at that TTL: a router there or beyond answered it, or twice
  nobody did before it was answered, and it had met the target's way at the last TTL that shows both, within an hour.
  A control that is answered from the same TTL on shows a TCP terminator: whoever intercepts sits at it or beyond. One
  that met the box too shows no edge.
- Nor is it exact where the target was not twice asked at a silent TTL before, or was silent where the control was
  heard: the box's answer may have been lost, and the box sits nearer.
- Where some probe of the target went on beyond and met nothing, flows go different ways: then no edge is named at all.

The hops beside the edge are named in routers.py; what came back is read in outcomes.py, and told by TTL in steps.py.
"""

# Annotations are not postponed: NamedTuple would compile each of them at every start.
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from kzpcap.paths.ladders import HOUR_NS, Route, Series, runs
from kzpcap.verdict.outcomes import (
    SILENCES,
    OutcomeOf,
    answered_at,
    bounds_of_answer,
    copies_ttl,
    dropped_at,
    effect_of,
    hit_at,
    outlives,
    reached,
    silences,
    surely_silent,
    unspent,
    went_past,
)
from kzpcap.verdict.routers import Hop, agree, from_elsewhere, last_answering, name_hop, same_way, together
from kzpcap.verdict.steps import StepOutcome, steps

CERTIFICATES = ("certificate", "suspected_certificate")
"""Effects of who ends TLS, and so lets no probe pass."""


class Ladder(NamedTuple):
    """One judged ladder."""

    client: str
    server: str
    dport: int
    server_name: str | None
    control_server_name: str | None
    shape: str
    interceptor_ttl: int | None
    effect: str | None
    control_terminating_ttl: int | None
    bound: str | None
    last_clean_hop: Hop | None
    first_intercepted_hop: Hop | None
    last_answering_hop: Hop | None
    placement: str
    hits: int
    tries: int
    mixed: bool
    inferred_hop: int | None
    """Where a box that copies the probe's TTL into its answer sits, if the answers' TTL follows the probes'."""
    destination_ttl: int | None
    notes: tuple[str, ...]
    steps: tuple[StepOutcome, ...]
    runs: tuple[int | None, ...] = ()
    """For each time the ladder was gone up, the smallest TTL with the effect; one connection per TTL only."""
    first_ns: int = 0
    last_ns: int = 0
    """When its first and its last probe were sent."""
    signers: tuple[tuple[str, str], ...] = ()
    """The interceptors of what came back, and whose keys signed it."""
    met: int = 0
    answers: int = 0
    """Answers from interceptor_ttl on, and how many of them had the effect; `hits` and `tries` count TTLs."""

    @property
    def modal_ttl(self) -> int | None:
        """The TTL at which most runs had the effect first; of equals the smallest."""
        counts = Counter(ttl for ttl in self.runs if ttl is not None)
        return min(counts, key=lambda ttl: (-counts[ttl], ttl), default=None)


def judge_ladders(
    series: list[Series],
    outcome_of: OutcomeOf,
    is_target: Callable[[str | None], bool],
    routes: dict[str, Route],
) -> tuple[Ladder, ...]:
    """Pair targets with controls and judge each pair."""
    groups: dict[tuple[str, str, int], list[Series]] = {}
    for entry in series:
        groups.setdefault((entry.client, entry.server, entry.dport), []).append(entry)
    found = []
    for members in groups.values():
        met = {id(entry) for entry in members if _hits(entry, outcome_of)}
        targets, controls = _roles(members, met, is_target)
        for target in targets:
            control = _control_of(target, controls, met)
            judged = _judge(target, control, outcome_of, routes)
            found.append(judged._replace(first_ns=target.times[0], last_ns=target.times[1]))
    return tuple(found)


def _apart(one: tuple[int, int], other: tuple[int, int]) -> int:
    """Nanoseconds between two spans of time; 0 where they overlap."""
    return max(other[0] - one[1], one[0] - other[1], 0)


def _hits(entry: Series, outcome_of: OutcomeOf) -> bool:
    outcomes = (outcome_of(index) for step in entry.steps.values() for index in step.connections)
    return any(outcome is not None and outcome.hit for outcome in outcomes)


def _roles(
    members: list[Series], met: set[int], is_target: Callable[[str | None], bool]
) -> tuple[list[Series], list[Series]]:
    """(targets, what may be a control, the best first); `met`: the ids of what met an interceptor or a blocker.

    Listed names are targets, and so is every series that met something, listed or not; where there is neither, the
    first with a name. A control is best on no list.
    """
    targets = [entry for entry in members if is_target(entry.name) or id(entry) in met]
    if not targets:
        targets = [entry for entry in members if entry.name or len(members) == 1][:1]
    order = sorted(members, key=lambda entry: (id(entry) in met, is_target(entry.name), -len(entry.steps)))
    return targets, order


def _control_of(target: Series, controls: list[Series], met: set[int]) -> Series | None:
    """The best control that was sent within an hour of a target; not one with its own name.

    One that met something too shows less, and is taken for want of others where the target itself did.
    """
    for entry in controls:
        if entry is target or entry.name == target.name or (id(entry) in met and id(target) not in met):
            continue
        if _apart(target.times, entry.times) <= HOUR_NS:
            return entry
    return None


def _judge(target: Series, control: Series | None, outcome_of: OutcomeOf, routes: dict[str, Route]) -> Ladder:
    notes: list[str] = []
    route = routes.get(target.server)
    hits = hit_at(target, outcome_of)
    effect = effect_of(target, hits, outcome_of)
    k = min(hits) if hits else None
    late: int | None = None
    unseen = False
    """Is the probe that was answered not in the capture?"""
    if target.shape == "one_connection" and k is not None:
        upper, lower = bounds_of_answer(target, outcome_of, effect not in CERTIFICATES)
        if upper is not None and lower < upper:
            late = upper
            notes.append(
                f"one connection for all TTLs, and the answer came late: it belongs to a TTL from {lower} to {upper}"
            )
        unseen = upper is not None and lower > upper
        if unseen:
            notes.append(
                f"the probe that drew the answer is not in the capture: the last one before it, with TTL {lower - 1},"
                " expired on the way"
            )
        k = lower
    dropped = dropped_at(target, control, outcome_of) if k is None else None
    if dropped is not None:
        k, effect, hits = dropped, "silence", {t for t in target.steps if t >= dropped}
    control_ttls = answered_at(control, outcome_of)
    trusted = answered_at(control, outcome_of, trusted=True)
    if k is None and control_ttls and _silent_from(target, outcome_of) == control_ttls[0]:
        notes.append(
            f"from TTL {control_ttls[0]} on, where the control was answered, the target drew nothing: the server may"
            " refuse this name"
        )
    if k is None:
        nearer = _nearer(target, control, outcome_of)
        if nearer is not None:
            notes.append(nearer)
        return Ladder(
            target.client, target.server, target.dport, target.name, control.name if control else None, target.shape,
            None, None, min(trusted, default=None), None, None, None, last_answering(target, None),
            "unknown", 0, len(target.steps), False, None, route.destination_ttl if route else None, tuple(notes),
            steps(target, control, outcome_of),
        )  # fmt: skip
    destination = route.destination_ttl if route else None
    met_too = hit_at(control, outcome_of) if control is not None else set()
    beside = control if control is not None and not (unseen or met_too) and together(target, control, k) else None
    further = outlives(beside, control_ttls, k)
    along = route is not None and same_way(route, target, k)
    passed_on = outlives(control, control_ttls, k) or (bool(control_ttls) and control_ttls[0] > k)
    ends_here = destination == k and along and not passed_on and not unseen
    if destination == k and not along:
        notes.append("a traceroute ends at this TTL, and nothing shows that it went the probes' way")
    exact = further or ends_here
    copies = copies_ttl(target, hits, outcome_of)
    firsts = _first_hits(target, outcome_of)
    passed = _passed(target, firsts, k) if dropped is None and effect not in CERTIFICATES else None
    if passed is not None:
        exact, beside = False, None
        notes.append(
            f"the ladder had met it first at TTL {passed} before: blocking that goes on for a while after it was drawn"
            " is met at any TTL"
        )
    past = went_past(target, k, outcome_of) if dropped is None and late is None and passed is None else None
    unclear = target.unclear + (control.unclear if control is not None else 0)
    if unclear:
        exact = False
        notes.append(
            f"{unclear} answers of routers fit probes of several TTLs, which one IP ID and sequence number do not tell"
            " apart: no hop is named by them"
        )
    elif late is not None or copies or unseen:
        exact = False
    elif past is not None:
        exact, beside = False, None
        notes.append(
            f"a probe of the target with TTL {past} went on and met nothing: flows go different ways, or the box lets"
            f" some by, and the first to meet it at TTL {k} names no edge"
        )
    elif exact and dropped is not None and not surely_silent(target, control, k):
        exact, beside = False, None
        notes.append(
            f"the target was not twice silent at TTL {k} beyond what a router's limit of answers explains: what drops"
            " it sits at this hop or beyond"
        )
    elif not exact and beside is None and not met_too and outlives(control, control_ttls, k):
        notes.append(
            f"nothing shows the control on the target's way right before TTL {k}: that it went further shows no edge"
        )
    elif not exact:
        notes.append(_why_bound(control, control_ttls, k, met_too))
    nearest = k if copies or past is not None else _nearest(target, control, control_ttls, k)
    if nearest < k:
        notes.append(
            f"from TTL {nearest} to {k - 1} the target drew nothing, or was not asked, and a lost answer cannot be told"
            f" from none: the box may sit as near as hop {nearest}"
        )
    agrees = beside is not None and agree(target, control, k)
    if control is not None and not agree(target, control, k):
        notes.append("target and control took different paths (load balancing)")
    seen_by = (("target", target), ("control", control if agrees else None))
    shown = route if along else None
    clean_hop, first_hop = name_hop(nearest - 1, seen_by, shown, target), name_hop(k, seen_by, shown, target)
    if past is not None:
        clean_hop, first_hop = None, Hop(k, None)
    elif not copies:
        clean_hop, first_hop = (
            from_elsewhere(hop, routes, target, control if agrees else None, k, notes) for hop in (clean_hop, first_hop)
        )
    if any(hop is not None and hop.seen_by == "traceroute" for hop in (clean_hop, first_hop)):
        notes.append(
            "hops are named by a traceroute to this address, which goes the probes' way as far as both show it"
        )
    met, clean_answers = _answers_from(target, k, outcome_of)
    inferred = None
    if copies:
        inferred, clean_hop = (k + 1) // 2, None
        notes.append(
            "the answers' TTL follows the probes': a box that copies it is seen only where its answer survives the way"
            f" back, so it sits near hop {inferred}, not at the hop where it is first seen"
        )
    bound: str | None = "exact" if exact else "at_or_before" if inferred is not None else "at_or_beyond"
    if nearest < k:
        bound = "at_or_before" if exact else None
    if past is not None:
        bound = None
    return Ladder(
        target.client, target.server, target.dport, target.name, control.name if control else None, target.shape,
        k, effect, min(trusted, default=None), bound, clean_hop, first_hop,
        last_answering(target, k), _placement(target, beside, k, ends_here, outcome_of),
        len([t for t in hits if t >= k]),
        len([t for t in target.steps if t >= k]), bool(clean_answers), inferred, destination, tuple(notes),
        steps(target, control, outcome_of), firsts,
        signers=_signers(target, outcome_of), met=met, answers=met + clean_answers,
    )  # fmt: skip


def _answers_from(target: Series, k: int, outcome_of: OutcomeOf) -> tuple[int, int]:
    """How many answers from TTL k on had the effect, and how many were a trusted chain."""
    met = clean = 0
    for ttl, step in target.steps.items():
        for index in step.connections if ttl >= k else ():
            outcome = outcome_of(index)
            if outcome is not None and reached(target, ttl, index, outcome):
                met += outcome.hit
                clean += outcome.trusted and not outcome.hit
    return met, clean


def _nearer(target: Series, control: Series | None, outcome_of: OutcomeOf) -> str | None:
    """Was the target answered at TTLs at which routers answered the control, and the control itself only later?"""
    answered, other = answered_at(target, outcome_of), answered_at(control, outcome_of)
    if control is None or not answered or not other or answered[0] >= other[0]:
        return None
    passed = [ttl for ttl in range(answered[0], other[0]) if control.hops_at(ttl)]
    if not passed:
        return None
    return (
        "for the target's name something nearer answered than for the control's: the target was answered from TTL"
        f" {answered[0]} on, the control from TTL {other[0]} on, and routers answered the control's probes with TTL"
        f" {', '.join(map(str, passed))}"
    )


def _signers(target: Series, outcome_of: OutcomeOf) -> tuple[tuple[str, str], ...]:
    outcomes = map(outcome_of, {probe.index for probe in target.sent})
    hits = [outcome for outcome in outcomes if outcome is not None and outcome.hit and outcome.identity]
    return tuple(sorted({(outcome.identity, outcome.signer) for outcome in hits}))


def _passed(target: Series, firsts: tuple[int | None, ...], k: int) -> int | None:
    """The TTL at which an earlier run first met what a later one met at TTL k, where a router had answered at k."""
    if not firsts or not target.hops_at(k):
        return None
    for run, first in zip(runs(target), firsts, strict=True):
        if first == k:
            return None
        if first is not None and first > k and any(probe.ttl == k for probe in run):
            return first if k in firsts else None
    return None


def _silent_from(target: Series, outcome_of: OutcomeOf) -> int | None:
    """The TTL from which a series drew nothing at all."""
    heard = [
        ttl
        for ttl, step in target.steps.items()
        if step.hops or any((o := outcome_of(index)) is not None and (o.heard or o.hit) for index in step.connections)
    ]
    return min((ttl for ttl in target.steps if ttl > max(heard, default=0)), default=None)


def _first_hits(target: Series, outcome_of: OutcomeOf) -> tuple[int | None, ...]:
    """For each run of a ladder with one connection per TTL, the smallest TTL that was intercepted or blocked."""
    if target.shape == "one_connection":
        return ()
    found: list[int | None] = []
    for run in runs(target):
        hits = [probe.ttl for probe in run if (outcome := outcome_of(probe.index)) is not None and outcome.hit]
        found.append(min(hits, default=None))
    return tuple(found)


def _why_bound(control: Series | None, answered: list[int], k: int, met: set[int]) -> str:
    if control is None:
        return "no control series to compare with: the box sits at this hop or beyond"
    if met:
        return (
            f"the control met it too, from TTL {min(met)} on: it shows no edge, and the box sits at this hop or beyond"
        )
    if answered and answered[0] <= k:
        return f"the control is answered from TTL {answered[0]} on: a TCP terminator hides what lies behind it"
    if answered and control.shape == "connection_per_ttl":
        return (
            f"the control is answered from TTL {answered[0]} on, and too little of it was sent from TTL {k} on to show"
            " that it went further than the target"
        )
    if answered:
        return (
            f"the control, one connection for all TTLs, was answered from TTL {answered[0]} on, and no router from TTL"
            f" {k} on passed it on: that shows no edge"
        )
    return "the control was answered nowhere: the box sits at this hop or beyond"


def _nearest(target: Series, control: Series | None, answered: list[int], k: int) -> int:
    """The smallest TTL at which the box may sit: all below was asked, and heard from or silent for a reason.

    `answered`: the TTLs at which the control was.
    """
    nearest = k
    while nearest > 1:
        step = target.steps.get(nearest - 1)
        heard = control is not None and (control.hops_at(nearest - 1) or nearest - 1 in answered)
        if step is not None and (step.hops or (not heard and silences(target, nearest - 1) >= SILENCES)):
            break
        nearest -= 1
    return nearest


def _placement(target: Series, control: Series | None, k: int, ends_here: bool, outcome_of: OutcomeOf) -> str:
    """in_path, on_path (one probe drew a Time Exceeded beside the answer), at_destination, unknown.

    That none came shows something only where a router answered the control, and had nothing else to answer just before.
    """
    if ends_here:
        return "at_destination"
    if target.shape == "one_connection":
        if target.hops_at(k):
            return "on_path"
    elif any(
        index in step.expired and (outcome := outcome_of(index)) is not None and outcome.hit
        for ttl, step in target.steps.items()
        if ttl >= k
        for index in step.connections
    ):
        return "on_path"
    elif target.hops_at(k):
        return "unknown"  # what came of another run, without the answer
    if control is not None and control.hops_at(k) and unspent(target, control, k):
        return "in_path"
    return "unknown"
