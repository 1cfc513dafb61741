"""Facts of interception: a key of an interception CA, its names alone, a published specimen, a re-signed copy."""

from __future__ import annotations

from kzpcap.certificates.possession import Possession
from kzpcap.kept import keep
from kzpcap.observations import Observation
from kzpcap.surroundings import Issued, Surroundings
from kzpcap.verdict.facts.common import NO_CERTIFICATE, chain_frames
from kzpcap.verdict.facts.senders import dispute
from kzpcap.verdict.features import (
    CHAIN,
    IMITATION,
    KNOWN_KEY,
    LISTED_INTERMEDIATE,
    RESUMED,
    SPECIMEN,
    TWINS,
    UNANCHORED,
    needs,
)
from kzpcap.verdict.logic import Finding


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
                + (f", seen intercepting {generation.seen}" if generation.seen else ""),
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


@needs(CHAIN)
def site_of_the_ca_itself(observation: Observation, surroundings: Surroundings) -> Finding:
    """The name asked for is a web site of the authority whose key, fingerprint or names the chain bears."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    bearing = facts.interception_ca or (facts.imitation.ca if facts.imitation else None)
    generation = facts.sha1_generation or (bearing.generation if bearing else None)
    if generation is None or not generation.owns(observation.server_name):
        return Finding(False, "the name asked for is no site of a known interception CA's own")
    return Finding(
        True,
        f"{observation.server_name} is a web site of the authority itself ({generation.title})",
        (observation.hello_first_frame,),
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
    if facts.imitation.signed:
        says = f'the key of "{known}" signed a certificate in the chain, which may itself sign none'
        return Finding(True, says, chain_frames(observation))
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
    """The leaf fits a re-signed copy, and an honest second certificate of the site as well."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.public is not None or facts.supplied is not None or not observation.chain_complete:
        return Finding(False, "linked to a public root, or cut")
    if observation.on_private_network:
        return Finding(False, "at a private address a site may have a certificate of its own CA")
    found = None if surroundings.twin(facts) else surroundings.likeness(facts)
    if found is None:
        return Finding(False, "it does not fit a re-signed copy, or is shown to be one")
    _, frame, comparison = found
    children = tuple(Finding(True, sentence) for sentence in comparison.sentences())
    says = f"it fits a re-signed copy of the certificate {f'in frame {frame}' if frame else 'that was given'}"
    return Finding(True, says, (*chain_frames(observation), *((frame,) if frame else ())), children)


@needs(RESUMED)
def resumes_intercepted_session(observation: Observation, surroundings: Surroundings) -> Finding:
    """The session that is resumed was issued, to this client, behind an interception certificate."""
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
    if facts.leaf.spki_sha256 in surroundings.interception_leaves and full.possession is Possession.PROVED:
        return True
    if surroundings.twin(facts) is not None:
        return True
    # As with resigned-by-product: names of a product on its own page, or over a part of a chain, say nothing.
    named = facts.product is not None and full.chain_complete and not full.on_private_network
    return named and surroundings.likeness(facts) is not None
