"""A ClientHello that is answered with the connection's end: a FIN, and by whom."""

from __future__ import annotations

import random
import ssl
import sys

import pytest

from kzpcap import analyze, reference
from tests.conftest import CAPTURES
from tests.test_by_itself import Guarded
from tests.test_overstated import judged, rules

sys.path.insert(0, str(CAPTURES))
from recipes.packets import ACK, FIN, PSH, RST, SPRING_2026, Capture, Connection
from recipes.tls import Authority, client_context, client_hello, openssl, server_context

V12 = ssl.TLSVersion.TLSv1_2


@pytest.fixture(scope="module")
def public():
    return Authority.make("LAB public root", SPRING_2026)


def closed(connection, name, ttl=None, lost=0, client_first=False, damaged=False):
    """The server's side answers the hello with a FIN."""
    connection.open()
    connection.packet(0, PSH | ACK, client_hello(name, random.Random(7)))
    if client_first:
        connection.packet(0, FIN | ACK, wait=11)
    connection.seq[1] += lost
    connection.packet(1, FIN | ACK, wait=0.011, ttl=ttl)
    if damaged:
        time, frame = connection.capture.packets[-1]
        connection.capture.packets[-1] = time, frame[:-4] + bytes(byte ^ 0xFF for byte in frame[-4:])
    connection.packet(0, FIN | ACK)


@pytest.mark.parametrize(
    ("more", "failed", "rule"),
    [
        ({"ttl": 125}, "closed", "closed-by-another-sender"),
        ({"ttl": 56}, "closed", "closed-once"),
        ({}, "closed", "closed-once"),
        ({"ttl": 125, "damaged": True}, "closed", "closed-once"),
        ({"ttl": 125, "lost": 1_000}, None, "handshake-not-captured"),
        ({"ttl": 125, "client_first": True}, "silent", "no-answer"),
    ],
    ids=["another", "as far away", "the server", "a wrong checksum", "bytes before it are lost", "after the client's"],
)
def test_who_closed_is_told_by_the_ttl(more, failed, rule, tmp_path):
    capture = Capture(SPRING_2026)
    closed(Connection(capture, 50_001), "vk.com", **more)
    (found,) = judged(tmp_path, capture)
    assert (found.observation.failed, found.verdict.rule.id) == (failed, rule)


@pytest.mark.parametrize(("kind", "state"), [(Guarded, "undetermined"), (Connection, "interfered")])
def test_a_server_behind_a_syn_proxy_may_close_for_a_name(kind, state, public, tmp_path):
    capture = Capture(SPRING_2026)
    context = server_context(*public.issue(["www.example.org"], SPRING_2026), V12)
    openssl(kind(capture, 50_001), "www.example.org", context, client_context())
    closed(Guarded(capture, 50_002), "static.example.net")
    assert judged(tmp_path, capture, [public])[1].verdict.state == state


@pytest.mark.parametrize(("wait", "ttl", "failed"), [(5, None, "silent"), (5, 125, "closed"), (0.02, None, "closed")])
def test_a_server_that_gave_up_waiting_for_the_hello_closed_for_no_name(wait, ttl, failed, tmp_path):
    """Its FIN acknowledges nothing of the client's, and comes late: the hello never came there."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    before = connection.seq[0]
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(7)))
    after, connection.seq[0] = connection.seq[0], before
    connection.packet(1, FIN | ACK, wait=wait, ttl=ttl)
    connection.seq[0] = after
    (found,) = judged(tmp_path, capture)
    assert found.observation.failed == failed


def test_a_name_that_is_closed_again_and_again_beside_controls(public, tmp_path):
    capture = Capture(SPRING_2026)
    context = server_context(*public.issue(["www.example.org", "vk.com"], SPRING_2026), V12)
    openssl(Connection(capture, 50_000), "vk.com", context, client_context())
    for turn in range(3):
        closed(Connection(capture, 50_100 + turn), "vk.com")
        openssl(Connection(capture, 50_200 + turn), "www.example.org", context, client_context())
    found = judged(tmp_path, capture, [public])
    assert rules([one for one in found if one.observation.failed]) == ["failed-repeatedly-beside-controls"] * 3


def test_probes_that_are_closed_show_where_the_box_is(tmp_path):
    """From TTL 5 on the target's probes draw a FIN, from a box with a TTL of its own."""
    capture = Capture(SPRING_2026)
    for ttl in range(1, 11):
        for number, name in enumerate(("vk.com", "www.example.org")):
            connection = Connection(capture, 51_000 + 2 * ttl + number)
            connection.open()
            connection.packet(0, PSH | ACK, client_hello(name, random.Random(ttl)), ttl=ttl)
            if name == "vk.com" and ttl >= 5:
                connection.packet(1, FIN | ACK, wait=0.011, ttl=60)
            capture.now += 3
            connection.packet(0, RST)
    capture.write(tmp_path / "capture.pcapng")
    report = analyze(str(tmp_path / "capture.pcapng"), reference.load())
    assert [(ladder.interceptor_ttl, ladder.effect) for ladder in report.ladders] == [(5, "closed")]
    report.close()
