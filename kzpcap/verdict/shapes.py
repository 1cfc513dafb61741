"""The structural marks of known interception certificates, as far as a chain alone shows them."""

from __future__ import annotations

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.chains import ChainFacts
from kzpcap.kept import by_digest

SCTS, AIA, CRL_POINTS, POLICIES = "1.3.6.1.4.1.11129.2.4.2", "1.3.6.1.5.5.7.1.1", "2.5.29.31", "2.5.29.32"
PUBLIC_EXTENSIONS = frozenset({SCTS, AIA, CRL_POINTS, POLICIES})
"""What every public CA includes in a leaf, in part or whole."""
SERVER_AUTH, CLIENT_AUTH = "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"
LEAF_MARKS = (
    "RSA with the exponent 3",
    "an authority key id that also names issuer and serial",
    "none of the extensions of public CAs (SCTs, authority information access, CRL points, policies)",
    "for servers and for clients",
)
"""Of the forged leaves of July 2019 (FACTS of two published ones)."""


@by_digest(1_024)
def leaf_marks(leaf: Certificate) -> tuple[bool, ...]:
    """Which of `LEAF_MARKS` a leaf has."""
    has = {oid for oid, _ in leaf.extensions}
    purposes = leaf.purposes or ()
    return (
        leaf.exponent == 3,
        leaf.authority_has_issuer,
        bool(has) and has.isdisjoint(PUBLIC_EXTENSIONS),
        SERVER_AUTH in purposes and CLIENT_AUTH in purposes,
    )


HOME = (".kz", ".xn--80ao21a")
"""Where names of Kazakhstan end."""


def shaped_issuer(facts: ChainFacts) -> Certificate | None:
    """The CA for KZ among the issuers that were sent with the marks of the software of 2018 to 2020; None without one.

    The state's lawful authority uses that software too, and signs for sites of the country: so for those the leaf must
    be shaped as a forged one as well.
    """
    for certificate in facts.shown[1:]:
        marked = certificate.is_ca and certificate.authority_has_issuer and "C=KZ" in certificate.subject.split(",")
        if marked and certificate.serial_is_key_hash:
            abroad = any(not name.endswith(HOME) for name in facts.leaf.dns_names)
            return certificate if abroad or all(leaf_marks(facts.leaf)) else None
    return None
