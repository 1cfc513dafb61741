"""Facts of the machine that answered: each is told where the packets show it, and nothing is concluded from it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from scapy.layers.inet import IP, TCP

from kzpcap import analyze, reference
from kzpcap.capture.packet import Packet
from kzpcap.flows import acknowledges_unsent
from kzpcap.paths.stack import one_clock
from tests.conftest import CAPTURES
from tests.talk import Talk, said

WEAK = (
    "IP ID",
    "timestamp",
    "acknowledges",
    "SYN-ACK with",
    "controls to the same address",
    "one signature",
    "one clock",
)


def test_an_ordinary_server_shows_none_of_it(tmp_path):
    """Linux: zero in the SYN-ACK and then a counter, timestamps that go on."""
    talk = Talk()
    for port in range(50_001, 50_004):
        talk.connection(port)
    for connection in talk.analysed(tmp_path):
        assert not any(word in said(connection) for word in WEAK), said(connection)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"ids": [7_001, 7_002, 7_003, 52_000]}, "IP ID 52000 in the FIN, where the server's other 3 packets"),
        ({"ids": [9_000, 40_001, 40_002, 40_003]}, "IP ID 9000 in the SYN-ACK"),
        ({"ids": [0, 0, 0, 31_000]}, "IP ID 31000 in the FIN, where the server's other 3 packets kept have zero"),
        ({"stamps": [700_000, None, None, None]}, "TCP timestamps were agreed on, and the ServerHello has none"),
        ({"stamps": [700_000, 3_000_000_000, 3_000_000_001, 3_000_000_002]}, "3000000000 in the ServerHello 31."),
        ({"echo": [9_000_000, 0, 0, 0]}, "echoes the TCP timestamp 0; the client sent 9000000 to 9000001"),
            ],
    ids=["fin", "syn-ack", "zeros", "vanished", "other clock", "echo"],
)  # fmt: skip
def test_each_is_told_and_decides_nothing(how, told, tmp_path):
    talk = Talk()
    talk.connection(50_001, **how)
    (connection,) = talk.analysed(tmp_path)
    assert told in said(connection)
    assert connection.verdict.rule.id == "publicly-trusted"
    assert connection.verdict.place.where == "unknown"


@pytest.mark.parametrize(
    "how",
    [
        {"ids": [0, 40_001, 40_002, 0], "reset": True},
        {"ids": [5, 61_000, 112, 30_000]},
        {"stamps": [4_294_967_290, 40, 41, 50]},
        {"stamps": [None] * 4},
        {"stamps": [700_000, 731_000, 762_000, 793_000]},
    ],
    ids=["Linux's reset", "random IDs", "a clock that wraps", "no timestamps", "microseconds"],
)
def test_what_stacks_do_by_themselves_is_not_told(how, tmp_path):
    talk = Talk()
    reset = how.pop("reset", False)
    talk.connection(50_001, **how)
    if reset:
        talk.packets[-1][TCP].flags = "R"
    (connection,) = talk.analysed(tmp_path)
    assert not any(word in said(connection) for word in WEAK), said(connection)


def test_controls_to_the_same_address_are_compared(tmp_path):
    """The name made the difference: another window and another distance than for the controls."""
    talk = Talk()
    talk.connection(50_001)
    talk.connection(50_002)
    talk.connection(50_003, "vk.com", ttls=[61] * 4, window=14_600, mss=1400)
    *controls, target = talk.analysed(tmp_path)
    assert "window 14600, options mss nop nop ts ws eol, MSS 1400, scale 7; the 2 controls" in said(target)
    assert (
        "TTL 61 in the ServerHello, 57 in those of 2 controls to the same address: another sender, or another way"
        in said(target)
    )
    assert target.verdict.place.where == "unknown"
    for control in controls:
        assert "controls to the same address" not in said(control)


def test_one_control_is_not_enough(tmp_path):
    talk = Talk()
    talk.connection(50_001)
    talk.connection(50_003, "vk.com", ttls=[61] * 4, window=14_600)
    assert "controls to the same address" not in said(talk.analysed(tmp_path)[1])


MANY = ["157.240.205.35", "142.250.74.46", "87.240.132.78", "104.244.42.1"]


def test_one_stack_for_servers_of_several_networks(tmp_path):
    talk = Talk()
    for number, server in enumerate(MANY):
        talk.connection(50_001 + number, server=server, ttls=[63] * 4, stamps=[9 * number * 10**6 + 5] * 4)
    for connection in talk.analysed(tmp_path):
        assert "4 addresses in 4 AS answered SYNs with TTL 63 and one signature" in said(connection)
        assert "of one clock" not in said(connection)
        assert connection.verdict.rule.id == "publicly-trusted", "of TLS it says nothing"


def test_servers_of_one_network_are_no_such_thing(tmp_path):
    talk = Talk()
    for number in range(6):
        talk.connection(50_001 + number, server=f"142.250.74.{46 + number}", stamps=[9 * number * 10**6 + 5] * 4)
    for connection in talk.analysed(tmp_path):
        assert "one signature" not in said(connection)


def test_one_clock_behind_several_addresses(tmp_path):
    """A millisecond clock that three addresses share, and a fourth address that does not."""
    talk = Talk()
    begin = talk.now
    for number in range(9):
        talk.now = begin + number * 2
        tick = int((talk.now - begin + 0.031) * 1000) + 5_000_000
        server = MANY[number % 3]
        talk.connection(
            50_001 + number, server=server, stamps=[tick, tick + 31, tick + 62, tick + 93], window=60_000 + number
        )
    talk.connection(50_100, server=MANY[3], window=50_000)
    *shared, other = talk.analysed(tmp_path)
    for connection in shared:
        assert "the SYN-ACKs of 3 addresses bear TCP timestamps of one clock" in said(connection)
    assert "one clock" not in said(other)


# everyday situations of which nothing may be told


def test_a_long_download_under_one_counter_is_not_told(tmp_path):
    talk = Talk()
    talk.connection(50_001, ids=[5_000, 5_001, 5_002, 5_403])
    fin = talk.packets.pop()
    for number in range(3, 403):
        more = talk.packets[-1].copy()
        more[IP].id, more[TCP].seq, more[TCP].flags = 5_000 + number, fin[TCP].seq + number * 10, "A"
        more[TCP].payload = type(more[TCP].payload)(b"x" * 10)
        more.time = talk.now + number / 1e4
        talk.packets.append(more)
    fin.time = talk.now + 0.1
    talk.packets.append(fin)
    (connection,) = talk.analysed(tmp_path)
    assert "IP ID" not in said(connection)


def test_a_fast_clock_that_goes_round_is_one_clock():
    assert one_clock(700_000, 0, 2_400_793_000, 2_400_093_000_000)
    assert not one_clock(700_000, 0, 2_400_793_000, 31_000_000)


def acknowledging(*rows):
    """Frames told for packets given as (direction, seq, length, flags, ack)."""
    found = []
    for frame, (direction, seq, length, flags, ack) in enumerate(rows, 1):
        packet = Packet()
        packet.frame, packet.direction, packet.seq, packet.length = frame, direction, seq, length
        packet.flags, packet.ack = flags, ack
        found.append(packet)
    return acknowledges_unsent(found, 0)


SYN, FIN, RST, ACKED = 2, 17, 4, 16


def test_only_what_the_client_is_seen_not_to_have_sent_is_told():
    opened = [(0, 100, 0, SYN, 0), (1, 500, 0, 18, 101), (0, 101, 50, ACKED, 501)]
    odd = (1, 501, 0, ACKED, 9_000)
    assert acknowledging(*opened, odd, (0, 151, 0, FIN, 501)) == (4,), "the client goes on from where it was"
    assert acknowledging(*opened, odd) == (), "nothing shows what the client did meanwhile"
    assert acknowledging(*opened, odd, (0, 9_000, 10, ACKED, 501)) == (), "the capture lost a segment"
    assert acknowledging(*opened, (1, 501, 0, ACKED, 201), (0, 151, 50, ACKED, 501)) == (), "recorded in another order"
    assert acknowledging(*opened, odd, (0, 9_000, 0, RST, 0), (0, 151, 0, FIN, 501)) == (4,), "a reset that answers it"
    assert acknowledging(*opened[1:], odd, (0, 151, 0, FIN, 501)) == (), "no SYN"


def test_controls_of_several_stacks_are_a_load_balancer(tmp_path):
    talk = Talk()
    for number, window in enumerate((65_160, 64_000, 28_960, 29_200)):
        talk.connection(50_001 + number, window=window)
    talk.connection(50_010, "vk.com", window=65_535)
    assert "another stack, or another machine" not in said(talk.analysed(tmp_path)[-1])


def test_controls_of_another_hour_are_not_compared(tmp_path):
    talk = Talk()
    talk.connection(50_001)
    talk.connection(50_002)
    talk.now += 72_000
    talk.connection(50_003, "vk.com", ttls=[53] * 4)
    assert "controls to the same address" not in said(talk.analysed(tmp_path)[-1])


def test_controls_are_of_the_same_client_and_hour_and_of_another_name():
    from kzpcap.observations import Reaction
    from kzpcap.spill import Spill
    from kzpcap.surroundings import responders
    from kzpcap.surroundings.briefs import THROUGH, Briefs, flags_of

    report = analyze(str(CAPTURES / "lab-clean" / "capture.pcap"), reference.load(), want_digest=False)
    one = next(iter(report.spill))
    report.close()
    mine = one._replace(server_name="asked.example", target=None, client=("192.0.2.1", 50_000))
    control = mine._replace(server_name="another.example", chain=(), reaction=Reaction.WENT_ON)
    spill = Spill()
    found = responders.Responders(Briefs(spill))
    for number, changes in enumerate(
        (
            {},
            {"client": ("192.0.2.2", 50_000)},
            {"server_name": mine.server_name},
            {"time_ns": mine.time_ns + responders.WINDOW_NS + 1},
            {"server": ("198.51.100.77", 443)},
            {"time_ns": mine.time_ns + responders.WINDOW_NS},
        ),
        1,
    ):
        spill.append(control._replace(number=number, **changes))
        kept = spill.get(number)
        flags = flags_of(kept, None)
        assert flags & THROUGH, "each of them got through"
        found.briefs.add(kept, flags, found.add(kept), 0)
    assert [answer.row for answer in found.controls(mine)] == [0, 5]
    spill.close()


def test_many_servers_alike_take_no_longer_than_linear():
    """A hundred thousand connections would take hours if each asked of all."""
    import time

    from kzpcap.spill import Spill
    from kzpcap.surroundings.briefs import Briefs
    from kzpcap.surroundings.responders import Responders
    from kzpcap.verdict.facts import one_stack_for_many_servers

    report = analyze(str(CAPTURES / "lab-clean" / "capture.pcap"), reference.load(), want_digest=False)
    one = next(iter(report.spill))
    report.close()
    spill = Spill()
    around = SimpleNamespace(responders=Responders(Briefs(spill)), systems_of=lambda alike: 3)
    began = time.process_time()
    for number in range(1, 50_001):
        server = (f"198.{number >> 16}.{number >> 8 & 255}.{number & 255}", 443)
        spill.append(one._replace(number=number, server=server))
        around.responders.briefs.add(spill.get(number), 0, around.responders.add(spill.get(number)), 0)
    found = [one_stack_for_many_servers(observation, around) for observation in spill]
    assert {finding.says[:43] for finding in found} == {"50000 addresses in 3 AS answered SYNs with "}
    assert time.process_time() - began < 20
    spill.close()


def test_a_server_with_many_stacks_leaves_room_for_the_others(monkeypatch):
    """A window of its own in each SYN-ACK of one server: the answers of another are compared all the same."""
    from kzpcap.spill import Spill
    from kzpcap.surroundings import responders
    from kzpcap.surroundings.briefs import Briefs

    monkeypatch.setattr(responders, "MAX_STACKS", 20)
    monkeypatch.setattr(responders, "MAX_ANSWERS", 4)
    report = analyze(str(CAPTURES / "lab-clean" / "capture.pcap"), reference.load(), want_digest=False)
    one = next(iter(report.spill))
    report.close()
    found = responders.Responders(Briefs(Spill()))

    def answered(server, window):
        return found.add(one._replace(server=(server, 443), syn_ack=one.syn_ack._replace(window=window)))

    assert [bool(answered("198.51.100.1", window)) for window in range(40)] == [True] * 4 + [False] * 36
    assert answered("198.51.100.2", 50) == 5
    assert answered("198.51.100.1", 50) == 5, "a stack that is known has its number everywhere"
