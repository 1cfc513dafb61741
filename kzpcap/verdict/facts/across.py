"""Facts across connections: who signs for whom, which keys serve several names, which certificates change."""

from __future__ import annotations

from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.facts.common import NO_CERTIFICATE, chain_frames
from kzpcap.verdict.features import (
    CHAIN,
    LISTED,
    NAME_TRUSTED,
    NOT_PUBLIC,
    PRIVATE_ISSUER,
    SHARED_ISSUER,
    SHARED_KEY,
    UNANCHORED,
    needs,
)
from kzpcap.verdict.logic import Finding

NEEDED_TARGETS = 2
MAX_FRAMES = 6


@needs(CHAIN, SHARED_KEY)
def one_key_for_several_names(observation: Observation, surroundings: Surroundings) -> Finding:
    """Certificates of different names, linked to no public root, have one and the same key."""
    if not observation.chain:
        return NO_CERTIFICATE
    leaf = surroundings.certificates[observation.chain[0]]
    use = surroundings.keys.get(leaf.spki_sha256)
    if use is None or not use.shared_key:
        return Finding(False, "no other certificate here has this key")
    more = f", and {len(use.names) - 3} more" if len(use.names) > 3 else ""
    names = ", ".join(sorted(use.names)[:3]) + more
    says = f"one key in {len(use.leaves)} certificates for {len(use.names)} names ({names})"
    return Finding(True, says, tuple(use.frames[:MAX_FRAMES]))


@needs(CHAIN, UNANCHORED, SHARED_ISSUER)
def one_issuer_for_several_servers(observation: Observation, surroundings: Surroundings) -> Finding:
    """Servers with different names have certificates by one issuer that no public root knows."""
    use = surroundings.issuer_of(observation)
    if use is None or not use.shared_issuer:
        return Finding(False, "no other server here has a certificate by this issuer")
    what = "one private issuer" if use.verified else "issuers of one name and key id"
    says = f'{what}, "{use.title}", for {len(use.names)} names at {len(use.servers)} servers'
    return Finding(True, says, tuple(use.frames[:MAX_FRAMES]))


@needs(CHAIN, UNANCHORED, PRIVATE_ISSUER, LISTED)
def issuer_for_targets_only(observation: Observation, surroundings: Surroundings) -> Finding:
    """A private issuer signs for several listed names and for no other, while other names get public chains."""
    use = surroundings.issuer_of(observation)
    if use is None:
        return Finding(False, "not by a private issuer")
    if not use.verified or not observation.chain_complete:
        return Finding(None, "its issuer was never seen: a public one may be missing")
    if observation.on_private_network:
        return Finding(False, "a server on the user's own network")
    if observation.target is None or not observation.target.exact:
        return Finding(False, "the name asked is on no list")
    if use.others or len(use.target_names) < NEEDED_TARGETS:
        return Finding(False, f"its issuer signs for {len(use.target_names)} listed and {len(use.others)} other names")
    others = surroundings.attempts.trusted_others(observation)
    if len(others) < NEEDED_TARGETS:
        return Finding(None, "too few other names with public chains to compare with", tuple(use.frames[:MAX_FRAMES]))
    says = (
        f'"{use.title}" signs for {len(use.target_names)} listed names and for no other; other names got public chains'
    )
    return Finding(True, says, (*use.frames[:3], *others[:3]))


@needs(CHAIN, NOT_PUBLIC, NAME_TRUSTED)
def certificate_changes_for_name(observation: Observation, surroundings: Surroundings) -> Finding:
    """The same name was answered with a public chain at another time, and with this one now."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.trusted or facts.disputed:
        return Finding(False, "this chain is the public one")
    frame = surroundings.trusted_frame(observation.server_name)
    if frame is None:
        return Finding(False, "no public chain for this name is in the capture")
    says = f"{observation.server_name} was answered with a trusted chain too"
    return Finding(True, says, (*chain_frames(observation), frame))
