"""What a server, a client, a network or a capture does by itself, and no interceptor: each was once told as one."""

from __future__ import annotations

import random
import ssl
import sys

import pytest

from tests.conftest import CAPTURES
from tests.test_overstated import judged, rules, states

sys.path.insert(0, str(CAPTURES))
from recipes.packets import ACK, OTHER, PSH, RST, SERVER, SPRING_2026, SYN, Capture, Connection
from recipes.quic import Datagrams, unanswered
from recipes.tls import Authority, client_context, client_hello, openssl, record, server_context

V12 = ssl.TLSVersion.TLSv1_2


@pytest.fixture(scope="module")
def public():
    return Authority.make("LAB public root", SPRING_2026)


class Guarded(Connection):
    """To a server behind a device that answers SYNs in its place, and lets the server send the rest."""

    def open(self) -> None:
        self.packet(0, SYN)
        self.packet(1, SYN | ACK, wait=0.031, ttl=246)
        self.packet(0, ACK)


def refusals(capture, kind):
    """The server itself refuses another name: by a reset, an alert, or a page."""
    connection = kind(capture, 50_010)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("static.example.net", random.Random(1)))
    connection.packet(1, RST | ACK, wait=0.031)
    for port, answer in ((50_011, record(21, b"\x02\x70")), (50_012, b"HTTP/1.1 400 Bad Request\r\n\r\n")):
        connection = kind(capture, port)
        connection.open()
        connection.send(0, client_hello("static.example.net", random.Random(port)))
        connection.send(1, answer, wait=0.03)
        connection.close()


def test_a_server_behind_a_syn_proxy_may_refuse_a_name(public, tmp_path):
    capture = Capture(SPRING_2026)
    context = server_context(*public.issue(["www.example.org"], SPRING_2026), V12)
    openssl(Guarded(capture, 50_001), "www.example.org", context, client_context())
    refusals(capture, Guarded)
    found = judged(tmp_path, capture, [public])
    assert states(found) == ["genuine", "undetermined", "undetermined", "undetermined"]
    assert "reset-by-another-sender" in found[1].verdict.unsettled


def test_without_a_handshake_that_shows_the_proxy_there_are_two_senders(public, tmp_path):
    capture = Capture(SPRING_2026)
    context = server_context(*public.issue(["www.example.org"], SPRING_2026), V12)
    openssl(Connection(capture, 50_001), "www.example.org", context, client_context())
    refusals(capture, Guarded)
    assert rules(judged(tmp_path, capture, [public]))[1:] == [
        "reset-by-another-sender",
        "alert-by-another-sender",
        "plain-answer-by-another-sender",
    ]


def attempt(capture, port, name, server=SERVER):
    """A ClientHello that nobody answers, sent twice."""
    connection = Connection(capture, port, server)
    connection.open()
    hello = client_hello(name, random.Random(port))
    connection.packet(0, PSH | ACK, hello)
    connection.seq[0] -= len(hello)
    connection.packet(0, PSH | ACK, hello, wait=1.0)


def test_controls_to_other_servers_do_not_show_that_this_one_was_up(public, tmp_path):
    capture = Capture(SPRING_2026)
    context = server_context(*public.issue(["www.example.org", "vk.com"], SPRING_2026), V12)
    openssl(Connection(capture, 50_001, OTHER), "vk.com", context, client_context())
    for time in range(3):
        attempt(capture, 50_010 + time, "vk.com", OTHER)
        openssl(Connection(capture, 50_020 + time), "www.example.org", context, client_context())
    failed = judged(tmp_path, capture, [public])[1]
    assert failed.verdict.rule.id == "failed-repeatedly-beside-controls"
    assert failed.verdict.evidence.children[0].says.endswith("that this server was down is not excluded")


@pytest.mark.parametrize("controls", ["quic", "tcp"])
def test_silence_over_udp_needs_controls_over_udp(controls, public, tmp_path):
    capture = Capture(SPRING_2026)
    context = server_context(*public.issue(["www.example.org", "vk.com"], SPRING_2026), V12)
    openssl(Connection(capture, 50_800), "vk.com", context, client_context())
    for time in range(3):
        unanswered(Datagrams(capture, 57_000 + time, SERVER), "vk.com", 4)
        if controls == "quic":
            unanswered(Datagrams(capture, 57_100 + time, OTHER), "www.example.org", 4)
        openssl(Connection(capture, 50_801 + time, OTHER), "www.example.org", context, client_context())
    found = judged(tmp_path, capture, [public])
    assert {one.verdict.state.value for one in found if one.observation.transport == "quic"} == {"undetermined"}


@pytest.mark.parametrize(("ttl", "rule"), [(64, "no-answer"), (60, "client-reset-by-another-sender")])
def test_beside_the_client_a_reset_in_its_name_may_be_its_own(ttl, rule, tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.ttl[0] = ttl
    connection.open()
    connection.packet(0, RST, ttl=4)
    attempted = client_hello("vk.com", random.Random(1))
    for wait in (0.0, 1.0):
        connection.packet(0, PSH | ACK, attempted, wait=wait)
        connection.seq[0] -= len(attempted)
        connection.packet(0, RST, wait=0.01, ttl=4)
    assert rules(judged(tmp_path, capture)) == [rule]


def test_data_that_differs_long_after_a_proved_handshake_disputes_nothing(public, tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    close, connection.close = connection.close, lambda: None
    context = server_context(*public.issue(["www.example.org"], SPRING_2026), V12)
    openssl(connection, "www.example.org", context, client_context())
    data = random.Random(1).randbytes(300)
    connection.packet(1, PSH | ACK, record(23, data))
    connection.seq[1] -= 305
    connection.packet(1, PSH | ACK, record(23, data[:-1] + bytes([data[-1] ^ 1])))
    close()
    (one,) = judged(tmp_path, capture, [public])
    assert one.verdict.state.value == "genuine"
    assert any("different bytes" in remark.says for remark in one.verdict.remarks)


def test_an_interceptors_ticket_is_its_own_at_any_address(public, tmp_path):
    capture, box = Capture(SPRING_2026), Authority.make("LAB interception CA", SPRING_2026)
    forged, client = server_context(*box.issue(["vk.com"], SPRING_2026), V12), client_context()
    session = openssl(Connection(capture, 50_001, OTHER), "vk.com", forged, client)
    openssl(Connection(capture, 50_002, "198.51.100.8"), "vk.com", forged, client, session)
    found = judged(tmp_path, capture, [public], [box])
    assert rules(found) == ["signed-by-supplied-interception-ca", "resumes-intercepted-session"]
