"""Bounds that once hid what they should only have bounded: the last of a long list, the newest of a key log."""

from __future__ import annotations

import struct
import sys
from contextlib import closing

import pytest

from kzpcap.capture import limits
from kzpcap.capture.container import open_records
from kzpcap.capture.health import Notes
from kzpcap.capture.source import open_source
from kzpcap.capture.together import together
from kzpcap.errors import ReferenceDataError
from kzpcap.paths.asn_table import open_table
from kzpcap.reference.targets import read_target_list
from kzpcap.scrub.mask import Layer
from kzpcap.tls import keylog
from kzpcap.tls.messages import MAX_CERTIFICATES, certificate_list
from tests.build import client_hello
from tests.conftest import CAPTURES
from tests.test_bounded import grows
from tests.test_scan import Raw, flows, ip

sys.path.insert(0, str(CAPTURES))
from recipes.tls import vector


def test_of_a_long_list_both_ends_are_kept():
    sent = [b"cert-%03d" % number for number in range(200)]
    found, whole = certificate_list(vector(b"".join(vector(one, 3) for one in sent), 3), 0x0303)
    assert whole
    assert len(found) == MAX_CERTIFICATES + 1, "by the one more it is known that there were more"
    assert found[: MAX_CERTIFICATES // 2] == tuple(sent[: MAX_CERTIFICATES // 2])
    assert found[-1] == sent[-1]


def test_the_newest_lines_of_a_key_log_are_kept(monkeypatch):
    monkeypatch.setattr(keylog, "MAX_SECRETS", 2)
    keys = keylog.KeyLog()
    keys.add(b"".join(b"SERVER_HANDSHAKE_TRAFFIC_SECRET %064x %064x\n" % (number, number) for number in range(5)))
    assert [int.from_bytes(random, "big") for random in keys.secrets] == [3, 4]
    assert keys.left_out == 3
    keys.add(b"SERVER_HANDSHAKE_TRAFFIC_SECRET %064x %064x\n" % (4, 4))
    assert (len(keys.secrets), keys.left_out) == (2, 3), "one that is there takes no other's place"


@pytest.mark.parametrize("first", [0, 1], ids=["the client", "the server"])
def test_what_one_side_protects_before_the_other_does_ends_no_handshake(first):
    """0-RTT: the client's early data comes before the server's flight, of which nothing may be lost."""
    data = b"\x17\x03\x03\x40\x00" + b"x" * 995
    packets = [ip(flags="S", seq=0), ip(1, flags="SA", seq=0, ack=1)]
    packets.append(ip(flags="PA", seq=1) / Raw(client_hello(b"vk.com")))
    packets += [ip(first, number=9, flags="PA", seq=1_000) / Raw(data)]
    packets += [ip(1 - first, number=10 + n, flags="PA", seq=1_000 + 1_000 * n) / Raw(data) for n in range(40)]
    (flow,), _ = flows(packets)
    kept = sum(len(packet.payload) for packet in flow.packets if packet.direction == 1 - first)
    assert kept >= 40_000


@pytest.mark.parametrize("early", [False, True], ids=["in turn", "false start"])
def test_behind_a_handshake_of_tls12_little_is_kept(early):
    """One request and a long answer: both sides changed their ciphers within packets that begin in clear.

    With a false start (RFC 7918) the client asks before the server has changed its own.
    """

    def record(kind, body):
        return bytes((kind, 3, 3)) + len(body).to_bytes(2, "big") + body

    secret = record(20, b"\1") + record(22, b"\0" * 8 + b"e" * 32)
    sent = [ip(flags="S", seq=0), ip(1, flags="SA", seq=0, ack=1)]
    at = {0: 1, 1: 1}

    def send(side, data):
        sent.append(ip(side, number=len(sent), flags="PA", seq=at[side], ack=at[1 - side]) / Raw(data))
        at[side] += len(data)

    send(0, client_hello(b"vk.com"))
    send(1, record(22, b"\2" + b"h" * 400))
    send(0, record(22, b"\x10\0\0\x20" + b"k" * 32) + secret)
    asked, changed = record(23, b"q" * 60), record(22, b"\4\0\0\xb0" + b"t" * 0xB0) + secret
    for side, data in ((0, asked), (1, changed)) if early else ((1, changed), (0, asked)):
        send(side, data)
    for _ in range(60):
        send(1, record(23, b"x" * 995))
    (flow,), _ = flows(sent)
    kept = [packet for packet in flow.packets if packet.payload]
    assert len(kept) < 16
    assert sum(len(packet.payload) for packet in kept if packet.direction == 1) < limits.BEHIND + 4_000
    assert flow.given_up == 0


@pytest.mark.parametrize("apart", [False, True])
def test_a_change_of_cipher_before_a_second_hello_ends_nothing(apart):
    """RFC 8446 section D.4: the server's flight comes behind it, whole."""
    hello, flight = client_hello(b"vk.com"), b"\x17\x03\x03\x03\xe3" + b"x" * 995
    sent = [ip(flags="S", seq=0), ip(1, flags="SA", seq=0, ack=1)]
    sent.append(ip(flags="PA", seq=1) / Raw(hello))
    sent.append(ip(1, number=3, flags="PA", seq=1) / Raw(b"\x16\3\3\0\4\2\0\0\0" + b"\x14\3\3\0\1\1"))
    change = b"\x14\3\3\0\1\1"
    if apart:
        sent.append(ip(number=30, flags="PA", seq=1 + len(hello)) / Raw(change))
        sent.append(ip(number=31, flags="PA", seq=7 + len(hello)) / Raw(hello))
    else:
        sent.append(ip(number=4, flags="PA", seq=1 + len(hello)) / Raw(change + hello))
    for number in range(12):
        sent.append(ip(1, number=5 + number, flags="PA", seq=16 + 1_000 * number) / Raw(flight))
    sent.append(ip(number=20, flags="PA", seq=7 + 2 * len(hello)) / Raw(b"\x17\3\3\0\x35" + b"f" * 53))
    for number in range(12, 20):
        sent.append(ip(1, number=9 + number, flags="PA", seq=16 + 1_000 * number) / Raw(flight))
    (flow,), _ = flows(sent)
    assert sum(packet.direction == 1 and len(packet.payload) == 1_000 for packet in flow.packets) == 20


@pytest.mark.parametrize("put_in", [1, 36, 37, 38, 39])
def test_blocks_behind_damage_of_any_length_are_found(put_in, tmp_path):
    raw = (CAPTURES / "kz-2019-rcku" / "capture.pcapng").read_bytes()
    count = sum(1 for _ in blocks(raw))
    third = next(at for number, at in enumerate(blocks(raw)) if number == 5)
    records = open_records(raw[:third] + b"\xaa" * put_in + raw[third:], Notes())
    read = 0
    while records.advance():
        read += 1
    assert read == count - 2  # a section header and an interface are no packets


def blocks(raw):
    at = 0
    while at < len(raw):
        yield at
        at += struct.unpack_from("<I", raw, at + 4)[0]


def test_the_damage_of_files_together_is_counted_whole(tmp_path):
    raw = (CAPTURES / "kz-2019-rcku" / "capture.pcapng").read_bytes()
    junk = b"".join(raw[:200] + b"\xaa" * 40 for _ in range(1))
    path = tmp_path / "a.pcapng"
    path.write_bytes(junk + (raw + b"\xbb" * 24) * 20)
    alone = Notes()
    with closing(open_source(str(path), alone)) as source:
        records = open_records(source.raw, alone)
        while records.advance():
            pass
        del records
    notes = Notes()
    together([open_source(str(path), notes), open_source(str(path), notes)], notes).close()
    assert alone.counts["damaged"] > 8
    assert notes.counts["damaged"] == 2 * alone.counts["damaged"]


def test_the_pieces_of_a_layer_are_found_without_going_through_them():
    def work(layer):
        for _, begin, end in layer.messages():
            assert list(layer.spans(begin - 4, end))

    built = {}
    for count in (4_000, 16_000):
        built[count] = Layer()
        for number in range(count):
            built[count].add(b"\x0e\0\0\0", number * 9)
    assert grows(lambda count: work(built[count]), 4_000) < 8


HEADS = ["# id: \x1b[31mX", "# in force: 9999-12-31 to 0001-01-01", "# title: a\u202eb"]


@pytest.mark.parametrize("head", HEADS, ids=["escape", "dates", "bidi"])
def test_a_list_says_nothing_that_cannot_be_shown(head, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(f"{head}\nvk.com\n")
    with pytest.raises(ReferenceDataError):
        read_target_list(path)


@pytest.mark.parametrize("number", ["-5", "4294967296", "9" * 26, "x"])
def test_what_is_no_as_number_is_refused(number, tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text(f"95.56.0.0\t95.56.255.255\t{number}\tKZ\tNAME\n")
    with pytest.raises(ReferenceDataError):
        open_table(path)
