"""Handshakes that are encrypted, resumed, cut, missing or tampered with."""

from __future__ import annotations

import random
import ssl
from typing import Any

from recipes.built import Built, genuine_chain, qaznet_chain, supplied
from recipes.packets import ACK, FIN, OTHER, PSH, RST, SPRING_2026, SYN, Capture, Connection
from recipes.tls import (
    Authority,
    client_context,
    client_hello,
    der,
    message,
    openssl,
    record,
    server_context,
    server_flight,
)


def tls13_encrypted() -> Built:
    at = SPRING_2026
    public = Authority.make("LAB public root", at)
    capture = Capture(at)
    server = server_context(*public.issue(["www.example.org"], at), ssl.TLSVersion.TLSv1_3)
    openssl(Connection(capture, 50_051), "www.example.org", server, client_context())
    return Built(
        capture,
        "TLS 1.3 without keys",
        "The certificate is encrypted. Nothing can be said of it: neither that it was genuine nor that it was forged.",
        [
            {
                "server_name": "www.example.org",
                "state": "undetermined",
                "rule_id": "certificate-encrypted",
                "certificate_absent": "ENCRYPTED",
            }
        ],
    )


def resumed_session() -> Built:
    at = SPRING_2026
    public, box = Authority.make("LAB public root", at), Authority.make("LAB interception CA", at)
    capture = Capture(at)
    genuine = server_context(*public.issue(["www.example.org"], at), ssl.TLSVersion.TLSv1_2)
    forged = server_context(*box.issue(["vk.com"], at), ssl.TLSVersion.TLSv1_2)
    one, two = client_context(), client_context()
    session = openssl(Connection(capture, 50_061), "www.example.org", genuine, one)
    openssl(Connection(capture, 50_062), "www.example.org", genuine, one, session)
    session = openssl(Connection(capture, 50_063, OTHER), "vk.com", forged, two)
    openssl(Connection(capture, 50_064, OTHER), "vk.com", forged, two, session)
    options, files = supplied(public, ("interception.pem", box))
    return Built(
        capture,
        "Two resumed sessions: one of a genuine server, one of an interceptor",
        "A resumed TLS 1.2 session shows no certificate. The second one presents the ticket that was issued behind an\n"
        "interception certificate earlier in the capture; only the holder of that session's keys can accept it.",
        [
            {"server_name": "www.example.org", "state": "genuine", "rule_id": "trusted-by-supplied-anchor"},
            {
                "server_name": "www.example.org",
                "state": "undetermined",
                "rule_id": "session-resumed",
                "certificate_absent": "RESUMED",
                "resumed": "ticket",
                "resumes_frame": 6,
            },
            {"server_name": "vk.com", "state": "intercepted", "identity": "supplied_ca"},
            {
                "server_name": "vk.com",
                "state": "intercepted",
                "rule_id": "resumes-intercepted-session",
                "certificate_absent": "RESUMED",
            },
        ],
        options,
        files,
    )


def mid_connection() -> Built:
    at = SPRING_2026
    public = Authority.make("LAB public root", at)
    whole = Capture(at)
    server = server_context(*public.issue(["www.example.org"], at), ssl.TLSVersion.TLSv1_2)
    first = Connection(whole, 50_081)
    openssl(first, "www.example.org", server, client_context())
    cut = next(i for i, (_, frame) in enumerate(whole.packets) if frame[54:55] == b"\x17") + 0
    capture = Capture(at, whole.packets[cut:])
    capture.now = whole.now
    openssl(Connection(capture, 50_082), "www.example.org", server, client_context())
    options, files = supplied(public)
    return Built(
        capture,
        "A capture that starts in the middle of a connection",
        "The first connection is already in application data: neither name nor certificate were captured. The second is\n"
        "whole.",
        [
            {
                "server_name": None,
                "state": "undetermined",
                "rule_id": "handshake-not-captured",
                "certificate_absent": "NOT_CAPTURED",
            },
            {"server_name": "www.example.org", "state": "genuine", "rule_id": "trusted-by-supplied-anchor"},
        ],
        options,
        files,
    )


def untrusted_kinds() -> Built:
    at = SPRING_2026
    public, private = Authority.make("LAB public root", at), Authority.make("LAB company root", at)
    capture = Capture(at)
    v12 = ssl.TLSVersion.TLSv1_2
    names = ["www.example.org"]
    for port, context in (
        (50_091, server_context(*public.issue(names, at, days=-2), v12)),
        (50_092, server_context(*public.issue(["other.example.net"], at), v12)),
        (50_093, server_context(*public.issue(names, at, own=True), v12)),
        (50_094, server_context(*private.issue(names, at), v12)),
    ):
        openssl(Connection(capture, port), names[0], context, client_context())
    options, files = supplied(public)
    states = ["outside-its-dates", "other-name", "self-signed", "issuer-missing"]
    return Built(
        capture,
        "Certificates that a browser refuses, and that are no interception",
        "Expired, for another name, self-signed, and by a private CA that is not in the capture: each is named for what\n"
        "it is. An untrusted chain alone is not interception.",
        [{"server_name": "www.example.org", "state": "undetermined", "rule_id": rule} for rule in states],
        options,
        files,
    )


def missing_pieces() -> Built:
    at = SPRING_2026
    rng = random.Random(2041)
    public, private = Authority.make("LAB public root", at), Authority.make("LAB company root", at)
    capture = Capture(at)
    expected: list[dict[str, Any]] = []

    def connection(port: int, rule: str, **truth: Any) -> Connection:
        truth.setdefault("server_name", "www.example.org")
        expected.append({"state": "undetermined", "rule_id": rule, **truth})
        return Connection(capture, port)

    _, leaf = private.issue(["www.example.org"], at, days=200, strong=True)
    one = connection(54_001, "private-root")
    one.open()
    one.send(0, client_hello("www.example.org", rng))
    one.send(1, server_flight([der(leaf), der(private.certificate)], 0x009C, rng))
    one.close()
    two = connection(54_002, "plain-answer", certificate_absent="NOT_REACHED")
    two.open()
    two.send(0, client_hello("www.example.org", rng))
    two.send(1, b"HTTP/1.1 400 Bad Request\r\n\r\n", wait=0.03)
    two.close()
    three = connection(54_003, "no-answer", certificate_absent="NOT_REACHED")
    three.open()
    hello = client_hello("www.example.org", rng)
    three.packet(0, PSH | ACK, hello)
    three.seq[0] -= len(hello)
    three.packet(0, PSH | ACK, hello, wait=1.0)
    four = connection(54_004, "no-tls", server_name=None)
    four.open()
    four.close()
    five = connection(54_005, "one-sided", certificate_absent="ONE_SIDED")
    five.packet(0, SYN)
    five.packet(0, ACK)
    five.packet(0, PSH | ACK, client_hello("www.example.org", rng))
    six = connection(54_006, "no-certificate", certificate_absent="NOT_SENT")
    six.open()
    six.send(0, client_hello("www.example.org", rng, (0x00A8,)))
    hello = b"\x03\x03" + rng.randbytes(32) + b"\0" + b"\x00\xa8" + b"\0"
    six.send(1, record(22, message(2, hello) + message(14, b"")))
    six.close()
    _, trusted = public.issue(["www.example.org"], at, strong=True)
    seven = connection(54_007, "name-not-captured", server_name=None)
    seven.packet(1, SYN | ACK)
    seven.send(1, server_flight([der(trusted)], 0x009C, rng))
    eight = connection(54_008, "certificate-truncated", certificate_absent="TRUNCATED", certificates=[])
    eight.open()
    eight.send(0, client_hello("www.example.org", rng))
    flight = server_flight([der(trusted) + b"\0" * 2_000], 0x009C, rng)
    eight.packet(1, PSH | ACK, flight[:600], wait=0.03)
    nine = connection(54_009, "unreadable-certificate")
    nine.open()
    nine.send(0, client_hello("www.example.org", rng))
    nine.send(1, server_flight([b"\x30\x03\x02\x01\x05"], 0x009C, rng))
    nine.close()
    ten = connection(54_010, "client-reset-by-another-sender", state="interfered", server_name="vk.com")
    ten.ttl[0] = 60  # seen some hops from the client: beside it, its own tools send such resets
    ten.open()
    ten.packet(0, PSH | ACK, client_hello("vk.com", rng))
    ten.packet(0, RST | ACK, ttl=52)
    eleven = connection(54_011, "conflicting-server-bytes")
    eleven.open()
    eleven.send(0, client_hello("www.example.org", rng))
    flight = server_flight([der(trusted)], 0x009C, rng)
    start = eleven.seq[1]
    eleven.send(1, flight)
    eleven.seq[1] = start
    eleven.send(1, flight[:100] + rng.randbytes(200))
    options, files = supplied(public)
    return Built(
        capture,
        "What is missing, and why: one connection for each reason",
        "A private root on the wire, a plain answer by the server itself, silence once, no TLS at all, one direction only, no\n"
        "certificate sent (a pre-shared key), the client's side not captured, a certificate cut short, one that cannot be\n"
        "read, a reset in the client's name, and different bytes for the same place of the server's stream.",
        expected,
        options,
        files,
    )


def tricks() -> Built:
    at = SPRING_2026
    rng = random.Random(2043)
    public, box = Authority.make("LAB public root", at), Authority.make("LAB interception CA", at)
    capture = Capture(at)
    v12 = ssl.TLSVersion.TLSv1_2
    genuine = server_context(*public.issue(["www.example.org", "vk.com"], at, strong=True), v12)
    forged = server_context(*box.issue(["vk.com"], at, strong=True), v12)
    expected: list[dict[str, Any]] = []

    # a circumvention tool's decoy before the real hello, and an interceptor all the same
    openssl(Connection(capture, 56_001), "vk.com", forged, client_context(), decoy=client_hello("decoy.example", rng))
    expected.append(
        {
            "server_name": "vk.com",
            "other_server_names": ["decoy.example"],
            "state": "intercepted",
            "possession": "proved",
            "target": {"name": "vk.com", "match": "exact"},
        }
    )
    # a ticket issued by the interceptor, declined by the genuine server; the capture lost the Certificate
    two = client_context()
    session = openssl(Connection(capture, 56_002, OTHER), "vk.com", forged, two)
    declined = Connection(capture, 56_003, OTHER)
    declined.segment = 200
    openssl(declined, "vk.com", genuine, two, session, lose=2)
    expected.append({"server_name": "vk.com", "state": "intercepted"})
    expected.append({"server_name": "vk.com", "state": "undetermined", "resumed": None})
    # a stray reset that everybody ignored
    start = len(capture.packets)
    openssl(Connection(capture, 56_004), "www.example.org", genuine, client_context())
    hello_at = next(i for i in range(start, len(capture.packets)) if capture.packets[i][1][54:55] == b"\x16")
    stray = Capture(at)
    connection = Connection(stray, 56_004)
    connection.seq[1] += 10_000_000
    connection.packet(1, RST | ACK, ttl=99)
    capture.packets.insert(hello_at + 1, (capture.packets[hello_at][0] + 1e-4, stray.packets[0][1]))
    expected.append({"server_name": "www.example.org", "state": "genuine"})
    # two flights for the same bytes, the second with a known interception chain
    five = Connection(capture, 56_005, "203.0.113.90")
    five.open()
    five.send(0, client_hello("www.facebook.com", rng))
    begin = five.seq[1]
    five.send(1, server_flight(genuine_chain(), 0x009C, rng))
    five.seq[1] = begin
    five.send(1, server_flight(qaznet_chain(), 0x009C, rng))
    expected.append(
        {
            "server_name": "www.facebook.com",
            "state": "suspected",
            "rule_id": "interception-chain-in-conflicting-bytes",
            "identity": "unknown",
        }
    )
    # a reset between the two segments of a hello
    six = Connection(capture, 56_006)
    six.open()
    hello = client_hello("vk.com", rng)
    six.packet(0, PSH | ACK, hello[:90])
    six.packet(1, RST | ACK, wait=0.01, ttl=125)
    six.packet(0, PSH | ACK, hello[90:])
    expected.append({"server_name": "vk.com", "state": "interfered", "rule_id": "reset-by-another-sender"})
    # a client that cancels three times within a millisecond, between controls that get through
    for turn in range(3):
        seven = Connection(capture, 56_010 + turn * 2)
        seven.open()
        seven.packet(0, PSH | ACK, client_hello("mail.ru", rng))
        seven.packet(0, FIN | ACK, wait=0.001)
        expected.append({"server_name": "mail.ru", "state": "undetermined"})
        openssl(Connection(capture, 56_011 + turn * 2), "www.example.org", genuine, client_context())
        expected.append({"server_name": "www.example.org", "state": "genuine"})
    # a reset as far away as the server, from another initial TTL
    eight = Connection(capture, 56_020)
    eight.open()
    eight.packet(0, PSH | ACK, client_hello("vk.com", rng))
    eight.packet(1, RST | ACK, ttl=248)
    expected.append({"server_name": "vk.com", "state": "undetermined", "rule_id": "reset-once"})
    options, files = supplied(public, ("interception.pem", box))
    return Built(
        capture,
        "Tricks and accidents that must not turn a verdict round",
        "A decoy hello before an intercepted one; an interceptor's ticket that the genuine server declined, with the\n"
        "Certificate lost; a stray reset that everybody ignored; two chains for the same bytes; a reset between the two\n"
        "segments of a hello; a client that cancels at once; a reset as far away as the server, from another initial TTL.",
        expected,
        options,
        files,
    )


def hidden_interception() -> Built:
    at = SPRING_2026
    public, box = Authority.make("LAB public root", at), Authority.make("LAB unknown box", at)
    capture = Capture(at)
    v13 = ssl.TLSVersion.TLSv1_3
    genuine = server_context(*public.issue(["vk.com", "www.example.org"], at, days=3_000, strong=True), v13)
    forged = server_context(*box.issue(["vk.com"], at, days=3_000), v13)
    expected: list[dict[str, Any]] = []
    encrypted = {"state": "undetermined", "rule_id": "certificate-encrypted", "certificate_absent": "ENCRYPTED"}
    odd = {"state": "suspected", "rule_id": "hidden-answer-differs", "identity": "unknown",
           "remark": "the client refused the hidden certificate with the alert unknown_ca"}  # fmt: skip
    for port, name, server, truth in (
        (59_001, "vk.com", genuine, encrypted),
        (59_002, "www.example.org", genuine, encrypted),
        (59_003, "vk.com", forged, odd),
        (59_004, "vk.com", genuine, encrypted),
        (59_005, "www.example.org", genuine, encrypted),
        (59_006, "vk.com", forged, odd),
        (59_007, "vk.com", genuine, encrypted),
    ):
        openssl(Connection(capture, port), name, server, client_context(public), answer_ttl=None)
        expected.append({"server_name": name, **truth})
    return Built(
        capture,
        "TLS 1.3 without keys: what remains when the certificate is hidden",
        "Three connections to a listed name are answered by its server, two by a box; the certificates cannot be seen. What\n"
        "remains: the client refuses the box's flight with an alert (OpenSSL sends it in clear; a browser's is encrypted, 19\n"
        "bytes where its Finished should be), and that flight has another size. Two kinds of difference, twice, and none in\n"
        "the control: suspected, and never more. OpenSSL on both sides under throw-away CAs.",
        expected,
    )
