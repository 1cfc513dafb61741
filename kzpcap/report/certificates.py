"""`kzpcap certificates`: every certificate of a capture once: what it says, where seen, who signed it, its standing."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.chains import ChainFacts
from kzpcap.certificates.transparency import PRECERTIFICATE, Checked, check, embedded
from kzpcap.report.model import certificate as certificate_facts
from kzpcap.report.text import day_and_time, rfc3339, safe, wrap

if TYPE_CHECKING:
    from kzpcap.analysis import Report


def standing(facts: ChainFacts, time_ns: int) -> str:
    """One line: whose signature leads where, at the capture's time."""
    if facts.leaf.problem and not facts.leaf.subject:
        return f"cannot be read: {facts.leaf.problem}"
    if facts.interception and facts.interception_ca and len(facts.interception.certificates) > 1:
        generation = facts.interception_ca.generation
        whose = generation.title if generation else "a CA given on the command line"
        return f"signed by an interception key: {whose}"
    if facts.interception and facts.interception_ca:
        generation = facts.interception_ca.generation
        return f"the CA itself: {generation.title if generation else 'given on the command line'}"
    if facts.sha1_generation:
        return f"signed by a listed intermediate: {facts.sha1_generation.title}"
    if facts.supplied:
        return "linked to a trust anchor given on the command line"
    if facts.public and facts.standing:
        anchor = facts.public.anchor.common_name or facts.public.anchor.subject
        if not time_ns:
            return f'linked to "{anchor}"; whether that was public then cannot be judged: no time to rest on'
        if facts.standing.trusted:
            dates = facts.within_dates(time_ns)
            return f'publicly trusted by "{anchor}" ({facts.standing.release})' + (
                "" if dates == "valid" else f", {dates}"
            )
        if facts.unfit:
            return f'linked to "{anchor}", by a path that may not serve TLS: {facts.unfit}'
        if facts.disputed:
            return f'linked to "{anchor}", whose trust was disputed: {facts.disputed}'
        until = facts.standing.last or "today"
        return f'by "{anchor}", public from {facts.standing.first} to {until}, not at the capture\'s time'
    if facts.national:
        return f"signed by a national CA: {facts.national.title}"
    if facts.product:
        return f"its issuer has the names of {facts.product.title} (names prove nothing)"
    if facts.imitation:
        known = facts.imitation.ca.certificate.common_name
        return f'bears the names of "{known}"' + (
            ", not its key"
            if facts.imitation.fails
            else ", unverified"
            if not facts.imitation.signed
            else ", which signed one below it that may sign none"
        )
    if facts.self_signed:
        return "self-signed"
    if facts.issuer_missing and facts.last_shown:
        issuer = facts.last_shown.issuer_common_name or facts.last_shown.issuer
        unsure = {"refused": "may not have signed it", "unchecked": "has a key that cannot be checked here"}
        return f'its issuer "{issuer}" {unsure.get(facts.gap, "is not known")}'
    return f'signed by the private root "{facts.end.common_name if facts.end else "?"}"'


NOT_TAKEN = "in no chain that a client took: encrypted, or in another version of the same bytes"


class Row(NamedTuple):
    """A certificate of the capture: the first frames in which it was seen, its standing, its timestamps."""

    certificate: Certificate
    frames: list[int]
    standing: str
    timestamps: tuple[Checked, ...]


def rows(report: Report) -> Iterator[Row]:
    """Every certificate, in the order in which they were seen."""
    times: dict[str, tuple[tuple[str, ...], int]] = {}
    for observation in report.spill:
        for place, name in enumerate(observation.chain):
            times.setdefault(name, (observation.chain[place:], observation.time_ns))
        for place, name in enumerate(observation.other_chain):
            times.setdefault(name, (observation.other_chain[place:], observation.time_ns))
        for place, name in enumerate(observation.client_chain):
            times.setdefault(name, (observation.client_chain[place:], observation.time_ns))
    surroundings = report.surroundings
    for name, certificate in surroundings.certificates.items():
        chain, time_ns = times.get(name, ((name,), 0))
        facts = surroundings.facts_of(chain, time_ns)
        moment = surroundings.moment(time_ns)
        words = standing(facts, moment) if facts else "it cannot be read"
        frames = surroundings.certificates.frames_of(name)
        yield Row(certificate, frames, words, _timestamps(certificate, facts, report))


def _timestamps(certificate: Certificate, facts: ChainFacts | None, report: Report) -> tuple[Checked, ...]:
    """The embedded SCTs, checked with the issuer where a signature shows who that is."""
    path = (facts.public or facts.supplied) if facts else None
    issuer = path.certificates[1] if path and len(path.certificates) > 1 else None
    return check(embedded(certificate), certificate, issuer, PRECERTIFICATE, report.reference.ct_logs)


def document(row: Row) -> dict[str, Any]:
    """One certificate as JSON."""
    return {
        **certificate_facts(row.certificate, row.frames),
        "standing": row.standing,
        "timestamps": [
            {
                "log_id": one.timestamp.log_id,
                "log": one.log,
                "time": rfc3339(one.timestamp.time_ns),
                "verified": one.verified,
            }
            for one in row.timestamps
        ],
    }


def _logged(timestamps: tuple[Checked, ...]) -> str:
    """The timestamps in words."""
    verified = [one.log for one in timestamps if one.verified]
    parts = [f"{len(timestamps)} timestamp{'' if len(timestamps) == 1 else 's'}"]
    if verified:
        parts.append(f"verified: {', '.join(map(str, verified))}")
    failed = sum(one.verified is False for one in timestamps)
    if failed:
        parts.append(f"{failed} NOT BY ITS LOG'S KEY")
    unknown = sum(one.log is None for one in timestamps)
    if unknown:
        parts.append(f"{unknown} by logs that are not in the list of 2020")
    return "; ".join(parts)


def _spaced(name: str) -> str:
    """A distinguished name whose parts can be told apart, and lines broken between them."""
    return re.sub(r"(?<!\\),(?=\S)", ", ", name)


def show(report: Report, out: Callable[[str], object]) -> None:
    """Print every certificate for a reader."""
    for row in rows(report):
        certificate = row.certificate
        out(f"{certificate.sha256}\n")
        if certificate.subject:
            out(wrap(f"subject  {_spaced(safe(certificate.subject))}", 2, 11) + "\n")
            out(wrap(f"issuer   {_spaced(safe(certificate.issuer))}", 2, 11) + "\n")
            names = ", ".join(certificate.dns_names[:6]) + (" ..." if len(certificate.dns_names) > 6 else "")
            if names:
                out(wrap(f"names    {safe(names)}", 2, 11) + "\n")
            exponent = f" e={certificate.exponent}" if certificate.exponent not in (None, 65537) else ""
            dates = f"{day_and_time(certificate.not_before)} to {day_and_time(certificate.not_after)}"
            out(wrap(f"key      {certificate.key}{exponent}, serial {certificate.serial}", 2, 11) + "\n")
            out(wrap(f"dates    {dates} UTC", 2, 11) + "\n")
        frames = f"frame{'s' if len(row.frames) > 1 else ''} {', '.join(map(str, row.frames))}"
        out(wrap(f"seen     {frames if row.frames else NOT_TAKEN}", 2, 11) + "\n")
        if row.timestamps:
            out(wrap(f"logged   {safe(_logged(row.timestamps))}", 2, 11) + "\n")
        out(wrap(f"standing {safe(row.standing)}", 2, 11) + "\n\n")


def save(report: Report, folder: Path) -> int:
    """Write each certificate as PEM, named by its SHA-256; gives how many."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for name, certificate in report.surroundings.certificates.items():
        body = base64.encodebytes(certificate.der).decode().replace("\n", "")
        lines = "\n".join(body[i : i + 64] for i in range(0, len(body), 64))
        (folder / f"{name}.pem").write_text(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
        count += 1
    return count
