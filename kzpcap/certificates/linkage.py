"""Who really signed whom: settled by signatures, never by names or key ids.

Names only choose which keys to try. RFC 5280 section 6 in the parts that matter here; `cryptography`'s own verifier
refuses much that an observer must be able to describe (RSA-1024, missing extensions) and explains little.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kzpcap.certificates.certificate import Certificate, load
from kzpcap.certificates.der import signed_bytes
from kzpcap.certificates.signature import affordable, kind_of, verify
from kzpcap.kept import by_digest

MAX_DEPTH = 24
"""Certificates of a path; programs take chains of this length and more, and `MAX_CHECKS` bounds the work."""
MAX_CHECKS = 64
MAX_SAME_SUBJECT = 8
"""Certificates of one subject that a pool of a capture's keeps: cross-signs are few, floods are many."""
MAX_TRUSTED = 4096
"""The same for a pool of reference data or of what the user gave: nobody floods those."""
MAX_CHECKED = 32_768
"""Answers that are kept."""


@by_digest(MAX_CHECKED)
def signed_by(child: Certificate, issuer: Certificate) -> bool | None:
    """Is `child`'s signature made with `issuer`'s key? None where it cannot be checked."""
    try:
        key = _key(issuer)
        return None if key is None else verify(key, *_signature(child))
    except Exception:  # unknown algorithms and broken keys: not checked, which is not the same as refuted
        return None


def signed_itself(certificate: Certificate) -> bool:
    """Is it a root of its own? By its signature: a CA may sign its own name's next key (RFC 5280 section 6.1)."""
    return certificate.subject_key == certificate.issuer_key and bool(signed_by(certificate, certificate))


def fits(child: Certificate, issuer: Certificate) -> bool:
    """Has `child`'s signature the length of those of `issuer`'s RSA key? True for other keys, and where it is unknown.

    Before `signed_by`, where one certificate is tried with many keys.
    """
    try:
        length = _rsa_length(issuer)
        return length is None or len(_signature(child)[0]) == length
    except Exception:  # as above
        return True


@by_digest(512)
def _rsa_length(issuer: Certificate) -> int | None:
    """The bytes of an RSA key's signatures (RFC 8017 section 8.2.2 step 1); None for other keys."""
    key = _key(issuer)
    return (key.key_size + 7) // 8 if kind_of(key) == "rsa" else None


@by_digest(512)
def _key(issuer: Certificate) -> Any:
    """The key of a certificate; None where a check with it would cost too much."""
    key = load(issuer.der).public_key()
    return key if affordable(key) else None


@by_digest(64)
def _signature(child: Certificate) -> tuple[bytes, bytes, Any, Any]:
    """A certificate's signature, what it signs, its hash and its parameters."""
    cert = load(child.der)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return (
            cert.signature,
            signed_bytes(child.der),
            cert.signature_hash_algorithm,
            cert.signature_algorithm_parameters,
        )


@dataclass
class Pool:
    """Certificates that may be issuers, by subject."""

    by_subject: dict[str, list[Certificate]] = field(default_factory=dict)
    limit: int = MAX_SAME_SUBJECT

    @classmethod
    def of(cls, certificates: Iterable[Certificate], limit: int = MAX_SAME_SUBJECT) -> Pool:
        """A pool of these; each certificate once."""
        pool = cls(limit=limit)
        for certificate in certificates:
            pool.add(certificate)
        return pool

    def named(self, subject_key: str) -> Iterable[Certificate]:
        """Those with this subject."""
        return self.by_subject.get(subject_key, ())

    def add(self, certificate: Certificate) -> None:
        """Add one, if it can be read."""
        if certificate.problem is None or certificate.subject_key:
            entries = self.by_subject.setdefault(certificate.subject_key, [])
            if len(entries) < self.limit and all(entry.sha256 != certificate.sha256 for entry in entries):
                entries.append(certificate)


class Path(NamedTuple):
    """A leaf and its issuers, each link a verified signature; `anchor` is the last."""

    certificates: tuple[Certificate, ...]

    @property
    def anchor(self) -> Certificate:
        """Where the path ends."""
        return self.certificates[-1]


def may_issue(issuer: Certificate, below: int) -> bool:
    """May this certificate sign others (RFC 5280 4.2.1.9, 4.2.1.3) with `below` CAs between it and the leaf?

    Those that bear their issuer's own name are not counted.
    """
    return issuer.is_ca and issuer.can_sign and (issuer.path_length is None or issuer.path_length >= below)


def paths_to(
    leaf: Certificate, pools: tuple[Pool, ...], anchors_named: Callable[[str], Iterable[Certificate]]
) -> list[Path]:
    """Every way from `leaf` over the pools to an anchor, each link verified; shortest first, bounded.

    `anchors_named` gives the anchors with a subject. They are the reader's own: the bound is on the others' checks.
    A signature is by one key: where it was found, certificates of the same name with other keys cost nothing more.
    """
    found: list[Path] = []
    checks = 0
    queue: list[tuple[Certificate, ...]] = [(leaf,)]
    while queue:
        path = queue.pop(0)
        last = path[-1]
        below = sum(not certificate.self_named for certificate in path[1:])
        for anchor in likely_first(last, anchors_named(last.issuer_key)):
            if anchor.sha256 != last.sha256 and anchor.path_length is not None and anchor.path_length < below:
                continue
            if anchor.sha256 == last.sha256 or signed_by(last, anchor):
                found.append(Path(path if anchor.sha256 == last.sha256 else (*path, anchor)))
        if len(path) >= MAX_DEPTH or signed_itself(last):
            continue
        seen = {certificate.sha256 for certificate in path}
        signer = ""
        for pool in pools:
            for issuer in likely_first(last, pool.named(last.issuer_key)):
                if issuer.sha256 in seen or not may_issue(issuer, below):
                    continue
                seen.add(issuer.sha256)
                if signer and issuer.spki_sha256 != signer:
                    continue
                checks += 1
                if checks < MAX_CHECKS and signed_by(last, issuer):
                    signer = issuer.spki_sha256
                    queue.append((*path, issuer))
    return found


def likely_first(child: Certificate, issuers: Iterable[Certificate]) -> list[Certificate]:
    """Those first whose key id the child names (RFC 5280 section 4.2.1.1): an order, and no proof."""
    named = child.authority_key_id
    return sorted(issuers, key=lambda issuer: named is None or issuer.subject_key_id != named)
