"""Facts about the certificate: who signed it, was it trusted that day, is it for the name, who holds its key."""

from __future__ import annotations

from kzpcap.certificates.names import carries
from kzpcap.certificates.possession import Possession
from kzpcap.certificates.transparency import CERTIFICATE, PRECERTIFICATE, check, embedded, timestamps
from kzpcap.iana import is_tls13
from kzpcap.kept import keep
from kzpcap.observations import Observation
from kzpcap.surroundings import Issued, Surroundings
from kzpcap.verdict.facts.common import NO_CERTIFICATE, chain_frames, no_day
from kzpcap.verdict.facts.senders import dispute
from kzpcap.verdict.features import (
    CHAIN,
    DOUBTED,
    FINISHED,
    IMITATION,
    KNOWN_KEY,
    LISTED_INTERMEDIATE,
    NATIONAL,
    OPEN_END,
    PRIVATE_ROOT,
    PROBLEM,
    PROOF,
    PUBLIC,
    RESUMED,
    SELF_SIGNED,
    SPECIMEN,
    STAMPED,
    SUPPLIED,
    TWINS,
    UNANCHORED,
    needs,
)
from kzpcap.verdict.logic import Finding, answer


@needs(CHAIN)
def certificate_visible(observation: Observation, surroundings: Surroundings) -> Finding:
    """A certificate of the server can be read."""
    del surroundings
    if observation.chain:
        return Finding(True, f"the server's chain of {len(observation.chain)} can be read", chain_frames(observation))
    return Finding(False, "no certificate of the server can be read")


@needs(CHAIN, KNOWN_KEY)
def chain_verified_to_interception_key(observation: Observation, surroundings: Surroundings) -> Finding:
    """A verified path leads from the leaf to a shipped key that is known to intercept."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.interception is None or facts.interception_ca is None or facts.interception_ca.generation is None:
        return Finding(False, "no known interception key signed this chain")
    links = facts.interception.certificates
    if len(links) == 1:
        return Finding(False, "the leaf is the published certificate of a known CA itself: it signed nothing here")
    generation = facts.interception_ca.generation
    names = " <- ".join(f'"{certificate.common_name}"' for certificate in links)
    root = surroundings.chains.known_issuer(links[-1])
    beyond = f', itself signed by "{root.common_name}"' if root else ""
    return Finding(
        True,
        f"signatures verified from the leaf up: {names}{beyond}",
        chain_frames(observation),
        (
            Finding(
                True,
                f'the key of "{facts.interception_ca.certificate.common_name}" is known: {generation.title}'
                + (
                    f", seen intercepting {generation.seen_first} to {generation.seen_last}"
                    if generation.seen_first
                    else ""
                ),
            ),
        ),
    )


@needs(CHAIN, KNOWN_KEY)
def key_seen_intercepting(observation: Observation, surroundings: Surroundings) -> Finding:
    """The known key was itself seen to intercept (else it is known from block lists alone)."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    generation = facts.interception_ca.generation if facts.interception_ca else None
    if generation is None:
        return Finding(False, "no known interception key signed this chain")
    says = "was seen intercepting" if generation.seen_intercepting else "is known from browsers' block lists alone"
    return Finding(generation.seen_intercepting, f"this generation {says}")


@needs(CHAIN, LISTED_INTERMEDIATE)
def leaf_signed_by_known_intermediate(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf is signed by a certificate on the wire whose SHA-1 is that of a known interception intermediate."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.sha1_generation is None:
        return Finding(False, "no intermediate known by its fingerprint signed this leaf")
    return Finding(
        True,
        f"signed by an intermediate on the wire whose SHA-1 is listed: {facts.sha1_generation.title}",
        chain_frames(observation),
    )


@needs(CHAIN, KNOWN_KEY)
def chain_verified_to_supplied_ca(observation: Observation, surroundings: Surroundings) -> Finding:
    """A verified path leads to an interception CA given on the command line."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.interception is None or facts.interception_ca is None or facts.interception_ca.generation is not None:
        return Finding(False, "no supplied interception CA signed this chain")
    if len(facts.interception.certificates) == 1:
        return Finding(False, "the leaf is the supplied CA itself: it signed nothing here")
    names = " <- ".join(f'"{certificate.common_name}"' for certificate in facts.interception.certificates)
    return Finding(
        True, f"signatures verified up to a CA given on the command line: {names}", chain_frames(observation)
    )


@needs(SPECIMEN)
def chain_is_specimen(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf, or that of the handshake that is resumed, is a published certificate or has its key.

    Anyone can replay it.
    """
    full = None if observation.chain else surroundings.full_handshake(observation)
    chain = full.chain if full is not None else observation.chain
    title = surroundings.specimens.get(surroundings.certificates[chain[0]].spki_sha256) if chain else None
    if title is None:
        return Finding(False, "the leaf is no published specimen")
    if full is not None:
        says = f"the leaf of the session that is resumed is {title}: a replay cannot be excluded"
        return Finding(True, says, (full.frame,))
    return Finding(True, f"the leaf is {title}: a replay cannot be excluded", chain_frames(observation))


@needs(CHAIN, IMITATION)
def bears_names_of_known_ca(observation: Observation, surroundings: Surroundings) -> Finding:
    """The chain bears the name or key id of a known interception CA, without a verified signature."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.imitation is None or facts.imitation.fails:
        return Finding(False, "no name or key id of a known interception CA without a signature to check")
    what = "issuer name" if facts.imitation.mark == "issuer_name" else "authority key id"
    known = facts.imitation.ca.certificate.common_name
    return Finding(
        True, f'the {what} is that of "{known}", but its signature cannot be checked', chain_frames(observation)
    )


@needs(CHAIN, IMITATION)
def imitates_known_ca(observation: Observation, surroundings: Surroundings) -> Finding:
    """The chain bears a known CA's name or key id, and the signature is not that key's."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.imitation is None or not facts.imitation.fails:
        return Finding(False, "no failing signature under a known interception CA's name")
    what = "name" if facts.imitation.mark == "issuer_name" else "key id"
    known = facts.imitation.ca.certificate.common_name
    return Finding(
        True, f'the {what} of "{known}", not its key: the signature does not verify', chain_frames(observation)
    )


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


@needs(CHAIN, SELF_SIGNED)
def self_signed(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf signed itself."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not facts.self_signed:
        return Finding(False, "the leaf did not sign itself")
    return Finding(True, f'self-signed by "{facts.leaf.common_name}"', chain_frames(observation))


@needs(CHAIN, OPEN_END)
def issuer_missing(observation: Observation, surroundings: Surroundings) -> Finding:
    """Nobody known signed the last link of the chain."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not observation.chain_complete:
        return Finding(None, "whether the issuer was sent cannot be told: the chain is cut", chain_frames(observation))
    if not facts.issuer_missing or facts.end is None:
        return Finding(False, "the chain ends at a certificate that signed itself")
    return Finding(
        True,
        f'the issuer "{facts.end.issuer_common_name}" is not in the capture and not known',
        chain_frames(observation),
    )


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


@needs(CHAIN, PROBLEM)
def unreadable(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf cannot be parsed."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if not facts.leaf.problem:
        return Finding(False, "the leaf can be parsed")
    return Finding(True, f"the leaf cannot be parsed: {facts.leaf.problem}", chain_frames(observation))


def _proof(observation: Observation) -> str:
    return (
        "CertificateVerify"
        if observation.version is not None and is_tls13(observation.version)
        else "ServerKeyExchange"
    )


@needs(PROOF)
def possession_proved(observation: Observation, surroundings: Surroundings) -> Finding:
    """Whoever answered holds the leaf's key."""
    del surroundings
    frames = (observation.possession_frame,) if observation.possession_frame else ()
    if observation.possession is Possession.PROVED:
        return Finding(True, f"whoever answered holds the leaf's key ({_proof(observation)})", frames)
    if observation.possession is Possession.REFUTED:
        return Finding(False, f"the {_proof(observation)} was not signed with the leaf's key", frames)
    if observation.possession is Possession.NOT_POSSIBLE:
        return Finding(None, "RSA key exchange: the answer is not signed, so possession cannot be shown")
    if observation.possession_frame:
        return Finding(
            None,
            "possession cannot be checked: bytes were not captured, are damaged or came in two versions, "
            "or the algorithm is not known",
            frames,
        )
    return Finding(None, "no ServerKeyExchange to check possession with")


@needs(FINISHED)
def finished_verified(observation: Observation, surroundings: Surroundings) -> Finding:
    """The server's Finished fits the keys: the handshake was captured as both ends saw it."""
    del surroundings
    frames = (observation.finished_frame,) if observation.finished_frame else ()
    if observation.finished_ok is None:
        return Finding(None, "the server's Finished cannot be read")
    if not observation.finished_ok:
        return Finding(False, "the server's Finished does not fit the captured handshake", frames)
    return Finding(True, "the server's Finished fits: the handshake was captured as the server saw it", frames)


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


@needs(CHAIN, UNANCHORED, TWINS)
def resigned_copy(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf is a re-signed copy of a genuine certificate that is in the same capture, or was given."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.public is not None or facts.supplied is not None:
        return Finding(False, "linked to a public root: sites have several certificates, and both may be genuine")
    twins = surroundings.twins_of(facts.leaf)
    found = surroundings.twin(facts)
    if found is not None:
        _, frame, comparison = found
        children = tuple(Finding(True, sentence) for sentence in comparison.sentences())
        says = f"a re-signed copy of the certificate in frame {frame}" if frame else "a re-signed copy of the one given"
        return Finding(True, says, (*chain_frames(observation), *((frame,) if frame else ())), children)
    if twins:
        return Finding(False, "the genuine certificate in the capture is no twin of this one")
    return Finding(None, "no genuine certificate with this subject and these names is in the capture")


@needs(CHAIN, UNANCHORED, TWINS)
def may_be_resigned_copy(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf fits a re-signed copy, whole, and nobody saw who signed it: a public issuer may be missing."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.public is not None or facts.supplied is not None or not observation.chain_complete:
        return Finding(False, "linked to a public root, or cut")
    found = None if surroundings.twin(facts) else surroundings.likeness(facts)
    if found is None:
        return Finding(False, "it does not fit a re-signed copy, or is shown to be one")
    _, frame, comparison = found
    children = tuple(Finding(True, sentence) for sentence in comparison.sentences())
    says = f"it fits a re-signed copy of the certificate {f'in frame {frame}' if frame else 'that was given'}"
    return Finding(True, says, (*chain_frames(observation), *((frame,) if frame else ())), children)


@needs(PROOF)
def possession_refuted(observation: Observation, surroundings: Surroundings) -> Finding:
    """Whoever answered does not hold the leaf's key."""
    found = answer(possession_proved, observation, surroundings)
    return Finding(None if found.value is None else not found.value, found.says, found.frames)


@needs(RESUMED)
def resumes_intercepted_session(observation: Observation, surroundings: Surroundings) -> Finding:
    """The session that is resumed was issued, to this client by this server, behind an interception certificate."""
    if not observation.resumed:
        return Finding(False, "not a resumed session")
    full = surroundings.full_handshake(observation)
    if full is None:
        return Finding(None, "the full handshake of this resumed session is not in the capture")
    if dispute(full.conflicts, full.frame, full.possession, full.finished_ok).value:
        says = "it resumes a session whose full handshake was answered in two versions: which was taken is open"
        return Finding(None, says, (full.frame,))
    intercepted = surroundings.intercepted_sessions.get(full.number)
    if intercepted is None:
        intercepted = _was_intercepted(full, surroundings)
        keep(surroundings.intercepted_sessions, full.number, intercepted)
    if intercepted:
        return Finding(True, "it resumes a session that was issued behind an interception certificate", (full.frame,))
    return Finding(False, "it resumes a session that was not issued behind an interception certificate", (full.frame,))


def _was_intercepted(full: Issued, surroundings: Surroundings) -> bool:
    """Was a full handshake answered by an interceptor that holds the key it showed?"""
    facts = surroundings.facts_of(full.chain, full.time_ns)
    if facts is None or full.possession is Possession.REFUTED:
        return False
    if facts.sha1_generation or (facts.interception is not None and len(facts.interception.certificates) > 1):
        return True
    if facts.public is not None or facts.supplied is not None:
        return False
    listed = facts.leaf.spki_sha256 in surroundings.interception_leaves and full.possession is Possession.PROVED
    return listed or surroundings.twin(facts) is not None
