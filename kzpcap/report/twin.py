"""A certificate beside its genuine twin: for the report, and side by side for a reader at a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.resigned import EXTENSION_NAMES
from kzpcap.observations import Observation
from kzpcap.report.text import WIDTH, day_and_time, safe
from kzpcap.surroundings import Surroundings

COLUMN = (WIDTH - 14) // 2
MAX_ROWS = 6
AUTHORITY_KEY_ID = "2.5.29.35"


def document(observation: Observation, surroundings: Surroundings) -> dict[str, Any] | None:
    """The `twin` of a connection: the genuine certificate its leaf was copied from; None where none is known."""
    found = _twin(observation, surroundings)
    if found is None:
        return None
    genuine, frame, comparison = found
    return {"sha256": genuine.sha256, "frame": frame or None, "given": not frame, **comparison.document()}


def _twin(observation: Observation, surroundings: Surroundings) -> Any:
    facts = surroundings.chain_facts(observation)
    if facts is None or facts.public is not None or facts.supplied is not None:
        return None
    return surroundings.twin(facts)


def show(observation: Observation, surroundings: Surroundings, out: Callable[[str], object]) -> None:
    """Print both side by side, where there is a twin; `|` stands between equal values, `!` between others."""
    found = _twin(observation, surroundings)
    if found is None:
        return
    genuine, frame, _ = found
    leaf = surroundings.certificates[observation.chain[0]]
    beside = f"genuine, frame {frame}" if frame else "genuine, as given"
    out(f"  {'':<10}{'this certificate':<{COLUMN}}  {beside}\n")
    for label, ours, theirs in rows(leaf, genuine):
        left, right = _pieces(ours), _pieces(theirs)
        for index in range(max(len(left), len(right))):
            sign = " " if index else "|" if ours == theirs else "!"
            one = left[index] if index < len(left) else ""
            other = right[index] if index < len(right) else ""
            out(f"  {'' if index else label:<10}{one:<{COLUMN}}{sign} {other}".rstrip() + "\n")


def _pieces(text: str) -> list[str]:
    """Text in pieces of a column's width."""
    shown = safe(text)
    pieces = [shown[at : at + COLUMN - 1] for at in range(0, len(shown), COLUMN - 1)] or [""]
    if len(pieces) > MAX_ROWS:
        pieces = [*pieces[: MAX_ROWS - 1], pieces[MAX_ROWS - 1][: COLUMN - 5] + " ..."]
    return pieces


def rows(leaf: Certificate, genuine: Certificate) -> list[tuple[str, str, str]]:
    """(field, value here, value in the genuine one)."""
    pairs = [("subject", leaf.subject, genuine.subject)] if leaf.subject_der != genuine.subject_der else []
    pairs += [
        ("name", leaf.common_name, genuine.common_name),
        ("issuer", leaf.issuer_common_name or leaf.issuer, genuine.issuer_common_name or genuine.issuer),
        ("from", day_and_time(leaf.not_before), day_and_time(genuine.not_before)),
        ("to", day_and_time(leaf.not_after), day_and_time(genuine.not_after)),
        ("serial", leaf.serial, genuine.serial),
        ("key", _key(leaf), _key(genuine)),
        ("signed", leaf.signature_hash, genuine.signature_hash),
    ]
    theirs = dict(genuine.extensions)
    ours = dict(leaf.extensions)
    for oid in (*theirs, *(oid for oid in ours if oid not in theirs)):
        pairs.append(("", _extension(leaf, oid, ours), _extension(genuine, oid, theirs)))
    return pairs


def _key(certificate: Certificate) -> str:
    return certificate.key + (f" e={certificate.exponent}" if certificate.exponent is not None else "")


def _extension(certificate: Certificate, oid: str, extensions: dict[str, bool]) -> str:
    if oid not in extensions:
        return "-"
    name = EXTENSION_NAMES.get(oid, oid)
    if oid == AUTHORITY_KEY_ID and certificate.authority_has_issuer:
        name += ", issuer, serial"
    return f"{name}, critical" if extensions[oid] else name
