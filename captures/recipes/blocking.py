"""Resets, block pages and silence."""

from __future__ import annotations

import random
import ssl

from recipes.built import Built, supplied
from recipes.packets import ACK, FIN, PSH, RST, SPRING_2026, Capture, Connection
from recipes.tls import Authority, client_context, client_hello, openssl, record, server_context


def reset_after_client_hello() -> Built:
    at = SPRING_2026
    rng = random.Random(2022)
    public = Authority.make("LAB public root", at)
    capture = Capture(at)
    genuine = server_context(*public.issue(["www.example.org", "vk.com"], at), ssl.TLSVersion.TLSv1_2)
    expected = []
    for turn in range(2):
        openssl(Connection(capture, 50_071 + turn * 2), "www.example.org", genuine, client_context())
        expected.append({"server_name": "www.example.org", "state": "genuine", "rule_id": "trusted-by-supplied-anchor"})
        connection = Connection(capture, 50_072 + turn * 2)
        connection.open()
        connection.packet(0, PSH | ACK, client_hello("vk.com", rng))
        connection.packet(1, RST | ACK, wait=0.011, ttl=125, df=False)
        expected.append(
            {
                "server_name": "vk.com",
                "state": "interfered",
                "rule_id": "reset-by-another-sender",
                "certificate_absent": "NOT_REACHED",
            }
        )
    connection = Connection(capture, 50_079)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("unlisted.example.net", rng))
    connection.packet(1, RST | ACK, wait=0.031)
    expected.append({"server_name": "unlisted.example.net", "state": "undetermined", "rule_id": "reset-once"})
    for port, name, ttl in ((50_080, "mail.ru", 125), (50_081, "closing.example.net", None)):
        connection = Connection(capture, port)
        connection.open()
        connection.packet(0, PSH | ACK, client_hello(name, rng))
        connection.packet(1, FIN | ACK, wait=0.011, ttl=ttl)
        connection.packet(0, FIN | ACK)
        told = ("interfered", "closed-by-another-sender") if ttl else ("undetermined", "closed-once")
        expected.append({"server_name": name, "state": told[0], "rule_id": told[1]})
    options, files = supplied(public)
    return Built(
        capture,
        "Resets and FINs after the ClientHello, beside controls that got through",
        "The resets for vk.com, and the FIN for mail.ru, have TTL 125 where the server's SYN-ACK has 57: another sender.\n"
        "The other two connections are reset and closed by the server itself, once, with the same TTL: that shows nothing.",
        expected,
        options,
        files,
    )


def block_page() -> Built:
    at = SPRING_2026
    rng = random.Random(2023)
    capture = Capture(at)
    connection = Connection(capture, 50_101)
    connection.open()
    connection.send(0, client_hello("vk.com", rng))
    connection.send(1, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nblocked", wait=0.01, ttl=61)
    connection.close()
    connection = Connection(capture, 50_102)
    connection.open()
    connection.send(0, client_hello("mail.ru", rng))
    connection.packet(1, PSH | ACK, record(21, b"\x02\x70"), wait=0.01, ttl=61)
    connection.close()
    connection = Connection(capture, 50_103)
    connection.open()
    connection.send(0, client_hello("static.example.net", rng))
    connection.packet(1, PSH | ACK, record(21, b"\x02\x70"), wait=0.03)
    connection.close()
    return Built(
        capture,
        "A block page and an alert put in by a box, and a server that refuses a name itself",
        "The first two answers have another TTL than the SYN-ACK. The third has the server's own: it may refuse the name.",
        [
            {"server_name": "vk.com", "state": "interfered", "rule_id": "plain-answer-by-another-sender"},
            {"server_name": "mail.ru", "state": "interfered", "rule_id": "alert-by-another-sender"},
            {"server_name": "static.example.net", "state": "undetermined", "rule_id": "refused-with-alert"},
        ],
    )


def silent_beside_controls() -> Built:
    at = SPRING_2026
    rng = random.Random(2024)
    public = Authority.make("LAB public root", at)
    capture = Capture(at)
    server = server_context(*public.issue(["www.example.org", "vk.com"], at), ssl.TLSVersion.TLSv1_2)
    expected = []
    openssl(Connection(capture, 50_111), "vk.com", server, client_context())
    expected.append({"server_name": "vk.com", "state": "genuine", "rule_id": "trusted-by-supplied-anchor"})
    for turn in range(3):
        connection = Connection(capture, 50_120 + turn * 2)
        connection.open()
        hello = client_hello("vk.com", rng)
        connection.packet(0, PSH | ACK, hello)
        connection.seq[0] -= len(hello)
        connection.packet(0, PSH | ACK, hello, wait=1.0)
        expected.append(
            {"server_name": "vk.com", "state": "interfered", "rule_id": "failed-repeatedly-beside-controls"}
        )
        openssl(Connection(capture, 50_121 + turn * 2), "www.example.org", server, client_context())
        expected.append({"server_name": "www.example.org", "state": "genuine", "rule_id": "trusted-by-supplied-anchor"})
    options, files = supplied(public)
    return Built(
        capture,
        "A name that falls silent three times between controls that get through",
        "The server hosts the name (its genuine chain is seen once, at the start). One silence would be nothing.",
        expected,
        options,
        files,
    )
