"""Inputs that once took more time or memory than their size is worth, and tunnels and prefixes that hid a handshake."""

from __future__ import annotations

import io
import json
import random
import struct
import sys
import time
import zipfile

import dpkt
import pytest

from kzpcap.capture import archive, limits
from kzpcap.tls import dtls
from kzpcap.tls.keylog import MAX_SECRETS, KeyLog
from tests.conftest import CAPTURES, run
from tests.test_overstated import judged, rules, states
from tests.test_scan import flows, ip

sys.path.insert(0, str(CAPTURES))
from recipes.built import qaznet_chain
from recipes.packets import ACK, CLIENT, FIN, JULY_2019, PSH, SERVER, Capture, Connection, address
from recipes.tls import client_hello, record, rsa_handshake, server_flight

RNG = random.Random(10)


def test_a_key_log_of_very_many_secrets_is_read_in_linear_time():
    lines = b"".join(
        b"SERVER_HANDSHAKE_TRAFFIC_SECRET %064x %064x\n" % (number, number) for number in range(MAX_SECRETS * 3)
    )
    begun = time.process_time()
    keys = KeyLog()
    keys.add(lines)
    assert time.process_time() - begun < 12
    assert (len(keys.secrets), keys.left_out) == (MAX_SECRETS, MAX_SECRETS * 2)
    assert (MAX_SECRETS * 3 - 1).to_bytes(32, "big") in keys.secrets, "the newest are the capture's"


def test_segments_that_end_a_connection_have_no_room_of_their_own():
    """A FIN in each, 1,400 bytes behind it: the bound on what is kept of a direction holds for these too."""
    from scapy.all import TCP, Raw

    packets = []
    for number in range(400):
        packet = ip()
        packet.remove_payload()
        packets.append(packet / TCP(sport=40_000, dport=443, flags="FA", seq=1 + number * 1_400) / Raw(b"x" * 1_400))
    (flow,), scanner = flows(packets)
    assert sum(len(packet.payload) for packet in flow.packets) < limits.PLAIN + 2_800
    assert scanner.given_up_packets > 300


def fragment(sequence, length):
    body = bytes((11,)) + length.to_bytes(3, "big") + sequence.to_bytes(2, "big") + bytes(3) + (1).to_bytes(3, "big")
    return body + b"x"


def test_fragments_of_dtls_that_claim_two_lengths_in_turn_make_few_messages():
    from types import SimpleNamespace

    made = []

    class Counted(dtls.Assembly):
        def __init__(self, *given):
            made.append(given)
            super().__init__(*given)

    body = b"".join(fragment(1, length) for length in (40_000, 40_001) * 200)
    data = struct.pack(">BHHHIH", 22, 0xFEFD, 0, 0, 0, len(body)) + body
    packet = SimpleNamespace(payload=data, frame=1, direction=0)
    original, dtls.Assembly = dtls.Assembly, Counted
    try:
        dtls._fragments(dtls.Side(None), held := {}, body, packet)
    finally:
        dtls.Assembly = original
    assert (len(made), len(held)) == (dtls.MAX_BEGUN, 1)


def test_the_end_of_an_archive_is_where_the_reader_finds_it(tmp_path):
    """The size of the directory is the signature of an end record: a search from behind finds that first."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("a", b"")
    body = bytearray(made.getvalue())
    body[-10:-6] = b"PK\5\6"
    path = tmp_path / "x.zip"
    path.write_bytes(bytes(body))
    with path.open("rb") as file, pytest.raises(ValueError, match="a directory of"):
        archive.refuse_unbounded(file)


def carried(wrap, tmp_path):
    capture = Capture(JULY_2019)
    rsa_handshake(Connection(capture, 50_001), "www.facebook.com", qaznet_chain(), RNG)
    capture.packets = [(when, wrap(frame)) for when, frame in capture.packets]
    return judged(tmp_path, capture)


def in_udp(payload, port):
    datagram = dpkt.udp.UDP(sport=port, dport=port, data=payload)
    datagram.ulen = len(datagram)
    packet = dpkt.ip.IP(src=address("10.1.1.1"), dst=address("10.2.2.2"), p=17, ttl=60, id=3, data=datagram)
    packet.len = len(packet)
    return b"\2" * 12 + b"\x08\0" + bytes(packet)


@pytest.mark.parametrize("tags", [b"\1", b"\0\0\x0a\1\x55\1"], ids=["no tag", "padding and a signal strength"])
def test_what_a_router_streams_as_tzsp_is_read(tags, tmp_path):
    found = carried(lambda frame: in_udp(b"\1\0\0\1" + tags + frame, 37_008), tmp_path)
    assert states(found) == ["intercepted"]
    assert found[0].observation.tunnels


def test_tzsp_that_is_cut_or_none_is_no_harm(tmp_path):
    for payload in (b"\1\0\0\1" + b"\0" * 40, b"\1\0\0\1\x0a\xff" + b"x" * 20, b"\2" * 30, b"\1\0\0\x77\1" + b"x" * 30):
        assert carried(lambda frame, payload=payload: in_udp(payload, 37_008), tmp_path) == []


PROXIED = {
    "version 1": b"PROXY TCP4 192.0.2.10 203.0.113.80 50001 443\r\n",
    "version 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
    + address(CLIENT)
    + address(SERVER)
    + struct.pack(">HH", 50_001, 443),
}


@pytest.mark.parametrize("header", PROXIED.values(), ids=PROXIED)
def test_a_balancers_header_hides_no_handshake(header, tmp_path):
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, header + client_hello("www.facebook.com", RNG))
    connection.send(1, server_flight(qaznet_chain(), 0x009C, RNG), wait=0.03)
    connection.packet(0, PSH | ACK, record(21, b"\2\x30"))
    connection.packet(0, FIN | ACK)
    (found,) = judged(tmp_path, capture)
    assert found.observation.upgrade == "proxy-protocol"
    assert found.observation.server_name == "www.facebook.com"
    assert rules([found]) == ["signed-by-known-interception-ca"]
    done = run("scrub", tmp_path / "capture.pcapng", "-o", tmp_path / "scrubbed.pcapng")
    assert done.returncode == 0, done.stderr
    body = (tmp_path / "scrubbed.pcapng").read_bytes()
    assert b"192.0.2.10" not in body
    assert header[-12:] not in body


def test_rows_of_certificates_say_of_which_capture_they_are():
    name = CAPTURES / "kz-2019-rcku" / "capture.pcapng"
    rows = [json.loads(line) for line in run("certificates", "--json", name, name).stdout.splitlines()]
    assert {row["path"] for row in rows} == {str(name)}
    assert run("certificates", name, name).stdout.count(f"{name}\n".encode()) == 2
    assert run("certificates", name).stdout.startswith(f"{name}\n".encode())


def test_json_and_measurements_are_not_both_printed(tmp_path):
    name = CAPTURES / "kz-2019-rcku" / "capture.pcapng"
    done = run("analyze", "--json", "--ooni", tmp_path / "x", name)
    assert (done.returncode, done.stdout) == (2, b"")
