"""Does whoever answered hold the leaf's key? The ServerKeyExchange signature of TLS up to 1.2.

RFC 5246 section 7.4.3, RFC 8422 section 5.4, RFC 4346 section 7.4.3 (MD5 and SHA-1 together under RSA before 1.2).
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from kzpcap.certificates.certificate import Certificate, load
from kzpcap.certificates.signature import affordable, kind_of, verify
from kzpcap.kept import by_digest
from kzpcap.wire import Reader, ShortRead


class Possession(StrEnum):
    """What the packets show about the key of the leaf certificate."""

    PROVED = "proved"
    REFUTED = "refuted"
    NOT_POSSIBLE = "not_possible"
    """RSA key exchange: the server never signs."""
    NOT_CAPTURED = "not_captured"


def server_key_exchange(
    leaf: Certificate, client_random: bytes, server_random: bytes, body: bytes, version: int, kind: str | None
) -> Possession:
    """Verify a whole ServerKeyExchange body with the leaf's key over both randoms; `kind` is dhe or ecdhe.

    A body that no client can accept (no signature, bytes too many, another key's algorithm) refutes; an algorithm or
    a curve format that is not known here does not.
    """
    if kind not in ("dhe", "ecdhe") or not any(body):  # zeros: taken out of the capture (scrub/)
        return Possession.NOT_CAPTURED
    try:
        key = _key(leaf)
    except Exception:  # whatever the parser stumbles over: nothing can be checked
        return Possession.NOT_CAPTURED
    reader = Reader(body)
    try:
        if kind == "ecdhe":
            if reader.uint(1) != 3:
                return Possession.NOT_CAPTURED  # explicit curves
            reader.uint(2)
            reader.vector(1)
        else:
            for _ in range(3):
                reader.vector(2)
    except ShortRead:
        return Possession.REFUTED
    params = body[: reader.pos]
    outcome = _check(key, client_random + server_random + params, body[reader.pos :], version)
    if outcome is None:
        return Possession.NOT_CAPTURED
    return Possession.PROVED if outcome else Possession.REFUTED


@by_digest(512)
def _key(leaf: Certificate) -> Any:
    """The leaf's key; ValueError where it cannot be read, or a check with it would cost too much."""
    key = load(leaf.der).public_key()
    if not affordable(key):
        raise ValueError("too long an exponent")
    return key


def certificate_verify(
    leaf: Certificate, scheme: int, signature: bytes, signed: bytes, delegated: bytes | None = None, time_ns: int = 0
) -> Possession:
    """Verify TLS 1.3's CertificateVerify (RFC 8446 section 4.4.3) with the leaf's key, or the one that it delegated to.

    A credential that cannot be read, or that the leaf did not sign, is none that a client takes, and refutes nothing:
    whose key signed then is open.
    """
    try:
        key = _key(leaf) if delegated is None else _delegate(leaf, delegated, scheme, time_ns)
    except Exception:  # as above
        return Possession.NOT_CAPTURED
    rest = scheme.to_bytes(2, "big") + len(signature).to_bytes(2, "big") + signature
    outcome = _check(key, signed, rest, 0x0303)
    if outcome is None:
        return Possession.NOT_CAPTURED
    return Possession.PROVED if outcome else Possession.REFUTED


DELEGATION_USAGE = "1.3.6.1.4.1.44363.44"
MAX_DELEGATED_NS = 7 * 86_400 * 1_000_000_000


def _delegate(leaf: Certificate, credential: bytes, scheme: int, time_ns: int) -> Any:
    """The key of a delegated credential of that time that the leaf may give, and signed (RFC 9345 sections 4.1.3, 4.2).

    ValueError for any other.
    """
    from cryptography.hazmat.primitives.serialization import load_der_public_key
    from cryptography.x509 import ExtensionNotFound, ObjectIdentifier

    reader = Reader(credential)
    left = leaf.not_before + reader.uint(4) * 1_000_000_000 - time_ns
    if not 0 <= left <= MAX_DELEGATED_NS:
        raise ValueError("not of that time")
    try:
        load(leaf.der).extensions.get_extension_for_oid(ObjectIdentifier(DELEGATION_USAGE))
    except ExtensionNotFound:
        raise ValueError("the leaf may delegate nothing") from None
    if reader.uint(2) != scheme:
        raise ValueError("for another algorithm")
    key = load_der_public_key(reader.vector(3))
    signed = b" " * 64 + b"TLS, server delegated credentials\0" + leaf.der + credential[: reader.pos + 2]
    if not affordable(key) or not _check(_key(leaf), signed, credential[reader.pos :], 0x0303):
        raise ValueError("not signed by the leaf")
    return key


def _check(key: Any, signed: bytes, rest: bytes, version: int) -> bool | None:
    reader = Reader(rest)
    try:
        algorithm = reader.uint(2) if (version >= 0x0303 and version < 0xFE00) or version == 0xFEFD else None
        signature = reader.vector(2)
    except ShortRead:
        return False
    if reader.left() or not signature:
        return False
    try:
        if algorithm is None:
            if kind_of(key) == "rsa":
                wanted = hashlib.md5(signed, usedforsecurity=False).digest()
                wanted += hashlib.sha1(signed, usedforsecurity=False).digest()
                return _recover(key, signature) == wanted
            algorithm = SHA1_ALONE
        scheme = _scheme(algorithm)
        if scheme.kind and kind_of(key) != scheme.kind:
            return False
        return verify(key, signature, signed, scheme.digest, scheme.parameters) if scheme.known else None
    except (ValueError, TypeError):
        return None


SHA1_ALONE = 0x0200
"""Not on the wire: how keys other than RSA's sign before TLS 1.2 (RFC 4346 section 7.4.3)."""


class Scheme(NamedTuple):
    """How signatures of one algorithm are checked."""

    kind: str
    """Of the key that can make them (RFC 8446 4.2.3, RFC 5246 7.4.1.4.1); empty where that is not known."""
    known: bool
    digest: Any = None
    parameters: Any = None


@lru_cache(maxsize=256)
def _scheme(algorithm: int) -> Scheme:
    """The scheme of a SignatureScheme of TLS 1.3, or of the hash and the signature of TLS 1.2."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding

    high, low = algorithm >> 8, algorithm & 0xFF
    if high == 8:  # RFC 8446 names: RSA-PSS, Ed25519, Ed448
        kind = "rsa" if low in (4, 5, 6, 9, 10, 11) else {7: "ed25519", 8: "ed448"}.get(low, "")
        digests: dict[int, Any] = {0: hashes.SHA256, 1: hashes.SHA384, 2: hashes.SHA512}
        if kind == "rsa":
            digest = digests[low - 4 if low < 9 else low - 9]()
            return Scheme(kind, True, digest, padding.PSS(padding.MGF1(digest), digest.digest_size))
        return Scheme(kind, bool(kind))
    kind = {1: "rsa", 2: "dsa", 3: "ec"}.get(low, "")
    by_number = (None, hashes.MD5, hashes.SHA1, hashes.SHA224, hashes.SHA256, hashes.SHA384, hashes.SHA512)
    chosen = by_number[high] if high < len(by_number) else None
    if chosen is None:
        return Scheme(kind, False)
    return Scheme(kind, True, chosen(), ec.ECDSA(chosen()) if kind == "ec" else None)


def _recover(key: Any, signature: bytes) -> bytes | None:
    """What an RSA PKCS#1 v1.5 signature without DigestInfo signs; None where the padding is wrong."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        return bytes(key.recover_data_from_signature(signature, padding.PKCS1v15(), None))
    except InvalidSignature:
        return None
