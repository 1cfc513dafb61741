"""Apply every rule to a connection: the first that holds decides, the others are kept."""

from __future__ import annotations

from dataclasses import dataclass

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.logic import Finding
from kzpcap.verdict.rules import NOTHING, REMARKS, RULES, Rule, State


@dataclass(frozen=True, slots=True)
class Interceptor:
    """By whom: known_generation:<id>, supplied_ca or unknown; and on what basis."""

    identity: str
    basis: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where: volunteer_side, beyond_first_public_hop, edge, at_destination or unknown; exact or a bound."""

    where: str
    bound: str | None
    basis: str


NOWHERE = Place("unknown", None, "no TTL ladder to this server and name in the capture")


@dataclass(frozen=True, slots=True)
class Verdict:
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


def judge(observation: Observation, surroundings: Surroundings) -> Verdict:
    """The verdict on one connection."""
    decided: Rule | None = None
    evidence = Finding(True, "no rule applies")
    also: list[str] = []
    unsettled: list[str] = []
    for rule in RULES:
        found = rule.when(observation, surroundings)
        if found.value:
            if decided is None:
                decided, evidence = rule, found
            else:
                also.append(rule.id)
        elif found.value is None and decided is None and rule.state is not State.UNDETERMINED:
            unsettled.append(rule.id)
    rule = decided or NOTHING
    remarks = tuple(found for fact in REMARKS if (found := fact(observation, surroundings)).value)
    return Verdict(
        rule.state,
        rule,
        evidence,
        tuple(also),
        tuple(unsettled),
        remarks,
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
