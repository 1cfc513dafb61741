"""A throw-away public hierarchy, made anew for every capture: roots, intermediates, and leaves like those of public CAs."""

from __future__ import annotations

import datetime
import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
DAY = datetime.timedelta(days=1)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in certificates)


def sha256(certificate: x509.Certificate) -> str:
    return hashlib.sha256(der(certificate)).hexdigest()


def key_pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def new_key(kind: str) -> Any:
    """A key: `ecdsa` (P-256) or `rsa` (2048 bits)."""
    return ec.generate_private_key(ec.SECP256R1()) if kind == "ecdsa" else rsa.generate_private_key(65537, 2048)


def key_usage(**used: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    names += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: used.get(name, False) for name in names})


def name(common_name: str, organization: str | None = None, country: str | None = None) -> x509.Name:
    given = ((NameOID.COUNTRY_NAME, country), (NameOID.ORGANIZATION_NAME, organization))
    attributes = [x509.NameAttribute(kind, value) for kind, value in given if value]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@dataclass
class Authority:
    """A CA: its key, its certificate, and what a server sends beside a leaf that it issued."""

    key: Any
    certificate: x509.Certificate
    sent: list[x509.Certificate]

    @classmethod
    def root(cls, subject: x509.Name, kind: str = "rsa", key: Any = None) -> Authority:
        key = key or new_key(kind)
        certificate = _ca(subject, subject, key, key, now() - 2000 * DAY, now() + 3000 * DAY)
        return cls(key, certificate, [])

    def intermediate(self, subject: x509.Name, kind: str = "rsa") -> Authority:
        key = new_key(kind)
        made = _ca(subject, self.certificate.subject, key, self.key, now() - 700 * DAY, now() + 1000 * DAY)
        return Authority(key, made, [made])

    def issue(
        self,
        names: list[str],
        kind: str = "ecdsa",
        begins: datetime.datetime | None = None,
        ends: datetime.datetime | None = None,
        organization: str | None = None,
    ) -> Leaf:
        """A leaf with the extensions of a public CA of our day, SCT list (of a log that nobody knows) included."""
        key = new_key(kind)
        at = "http://lab.invalid/"
        issuer_key_id = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        entries = [(b"\0" + os.urandom(32) + struct.pack(">QH", 1, 0) + b"\4\3\0\x08" + os.urandom(8)) for _ in "12"]
        scts = b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)
        body = struct.pack(">H", len(scts)) + scts
        access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(at + "ocsp"))
        issuers = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier(at + "ca.der")
        )
        points = x509.DistributionPoint([x509.UniformResourceIdentifier(at + "ca.crl")], None, None, None)
        usage = key_usage(digital_signature=True, key_encipherment=kind == "rsa")
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        policy = x509.PolicyInformation(x509.ObjectIdentifier("2.23.140.1.2.1"), None)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name(names[0], organization))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(int.from_bytes(b"\x0d" + os.urandom(15), "big"))
            .not_valid_before(begins or now() - 20 * DAY)
            .not_valid_after(ends or now() + 70 * DAY - datetime.timedelta(seconds=1))
            .add_extension(x509.AuthorityKeyIdentifier(issuer_key_id.digest, None, None), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(text) for text in names]), critical=False)
            .add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .add_extension(x509.CRLDistributionPoints([points]), critical=False)
            .add_extension(x509.CertificatePolicies([policy]), critical=False)
            .add_extension(x509.AuthorityInformationAccess([access, issuers]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
            .add_extension(x509.UnrecognizedExtension(SCT_LIST, b"\x04" + _length(len(body)) + body), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return Leaf(key, [certificate, *self.sent])


@dataclass
class Leaf:
    """A server's key with the chain that it sends."""

    key: Any
    chain: list[x509.Certificate]

    def save(self, folder: Path, stem: str) -> dict[str, Any]:
        """Write key and chain; what `origin` needs to know of them."""
        path = folder / f"{stem}.pem"
        path.write_bytes(key_pem(self.key) + pem(*self.chain))
        return {"pem": str(path), "chain": [sha256(certificate) for certificate in self.chain]}


def self_signed(names: list[str], common_name: str | None = None) -> Leaf:
    """What a router's own page shows."""
    key = new_key("rsa")
    subject = name(common_name or names[0])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - 300 * DAY)
        .not_valid_after(now() + 3000 * DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(text) for text in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Leaf(key, [certificate])


@dataclass
class Public:
    """The hierarchy that everybody in the laboratory trusts."""

    roots: dict[str, Authority]
    issuers: dict[str, Authority]

    @classmethod
    def make(cls) -> Public:
        roots = {kind: Authority.root(name(f"LAB Public Root {kind}", "LAB Trust"), kind) for kind in ("rsa", "ecdsa")}
        issuers = {
            kind: root.intermediate(name(f"LAB Server CA {kind}", "LAB Trust"), kind) for kind, root in roots.items()
        }
        return cls(roots, issuers)

    def pem(self) -> bytes:
        return pem(*(root.certificate for root in self.roots.values()))


def _ca(
    subject: x509.Name, issuer: x509.Name, key: Any, signer: Any, begins: datetime.datetime, ends: datetime.datetime
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _length(size: int) -> bytes:
    if size < 128:
        return bytes([size])
    body = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([0x80 | len(body)]) + body
