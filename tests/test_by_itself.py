"""What a server, a client, a network or a capture does by itself, and no interceptor: each was once told as one."""

from __future__ import annotations

import contextlib
import datetime
import random
import ssl
import sys

import pytest

from kzpcap import analyze, reference
from tests.conftest import CAPTURES
from tests.test_overstated import damaged, judged, rules, states

sys.path.insert(0, str(CAPTURES))
from recipes.authorities import copy_of
from recipes.packets import ACK, OTHER, PSH, RST, SERVER, SPRING_2026, SYN, Capture, Connection
from recipes.quic import Datagrams, unanswered
from recipes.tls import (
    Authority,
    client_context,
    client_hello,
    der,
    openssl,
    record,
    rsa_handshake,
    server_context,
)

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


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


def test_one_hop_more_or_less_is_no_proxy(public, tmp_path):
    """Where a server's own SYN-ACK and ServerHello are as far away, a reset from elsewhere is excused by nothing."""
    capture = Capture(SPRING_2026)
    context = server_context(*public.issue(["www.example.org"], SPRING_2026), V12)
    openssl(Connection(capture, 50_001), "www.example.org", context, client_context())
    connection = Connection(capture, 50_002)
    connection.ttl[1] = 56
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(1)))
    connection.packet(1, RST | ACK, wait=0.01, ttl=58)
    assert rules(judged(tmp_path, capture, [public]))[1] == "reset-by-another-sender"


@pytest.mark.parametrize("order", ["as sent", "swapped", "behind a banner"])
def test_a_page_is_an_answer_wherever_it_was_recorded(order, tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    if order == "behind a banner":
        connection.send(1, b"220 mail.example ready\r\n")
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(1)))
    connection.packet(1, PSH | ACK, b"HTTP/1.1 403 Forbidden\r\n\r\n", wait=0.01, ttl=61)
    if order == "swapped":
        (one, hello), (two, page) = capture.packets[-2:]
        capture.packets[-2:] = [(one, page), (two, hello)]
    (found,) = judged(tmp_path, capture)
    assert found.verdict.rule.id == "plain-answer-by-another-sender"
    assert found.observation.plain_answer.startswith(b"HTTP/1.1 403")


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
    assert failed.verdict.evidence.children[0].says.endswith("that the server itself failed is not excluded")


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


def first_flights(context, name):
    """The first flight, what answers it, and the second flight of a real pair."""
    to_client, from_client, to_server, from_server = (ssl.MemoryBIO() for _ in range(4))
    client = client_context().wrap_bio(to_client, from_client, server_hostname=name)
    server = context.wrap_bio(to_server, from_server, server_side=True)
    flights = []
    for end, out, into in (
        (client, from_client, to_server),
        (server, from_server, to_client),
        (client, from_client, None),
    ):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
        flights.append(out.read())
        if into is not None:
            into.write(flights[-1])
    return flights


@pytest.mark.parametrize(
    ("ttl", "rule"), [(125, "reset-by-another-sender"), (57, "reset-once"), (None, "no-certificate")]
)
def test_a_retry_is_no_answer(ttl, rule, public, tmp_path):
    """What becomes of the second hello is told of it, and no such connection got through."""
    capture = Capture(SPRING_2026)
    context = server_context(*public.issue(["vk.com"], SPRING_2026), V13)
    context.set_ecdh_curve("secp384r1")
    for port in (50_001, 50_002, 50_003):
        first, retry, second = first_flights(context, "vk.com")
        connection = Connection(capture, port)
        connection.open()
        connection.send(0, first)
        connection.send(1, retry, wait=0.03)
        connection.packet(0, PSH | ACK, second)
        if ttl:
            connection.packet(1, RST | ACK, wait=0.011, ttl=ttl)
    found = judged(tmp_path, capture, [public])
    assert rules(found) == [rule] * 3
    for one in found:
        assert one.observation.server_hello is None
        assert one.observation.absent.value == "NOT_REACHED"
        assert one.observation.version == 0x0304


def test_a_retry_answers_a_probe(public, tmp_path):
    """The target's probes draw a HelloRetryRequest where the control's draw a ServerHello: nobody dropped them."""
    capture = Capture(SPRING_2026)
    names = {"vk.com": "secp384r1", "www.example.org": None}
    contexts = {}
    for name, curve in names.items():
        contexts[name] = server_context(*public.issue([name], SPRING_2026), V13)
        if curve:
            contexts[name].set_ecdh_curve(curve)
    for ttl in range(1, 11):
        for number, name in enumerate(names):
            connection = Connection(capture, 51_000 + 2 * ttl + number)
            connection.open()
            hello, reply, _ = first_flights(contexts[name], name)
            connection.packet(0, PSH | ACK, hello, ttl=ttl)
            if ttl > 7:
                connection.send(1, reply, wait=0.03)
            capture.now += 3
            connection.packet(0, RST)
    found = judged(tmp_path, capture, [public])
    answered = [one for one in found if one.observation.probe_ttl and one.observation.probe_ttl > 7]
    assert len(answered) == 6
    assert "probe-unanswered" not in rules(answered)
    report = analyze(str(tmp_path / "capture.pcapng"), reference.load())
    assert [ladder.interceptor_ttl for ladder in report.ladders] == [None]
    report.close()


def test_a_capture_that_misses_the_first_segment_has_no_plain_answer(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("vk.com", random.Random(1)))
    at = len(capture.packets)
    connection.send(1, random.Random(2).randbytes(4_000), wait=0.03, ttl=61)
    del capture.packets[at]
    (one,) = judged(tmp_path, capture)
    assert one.verdict.rule.id == "handshake-not-captured"


@pytest.mark.parametrize("kind", ["genuine", "forged"])
def test_a_damaged_hello_refutes_no_key_of_tls13(kind, public, tmp_path):
    """CertificateVerify is over the transcript: where Finished does not fit either, it is another than was captured."""
    box = Authority.make("LAB interception CA", SPRING_2026)
    capture, client = Capture(SPRING_2026), client_context()
    client.keylog_filename = str(tmp_path / "keys")
    context = server_context(*(public if kind == "genuine" else box).issue(["vk.com"], SPRING_2026), V13)
    openssl(Connection(capture, 50_001), "vk.com", context, client)
    hello = next(frame for _, frame in capture.packets if frame[54:55] == b"\x16")
    damaged(capture, hello[80:120])
    (one,) = judged(tmp_path, capture, [public], [box], (tmp_path / "keys").read_bytes())
    assert one.observation.possession.value == "not_captured"
    assert one.verdict.state.value == {"genuine": "genuine", "forged": "intercepted"}[kind]


@pytest.mark.parametrize("over", ["ethernet", "pppoe"])
def test_the_other_end_of_pppoe_is_no_device_of_the_volunteers(over, public, tmp_path):
    capture, box, rng = Capture(SPRING_2026), Authority.make("Company CA", SPRING_2026), random.Random(7)
    context = server_context(*public.issue(["news.example"], SPRING_2026), V12)
    openssl(Connection(capture, 50_700, OTHER), "news.example", context, client_context())
    genuine = public.issue(["vk.com"], SPRING_2026 + datetime.timedelta(seconds=17), strong=True)[1]
    rsa_handshake(Connection(capture, 50_701), "vk.com", [der(genuine)], rng)

    class Near(Connection):
        def open(self) -> None:
            self.ttl[1] = 64
            self.packet(0, SYN)
            self.packet(1, SYN | ACK, wait=0.0006)
            self.packet(0, ACK)

        def send(self, who, data, wait=0.0005, ttl=None):
            return super().send(who, data, min(wait, 0.001), ttl)

    _, other = box.issue(["shop.example"], SPRING_2026, strong=True)
    rsa_handshake(Near(capture, 50_703), "shop.example", [der(other), der(box.certificate)], rng)
    rsa_handshake(Near(capture, 50_702), "vk.com", [der(copy_of(genuine, box)), der(box.certificate)], rng)
    if over == "pppoe":
        capture.packets = [
            (when, frame[:12] + b"\x88\x64\x11\0\0\x11" + (len(frame) - 12).to_bytes(2, "big") + b"\0\x21" + frame[14:])
            for when, frame in capture.packets
        ]
    last = judged(tmp_path, capture, [public])[-1].verdict
    assert last.state.value == "intercepted"
    assert last.place.where == {"ethernet": "volunteer_side", "pppoe": "unknown"}[over]


def test_a_datagram_bears_nothing_of_the_packet_before(public, tmp_path):
    """Whether a hello was sent again is told by sequence numbers, which UDP has not."""
    told = set()
    for first in (True, False):
        capture = Capture(SPRING_2026)
        if first:
            Connection(capture, 50_900, OTHER).packet(0, SYN)
        unanswered(Datagrams(capture, 57_000, SERVER), "vk.com", 4)
        told.add(rules(judged(tmp_path, capture))[-1])
    assert len(told) == 1
