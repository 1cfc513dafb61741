"""`kzpcap certificates`: every certificate of a capture once: what it says, where seen, who signed it, its standing."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.chains import ChainFacts
from kzpcap.report.model import certificate as certificate_facts
from kzpcap.report.text import day_and_time, safe, wrap

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
        if facts.standing.trusted:
            dates = facts.within_dates(time_ns)
            return f'publicly trusted by "{anchor}" ({facts.standing.release})' + (
                "" if dates == "valid" else f", {dates}"
            )
        until = facts.standing.last or "today"
        return f'by "{anchor}", public from {facts.standing.first} to {until}, not at the capture\'s time'
    if facts.national:
        return f"signed by a national CA: {facts.national.title}"
    if facts.imitation:
        known = facts.imitation.ca.certificate.common_name
        return f'bears the names of "{known}"' + (", not its key" if facts.imitation.fails else ", unverified")
    if facts.self_signed:
        return "self-signed"
    if facts.issuer_missing and facts.end:
        return f'its issuer "{facts.end.issuer_common_name or facts.end.issuer}" is not known'
    return f'signed by the private root "{facts.end.common_name if facts.end else "?"}"'


def rows(report: Report) -> Iterator[tuple[Certificate, list[int], str]]:
    """(certificate, the first frames in which it was seen, its standing), in the order in which they were seen."""
    times: dict[str, tuple[tuple[str, ...], int]] = {}
    for observation in report.spill:
        for place, name in enumerate(observation.chain):
            times.setdefault(name, (observation.chain[place:], observation.time_ns))
        for place, name in enumerate(observation.client_chain):
            times.setdefault(name, (observation.client_chain[place:], observation.time_ns))
    for name, certificate in report.surroundings.certificates.items():
        chain, time_ns = times.get(name, ((name,), 0))
        facts = report.surroundings.facts_of(chain, time_ns)
        words = standing(facts, time_ns) if facts and time_ns else "its standing cannot be judged: no time"
        yield certificate, report.frames.get(name, []), words


def document(certificate: Certificate, frames: list[int], words: str) -> dict[str, Any]:
    """One certificate as JSON."""
    return {**certificate_facts(certificate, frames), "standing": words}


def show(report: Report, out: Callable[[str], object]) -> None:
    """Print every certificate for a reader."""
    for certificate, frames, words in rows(report):
        out(f"{certificate.sha256}\n")
        if certificate.subject:
            out(wrap(f"subject  {safe(certificate.subject)}", 2, 11) + "\n")
            out(wrap(f"issuer   {safe(certificate.issuer)}", 2, 11) + "\n")
            names = ", ".join(certificate.dns_names[:6]) + (" ..." if len(certificate.dns_names) > 6 else "")
            if names:
                out(wrap(f"names    {safe(names)}", 2, 11) + "\n")
            exponent = f" e={certificate.exponent}" if certificate.exponent not in (None, 65537) else ""
            dates = f"{day_and_time(certificate.not_before)} to {day_and_time(certificate.not_after)}"
            out(wrap(f"key      {certificate.key}{exponent}, serial {certificate.serial}", 2, 11) + "\n")
            out(wrap(f"dates    {dates} UTC", 2, 11) + "\n")
        seen = ", ".join(map(str, frames)) or "in clear nowhere"
        out(wrap(f"seen     frame{'s' if len(frames) > 1 else ''} {seen}", 2, 11) + "\n")
        out(wrap(f"standing {safe(words)}", 2, 11) + "\n\n")


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
