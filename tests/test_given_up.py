"""Who gave up waiting interfered with nobody; the frames of an end are its own."""

from __future__ import annotations

import random
import sys

import pytest

from kzpcap.tls.upgrade import recognise
from tests.build import client_hello as long_client_hello
from tests.build import extension
from tests.conftest import CAPTURES
from tests.test_attempts import V12, control
from tests.test_overstated import judged

sys.path.insert(0, str(CAPTURES))
from recipes.packets import ACK, FIN, PSH, RST, SPRING_2026, SYN, Capture, Connection
from recipes.tls import Authority, client_hello, record, server_context

WENT_ON = record(20, b"\1") + record(23, b"a" * 70) + record(23, b"a" * 400)
ANSWER = b"\2" * 3_000


def routed(opened=True):
    """A connection whose client is four routers away, up to its ClientHello."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.ttl = [60, 57]
    if opened:
        connection.open()
    else:
        connection.packet(0, SYN)
        connection.packet(0, ACK, wait=0.03)
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(4)))
    return capture, connection


def only(tmp_path, capture):
    (found,) = judged(tmp_path, capture)
    return found


@pytest.mark.parametrize(("wait", "state"), [(0.05, "interfered"), (120, "undetermined"), (3_600, "undetermined")])
def test_a_reset_in_the_clients_name_is_prompt_or_nobodys(wait, state, tmp_path):
    """A carrier's NAT whose entry ran out sends one too, from between."""
    capture, connection = routed()
    connection.packet(0, RST | ACK, wait=wait, ttl=62)
    found = only(tmp_path, capture)
    assert found.verdict.state == state
    assert ("client-reset-by-another-sender" in found.verdict.unsettled) is (state == "undetermined")


def test_a_client_of_which_alone_was_captured_that_it_went_on_was_not_reset(tmp_path):
    capture, connection = routed(opened=False)
    connection.packet(0, PSH | ACK, WENT_ON, wait=0.05)
    connection.packet(0, RST | ACK, wait=0.05, ttl=62)
    assert only(tmp_path, capture).verdict.state == "undetermined"


@pytest.mark.parametrize("before", [True, False])
def test_what_the_client_sent_before_any_answer_does_not_excuse_a_reset(before, tmp_path):
    """Early data, or what was on its way when the forged reset came: the server had answered nothing."""
    capture, connection = routed()
    if before:
        connection.packet(0, PSH | ACK, WENT_ON, wait=0.01)
    connection.packet(0, RST | ACK, wait=0.05, ttl=62)
    if not before:
        connection.packet(0, PSH | ACK, WENT_ON, wait=0.001)
    assert only(tmp_path, capture).verdict.rule.id == "client-reset-by-another-sender"


def test_an_answer_that_is_not_in_the_capture_came_before_the_reset(tmp_path):
    capture, connection = routed()
    connection.packet(1, PSH | ACK, ANSWER, wait=0.03)
    del capture.packets[-1]
    connection.packet(0, PSH | ACK, WENT_ON)
    connection.packet(0, RST | ACK, wait=0.05, ttl=62)
    assert only(tmp_path, capture).verdict.state == "undetermined"


def long_hello_lost(capture, port, end):
    """A ClientHello of two segments, of which the server gets nothing, and how the attempt ends."""
    connection = Connection(capture, port)
    connection.open()
    hello = long_client_hello(
        b"vk.com", extensions=extension(21, bytes(1_700)), random=random.Random(port).randbytes(32)
    )
    begin = connection.seq[0]
    connection.packet(0, PSH | ACK, hello[:1_400])
    connection.packet(0, PSH | ACK, hello[1_400:])
    behind, connection.seq[0] = connection.seq[0], begin
    for _ in range(4):
        connection.packet(0, PSH | ACK, hello[:1_400], wait=3)
        connection.seq[0] = begin
    if end == "silent":
        capture.now += 50
        connection.seq[0] = behind
        connection.packet(0, FIN | ACK)
    else:
        connection.packet(1, RST | ACK, wait=50 if end == "late reset" else 0.03)


@pytest.mark.parametrize(("end", "accused"), [("silent", False), ("late reset", False), ("reset", True)])
def test_a_server_that_resets_what_never_arrived_is_as_a_path_that_loses_long_packets(end, accused, tmp_path):
    public = Authority.make("LAB public root", SPRING_2026)
    context = server_context(*public.issue(["www.example.org", "vk.com"], SPRING_2026), V12)
    capture = Capture(SPRING_2026)
    control(capture, 50_000, context, "vk.com")
    for turn in range(4):
        long_hello_lost(capture, 50_100 + turn, end)
        control(capture, 50_200 + turn, context)
        control(capture, 50_300 + turn, context)
    found = judged(tmp_path, capture, (public,))
    failed = {one.verdict.rule.id for one in found if one.observation.failed}
    assert ("failed-repeatedly-beside-controls" in failed) is accused


def test_the_frame_of_a_fin_is_told_though_a_reset_is_there_too(tmp_path):
    """A reset behind it, or one that the client ignored, ended nothing."""
    capture, connection = routed()
    connection.packet(1, FIN | ACK, wait=0.03)
    connection.packet(0, ACK)
    connection.packet(1, RST, wait=0.03)
    found = only(tmp_path, capture)
    assert found.verdict.rule.id == "closed-once"
    assert 5 in frames(found.verdict.evidence)
    assert 7 not in frames(found.verdict.evidence)


def frames(finding):
    return set(finding.frames).union(*map(frames, finding.children))


def test_silence_cites_no_reset_that_was_ignored(tmp_path):
    capture, connection = routed()
    connection.seq[1] += 1 << 30
    connection.packet(1, RST, wait=0.01)
    connection.seq[1] -= 1 << 30
    capture.now += 10
    connection.packet(0, FIN | ACK)
    found = only(tmp_path, capture)
    assert found.observation.failed == "silent"
    assert 5 not in frames(found.verdict.evidence)


@pytest.mark.parametrize("alert", [False, True])
def test_a_probe_that_its_client_gave_up_drew_nothing(alert, tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(4)), ttl=5)
    capture.now += 5
    if alert:
        connection.packet(0, PSH | ACK, record(21, b"\x01\x5a"))
    connection.packet(0, FIN | ACK)
    assert only(tmp_path, capture).verdict.rule.id == "probe-unanswered"


CAPABILITIES = b"250-mx.example\r\n250-PIPELINING\r\n250-STARTTLS\r\n250 STARTTLS\r\n"


@pytest.mark.parametrize(
    ("client", "server", "protocol"),
    [
        (CAPABILITIES, b"", None),
        (b"", b"220 mx.example ESMTP\r\n" + CAPABILITIES, "smtp"),
        (b"a1 STARTTLS\r\n", b"", "imap"),
        (b"a-1 STARTTLS\r\n", b"* OK ready\r\n", "imap"),
        (b"100 STARTTLS\r\n", b"* OK ready\r\n", "imap"),
        (b"a1 CAPABILITY\r\na2 starttls\r\n", b"* OK ready\r\n", "imap"),
        (b"CAPABILITIES\r\nSTARTTLS\r\n", b"", "nntp"),
        (bytes.fromhex("0000000804d2162f"), b"S", "postgresql"),
        (bytes.fromhex("0000000804d216300000000804d2162f"), b"NS", "postgresql"),
        (bytes.fromhex("0000000804d21630"), b"N", None),
    ],
)
def test_what_comes_before_tls_by_one_side_or_both(client, server, protocol):
    found = recognise(client, server)
    assert (found.protocol if found else None) == protocol
