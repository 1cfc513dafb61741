"""What the probes of a ladder drew, TTL by TTL, as it is told: nothing is concluded here."""

# Annotations are not postponed: NamedTuple would compile each of them at every start.
from collections import Counter
from typing import NamedTuple

from kzpcap.paths.hops import candidates
from kzpcap.paths.ladders import Series
from kzpcap.verdict.outcomes import Outcome, OutcomeOf, reached


class StepOutcome(NamedTuple):
    """One TTL of a ladder, for target and control: frames sent, routers that answered, and what else came."""

    ttl: int
    target: dict[str, object] | None
    control: dict[str, object] | None


def steps(target: Series, control: Series | None, outcome_of: OutcomeOf) -> tuple[StepOutcome, ...]:
    """What a target and its control drew, by TTL."""
    ttls = sorted(set(target.steps) | set(control.steps if control else ()))
    return tuple(StepOutcome(ttl, _side(target, ttl, outcome_of), _side(control, ttl, outcome_of)) for ttl in ttls)


UNDECIDED = ("reset", "closed", "alert", "plain")
"""What may come back and show nobody."""


def _side(entry: Series | None, ttl: int, outcome_of: OutcomeOf) -> dict[str, object] | None:
    step = entry.steps.get(ttl) if entry else None
    if entry is None or step is None:
        return None
    answer, frame, weight = "silence", None, 0
    answers = Counter[str]()
    for index in step.connections:
        outcome = outcome_of(index)
        if outcome is None or not reached(entry, ttl, index, outcome):
            continue
        said = _said(outcome)
        if said is None:
            continue
        answers[said[1]] += 1
        if said[0] > weight:
            weight, answer, frame = *said, outcome.answer_frame
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
        "answers": dict(sorted(answers.items())),
    }


def _said(outcome: Outcome) -> tuple[int, str] | None:
    """What came back, and how much it says beside another answer at the same TTL; None where nothing did."""
    if outcome.hit:
        return 3, outcome.state.value
    if outcome.heard:
        return 2, outcome.harmless
    return (1, outcome.failed) if outcome.failed in UNDECIDED else None
