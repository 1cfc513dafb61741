"""A second judgement: what other captures of a case say of a connection that its own could not settle.

It may raise a state, never lower one, and speaks only of chains that are linked to no public root. Rules, in order:

- `resigned-copy-of-certificate-in-another-capture` (intercepted): the leaf is a re-signed copy of a genuine one, by the
  same comparison as within one capture.
- `one-private-issuer-in-several-networks` (suspected): one private key signed for listed names in three networks, by
  verified signatures, under no product's names. Antivirus programs make a key for each computer; a company has its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.linkage import signed_by
from kzpcap.certificates.resigned import compare
from kzpcap.verdict.rules import State

COPY = "resigned-copy-of-certificate-in-another-capture"
ISSUER = "one-private-issuer-in-several-networks"
SAYS = {
    COPY: "The certificate is a re-signed copy of the genuine one, which is in another capture of the case.",
    ISSUER: "One private issuer signs for listed names in several networks of the case.",
}
OPEN_RULES = frozenset({
    "private-root",
    "issuer-missing",
    "self-signed",
    "structural-marks",
    "may-be-resigned-copy",
    "private-issuer-for-targets-only",
    "imitates-known-interception-ca",
    "bears-names-of-known-interception-ca",
    "product-by-issuer-names",
})  # fmt: skip
"""Rules that decided where the chain was seen, leads to no public root, and nothing settled it."""
NETWORKS = 3


class Second(NamedTuple):
    """What the case says beside the capture: the state, the rule, why; `beside` is what it was compared with."""

    state: State
    rule_id: str
    why: tuple[str, ...]
    beside: str | None
    """SHA-256 of the genuine certificate, of a copy."""


def is_open(state: str, rule_id: str) -> bool:
    """May other captures say more of a connection with this state and rule?"""
    return state in (State.SUSPECTED.value, State.UNDETERMINED.value) and rule_id in OPEN_RULES


def copied(chain: tuple[Certificate, ...], genuine: Iterable[Certificate]) -> Second | None:
    """The second judgement on a chain beside genuine leaves of other captures with its subject and names."""
    leaf = chain[0]
    issuers = chain[1:] or (leaf,)
    issuer_seen = any(signed_by(leaf, issuer) for issuer in issuers)
    for certificate in genuine:
        comparison = compare(leaf, certificate)
        if certificate.sha256 != leaf.sha256 and comparison.is_copy(issuer_seen):
            return Second(State.INTERCEPTED, COPY, tuple(comparison.sentences()), certificate.sha256)
    return None


def shared_issuer(networks: int, names: int, captures: int) -> Second | None:
    """The second judgement on a chain whose private issuer was seen in so many networks, for so many listed names."""
    if networks < NETWORKS:
        return None
    why = (
        f"its key signed for {names} listed name{'' if names == 1 else 's'} in {networks} networks, {captures} captures"
    )
    return Second(State.SUSPECTED, ISSUER, (why,), None)
