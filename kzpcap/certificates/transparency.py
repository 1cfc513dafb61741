"""Signed certificate timestamps (RFC 6962): parsed wherever they come from, verified against the logs that are shipped.

A log's signature shows that it had seen the certificate at that time. The list of logs is dated: a timestamp of a log
that is not on it is told as such, and its absence says nothing by itself.
"""

from __future__ import annotations

import base64
import hashlib
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from kzpcap.certificates.certificate import LONG, Certificate, load
from kzpcap.certificates.der import signed_bytes
from kzpcap.certificates.signature import verify
from kzpcap.kept import kept
from kzpcap.wire import Reader, ShortRead

MAX_TIMESTAMPS = 16
MAX_CHECKED = 1_024
"""Answers that are kept, each with the bytes of a certificate."""
CERTIFICATE, PRECERTIFICATE = 0, 1


class Log(NamedTuple):
    """A log by its key (DER SubjectPublicKeyInfo)."""

    name: str
    operator: str
    key: bytes


class Timestamp(NamedTuple):
    """One SCT as encoded (RFC 6962 section 3.2); `time_ns` is when its log says it saw the certificate."""

    log_id: str
    time_ns: int
    extensions: bytes
    hash_algorithm: int
    signature: bytes


class Checked(NamedTuple):
    """A timestamp with its log's name (None: not in the list), and whether the signature fits (None: not checked)."""

    timestamp: Timestamp
    log: str | None
    verified: bool | None


def timestamps(listed: bytes) -> tuple[Timestamp, ...]:
    """The SCTs of a SignedCertificateTimestampList, as far as it can be read."""
    found: list[Timestamp] = []
    try:
        reader = Reader(listed).sub(2)
        while reader.left() > 0 and len(found) < MAX_TIMESTAMPS:
            one = reader.sub(2)
            if one.uint(1) != 0:
                continue
            log_id, milliseconds = one.take(32).hex(), one.uint(8)
            extensions, digest, _ = one.vector(2), one.uint(1), one.uint(1)
            found.append(Timestamp(log_id, milliseconds * 1_000_000, extensions, digest, one.vector(2)))
    except ShortRead:
        pass
    return tuple(found)


def embedded(leaf: Certificate) -> tuple[Timestamp, ...]:
    """The SCTs inside a certificate (RFC 6962 section 3.3)."""
    if not leaf.has_scts:
        return ()
    from cryptography import x509

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            extensions = load(leaf.der).extensions
            value = extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
            raw = value.public_bytes()
    except Exception:  # whatever the parser stumbles over
        return ()
    return timestamps(octets(raw))


def octets(der: bytes) -> bytes:
    """The content of a DER OCTET STRING."""
    if len(der) < 2 or der[0] != 4:
        return b""
    count = der[1] & 0x7F if der[1] & 0x80 else 0
    return der[2 + count :]


@kept(MAX_CHECKED, LONG)
def _signed_entry(leaf: bytes, issuer: bytes, kind: int) -> bytes | None:
    """What a log signs of a certificate: entry type and entry (RFC 6962 section 3.2); None where it cannot be built."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == CERTIFICATE:
                return b"\0\0" + len(leaf).to_bytes(3, "big") + leaf
            certificate = load(leaf)
            if certificate.tbs_certificate_bytes != signed_bytes(leaf):
                return None  # its names were read otherwise than they stand there
            tbs: bytes = certificate.tbs_precertificate_bytes
    except Exception:
        return None
    return b"\0\1" + hashlib.sha256(issuer).digest() + len(tbs).to_bytes(3, "big") + tbs


def check(
    found: tuple[Timestamp, ...], leaf: Certificate, issuer: Certificate | None, kind: int, logs: Mapping[str, Log]
) -> tuple[Checked, ...]:
    """Verify timestamps of a leaf; `kind` PRECERTIFICATE for embedded ones, which name the issuer's key too."""
    checked = []
    for timestamp in found:
        log = logs.get(timestamp.log_id)
        outcome = None
        if log is not None and (issuer is not None or kind == CERTIFICATE):
            entry = _signed_entry(leaf.der, issuer.spki_der if issuer else b"", kind)
            outcome = _verify(log.key, timestamp, entry) if entry else None
        checked.append(Checked(timestamp, log.name if log else None, outcome))
    return tuple(checked)


@kept(MAX_CHECKED, LONG)
def _verify(key: bytes, timestamp: Timestamp, entry: bytes) -> bool | None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    if timestamp.hash_algorithm != 4:  # sha256, the only one that logs use
        return None
    extensions = len(timestamp.extensions).to_bytes(2, "big") + timestamp.extensions
    signed = b"\0\0" + (timestamp.time_ns // 1_000_000).to_bytes(8, "big") + entry + extensions
    try:
        public: Any = load_der_public_key(key)
        return verify(public, timestamp.signature, signed, hashes.SHA256())
    except Exception:
        return None


def read_logs(document: dict[str, Any]) -> dict[str, Log]:
    """The shipped list, by log id in hex; KeyError, TypeError or ValueError where it is not well-formed."""
    return {
        str(entry["log_id"]): Log(str(entry["name"]), str(entry["operator"]), base64.b64decode(entry["key"]))
        for entry in document["logs"]
    }
