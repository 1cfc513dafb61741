"""What only looks like another sender or a block: damaged segments, long packets, no QUIC there, idle timeouts."""

from __future__ import annotations

import io
import random
import ssl
import struct
import sys

import pytest

from tests.conftest import CAPTURES
from tests.test_overstated import judged, rules, states

sys.path.insert(0, str(CAPTURES))
from recipes.built import qaznet_chain
from recipes.packets import ACK, FIN, JULY_2019, OTHER, PSH, RST, SERVER, SPRING_2026, Capture, Connection
from recipes.quic import Datagrams, answered, client
from recipes.tls import (
    Authority,
    client_context,
    client_hello,
    message,
    openssl,
    record,
    rsa_handshake,
    server_context,
    vector,
)

RNG = random.Random(9)
ALERT = record(21, b"\x02\x70")
PAGE = b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\n\r\nThe plain HTTP request was sent to an HTTPS port"


@pytest.fixture(scope="module")
def public():
    return Authority.make("LAB public root", SPRING_2026)


def damaged(connection, data, flip, wait=0.03):
    """Data in a segment with a flipped bit, under the checksum of the right bytes; the sender does not go on."""
    connection.packet(1, PSH | ACK, data, wait=wait)
    connection.seq[1] -= len(data)
    when, frame = connection.capture.packets[-1]
    body = bytearray(frame)
    body[14 + 20 + 20 + flip] ^= 0x40
    connection.capture.packets[-1] = (when, bytes(body))


class DamagedOnce(Connection):
    """A connection whose first long segment of the server's side arrives damaged, and is sent again."""

    hurt = False

    def send(self, who, data, wait=0.0005, ttl=None):
        if who == 1 and len(data) > 1400 and not self.hurt:
            self.hurt = True
            damaged(self, data[:1400], 900)
            wait = 0.25
        return super().send(who, data, wait, ttl)


@pytest.mark.parametrize(("data", "flip"), [(ALERT, 6), (PAGE, 60)])
def test_a_damaged_copy_is_no_second_sender(tmp_path, data, flip):
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("vk.com", RNG))
    damaged(connection, data, flip)
    connection.packet(1, PSH | ACK, data, wait=0.25)
    connection.packet(1, PSH | ACK, b"x" * 100)
    assert states(judged(tmp_path, capture)) == ["undetermined"]


def test_a_damaged_copy_disputes_no_interception(tmp_path):
    capture = Capture(JULY_2019)
    rsa_handshake(DamagedOnce(capture, 50_004), "www.facebook.com", qaznet_chain(), RNG)
    assert states(judged(tmp_path, capture)) == ["intercepted"]


def test_another_version_with_a_right_checksum_still_is_one(tmp_path):
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("vk.com", RNG))
    connection.packet(1, PSH | ACK, ALERT, wait=0.03)
    connection.seq[1] -= len(ALERT)
    connection.packet(1, PSH | ACK, record(21, b"\x02\x28"), wait=0.03)
    assert rules(judged(tmp_path, capture)) == ["alert-by-another-sender"]


def long_hello(name):
    """A ClientHello with the key share of X25519MLKEM768: more than one packet."""
    body = bytearray(client_hello(name, RNG)[9:])
    share = struct.pack(">HH", 51, 1222) + struct.pack(">HHH", 1220, 0x11EC, 1216) + RNG.randbytes(1216)
    share += struct.pack(">HH", 21, 300) + bytes(300)
    at = 2 + 32 + 1 + 32 + 2 + 8 + 2
    body[at : at + 2] = (int.from_bytes(body[at : at + 2], "big") + len(share)).to_bytes(2, "big")
    return record(22, message(1, bytes(body + share)))


def three_failures(capture, public, hello, control):
    context = server_context(*public.issue(["www.example.org", "vk.com"], SPRING_2026), ssl.TLSVersion.TLSv1_2)
    openssl(Connection(capture, 50_111), "vk.com", context, client_context())
    for turn in range(3):
        failing = Connection(capture, 50_120 + turn * 2)
        failing.open()
        began = failing.seq[0]
        parts = [hello[at : at + 1460] for at in range(0, len(hello), 1460)]
        for part in parts:
            failing.packet(0, PSH | ACK, part)
        for wait in (0.3, 0.6, 1.2):
            failing.seq[0] = began
            failing.packet(0, PSH | ACK, parts[0], wait=wait)
        control(capture, 50_121 + turn * 2, context)


def test_long_packets_alone_may_be_lost(tmp_path, public):
    def short(capture, port, context):
        openssl(Connection(capture, port), "www.example.org", context, client_context())

    capture = Capture(SPRING_2026)
    three_failures(capture, public, long_hello("vk.com"), short)
    found = judged(tmp_path, capture, [public])
    assert states(found).count("interfered") == 0
    capture = Capture(SPRING_2026)
    three_failures(capture, public, client_hello("vk.com", RNG), short)
    assert states(judged(tmp_path, capture, [public])).count("interfered") == 3


@pytest.mark.parametrize("kind", ["long controls", "reset", "cut by the card"])
def test_long_hellos_excuse_silence_beside_short_controls_alone(kind, tmp_path, public):
    context = server_context(*public.issue(["www.example.org", "vk.com"], SPRING_2026), ssl.TLSVersion.TLSv1_2)
    capture = Capture(SPRING_2026)
    openssl(Connection(capture, 50_111), "vk.com", context, client_context())
    for turn in range(3):
        failing = Connection(capture, 50_120 + turn * 2)
        failing.open()
        began, hello = failing.seq[0], long_hello("vk.com")
        size = 1_460 if kind != "cut by the card" else 5_000
        for wait in (0.001, 0.3, 0.6, 1.2):
            for at in range(0, len(hello), size):
                failing.seq[0] = began + at
                failing.packet(0, PSH | ACK, hello[at : at + size], wait=wait)
            if kind == "reset":
                failing.packet(1, RST | ACK, wait=0.03)
                break
        control = Connection(capture, 50_121 + turn * 2)
        if kind == "long controls":
            send = control.send

            def apart(who, data, *rest, send=send, **more):
                if who or data[:1] != b"\x16" or data[5] != 1:
                    return send(who, data, *rest, **more)
                return [send(who, part, *rest, **more) for part in (data[:200], data[200:])][-1]

            control.send = apart
        openssl(control, "www.example.org", context, client_context())
    expected = 0 if kind == "cut by the card" else 3
    assert states(judged(tmp_path, capture, [public])).count("interfered") == expected


def test_who_waits_for_a_hello_that_is_lost_waits_from_the_first_on(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_210)
    connection.open()
    hello, began = client_hello("ok.ru", RNG), connection.seq[0]
    for wait in (0.001, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4):
        connection.seq[0] = began
        connection.packet(0, PSH | ACK, hello, wait=wait)
    connection.packet(1, RST | ACK, wait=2.4, ttl=54)
    assert states(judged(tmp_path, capture)) == ["undetermined"]


@pytest.mark.parametrize(("spoken", "expected"), [(False, 0), (True, 3)])
def test_a_server_without_quic_blocks_nothing(spoken, expected, tmp_path, public):
    """Three tries of QUIC at a server that never spoke it, each answered over TCP; controls at another."""
    capture = Capture(SPRING_2026)
    keys = io.StringIO()
    target = server_context(*public.issue(["vk.com"], SPRING_2026), ssl.TLSVersion.TLSv1_2)
    key, leaf = public.issue(["www.example.org"], SPRING_2026)
    if spoken:
        ours = public.issue(["vk.com"], SPRING_2026)
        answered(Datagrams(capture, 56_999, SERVER), client("vk.com", keys=keys), *ours)
    for turn in range(4):
        answered(Datagrams(capture, 57_002 + turn * 10, OTHER), client("www.example.org", keys=keys), key, leaf)
        if turn == 3:
            break
        ours = Datagrams(capture, 57_000 + turn * 10, SERVER)
        asking = client("vk.com")
        now = capture.now
        asking.connect((SERVER, 443), now=now)
        for again in range(3):
            for data, _ in asking.datagrams_to_send(now=now):
                ours.send(0, data, 0.5 if again else 0.0002)
            now = asking.get_timer() or now
            asking.handle_timer(now=now)
        openssl(Connection(capture, 57_001 + turn * 10), "vk.com", target, client_context())
    found = judged(tmp_path, capture, [public], keylog=keys.getvalue().encode())
    assert "genuine" in states(found)
    assert states(found).count("interfered") == expected


@pytest.mark.parametrize("what", ["fin", "reset", "page", "alert"])
def test_what_comes_once_a_balancer_gave_up_is_no_answer(tmp_path, what):
    def after(seconds):
        capture = Capture(SPRING_2026)
        connection = Connection(capture, 50_200)
        connection.open()
        connection.send(0, client_hello("vk.com", RNG))
        connection.packet(1, ACK, wait=0.03)
        if what in ("fin", "reset"):
            connection.packet(1, (FIN if what == "fin" else RST) | ACK, wait=seconds, ttl=54)
        else:
            connection.packet(1, PSH | ACK, PAGE if what == "page" else ALERT, wait=seconds, ttl=54)
        return states(judged(tmp_path, capture))

    assert after(60) == ["undetermined"]
    assert after(0.05) == ["interfered"]


def test_what_answers_the_clients_own_end_is_no_answer_to_its_hello(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_401)
    connection.open()
    connection.send(0, client_hello("vk.com", RNG))
    connection.packet(0, FIN | ACK, wait=0.1)
    connection.packet(1, PSH | ACK, record(21, b"\1\0"), wait=0.03, ttl=54)
    assert states(judged(tmp_path, capture)) == ["undetermined"]


def early_hello(name):
    def extension(kind, body):
        return struct.pack(">HH", kind, len(body)) + body

    identity = vector(vector(RNG.randbytes(64), 2) + b"\0\0\0\1", 2) + vector(vector(RNG.randbytes(32), 1), 2)
    extensions = (
        extension(0, vector(b"\0" + vector(name.encode(), 2), 2))
        + extension(10, bytes.fromhex("0004001d0017"))
        + extension(43, b"\2\3\4")
        + extension(51, vector(struct.pack(">HH", 0x1D, 32) + RNG.randbytes(32), 2))
        + extension(45, b"\1\1")
        + extension(42, b"")
        + extension(41, identity)
    )
    body = b"\3\3" + RNG.randbytes(32) + vector(RNG.randbytes(32), 1) + vector(b"\x13\1", 2) + b"\1\0"
    return record(22, message(1, body + vector(extensions, 2)))


def test_early_data_is_not_what_a_client_says_to_an_answer(tmp_path):
    """RFC 8446 section 4.2.10: a change of the cipher and 200 bytes go with the hello."""
    extensions = struct.pack(">HHH", 43, 2, 0x0304) + struct.pack(">HHH", 51, 36, 0x1D) + vector(RNG.randbytes(32), 2)
    body = b"\3\3" + RNG.randbytes(32) + vector(RNG.randbytes(32), 1) + b"\x13\1\0" + vector(extensions, 2)
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_301)
    connection.open()
    connection.send(0, early_hello("vk.com"))
    connection.send(0, record(20, b"\1") + record(23, RNG.randbytes(200)))
    connection.packet(1, PSH | ACK, record(22, message(2, body)), wait=0.03)
    connection.packet(1, RST, wait=0.001, ttl=125)
    assert rules(judged(tmp_path, capture)) == ["handshake-reset-by-another-sender"]
