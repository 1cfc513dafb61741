"""What to ask of connections with the same features, and what came of the answers of those before.

Most rules are settled by what a connection has not (features.py): its `Plan` knows them. Of the rest, which fact is
asked next depends on nothing but the answers so far, true, false or unknown; so a plan remembers the way as `Step`s,
and where it led as an `Outcome`. Nothing is left out by either: whatever may be otherwise for this connection is asked
of this connection, and what is told is its own.
"""

from __future__ import annotations

from typing import NamedTuple

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.features import NEEDS
from kzpcap.verdict.logic import Combined, Fact, Finding, all_of, answer
from kzpcap.verdict.rules import NOTHING, REMARKS, RULES, Rule, State

MAX_PLANS = 1_024
MAX_STEPS = 65_536
"""Steps of all plans of a capture, some 300 bytes each; beyond, they are begun anew."""


class Outcome(NamedTuple):
    """What the rules come to."""

    rule: Rule
    also: tuple[str, ...]
    unsettled: tuple[str, ...]
    remarks: tuple[Fact, ...]
    """Those that are true."""


class Step:
    """The fact that is asked next, and what follows each of its values."""

    __slots__ = ("fact", "then")

    def __init__(self, fact: Fact) -> None:
        self.fact = fact
        self.then: dict[bool | None, Step | Outcome] = {}


class Plan:
    """What to ask of connections with the same features."""

    __slots__ = ("begins", "remarks", "rules", "settled")

    def __init__(
        self, settled: dict[Fact, Finding], rules: tuple[tuple[Rule, bool], ...], remarks: tuple[Fact, ...]
    ) -> None:
        self.settled = settled
        """The answers that are the same for all of them."""
        self.rules = rules
        """Those that may hold or stay unsettled, in order; true where nothing but unknown can come of one."""
        self.remarks = remarks
        self.begins: dict[bool | None, Step | Outcome] = {}
        """The first step, under None."""


def plan_for(features: int, observation: Observation, surroundings: Surroundings) -> Plan:
    """The plan for all connections with these features, of which this one is the first."""
    found: Plan | None = surroundings.plans.get(features)
    if found is None:
        if len(surroundings.plans) >= MAX_PLANS:
            forget(surroundings)
        found = surroundings.plans[features] = _plan(observation, surroundings, features)
    return found


def forget(surroundings: Surroundings) -> None:
    """Begin all plans anew."""
    surroundings.plans.clear()
    surroundings.steps = 0


def _plan(observation: Observation, surroundings: Surroundings, features: int) -> Plan:
    settled: dict[Fact, Finding] = {}
    surroundings.answers_for, surroundings.answers, surroundings.settled = observation, {}, settled
    for rule in RULES:
        _settle(rule.when, settled, observation, surroundings, features)
    for fact in REMARKS:
        _settle(fact, settled, observation, surroundings, features)
    rules = []
    for rule in RULES:
        values = {settled[fact].value if fact in settled else "open" for fact in _facts(rule.when)}
        if False in values and isinstance(rule.when, all_of):
            continue
        rules.append((rule, "open" not in values and rule.when(observation, surroundings).value is None))
    remarks = tuple(fact for fact in REMARKS if fact not in settled or settled[fact].value)
    return Plan(settled, tuple(rules), remarks)


def _facts(asked: Fact) -> tuple[Fact, ...]:
    return asked.facts if isinstance(asked, Combined) else (asked,)


def _settle(
    asked: Fact, settled: dict[Fact, Finding], observation: Observation, surroundings: Surroundings, features: int
) -> bool:
    """Ask what is the same for all connections with these features; is all of it?"""
    if not isinstance(asked, Combined):
        same = bool(NEEDS.get(asked, 0) & ~features)
    else:
        known = [_settle(fact, settled, observation, surroundings, features) for fact in asked.facts]
        same = all(known)
    if same and asked not in settled:
        settled[asked] = asked(observation, surroundings)
    return same


def outcome(observation: Observation, surroundings: Surroundings, todo: Plan) -> Outcome:
    """What the rules come to for one connection: by the steps of those before, else by asking them one after another.

    The answers are in `surroundings.answers` then, with those of the plan in `surroundings.settled`.
    """
    asked: dict[Fact, Finding] = {}
    surroundings.answers_for, surroundings.answers, surroundings.settled = observation, asked, todo.settled
    place = todo.begins.get(None)
    while place.__class__ is Step:
        fact = place.fact
        found = asked.get(fact)
        if found is None:  # else asked by another fact already
            found = asked[fact] = fact(observation, surroundings)
        place = place.then.get(found.value)
    if place is None:
        place = _ask(observation, surroundings, todo)
        _remember(asked, place, surroundings, todo)
    assert isinstance(place, Outcome)
    return place


def _ask(observation: Observation, surroundings: Surroundings, todo: Plan) -> Outcome:
    """Apply what is left of the rules: the first that holds decides, the others are kept."""
    decided: Rule | None = None
    also: list[str] = []
    unsettled: list[str] = []
    for rule, unknown in todo.rules:
        value = None if unknown else rule.when(observation, surroundings).value
        if value and decided is None:
            decided = rule
        elif value:
            also.append(rule.id)
        elif value is None and decided is None and rule.state is not State.UNDETERMINED:
            unsettled.append(rule.id)
    remarks = [fact for fact in todo.remarks if answer(fact, observation, surroundings).value]
    return Outcome(decided or NOTHING, tuple(also), tuple(unsettled), tuple(remarks))


def _remember(asked: dict[Fact, Finding], found: Outcome, surroundings: Surroundings, todo: Plan) -> None:
    """Keep the way from the first question to the outcome; `asked` has the answers in the order in which they came."""
    if surroundings.steps + len(asked) > MAX_STEPS:
        forget(surroundings)
        return
    surroundings.steps += len(asked)
    then, value = todo.begins, None
    for fact, one in asked.items():
        step = then.get(value)
        if step is None:
            step = then[value] = Step(fact)
        assert isinstance(step, Step)
        then, value = step.then, one.value
    then[value] = found
