"""Interception, and what bears its marks: the real chain of 2019, copies, imitations, other authorities."""

from __future__ import annotations

import datetime
import random
import ssl
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from recipes.built import Built, genuine_chain, published, qaznet_chain, supplied
from recipes.packets import JULY_2019, SPRING_2026, Capture, Connection
from recipes.tls import (
    Authority,
    client_context,
    client_hello,
    der,
    openssl,
    rsa_handshake,
    server_context,
    server_flight,
    vector,
)


def kz_2019_rcku() -> Built:
    rng = random.Random(2019)
    capture = Capture(JULY_2019)
    rsa_handshake(Connection(capture, 50_001), "rcku.kz", genuine_chain(), rng)
    rsa_handshake(Connection(capture, 50_002), "www.facebook.com", qaznet_chain(), rng)
    rsa_handshake(Connection(capture, 50_003), "rcku.kz", genuine_chain(), rng)
    return Built(
        capture,
        "July 2019, rebuilt: the same server with a listed name and with its own",
        "A RECONSTRUCTION, no recording. The chain of the second connection is the real one that Kazakhstan's system\n"
        "showed for rcku.kz in July 2019 (published by Censored Planet with full PEM); the handshake around it, times\n"
        "and addresses are made up. The name asked is a listed one and the certificate is the server's own, forged, as\n"
        "the published probes saw it. RSA key exchange: the server signs nothing, so nobody's key was needed. Because the\n"
        "certificate is public, kzpcap says that a replay cannot be excluded. The two connections around it ask for the\n"
        "server's own name and get its genuine chain.",
        [
            {"server_name": "rcku.kz", "state": "genuine", "rule_id": "publicly-trusted", "target": None},
            {
                "server_name": "www.facebook.com",
                "state": "intercepted",
                "rule_id": "signed-by-known-interception-ca",
                "identity": "known_generation:kz-2019-qaznet",
                "target": {"list": "kz-2019", "match": "exact", "in_force": True},
                "possession": "not_possible",
                "remark": "a replay cannot be excluded",
            },
            {"server_name": "rcku.kz", "state": "genuine", "rule_id": "publicly-trusted", "target": None},
        ],
    )


def kz_2019_rcku_genuine() -> Built:
    rng = random.Random(2020)
    capture = Capture(JULY_2019)
    rsa_handshake(Connection(capture, 50_011), "rcku.kz", genuine_chain(), rng)
    return Built(
        capture,
        "The genuine twin: rcku.kz with its own certificate, by the trust of July 2019",
        "Built around the published genuine certificate of rcku.kz and its issuer. The root was in the public bundle of\n"
        "2019; it has since been removed, so today's trust store would judge this capture wrongly.",
        [{"server_name": "rcku.kz", "state": "genuine", "rule_id": "publicly-trusted", "possession": "not_possible"}],
    )


def replayed_chain() -> Built:
    rng = random.Random(2021)
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_021)
    connection.open()
    connection.send(0, client_hello("www.facebook.com", rng))
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    raw = point.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    exchange = b"\x03\x00\x17" + vector(raw, 1) + b"\x04\x01" + vector(rng.randbytes(256), 2)
    connection.send(1, server_flight(qaznet_chain(), 0xC02F, rng, exchange), wait=0.034)
    connection.close()
    return Built(
        capture,
        "The real forged chain of 2019, replayed by somebody without its key",
        "The ServerKeyExchange is not signed with the leaf's key: whoever answered has only the published certificate.\n"
        "This is no interception by the CA's owner, and kzpcap must not say so.",
        [
            {
                "server_name": "www.facebook.com",
                "state": "undetermined",
                "rule_id": "replayed-without-its-key",
                "possession": "refuted",
            }
        ],
    )


def lab_interception() -> Built:
    at = SPRING_2026
    public, box = Authority.make("LAB public root", at), Authority.make("LAB interception CA", at)
    capture = Capture(at)
    genuine = server_context(*public.issue(["www.example.org", "vk.com"], at), ssl.TLSVersion.TLSv1_2)
    forged = server_context(*box.issue(["vk.com"], at, strong=True), ssl.TLSVersion.TLSv1_2)
    openssl(Connection(capture, 50_031), "www.example.org", genuine, client_context())
    openssl(Connection(capture, 50_032), "vk.com", forged, client_context(), answer_ttl=61)
    openssl(Connection(capture, 50_033), "vk.com", forged, client_context(public), answer_ttl=61)
    options, files = supplied(public, ("interception.pem", box))
    return Built(
        capture,
        "A laboratory interceptor that takes over at the ClientHello; one client goes on, one refuses",
        "OpenSSL on both sides under throw-away CAs (names say LAB). The second and third connections are answered by\n"
        "a box four hops nearer than the server: the SYN-ACK has TTL 57, the ServerHello 61. The third client knows the\n"
        "public root only and refuses the certificate with an alert.",
        [
            {
                "server_name": "www.example.org",
                "state": "genuine",
                "rule_id": "trusted-by-supplied-anchor",
                "possession": "proved",
            },
            {
                "server_name": "vk.com",
                "state": "intercepted",
                "rule_id": "signed-by-supplied-interception-ca",
                "identity": "supplied_ca",
                "possession": "proved",
                "client_reaction": "went_on",
                "remark": "two senders",
            },
            {
                "server_name": "vk.com",
                "state": "intercepted",
                "rule_id": "signed-by-supplied-interception-ca",
                "identity": "supplied_ca",
                "client_reaction": "refused",
            },
        ],
        options,
        files,
    )


def names_without_the_key() -> Built:
    at = JULY_2019
    imitation = Authority.make("Security Certificate", at, "KZ")
    capture = Capture(at)
    forged = server_context(*imitation.issue(["vk.com"], at), ssl.TLSVersion.TLSv1_2)
    openssl(Connection(capture, 50_041), "vk.com", forged, client_context())
    return Built(
        capture,
        "The names of 2019 over another key",
        "A throw-away CA called C=KZ, CN=Security Certificate, like the intermediate of 2019. A name is not a signature:\n"
        "kzpcap may suspect, and must name nobody.",
        [
            {
                "server_name": "vk.com",
                "state": "suspected",
                "rule_id": "imitates-known-interception-ca",
                "identity": "unknown",
                "possession": "proved",
            }
        ],
    )


def resigned_copy() -> Built:
    at = SPRING_2026
    rng = random.Random(2051)
    public, box = Authority.make("LAB public root", at), Authority.make("LAB unknown box", at)
    _, genuine = public.issue(["vk.com", "www.vk.com"], at, strong=True)
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
        (57_004, stranger, {"state": "undetermined", "rule_id": "issuer-missing"}),
    ):
        rsa_handshake(Connection(capture, port), "vk.com", [der(leaf)], rng)
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
    ):
        rsa_handshake(Connection(capture, port), name, chain, rng)
        expected.append({"server_name": name, **truth})
    return Built(
        capture,
        "A root that has just left, a national CA, and names that nothing can verify",
        "rcku.kz's genuine chain seven years later (its root has just left the bundle), Russia's national CA, a leaf under the name\n"
        "of Kazakhstan's ISCA whose intermediates nobody published, Qaznet's own published root shown as a server's\n"
        "certificate, and a known intermediate that stands in the list and signed nothing. None of these is interception.",
        expected,
    )
