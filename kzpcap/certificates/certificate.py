"""What one certificate says: a frozen record of facts, read tolerantly.

A certificate that `cryptography` refuses is kept with its digest and the reason: its bytes are evidence all the same.
RFC 5280; the shape of AuthorityKeyIdentifier and the order of extensions are kept because forgers differ there.
"""

# Annotations are not postponed: NamedTuple would compile each of them at every start.
import hashlib
import warnings
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, Self

from kzpcap.certificates.der import VERSION_TAG, der_length, fields, signed_bytes
from kzpcap.certificates.lenient import rewritten
from kzpcap.certificates.signature import MAX_EXPONENT_BITS
from kzpcap.kept import kept

MAX_NAMES = 1_000
MAX_EXTENSIONS = 256
"""Of those that are not critical."""
MAX_PURPOSES = 64
TLS_PURPOSES = frozenset({"1.3.6.1.5.5.7.3.1", "2.5.29.37.0"})
"""serverAuth, and any."""
OBJECT = 100
"""About how many bytes one entry of a list takes."""
TEXT_LIMIT = 512
LONG = 16_384
"""Bytes of a certificate beyond which nothing is remembered of it: a real one seldom has four thousand."""


class Certificate(NamedTuple):
    """One certificate; times are nanoseconds UTC, digests and serials lower-case hex."""

    sha256: str
    sha1: str
    der: bytes
    problem: str | None = None
    """Why it could not be read (the fields below are then empty)."""
    subject: str = ""
    issuer: str = ""
    subject_key: str = ""
    """The subject as names are compared: string types, case and spaces do not count (RFC 5280 section 7.1)."""
    issuer_key: str = ""
    subject_der: bytes = b""
    common_name: str = ""
    issuer_common_name: str = ""
    issuer_organization: str = ""
    serial: str = ""
    not_before: int = 0
    not_after: int = 0
    spki_sha256: str = ""
    key: str = ""
    """Key type and size: RSA-2048, EC-secp256r1, Ed25519."""
    exponent: int | None = None
    signature_hash: str = ""
    extensions: tuple[tuple[str, bool], ...] = ()
    """(dotted OID, critical) in the order of the certificate."""
    dns_names: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    is_ca: bool = False
    path_length: int | None = None
    can_sign: bool = True
    """keyUsage is absent or has keyCertSign."""
    subject_key_id: str | None = None
    authority_key_id: str | None = None
    authority_has_issuer: bool = False
    """AuthorityKeyIdentifier also names issuer and serial, which public CAs rarely send."""
    has_scts: bool = False
    purposes: tuple[str, ...] | None = None
    """extendedKeyUsage as dotted OIDs; None where the extension is absent."""
    permitted_names: tuple[str, ...] | None = None
    """nameConstraints' permitted dNSNames; None where none are given."""
    excluded_names: tuple[str, ...] = ()

    @property
    def weight(self) -> int:
        """About how many bytes it takes."""
        names = sum(map(len, self.dns_names))
        listed = len(self.extensions) + len(self.purposes or ()) + len(self.ip_addresses) + len(self.dns_names)
        names += OBJECT * (listed + len(self.permitted_names or ()) + len(self.excluded_names))
        return len(self.der) + len(self.subject_der) + len(self.subject_key) + len(self.issuer_key) + names

    @property
    def spki_der(self) -> bytes:
        """SubjectPublicKeyInfo as encoded; empty where it cannot be read."""
        try:
            tbs = signed_bytes(self.der)
            return _spki_der(tbs, fields(tbs))
        except Exception:  # whatever the parser stumbles over
            return b""

    @property
    def serial_is_key_hash(self) -> bool:
        """Is the serial the SHA-1 of the public key (RFC 5280 section 4.2.1.2 method 1) with its top bit cleared?"""
        from cryptography import x509

        try:
            digest = x509.SubjectKeyIdentifier.from_public_key(load(self.der).public_key()).digest
            return int(self.serial or "0", 16) == int.from_bytes(digest, "big") & (1 << 159) - 1
        except Exception:  # whatever the parser stumbles over
            return False

    @property
    def serves_tls(self) -> bool:
        """May it stand in a TLS server's chain: extendedKeyUsage is absent, or has serverAuth or any?"""
        return self.purposes is None or not TLS_PURPOSES.isdisjoint(self.purposes)

    @property
    def self_named(self) -> bool:
        """Subject and issuer are equal."""
        return bool(self.subject_key) and self.subject_key == self.issuer_key

    @property
    def has_san(self) -> bool:
        """Is there a subjectAltName?"""
        return any(oid == "2.5.29.17" for oid, _ in self.extensions)


def digest(der: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(der).hexdigest()


@kept(512, LONG)
def parse(der: bytes) -> Certificate:
    """Read one DER certificate; never raises for bad bytes. The captures of a run show the same few again and again."""
    fingerprint = digest(der)
    sha1 = hashlib.sha1(der, usedforsecurity=False).hexdigest()
    for read in (load, _rewritten):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # cryptography warns of odd serials and lengths; they are facts here
                return _read(der, read(der), fingerprint, sha1)
        except Exception:
            continue
    return Certificate(fingerprint, sha1, der, problem="it is no well-formed X.509 certificate")


@kept(128, LONG)
def load(der: bytes) -> Any:
    """cryptography's certificate of these bytes, without its warnings; bytes behind the DER are left out.

    One certificate is asked for again and again: by each issuer that may have signed it, by each signature of its key.
    """
    from cryptography import x509

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd serials and lengths are facts here
        try:
            return x509.load_der_x509_certificate(der)
        except (ValueError, x509.InvalidVersion):
            trimmed = der_length(der)
            if 0 < trimmed < len(der):
                return load(der[:trimmed])
            return _rewritten(der)


def _rewritten(der: bytes) -> Any:
    from cryptography import x509

    return x509.load_der_x509_certificate(rewritten(der))


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def _read(der: bytes, cert: Any, fingerprint: str, sha1: str) -> Certificate:
    found: dict[str, Any] = {}
    tbs = signed_bytes(der)
    parts = fields(tbs)
    key_name, exponent = "", None
    spki = _spki_der(tbs, parts)
    try:
        key = cert.public_key()
        key_name, exponent = _key(key)
        spki = spki or _encoded(key)
    except Exception as error:  # an unknown or broken key
        key_name = f"unreadable ({type(error).__name__})"
    try:
        found = _extension_facts(cert)
    except Exception:
        found = {"problem": "its extensions are not well formed"}
    serial = _serial(tbs, parts) or format(cert.serial_number & (1 << 160) - 1, "x")
    try:
        algorithm = cert.signature_hash_algorithm
        hash_name = algorithm.name if algorithm else cert.signature_algorithm_oid.dotted_string
    except Exception:
        hash_name = cert.signature_algorithm_oid.dotted_string
    subject = cert.subject
    own = Names.of(subject)
    issuer = _issuer(cert, tbs, parts)
    return Certificate(
        fingerprint,
        sha1,
        der,
        subject=own.text[:TEXT_LIMIT],
        issuer=issuer.text[:TEXT_LIMIT],
        subject_key=name_key(own.text),
        issuer_key=name_key(issuer.text),
        subject_der=subject.public_bytes(),
        common_name=own.common_name,
        issuer_common_name=issuer.common_name,
        issuer_organization=issuer.organization,
        serial=serial,
        not_before=_nanoseconds(cert.not_valid_before_utc),
        not_after=_nanoseconds(cert.not_valid_after_utc),
        spki_sha256=digest(spki) if spki else "",
        key=key_name,
        exponent=exponent,
        signature_hash=hash_name,
        **found,
    )


class Names(NamedTuple):
    """What a distinguished name says; `text` after RFC 4514."""

    text: str
    common_name: str
    organization: str

    @classmethod
    def of(cls, name: Any) -> Self:
        """Read cryptography's name; the last value of each attribute counts."""
        common_name, organization = _oids()
        return cls(str(name.rfc4514_string()), _attribute(name, common_name), _attribute(name, organization))


_ISSUERS: dict[bytes, Names] = {}
MAX_ISSUERS = 1_024
LONG_NAME = 1_024


def _issuer(cert: Any, tbs: bytes, parts: list[tuple[int, int, int, int]]) -> Names:
    """The issuer's names; few issuers sign many certificates, so they are kept by their bytes."""
    place = 3 if parts and parts[0][1] == VERSION_TAG else 2
    if len(parts) <= place:
        return Names.of(cert.issuer)
    der = tbs[parts[place][0] : parts[place][3]]
    found = _ISSUERS.get(der)
    if found is None:
        found = Names.of(cert.issuer)
        if len(der) <= LONG_NAME:
            if len(_ISSUERS) >= MAX_ISSUERS:
                _ISSUERS.clear()
            _ISSUERS[der] = found
    return found


@lru_cache(maxsize=1)
def _oids() -> tuple[Any, Any]:
    """Of commonName and organizationName."""
    from cryptography.x509 import ObjectIdentifier

    return ObjectIdentifier("2.5.4.3"), ObjectIdentifier("2.5.4.10")


def _encoded(key: Any) -> bytes:
    """SubjectPublicKeyInfo as cryptography encodes it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def name_key(text: str) -> str:
    """A distinguished name (RFC 4514 text) in the form in which names are compared here.

    The order of its parts does not count either: names only choose which keys are tried.
    """
    return ",".join(sorted(" ".join(text.casefold().split()).split(",")))


def _attribute(name: Any, oid: Any) -> str:
    """The last value of one attribute of a distinguished name."""
    values = name.get_attributes_for_oid(oid)
    value = values[-1].value if values else ""
    return (value if isinstance(value, str) else value.decode("utf-8", "replace"))[:TEXT_LIMIT]


def _key(key: Any) -> tuple[str, int | None]:
    from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e
        if exponent.bit_length() > MAX_EXPONENT_BITS:
            return f"RSA-{key.key_size} with an exponent of {exponent.bit_length():,} bits", None
        return f"RSA-{key.key_size}", exponent
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC-{key.curve.name}", None
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "Ed25519", None
    if isinstance(key, ed448.Ed448PublicKey):
        return "Ed448", None
    if isinstance(key, dsa.DSAPublicKey):
        return f"DSA-{key.key_size}", None
    return type(key).__name__, None


def _extension_facts(cert: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    readers = _readers()
    order: list[tuple[str, bool]] = []
    for extension in cert.extensions:
        if len(order) < MAX_EXTENSIONS or extension.critical:
            order.append((extension.oid.dotted_string, extension.critical))
        read = readers.get(type(extension.value))
        if read is not None:
            found.update(read(extension.value))
    found["extensions"] = tuple(order)
    return found


@lru_cache(maxsize=1)
def _readers() -> dict[type, Callable[[Any], dict[str, Any]]]:
    """By the type of an extension's value: the fields that it gives."""
    from cryptography import x509

    def alternative_names(value: Any) -> dict[str, Any]:
        addresses = value.get_values_for_type(x509.IPAddress)
        return {
            "dns_names": tuple(value.get_values_for_type(x509.DNSName))[:MAX_NAMES],
            "ip_addresses": tuple(str(address) for address in addresses)[:MAX_NAMES],
        }

    def authority(value: Any) -> dict[str, Any]:
        return {
            "authority_key_id": value.key_identifier.hex() if value.key_identifier else None,
            "authority_has_issuer": value.authority_cert_issuer is not None,
        }

    def purposes(value: Any) -> dict[str, Any]:
        listed = [oid.dotted_string for oid in value]
        return {"purposes": tuple(listed[:MAX_PURPOSES]) + tuple(TLS_PURPOSES.intersection(listed[MAX_PURPOSES:]))}

    def constraints(value: Any) -> dict[str, Any]:
        permitted = [n.value for n in value.permitted_subtrees or () if isinstance(n, x509.DNSName)]
        excluded = [n.value for n in value.excluded_subtrees or () if isinstance(n, x509.DNSName)]
        return {
            "permitted_names": tuple(permitted)[:MAX_NAMES] if permitted else None,
            "excluded_names": tuple(excluded)[:MAX_NAMES],
        }

    return {
        x509.SubjectAlternativeName: alternative_names,
        x509.BasicConstraints: lambda value: {"is_ca": value.ca, "path_length": value.path_length},
        x509.KeyUsage: lambda value: {"can_sign": value.key_cert_sign},
        x509.SubjectKeyIdentifier: lambda value: {"subject_key_id": value.digest.hex()},
        x509.AuthorityKeyIdentifier: authority,
        x509.NameConstraints: constraints,
        x509.ExtendedKeyUsage: purposes,
        x509.PrecertificateSignedCertificateTimestamps: lambda _: {"has_scts": True},
    }


def _serial(tbs: bytes, parts: list[tuple[int, int, int, int]]) -> str:
    """The serial number's bytes as they stand in the certificate: leading zeros and length are traits."""
    for _, tag, start, end in parts[:2]:
        if tag == 2:
            body = tbs[start:end]
            return (body[1:] if len(body) > 1 and body[0] == 0 else body).hex()
    return ""


def _spki_der(tbs: bytes, parts: list[tuple[int, int, int, int]]) -> bytes:
    """SubjectPublicKeyInfo as encoded, also where the key itself cannot be loaded."""
    if parts and parts[0][1] == VERSION_TAG:
        parts = parts[1:]
    if len(parts) < 6:
        return b""
    start, tag, _, end = parts[5]
    return tbs[start:end] if tag == 0x30 else b""
