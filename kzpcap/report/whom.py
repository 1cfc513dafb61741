"""By whom, in words: every form in which a report, a case, a page or a receipt says it."""

from __future__ import annotations

from collections.abc import Mapping

from kzpcap.report.text import safe
from kzpcap.verdict.identity import KNOWN, PRODUCT, SUPPLIED, UNKNOWN, parts

SUPPLIED_CA = "a CA given on the command line"


def title(identity: str, titles: Mapping[str, str]) -> str:
    """A noun; a state is named only where a known key was verified.

    `titles` are those of the generations, by id.
    """
    kind, name = parts(identity)
    if kind == KNOWN:
        return titles.get(name, name)
    if kind == PRODUCT:
        return safe(name)
    return {SUPPLIED: SUPPLIED_CA, UNKNOWN: "not known"}.get(kind, safe(identity))


def row(identity: str) -> str:
    """For a table, without the prefix of the id."""
    kind, name = parts(identity)
    return {KNOWN: f"a key of {name}", PRODUCT: f"names of {name}"}.get(kind, identity.replace("_", " "))


def told(identity: str, basis: str, titles: Mapping[str, str]) -> str:
    """A part of a sentence, with its basis: a name alone is none."""
    kind, name = parts(identity)
    if kind == KNOWN:
        return titles.get(name, name)
    if kind == PRODUCT:
        return f"a product, {name}: {basis}"
    return f"{SUPPLIED_CA} ({safe(basis)})" if kind == SUPPLIED else f"unknown: {basis}"


def claimed(identity: str, titles: Mapping[str, str]) -> str:
    """The end of a claim, in fixed words."""
    kind, name = parts(identity)
    if kind == KNOWN:
        return f"with a certificate signed by a key of {titles.get(name, name)}"
    if kind == PRODUCT:
        return f"under the issuer names of a product ({name})"
    return f"with a certificate signed by {SUPPLIED_CA}" if kind == SUPPLIED else "by someone unknown"
