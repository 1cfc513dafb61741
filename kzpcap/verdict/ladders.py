"""Ladders judged: from what each TTL drew to an edge or a bound. Never more than the packets show.

- A ladder concludes only by what came back: a forged certificate, a reset, an alert, a block page; for a drop, by
  silence where the control still drew answers. A merely earlier TLS answer is nothing.
- An edge is exact only if a control outlives the target at that TTL: a router there or beyond answered it, or twice
  nobody did before it was answered. A control that is answered from the same TTL on shows a TCP terminator: whoever
  intercepts sits at it or beyond.
- Nor is it exact where the target was not asked at the TTL before, or was silent once where the control was heard: the
  box's answer may have been lost, and the box sits nearer.
- Hops below k are named by the target's own Time Exceeded; hop k by the control only where both series agree at
  every TTL below k at which both were answered. A traceroute to the same address may fill in what neither showed;
  one to another address only if it goes the probes' way before and after the hop, and that is said.
"""

# Annotations are not postponed: NamedTuple would compile each of them at every start.
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from kzpcap.paths.hops import candidates
from kzpcap.paths.ladders import Route, Series, runs
from kzpcap.verdict.rules import State


class Outcome(NamedTuple):
    """How a ladder's connection ended: state, whether its chain was publicly trusted, the frame of the answer."""

    state: State
    rule_id: str
    trusted: bool
    answered: bool
    answer_frame: int | None
    failed: str | None
    answer_ttl: int | None = None
    identity: str = ""
    """The interceptor's."""

    @property
    def hit(self) -> bool:
        """Did what came back show an interceptor or a blocker?"""
        return self.state in (State.INTERCEPTED, State.SUSPECTED, State.INTERFERED)


class Hop(NamedTuple):
    """A router on the path; `address` None where it was not seen."""

    ttl: int
    address: str | None
    seen_by: str | None = None
    """target, control or traceroute."""
    others: tuple[str, ...] = ()
    """Further addresses that answered at this TTL: the paths differ."""

    @property
    def known(self) -> bool:
        """Was any router seen here?"""
        return bool(self.address or self.others)


class StepOutcome(NamedTuple):
    """One TTL of a ladder, for target and control: frames sent, routers that answered, and what else came."""

    ttl: int
    target: dict[str, object] | None
    control: dict[str, object] | None


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
    identities: tuple[str, ...] = ()
    """The interceptors of what came back."""

    @property
    def modal_ttl(self) -> int | None:
        """The TTL at which most runs had the effect first; of equals the smallest."""
        counts = Counter(ttl for ttl in self.runs if ttl is not None)
        return min(counts, key=lambda ttl: (-counts[ttl], ttl), default=None)


MIN_COPIED = 3
SILENCES = 2
"""As often nobody answered: once may be loss."""
EFFECTS = {"reset": "reset", "alert": "alert", "plain": "plain_answer", "silent": "silence"}


def judge_ladders(
    series: list[Series],
    outcome_of: Callable[[int], Outcome | None],
    is_target: Callable[[str | None], bool],
    routes: dict[str, Route],
) -> tuple[Ladder, ...]:
    """Pair targets with controls and judge each pair."""
    groups: dict[tuple[str, str, int], list[Series]] = {}
    for entry in series:
        groups.setdefault((entry.client, entry.server, entry.dport), []).append(entry)
    found = []
    for members in groups.values():
        targets, controls = _roles(members, outcome_of, is_target)
        control = max(controls, key=lambda entry: len(entry.steps), default=None)
        found += [_judge(target, control, outcome_of, routes) for target in targets]
    return tuple(found)


def _hits(entry: Series, outcome_of: Callable[[int], Outcome | None]) -> bool:
    outcomes = (outcome_of(index) for step in entry.steps.values() for index in step.connections)
    return any(outcome is not None and outcome.hit for outcome in outcomes)


def _roles(
    members: list[Series], outcome_of: Callable[[int], Outcome | None], is_target: Callable[[str | None], bool]
) -> tuple[list[Series], list[Series]]:
    """Listed names are targets; where no listed name is among them, the series that differs is the target."""
    targets = [entry for entry in members if is_target(entry.name)]
    controls = [entry for entry in members if not is_target(entry.name)]
    if not targets:
        hit = [entry for entry in controls if _hits(entry, outcome_of)]
        if hit and len(hit) < len(controls):
            return hit, [entry for entry in controls if entry not in hit]
        if len(controls) == 1:
            return controls, []
        named = [entry for entry in controls if entry.name]
        return named[:1], [entry for entry in controls if entry not in named[:1]]
    return targets, controls


def _judge(
    target: Series, control: Series | None, outcome_of: Callable[[int], Outcome | None], routes: dict[str, Route]
) -> Ladder:
    notes: list[str] = []
    route = routes.get(target.server)
    hits, clean = _split(target, outcome_of)
    effect = _effect(target, hits, outcome_of)
    k = min(hits) if hits else None
    late: int | None = None
    if target.shape == "one_connection" and k is not None:
        upper, lower = _bounds(target, outcome_of)
        if upper is not None and lower < upper:
            late = upper
            notes.append(
                f"one connection for all TTLs, and the answer came late: it belongs to a TTL from {lower} to {upper}"
            )
        k = lower
    dropped = _drop(target, control, outcome_of) if k is None else None
    if dropped is not None:
        k, effect, hits = dropped, "silence", {t for t in target.steps if t >= dropped}
    control_ttls = _answered(control, outcome_of)
    trusted = _answered(control, outcome_of, trusted=True)
    if k is None:
        return Ladder(
            target.client, target.server, target.dport, target.name, control.name if control else None, target.shape,
            None, None, min(trusted, default=None), None, None, None, _last_answering(target, BEYOND_ANY_TTL),
            "unknown", 0, len(target.steps), False, None, route.destination_ttl if route else None, tuple(notes),
            _steps(target, control, outcome_of),
        )  # fmt: skip
    outlives = _outlives(control, control_ttls, k)
    destination = route.destination_ttl if route else None
    exact = outlives or (destination is not None and destination == k)
    copies = _copies_ttl(target, hits, outcome_of)
    if late is not None or copies:
        exact = False
    elif not exact:
        notes.append(_why_bound(control, control_ttls, k))
    nearest = k if copies or dropped is not None else _nearest(target, control, k)
    if nearest < k:
        notes.append(
            f"from TTL {nearest} to {k - 1} the target drew nothing, or was not asked, and a lost answer cannot be told"
            f" from none: the box may sit as near as hop {nearest}"
        )
    agrees = _agree(target, control, k)
    if control is not None and not agrees:
        notes.append("target and control took different paths (load balancing)")
    seen_by = (("target", target), ("control", control if agrees else None))
    clean_hop, first_hop = _name_hop(nearest - 1, seen_by, route, target), _name_hop(k, seen_by, route, target)
    if not copies:
        clean_hop, first_hop = (
            _from_elsewhere(hop, routes, target, control if agrees else None, k, notes)
            for hop in (clean_hop, first_hop)
        )
    later_clean = [ttl for ttl in clean if ttl > k]
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
    return Ladder(
        target.client, target.server, target.dport, target.name, control.name if control else None, target.shape,
        k, effect, min(trusted, default=None), bound, clean_hop, first_hop,
        _last_answering(target, k), _placement(target, control, k, destination), len([t for t in hits if t >= k]),
        len([t for t in target.steps if t >= k]), bool(later_clean), inferred, destination, tuple(notes),
        _steps(target, control, outcome_of), _first_hits(target, outcome_of),
        min([probe.time_ns for probe in target.sent]), max([probe.time_ns for probe in target.sent]),
        tuple(sorted({outcome.identity for outcome in map(outcome_of, {probe.index for probe in target.sent})
                      if outcome is not None and outcome.hit and outcome.identity})),
    )  # fmt: skip


def _first_hits(target: Series, outcome_of: Callable[[int], Outcome | None]) -> tuple[int | None, ...]:
    """For each run of a ladder with one connection per TTL, the smallest TTL that was intercepted or blocked."""
    if target.shape == "one_connection":
        return ()
    found: list[int | None] = []
    for run in runs(target):
        hits = [probe.ttl for probe in run if (outcome := outcome_of(probe.index)) is not None and outcome.hit]
        found.append(min(hits, default=None))
    return tuple(found)


BEYOND_ANY_TTL = 1 << 16


def _split(entry: Series, outcome_of: Callable[[int], Outcome | None]) -> tuple[set[int], set[int]]:
    """The TTLs at which something came back that shows an interceptor, and those with a trusted chain."""
    hits, clean = set(), set()
    for ttl, step in entry.steps.items():
        for index in step.connections:
            outcome = outcome_of(index)
            if outcome is None:
                continue
            if outcome.hit and _reached(entry, step.ttl, index, outcome):
                hits.add(ttl)
            elif outcome.trusted:
                clean.add(ttl)
    return hits, clean


def _reached(entry: Series, ttl: int, index: int, outcome: Outcome) -> bool:
    """Does this connection's answer belong to this TTL? In one connection for all TTLs: to the last one sent before."""
    if entry.shape != "one_connection" or outcome.answer_frame is None:
        return True
    return ttl == entry.highest(index, outcome.answer_frame)


def _bounds(entry: Series, outcome_of: Callable[[int], Outcome | None]) -> tuple[int | None, int]:
    """(upper, lower) of the answering TTL in one connection: the last TTL sent before the answer; one above the
    highest that drew a Time Exceeded."""
    uppers = []
    for index in {probe.index for probe in entry.sent}:
        outcome = outcome_of(index)
        if outcome is None or not outcome.hit or outcome.answer_frame is None:
            continue
        before = entry.highest(index, outcome.answer_frame)
        if before:
            uppers.append(before)
    expired = [ttl for ttl, step in entry.steps.items() if step.hops]
    upper = min(uppers, default=None)
    return upper, 1 + max((ttl for ttl in expired if upper is None or ttl < upper), default=0)


def _copies_ttl(entry: Series, hits: set[int], outcome_of: Callable[[int], Outcome | None]) -> bool:
    """Does the TTL of the answers rise by one with each step of the probes' TTL, over three steps at least?"""
    pairs = {
        (ttl, outcome.answer_ttl)
        for ttl in hits
        for index in entry.steps[ttl].connections
        if (outcome := outcome_of(index)) is not None and outcome.hit and outcome.answer_ttl is not None
    }
    return len(pairs) >= MIN_COPIED and len({ttl - answer for ttl, answer in pairs}) == 1


def _effect(entry: Series, hits: set[int], outcome_of: Callable[[int], Outcome | None]) -> str | None:
    for ttl in sorted(hits):
        for index in entry.steps[ttl].connections:
            outcome = outcome_of(index)
            if outcome is not None and outcome.hit:
                if outcome.state is State.INTERFERED:
                    return EFFECTS.get(outcome.failed or "", "reset")
                return "certificate" if outcome.state is State.INTERCEPTED else "suspected_certificate"
    return None


def _answered(entry: Series | None, outcome_of: Callable[[int], Outcome | None], trusted: bool = False) -> list[int]:
    """The TTLs at which a series got a TLS answer (with `trusted`, a publicly trusted chain)."""
    if entry is None:
        return []
    found = []
    for ttl, step in entry.steps.items():
        for index in step.connections:
            outcome = outcome_of(index)
            if outcome is None or not (outcome.trusted if trusted else outcome.answered):
                continue
            if _reached(entry, ttl, index, outcome):
                found.append(ttl)
                break
    return sorted(found)


def _outlives(control: Series | None, answered: list[int], k: int) -> bool:
    """Did the control go further than TTL k: a router there or beyond passed it on, or it was answered only later?

    One answer that is missing may be lost: so twice nobody answered a control from TTL k on.
    """
    if control is None or (answered and answered[0] <= k):
        return False
    if any(control.hops_at(ttl) for ttl in control.steps if ttl >= k):
        return True
    if not answered or control.shape != "connection_per_ttl":
        return False
    return sum(len(step.connections) for ttl, step in control.steps.items() if k <= ttl < answered[0]) >= SILENCES


def _why_bound(control: Series | None, answered: list[int], k: int) -> str:
    if control is None:
        return "no control series to compare with: the box sits at this hop or beyond"
    if answered and answered[0] <= k:
        return f"the control is answered from TTL {answered[0]} on: a TCP terminator hides what lies behind it"
    if answered and control.shape == "connection_per_ttl":
        return (
            f"the control is answered from TTL {answered[0]} on, and too little of it was sent from TTL {k} on to show"
            " that it went further than the target"
        )
    return "the control was answered nowhere: the box sits at this hop or beyond"


def _nearest(target: Series, control: Series | None, k: int) -> int:
    """The smallest TTL at which the box may sit: all below was asked, and heard from or silent for a reason."""
    nearest = k
    while nearest > min(target.steps, default=k):
        step = target.steps.get(nearest - 1)
        heard = control is not None and control.hops_at(nearest - 1)
        if step is not None and (step.hops or len(step.frames) >= SILENCES or not heard):
            break
        nearest -= 1
    return nearest


def _drop(target: Series, control: Series | None, outcome_of: Callable[[int], Outcome | None]) -> int | None:
    """The TTL from which the target draws nothing at all while the control goes on to an answer."""
    answered = _answered(control, outcome_of)
    if control is None or not answered:
        return None
    silent = [
        ttl
        for ttl, step in sorted(target.steps.items())
        if not step.hops
        and not any((o := outcome_of(i)) is not None and (o.answered or o.hit) for i in step.connections)
    ]
    heard = [ttl for ttl in target.steps if ttl not in silent]
    last = max(heard, default=0)
    tail = [ttl for ttl in silent if ttl > last]
    compared = [ttl for ttl in tail if control.hops_at(ttl) or ttl in answered]
    return tail[0] if len(compared) >= 3 and tail[0] in compared else None


def _agree(target: Series, control: Series | None, k: int) -> bool:
    """Do both series name the same routers at every TTL below k at which both were answered?"""
    if control is None:
        return False
    for ttl in range(1, k):
        ours, theirs = set(target.hops_at(ttl)), set(control.hops_at(ttl))
        if ours and theirs and ours != theirs:
            return False
    return True


def _name_hop(
    ttl: int, series: tuple[tuple[str, Series | None], ...], route: Route | None, target: Series
) -> Hop | None:
    """The router at a TTL: by the target's own probes, the control's where they may speak for it, a traceroute."""
    if ttl < 1:
        return None
    for who, entry in series:
        seen = entry.hops_at(ttl) if entry else ()
        if seen:
            return Hop(ttl, seen[0] if len(seen) == 1 else None, who, seen if len(seen) > 1 else ())
    if route is not None and _route_agrees(route, target):
        found = tuple(route.hops.get(ttl, ()))
        if len(found) == 1:
            return Hop(ttl, found[0], "traceroute")
        if found:
            return Hop(ttl, None, "traceroute", found)
    return Hop(ttl, None)


def _route_agrees(route: Route, target: Series) -> bool:
    """A traceroute to the same address counts unless it contradicts the probes somewhere."""
    return all(
        not target.hops_at(ttl) or not seen or set(target.hops_at(ttl)) & set(seen) for ttl, seen in route.hops.items()
    )


MIN_AGREEING = 3


def _from_elsewhere(
    hop: Hop | None, routes: dict[str, Route], target: Series, control: Series | None, k: int, notes: list[str]
) -> Hop | None:
    """A hop that the probes do not show, by a traceroute to another address that goes their way before it and after it.

    Ways to different addresses share their first hops and part somewhere: so the routers are the same at every TTL
    below the hop, three at least and none silent, and the control's own probes meet the traceroute again beyond. Of
    several such the one to the lowest address, so that runs agree.
    """
    if hop is None or hop.known or control is None or hop.ttl <= MIN_AGREEING:
        return hop
    below = range(1, hop.ttl)
    for destination in sorted(routes):
        route = routes[destination]
        seen = tuple(route.hops.get(hop.ttl, ()))
        if destination == target.server or len(seen) != 1:
            continue
        before = all(target.hops_at(ttl) and set(target.hops_at(ttl)) == set(route.hops.get(ttl, ())) for ttl in below)
        after = any(
            control.hops_at(ttl) and set(control.hops_at(ttl)) == set(route.hops.get(ttl, ()))
            for ttl in control.steps
            if ttl > hop.ttl and ttl >= k
        )
        if before and after:
            notes.append(
                f"hop {hop.ttl} is named by a traceroute to another address, {destination}, which goes the probes' way"
                " before and after it"
            )
            return Hop(hop.ttl, seen[0], f"traceroute to {destination}")
    return hop


def _last_answering(target: Series, k: int) -> Hop | None:
    below = [ttl for ttl, step in target.steps.items() if step.hops and ttl < k]
    if not below:
        return None
    seen = target.hops_at(max(below))
    return Hop(max(below), seen[0] if len(seen) == 1 else None, "target", seen if len(seen) > 1 else ())


def _placement(target: Series, control: Series | None, k: int, destination: int | None) -> str:
    """in_path, on_path (a Time Exceeded came beside the answer), at_destination, unknown."""
    if destination is not None and destination == k:
        return "at_destination"
    if target.hops_at(k):
        return "on_path"
    if control is not None and control.hops_at(k):
        return "in_path"
    return "unknown"


def _steps(
    target: Series, control: Series | None, outcome_of: Callable[[int], Outcome | None]
) -> tuple[StepOutcome, ...]:
    ttls = sorted(set(target.steps) | set(control.steps if control else ()))
    return tuple(StepOutcome(ttl, _side(target, ttl, outcome_of), _side(control, ttl, outcome_of)) for ttl in ttls)


def _side(entry: Series | None, ttl: int, outcome_of: Callable[[int], Outcome | None]) -> dict[str, object] | None:
    step = entry.steps.get(ttl) if entry else None
    if entry is None or step is None:
        return None
    answer, frame = "silence", None
    for index in step.connections:
        outcome = outcome_of(index)
        if outcome is None or not _reached(entry, ttl, index, outcome):
            continue
        if outcome.hit:
            answer, frame = outcome.state.value, outcome.answer_frame
        elif outcome.answered:
            answer, frame = "genuine" if outcome.trusted else "answered", outcome.answer_frame
    if answer == "silence" and step.hops:
        answer = "time_exceeded"
    return {
        "frames": step.frames[:8],
        "time_exceeded": [
            {
                "address": address,
                "frame": router.frame,
                "after_ms": round(router.after_ns / 1_000_000, 3),
                "return_hops": [hops for _, hops in candidates(router.ttl)],
                "changed": list(router.changed),
                "mpls": [{"label": entry.label, "ttl": entry.ttl} for entry in router.labels],
            }
            for address, router in step.exceeded.items()
        ],
        "answer": answer,
        "answer_frame": frame,
    }
