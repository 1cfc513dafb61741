"""What a capture lacks makes no answer stronger: laboratory captures with packets taken out, cut, or there twice."""

from __future__ import annotations

import struct

import pytest

from kzpcap import analyze, reference
from tests.conftest import CAPTURES

ACCUSED = ("intercepted", "suspected", "interfered")


def records(name):
    """The header of a pcap, and its records: [time in microseconds, bytes, length on the wire]."""
    raw = (CAPTURES / name / "capture.pcap").read_bytes()
    found, at = [], 24
    while at < len(raw):
        seconds, micros, captured, length = struct.unpack_from("<IIII", raw, at)
        found.append([seconds * 1_000_000 + micros, raw[at + 16 : at + 16 + captured], length])
        at += 16 + captured
    return raw[:24], found


def judged(path, head, found, folder=None):
    """The report of a capture made of these records, with the anchors of a laboratory capture, and its connections."""
    made = b"".join(
        struct.pack("<IIII", time // 1_000_000, time % 1_000_000, len(data), length) + data
        for time, data, length in sorted(found, key=lambda one: one[0])
    )
    path.write_bytes(head + made)
    given = {}
    if folder is not None:
        for option, file in (("trusted_roots", "root.pem"), ("interception_cas", "interception.pem")):
            pem = CAPTURES / folder / file
            given[option] = [pem] if pem.exists() else []
    report = analyze(str(path), reference.load(**given))
    with report:
        return report, list(report.connections())


def tcp(data):
    """(source port, destination port, payload) of a segment of IPv4 over Ethernet; None for anything else."""
    if data[12:14] != b"\x08\0" or data[23] != 6:
        return None
    at = 14 + 4 * (data[14] & 15)
    end = 14 + int.from_bytes(data[16:18], "big")
    begin = at + 4 * (data[at + 12] >> 4)
    return int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big"), data[begin:end]


def holds_server_hello(data):
    found = tcp(data)
    return found is not None and found[0] == 443 and found[2][:1] == b"\x16" and found[2][5:6] == b"\x02"


@pytest.mark.parametrize("name", ["lab-clean", "lab-router", "lab-kz-early-july", "lab-mitmproxy"])
def test_a_lost_server_hello_makes_no_late_reset_an_answer(name, tmp_path):
    """The client's own close_notify is no answer of the server; a reset behind it blocks nothing that was said."""
    head, found = records(name)
    ports = {tcp(data)[1] for _, data, _ in found if holds_server_hello(data)}
    kept = [one for one in found if not holds_server_hello(one[1])]
    # As a balancer may: reset with a TTL of its own once all is over.
    for port in sorted(ports):
        mine = [one for one in kept if (ends := tcp(one[1])) is not None and ends[:2] == (443, port)]
        last = max(mine, key=lambda one: one[0])
        data = bytearray(last[1])
        at = 14 + 4 * (data[14] & 15)
        data[22] -= 2
        data[at + 13] = 0x04
        begin = at + 4 * (data[at + 12] >> 4)
        payload = int.from_bytes(data[16:18], "big") - (begin - 14)
        seq = int.from_bytes(data[at + 4 : at + 8], "big") + payload + (last[1][at + 13] & 1)
        data[at + 4 : at + 8] = (seq & 0xFFFFFFFF).to_bytes(4, "big")
        data[16:18] = (begin - 14).to_bytes(2, "big")
        kept.append([max(one[0] for one in mine) + 300_000, bytes(data[:begin]), begin])
    _, connections = judged(tmp_path / "a.pcap", head, kept, name)
    spoke = [one for one in connections if one.observation.client[1] in ports and one.observation.history.count("D")]
    assert spoke or name != "lab-clean"
    assert {one.verdict.state.value for one in spoke} <= {"undetermined", "genuine", "intercepted", "suspected"}


def test_a_ladder_in_one_connection_without_one_packet_names_no_other_hop(tmp_path):
    """Of each packet in turn: the probe that was answered may be the one that is lost."""
    head, found = records("lab-kz-one-connection")
    report, _ = judged(tmp_path / "whole.pcap", head, found, "lab-kz-one-connection")
    right = {ladder.server: ladder.interceptor_ttl for ladder in report.ladders}
    assert [ladder.bound for ladder in report.ladders] == ["exact"] * 3
    told = 0
    for lost, (_, data, _) in enumerate(found):
        if tcp(data) is None or len(tcp(data)[2]) < 100 or tcp(data)[1] != 443:
            continue
        report, _ = judged(tmp_path / "a.pcap", head, found[:lost] + found[lost + 1 :], "lab-kz-one-connection")
        for ladder in report.ladders:
            if ladder.bound == "exact":
                assert ladder.interceptor_ttl == right[ladder.server], f"without packet {lost + 1}"
                assert ladder.placement != "on_path"
            told += any("the probe that drew the answer is not in the capture" in note for note in ladder.notes)
    assert told == 3


def test_a_control_whose_answer_is_lost_is_not_silent(tmp_path):
    """Of a terminator at hop 2: that the controls' ServerHellos are lost shows no edge before them."""
    head, found = records("lab-accelerator-and-box")
    _, connections = judged(tmp_path / "whole.pcap", head, found, "lab-accelerator-and-box")
    lost = {
        one.observation.server_hello.frame
        for one in connections
        if one.observation.server_name == "www.example.org" and one.observation.probe_ttl in (2, 3)
    }
    assert len(lost) >= 2
    kept = [one for number, one in enumerate(found, 1) if number not in lost]
    report, _ = judged(tmp_path / "a.pcap", head, kept, "lab-accelerator-and-box")
    assert [ladder.bound for ladder in report.ladders if ladder.interceptor_ttl is not None] == ["at_or_beyond"]


@pytest.mark.parametrize("length", [128, 160])
def test_names_that_are_cut_are_not_one_name(length, tmp_path):
    """A ladder places what asked for the same name: of two names that are cut off nobody knows whether they are."""
    head, found = records("lab-reset-in-path")
    cut = [[time, data[:length], wire] for time, data, wire in found]
    report, connections = judged(tmp_path / "a.pcap", head, cut, "lab-reset-in-path")
    assert {one.observation.name_status for one in connections if one.observation.tls} <= {"cut", "no_hello"}
    assert not report.ladders
    assert any("is not whole here, are of no ladder" in note["text"] for note in report.capture["notes"])
    assert {one.verdict.place.where for one in connections} == {"unknown"}


@pytest.mark.parametrize("name", ["lab-reset-in-path", "lab-alert", "lab-clean"])
@pytest.mark.parametrize("late", [500, 2_000, 20_000])
def test_a_second_machine_that_is_late_records_no_second_connection(name, late, tmp_path):
    head, found = records(name)
    _, once = judged(tmp_path / "once.pcap", head, found, name)
    twice = [*found, *([time + late, data, wire] for time, data, wire in found)]
    _, both = judged(tmp_path / "twice.pcap", head, twice, name)
    ends = [one.observation.client for one in once]
    assert sorted(one.observation.client for one in both) == sorted(ends)
    counts = [sum(one.verdict.state.value == state for one in of) for of in (once, both) for state in ACCUSED]
    assert counts[:3] == counts[3:]


@pytest.mark.parametrize("port", [33_400, 33_500])
@pytest.mark.parametrize("ttl", [30, 60])
def test_what_quic_says_to_a_port_of_traceroutes_is_quic(port, ttl, tmp_path):
    """Ports from 33434 on are also those that a client of Linux may choose, and servers are many hops away."""
    head, found = records("lab-quic")
    _, before = judged(tmp_path / "before.pcap", head, found, "lab-quic")
    moved, ports = [], {}
    for time, data, wire in found:
        raw = bytearray(data)
        if raw[12:14] == b"\x08\0" and raw[23] == 17 and b"\x01\xbb" in (raw[34:36], raw[36:38]):
            from_server = raw[34:36] == b"\x01\xbb"
            at = slice(36, 38) if from_server else slice(34, 36)
            raw[at] = ports.setdefault(bytes(raw[at]), port + len(ports)).to_bytes(2, "big")
            if from_server:
                raw[22] = ttl
        moved.append([time, bytes(raw), wire])
    assert ports
    _, after = judged(tmp_path / "after.pcap", head, moved, "lab-quic")
    kinds = [
        sorted((one.observation.server_name or "", one.verdict.rule.id) for one in of if one.observation.quic)
        for of in (before, after)
    ]
    assert kinds[0] == kinds[1]
    assert kinds[0]


def test_one_socket_for_all_quic_connections_is_read_as_each_for_itself(tmp_path):
    """A client may keep its port, and two names may be at one address: the ids tell the connections apart."""
    head, found = records("lab-quic")
    _, before = judged(tmp_path / "before.pcap", head, found, "lab-quic")
    moved = []
    for time, data, wire in found:
        raw = bytearray(data)
        if raw[12:14] == b"\x08\0" and raw[23] == 17 and b"\x01\xbb" in (raw[34:36], raw[36:38]):
            from_server = raw[34:36] == b"\x01\xbb"
            raw[slice(36, 38) if from_server else slice(34, 36)] = b"\x9c\x40"
            raw[slice(26, 30) if from_server else slice(30, 34)] = bytes([142, 250, 74, 46])
        moved.append([time, bytes(raw), wire])
    _, after = judged(tmp_path / "after.pcap", head, moved, "lab-quic")
    kinds = [
        sorted(
            (one.observation.server_name or "", one.observation.history, one.verdict.rule.id)
            for one in of
            if one.observation.quic
        )
        for of in (before, after)
    ]
    assert len(kinds[0]) > 2
    assert kinds[0] == kinds[1]
