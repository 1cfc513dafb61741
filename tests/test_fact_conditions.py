"""Who answered, and who broke off: each condition of facts/senders.py by what differs where it alone is not met."""

from __future__ import annotations

import random
import sys
from types import SimpleNamespace

import pytest

from kzpcap.observations import Mark
from kzpcap.verdict.facts import senders
from tests.build import client_hello as long_client_hello
from tests.build import extension, server_hello_body
from tests.conftest import CAPTURES
from tests.test_attempts import OTHER, V12, control, failing, hello, repeated
from tests.test_conditions import first_of
from tests.test_guards import FOREIGN, asked
from tests.test_overstated import judged
from tests.test_stacks import said

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain
from recipes.packets import ACK, FIN, JULY_2019, PSH, RST, SPRING_2026, Capture, Connection
from recipes.tls import Authority, client_hello, message, record, server_context, server_flight

SERVER_HELLO = record(22, message(2, server_hello_body()))
NEAR = 121
"""As far away from 128 as the SYN-ACK's 57 is from 64: open whether it is one sender."""


@pytest.fixture(scope="module")
def public():
    return Authority.make("LAB public root", SPRING_2026)


@pytest.fixture(scope="module")
def context(public):
    return server_context(*public.issue(["www.example.org", "vk.com"], SPRING_2026), V12)


def only(tmp_path, capture, trusted=()):
    (found,) = judged(tmp_path, capture, trusted)
    return found


def settled(found, rule):
    """The rule that decided, and whether this one is left open."""
    return found.verdict.rule.id, rule in found.verdict.unsettled


# resets before an answer


@pytest.mark.parametrize(
    ("ttl", "rule", "unsettled"),
    [(FOREIGN, "reset-by-another-sender", False), (NEAR, "reset-once", True), (57, "reset-once", False)],
)
def test_a_reset_from_as_far_away_in_another_family_is_open(ttl, rule, unsettled, tmp_path):
    """One machine may begin at 64 for one packet and at 128 for another: neither two senders nor one."""
    capture, connection = asked()
    connection.packet(1, RST | ACK, wait=0.03, ttl=ttl)
    assert settled(only(tmp_path, capture), "reset-by-another-sender") == (rule, unsettled)


def genuine(capture, between=lambda connection: None, ttl=None, syn_ttl=64):
    """A handshake of July 2019 that goes on, with something between its ClientHello and ServerHello."""
    rng, connection = random.Random(1), Connection(capture, 50_001)
    connection.ttl[0] = syn_ttl
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("rcku.kz", rng))
    between(connection)
    connection.send(1, server_flight(genuine_chain(), 0x9C, rng), wait=0.03, ttl=ttl)
    exchange = record(22, message(16, bytes(258))) + record(20, b"\x01") + record(22, bytes(40))
    connection.send(0, exchange + record(23, bytes(300)))
    connection.close()


@pytest.mark.parametrize("who", [0, 1])
def test_a_reset_after_which_the_handshake_went_on_ended_nothing(who, tmp_path):
    """In the server's name or the client's: who goes on dropped it, and the certificate is what counts."""
    capture = Capture(JULY_2019)
    genuine(capture, lambda connection: connection.packet(who, RST | ACK, wait=0.01, ttl=62 + 188 * who), syn_ttl=60)
    assert only(tmp_path, capture).verdict.rule.id == "publicly-trusted"


def again(connection, times, every, ttl=None):
    """The ClientHello once more, and once more."""
    sent, begin = client_hello("shop.example", random.Random(4)), connection.seq[0]
    for turn in range(times):
        connection.seq[0] = begin
        connection.packet(0, PSH | ACK, sent, wait=every if turn else 0.0002, ttl=ttl[turn] if ttl else None)


@pytest.mark.parametrize(
    ("times", "every", "wait", "ttl", "rule"),
    [
        (3, 1.2, 1.5, None, "reset-once"),
        (2, 2.4, 1.5, None, "reset-by-another-sender"),
        (3, 1.4, 0.5, None, "reset-by-another-sender"),
        (3, 0.3, 1.5, None, "reset-by-another-sender"),
        (3, 1.2, 1.5, (9, 10, 11), "reset-by-another-sender"),
    ],
    ids=["gave up waiting", "two copies", "soon behind the last", "all soon", "copies of a ladder"],
)
def test_who_waited_for_three_copies_waited_from_the_first_on(times, every, wait, ttl, rule, tmp_path):
    """None of them arrived, so what comes 3 s after the first is no answer: unless it comes at once behind the last."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    again(connection, times, every, ttl)
    connection.packet(1, RST | ACK, wait=wait, ttl=FOREIGN)
    assert only(tmp_path, capture).verdict.rule.id == rule


@pytest.mark.parametrize("untimed", ["the question", "the answer"])
def test_what_has_no_time_is_not_prompt(untimed):
    """Some formats leave times out: nothing tells then whether a reset came soon."""
    mark = Mark("reset", 9, 0 if untimed == "the answer" else 5, 57, 0, True)
    found = senders._late(0 if untimed == "the question" else 5, mark, "reset")
    assert found is not None
    assert (found.value, "no times" in found.says) == (None, True)
    assert senders._late(4, mark._replace(time_ns=5), "reset") is None


@pytest.mark.parametrize(("took", "late"), [(3_000_000_000, False), (3_000_000_001, True), (-100_000_000, False)])
def test_three_seconds_are_prompt_and_no_more(took, late):
    """A little before its question, where a capture of several queues put it there."""
    asked_ns = 5_000_000_000
    mark = Mark("reset", 9, asked_ns + took, 57, 0, True)
    assert (senders._late(asked_ns, mark, "reset") is not None) is late
    assert senders._late(asked_ns, mark._replace(time_ns=asked_ns - 100_000_001), "reset").value is None


# resets behind a ServerHello


@pytest.mark.parametrize(
    ("syn_ack", "answer", "reset", "state", "unsettled"),
    [
        (57, 57, FOREIGN, "interfered", False),
        (57, 57, 57, "undetermined", False),
        (57, 57, NEAR, "undetermined", True),
        (57, NEAR, 57, "undetermined", False),
        (50, 120, 247, "undetermined", True),
        (50, 57, 57, "undetermined", False),
        (57, 61, NEAR, "undetermined", True),
    ],
    ids=[
        "of neither", "of both", "as far as both", "of the SYN-ACK", "as far as the ServerHello", "of the ServerHello",
        "as far as the SYN-ACK",
    ],
)  # fmt: skip
def test_a_reset_behind_an_answer_is_of_neither_sender(syn_ack, answer, reset, state, unsettled, tmp_path):
    """A box before the server may answer SYNs in its place: what breaks off must be neither that box nor the server."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.ttl[1] = syn_ack
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(4)))
    connection.packet(1, PSH | ACK, SERVER_HELLO, wait=0.03, ttl=answer)
    connection.packet(1, RST | ACK, wait=0.01, ttl=reset)
    found = only(tmp_path, capture)
    assert found.verdict.state == state
    assert ("handshake-reset-by-another-sender" in found.verdict.unsettled) is unsettled


@pytest.mark.parametrize(
    "why", ["broken", "wrong checksum", "outside of the window", "much later", "more was said", "acknowledged more"]
)
def test_a_reset_behind_an_answer_was_taken_and_came_soon(why, tmp_path):
    """A client drops what is damaged or outside; and what comes a minute later is of somebody who gave up waiting."""
    capture, connection = asked("vk.com")
    if why == "acknowledged more":
        connection.seq[0] += 700
    connection.packet(1, PSH | ACK, SERVER_HELLO, wait=0.03)
    if why == "more was said":
        connection.packet(0, PSH | ACK, record(22, message(16, bytes(130))) + record(20, b"\x01"))
    if why == "outside of the window":
        connection.packet(0, PSH | ACK)
        connection.seq[1] += 1 << 30
    connection.packet(1, RST | ACK, wait=60 if why == "much later" else 0.01, ttl=FOREIGN)
    if why == "wrong checksum":
        time, frame = capture.packets[-1]
        capture.packets[-1] = time, frame[:51] + bytes([frame[51] ^ 1]) + frame[52:]
    decided = only(tmp_path, capture).verdict.rule.id
    assert (decided == "handshake-reset-by-another-sender") is (why == "broken")


# resets in the client's name


def as_client(kind):
    """A client four routers away, and a reset in its name from two nearer."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.ttl[0] = 60
    connection.open()
    hops = {"a probe's": 5, "a tool's": 5, "another way's": 62}.get(kind)
    connection.packet(0, PSH | ACK, client_hello("shop.example", random.Random(4)), ttl=hops)
    if kind == "closed before":
        connection.packet(0, FIN | ACK)
    if kind == "outside of the window":
        connection.seq[0] += 1 << 30
    connection.packet(0, RST | ACK, wait=0.05, ttl={"a probe's": 5, "a tool's": 7}.get(kind, 62))
    if kind == "wrong checksum":
        time, frame = capture.packets[-1]
        capture.packets[-1] = time, frame[:51] + bytes([frame[51] ^ 1]) + frame[52:]
    if kind == "closed behind":
        connection.packet(0, FIN | ACK, wait=1)
    return capture


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("another's", True),
        ("closed behind", True),
        ("closed before", False),
        ("wrong checksum", False),
        ("outside of the window", False),
        ("a probe's", False),
        ("a tool's", False),
        ("another way's", False),
    ],
)
def test_a_reset_in_the_clients_name_is_neither_dropped_nor_its_own(kind, told, tmp_path):
    """Tools that circumvent send with whatever TTL: one with the TTL of the client's own hello is the client's."""
    decided = only(tmp_path, as_client(kind)).verdict.rule.id
    assert (decided == "client-reset-by-another-sender") is told


def test_where_headers_are_made_anew_a_ttl_in_the_clients_name_shows_nobody():
    seen = first_of("kz-2019-rcku").observation
    frame = seen.client_hello.frame + 1
    mark = seen.syn._replace(what="reset", frame=frame, ttl=62, time_ns=seen.client_hello.time_ns + 1)
    syn = seen.syn._replace(ttl=60)
    seen = seen._replace(client_resets=(mark,), server_hello=None, syn=syn, reaction="not_seen", client_record=None)
    for rebuilt, value in (("", True), ("made anew", None)):
        found = senders.client_reset_by_another_sender(seen, SimpleNamespace(rebuilt=rebuilt))
        assert found.value is value
        assert not rebuilt or found.says == rebuilt


# ends, pages and alerts


def test_an_end_behind_a_reset_answered_nothing(tmp_path):
    """The server's reset ended it: whoever sends a FIN behind that ends nothing any more."""
    capture, connection = asked()
    connection.packet(1, RST | ACK, wait=0.03)
    connection.packet(1, FIN | ACK, wait=0.01, ttl=FOREIGN)
    assert only(tmp_path, capture).verdict.rule.id == "reset-once"


@pytest.mark.parametrize(("ttl", "rare"), [(61, True), (FOREIGN, False)])
def test_a_difference_within_one_family_is_said_to_be_rare(ttl, rare, tmp_path):
    capture, connection = asked()
    connection.packet(1, RST | ACK, wait=0.03, ttl=ttl)
    (child,) = only(tmp_path, capture).verdict.evidence.children
    assert ("under 5 % of untampered" in child.says) is rare


@pytest.mark.parametrize(("ttl", "told"), [(61, True), (58, False)])
def test_a_genuine_answer_from_elsewhere_than_its_syn_ack_is_told_without_a_percentage(ttl, told, tmp_path):
    """Its own handshake is what shows a device that answers SYNs: that explains resets, and not itself."""
    capture = Capture(JULY_2019)
    genuine(capture, ttl=ttl)
    found = only(tmp_path, capture)
    assert found.verdict.rule.id == "publicly-trusted"
    assert (f"57 in the SYN-ACK, {ttl} in the ServerHello: two senders" in said(found)) is told
    assert "under 5 %" not in said(found)
    assert "another device answers SYNs" not in said(found)


# repeated failures


def decided(found, name="vk.com"):
    return [one.verdict.rule.id for one in found if one.observation.server_name == name]


REPEATED = "failed-repeatedly-beside-controls"


def test_an_attempt_that_ended_otherwise_is_none_of_the_failures(public, context, tmp_path):
    """Refused with an alert, or a probe with a low TTL, among others that failed: each is what it is."""
    capture = Capture(SPRING_2026)
    repeated(capture, context, "reset")
    hello(capture, 50_400).packet(1, PSH | ACK, record(21, b"\x02\x70"), wait=0.03)
    probe = Connection(capture, 50_401)
    probe.open()
    probe.packet(0, PSH | ACK, client_hello("vk.com", random.Random(5)), ttl=5)
    capture.now += 12
    probe.packet(0, FIN | ACK)
    found = judged(tmp_path, capture, [public])
    assert decided(found)[1:4] == [REPEATED] * 3
    assert decided(found)[4:] == ["refused-with-alert", "probe-unanswered"]


@pytest.mark.parametrize(("turns", "rule"), [(2, "reset-once"), (3, REPEATED)])
def test_three_failures_and_no_fewer(turns, rule, public, context, tmp_path):
    capture = Capture(SPRING_2026)
    for number in range(3):
        control(capture, 50_000 + number, context, "vk.com" if number == 0 else "www.example.org")
    for turn in range(turns):
        failing(capture, 50_100 + turn, "reset")
        control(capture, 50_200 + turn, context)
    found = judged(tmp_path, capture, [public])
    assert decided(found)[-1] == rule


@pytest.mark.parametrize("hosted", [True, False])
def test_a_server_that_may_not_host_the_name_may_refuse_it(hosted, public, context, tmp_path):
    """Nothing shows that this address ever answered for it: no DNS answer, and no certificate for the name."""
    capture = Capture(SPRING_2026)
    control(capture, 50_000, context, "vk.com" if hosted else "www.example.org")
    for turn in range(3):
        failing(capture, 50_100 + turn, "reset")
        control(capture, 50_200 + turn, context)
    found = judged(tmp_path, capture, [public])
    assert decided(found)[-1] == (REPEATED if hosted else "reset-once")


@pytest.mark.parametrize(
    ("servers", "kind"),
    [
        (("203.0.113.80",) * 3, "controls to the same server got through"),
        ((OTHER,) * 3, "controls of the same client within ten minutes, to other servers, got through"),
        (("203.0.113.80", OTHER, OTHER), "controls (1 to the same server, the others of the same client within ten"),
    ],
    ids=["here", "elsewhere", "both"],
)
def test_where_the_controls_got_through_is_said(servers, kind, public, context, tmp_path):
    capture = Capture(SPRING_2026)
    control(capture, 50_000, context, "vk.com")
    for turn, server in enumerate(servers):
        failing(capture, 50_100 + turn, "silent")
        control(capture, 50_200 + turn, context, server=server)
    (child,) = judged(tmp_path, capture, [public])[-2].verdict.evidence.children
    assert kind in child.says
    assert ("that the server itself failed is not excluded" in child.says) is (servers[0] == OTHER)


@pytest.mark.parametrize(("ttl", "own"), [(57, True), (58, False)])
def test_a_failure_with_the_syn_acks_ttl_may_be_the_servers_own_refusal(ttl, own, public, context, tmp_path):
    capture = Capture(SPRING_2026)
    control(capture, 50_000, context, "vk.com")
    for turn in range(3):
        hello(capture, 50_100 + turn).packet(1, RST | ACK, wait=0.03, ttl=ttl)
        control(capture, 50_200 + turn, context)
    found = judged(tmp_path, capture, [public])[-2]
    assert found.verdict.rule.id == REPEATED
    assert ("that the server refuses this name itself" in found.verdict.evidence.children[0].says) is own


@pytest.mark.parametrize("others_long", [True, False])
def test_silence_about_long_hellos_beside_short_ones_is_a_paths(others_long, public, context, tmp_path):
    """A path that loses packets of full size loses the hellos that fill one, whatever name is in them."""
    capture = Capture(SPRING_2026)
    control(capture, 50_000, context, "vk.com")
    for turn in range(4):
        long = long_client_hello(b"vk.com", extensions=extension(21, bytes(0 if others_long else 1_700)))
        connection = Connection(capture, 50_100 + turn)
        connection.open()
        connection.send(0, long)
        capture.now += 12
        connection.packet(0, FIN | ACK)
        control(capture, 50_200 + turn, context)
    assert decided(judged(tmp_path, capture, [public]))[-1] == (REPEATED if others_long else "no-answer")


# other names at the server


@pytest.mark.parametrize(("other", "told"), [(True, True), (False, False)])
def test_the_servers_other_names_are_told_where_there_are_any(other, told, public, context, tmp_path):
    """A server that was genuine for this very name only shows nothing of other names."""
    capture = Capture(SPRING_2026)
    control(capture, 50_000, context, "www.example.org" if other else "vk.com")
    failing(capture, 50_100, "silent")
    found = judged(tmp_path, capture, [public])[-1]
    assert ("the same server answered other names (www.example.org)" in said(found)) is told
    assert ("answered other names" in said(found)) is told
