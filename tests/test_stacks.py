"""Facts of the machine that answered: each is told where the packets show it, and nothing is concluded from it."""

from __future__ import annotations

import random
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapWriter

from kzpcap import analyze, reference
from kzpcap.capture.decode import Packet
from kzpcap.flows import acknowledges_unsent
from kzpcap.observations import Observation
from kzpcap.paths.stack import Options, one_clock, options, shared_clocks, steps_like_a_counter
from kzpcap.paths.stack import stamps as stamps_of
from tests.conftest import CAPTURES

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain
from recipes.packets import JULY_2019
from recipes.tls import client_hello, server_flight

CLIENT, SERVER = "192.0.2.10", "203.0.113.80"


class Talk:
    """Connections between a client and servers, packet by packet, each field of the server's side open to the test."""

    def __init__(self):
        self.packets = []
        self.now = JULY_2019.timestamp()
        self.rng = random.Random(1)

    def add(self, wait=0.0002, **fields):
        self.now += wait
        layers = Ether(src="02:00:5e:00:53:01", dst="02:00:5e:00:53:02") / IP(
            src=fields["src"], dst=fields["dst"], ttl=fields.get("ttl", 57), id=fields.get("ip_id", 0), flags="DF"
        )
        layers /= TCP(
            sport=fields["sport"], dport=fields["dport"], seq=fields["seq"], ack=fields.get("ack", 0),
            flags=fields["flags"], window=fields.get("window", 64_240), options=fields.get("options", []),
        )  # fmt: skip
        packet = layers / fields.get("data", b"")
        packet.time = self.now
        self.packets.append(packet)

    def connection(self, port, name="rcku.kz", server=SERVER, chain=True, **more):
        """A TLS 1.2 handshake; `more` sets the server's side by message: ids, ttls, stamps, window, mss, ack."""
        ids = more.get("ids", [0, 40_001, 40_002, 40_003])
        ttls = more.get("ttls", [57, 57, 57, 57])
        theirs = more.get("stamps", [700_000, 700_040, 700_041, 700_050])
        ours = [9_000_000, 9_000_001]
        echo = more.get("echo", [9_000_000, 9_000_001, 9_000_001, 9_000_001])

        def stamp(value, echoed):
            return [("NOP", None), ("NOP", None), ("Timestamp", (value, echoed))] if value is not None else []

        client = {"src": CLIENT, "dst": server, "sport": port, "dport": 443, "ttl": 64}
        answer = {"src": server, "dst": CLIENT, "sport": 443, "dport": port}
        syn = [("MSS", 1460), *stamp(ours[0], 0), ("WScale", 7)]
        self.add(**client, seq=100, flags="S", options=syn)
        agreed = [("MSS", more.get("mss", 1460)), *stamp(theirs[0], echo[0]), ("WScale", 7)]
        took = more.get("took", 0.031)
        self.add(
            took, **answer, seq=500, ack=101, flags="SA", options=agreed, ttl=ttls[0], ip_id=ids[0],
            window=more.get("window", 65_160),
        )  # fmt: skip
        hello = client_hello(name, self.rng)
        self.add(**client, seq=101, ack=501, flags="PA", data=hello, options=stamp(ours[1], theirs[0] or 0))
        seen = more.get("ack", 101 + len(hello))
        if chain:
            flight = server_flight(genuine_chain(), 0x009C, self.rng)
            at = 501
            for number, piece in enumerate((flight[:1_400], flight[1_400:])):
                nth = {"ttl": ttls[1 + number], "ip_id": ids[1 + number]}
                sent = stamp(theirs[1 + number], echo[1 + number])
                self.add(took, **answer, **nth, seq=at, ack=seen, flags="PA", data=piece, options=sent)
                at += len(piece)
            self.add(
                took,
                **answer,
                seq=at,
                ack=seen,
                flags="FA",
                ttl=ttls[3],
                ip_id=ids[3],
                options=stamp(theirs[3], echo[3]),
            )
        else:
            self.add(took, **answer, seq=501, ack=seen, flags="R", ttl=ttls[1], ip_id=ids[1])

    def analysed(self, tmp_path):
        with PcapWriter(str(tmp_path / "capture.pcap"), linktype=1) as out:
            for packet in self.packets:
                out.write(packet)
        report = analyze(str(tmp_path / "capture.pcap"), reference.load())
        found = list(report.connections())
        report.close()
        return found


def said(connection):
    return " | ".join(remark.says for remark in connection.verdict.remarks)


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


def put(report, **changes):
    """Where the first connection of a report would be placed, were it suspected and were this otherwise."""
    from kzpcap.verdict.judge import NOWHERE, Interceptor
    from kzpcap.verdict.place import on_the_volunteers_side
    from kzpcap.verdict.rules import State

    connection = next(iter(report.connections()))
    observation = connection.observation._replace(**{k: v for k, v in changes.items() if k in FIELDS})
    verdict = connection.verdict._replace(state=State.SUSPECTED, interceptor=Interceptor("unknown", ""), place=NOWHERE)
    verdict = verdict._replace(**{k: v for k, v in changes.items() if k in ("state", "interceptor")})
    ladders = changes.get("ladders", ())
    return on_the_volunteers_side(verdict, observation, (), report.surroundings, ladders).place.where


FIELDS = set(Observation._fields)


def test_a_local_network_needs_every_name_and_short_round_trips():
    """Recorded: a company's gateway at hop 2 signs every name (lab-squid), with and without what the place takes."""
    from kzpcap.verdict.judge import Interceptor
    from kzpcap.verdict.place import LAN_NS
    from kzpcap.verdict.rules import State

    report = analyze(str(CAPTURES / "lab-squid" / "capture.pcap"), reference.load())
    try:
        observation = next(iter(report.connections())).observation
        signing = report.surroundings.signers.of(observation.client[0])
        assert signing.slowest < LAN_NS, "a laboratory has no distance"
        assert put(report) == "volunteer_side"
        assert put(report, interceptor=Interceptor("known_generation:x", "")) == "unknown", "a known key"
        assert put(report, state=State.UNDETERMINED) == "unknown", "untrusted is not re-signed"
        far = observation.client_hello._replace(ttl=52)
        assert put(report, client_hello=far) == "unknown", "recorded somewhere on the way"
        here = SimpleNamespace(client=observation.client[0], interceptor_ttl=5)
        assert put(report, ladders=(here,)) == "unknown", "a ladder puts it on the path"
        for name, value in (("slowest", LAN_NS), ("issuers", {7, 0}), ("listed", signing.names)):
            kept = getattr(signing, name)
            setattr(signing, name, value)
            assert put(report) == "unknown", name
            setattr(signing, name, kept)
        assert put(report) == "volunteer_side"
    finally:
        report.close()


def test_every_connection_of_the_client_counts_for_a_local_network():
    """TLS 1.3 without keys beside the others: who signs there is not seen, and no SYN is left out."""
    report = analyze(str(CAPTURES / "lab-tls13" / "capture.pcap"), reference.load())
    try:
        (client,) = {observation.client[0] for observation in report.spill}
        signing = report.surroundings.signers.of(client)
        assert signing.issuers == {0}
        assert signing.slowest > 0
    finally:
        report.close()


def test_a_ttl_alone_puts_nobody_on_the_users_side():
    """Recorded: a debugging proxy at hop 1 (lab-mitmproxy). Who sits on the path can give its answers any TTL."""
    report = analyze(str(CAPTURES / "lab-mitmproxy" / "capture.pcap"), reference.load())
    try:
        observation = next(iter(report.connections())).observation
        signing = report.surroundings.signers.of(observation.client[0])
        signing.issuers.add(0)  # not every name by one issuer: the TTL alone remains
        signing.lowered = True
        assert put(report) == "volunteer_side"
        slow = observation.syn_ack._replace(time_ns=observation.syn.time_ns + 5_000_000)
        assert put(report, syn_ack=slow) == "unknown", "round trips as to a carrier"
        other = observation.syn_ack._replace(ttl=57)
        assert put(report, syn_ack=other) == "unknown", "only the forged answer came with such a TTL"
        for name, value in (("lowered", False), ("fresh_genuine", True)):
            kept = getattr(signing, name)
            setattr(signing, name, value)
            assert put(report) == "unknown", "an app that rebuilds packets gives all of them that TTL"
            setattr(signing, name, kept)
    finally:
        report.close()


# what a helper attacked: everyday situations of which nothing may be told


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


def test_many_servers_alike_take_no_longer_than_linear():
    """A hundred thousand connections would take hours if each asked of all."""
    import time

    from kzpcap.briefs import Briefs
    from kzpcap.responders import Responders
    from kzpcap.spill import Spill
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
    from kzpcap import responders
    from kzpcap.briefs import Briefs
    from kzpcap.spill import Spill

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


# the reading of options

SYN_OPTIONS = bytes.fromhex("020405b40402080a000003e80000000001030307")


def test_options_are_read_in_order():
    found = options(SYN_OPTIONS)
    assert found == Options(("mss", "sack", "ts", "nop", "ws"), 1460, 7, (1000, 0))
    assert stamps_of(bytes.fromhex("0101080a0000000500000006")) == (5, 6)
    assert stamps_of(b"") is None


@given(st.binary(max_size=60))
def test_hostile_options_are_read_without_harm(raw):
    found = options(raw)
    assert len(found.layout) <= 40
    assert stamps_of(raw) is None or len(raw) >= 10


@given(st.integers(0, 19))
def test_cut_options_lose_only_their_tail(cut):
    whole, part = options(SYN_OPTIONS), options(SYN_OPTIONS[:cut])
    assert whole.layout[: len(part.layout)] == part.layout


@given(st.integers(0, 0xFFFFFFFF), st.integers(0, 3_600 * 10**9), st.sampled_from([1, 10, 100, 250, 1_000, 1_000_000]))
def test_every_usual_clock_is_one_clock(first, passed, hertz):
    second = (first + passed * hertz // 10**9) & 0xFFFFFFFF
    if passed * hertz // 10**9 < 1 << 31:
        assert one_clock(first, 0, second, passed)


@given(st.integers(0, 65_535), st.integers(1, 100))
def test_a_counter_wraps(first, step):
    assert steps_like_a_counter(first, (first + step) & 0xFFFF)
    assert not steps_like_a_counter(first, (first + step + 200) & 0xFFFF)


def test_chance_is_no_shared_clock():
    rng = random.Random(7)
    answers = [(f"198.51.100.{number % 250}", rng.getrandbits(32), number * 10**8) for number in range(2_000)]
    assert shared_clocks(answers, 3, 10**9) == []


def test_names_of_services_and_their_networks():
    from kzpcap.paths.networks import Networks
    from kzpcap.reference import DATA

    networks = Networks(DATA / "asn")
    assert networks.service_of("www.facebook.com").owner == "Facebook (Meta)"
    assert networks.service_of("notfacebook.com") is None
    assert networks.service_of("com") is None
    for address, name in (
        ("157.240.205.35", "facebook.com"),
        ("87.240.132.78", "vk.com"),
        ("142.250.74.46", "youtube.com"),
    ):
        assert networks.of(address).asn in networks.service_of(name).asns


@pytest.mark.parametrize(
    ("server", "told"),
    [("157.240.205.35", "a network of Facebook (Meta), to whom the name belongs"),
     ("92.47.151.1", "none of the networks of Facebook (Meta), to whom the name belongs; caches")],
)  # fmt: skip
def test_whose_network_the_address_is_in(server, told, tmp_path):
    talk = Talk()
    talk.connection(50_001, "www.facebook.com", server=server)
    (connection,) = talk.analysed(tmp_path)
    assert told in said(connection)


@pytest.mark.parametrize(
    ("given", "told"),
    [({"rcku.kz": SERVER}, "DNS in the capture gave 203.0.113.80 for rcku.kz"),
     ({"rcku.kz": "198.51.100.77"}, "DNS in the capture gave 198.51.100.77 for rcku.kz, not 203.0.113.80"),
     ({"other.kz": "198.51.100.77"}, None),
     ({"rcku.kz": "2001:db8::1"}, None)],
    ids=["given", "another", "none", "another version"],
)  # fmt: skip
def test_whether_dns_gave_the_address(given, told, tmp_path):
    talk = Talk()
    for name, address in given.items():
        question = DNSQR(qname=name)
        reply = DNS(
            id=1,
            qr=1,
            qd=question,
            an=DNSRR(rrname=name, type="AAAA" if ":" in address else "A", rdata=address, ttl=60),
        )
        packet = Ether() / IP(src="192.0.2.1", dst=CLIENT) / UDP(sport=53, dport=40_000) / reply
        packet.time = talk.now
        talk.packets.append(packet)
    talk.connection(50_001)
    (connection,) = talk.analysed(tmp_path)
    assert ("DNS in the capture" in said(connection)) is (told is not None)
    assert told is None or told in said(connection)
