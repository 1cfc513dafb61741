"""Sentences that say what the packets show, with the frames that show it."""

from __future__ import annotations

import random
import ssl
import sys

import pytest

from kzpcap import analyze, reference
from kzpcap.certificates.certificate import parse
from kzpcap.observations import Absent
from kzpcap.report.terminal import address
from kzpcap.scrub.choose import Choices
from kzpcap.scrub.work import scrub
from kzpcap.verdict.facts import name_matches
from tests.build import client_hello as modern_hello
from tests.build import extension, message, record, server_hello_body
from tests.conftest import CAPTURES, run
from tests.test_overstated import judged

sys.path.insert(0, str(CAPTURES))
from recipes.packets import ACK, PSH, RST, SPRING_2026, Capture, Connection
from recipes.tls import (
    Authority,
    client_context,
    client_hello,
    der,
    openssl,
    rsa_handshake,
    server_context,
    vector,
)


def analysed(name):
    return analyze(str(next((CAPTURES / name).glob("capture.pcap*"))), reference.load())


@pytest.mark.parametrize("name", ["tls13-encrypted", "lab-snaplen", "lab-tls13"])
def test_why_there_is_no_certificate_is_shown_by_what_came(name):
    """Not by the SYN: the ServerHello, or the part of the certificate that is there."""
    report = analysed(name)
    shown = 0
    for one in report.connections():
        observation = one.observation
        if observation.absent in (Absent.ENCRYPTED, Absent.TRUNCATED, Absent.RESUMED):
            seen = observation.chain_seen or observation.server_hello or observation.server_marks[1]
            if one.verdict.rule.id in ("certificate-encrypted", "certificate-truncated"):
                assert seen.frame in {frame for each in one.verdict.evidence.children for frame in each.frames}
                shown += 1
    report.close()
    assert shown


def test_every_remark_on_versions_has_its_frames(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, modern_hello(b"vk.com", extensions=extension(43, b"\x04\x03\x04\x03\x03")))
    connection.send(1, record(22, message(2, server_hello_body())), wait=0.03)
    (found,) = judged(tmp_path, capture)
    (remark,) = [one for one in found.verdict.remarks if one.says == "TLS 1.3 was offered, TLS 1.2 was chosen"]
    assert remark.frames == (found.observation.client_hello.frame, found.observation.server_hello.frame)


def test_a_name_that_the_client_asked_for_too_is_asked_for():
    report = analysed("kz-2019-rcku-genuine")
    (one,) = [c.observation for c in report.connections() if c.observation.server_name == "www.facebook.com"][:1] or [
        next(iter(report.connections())).observation
    ]
    assert name_matches(one, report.surroundings).value is True
    decoy = one._replace(server_name="decoy.example", other_names=(one.server_name,))
    assert name_matches(decoy, report.surroundings).value is True
    other = one._replace(server_name="decoy.example", other_names=("another.example",))
    assert name_matches(other, report.surroundings).value is False
    report.close()


def test_the_words_of_a_damaged_certificate_are_our_own():
    """Not those of a library's error, which are its version's, and no evidence."""
    assert parse(b"\x30\x03\x02\x01").problem == "it is no well-formed X.509 certificate"


def test_an_empty_list_is_a_certificate_that_was_not_sent(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("vk.com", random.Random(1)))
    flight = message(2, server_hello_body()) + message(11, b"\0\0\0") + message(14, b"")
    connection.send(1, record(22, flight), wait=0.03)
    connection.close()
    (found,) = judged(tmp_path, capture)
    assert found.observation.absent is Absent.NOT_SENT
    assert found.verdict.rule.id == "no-certificate"


def test_a_cut_alert_stays_one_when_it_is_scrubbed(tmp_path):
    """Zeros in its place would be an answer that is no TLS."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(1)))
    connection.packet(1, PSH | ACK, b"\x15\x03\x03", wait=0.03, ttl=125)
    capture.write(tmp_path / "capture.pcapng")
    found = scrub(str(tmp_path / "capture.pcapng"), reference.load(), Choices())
    assert found.proof.wrong == []
    found.output.close()


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("203.0.113.80", 15, "203.0.113.80"),
        ("2001:db8:feed:cafe::1", 15, "2001:d~:cafe::1"),
        ("2001:db8:feed:cafe::2", 15, "2001:d~:cafe::2"),
    ],
)
def test_of_a_long_address_the_end_is_shown(text, width, shown):
    assert address(text, width) == shown
    assert len(shown) <= width


def test_a_certificate_that_is_cut_does_not_keep_a_capture_back(tmp_path):
    """It bears the name of a control: what is left of it is taken out, and the rest of the capture can be sent."""
    root = Authority.make("LAB root", SPRING_2026)
    names = ["vk.com", "static.example.net", *(f"n{number}.vk.com" for number in range(80))]
    _, leaf = root.issue(names, SPRING_2026)
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("vk.com", random.Random(1)))
    flight = record(22, message(2, server_hello_body()) + message(11, vector(vector(der(leaf), 3), 3)))
    connection.segment = 300
    connection.send(1, flight[:900], wait=0.03)
    other = Connection(capture, 50_002, "198.51.100.9")
    rsa_handshake(
        other,
        "static.example.net",
        [der(root.issue(["static.example.net"], SPRING_2026, strong=True)[1])],
        random.Random(2),
    )
    capture.write(tmp_path / "capture.pcapng")
    for profile in ("evidence", "public"):
        found = scrub(str(tmp_path / "capture.pcapng"), reference.load(), Choices(profile=profile))
        assert (found.proof.wrong, found.proof.leaks) == ([], [])
        found.output.close()


@pytest.mark.parametrize(("claimed", "absent"), [(0, None), (64, Absent.MALFORMED)])
def test_a_list_that_claims_more_than_its_message_holds_is_malformed(claimed, absent, tmp_path):
    """Nothing was cut short in the capture."""
    root = Authority.make("LAB root", SPRING_2026)
    chain = vector(der(root.issue(["vk.com"], SPRING_2026)[1]), 3)
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("vk.com", random.Random(1)))
    certificate = message(11, (len(chain) + claimed).to_bytes(3, "big") + chain)
    connection.send(1, record(22, message(2, server_hello_body()) + certificate + message(14, b"")), wait=0.03)
    connection.close()
    (found,) = judged(tmp_path, capture)
    assert found.observation.absent is absent


def test_a_reset_that_no_router_lowered_may_be_of_the_users_own_router(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(7)))
    connection.packet(1, RST | ACK, wait=0.0004, ttl=64)
    (found,) = judged(tmp_path, capture)
    assert found.verdict.state.value == "interfered"
    assert "the user's own router or computer may have sent it" in found.verdict.evidence.children[0].says


@pytest.mark.parametrize(("seconds", "state"), [(3, "interfered"), (55, "undetermined")])
def test_a_reset_long_after_the_hello_answers_nothing(seconds, state, tmp_path):
    """NATs and firewalls that have forgotten a connection send one too."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(7)))
    connection.packet(1, RST | ACK, wait=seconds, ttl=63)
    (found,) = judged(tmp_path, capture)
    assert found.verdict.state.value == state


@pytest.mark.parametrize(("ttl", "said"), [(None, True), (59, False)])
def test_what_the_server_itself_may_have_refused_is_said(ttl, said, tmp_path):
    """Resets with the SYN-ACK's TTL, beside controls at the same server: it may be copied, or the server's."""
    public = Authority.make("LAB public root", SPRING_2026)
    capture = Capture(SPRING_2026)
    context = server_context(*public.issue(["www.example.org", "vk.com"], SPRING_2026), ssl.TLSVersion.TLSv1_2)
    openssl(Connection(capture, 50_000), "vk.com", context, client_context())
    for turn in range(4):
        connection = Connection(capture, 50_100 + turn)
        connection.ttl[1] = 58
        connection.open()
        connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(7)))
        connection.packet(1, RST | ACK, wait=0.03, ttl=ttl)
        capture.now += 2
        openssl(Connection(capture, 50_200 + turn), "www.example.org", context, client_context())
        capture.now += 2
    found = [one for one in judged(tmp_path, capture, [public]) if one.verdict.state.value == "interfered"]
    assert len(found) == 4
    told = found[0].verdict.evidence.children[0].says
    assert ("that the server refuses this name itself is not excluded" in told) is said


def test_a_key_that_signed_needs_no_day():
    """Two chains for the same bytes, and the clock of another year: whose key signed stays as it is."""
    told = run("certificates", CAPTURES / "tricks" / "capture.pcapng").stdout.decode()
    assert "standing signed by an interception key: Qaznet Trust Network" in told
    told = run("certificates", CAPTURES / "kz-2019-rcku" / "capture.pcapng", "--at", "2050-01-01").stdout.decode()
    assert "standing signed by an interception key: Qaznet Trust Network" in told
