"""Two machines in one client's name, as a capture behind a box shows them; an IP ID that two packets share."""

from __future__ import annotations

import random
import sys

import pytest

from tests.conftest import CAPTURES, run
from tests.test_overstated import judged

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain
from recipes.packets import ACK, JULY_2019, PSH, Capture, Connection
from recipes.tls import client_hello, record, server_flight

REMARK = "two senders in the client's name"


def handshake(syn, hello, again=None):
    """As the server's side sees it: TTLs of the SYN and of the ClientHello, which may be sent again with another."""
    rng = random.Random(2)
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.ttl = [syn, 64]
    connection.open()
    data = client_hello("rcku.kz", rng)
    for ttl in (hello, *([again] if again else ())):
        begin = connection.seq[0]
        connection.packet(0, PSH | ACK, data, wait=0.02, ttl=ttl)
        connection.seq[0] = begin
    connection.seq[0] += len(data)
    connection.ttl[0] = hello
    connection.send(1, server_flight(genuine_chain(), 0x9C, rng), wait=0.03)
    connection.send(0, record(22, bytes((16, 0, 1, 2)) + bytes(258)) + record(20, b"\1") + record(22, bytes(40)))
    connection.close()
    return capture


def remarks(tmp_path, capture):
    (found,) = judged(tmp_path, capture)
    return found, [remark for remark in found.verdict.remarks if REMARK in remark.says]


@pytest.mark.parametrize(
    ("syn", "hello", "told"),
    [
        (56, 60, True),
        (56, 57, False),
        (56, 56, False),
        (60, 56, False),  # farther than the SYN came: a probe with a lowered TTL may be
        (120, 60, True),
        (120, 40, False),
        (120, 56, False),  # as far away by another initial TTL
        (64, 60, False),  # beside the client
        (63, 66, False),
    ],
)
def test_a_hello_from_nearer_than_its_syn_has_another_sender(syn, hello, told, tmp_path):
    found, said = remarks(tmp_path, handshake(syn, hello))
    assert bool(said) is told
    assert found.verdict.state == "genuine", "it is a remark, and no verdict"
    if told:
        assert (said[0].value, said[0].frames) == (True, (1, 4))


def test_hellos_with_several_ttls_are_probes(tmp_path):
    assert not remarks(tmp_path, handshake(56, 60, 61))[1]


def test_findings_tell_it_beside_what_is_genuine(tmp_path):
    path = tmp_path / "capture.pcapng"
    for hello, told in ((60, True), (56, False)):
        handshake(56, hello).write(path)
        text = " ".join(run("analyze", str(path)).stdout.decode().split())
        assert ("but 1 of them with marks of two senders (--explain)" in text) is told
        page = run("analyze", "--html", "-", str(path)).stdout.decode()
        assert ("1 of the genuine connections has marks of two senders" in page) is told


def test_an_ip_id_that_two_packets_share_names_neither(tmp_path):
    """A reset that copies the SYN-ACK's IP ID: the stranger is one of them, and nothing tells which."""
    text = run("analyze", "--explain", str(CAPTURES / "tricks" / "capture.pcapng")).stdout.decode()
    assert "frames 62-" in text
    assert "IP ID 1 in the SYN-ACK" not in " ".join(text.split())
