"""Attempts that fail by themselves: what was lost, closed, late, elsewhere or at one moment accuses nobody."""

from __future__ import annotations

import random
import ssl
import sys

import pytest

from kzpcap import analyze, reference
from kzpcap.paths.hops import differ
from tests.build import server_hello_body
from tests.conftest import CAPTURES
from tests.test_overstated import judged, rules

sys.path.insert(0, str(CAPTURES))
from recipes.ladders import time_exceeded
from recipes.packets import ACK, FIN, PSH, RST, SERVER, SPRING_2026, SYN, Capture, Connection
from recipes.tls import Authority, client_context, client_hello, message, openssl, record, server_context

SERVER_HELLO = record(22, message(2, server_hello_body()))
V12 = ssl.TLSVersion.TLSv1_2
OTHER = "203.0.113.81"


@pytest.fixture(scope="module")
def public():
    return Authority.make("LAB public root", SPRING_2026)


@pytest.fixture(scope="module")
def context(public):
    return server_context(*public.issue(["www.example.org", "vk.com"], SPRING_2026), V12)


def control(capture, port, context, name="www.example.org", server=SERVER):
    openssl(Connection(capture, port, server), name, context, client_context())


def hello(capture, port, name="vk.com"):
    connection = Connection(capture, port)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello(name, random.Random(port)))
    return connection


def failing(capture, port, kind):
    connection = hello(capture, port)
    if kind == "reset":
        connection.packet(1, RST | ACK, wait=0.03)
    elif kind == "closed by the client":
        connection.packet(0, FIN | ACK, wait=0.1)
        connection.packet(1, RST | ACK, wait=0.03)
    elif kind == "silent":
        capture.now += 12
        connection.packet(0, FIN | ACK)
    return connection


def repeated(capture, context, kind, between=None):
    """Three failures, each with a control before and behind it."""
    control(capture, 50_000, context, "vk.com")
    for turn in range(3):
        failing(capture, 50_100 + turn, kind)
        if between is not None:
            between(turn)
        control(capture, 50_200 + turn, context)


@pytest.mark.parametrize(("kind", "repeats"), [("reset", True), ("silent", True), ("closed by the client", False)])
def test_what_the_client_closed_did_not_fail(kind, repeats, public, context, tmp_path):
    capture = Capture(SPRING_2026)
    repeated(capture, context, kind)
    found = judged(tmp_path, capture, [public])
    assert ("failed-repeatedly-beside-controls" in rules(found)) is repeats


def test_a_name_that_got_through_at_its_other_address_did_not_fail(public, context, tmp_path):
    capture = Capture(SPRING_2026)
    repeated(capture, context, "silent", lambda turn: control(capture, 50_300 + turn, context, "vk.com", OTHER))
    assert "failed-repeatedly-beside-controls" not in rules(judged(tmp_path, capture, [public]))


@pytest.mark.parametrize(("apart", "repeats"), [(True, True), (False, False)])
def test_failures_of_one_moment_are_one(apart, repeats, public, context, tmp_path):
    """Three at once and controls around them: an outage of seconds. A control between each and the next tells more."""
    capture = Capture(SPRING_2026)
    control(capture, 50_000, context, "vk.com")
    control(capture, 50_001, context)
    for turn in range(3):
        failing(capture, 50_100 + turn, "reset")
        if apart or turn == 1:
            control(capture, 50_200 + turn, context)
    control(capture, 50_002, context)
    assert ("failed-repeatedly-beside-controls" in rules(judged(tmp_path, capture, [public]))) is repeats


@pytest.mark.parametrize("ttl", [57, 125])
def test_a_reset_behind_an_answer_that_was_lost_answers_no_hello(ttl, tmp_path):
    """The client acknowledges a kilobyte that is not in the capture; then it is reset."""
    capture = Capture(SPRING_2026)
    connection = hello(capture, 50_001)
    connection.seq[1] += 1_000
    connection.packet(0, PSH | ACK, b"\x17\x03\x03\x00\x05hello", wait=0.03)
    connection.packet(1, RST | ACK, wait=5, ttl=ttl)
    (found,) = judged(tmp_path, capture)
    assert (found.verdict.rule.id, found.observation.failed) == ("handshake-not-captured", None)


@pytest.mark.parametrize(("seconds", "state"), [(2, "interfered"), (5, "undetermined"), (400, "undetermined")])
def test_a_reset_much_later_is_no_answer(seconds, state, tmp_path):
    capture = Capture(SPRING_2026)
    hello(capture, 50_001).packet(1, RST | ACK, wait=seconds, ttl=125)
    (found,) = judged(tmp_path, capture)
    assert found.verdict.state == state


@pytest.mark.parametrize(("first", "second"), [(31, 95), (30, 94), (28, 92), (24, 88), (24, 215)])
def test_on_a_long_way_the_lower_family_may_be_the_wrong_one(first, second):
    assert differ(first, second) is None
    assert differ(second, first) is None


def test_one_hop_apart_is_nobody_else_at_the_border_of_two_families_too():
    """64 is where a way of none begins, 65 where one of 63 hops from 128 ends: as near as TTLs can be."""
    assert differ(64, 65) is None
    assert differ(65, 64) is None
    assert not differ(60, 61)


def test_families_that_no_way_joins_are_two_senders():
    assert differ(57, 125) is True
    assert differ(57, 61) is True


def test_a_page_over_a_handshake_of_the_server_s_is_another_sender_s(context, tmp_path):
    """With the server's own TTL: but one sender sends one version of its bytes."""
    capture = Capture(SPRING_2026)
    connection = hello(capture, 50_001)
    before = connection.seq[1]
    connection.packet(1, PSH | ACK, b"HTTP/1.1 302 Found\r\nLocation: http://blocked.example/\r\n\r\n", wait=0.01)
    connection.seq[1] = before
    connection.packet(1, PSH | ACK, b"\x16\x03\x03\x00\x60" + bytes(96), wait=0.02)
    (found,) = judged(tmp_path, capture)
    assert found.verdict.rule.id == "plain-answer-by-another-sender"


@pytest.mark.parametrize("ttl", [64, 63, 60])
def test_who_resets_in_the_client_s_name_may_be_the_client_s_own_tool(ttl, tmp_path):
    """Beside the client or at its router: tools that circumvent do that. Further on it is told."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.ttl[0] = ttl
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(1)))
    connection.packet(0, RST, ttl=3)
    (found,) = judged(tmp_path, capture)
    assert (found.verdict.rule.id == "client-reset-by-another-sender") is (ttl == 60)


@pytest.mark.parametrize("rewritten", [False, True])
def test_a_wrong_checksum_excuses_a_reset_only_beside_right_ones(rewritten, tmp_path):
    """Where addresses were mapped and checksums left, all are wrong: that takes nothing from a reset."""
    capture = Capture(SPRING_2026)
    hello(capture, 50_001).packet(1, RST | ACK, wait=0.01, ttl=125)
    for at, (time, frame) in enumerate(capture.packets):
        if rewritten or at == len(capture.packets) - 1:
            capture.packets[at] = time, frame[:51] + bytes([frame[51] ^ 1]) + frame[52:]
    (found,) = judged(tmp_path, capture)
    assert (found.verdict.rule.id == "reset-by-another-sender") is rewritten


def probing(capture, ttls, syn=True, box=None, answered=8):
    """A ladder: from `answered` on the control is answered; the target from `box` on, by a reset; the routers speak."""
    for ttl in ttls:
        for number, name in enumerate(("vk.com", "www.example.org")):
            connection = Connection(capture, 51_000 + 2 * ttl + number)
            begin = len(capture.packets)
            connection.open()
            if not syn:
                del capture.packets[begin]
            connection.packet(0, PSH | ACK, client_hello(name, random.Random(ttl)), ttl=ttl)
            if number == 0 and box and ttl >= box:
                connection.packet(1, RST | ACK, wait=0.01, ttl=60)
            elif number and ttl >= answered:
                connection.packet(1, RST | ACK, wait=0.03)
            capture.now += 3
            connection.packet(0, RST)


def ladders(tmp_path, capture):
    capture.write(tmp_path / "capture.pcapng")
    report = analyze(str(tmp_path / "capture.pcapng"), reference.load())
    found = [(one.interceptor_ttl, one.bound) for one in report.ladders]
    states = {c.verdict.rule.id for c in report.connections() if c.observation.probe_ttl is not None}
    report.close()
    return found, states


def test_probes_whose_syn_was_not_captured_are_probes(tmp_path):
    capture = Capture(SPRING_2026)
    probing(capture, range(1, 8), syn=False)
    assert ladders(tmp_path, capture) == ([(None, None)], {"probe-unanswered"})


def test_a_ladder_that_begins_beyond_the_box_has_no_exact_edge(tmp_path):
    capture = Capture(SPRING_2026)
    probing(capture, range(6, 11), box=4)
    found, _ = ladders(tmp_path, capture)
    assert found[0][0] == 6
    assert found[0][1] != "exact"


def test_a_server_that_ignores_a_name_is_no_box(tmp_path):
    """The target falls silent just where the control reaches the server: that may be the server's own doing."""
    capture = Capture(SPRING_2026)
    routers = ["192.0.2.1", "95.56.243.91", "95.56.243.92", "92.47.151.210", "178.89.110.198"]
    for ttl in range(1, 10):
        for number, name in enumerate(("vk.com", "www.example.org")):
            connection = Connection(capture, 51_000 + 2 * ttl + number)
            connection.hops = routers
            connection.open()
            probe(connection, name, ttl, answered=number and ttl > len(routers))
    capture.write(tmp_path / "capture.pcapng")
    report = analyze(str(tmp_path / "capture.pcapng"), reference.load())
    (ladder,) = report.ladders
    assert (ladder.interceptor_ttl, ladder.effect) == (None, None)
    assert any("the server may refuse this name" in note for note in ladder.notes)
    report.close()


def probe(connection, name, ttl, answered):
    """A TTL-limited hello: its Time Exceeded, the server's answer, or nothing."""
    connection.packet(0, PSH | ACK, client_hello(name, random.Random(ttl)), ttl=ttl)
    if ttl <= len(connection.hops):
        time_exceeded(connection, ttl)
    elif answered:
        connection.packet(1, PSH | ACK, SERVER_HELLO, wait=0.03)
    connection.capture.now += 3
    connection.packet(0, RST)


def gone_up(capture, run, begin, box, heard):
    """Once up a ladder, control before target: a box resets, the server is at hop 8; `heard`: which routers speak."""
    for ttl in range(begin, 11):
        for number, name in enumerate(("www.example.org", "vk.com")):
            connection = Connection(capture, 51_000 + 100 * run + 2 * ttl + number)
            connection.open()
            connection.packet(0, PSH | ACK, client_hello(name, random.Random(ttl)), ttl=ttl)
            if ttl < 8 and heard(number, ttl):
                time_exceeded(connection, ttl)
            if number and ttl >= box:
                connection.packet(1, RST | ACK, wait=0.01, ttl=60)
            elif not number and ttl >= 8:
                connection.packet(1, PSH | ACK, SERVER_HELLO, wait=0.03)
            capture.now += 3
            connection.packet(0, RST)


def only_ladder(tmp_path, capture):
    capture.write(tmp_path / "capture.pcapng")
    report = analyze(str(tmp_path / "capture.pcapng"), reference.load())
    (found,) = report.ladders
    report.close()
    return found


def test_residual_blocking_has_no_exact_edge(tmp_path):
    """The second time up, the box beside hop 5 still resets all that comes from this client: at any TTL."""
    capture = Capture(SPRING_2026)
    gone_up(capture, 0, 1, 5, lambda number, ttl: True)
    gone_up(capture, 1, 1, 1, lambda number, ttl: False)
    ladder = only_ladder(tmp_path, capture)
    assert ladder.interceptor_ttl == 1
    assert ladder.bound != "exact"
    assert any("first at TTL 5 before" in note for note in ladder.notes)


@pytest.mark.parametrize("runs", [((1, 5), (6, 5)), ((1, 5), (1, 6), (1, 5))], ids=["began later", "lost an answer"])
def test_a_run_that_began_later_or_lost_an_answer_is_no_residue(runs, tmp_path):
    """(first TTL asked, first TTL at which the box was met) of each time the ladder was gone up."""
    capture = Capture(SPRING_2026)
    for run, (begin, box) in enumerate(runs):
        gone_up(capture, run, begin, box, lambda number, ttl: not number or ttl < 5)
    ladder = only_ladder(tmp_path, capture)
    assert (ladder.interceptor_ttl, ladder.bound) == (5, "exact")


def test_a_reset_in_both_names_at_one_moment_is_a_reset(public, context, tmp_path):
    """Who injects one resets the client and the server: the client's half, with its TTL, is no close of its own."""
    capture = Capture(SPRING_2026)
    control(capture, 50_000, context, "vk.com")
    for turn in range(3):
        connection = hello(capture, 50_100 + turn)
        connection.packet(0, RST, wait=0.01)
        connection.packet(1, RST | ACK, wait=0.0001)
        control(capture, 50_200 + turn, context)
    found = judged(tmp_path, capture, [public])
    assert rules([one for one in found if one.observation.failed]) == ["failed-repeatedly-beside-controls"] * 3


def test_many_controls_at_once_hide_no_failure(public, context, tmp_path):
    capture = Capture(SPRING_2026)
    control(capture, 50_000, context, "vk.com")
    failing(capture, 50_100, "reset")
    for number in range(300):
        control(capture, 51_000 + number, context)
    for turn in range(1, 4):
        failing(capture, 50_100 + turn, "reset")
        control(capture, 50_200 + turn, context)
    found = judged(tmp_path, capture, [public])
    assert rules([one for one in found if one.observation.failed]) == ["failed-repeatedly-beside-controls"] * 4


def test_of_two_syn_acks_the_one_that_was_answered_counts(tmp_path):
    """The first, of a server that keeps no state, was lost behind the capture point."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.packet(0, SYN)
    connection.packet(1, SYN | ACK, wait=0.03)
    connection.seq[0] -= 1
    connection.packet(0, SYN, wait=1)
    connection.seq[1] += 900_000
    connection.packet(1, SYN | ACK, wait=0.03)
    connection.packet(0, ACK)
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(1)))
    connection.packet(1, RST | ACK, wait=0.01, ttl=125)
    (found,) = judged(tmp_path, capture)
    assert found.verdict.rule.id == "reset-by-another-sender"


def test_a_reset_soon_after_a_probe_belongs_to_it(tmp_path):
    """One connection for all TTLs, a probe each 80 ms and answers within 30: no other probe can have drawn it."""
    capture = Capture(SPRING_2026)
    for number, name in enumerate(("www.example.org", "vk.com")):
        connection = Connection(capture, 51_000 + number)
        connection.open()
        sent = client_hello(name, random.Random(1))
        for ttl in range(1, 11):
            connection.packet(0, PSH | ACK, sent, wait=0.08, ttl=ttl)
            connection.seq[0] -= len(sent)
            if ttl < 8:
                time_exceeded(connection, ttl)
            if number and ttl == 5:
                connection.packet(1, RST | ACK, wait=0.01, ttl=60)
                break
            if not number and ttl == 8:
                connection.seq[0] += len(sent)
                connection.packet(1, PSH | ACK, SERVER_HELLO, wait=0.03)
                break
        capture.now += 5
    capture.write(tmp_path / "capture.pcapng")
    report = analyze(str(tmp_path / "capture.pcapng"), reference.load())
    assert [(ladder.interceptor_ttl, ladder.bound) for ladder in report.ladders] == [(5, "exact")]
    report.close()
