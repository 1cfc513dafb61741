"""What the scanner hands on: connections told apart, ladders kept, duplicates counted, memory bounded."""

from __future__ import annotations

import io
import logging
import struct
import warnings

import pytest

from kzpcap.capture import limits, scan
from kzpcap.capture.container import open_records
from kzpcap.capture.health import Notes

logging.getLogger("scapy").setLevel(logging.ERROR)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import IP, TCP, UDP, fragment
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
    from scapy.packet import Raw
    from scapy.utils import PcapWriter


def flows(packets, gap=0.01):
    file = io.BytesIO()
    file.close_ = file.close
    file.close = lambda: None
    writer = PcapWriter(file, linktype=101, sync=True)
    for number, packet in enumerate(packets):
        packet = packet if isinstance(packet, tuple) else (packet, 1_700_000_000 + number * gap)
        packet[0].time = packet[1]
        writer.write(packet[0])
    notes = Notes()
    scanner = scan.Scanner(open_records(file.getvalue(), notes), notes)
    found = []
    while not scanner.done:
        found += scanner.read(1_000)
    return sorted(found, key=lambda flow: flow.first_frame), scanner


def ip(who=0, ttl=64, number=1, **fields):
    src, dst = ("192.0.2.1", "203.0.113.1") if who == 0 else ("203.0.113.1", "192.0.2.1")
    sport, dport = (40_000, 443) if who == 0 else (443, 40_000)
    return IP(src=src, dst=dst, ttl=ttl, id=number) / TCP(sport=sport, dport=dport, **fields)


def test_a_reused_port_is_another_connection():
    one = [ip(flags="S", seq=1), ip(1, flags="SA", seq=9), ip(flags="FA", seq=2), ip(1, flags="FA", seq=10)]
    two = [ip(flags="S", seq=500), ip(1, flags="SA", seq=900)]
    found, scanner = flows(one + two)
    assert [flow.first_frame for flow in found] == [1, 5]
    assert scanner.syn_packets == 4


def test_a_reused_port_whose_syn_was_not_captured_is_another_connection():
    def talk(isn, server, number):
        return [
            ip(number=number, flags="S", seq=isn),
            ip(1, number=number, flags="SA", seq=server, ack=isn + 1),
            ip(number=number + 1, flags="PA", seq=isn + 1, ack=server + 1) / Raw(b"a"),
            ip(number=number + 2, flags="R", seq=isn + 2),
        ]

    at_once, _ = flows([*talk(100, 900, 1), *talk(70_000, 5_000, 10)[1:]])
    assert len(at_once) == 1, "a stray reset and a SYN-ACK out of nowhere cut no connection in two"
    found, _ = flows([*talk(100, 900, 1), *talk(70_000, 5_000, 10)[1:]], gap=2)
    assert len(found) == 2
    assert [(flow.first_frame, flow.a.packets, flow.b.packets) for flow in found] == [(1, 3, 1), (5, 1, 2)]


def test_a_retransmitted_syn_is_the_same_connection():
    found, _ = flows([ip(flags="S", seq=1), ip(flags="S", seq=1, number=2), ip(1, flags="SA", seq=9)], gap=1)
    assert len(found) == 1


@pytest.mark.parametrize("who", [0, 1])
def test_a_syn_that_was_captured_behind_what_it_began_is_of_that_connection(who):
    """Captures of several queues, or merged out of order; a SYN with another number begins another connection."""
    talk = [
        ip(flags="PA", seq=2, ack=10) / Raw(b"hello"),
        ip(1, flags="PA", seq=10, ack=7) / Raw(b"answer"),
    ]
    data = talk if who == 0 else talk[::-1]
    found, _ = flows([data[0], ip(flags="S", seq=1), *data[1:], ip(1, flags="SA", seq=9, ack=2)])
    assert [(flow.a.packets, flow.b.packets)[who] for flow in found] in ([2], [3])
    assert len(found) == 1
    other, _ = flows([data[0], ip(flags="S", seq=70_000), *data[1:]])
    assert len(other) == 2


def test_a_rising_ttl_is_kept_and_never_a_duplicate():
    hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"
    ladder = [ip(ttl=ttl, number=ttl, flags="PA", seq=2) / Raw(hello) for ttl in range(1, 9)]
    (flow,), scanner = flows([ip(flags="S", seq=1), *ladder], gap=0.0001)
    assert [packet.ttl for packet in flow.packets if packet.payload] == list(range(1, 9))
    assert scanner.duplicates == 0


@pytest.mark.parametrize("later_ttl", [64, 63])
def test_the_same_packet_captured_twice_is_counted_once(later_ttl):
    packets = [ip(flags="S", seq=1)]
    for ttl in (64, later_ttl):
        packets.append(ip(ttl=ttl, number=5, flags="PA", seq=2) / Raw(b"same bytes"))
    (flow,), scanner = flows(packets, gap=0.0001)
    assert scanner.duplicates == 1
    assert sum(bool(packet.payload) for packet in flow.packets) == 1
    assert flow.a.packets == 3


def test_ipv4_fragments_are_reassembled_in_any_order():
    whole = ip(flags="PA", seq=2) / Raw(bytes(range(250)) * 12)
    pieces = fragment(whole, 800)
    (flow,), scanner = flows(pieces[::-1])
    assert flow.packets[0].payload == bytes(range(250)) * 12
    assert (scanner.fragments.packets, scanner.fragments.reassembled) == (len(pieces), 1)


def test_ipv6_fragments_are_reassembled():
    whole = (
        IPv6(src="2001:db8::1", dst="2001:db8::2")
        / IPv6ExtHdrFragment(id=7)
        / TCP(sport=1, dport=443, flags="PA")
        / Raw(b"z" * 3_000)
    )
    (flow,), scanner = flows(fragment6(whole, 1_280))
    assert flow.packets[0].payload == b"z" * 3_000
    assert scanner.fragments.reassembled == 1


def test_overlapping_fragments_are_noted():
    first = IP(src="192.0.2.1", dst="203.0.113.1", id=3, flags="MF", proto=6) / Raw(b"a" * 64)
    other = IP(src="192.0.2.1", dst="203.0.113.1", id=3, frag=4, proto=6) / Raw(b"b" * 64)
    _, scanner = flows([first, other])
    assert scanner.notes.counts["conflict"] == 1


def test_wrong_checksums_are_counted_not_dropped():
    packet = ip(flags="PA", seq=2) / Raw(b"data")
    packet[TCP].chksum = 0x1234
    (flow,), scanner = flows([packet])
    assert scanner.wrong_checksums == 1
    assert flow.packets[0].payload == b"data"
    assert flow.packets[0].checksum_ok is False


def test_what_a_bound_gives_up_is_counted():
    big = [ip(number=i, flags="PA", seq=2 + i * 1_000) / Raw(b"x" * 1_000) for i in range(60)]
    (flow,), scanner = flows(big)
    kept = sum(len(packet.payload) for packet in flow.packets)
    assert kept <= limits.PLAIN + 1_000
    assert flow.given_up == scanner.given_up_packets == 60 - kept // 1_000
    assert flow.a.bytes == 60_000


def test_application_data_is_kept_in_part_and_that_gives_nothing_up():
    """What comes long after the handshake is counted, not kept; a reset behind it is."""
    hello = b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"
    packets = [ip(flags="S", seq=0), ip(1, flags="SA", seq=0, ack=1), ip(flags="PA", seq=1) / Raw(hello)]
    data = b"\x17\x03\x03\x40\x00" + b"x" * 995
    packets.append(ip(flags="PA", seq=11) / Raw(b"\x14\x03\x03\x00\x01\x01"))
    packets += [ip(1, number=n, flags="PA", seq=1 + 1_000 * n, ack=17) / Raw(data) for n in range(100)]
    packets.append(ip(1, number=200, flags="R", seq=100_001))
    (flow,), scanner = flows(packets)
    kept = sum(len(packet.payload) for packet in flow.packets if packet.direction == 1)
    assert limits.DATA < kept <= limits.DATA + 2_000, "a TLS 1.3 flight may follow the client's ChangeCipherSpec"
    assert flow.b.bytes == 100_000
    assert flow.given_up == scanner.given_up_packets == 0
    assert flow.packets[-1].flags & 4
    ended = [*packets[:5], ip(flags="PA", seq=17) / Raw(data), *packets[5:]]
    (flow,), scanner = flows(ended)
    kept = sum(len(packet.payload) for packet in flow.packets if packet.direction == 1)
    assert limits.BEHIND < kept <= limits.BEHIND + 2_000, "both sides sent application data: no handshake follows"
    assert flow.given_up == 0
    assert flow.packets[-1].flags & 4
    one_sided, _ = flows([packet for packet in packets if packet[IP].src != "192.0.2.1"])
    assert sum(len(packet.payload) for packet in one_sided[0].packets) == 100_000, "nobody ended a handshake here"


def test_idle_flows_end_and_keep_their_order():
    packets = []
    for number in range(3):
        packets.append(
            (
                IP(src="192.0.2.1", dst=f"203.0.113.{number + 1}") / TCP(sport=4_000, dport=443, flags="S"),
                1_700_000_000 + number * 2_000,
            )
        )
    found, _ = flows(packets)
    assert [flow.first_frame for flow in found] == [1, 2, 3]


def test_dns_answers_and_icmp_are_set_aside():
    answer = IP(src="192.0.2.53", dst="192.0.2.1") / UDP(sport=53, dport=5_000) / Raw(b"\0" * 12)
    found, scanner = flows([answer])
    assert not found
    assert len(scanner.dns) == 1


@pytest.mark.parametrize("cut", [0, 40])
def test_each_packet_of_an_aggregated_frame_of_wifi_is_read(cut):
    """An A-MSDU is one frame of several packets (IEEE 802.11 section 9.3.2.2.2), each padded to four bytes."""
    sent = [
        ip(number=1, flags="S", seq=1),
        ip(1, number=2, flags="SA", seq=9),
        ip(number=3, flags="PA", seq=2) / "hello",
    ]
    body = b""
    for packet in sent:
        inner = b"\xaa\xaa\x03\0\0\0\x08\0" + bytes(packet)
        body += b"\2" * 12 + len(inner).to_bytes(2, "big") + inner
        body += b"\0" * (-len(body) % 4)
    frame = b"\x88\x01" + b"\0" * 22 + b"\x80\0" + body
    kept = frame[: len(frame) - cut]
    raw = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 105)
    raw += struct.pack("<IIII", 1_700_000_000, 0, len(kept), len(frame)) + kept
    notes = Notes()
    scanner = scan.Scanner(open_records(raw, notes), notes)
    (flow,) = scanner.read(10)
    assert (scanner.packets, scanner.decoded + sum(scanner.reasons.values())) == (1, 3)
    assert scanner.syn_packets == 2
    assert (flow.a.packets, flow.b.packets) == ((2, 1) if not cut else (1, 1))
    assert flow.first_frame == flow.last_frame == 1


def test_a_socket_of_more_connections_than_are_kept_says_so_of_each(monkeypatch):
    """Of what is not kept on either side no answer is missed: nothing of it was silent, and data takes no room."""
    monkeypatch.setattr(limits, "DATAGRAMS", 1_024)
    hello, data = b"\x16\xfe\xfd" + bytes(60), b"\x17\xfe\xfd" + bytes(60)

    def talk(number, who, body):
        ends = ("192.0.2.1", "203.0.113.1") if who == 0 else ("203.0.113.1", "192.0.2.1")
        ports = (40_000, 5_684) if who == 0 else (5_684, 40_000)
        return IP(src=ends[0], dst=ends[1], id=number) / UDP(sport=ports[0], dport=ports[1]) / Raw(body)

    (flow,), _ = flows([talk(n, n % 2, data if n % 5 else hello + bytes([n % 250])) for n in range(1, 3_000)])
    assert not flow.given_up
    (flow,), scanner = flows([talk(n, 1 if n < 1_100 else 0, hello + n.to_bytes(2, "big")) for n in range(1, 1_200)])
    assert flow.given_up == scanner.given_up_packets == 1_199 - 1_024
    assert flow.part(flow.packets[:3]).given_up == flow.given_up
    assert not flow.b.kept_packets, "what the other side said later has no answer that was kept"
