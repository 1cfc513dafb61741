"""Facts about the shape of certificates, and about names of products: each weak alone, none of them a signature."""

from __future__ import annotations

from kzpcap.certificates.chains import ChainFacts
from kzpcap.observations import Observation
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.facts.common import NO_CERTIFICATE, chain_frames
from kzpcap.verdict.features import CHAIN, LISTED_LEAF, MISISSUED, PRODUCT, SHAPED_ISSUER, UNANCHORED, needs
from kzpcap.verdict.logic import Finding
from kzpcap.verdict.shapes import LEAF_MARKS, leaf_marks, shaped_issuer


def _private(observation: Observation, surroundings: Surroundings) -> ChainFacts | None:
    """The facts of the chain, where nobody known signed it and its server is on no private network."""
    facts = surroundings.chain_facts(observation)
    if facts is None or facts.public is not None or facts.supplied is not None or facts.leaf.problem:
        return None
    if facts.national is not None or facts.self_signed or observation.on_private_network:
        return None
    return facts


@needs(CHAIN, UNANCHORED)
def leaf_shaped_as_in_2019(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf has every structural mark of the forged leaves of July 2019 (FACTS of two published ones).

    Leaves of stock sslsplit 0.5.5 have them all (captures/lab-sslsplit): they are a family of software's, no state's.
    """
    if not observation.chain:
        return NO_CERTIFICATE
    facts = _private(observation, surroundings)
    if facts is None:
        return Finding(False, "signed by somebody known or by itself, unreadable, or of a private network")
    marks = leaf_marks(facts.leaf)
    if all(marks):
        says = (
            "the leaf has every structural mark of the forged leaves of July 2019, as leaves of ordinary software"
            " (sslsplit) have: they point to that family of software, to no state"
        )
        children = tuple(Finding(True, mark) for mark in LEAF_MARKS)
        return Finding(True, says, chain_frames(observation), children)
    return Finding(False, f"{sum(marks)} of {len(marks)} structural marks of the forged leaves of July 2019")


@needs(CHAIN, UNANCHORED, SHAPED_ISSUER)
def issuer_shaped_as_in_2018_to_2020(observation: Observation, surroundings: Surroundings) -> Finding:
    """A CA for KZ that signed, verified, has the marks of the software of the interception CAs of 2018 to 2020.

    And it signed for a site abroad, or a leaf that is itself shaped as a forged one (verdict/shapes.py).
    """
    if not observation.chain:
        return NO_CERTIFICATE
    facts = _private(observation, surroundings)
    issuer = shaped_issuer(facts) if facts else None
    if issuer is not None:
        children = (
            Finding(True, "its subject says C=KZ"),
            Finding(True, "its serial is the SHA-1 of its key, the top bit cleared"),
            Finding(True, "its authority key id also names issuer and serial"),
        )
        says = f'"{issuer.common_name}" has the structural marks of the interception CAs of 2018 to 2020'
        return Finding(True, says, chain_frames(observation), children)
    return Finding(False, "no CA with the structural marks of the interception CAs of 2018 to 2020")


@needs(CHAIN, PRODUCT)
def signed_as_product(observation: Observation, surroundings: Surroundings) -> Finding:
    """The issuer bears the names of a product that re-signs connections by design; names prove nothing."""
    facts = surroundings.chain_facts(observation)
    if facts is None:
        return NO_CERTIFICATE
    if facts.product is None:
        return Finding(False, "its issuer has the names of no product that is listed")
    if observation.on_private_network:
        return Finding(False, "a server on the user's own network: a product's own page bears its names too")
    kind = "runs on the user's own device" if facts.product.local else "is a company's or provider's gateway"
    says = f"its issuer has the names of {facts.product.title}, which {kind}; names prove nothing"
    return Finding(True, says, chain_frames(observation))


@needs(CHAIN, MISISSUED)
def misissued(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf bears serial and issuer of a certificate that a public CA issued to somebody else than the site."""
    if not observation.chain:
        return NO_CERTIFICATE
    leaf = surroundings.certificates[observation.chain[0]]
    title = surroundings.chains.reference.misissued.get((leaf.serial, leaf.issuer_common_name))
    if title is None:
        return Finding(False, "not the serial and issuer of a certificate that is known as mis-issued")
    return Finding(True, f"it bears serial and issuer of {title}", chain_frames(observation))


@needs(CHAIN, LISTED_LEAF)
def leaf_seen_intercepting(observation: Observation, surroundings: Surroundings) -> Finding:
    """The leaf's key is one that was itself seen intercepting (no CA is known for it)."""
    if not observation.chain:
        return NO_CERTIFICATE
    leaf = surroundings.certificates[observation.chain[0]]
    generation = surroundings.interception_leaves.get(leaf.spki_sha256)
    if generation is None:
        return Finding(False, "not a leaf that was itself seen intercepting")
    return Finding(True, f"the leaf's key was seen intercepting: {generation.title}", chain_frames(observation))
