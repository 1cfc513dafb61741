"""Who signed: re-signed copies beside the genuine certificate, products, national and unknown authorities."""

from __future__ import annotations

import datetime
import random
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from recipes.built import Built, genuine_chain, published, supplied
from recipes.packets import OTHER, SERVER, SPRING_2026, Capture, Connection
from recipes.tls import Authority, der, rsa_handshake


def resigned_copy() -> Built:
    at = SPRING_2026
    rng = random.Random(2051)
    public, box = Authority.make("LAB public root", at), Authority.make("LAB unknown box", at)
    _, genuine = public.issue(["vk.com", "www.vk.com"], at - datetime.timedelta(minutes=42, seconds=7), strong=True)
    hours = datetime.timedelta(hours=6)

    def resign(shift: datetime.timedelta, serial: int) -> x509.Certificate:
        key = rsa.generate_private_key(3, 2048)
        builder = (
            x509.CertificateBuilder()
            .subject_name(genuine.subject)
            .issuer_name(box.name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(genuine.not_valid_before_utc - shift)
            .not_valid_after(genuine.not_valid_after_utc - shift)
        )
        names = genuine.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return builder.add_extension(names.value, critical=False).sign(box.key, hashes.SHA256())

    capture = Capture(at)
    _, stranger = box.issue(["vk.com", "www.vk.com"], at, days=365, strong=True)
    expected: list[dict[str, Any]] = []
    for port, leaf, truth in (
        (57_001, genuine, {"state": "genuine", "rule_id": "trusted-by-supplied-anchor"}),
        (
            57_002,
            resign(hours, genuine.serial_number + 0xADB3),
            {"state": "intercepted", "rule_id": "resigned-copy-of-genuine-certificate", "identity": "unknown"},
        ),
        (
            57_003,
            resign(datetime.timedelta(0), x509.random_serial_number()),
            {"state": "intercepted", "rule_id": "resigned-copy-of-genuine-certificate", "identity": "unknown"},
        ),
        (57_004, stranger, {"state": "undetermined", "rule_id": "private-root"}),
    ):
        rsa_handshake(
            Connection(capture, port), "vk.com", [der(leaf)] + [der(box.certificate)] * (leaf is not genuine), rng
        )
        expected.append({"server_name": "vk.com", **truth})
    options, files = supplied(public)
    return Built(
        capture,
        "Re-signed copies beside the genuine certificate, by a box that nobody knows",
        "The second leaf has the genuine one's subject and names, both dates six hours earlier and a serial a little higher;\n"
        "the third its exact dates (as squid makes them). Each is proven to be re-signed, and by whom nothing is said. The\n"
        "fourth has the same names by the same box, but neither dates nor serial of the genuine one: that proves nothing.",
        expected,
        options,
        files,
    )


def other_authorities() -> Built:
    rng = random.Random(2042)
    at = datetime.datetime(2026, 6, 20, 12, 0, 0, tzinfo=datetime.UTC)
    capture = Capture(at)
    isca = Authority.make("Information Security Certification Authority", at)
    isca.name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "KZ"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ISCA"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Information Security Certification Authority"),
        ]
    )
    _, unverified = isca.issue(["xakep.ru"], at, strong=True)
    russian = [published("ru2022_sub_Russian_Trusted_Sub_CA.pem"), published("ru2022_root_Russian_Trusted_Root_CA.pem")]
    expected: list[dict[str, Any]] = []
    for port, name, chain, truth in (
        (55_001, "rcku.kz", genuine_chain(), {"state": "undetermined", "rule_id": "trust-disputed"}),
        (55_002, "gosuslugi.ru", russian, {"state": "undetermined", "rule_id": "signed-by-national-ca"}),
        (
            55_003,
            "xakep.ru",
            [der(unverified)],
            {"state": "suspected", "rule_id": "bears-names-of-known-interception-ca", "identity": "unknown"},
        ),
        (
            55_004,
            "vk.com",
            [published("kz2016_root_Qaznet_Trust_Network.pem")],
            {"state": "undetermined", "rule_id": "self-signed"},
        ),
        (
            55_005,
            "vk.com",
            [der(unverified), published("kz2019_intermediate_Security_Certificate.pem")],
            {"state": "suspected", "rule_id": "bears-names-of-known-interception-ca", "identity": "unknown"},
        ),
        (
            55_006,
            "github.com",
            [published("cn2020_github_mitm_leaf.pem")],
            {"state": "suspected", "rule_id": "shows-known-interception-leaf", "identity": "unknown"},
        ),
    ):
        rsa_handshake(Connection(capture, port), name, chain, rng)
        expected.append({"server_name": name, **truth})
    return Built(
        capture,
        "A root that has just left, a national CA, and names that nothing can verify",
        "rcku.kz's genuine chain seven years later (its root has just left the bundle), Russia's national CA, a leaf under the name\n"
        "of Kazakhstan's ISCA whose intermediates nobody published, Qaznet's own published root shown as a server's\n"
        "certificate, a known intermediate that stands in the list and signed nothing, and the published leaf that was shown\n"
        "for GitHub in China in 2020, whose key nothing proves. None of these settles an interception.",
        expected,
    )


def shaped_as_in_2019(authority: Authority, name: str, at: datetime.datetime) -> x509.Certificate:
    """A leaf with the extensions, their order and criticality, of the published forged leaves of July 2019."""
    key = rsa.generate_private_key(3, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    owner = x509.AuthorityKeyIdentifier(
        x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key()).digest,
        [x509.DirectoryName(authority.name)],
        authority.certificate.serial_number,
    )
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    usage = x509.KeyUsage(True, False, True, False, False, False, False, False, False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - datetime.timedelta(days=90))
        .not_valid_after(at + datetime.timedelta(days=300))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(owner, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
        .add_extension(usage, critical=False)
        .add_extension(purposes, critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return builder.sign(authority.key, hashes.SHA256())


def copy_of(genuine: x509.Certificate, authority: Authority) -> x509.Certificate:
    """The genuine leaf's subject, names and dates under another authority and key."""
    key = rsa.generate_private_key(65537, 2048)
    names = genuine.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return (
        x509.CertificateBuilder()
        .subject_name(genuine.subject)
        .issuer_name(authority.name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(genuine.not_valid_before_utc)
        .not_valid_after(genuine.not_valid_after_utc)
        .add_extension(names.value, critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def products_and_strangers() -> Built:
    at = SPRING_2026
    rng = random.Random(2052)
    capture = Capture(at)
    public = Authority.make("LAB public root", at)
    shield = Authority.make("avast! Web/Mail Shield Root", at, organization="avast! Web/Mail Shield")
    filtering, stranger = Authority.make("ESET SSL Filter CA", at), Authority.make("LAB stranger", at)
    chooser = Authority.make("LAB chooser", at)
    _, bank = public.issue(["bank.example"], at, strong=True)
    product = {"state": "suspected", "rule_id": "product-by-issuer-names"}
    chosen = {"state": "suspected", "rule_id": "private-issuer-for-targets-only", "identity": "unknown"}
    genuine = {"state": "genuine", "rule_id": "trusted-by-supplied-anchor"}
    expected: list[dict[str, Any]] = []
    for port, server, name, chain, truth in (
        (58_001, SERVER, "bank.example", [bank], genuine),
        (
            58_002,
            SERVER,
            "bank.example",
            [copy_of(bank, shield), shield.certificate],
            {
                "state": "intercepted",
                "rule_id": "resigned-by-product",
                "identity": "product:avast",
                "place": "volunteer_side",
            },
        ),
        (
            58_003,
            SERVER,
            "mail.example",
            [filtering.issue(["mail.example"], at, strong=True)[1], filtering.certificate],
            product | {"identity": "product:eset", "place": "unknown"},
        ),
        (
            58_004,
            SERVER,
            "gateway.example",
            [filtering.issue(["other.example"], at, strong=True)[1]],
            {"state": "undetermined", "rule_id": "private-root"},
        ),
        (
            58_005,
            SERVER,
            "www.youtube.com",
            [shaped_as_in_2019(stranger, "www.youtube.com", at)],
            {"state": "suspected", "rule_id": "structural-marks", "identity": "unknown"},
        ),
        (
            58_006,
            OTHER,
            "vk.com",
            [chooser.issue(["vk.com"], at, strong=True)[1], chooser.certificate],
            chosen | {"remark": "one private issuer"},
        ),
        (
            58_007,
            SERVER,
            "www.instagram.com",
            [chooser.issue(["www.instagram.com"], at, strong=True)[1], chooser.certificate],
            chosen | {"remark": '"LAB chooser", for 2 names at 2 servers'},
        ),
        (58_008, OTHER, "news.example", [public.issue(["news.example"], at, strong=True)[1]], genuine),
        (58_009, SERVER, "shop.example", [public.issue(["shop.example"], at, strong=True)[1]], genuine),
    ):
        talk = Connection(capture, port, server)
        if truth.get("place") == "volunteer_side":  # the product on the device itself: no router lowered its TTL
            talk.ttl[1] = 64
        rsa_handshake(talk, name, [der(one) for one in chain], rng)
        expected.append({"server_name": name, **truth})
    options, files = supplied(public)
    return Built(
        capture,
        "Products by the names of their issuers, and strangers by what they do",
        "An antivirus on the device that re-signs a bank's certificate beside the genuine one (a proven copy, by names that prove\n"
        "nothing, with a TTL that no router lowered);\n"
        "another product with nothing to compare; the same product's names over a certificate for another name (its own page:\n"
        "no interception); a leaf with every structural mark of July 2019 by a CA that nobody has seen; and a private CA that\n"
        "signs for two listed names at two servers and for no other, while other names get public chains. Handshakes are put\n"
        "together message by message with RSA key exchange, so nobody's possession of a key is shown.",
        expected,
        options,
        files,
    )  # fmt: skip
