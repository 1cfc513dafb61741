"""Apply every rule to a connection: the first that holds decides, the others are kept.

Most rules are settled by what a connection has not (features.py), alike for all connections with the same features: a
`Plan` is what is left to ask of them. Nothing is left out by it; the evidence of what is told is always asked for.
"""

from __future__ import annotations

from typing import NamedTuple

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.features import NEEDS, features_of
from kzpcap.verdict.logic import Combined, Fact, Finding, all_of
from kzpcap.verdict.rules import NOTHING, REMARKS, RULES, Rule, State


class Interceptor(NamedTuple):
    """By whom: known_generation:<id>, supplied_ca or unknown; and on what basis."""

    identity: str
    basis: str


class Place(NamedTuple):
    """Where: volunteer_side, beyond_first_public_hop, edge, at_destination or unknown; exact or a bound."""

    where: str
    bound: str | None
    basis: str


MAX_PLANS = 1_024
NOWHERE = Place("unknown", None, "no TTL ladder to this server and name in the capture")


class Verdict(NamedTuple):
    """The three answers for one connection, with their reasons."""

    state: State
    rule: Rule
    evidence: Finding
    also: tuple[str, ...]
    """Ids of further rules that hold."""
    unsettled: tuple[str, ...]
    """Ids of rules stronger than the deciding one that the capture cannot settle."""
    remarks: tuple[Finding, ...]
    interceptor: Interceptor | None
    place: Place


class Plan(NamedTuple):
    """What to ask of connections with the same features."""

    answers: dict[Fact, Finding]
    """What is the same for all of them."""
    rules: tuple[tuple[Rule, bool], ...]
    """Those that may hold or stay unsettled, in order; true where nothing but unknown can come of one."""
    remarks: tuple[Fact, ...]


def plan(observation: Observation, surroundings: Surroundings, features: int) -> Plan:
    """The plan for all connections with the features of this one."""
    settled: dict[Fact, Finding] = {}
    surroundings.answers_for, surroundings.answers = observation, settled
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
    return Plan(dict(settled), tuple(rules), remarks)


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


def judge(observation: Observation, surroundings: Surroundings) -> Verdict:
    """The verdict on one connection."""
    features = features_of(observation, surroundings)
    todo = surroundings.plans.get(features)
    if todo is None:
        if len(surroundings.plans) >= MAX_PLANS:
            surroundings.plans.clear()
        todo = surroundings.plans[features] = plan(observation, surroundings, features)
    known = dict(todo.answers)
    surroundings.answers_for, surroundings.answers = observation, known
    decided: Rule | None = None
    evidence = Finding(True, "no rule applies")
    also: list[str] = []
    unsettled: list[str] = []
    for rule, unknown in todo.rules:
        found = rule.when(observation, surroundings) if not unknown else None
        if found is not None and found.value:
            if decided is None:
                decided, evidence = rule, found
            else:
                also.append(rule.id)
        elif (found is None or found.value is None) and decided is None and rule.state is not State.UNDETERMINED:
            unsettled.append(rule.id)
    rule = decided or NOTHING
    remarks = []
    for fact in todo.remarks:
        remark = known.get(fact) or fact(observation, surroundings)
        if remark.value:
            remarks.append(remark)
    return Verdict(
        rule.state,
        rule,
        evidence,
        tuple(also),
        tuple(unsettled),
        tuple(remarks),
        _interceptor(rule, observation, surroundings),
        NOWHERE,
    )


def _interceptor(rule: Rule, observation: Observation, surroundings: Surroundings) -> Interceptor | None:
    """A generation is named only where its key signed, verified."""
    if rule.state not in (State.INTERCEPTED, State.SUSPECTED):
        return None
    facts = surroundings.chain_facts(observation)
    if rule.id == "resumes-intercepted-session":
        full = surroundings.full_handshake(observation)
        facts = surroundings.facts_of(full.chain, full.time_ns) if full else None
    if rule.id == "known-interception-leaf":
        generation = surroundings.interception_leaves[surroundings.certificates[observation.chain[0]].spki_sha256]
        return Interceptor(f"known_generation:{generation.id}", f"possession of the leaf's key of {generation.title}")
    if facts and rule.state is State.INTERCEPTED:
        if facts.interception_ca and facts.interception_ca.generation:
            generation = facts.interception_ca.generation
            return Interceptor(
                f"known_generation:{generation.id}", f"signature verified with the key of {generation.title}"
            )
        if facts.sha1_generation:
            generation = facts.sha1_generation
            return Interceptor(
                f"known_generation:{generation.id}", f"signed by an intermediate listed for {generation.title}"
            )
        if facts.interception_ca:
            name = facts.interception_ca.certificate.common_name
            return Interceptor("supplied_ca", f'signature verified with the supplied CA "{name}"')
    if facts and facts.product and rule.id in ("resigned-by-product", "product-by-issuer-names"):
        return Interceptor(
            f"product:{facts.product.id}", f"the issuer's names are those of {facts.product.title}; names prove nothing"
        )
    if rule.id == "resigned-copy-of-genuine-certificate":
        return Interceptor("unknown", "a copy shows that it was re-signed, never by whom")
    if not observation.chain:
        return Interceptor("unknown", "the certificate cannot be read")
    if facts and facts.imitation:
        return Interceptor("unknown", "names of a known CA prove nothing about who holds the key")
    return Interceptor("unknown", "no verified signature by a known key")
