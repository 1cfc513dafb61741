"""Facts of trust: where the chain leads on the capture's day, or why it leads nowhere that is known."""

from __future__ import annotations

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.facts.common import NO_CERTIFICATE, chain_frames, no_day
from kzpcap.verdict.features import (
    CHAIN,
    DOUBTED,
    NATIONAL,
    OPEN_END,
    PRIVATE_ROOT,
    PUBLIC,
    SELF_SIGNED,
    SUPPLIED,
    needs,
)
from kzpcap.verdict.logic import Finding


@needs(CHAIN, PUBLIC)
def publicly_trusted(observation: Observation, surroundings: Surroundings) -> Finding:
    """A verified path leads to a root that was in the public bundle on the capture's day."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not surroundings.moment(observation.time_ns):
        return no_day(surroundings)
    if facts.standing is None or facts.public is None:
        return Finding(
            False, "linked to no root of any public bundle that kzpcap ships (Mozilla's: other stores keep more)"
        )
    anchor = facts.public.anchor.common_name or facts.public.anchor.subject
    if facts.unfit:
        return Finding(False, f'linked to "{anchor}", by a path that may not serve TLS: {facts.unfit}')
    if facts.disputed:
        return Finding(False, f'linked to "{anchor}", whose trust was disputed: {facts.disputed}')
    if not facts.standing.trusted:
        return Finding(False, f'linked to "{anchor}", which was not in the bundle of {facts.standing.release}')
    return Finding(
        True,
        f'linked by signatures to "{anchor}", in the certifi bundle of {facts.standing.release}',
        chain_frames(observation),
    )


@needs(CHAIN, SUPPLIED)
def trusted_by_supplied_anchor(observation: Observation, surroundings: Surroundings) -> Finding:
    """A verified path leads to a trust anchor given on the command line."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.supplied is None:
        return Finding(False, "linked to no trust anchor given on the command line")
    anchor = facts.supplied.anchor.common_name or facts.supplied.anchor.subject
    return Finding(True, f'linked by signatures to the supplied trust anchor "{anchor}"', chain_frames(observation))


@needs(CHAIN, DOUBTED)
def path_unfit_for_tls(observation: Observation, surroundings: Surroundings) -> Finding:
    """The path leads to a public root by a certificate that may not stand in a TLS server's chain."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not facts.unfit:
        return Finding(False, "no path to a public root that may not serve TLS")
    return Finding(True, facts.unfit, chain_frames(observation))


@needs(CHAIN, DOUBTED)
def trust_disputed(observation: Observation, surroundings: Surroundings) -> Finding:
    """The bundle of the day does not settle it: part of the root's certificates, or the root soon after or before."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not surroundings.moment(observation.time_ns):
        return no_day(surroundings)
    if facts.public is None or facts.standing is None or not facts.disputed:
        return Finding(False, "the bundle of that day settles it")
    anchor = facts.public.anchor.common_name or facts.public.anchor.subject
    return Finding(True, f'linked by signatures to "{anchor}": {facts.disputed}', chain_frames(observation))


@needs(CHAIN, DOUBTED)
def root_public_at_another_time(observation: Observation, surroundings: Surroundings) -> Finding:
    """The chain ends at a root that was public at some time, but not on the capture's day."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not surroundings.moment(observation.time_ns):
        return no_day(surroundings)
    if facts.public is None or facts.standing is None or facts.trusted or facts.disputed or facts.unfit:
        return Finding(False, "not a root that was public at another time")
    until = f"to {facts.standing.last}" if facts.standing.last else "to this day"
    anchor = facts.public.anchor.common_name or facts.public.anchor.subject
    return Finding(
        True, f'linked to "{anchor}", in the bundles from {facts.standing.first} {until}', chain_frames(observation)
    )


@needs(CHAIN)
def within_dates(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf was within its dates on the day by which it is judged."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not surroundings.moment(observation.time_ns):
        return no_day(surroundings)
    when = facts.within_dates(surroundings.moment(observation.time_ns))
    if when == "valid":
        return Finding(True, "within its dates on that day", chain_frames(observation))
    return Finding(
        False, "expired by that day" if when == "expired" else "not yet valid on that day", chain_frames(observation)
    )


@needs(CHAIN, NATIONAL)
def signed_by_national_ca(observation: Observation, surroundings: Surroundings) -> Finding:
    """The chain ends at a national CA that is in lawful use."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.national is None:
        return Finding(False, "not signed by a listed national CA")
    return Finding(True, f"signed by {facts.national.title}, a national CA", chain_frames(observation))


@needs(CHAIN, NATIONAL)
def signed_abroad_by_national_ca(observation: Observation, surroundings: Surroundings) -> Finding:
    """A national CA signed for a listed name that is not of its country."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.national is None or not facts.national.home:
        return Finding(False, "not signed by a national CA whose country's names are told")
    name = observation.server_name or ""
    if observation.target is None or not observation.target.exact or name.endswith(facts.national.home):
        return Finding(False, "the name is not listed, or is one of that country")
    says = f"signed by {facts.national.title}, for a listed name of another country"
    return Finding(True, says, chain_frames(observation))


@needs(CHAIN, SELF_SIGNED)
def self_signed(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf signed itself."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not facts.self_signed:
        return Finding(False, "the leaf did not sign itself")
    name = facts.leaf.common_name or facts.leaf.subject or "(no name)"
    return Finding(True, f'self-signed by "{name}"', chain_frames(observation))


@needs(CHAIN, OPEN_END)
def issuer_missing(observation: Observation, surroundings: Surroundings) -> Finding:
    """Nobody known signed the last link of the chain."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not observation.chain_complete:
        return Finding(None, "whether the issuer was sent cannot be told: the chain is cut", chain_frames(observation))
    if not facts.issuer_missing or facts.last_shown is None or facts.end is None:
        return Finding(False, "the chain ends at a certificate that signed itself")
    issuer = facts.last_shown.issuer_common_name or facts.last_shown.issuer
    if facts.gap == "refused":
        says = f'"{issuer}" signed it, by a path that RFC 5280 refuses: a link that may sign none, or too many of them'
    elif facts.gap == "unchecked":
        says = f'whether "{issuer}" signed it cannot be checked: its kind of key or of signature is not known here'
    elif facts.end is not facts.last_shown:
        says = f'the issuer "{issuer}" was not sent; another connection shows it, and who signed it is not known'
    else:
        says = f'the issuer "{issuer}" is not in the capture and not known'
    return Finding(True, says, chain_frames(observation))


@needs(CHAIN, PRIVATE_ROOT)
def private_root(observation: Observation, surroundings: Surroundings) -> Finding:
    """The chain ends at a root that was never public."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not observation.chain_complete:
        return Finding(None, "the chain is cut", chain_frames(observation))
    if (
        facts.public is not None
        or facts.supplied is not None
        or facts.issuer_missing
        or facts.self_signed
        or not facts.end
    ):
        return Finding(False, "not a chain to a private root")
    return Finding(True, f'signed by the private root "{facts.end.common_name}"', chain_frames(observation))
