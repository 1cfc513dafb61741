"""What came back on a ladder: how its connections ended, at which TTLs, and how far a control outlived its target."""

# Annotations are not postponed: NamedTuple would compile each of them at every start.
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from kzpcap.paths.ladders import Series, sent_before
from kzpcap.verdict.rules import State

MIN_COPIED = 3
SILENCES = 2
"""As often nobody answered: once may be loss."""
ROUND_TRIPS = 3
LIMIT_NS = 1_000_000_000
"""Routers answer one probe, and the next only after a while: Linux's net.ipv4.icmp_ratelimit is a second."""
APART_NS = 100_000_000
"""Between two silences that are not one moment's; TCP sends again after 200 ms at the earliest."""
EFFECTS = {"reset": "reset", "alert": "alert", "plain": "plain_answer", "closed": "closed", "silent": "silence"}


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
    signer: str = ""
    """Whose key its chain leads to (`Surroundings.signer_of`)."""
    answer_ns: int = 0
    round_trip_ns: int = 0
    """When the answer came, and how long the connection's SYN-ACK took; 0 where that was not seen."""
    lost: bool = False
    """An answer came, and is not, or not wholly, in the capture."""

    @property
    def hit(self) -> bool:
        """Did what came back show an interceptor or a blocker?"""
        return self.state in (State.INTERCEPTED, State.SUSPECTED, State.INTERFERED)

    @property
    def heard(self) -> bool:
        """Did an answer come, whether or not it is in the capture?"""
        return self.answered or self.lost

    @property
    def harmless(self) -> str:
        """What an answer that shows nobody is called: a certificate may be trusted, and not for the name asked."""
        if self.state is State.GENUINE:
            return "genuine"
        return "trusted" if self.trusted else "answered"


OutcomeOf = Callable[[int], Outcome | None]
"""How the connection of this number ended."""


def hit_at(entry: Series, outcome_of: OutcomeOf) -> set[int]:
    """The TTLs at which something came back that shows an interceptor or a blocker."""
    return {
        ttl
        for ttl, step in entry.steps.items()
        for index in step.connections
        if (outcome := outcome_of(index)) is not None and outcome.hit and reached(entry, ttl, index, outcome)
    }


def reached(entry: Series, ttl: int, index: int, outcome: Outcome) -> bool:
    """Does this connection's answer belong to this TTL? Of several in one connection: to the highest sent before it."""
    if outcome.answer_frame is None:
        return True
    highest = entry.highest(index, outcome.answer_frame, outcome.answer_ns)
    return ttl == highest or (not highest and entry.shape != "one_connection")


def went_past(entry: Series, k: int, outcome_of: OutcomeOf) -> int | None:
    """The smallest TTL from k on with which a probe of a connection that was not intercepted or blocked got a router's
    answer, or a trusted chain: it went by where the others met the box. None without one.
    """
    for ttl, step in sorted(entry.steps.items()):
        for index in step.connections if ttl >= k else ():
            outcome = outcome_of(index)
            met = outcome is not None and outcome.hit and _met_by(entry, ttl, index, outcome)
            if not met and (index in step.expired or (outcome is not None and _trusted(entry, ttl, index, outcome))):
                return ttl
    return None


def _met_by(entry: Series, ttl: int, index: int, outcome: Outcome) -> bool:
    """May what a connection drew have come of a probe with this TTL, or a lower one?"""
    return outcome.answer_frame is None or entry.highest(index, outcome.answer_frame, outcome.answer_ns) <= ttl


def _trusted(entry: Series, ttl: int, index: int, outcome: Outcome) -> bool:
    return outcome.trusted and not outcome.hit and reached(entry, ttl, index, outcome)


def bounds_of_answer(entry: Series, outcome_of: OutcomeOf, beside: bool) -> tuple[int | None, int]:
    """(upper, lower) of the answering TTL in one connection: the last TTL sent before the answer; one above the
    highest that drew a Time Exceeded. Where that is beyond it, the probe that was answered is not in the capture.

    Who answers from `beside` the path lets probes expire beyond it: then each that was sent within some round trips
    before the answer may have drawn it.
    """
    uppers, lowers = [], []
    for index in {probe.index for probe in entry.sent}:
        outcome = outcome_of(index)
        if outcome is None or not outcome.hit or outcome.answer_frame is None:
            continue
        before = entry.highest(index, outcome.answer_frame, outcome.answer_ns)
        if before:
            uppers.append(before)
            late = min(LIMIT_NS, ROUND_TRIPS * outcome.round_trip_ns or LIMIT_NS)
            sent = [
                probe
                for probe in entry.sent
                if probe.index == index and sent_before(probe, outcome.answer_frame, outcome.answer_ns)
            ]
            lowers += [probe.ttl for probe in sent if outcome.answer_ns - probe.time_ns <= late] or [before]
    expired = [ttl for ttl, step in entry.steps.items() if step.hops]
    upper = min(uppers, default=None)
    if beside and upper is not None:
        return upper, min(lowers)
    return upper, 1 + max((ttl for ttl in expired if upper is None or ttl <= upper), default=0)


def copies_ttl(entry: Series, hits: set[int], outcome_of: OutcomeOf) -> bool:
    """Does the TTL of the answers rise by one with each step of the probes' TTL, over three steps at least?"""
    pairs = {
        (ttl, outcome.answer_ttl)
        for ttl in hits
        for index in entry.steps[ttl].connections
        if (outcome := outcome_of(index)) is not None and outcome.hit and outcome.answer_ttl is not None
    }
    return len(pairs) >= MIN_COPIED and len({ttl - answer for ttl, answer in pairs}) == 1


def effect_of(entry: Series, hits: set[int], outcome_of: OutcomeOf) -> str | None:
    """What came back at the smallest TTL with an effect: a certificate, a reset, an alert, a plain answer, silence."""
    for ttl in sorted(hits):
        for index in entry.steps[ttl].connections:
            outcome = outcome_of(index)
            if outcome is not None and outcome.hit:
                if outcome.state is State.INTERFERED:
                    return EFFECTS.get(outcome.failed or "", "reset")
                return "certificate" if outcome.state is State.INTERCEPTED else "suspected_certificate"
    return None


def answered_at(entry: Series | None, outcome_of: OutcomeOf, trusted: bool = False) -> list[int]:
    """The TTLs at which a series got an answer that is no alert or reset (with `trusted`, a publicly trusted chain)."""
    if entry is None:
        return []
    found = []
    for ttl, step in entry.steps.items():
        for index in step.connections:
            outcome = outcome_of(index)
            if outcome is None or not (outcome.trusted if trusted else outcome.heard):
                continue
            if reached(entry, ttl, index, outcome):
                found.append(ttl)
                break
    return sorted(found)


def outlives(control: Series | None, answered: list[int], k: int) -> bool:
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


def dropped_at(target: Series, control: Series | None, outcome_of: OutcomeOf) -> int | None:
    """The TTL from which the target draws nothing at all while the control goes on to an answer."""
    answered = answered_at(control, outcome_of)
    if control is None or not answered:
        return None
    silent = [
        ttl
        for ttl, step in sorted(target.steps.items())
        if not step.hops and not any((o := outcome_of(i)) is not None and (o.heard or o.hit) for i in step.connections)
    ]
    heard = [ttl for ttl in target.steps if ttl not in silent]
    last = max(heard, default=0)
    tail = [ttl for ttl in silent if ttl > last]
    compared = [ttl for ttl in tail if control.hops_at(ttl) or ttl in answered]
    if not tail or tail[-1] < answered[0] or tail[0] >= answered[0]:
        return None  # it was never asked as far as the server; or it is the server that says nothing
    return tail[0] if len(compared) >= 3 and tail[0] in compared else None


def silences(entry: Series, ttl: int) -> int:
    """At how many moments probes with this TTL went out, which nobody answered."""
    last, count = -LIMIT_NS, 0
    for time_ns in sorted(probe.time_ns for probe in entry.sent if probe.ttl == ttl):
        if time_ns - last >= APART_NS:
            last, count = time_ns, count + 1
    return count


def surely_silent(target: Series, control: Series | None, k: int) -> bool:
    """Was the target twice unanswered at TTL k, beyond what a router's limit of answers explains?"""
    return unspent(target, control, k) >= SILENCES


def unspent(target: Series, control: Series | None, k: int) -> int:
    """How often, at moments of their own, a probe of TTL k found the routers of that hop with an answer to give.

    They had none to give in the second in which a control, or anybody else's probe, had used it up.
    """
    used = [probe.time_ns for probe in control.sent if probe.ttl == k] if control is not None else []
    for router in control.hops_at(k) if control is not None else ():
        used += target.spoke.get(router, [])
    used.sort()
    alone, last = 0, -LIMIT_NS
    for time_ns in sorted(probe.time_ns for probe in target.sent if probe.ttl == k):
        before = bisect_right(used, time_ns)
        if time_ns - last >= APART_NS and (not before or time_ns - used[before - 1] >= LIMIT_NS):
            alone, last = alone + 1, time_ns
    return alone
