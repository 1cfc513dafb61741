"""A capture in, a scrubbed one and its manifest out: analyse, choose, plan, apply, analyse again, compare, look."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import IO, Any

from kzpcap import __version__
from kzpcap.analysis import Report, analyze
from kzpcap.capture.health import Notes
from kzpcap.capture.source import open_source
from kzpcap.capture.unpack import Source, mapped
from kzpcap.certificates.certificate import Certificate
from kzpcap.errors import CaptureError
from kzpcap.observations import Observation
from kzpcap.reference import Reference
from kzpcap.scrub.apply import Written, apply
from kzpcap.scrub.choose import Choices, Chosen, choose, told
from kzpcap.scrub.kept import Made
from kzpcap.scrub.plan import make
from kzpcap.scrub.prove import Proof, compare, look_for_leaks

MAX_LOOKED_FOR = 50_000
MAX_TOLD = 20
MAX_AGAIN = 2
"""How often connections are left out that would show more than they do, and all is done again without them."""
PROFILES = ("evidence", "public")


@dataclass
class Scrubbed:
    """What came of it; `output` is an unnamed temporary file at its start, closed by whoever uses it."""

    output: IO[bytes]
    size: int
    original_size: int
    chosen: Chosen
    made: Made
    written: Written
    proof: Proof
    manifest: dict[str, Any]
    issuers: dict[int, str]
    """First frame of a kept connection to the issuer of its leaf: a product may have put the user's name there."""
    advice: list[str]
    """What would make the next recording better, as _advice names it."""
    unread: bool = False
    """Of a capture of which nothing stays: are there connections whose names are not known, or without an answer?"""


def scrub(path: str, reference: Reference, choices: Choices, at: int | None = None) -> Scrubbed:
    """Scrub one capture; CaptureError where it is none, or an archive. Nothing is written to any named file."""
    original = open_source(path, Notes(), False)
    try:
        before = analyze(_again(original), reference, want_digest=False, at=at)
        try:
            return _scrubbed(original, before, reference, choices, at)
        finally:
            before.close()
    finally:
        original.close()


def _again(source: Source) -> Source:
    """The same capture, opened once more: each reading closes its own."""
    file = source.again()
    return Source(mapped(file, os.fstat(file.fileno()).st_size), source.size, None, source.compression, [file])


def _scrubbed(original: Source, before: Report, reference: Reference, choices: Choices, at: int | None) -> Scrubbed:
    stronger: frozenset[int] = frozenset()
    for again in range(MAX_AGAIN + 1):
        chosen = choose(before, choices, reference.harmless_controls, stronger)
        scrubbed = _written(original, before, reference, choices, at, chosen)
        found = {loss.frame for loss in scrubbed.proof.wrong} & chosen.roles.keys()
        if not found or again == MAX_AGAIN:
            break
        scrubbed.output.close()
        stronger |= found
    return scrubbed


def _written(
    original: Source, before: Report, reference: Reference, choices: Choices, at: int | None, chosen: Chosen
) -> Scrubbed:
    """The capture of what was chosen, and what it proves."""
    made = make(lambda: _again(original), chosen, choices)
    output: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115 - the caller's
    try:
        written = apply(original.raw, made.plan, output.write)
        output.flush()
        size = output.seek(0, os.SEEK_END)
        after = analyze(_source(output, size), reference, want_digest=False, at=at)
        try:
            proof = compare(before, after, chosen, made, written, choices.profile == "public")
            body = mapped(output, size)
            try:
                manifest = _manifest(before, chosen, made, written, proof, choices, size)
                names = [name for name in _names(before) if name not in made.names]
                spoken = json.dumps(manifest, ensure_ascii=False).encode()
                allowed, held = _allowed(before, chosen, made), _addresses_in_certificates(before, chosen)
                look_for_leaks(body[:], spoken, names, made.addresses.replaced, allowed, proof, held)
            finally:
                body.close()
        finally:
            after.close()
    except BaseException:
        output.close()
        raise
    output.seek(0)
    manifest = _manifest(before, chosen, made, written, proof, choices, size)
    advice = _advice(before.capture, any(seen.transport == "tcp" for seen in chosen.observations.values()))
    issuers = {
        frame: before.surroundings.certificates[seen.chain[0]].issuer
        for frame, seen in chosen.observations.items()
        if seen.chain and chosen.roles[frame].named and not _genuine(before, seen)
    }
    unread = not written.frames and _unread(before)
    return Scrubbed(output, size, original.size, chosen, made, written, proof, manifest, issuers, advice, unread)


def _unread(report: Report) -> bool:
    """May there be more in a capture than its names tell: packets or names that were not read, attempts unanswered?"""
    packets = report.capture["packets"]
    unread = packets["read"] and not packets["decoded"]
    lost = unread or report.capture["unanswered"]["attempts"] or report.capture["given_up"]["flows_ended_early"]
    return bool(lost) or any(not seen.name_known for seen in report.spill)


def _source(file: IO[bytes], size: int) -> Source:
    if not size:
        raise CaptureError("nothing was written")
    file.seek(0)
    again = os.fdopen(os.dup(file.fileno()), "rb")
    return Source(mapped(again, size), size, None, None, [again])


def _names(report: Report) -> Iterator[str]:
    """Every name that the original shows outside of certificates, bounded."""
    count = 0
    for observation in report.spill:
        for name in (observation.server_name, *observation.other_names):
            if name is not None:
                count += 1
                yield name
        if observation.requested_name:
            yield observation.requested_name.decode("ascii", "backslashreplace").lower()
        if count > MAX_LOOKED_FOR:
            return
    for names in report.surroundings.names_of_servers.values():
        yield from names
        count += len(names)
        if count > MAX_LOOKED_FOR:
            return


def _manifest(
    before: Report,
    chosen: Chosen,
    made: Made,
    written: Written,
    proof: Proof,
    choices: Choices,
    size: int,
) -> dict[str, Any]:
    """What was kept, changed and dropped. Nothing of the original but counts: no digest, no name, no exact time."""
    roles = Counter(role.why for role in chosen.roles.values())
    kinds = Counter(_kind(made, raw) for raw in made.addresses.replaced)
    judged = []
    for frame, role in sorted(chosen.roles.items()):
        if role.named and role.why in ("target", "shown"):
            observation = chosen.observations[frame]
            judged.append(
                {
                    "frame": written.frames.get(frame),
                    "server_name": told(observation, role),
                    "state": chosen.states[frame].value,
                    "forged_leaf": _traits(before, frame, chosen) if choices.profile == "public" else None,
                }
            )
    return {
        "schema": "https://kzpcap.example/schema/scrub-1.json",
        "tool": {"name": "kzpcap", "version": __version__},
        "profile": choices.profile,
        "output": {"size": size, "packets": len(written.frames)},
        "recorded_at": before.capture["vantage"]["where"],
        "kept": {"connections": dict(sorted(roles.items())), "packets": dict(sorted(made.kept.items()))},
        "changed": {
            "addresses": dict(sorted(kinds.items())),
            "blanked": dict(sorted(made.blanked.items())),
            "wrong_checksums_kept_wrong": len(written.wrong_checksums),
            "time": "to the day" if choices.profile == "public" else "exact",
        },
        "dropped": {
            "connections": chosen.left_out,
            "stronger": chosen.stronger,
            "packets": dict(sorted(made.dropped.items())),
        },
        "names": sorted(made.names),
        "undecided": len(chosen.undecided),
        "judged": judged,
        "proof": {
            "connections": proof.compared,
            "ladders": proof.ladders,
            "losses": [
                {
                    "frame": written.frames.get(loss.frame),
                    "name": loss.name,
                    "what": loss.what,
                    "expected": loss.expected,
                }
                for loss in proof.losses
            ],
            "names_in_certificates": proof.names_in_certificates,
            "leaks": len(proof.leaks),
            "stronger": len(proof.wrong),
        },
    }


def _genuine(before: Report, seen: Observation) -> bool:
    """Is the certificate publicly trusted? The suspicion rests on something else then."""
    facts = before.surroundings.chain_facts(seen)
    return facts is not None and facts.trusted


def _advice(capture: dict[str, Any], tcp: bool) -> list[str]:
    """The capture's health in words that name nobody: its sentences may hold names of sites."""
    signs = {
        "no_icmp": capture["connections"] and not capture["icmp"],
        "no_handshakes": capture["connections"] and not capture["syn"] and tcp,
        "one_direction": capture["connections"] and not capture["both_directions"],
        "cut": capture["packets"]["cut"],
        "rebuilt": capture["headers_rebuilt"],
        "damaged": capture["truncated"] or capture["skipped_bytes"],
        "server": capture["vantage"]["where"] == "server",
    }
    return [name for name, there in signs.items() if there]


def _kind(made: Made, raw: bytes) -> str:
    role = made.addresses.roles[raw]
    return {"client": "clients", "router": "routers near by", "server": "servers", "resolver": "resolvers"}[role]


def _traits(report: Report, frame: int, chosen: Chosen) -> dict[str, Any] | None:
    """What the public profile tells of a certificate that it does not hold: who issued it, how.

    Not its digest: an operator who logged what was made for whom would find the subscriber by it.
    """
    chain = chosen.observations[frame].chain
    if not chain or chosen.states[frame].value not in ("intercepted", "suspected"):
        return None
    leaf = report.surroundings.certificates[chain[0]]
    facts = report.surroundings.chain_facts(chosen.observations[frame])
    # Names of an issuer are told where a known key stands behind them: products put the user's own into theirs.
    known = facts is not None and facts.interception_ca is not None and facts.interception_ca.generation is not None
    issuer = leaf.issuer if known else None
    return {"issuer": issuer, "key": leaf.key, "exponent": leaf.exponent}


def _kept_certificates(report: Report, chosen: Chosen) -> list[Certificate]:
    """Those of connections that stay under their name."""
    kept = {digest for frame, role in chosen.roles.items() if role.named for digest in chosen.observations[frame].chain}
    return [report.surroundings.certificates[digest] for digest in sorted(kept)]


def _addresses_in_certificates(report: Report, chosen: Chosen) -> frozenset[bytes]:
    """The addresses, packed, for which kept certificates were issued (RFC 5280 section 4.2.1.6)."""
    held = set()
    for certificate in _kept_certificates(report, chosen):
        for text in certificate.ip_addresses:
            with suppress(ValueError):
                held.add(ip_address(text).packed)
    return frozenset(held)


def _allowed(report: Report, chosen: Chosen, made: Made) -> bytes:
    """What may be read: the certificates of connections that stay under their name, and these names."""
    ders = [certificate.der for certificate in _kept_certificates(report, chosen)]
    return b"\0".join([*ders, *(name.encode("ascii", "backslashreplace") for name in sorted(made.names))])


def doubtful_issuers(scrubbed: Scrubbed) -> list[str]:
    """Who issued the kept certificates that are not genuine, or lead to no root that is known from elsewhere: tools on
    one's own computer, and companies, put names into them, maybe one's own.
    """
    return sorted(
        {
            scrubbed.issuers[frame]
            for frame, state in scrubbed.chosen.states.items()
            if frame in scrubbed.issuers
            and (state.value in ("intercepted", "suspected") or frame not in scrubbed.chosen.known)
        }
    )


def words(scrubbed: Scrubbed) -> list[str]:
    """The manifest in plain words, for whoever decides whether to hand the capture on."""
    manifest, made, proof = scrubbed.manifest, scrubbed.made, scrubbed.proof
    kept, dropped = manifest["kept"]["connections"], manifest["dropped"]
    total = sum(kept.values())
    packets = sum(dropped["packets"].values())
    roles = ", ".join(f"{count:,} {why}" for why, count in kept.items())
    replaced = ", ".join(f"{what}: {count}" for what, count in manifest["changed"]["addresses"].items())
    said = [
        f"kept: {total:,} connection{'' if total == 1 else 's'}" + (f" ({roles})" if roles else ""),
        f"under these names: {', '.join(sorted(made.names)) or 'none'}",
        f"dropped: {dropped['connections']:,} other connections and {packets:,} packets"
        f" ({', '.join(f'{count:,} {why}' for why, count in dropped['packets'].items()) or 'none'})",
        "zero in what stays: application data, everything encrypted, client certificates",
        f"replaced: {replaced or 'no address'}; MAC addresses, names of interfaces, comments and secrets are not in the"
        " new file at all",
    ]
    if made.addresses.roles and "router" in made.addresses.roles.values():
        said.append(
            "the first hops, within your own network or beside your address, are no longer told apart from others'"
        )
    if manifest["recorded_at"] == "server":
        said.append("RECORDED BESIDE THE SERVER: its address stays, and with it whoever recorded there")
    wrong = manifest["changed"]["wrong_checksums_kept_wrong"]
    if wrong:
        said.append(f"{wrong:,} packets had a wrong checksum and have one again: it may be a mark of injection")
    if scrubbed.chosen.stronger:
        said.append(
            f"{scrubbed.chosen.stronger:,} of what was dropped would show more than it does, without what must be taken"
            " out of it"
        )
    issuers = doubtful_issuers(scrubbed)
    if issuers and manifest["profile"] == "evidence":
        said.append(
            f"kept certificates of issuers that are not publicly trusted, by: {'; '.join(issuers[:8])}"
            " (your own name in it?)"
        )
    if proof.names_in_certificates:
        said.append(
            f"{proof.names_in_certificates} names of left-out connections stand in kept certificates, for all to see"
        )
    lost = proof.unexpected
    moved = [loss for loss in proof.losses if loss.expected and loss.of_state]
    beside = len(proof.losses) - len(lost) - len(moved)
    count = f"all {proof.compared:,}" if not moved else f"{proof.compared - len(moved):,} of {proof.compared:,}"
    same = f"compared: the same state for {count} connections"
    if proof.ladders:
        kept = proof.ladders - proof.ladders_changed
        same += f", and the same answers for {kept:,} of {proof.ladders:,} ladder{'' if proof.ladders == 1 else 's'}"
    said.append(same if not lost else f"NOT THE SAME: {len(lost)} answers differ")
    if moved:
        whose = "which are not handed on" if manifest["profile"] == "public" else "of controls without a name"
        said.append(f"lost by design, with certificates {whose}; the manifest keeps what was judged:")
        said += [f"  frame {loss.frame}, {loss.name}: {loss.what}" for loss in moved[:MAX_TOLD]]
        if len(moved) > MAX_TOLD:
            said.append(f"  and {len(moved) - MAX_TOLD:,} more, in the manifest")
    if beside:
        more = f"{beside} more {'thing is' if beside == 1 else 'things are'} lost by design, resting"
        said.append(f"{more} on these certificates or on signatures")
    said += [f"  frame {loss.frame}, {loss.name}: {loss.what}" for loss in lost[:MAX_TOLD]]
    return said
