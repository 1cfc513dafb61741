"""Findings, and their combination over true, false and unknown (Kleene's strong three-valued logic).

"The Certificate is encrypted" is unknown, and no combination can turn it into "no forged certificate".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings


class Finding(NamedTuple):
    """What came of asking one fact: true, false or None for unknown; one sentence, and the frames that show it."""

    value: bool | None
    says: str
    frames: tuple[int, ...] = ()
    children: tuple[Finding, ...] = ()
    operator: str = ""


Fact = Callable[[Observation, Surroundings], Finding]


def answer(fact: Fact, observation: Observation, surroundings: Surroundings) -> Finding:
    """A fact's finding; what several rules or facts ask of one connection is worked out once."""
    if surroundings.answers_for is not observation:
        surroundings.answers_for, surroundings.answers, surroundings.settled = observation, {}, {}
    found: Finding | None = surroundings.answers.get(fact) or surroundings.settled.get(fact)
    if found is None:
        found = surroundings.answers[fact] = fact(observation, surroundings)
    return found


class Combined:
    """Facts under an operator; called like a fact."""

    __slots__ = ("facts",)
    operator = ""

    def __init__(self, *facts: Fact) -> None:
        self.facts = facts

    def __call__(self, observation: Observation, surroundings: Surroundings) -> Finding:
        """Ask them; every one, as each may be evidence."""
        children = tuple([answer(fact, observation, surroundings) for fact in self.facts])
        return Finding(self.value({child.value for child in children}), "", (), children, self.operator)

    def value(self, values: set[bool | None]) -> bool | None:
        """What the values of the facts come to."""
        raise NotImplementedError


class all_of(Combined):  # noqa: N801 - reads as a word of the rules
    """True where all are; false where one is; else unknown. The first false one ends the asking."""

    operator = "all_of"

    def __call__(self, observation: Observation, surroundings: Surroundings) -> Finding:
        """Ask them in turn."""
        children: list[Finding] = []
        value: bool | None = True
        for fact in self.facts:
            found = answer(fact, observation, surroundings)
            children.append(found)
            if found.value is False:
                value = False
                break
            if found.value is None:
                value = None
        return Finding(value, "", (), tuple(children), self.operator)


class any_of(Combined):  # noqa: N801
    """True where one is; false where all are false; else unknown."""

    operator = "any_of"

    def value(self, values: set[bool | None]) -> bool | None:
        """True before unknown before false."""
        return True if True in values else None if None in values else False


class none_of(Combined):  # noqa: N801
    """False where one is true; true where all are false; else unknown."""

    operator = "none_of"

    def value(self, values: set[bool | None]) -> bool | None:
        """The contrary of `any_of`."""
        return False if True in values else None if None in values else True


class not_shown(Combined):  # noqa: N801
    """True unless one of the facts is true: for what must not be shown, rather than be shown not to be."""

    operator = "not_shown"

    def value(self, values: set[bool | None]) -> bool | None:
        """Unknown counts as not shown."""
        return True not in values
