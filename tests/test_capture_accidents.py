"""Accidents of capturing: packets recorded twice, at two points, before what they answer, or not at all."""

from __future__ import annotations

import json
import random
import ssl
import sys

import dpkt
import pytest

from tests.conftest import CAPTURES, run
from tests.test_overstated import judged, rules, states
from tests.test_scan import UDP, Raw, flows, fragment, ip

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain, qaznet_chain
from recipes.packets import ACK, PSH, RST, SPRING_2026, SYN, Capture, Connection
from recipes.tls import (
    Authority,
    client_context,
    client_hello,
    openssl,
    rsa_handshake,
    server_context,
    server_flight,
)

MS = 0.001


@pytest.fixture(scope="module")
def public():
    return Authority.make("LAB public root", SPRING_2026)


def control(capture, port, public, name="www.example.org"):
    context = server_context(*public.issue([name], SPRING_2026), ssl.TLSVersion.TLSv1_2)
    openssl(Connection(capture, port), name, context, client_context())


def hello(connection, name="vk.com"):
    connection.open()
    connection.packet(0, PSH | ACK, client_hello(name, random.Random(7)))


def doubled(capture, later, lower=1):
    """Every packet once more, as behind a router."""
    twice = []
    for when, frame in capture.packets:
        ether = dpkt.ethernet.Ethernet(frame)
        ether.data.ttl -= lower
        ether.data.sum = 0
        twice += [(when, frame), (when + later, bytes(ether))]
    capture.packets = sorted(twice)


def read(name):
    with (CAPTURES / name / "capture.pcapng").open("rb") as file:
        capture = Capture(SPRING_2026)
        capture.packets = [(float(when), frame) for when, frame in dpkt.pcapng.Reader(file)]
    return capture


def ladder_of(capture, tmp_path):
    capture.write(tmp_path / "capture.pcapng")
    report = json.loads(run("analyze", "--json", tmp_path / "capture.pcapng").stdout)
    return next(one for one in report["ladders"] if one["interceptor_ttl"] is not None)


@pytest.mark.parametrize(("again", "failed"), [(None, None), (2 * MS, None), (0.3, "silent")])
def test_a_hello_recorded_twice_is_not_sent_again(again, failed, tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    hello(connection)
    if again is not None:
        when, frame = capture.packets[-1]
        ether = dpkt.ethernet.Ethernet(frame)
        ether.data.ttl -= 2  # no duplicate of the same point
        ether.data.id += 1
        ether.data.sum = 0
        capture.packets.append((when + again, bytes(ether)))
    connection.packet(0, RST)
    (found,) = judged(tmp_path, capture)
    assert found.observation.failed == failed


def test_silence_of_a_moment_beside_controls_is_none_because_packets_are_recorded_twice(public, tmp_path):
    told = []
    for twice in (False, True):
        capture = Capture(SPRING_2026)
        control(capture, 50_000, public, "vk.com")
        for turn in range(3):
            hello(Connection(capture, 50_100 + turn))
            capture.now += 5
            control(capture, 50_200 + turn, public)
            capture.now += 5
        if twice:
            doubled(capture, 2 * MS)
        told.append(rules(judged(tmp_path, capture, [public])))
    assert told[0] == told[1]


@pytest.mark.parametrize("later", [0.0001, 2 * MS])
def test_a_router_that_holds_its_queue_moves_no_box(later, tmp_path):
    capture = read("kz-2019-ladder")
    before = ladder_of(capture, tmp_path)
    doubled(capture, later)
    after = ladder_of(capture, tmp_path)
    assert [after[key] for key in ("interceptor_ttl", "bound", "placement")] == [
        before[key] for key in ("interceptor_ttl", "bound", "placement")
    ]


@pytest.mark.parametrize(("copy", "state"), [(None, "interfered"), (57, "undetermined"), (59, "interfered")])
def test_two_points_are_not_two_senders(copy, state, tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.packet(0, SYN)
    connection.packet(1, SYN | ACK, wait=0.03, ttl=59)
    if copy is not None:
        connection.seq[1] -= 1
        connection.ip_id[1] -= 1
        connection.packet(1, SYN | ACK, wait=2 * MS, ttl=copy)
    connection.packet(0, ACK)
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(7)))
    connection.packet(1, RST | ACK, wait=0.03, ttl=57)
    assert states(judged(tmp_path, capture)) == [state]


def test_a_reset_recorded_before_the_hello_that_it_answers_is_told_by_its_time(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    hello(connection)
    connection.packet(1, RST | ACK, wait=0.03, ttl=61)
    assert rules(judged(tmp_path, capture)) == ["reset-by-another-sender"]
    capture.packets[-2:] = reversed(capture.packets[-2:])
    assert rules(judged(tmp_path, capture)) == ["reset-by-another-sender"]


def test_neighbours_that_changed_places_move_no_box(tmp_path):
    capture = read("kz-2019-ladder-one-connection")
    before = ladder_of(capture, tmp_path)
    for at in range(3, len(capture.packets) - 1, 2):
        capture.packets[at : at + 2] = reversed(capture.packets[at : at + 2])
    after = ladder_of(capture, tmp_path)
    assert (after["interceptor_ttl"], after["bound"]) == (before["interceptor_ttl"], before["bound"])


def test_where_the_control_was_answered_a_silent_target_may_have_lost_its_answer(tmp_path):
    capture, kept, ttls = read("kz-2019-ladder"), [], {}
    for _when, frame in capture.packets:
        packet = dpkt.ethernet.Ethernet(frame).data
        if isinstance(packet.data, dpkt.tcp.TCP) and packet.data.dport == 443 and b"facebook" in packet.data.data:
            ttls[packet.data.sport] = packet.ttl
    assert {5, 6, 7, 8, 9} <= set(ttls.values())
    for when, frame in capture.packets:
        packet = dpkt.ethernet.Ethernet(frame).data
        tcp = packet.data if isinstance(packet.data, dpkt.tcp.TCP) else None
        ttl = ttls.get(tcp.sport, ttls.get(tcp.dport)) if tcp is not None else None
        if ttl in (5, 6, 7) or (ttl == 8 and tcp.sport == 443 and (tcp.data or tcp.flags & dpkt.tcp.TH_FIN)):
            continue
        kept.append((when, frame))
    capture.packets = kept
    found = ladder_of(capture, tmp_path)
    assert (found["interceptor_ttl"], found["bound"]) == (9, None), "no word of hop 9 or beyond"


def test_fragments_recorded_twice_do_not_go_into_the_next_datagram_of_their_number():
    def datagram(body):
        whole = ip(number=77)
        whole.remove_payload()
        return fragment(whole / UDP(sport=40_000, dport=443) / Raw(b"\xc0" + body * 2_000), 1_000)

    first, second = datagram(b"a"), datagram(b"b")
    found, scanner = flows([*first, first[-1], first[0], *second])
    payloads = [packet.payload[1:2] for flow in found for packet in flow.packets]
    assert payloads == [b"a", b"b"]
    assert scanner.fragments.duplicates == 2


def test_a_system_that_was_reset_answers_the_rest_of_the_flight_with_resets(public, tmp_path):
    for answers in (False, True):
        capture = Capture(SPRING_2026)
        connection = Connection(capture, 50_001)
        hello(connection)
        connection.packet(1, ACK)
        flight = server_flight([b"\x30\x03\x02\x01\x05" * 600], 0x009C, random.Random(3))
        connection.packet(1, PSH | ACK, flight[:1_400])
        connection.packet(1, RST, wait=0.0001, ttl=61)
        connection.packet(1, PSH | ACK, flight[1_400:2_800], wait=0.0001)
        if answers:
            connection.packet(0, RST, wait=0.0001)
        assert rules(judged(tmp_path, capture, [public])) == ["handshake-reset-by-another-sender"]


def test_a_syn_ack_that_takes_the_data_of_the_syn_is_one(tmp_path):
    """TCP Fast Open: the hello comes in the SYN."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.packet(0, SYN, client_hello("vk.com", random.Random(7)))
    connection.packet(1, SYN | ACK, wait=0.03)
    connection.packet(0, ACK)
    connection.packet(1, RST | ACK, wait=0.001, ttl=61)
    assert rules(judged(tmp_path, capture)) == ["reset-by-another-sender"]


@pytest.mark.parametrize("ttls", [range(12, 0, -1), range(1, 13)], ids=["falling", "rising"])
def test_probes_of_one_number_are_a_ladder_and_no_copies(ttls, tmp_path):
    """Tools that make packets themselves give all of them one IP ID."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    asked, began = client_hello("vk.com", random.Random(7)), connection.seq[0]
    for ttl in ttls:
        connection.seq[0], connection.ip_id[0] = began, 0
        connection.packet(0, PSH | ACK, asked, wait=0.02, ttl=ttl)
    (found,) = judged(tmp_path, capture)
    assert [probe.ttl for probe in found.observation.probes] == list(ttls)


def test_a_clock_that_was_set_back_moves_no_reset_behind_the_hello(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.packet(1, RST, wait=0.03, ttl=61)
    capture.now -= 2
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(7)))
    assert states(judged(tmp_path, capture)) == ["undetermined"]


@pytest.mark.parametrize("first", [True, False])
def test_a_box_that_sends_a_syn_ack_of_its_own_excuses_no_reset(first, tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)

    def own():
        seq, number = connection.seq[1], connection.ip_id[1]
        connection.seq[1], connection.ip_id[1] = 77, 4_000
        connection.packet(1, SYN | ACK, wait=0.001, ttl=61)
        connection.seq[1], connection.ip_id[1] = seq, number

    connection.packet(0, SYN)
    connection.packet(1, SYN | ACK, wait=0.03)
    connection.packet(0, ACK)
    if first:
        own()
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(7)))
    connection.packet(1, RST | ACK, wait=0.03, ttl=61)
    if not first:
        own()
    assert states(judged(tmp_path, capture)) == ["interfered"]


def test_a_reset_answers_the_last_copy_of_the_hello(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    asked, began = client_hello("vk.com", random.Random(7)), connection.seq[0]
    for wait in (0, 1, 2, 4, 8):
        connection.seq[0] = began
        connection.packet(0, PSH | ACK, asked, wait=wait)
    connection.packet(1, RST | ACK, wait=0.03, ttl=61)
    assert states(judged(tmp_path, capture)) == ["interfered"]


def test_a_ladder_of_fragments_with_one_number_is_one():
    probes = []
    for ttl in range(1, 11):
        whole = ip(ttl=ttl, number=1)
        whole.remove_payload()
        probes += fragment(whole / UDP(sport=40_000, dport=443) / Raw(b"\xc0" + b"a" * 2_000), 1_000)
    _, scanner = flows(probes, gap=0.3)
    assert scanner.fragments.reassembled == 10
    assert scanner.duplicates == scanner.fragments.duplicates == 0


def test_datagrams_recorded_twice_take_no_room():
    packets = []
    for number in range(50):
        whole = ip(number=number + 1)
        whole.remove_payload()
        one = whole / UDP(sport=40_000, dport=443) / Raw(b"\xc0" + bytes([number]) * 40)
        packets += [one, one]
    (flow,), _ = flows(packets, gap=0.000_01)
    assert (len(flow.packets), flow.duplicates, flow.given_up) == (50, 50, 0)


@pytest.mark.parametrize("further", [3_000_000, 900_000_000])
def test_ports_that_are_used_again_without_a_syn_are_another_connection(further, tmp_path):
    """Both sides had closed; the three packets that began the second connection are not in the capture."""
    capture = Capture(SPRING_2026)
    rng = random.Random(14)
    first = Connection(capture, 50_001)
    rsa_handshake(first, "rcku.kz", genuine_chain(), rng)
    second = Connection(capture, 50_001)
    second.seq = [first.seq[0] + further, first.seq[1] + further]
    capture.now += 5
    second.open = lambda: None
    rsa_handshake(second, "www.facebook.com", qaznet_chain(), rng)
    found = judged(tmp_path, capture)
    assert [one.observation.server_name for one in found] == ["rcku.kz", "www.facebook.com"]
    assert states(found)[1] == "intercepted"
