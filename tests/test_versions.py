"""Bytes that came in several versions: fakes around the true segment, a forged answer between two genuine ones."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import reference
from kzpcap.flows import MAX_VERSIONS, versions
from kzpcap.scrub.choose import Choices
from kzpcap.scrub.work import scrub
from tests import test_injected as injected
from tests.conftest import CAPTURES
from tests.test_flows import segment

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain, qaznet_chain
from recipes.packets import ACK, JULY_2019, PSH, RST, Capture, Connection
from recipes.tls import client_hello, message, record, server_flight


def several(connection, who, copies, cut=None):
    """Send copies of the same bytes, each whole before the next; `cut` sends each half in all versions first."""
    parts = [slice(0, cut), slice(cut, None)] if cut else [slice(None)]
    for part in parts:
        for data, ttl in copies:
            connection.packet(who, PSH | ACK, data[part], 0.001, ttl=ttl)
            connection.seq[who] -= len(data[part])
        connection.seq[who] += len(copies[0][0][part])


@pytest.mark.parametrize("cut", [None, 60], ids=["whole", "in two halves"])
@pytest.mark.parametrize("fake", [bytes, lambda size: (b"GET / HTTP/1.1\r\n" * 99)[:size]], ids=["zeros", "HTTP"])
@pytest.mark.parametrize("order", ["fake, true", "fake, true, fake"])
@pytest.mark.parametrize(("chain", "state"), [(qaznet_chain, "intercepted"), (genuine_chain, "genuine")])
def test_a_fake_before_the_hello_hides_nothing(tmp_path, cut, fake, order, chain, state):
    """As programs against inspection send it, with a TTL that ends before the server."""
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    hello = client_hello("rcku.kz", random.Random(5))
    copies = [(fake(len(hello)), 3) if word == "fake" else (hello, 64) for word in order.split(", ")]
    several(connection, 0, copies, cut)
    connection.send(1, server_flight(chain(), 0x009C, random.Random(5)), 0.03)
    connection.send(0, record(22, message(16, b"\0\x80" + bytes(128))) + record(20, b"\1"))
    (found,) = injected.judged(capture, tmp_path)
    assert found.observation.server_name == "rcku.kz"
    assert found.verdict.state.value == state


@pytest.mark.parametrize("count", [1, 5, 20])
def test_the_same_fake_many_times_is_one_version(tmp_path, count):
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    hello = client_hello("www.facebook.com", random.Random(5))
    fakes = [(bytes(len(hello)), 3)] * count
    several(connection, 0, [*fakes, (hello, 64), *fakes])
    connection.send(1, server_flight(qaznet_chain(), 0x009C, random.Random(5)), 0.03)
    (found,) = injected.judged(capture, tmp_path)
    assert found.observation.server_name == "www.facebook.com"


@pytest.mark.parametrize("faked", [False, True], ids=["once", "behind a fake"])
def test_a_file_that_holds_a_handshake_is_none(tmp_path, faked):
    """A client that speaks plain text in every version of its bytes began no handshake."""
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    asked = b"GET /handshake.bin HTTP/1.1\r\nHost: rcku.kz\r\n\r\n"
    several(connection, 0, [*([(bytes(len(asked)), 3)] if faked else []), (asked, 64)])
    connection.send(1, server_flight(qaznet_chain(), 0x009C, random.Random(5)), 0.03)
    (found,) = injected.judged(capture, tmp_path)
    assert found.verdict.state.value == "undetermined"
    assert not found.observation.chain


@pytest.mark.parametrize("again", [False, True], ids=["two versions", "three"])
def test_a_forged_chain_between_two_genuine_copies_is_read(tmp_path, again):
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("rcku.kz", random.Random(5)))
    genuine, forged = (server_flight(chain(), 0x009C, random.Random(5)) for chain in (genuine_chain, qaznet_chain))
    for flight in (genuine, forged, *([genuine] if again else [])):
        begin = connection.seq[1]
        connection.send(1, flight, 0.01)
        connection.seq[1] = begin
    (found,) = injected.judged(capture, tmp_path)
    assert found.verdict.rule.id == "interception-chain-in-conflicting-bytes"


def test_a_name_in_the_middle_of_three_versions_is_masked(tmp_path):
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    listed = client_hello("www.facebook.com", random.Random(5))
    hidden = client_hello("www.hospital.kz", random.Random(6)).ljust(len(listed), b"\0")[: len(listed)]
    several(connection, 0, [(listed, 64), (hidden, 3), (listed, 64)])
    connection.send(1, server_flight(qaznet_chain(), 0x009C, random.Random(5)), 0.03)
    path = tmp_path / "in.pcapng"
    capture.write(path)
    assert b"hospital" in path.read_bytes()
    scrubbed = scrub(str(path), reference.load(), Choices(keep=frozenset({"www.facebook.com"})))
    with scrubbed.output:
        out = scrubbed.output.read()
    assert b"hospital" not in out
    assert scrubbed.written.frames


@pytest.mark.parametrize("data", [False, True], ids=["handshake alone", "with application data"])
@pytest.mark.parametrize("offset", [10_000_000, -1_000])
def test_a_reset_that_the_client_ignored_blocks_nothing(tmp_path, data, offset):
    """One reset outside the window behind the ClientHello, of another sender; the handshake ends all the same."""
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    hello = client_hello("rcku.kz", random.Random(5))
    connection.send(0, hello)
    connection.seq[1] += offset
    connection.packet(1, RST | ACK, b"", 0.0001, ttl=99)
    connection.seq[1] -= offset
    connection.send(1, server_flight(genuine_chain(), 0x009C, random.Random(5)), 0.03)
    finished = record(20, b"\1") + record(22, bytes(40))
    connection.send(0, record(22, message(16, b"\0\x80" + bytes(128))) + finished)
    connection.send(1, finished)
    if data:
        for _ in range(40):
            connection.send(0, record(23, bytes(900)))
            connection.send(1, record(23, bytes(1_200)))
    connection.close()
    (found,) = injected.judged(capture, tmp_path)
    assert found.verdict.rule.id == "publicly-trusted"


@given(st.lists(st.tuples(st.integers(0, 40), st.binary(min_size=1, max_size=12)), min_size=1, max_size=24))
def test_every_reading_covers_the_same_bytes(segments):
    packets = [segment(number, 1_000 + begin, body) for number, (begin, body) in enumerate(segments, 1)]
    found = versions(packets)
    assert len(found) <= 1 + MAX_VERSIONS
    covered = [[(run.offset, len(run.data)) for run in stream.runs] for stream in found]
    assert all(one == covered[0] for one in covered)
