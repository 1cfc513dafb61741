"""What stands beside a verdict: proxies, names in pieces, alerts, clocks that were set, attempts without an answer."""

from __future__ import annotations

import random
import sys

import pytest

from kzpcap.report.beside import beside
from tests.conftest import CAPTURES, run

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain, qaznet_chain
from recipes.packets import ACK, JULY_2019, PSH, SYN, Capture, Connection
from recipes.tls import client_hello, record, rsa_handshake, server_flight


def said(tmp_path, capture, *options):
    path = tmp_path / "capture.pcapng"
    capture.write(path)
    return " ".join(run("analyze", *options, str(path)).stdout.decode().split())


def page(tmp_path, capture):
    return said(tmp_path, capture, "--html", "-")


def split(pieces):
    """A genuine handshake whose ClientHello comes in segments of so many bytes."""
    rng = random.Random(5)
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    hello = client_hello("rcku.kz", rng)
    for at in range(0, len(hello), pieces):
        connection.packet(0, PSH | ACK, hello[at : at + pieces])
    connection.send(1, server_flight(genuine_chain(), 0x9C, rng), wait=0.03)
    exchange = record(22, bytes((16, 0, 1, 2)) + bytes(258)) + record(20, b"\1") + record(22, bytes(40))
    connection.send(0, exchange)
    connection.close()
    return capture


@pytest.mark.parametrize(("pieces", "told"), [(4, True), (600, False)])
def test_a_name_that_is_whole_in_no_packet_is_told(pieces, told, tmp_path):
    words = "the name is whole in no packet"
    assert (words in said(tmp_path, split(pieces), "--explain")) is told


def test_a_name_in_a_later_segment_is_whole(tmp_path):
    """The hello of a browser takes two segments: that is no trick, and the name lies in one of them."""
    assert len(client_hello("rcku.kz", random.Random(5))) > 60
    assert "whole in no packet" not in said(tmp_path, split(60), "--explain")


@pytest.mark.parametrize(
    ("upgrade", "requested", "words"),
    [
        ("http-connect", "vk.com", "through an HTTP CONNECT proxy, which was asked for vk.com: the address is the"),
        ("socks5", None, "through a SOCKS 5 proxy: the address is the proxy's, and no hop is counted beyond it"),
        ("smtp", None, "TLS began within smtp"),
        ("proxy-protocol", None, "behind a balancer that says for whom it asks"),
    ],
)
def test_what_came_before_is_told_in_words(upgrade, requested, words):
    (sentence,) = beside(upgrade, requested, False)
    assert words in sentence
    assert "\x1b" not in beside("http-connect", "\x1b[2Jevil", False)[0]
    assert beside(None, None, False) == []


def refused():
    rng = random.Random(5)
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("www.facebook.com", rng))
    connection.send(1, server_flight(qaznet_chain(), 0x9C, rng), wait=0.03)
    connection.send(0, record(21, b"\x02\x30"))
    connection.close()
    return capture


def test_the_alert_of_a_refusal_is_named_with_its_frame(tmp_path):
    text = said(tmp_path, refused())
    assert "the client refused the certificate (unknown_ca, frame " in text


@pytest.mark.parametrize(("hours", "words"), [(0.5, ""), (1, "1 hour"), (23, "23 hours"), (49, "2 days")])
def test_a_clock_that_was_set_back_is_told_with_its_frame(hours, words, tmp_path):
    capture = Capture(JULY_2019)
    for turn in range(2):
        rsa_handshake(Connection(capture, 50_001 + turn), "rcku.kz", genuine_chain(), random.Random(turn))
        frames = len(capture.packets)
        capture.now -= hours * 3_600 + 60
        if not turn:
            first = frames
    text = said(tmp_path, capture)
    assert ("the clock goes back by" in text) is bool(words)
    assert not words or f"the clock goes back by {words} at frame {first + 1}:" in text


def test_an_attempt_without_an_answer_is_no_lack_of_attempts(tmp_path):
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    for _ in range(3):
        connection.seq[0] = 1_000
        connection.packet(0, SYN, wait=1)
    text = said(tmp_path, capture)
    assert "no connection to a port where TLS is expected" not in text
    assert "nothing answered what tried to connect to a port where TLS is expected" in text
    assert "nothing answered what tried to connect to a port where TLS is expected" in page(tmp_path, capture)


def test_what_cannot_be_settled_is_told_with_its_reason(tmp_path):
    path = str(CAPTURES / "tls13-encrypted" / "capture.pcapng")
    text = " ".join(run("analyze", "--explain", path).stdout.decode().split())
    rule = "? by a supplied anchor (rule trusted-by-supplied-anchor)"
    assert f"{rule} no certificate of the server can be read here" in text
