"""Certificates as the boxes of Kazakhstan forged them, field by field after the published ones, under keys of our own.

A leaf is made after the origin's (Censored Planet, July 2019): subject and subjectAltName kept, an RSA key with
e = 3, the serial with a random number of 32 bits added, both dates shifted, of the extensions only six, in an order
of their own. `tests/test_lab_forge.py` compares with the published pair. Every name here begins with LAB.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from lab.pki import DAY, key_usage, now

HOUR = datetime.timedelta(hours=1)


@dataclass(frozen=True)
class Generation:
    """What distinguished the interceptors of one time."""

    id: str
    root: tuple[str, ...]  # common name, then organization
    intermediate: tuple[str, ...]
    leaf_bits: int
    shift: datetime.timedelta | None  # of both dates; None: 365 days from a day ago, as on 17 July 2019
    intermediate_days: tuple[int, int]  # from, to; in days from now
    root_like_intermediate: bool = False  # serial and order of extensions, as in all roots of 2020


GENERATIONS = {
    made.id: made
    for made in (
        Generation(
            "early-july-2019", ("LAB Qaznet Trust Network",), ("LAB Security Certificate",), 1024, None, (-525, 571)
        ),
        Generation(
            "late-july-2019", ("LAB Qaznet Trust Network",), ("LAB Security Certificate",), 2048, -6 * HOUR, (-525, 571)
        ),
        # "24 hours" is all that is published of the change on 30 July; which way is not.
        Generation(
            "august-2019", ("LAB Qaznet Trust Network",), ("LAB Security Certificate",), 2048, -24 * HOUR, (-525, 571)
        ),
        Generation(
            "isca-2021-2024",
            ("LAB Information Security Certification Authority", "ISCA"),
            ("LAB Information Security Certification Authority", "ISCA"),
            2048,
            0 * HOUR,
            (-30, 45),
            True,
        ),
        # From November 2021 on, and again in the winters of 2023 and 2024, it went on with an expired intermediate.
        Generation(
            "isca-2021-2024-expired",
            ("LAB Information Security Certification Authority", "ISCA"),
            ("LAB Information Security Certification Authority", "ISCA"),
            2048,
            0 * HOUR,
            (-120, -45),
            True,
        ),
    )
}


def kz_name(common_name: str, organization: str | None = None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COUNTRY_NAME, "KZ")]
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass
class Forger:
    """An interceptor's root and intermediate, and the leaves it makes."""

    generation: Generation
    root: x509.Certificate
    key: Any
    intermediate: x509.Certificate

    @classmethod
    def make(cls, generation: str) -> Forger:
        which = GENERATIONS[generation]
        root_key, key = rsa.generate_private_key(65537, 4096), rsa.generate_private_key(65537, 2048)
        root_name, own_name = kz_name(*which.root), kz_name(*which.intermediate)
        own_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        root = _root(root_name, root_key, which.root_like_intermediate)
        begins, ends = which.intermediate_days
        intermediate = (
            x509.CertificateBuilder()
            .subject_name(own_name)
            .issuer_name(root_name)
            .public_key(key.public_key())
            .serial_number(serial_of(own_id))
            .not_valid_before(now() + begins * DAY)
            .not_valid_after(now() + ends * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(own_id, critical=False)
            .add_extension(identifier(key_id(root_key).digest, root), critical=False)
            .sign(root_key, hashes.SHA256())
        )
        return cls(which, root, key, intermediate)

    def forge(self, origin: x509.Certificate) -> tuple[Any, x509.Certificate]:
        """A key and a leaf after the origin's certificate."""
        key = rsa.generate_private_key(3, self.generation.leaf_bits)
        size = (origin.serial_number.bit_length() + 7) // 8 * 8
        serial = (origin.serial_number + int.from_bytes(os.urandom(4), "big")) % (1 << size)
        builder = (
            x509.CertificateBuilder()
            .subject_name(origin.subject)
            .issuer_name(self.intermediate.subject)
            .public_key(key.public_key())
            .serial_number(serial)
        )
        if self.generation.shift is None:
            begins = now() - DAY
            builder = builder.not_valid_before(begins).not_valid_after(begins + 365 * DAY)
        else:
            shift = self.generation.shift
            builder = builder.not_valid_before(origin.not_valid_before_utc + shift)
            builder = builder.not_valid_after(origin.not_valid_after_utc + shift)
        own_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(identifier(own_id.digest, self.intermediate), critical=False)
        for kind in (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName):
            try:
                kept = origin.extensions.get_extension_for_class(kind)  # type: ignore[type-var]
            except x509.ExtensionNotFound:
                continue
            builder = builder.add_extension(kept.value, critical=kept.critical and kind is not x509.KeyUsage)
        return key, builder.sign(self.key, hashes.SHA256())


def _root(name: x509.Name, key: Any, like_intermediate: bool) -> x509.Certificate:
    own_id = key_id(key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .not_valid_before(now() - 1260 * DAY)
        .not_valid_after(now() + 9690 * DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if like_intermediate:
        serial = serial_of(own_id)
        long = x509.AuthorityKeyIdentifier(own_id.digest, [x509.DirectoryName(name)], serial)
        builder = builder.add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        builder = builder.add_extension(own_id, critical=False).add_extension(long, critical=False)
        return builder.serial_number(serial).sign(key, hashes.SHA256())
    short = x509.AuthorityKeyIdentifier(own_id.digest, None, None)
    usage = key_usage(content_commitment=True, key_cert_sign=True, crl_sign=True)
    builder = builder.add_extension(own_id, critical=False).add_extension(short, critical=False)
    builder = builder.add_extension(usage, critical=True).serial_number(x509.random_serial_number())
    return builder.sign(key, hashes.SHA256())


def key_id(key: Any) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key.public_key())


def serial_of(identifier: x509.SubjectKeyIdentifier) -> int:
    """The key identifier as a number, with the top bit cleared: it would be negative."""
    return int.from_bytes(identifier.digest, "big") & ((1 << 159) - 1)


def identifier(key_id: bytes, issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The long form, with the issuer's issuer and serial, which public CAs hardly use."""
    return x509.AuthorityKeyIdentifier(key_id, [x509.DirectoryName(issuer.issuer)], issuer.serial_number)
