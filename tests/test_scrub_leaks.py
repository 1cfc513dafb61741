"""Captures that are built to leak, and do not."""

from __future__ import annotations

import ipaddress
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import reference
from kzpcap.scrub import prove
from kzpcap.scrub.choose import Choices
from kzpcap.scrub.work import scrub
from tests.build import client_hello_body, message, record
from tests.conftest import CAPTURES

sys.path.insert(0, str(CAPTURES))


SHIPPED = reference.load()


def built(tmp_path, client, server, port=50_001, name="c.pcapng"):
    """A capture of one connection to vk.com: what the client says, then what the server says, piece by piece."""
    from recipes.packets import JULY_2019, Capture, Connection

    capture = Capture(JULY_2019)
    talk = Connection(capture, port)
    talk.open()
    for who, data in [*((0, one) for one in client), *((1, one) for one in server)]:
        talk.send(who, data)
    talk.close()
    capture.write(tmp_path / name)
    return tmp_path / name


def left(path, **choices):
    scrubbed = scrub(str(path), SHIPPED, Choices(**choices))
    with scrubbed.output:
        assert scrubbed.proof.wrong == scrubbed.proof.leaks == []
        return scrubbed, scrubbed.output.read()


HELLO = record(22, message(1, client_hello_body(b"vk.com")))
SECRETS_OF = (b"192.0.2.10", b"7701", b"s3cret", b"private-name", b"Basic", b"cookie", b"EHLO", b"phone")


@pytest.mark.parametrize("profile", ["evidence", "public"])
@pytest.mark.parametrize(
    ("client", "server"),
    [
        ([HELLO], [b"HTTP/1.1 302 Found\r\nLocation: /?ip=192.0.2.10&phone=77015550000\r\nSet-Cookie: s3cret\r\n\r\n"]),
        ([HELLO], [b"blocked for 192.0.2.10 phone 77015550000"]),
        ([HELLO], [b"HTTP/1.1 403 no access for 192.0.2.10\r\n\r\n<html>phone 7701"]),
        ([HELLO + record(23, b"s3cret private-name" * 9)], [record(23, b"cookie s3cret" * 20)]),
        ([b"GET /private-name HTTP/1.1\r\nCookie: s3cret\r\n\r\n" + HELLO], []),
        ([b"EHLO private-name\r\nSTARTTLS\r\n", HELLO], [b"220 private-name ESMTP\r\n250 s3cret\r\n"]),
        ([record(22, message(1, client_hello_body(b"private-name.example"))), HELLO], []),
        ([record(22, message(1, client_hello_body(b"vk.com")) + message(11, b"\0\0\x20\0\0\x1d private-name"))], []),
        ([record(22, message(1, client_hello_body(b"vk.com")) + message(77, b"private-name s3cret"))], []),
        ([HELLO], [record(22, message(13, b"private-name s3cret 7701"))]),
        ([HELLO], [record(22, message(14, b"private-name s3cret 7701"))]),
        ([HELLO], [record(21, b"private-name s3cret 7701")]),
        ([HELLO + record(20, b"\x01s3cret private-name")], []),
        ([HELLO + b"\x99private-name s3cret and no record"], [b"\x16\x03\x03\x00\x05" + b"s3cret private-name"]),
    ],
    ids=["redirect", "plain", "status line", "data", "http first", "starttls", "another hello", "client certificate",
         "unknown message", "authorities", "done with more", "alert with more", "cipher change with more", "no record"],
)  # fmt: skip
def test_what_is_built_to_leak_does_not(client, server, profile, tmp_path):
    _, out = left(built(tmp_path, client, server), profile=profile)
    assert not [secret for secret in SECRETS_OF if secret in out]


def test_a_proxy_is_told_its_target_and_nothing_else(tmp_path):
    asks = b"CONNECT vk.com:443 HTTP/1.1\r\nProxy-Authorization: Basic czNjcmV0\r\nUser-Agent: private-name\r\n\r\n"
    path = built(tmp_path, [asks], [b"HTTP/1.1 200 OK\r\nVia: private-name\r\n\r\n"])
    from recipes.packets import JULY_2019, Capture, Connection

    capture = Capture(JULY_2019)
    talk = Connection(capture, 50_001, server_port=8080)
    talk.open()
    for who, data in ((0, asks), (1, b"HTTP/1.1 200 OK\r\nVia: private-name\r\n\r\n"), (0, HELLO)):
        talk.send(who, data)
    talk.close()
    capture.write(path)
    scrubbed, out = left(path)
    assert b"CONNECT vk.com:443" in out
    assert not [secret for secret in (b"Basic", b"czNj", b"private-name", b"Via", b"User-Agent") if secret in out]
    assert scrubbed.proof.unexpected == []


def test_bytes_that_conflict_are_masked_by_what_each_of_them_is(tmp_path):
    """A second copy of a segment with other bytes: application data where the first had a hello."""
    from recipes.packets import JULY_2019, Capture, Connection

    capture = Capture(JULY_2019)
    talk = Connection(capture, 50_001)
    talk.open()
    seq = talk.seq[0]
    talk.send(0, HELLO)
    talk.seq[0] = seq
    talk.send(0, (record(23, b"s3cret private-name " * 30))[: len(HELLO)])
    talk.close()
    capture.write(tmp_path / "c.pcapng")
    _, out = left(tmp_path / "c.pcapng")
    assert b"s3cret" not in out
    assert b"private-name" not in out
    assert b"vk.com" in out


def test_a_flow_of_another_name_on_the_same_ports_does_not_stay(tmp_path):
    from recipes.packets import JULY_2019, Capture, Connection

    capture = Capture(JULY_2019)
    for number, name in enumerate((b"vk.com", b"private-name.example", b"vk.com")):
        talk = Connection(capture, 50_001)
        talk.seq[0] += number * 1_000_003
        talk.open()
        talk.send(0, record(22, message(1, client_hello_body(name))))
        talk.close()
        capture.now += 2
    capture.write(tmp_path / "c.pcapng")
    _, out = left(tmp_path / "c.pcapng", drop=frozenset({"private-name.example"}))
    assert b"private-name" not in out
    assert out.count(b"vk.com") == 2


PART = st.sampled_from(
    [b"1", b"12", b"192", b"0", b"30", b"255", b".", b":", b"::", b"a", b"fe80", b" ", b"x", b"2001:db8"]
)


@given(
    st.lists(PART, max_size=24),
    st.sampled_from(["1.12.192.0", "12.0.30.1", "192.12.1.30", "255.1.1.12"]),
    st.integers(0, 24),
)
def test_every_address_that_is_found_is_among_those_that_are_looked_for(parts, text, at):
    data = b"".join([*parts[:at], text.encode(), *parts[at:]])
    for one in (text, "fe80::1", "2001:db8::12", "::1", "1.1.1.1", "12.12.12.12"):
        address = ipaddress.ip_address(one)
        if prove._written(address.packed).search(data):
            assert str(address).encode() in prove._like_addresses(data)


def test_looking_for_many_addresses_costs_one_reading():
    output = b"\x16\x03\x03 1.2.3.4x fe80::1:2 " * 20_000
    addresses = [bytes([95, 56, one >> 8, one & 255]) for one in range(5_000)]
    proof = prove.Proof()
    began = time.process_time()
    prove.look_for_leaks(output, b"", (), [*addresses, bytes([1, 2, 3, 4])], b"", proof)
    assert proof.leaks == ["the address 1.2.3.4"]
    assert time.process_time() - began < 3
