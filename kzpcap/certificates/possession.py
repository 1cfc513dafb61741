"""Does whoever answered hold the leaf's key? The ServerKeyExchange signature of TLS up to 1.2.

RFC 5246 section 7.4.3, RFC 8422 section 5.4, RFC 4346 section 7.4.3 (MD5 and SHA-1 together under RSA before 1.2).
"""

from __future__ import annotations

import hashlib
import warnings
from enum import StrEnum
from typing import Any

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.signature import verify
from kzpcap.wire import Reader, ShortRead


class Possession(StrEnum):
    """What the packets show about the key of the leaf certificate."""

    PROVED = "proved"
    REFUTED = "refuted"
    NOT_POSSIBLE = "not_possible"
    """RSA key exchange: the server never signs."""
    NOT_CAPTURED = "not_captured"


def server_key_exchange(
    leaf: Certificate, client_random: bytes, server_random: bytes, body: bytes, version: int
) -> Possession:
    """Verify a ServerKeyExchange body with the leaf's key over both randoms."""
    from cryptography import x509

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            key = x509.load_der_x509_certificate(leaf.der).public_key()
    except Exception:
        return Possession.NOT_CAPTURED
    outcome: bool | None = None
    for params, rest in _splits(body):
        verdict = _check(key, client_random + server_random + params, rest, version)
        if verdict:
            return Possession.PROVED
        outcome = outcome if verdict is None else verdict
    return Possession.REFUTED if outcome is False else Possession.NOT_CAPTURED


def certificate_verify(leaf: Certificate, scheme: int, signature: bytes, signed: bytes) -> Possession:
    """Verify TLS 1.3's CertificateVerify (RFC 8446 section 4.4.3) with the leaf's key."""
    from cryptography import x509

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            key = x509.load_der_x509_certificate(leaf.der).public_key()
    except Exception:
        return Possession.NOT_CAPTURED
    rest = scheme.to_bytes(2, "big") + len(signature).to_bytes(2, "big") + signature
    outcome = _check(key, signed, rest, 0x0303)
    if outcome is None:
        return Possession.NOT_CAPTURED
    return Possession.PROVED if outcome else Possession.REFUTED


def _splits(body: bytes) -> list[tuple[bytes, bytes]]:
    """The ways to cut the signed parameters off: a named curve and a point, or the three vectors of DHE."""
    found = []
    for layout in ("ecdhe", "dhe"):
        reader = Reader(body)
        try:
            if layout == "ecdhe":
                if reader.uint(1) != 3:
                    continue
                reader.uint(2)
                reader.vector(1)
            else:
                for _ in range(3):
                    reader.vector(2)
        except ShortRead:
            continue
        found.append((body[: reader.pos], body[reader.pos :]))
    return found


def _check(key: Any, signed: bytes, rest: bytes, version: int) -> bool | None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    reader = Reader(rest)
    try:
        algorithm = reader.uint(2) if (version >= 0x0303 and version < 0xFE00) or version == 0xFEFD else None
        signature = reader.vector(2)
    except ShortRead:
        return None
    if reader.left() or not signature:
        return None
    try:
        if algorithm is None:
            if isinstance(key, rsa.RSAPublicKey):
                wanted = hashlib.md5(signed, usedforsecurity=False).digest()
                wanted += hashlib.sha1(signed, usedforsecurity=False).digest()
                return _recover(key, signature) == wanted
            return verify(key, signature, signed, hashes.SHA1())
        if algorithm >> 8 == 8:  # RFC 8446 names: RSA-PSS, Ed25519, Ed448
            digest: Any = {4: hashes.SHA256(), 5: hashes.SHA384(), 6: hashes.SHA512()}.get(algorithm & 0xFF)
            if algorithm & 0xFF in (9, 10, 11):
                digest = {9: hashes.SHA256(), 10: hashes.SHA384(), 11: hashes.SHA512()}[algorithm & 0xFF]
            scheme = padding.PSS(padding.MGF1(digest), digest.digest_size) if digest else None
            return verify(key, signature, signed, digest, scheme)
        by_number: tuple[Any, ...] = (
            None,
            hashes.MD5(),
            hashes.SHA1(),
            hashes.SHA224(),
            hashes.SHA256(),
            hashes.SHA384(),
            hashes.SHA512(),
        )
        chosen = by_number[algorithm >> 8] if algorithm >> 8 < len(by_number) else None
        return verify(key, signature, signed, chosen) if chosen else None
    except (ValueError, TypeError):
        return None


def _recover(key: Any, signature: bytes) -> bytes | None:
    """What an RSA PKCS#1 v1.5 signature without DigestInfo signs; None where the padding is wrong."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        return bytes(key.recover_data_from_signature(signature, padding.PKCS1v15(), None))
    except InvalidSignature:
        return None
