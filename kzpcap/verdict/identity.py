"""By whom: the ids under which reports name an interceptor, and their kinds.

`known_generation:<id>` is a key of the system's, verified; `product:<id>` a product whose issuer names a certificate
bears, which prove nothing; `supplied_ca` a CA given on the command line; `unknown` everything else.
"""

from __future__ import annotations

KNOWN, PRODUCT = "known_generation", "product"
"""Kinds that a name follows, behind a colon."""
SUPPLIED, UNKNOWN = "supplied_ca", "unknown"


def known(generation: str) -> str:
    """The identity of a generation whose key was verified."""
    return f"{KNOWN}:{generation}"


def product(name: str) -> str:
    """The identity of a product, by the names that it puts into its certificates."""
    return f"{PRODUCT}:{name}"


def parts(identity: str) -> tuple[str, str]:
    """Its kind, and the id that follows (empty where none does)."""
    kind, _, name = identity.partition(":")
    return kind, name


def is_known(identity: str) -> bool:
    """Does a verified key of the system's stand behind it?"""
    return parts(identity)[0] == KNOWN


def is_product(identity: str) -> bool:
    """Is it told by a product's names alone?"""
    return parts(identity)[0] == PRODUCT
