"""Facts of the certificate itself: can it be read, is it for the name, was it logged?"""

from __future__ import annotations

from kzpcap.certificates.names import carries
from kzpcap.certificates.transparency import CERTIFICATE, PRECERTIFICATE, check, embedded, timestamps
from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.facts.common import NO_CERTIFICATE, chain_frames
from kzpcap.verdict.features import CHAIN, PROBLEM, STAMPED, needs
from kzpcap.verdict.logic import Finding, answer


@needs(CHAIN)
def certificate_visible(observation: Observation, surroundings: Surroundings) -> Finding:
    """A certificate of the server can be read."""
    del surroundings
    if observation.chain:
        return Finding(True, f"the server's chain of {len(observation.chain)} can be read", chain_frames(observation))
    return Finding(False, "no certificate of the server can be read")


@needs(CHAIN)
def name_matches(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf carries the name that the client asked for."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if observation.server_name is None:
        return Finding(None, "the name that was asked for is not in the capture")
    if carries(facts.leaf, observation.server_name):
        return Finding(
            True, f"the certificate is for the name asked, {observation.server_name}", chain_frames(observation)
        )
    other = next((name for name in observation.other_names if carries(facts.leaf, name)), None)
    if other is not None:
        says = f"the certificate is for {other}, which the client asked for too"
        return Finding(True, says, chain_frames(observation))
    if facts.leaf.problem:
        return Finding(None, "the certificate's names cannot be read", chain_frames(observation))
    if observation.ech_inner_unknown:
        return Finding(None, f"the name asked is encrypted behind {observation.server_name}", chain_frames(observation))
    listed = ", ".join(facts.leaf.dns_names[:3]) or facts.leaf.common_name or "no name"
    return Finding(
        False, f"the certificate is not for {observation.server_name}: it has {listed}", chain_frames(observation)
    )


@needs(CHAIN)
def certificate_for_another_name(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf does not carry the name asked (a forger may copy the names of the server's own certificate)."""
    found = answer(name_matches, observation, surroundings)
    return Finding(None if found.value is None else not found.value, found.says, found.frames)


@needs(CHAIN, PROBLEM)
def unreadable(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf cannot be parsed."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not facts.leaf.problem:
        return Finding(False, "the leaf can be parsed")
    return Finding(True, f"the leaf cannot be parsed: {facts.leaf.problem}", chain_frames(observation))


@needs(CHAIN, STAMPED)
def certificate_logged(observation: Observation, surroundings: Surroundings) -> Finding:
    """Logs of Certificate Transparency signed that they had seen the certificate; asked where it matters.

    Names on no list with public chains are passed over: their timestamps are checked by `kzpcap certificates`.
    """
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.trusted and observation.target is None:
        return Finding(None, "not asked of public chains for names on no list")
    path = facts.public or facts.supplied
    issuer = path.certificates[1] if path and len(path.certificates) > 1 else None
    logs = surroundings.chains.reference.ct_logs
    stapled = observation.staple.timestamps if observation.staple else b""
    found = check(embedded(facts.leaf), facts.leaf, issuer, PRECERTIFICATE, logs)
    for listed in (observation.timestamps, stapled):
        found += check(timestamps(listed), facts.leaf, issuer, CERTIFICATE, logs)
    if not found:
        return Finding(False, "no timestamp of a Certificate Transparency log came with the certificate")
    verified = [one for one in found if one.verified]
    names = sorted({one.log or "" for one in verified})
    if not verified:
        return Finding(None, f"{len(found)} timestamps, none of which can be verified with the logs that are listed")
    says = f"public logs took it in: {len(verified)} of {len(found)} timestamps verified ({', '.join(names[:3])})"
    return Finding(True, says, chain_frames(observation))
