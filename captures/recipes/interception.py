"""Interception, and what bears its marks: the real chain of 2019, copies, imitations, other authorities."""

from __future__ import annotations

import random
import ssl

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from recipes.built import Built, genuine_chain, qaznet_chain, supplied
from recipes.packets import JULY_2019, SPRING_2026, Capture, Connection
from recipes.tls import (
    Authority,
    client_context,
    client_hello,
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
