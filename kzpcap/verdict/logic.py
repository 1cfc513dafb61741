"""Findings, and their combination over true, false and unknown (Kleene's strong three-valued logic).

"The Certificate is encrypted" is unknown, and no combination can turn it into "no forged certificate".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of asking one fact: true, false or None for unknown; one sentence, and the frames that show it."""

    value: bool | None
    says: str
    frames: tuple[int, ...] = ()
    children: tuple[Finding, ...] = ()
    operator: str = ""


Fact = Callable[[Observation, Surroundings], Finding]


def _answers(facts: tuple[Fact, ...], observation: Observation, surroundings: Surroundings) -> Iterator[Finding]:
    """Each fact's finding; a fact that several rules ask of one connection is worked out once."""
    if surroundings.answers_for is not observation:
        surroundings.answers_for = observation
        surroundings.answers = {}
    known = surroundings.answers
    for fact in facts:
        found = known.get(fact)
        if found is None:
            found = known[fact] = fact(observation, surroundings)
        yield found


def all_of(*facts: Fact) -> Fact:
    """True where all are; false where one is; else unknown. The first false one ends the asking."""

    def ask(observation: Observation, surroundings: Surroundings) -> Finding:
        children: list[Finding] = []
        value: bool | None = True
        for found in _answers(facts, observation, surroundings):
            children.append(found)
            if found.value is False:
                return Finding(False, "", (), tuple(children), "all_of")
            if found.value is None:
                value = None
        return Finding(value, "", (), tuple(children), "all_of")

    return ask


def any_of(*facts: Fact) -> Fact:
    """True where one is; false where all are false; else unknown. Every fact is asked: each may be evidence."""

    def ask(observation: Observation, surroundings: Surroundings) -> Finding:
        children = tuple(_answers(facts, observation, surroundings))
        values = {child.value for child in children}
        value = True if True in values else None if None in values else False
        return Finding(value, "", (), children, "any_of")

    return ask


def none_of(*facts: Fact) -> Fact:
    """False where one is true; true where all are false; else unknown."""
    anything = any_of(*facts)

    def ask(observation: Observation, surroundings: Surroundings) -> Finding:
        found = anything(observation, surroundings)
        value = None if found.value is None else not found.value
        return Finding(value, "", (), found.children, "none_of")

    return ask


def not_shown(*facts: Fact) -> Fact:
    """True unless one of the facts is true: for what must not be shown, rather than be shown not to be."""

    def ask(observation: Observation, surroundings: Surroundings) -> Finding:
        children = tuple(_answers(facts, observation, surroundings))
        return Finding(not any(child.value is True for child in children), "", (), children, "not_shown")

    return ask
