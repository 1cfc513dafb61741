"""The verdict on a connection: the first rule that holds decides, the others are kept (plans.py asks them)."""

from __future__ import annotations

from typing import NamedTuple

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.features import features_of
from kzpcap.verdict.identity import SUPPLIED, UNKNOWN, known, product
from kzpcap.verdict.logic import Finding, answer
from kzpcap.verdict.plans import outcome, plan_for
from kzpcap.verdict.rules import NOTHING, Rule, State


class Interceptor(NamedTuple):
    """By whom (identity.py), and on what basis."""

    identity: str
    basis: str


class Place(NamedTuple):
    """Where: volunteer_side, beyond_first_public_hop, edge, at_destination or unknown; exact or a bound."""

    where: str
    bound: str | None
    basis: str


NO_RULE = Finding(True, "no rule applies")
NOWHERE = Place("unknown", None, "no TTL ladder in the capture speaks of this connection")


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


def judge(observation: Observation, surroundings: Surroundings) -> Verdict:
    """The verdict on one connection."""
    todo = plan_for(features_of(observation, surroundings), observation, surroundings)
    rule, also, unsettled, remarks = outcome(observation, surroundings, todo)
    return Verdict(
        rule.state,
        rule,
        NO_RULE if rule is NOTHING else rule.when(observation, surroundings),
        also,
        unsettled,
        tuple([answer(fact, observation, surroundings) for fact in remarks]),
        _interceptor(rule, observation, surroundings),
        NOWHERE,
    )


def _interceptor(rule: Rule, observation: Observation, surroundings: Surroundings) -> Interceptor | None:
    """A generation is named only where its key signed, verified."""
    if rule.state not in (State.INTERCEPTED, State.SUSPECTED):
        return None
    facts = surroundings.chain_facts(observation)
    resumes = rule.id == "resumes-intercepted-session"
    if resumes:
        full = surroundings.full_handshake(observation)
        facts = surroundings.facts_of(full.chain, full.time_ns) if full else None
    if facts and rule.state is State.INTERCEPTED:
        if facts.interception_ca and facts.interception_ca.generation:
            generation = facts.interception_ca.generation
            return Interceptor(known(generation.id), f"signature verified with the key of {generation.title}")
        if facts.sha1_generation:
            generation = facts.sha1_generation
            return Interceptor(known(generation.id), f"signed by an intermediate listed for {generation.title}")
        if facts.interception_ca:
            name = facts.interception_ca.certificate.common_name
            return Interceptor(SUPPLIED, f'signature verified with the supplied CA "{name}"')
        leaf = surroundings.interception_leaves.get(facts.leaf.spki_sha256)
        if leaf is not None and (resumes or rule.id == "known-interception-leaf"):
            return Interceptor(known(leaf.id), f"possession of the leaf's key of {leaf.title}")
    if facts and facts.product and (resumes or rule.id in ("resigned-by-product", "product-by-issuer-names")):
        return Interceptor(
            product(facts.product.id), f"the issuer's names are those of {facts.product.title}; names prove nothing"
        )
    if rule.id == "resigned-copy-of-genuine-certificate" or (resumes and facts):
        return Interceptor(UNKNOWN, "a copy shows that it was re-signed, never by whom")
    if not observation.chain:
        return Interceptor(UNKNOWN, "the certificate cannot be read")
    if rule.id == "interception-chain-in-dispute":
        return Interceptor(UNKNOWN, "the answer came in two versions: which one the client took is open")
    if facts and facts.imitation:
        return Interceptor(UNKNOWN, "names of a known CA prove nothing about who holds the key")
    return Interceptor(UNKNOWN, "no verified signature by a known key")
