"""A stapled OCSP response (RFC 6960): what it says of the leaf and when, and whether the leaf's issuer signed it."""

from __future__ import annotations

import warnings
from datetime import datetime
from typing import Any, NamedTuple

from kzpcap.certificates.certificate import LONG, load
from kzpcap.certificates.der import bit_string, signed_bytes
from kzpcap.certificates.signature import affordable, verify
from kzpcap.certificates.transparency import octets
from kzpcap.kept import kept

OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"


class Staple(NamedTuple):
    """One response; times in nanoseconds UTC, `verified` None where the signature cannot be checked."""

    status: str
    """good, revoked or unknown."""
    produced: int
    next_update: int | None
    verified: bool | None
    timestamps: bytes = b""
    """A SignedCertificateTimestampList (RFC 6962 section 3.3) that the response carries."""


@kept(1_024, LONG)
def read(body: bytes, leaf: bytes, issuer: bytes | None) -> Staple | None:
    """A CertificateStatus message's body (RFC 6066 section 8), for a leaf (DER); None where it is not for it."""
    if len(body) < 5 or body[0] != 1:
        return None
    from cryptography.x509 import ocsp

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            response: Any = ocsp.load_der_ocsp_response(body[4 : 4 + int.from_bytes(body[1:4], "big")])
            if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
                return None
            if response.serial_number != load(leaf).serial_number:
                return None
            return Staple(
                response.certificate_status.name.lower(),
                _nanoseconds(response.produced_at_utc),
                _nanoseconds(response.next_update_utc) if response.next_update_utc else None,
                _verified(response, leaf, issuer),
                _timestamps(response),
            )
    except Exception:  # hostile bytes may fail anywhere inside the parser: then there is no response
        return None


def _verified(response: Any, leaf: bytes, issuer: bytes | None) -> bool | None:
    """Is it signed by the leaf's issuer, or by a responder whom the issuer certified for that?"""
    if issuer is None:
        return None
    authority, certificate = load(issuer), load(leaf)
    keys = [authority.public_key()]
    if not affordable(keys[0]):
        return None
    algorithm = certificate.signature_hash_algorithm
    signed = verify(keys[0], certificate.signature, signed_bytes(leaf), algorithm)
    if not signed or response.issuer_key_hash != _key_hash(keys[0], response.hash_algorithm):
        return None  # what was sent second did not sign the leaf, or is not whom the response speaks for
    for certificate in response.certificates[:4]:
        algorithm = certificate.signature_hash_algorithm
        by_issuer = verify(keys[0], certificate.signature, certificate.tbs_certificate_bytes, algorithm)
        if by_issuer and _for_ocsp(certificate) and affordable(certificate.public_key()):
            keys.append(certificate.public_key())
    outcomes = [
        verify(key, response.signature, response.tbs_response_bytes, response.signature_hash_algorithm) for key in keys
    ]
    return True if True in outcomes else None if None in outcomes else False


def _key_hash(key: Any, algorithm: Any) -> bytes:
    """The issuerKeyHash of RFC 6960 section 4.1.1: over the BIT STRING of the key."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(algorithm)
    digest.update(bit_string(spki))
    return digest.finalize()


def _timestamps(response: Any) -> bytes:
    from cryptography import x509

    try:
        value = response.single_extensions.get_extension_for_class(x509.SignedCertificateTimestamps).value
    except (x509.ExtensionNotFound, ValueError):
        return b""
    return octets(value.public_bytes())


def _for_ocsp(certificate: Any) -> bool:
    from cryptography import x509

    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return any(oid.dotted_string == OCSP_SIGNING for oid in purposes)


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000
