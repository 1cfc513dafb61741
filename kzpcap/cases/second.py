"""The second judgements of a case: made of stored reports and certificates, no capture is opened.

judgements/<SHA-256 of the file>.json       what `case judge` found, each with the capture's own state beside it
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kzpcap.cases.crossings import TRUSTED_RULES, network_of, vantages
from kzpcap.cases.store import Case, canonical, file_digest, write_whole
from kzpcap.certificates.certificate import Certificate, parse
from kzpcap.certificates.linkage import signed_by
from kzpcap.report.document import Document
from kzpcap.verdict.second import SAYS, Second, copied, is_open, shared_issuer

FOLDER = "judgements"
MAX_GENUINE = 200_000
MAX_TWINS = 16
MAX_OPEN = 200_000
Key = bytes
"""Digest of a leaf's subject and names: a re-signed copy has those of its twin."""
Seen = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Open:
    """A connection that its own capture did not settle."""

    capture: str
    frame: int
    name: str | None
    listed: bool
    network: str
    state: str
    rule_id: str
    chain: tuple[str, ...]


@dataclass
class Shared:
    """The connections to listed names behind one private issuer, drawn together."""

    networks: set[str] = field(default_factory=set)
    names: set[str | None] = field(default_factory=set)
    captures: set[str] = field(default_factory=set)
    members: set[tuple[str, int]] = field(default_factory=set)
    """(capture, frame)."""

    def add(self, one: Open) -> None:
        """Count one."""
        self.networks.add(one.network)
        self.names.add(one.name)
        self.captures.add(one.capture)
        self.members.add((one.capture, one.frame))

    @cached_property
    def judged(self) -> Second | None:
        """What they come to, asked once all are there."""
        return shared_issuer(vantages(self.networks), len(self.names), len(self.captures))


@dataclass
class Others:
    """What is kept of every report until all are read."""

    genuine: dict[Key, dict[str, Seen]] = field(default_factory=dict)
    open: list[Open] = field(default_factory=list)
    keys: dict[str, Key] = field(default_factory=dict)
    """Leaf of an open connection -> what its twin has too."""
    left_out: int = 0

    def add(self, capture: str, report: Document) -> None:
        """Take in the report of one capture."""
        certificates = {digest: _key(leaf) for digest, leaf in report.certificates() if leaf.get("subject")}
        for one in report.connections():
            leaf = one["certificates"][0] if one["certificates"] else ""
            key = certificates.get(leaf)
            if key is None:
                continue
            if one["rule_id"] in TRUSTED_RULES:
                twins = self.genuine.setdefault(key, {}) if len(self.genuine) < MAX_GENUINE else {}
                if len(twins) < MAX_TWINS:
                    twins.setdefault(leaf, (capture, one["frame"]))
            elif is_open(one["state"], one["rule_id"]) and one["possession"] != "refuted":
                if len(self.open) >= MAX_OPEN:
                    self.left_out += 1
                    continue
                listed = bool(one["target"] and one["target"]["match"] == "exact")
                network = network_of(one["client"]["address"])
                seen = one["server_name"], listed, network, one["state"], one["rule_id"], tuple(one["certificates"])
                self.open.append(Open(capture, one["frame"], *seen))
                self.keys[leaf] = key

    def judge(self, case: Case) -> list[dict[str, Any]]:
        """Every connection of which the case says more than its capture, as JSON."""
        issuers = self._issuers(case)
        found = []
        for one in self.open:
            chain = _chain(case, one.chain)
            if not chain:
                continue
            twins = self.genuine.get(self.keys[one.chain[0]], {})
            second = copied(chain, (twin for digest in twins for twin in _chain(case, (digest,))))
            if second is None and one.listed and one.rule_id != "product-by-issuer-names":
                second = self._shared(one, chain, issuers)
            if second is not None:
                beside = twins.get(second.beside or "")
                found.append(_document(one, second, beside))
        return found

    def _issuers(self, case: Case) -> dict[str, Shared]:
        """SPKI of each private issuer whose signature on a leaf for a listed name is verified -> where."""
        found: dict[str, Shared] = {}
        for one in self.open:
            if one.listed and len(one.chain) > 1:
                chain = _chain(case, one.chain)
                if len(chain) > 1 and signed_by(chain[0], chain[1]):
                    found.setdefault(chain[1].spki_sha256, Shared()).add(one)
        return found

    def _shared(self, one: Open, chain: tuple[Certificate, ...], issuers: dict[str, Shared]) -> Second | None:
        if len(chain) < 2 or one.state == "suspected":
            return None
        shared = issuers.get(chain[1].spki_sha256)
        return shared.judged if shared is not None and (one.capture, one.frame) in shared.members else None


def _key(leaf: dict[str, Any]) -> Key:
    told = canonical([leaf["subject"], sorted(leaf["dns_names"])])
    return hashlib.blake2b(told, digest_size=16).digest()


def _chain(case: Case, digests: tuple[str, ...]) -> tuple[Certificate, ...]:
    """The certificates of a chain as the case has them; empty where the first is missing."""
    ders = [case.certificate(digest) for digest in digests[:8]]
    if not ders or ders[0] is None:
        return ()
    return tuple(parse(der) for der in ders if der is not None)


def _document(one: Open, second: Second, beside: Seen | None) -> dict[str, Any]:
    return {
        "capture": one.capture,
        "frame": one.frame,
        "server_name": one.name,
        "listed": one.listed,
        "of_the_capture": {"state": one.state, "rule_id": one.rule_id},
        "of_the_case": {"state": second.state.value, "rule_id": second.rule_id, "says": SAYS[second.rule_id]},
        "why": list(second.why),
        "beside": {"capture": beside[0], "frame": beside[1], "certificate": second.beside} if beside else None,
    }


def changes(judged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Counted: the capture's own state, the case's, the rule."""
    counts = Counter(
        (one["of_the_capture"]["state"], one["of_the_case"]["state"], one["of_the_case"]["rule_id"]) for one in judged
    )
    return [
        {"of_the_capture": own, "of_the_case": state, "rule_id": rule, "says": SAYS[rule], "connections": count}
        for (own, state, rule), count in sorted(counts.items())
    ]


def keep(case: Case, analysis: str, judged: list[dict[str, Any]]) -> Path:
    """Put the judgements into the case under their digest; the path."""
    raw = canonical({"analysis": analysis, "judgements": judged}) + b"\n"
    folder = case.folder / FOLDER
    folder.mkdir(exist_ok=True)
    place = folder / f"{hashlib.sha256(raw).hexdigest()}.json"
    if not place.exists():
        write_whole(raw, place)
    return place


def wrong(case: Case) -> Iterator[tuple[str, str]]:
    """(path, what is wrong) of every file of the judgements that is not what its name says."""
    folder = case.folder / FOLDER
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        if path.name.startswith(".") and path.is_file():
            continue  # left by a process that was ended
        if not path.is_file() or file_digest(path) != path.stem or path.suffix != ".json":
            yield f"{FOLDER}/{path.name}", "is not what its name says: drop it, `case judge` makes it again"
