"""Single conditions of what a scrub leaves in that no other test holds."""

from __future__ import annotations

import pytest

from kzpcap.capture.packet import Packet
from kzpcap.scrub import datagrams
from tests.test_scrub_hostile import answer, hello, wire  # noqa: F401

SECOND = 1_000_000_000


def named(address, target="192.168.1.77"):
    """A resolver's answer for vk.com."""
    from scapy.layers.dns import DNS, DNSQR, DNSRR
    from scapy.layers.inet import IP, UDP

    reply = DNS(id=7, qr=1, qd=DNSQR(qname="vk.com"), an=DNSRR(rrname="vk.com", rdata=address, ttl=60))
    return IP(src="8.8.8.8", dst=target, ttl=57) / UDP(sport=53, dport=40_001) / reply


@pytest.mark.parametrize("profile", ["evidence", "public"])
def test_what_others_in_the_house_asked_of_dns_does_not_stay(profile, wire):  # noqa: F811
    """The volunteer gives the volunteer's own traffic: another computer's answer is none of it, whatever its name."""
    wire.add(named("87.240.190.67"))
    wire.add(named("87.240.190.99", target="192.168.1.50"))
    wire.tcp((0, hello()), (1, answer("vk.com")[0]))
    scrubbed, out = wire.scrub(profile)
    assert scrubbed.manifest["kept"]["packets"].get("DNS answers") == 1
    assert scrubbed.manifest["dropped"]["packets"].get("DNS of other names") == 1
    assert bytes([87, 240, 190, 99]) not in out


@pytest.mark.parametrize("profile", ["evidence", "public"])
@pytest.mark.parametrize(
    ("source", "target", "asked", "kept"),
    [
        ("92.47.1.1", "192.168.1.77", "192.168.1.77", 1),
        ("192.168.1.1", "87.240.190.67", "192.168.1.77", 0),
        ("92.47.1.1", "192.168.1.77", "87.240.190.67", 0),
    ],
    ids=["to the client", "to the server", "of what the server sent itself"],
)
def test_an_error_that_makes_a_client_of_the_server_does_not_stay(source, target, asked, kept, profile, wire):  # noqa: F811
    """An address that stays is no client's: else the server's own would be replaced, and the volunteer's be told."""
    from scapy.layers.inet import ICMP, IP, TCP

    wire.tcp((0, hello()), (1, answer("vk.com")[0]))
    quoted = bytes(IP(src=asked, dst="87.240.190.67", ttl=1) / TCP(sport=50_001, dport=443, seq=51_002))[:28]
    wire.add(IP(src=source, dst=target, ttl=60) / ICMP(type=11) / quoted)
    scrubbed, out = wire.scrub(profile)
    assert scrubbed.manifest["kept"]["packets"].get("ICMP errors about kept connections", 0) == kept
    assert scrubbed.proof.compared == 1
    assert bytes([87, 240, 190, 67]) in out


def initial(frame, time_ns, direction=0, to=b"\x01" * 8, of=b"\x02" * 8, kind=0, version=1):
    """The packet of a datagram with a long header."""
    packet = Packet()
    packet.frame, packet.time_ns, packet.direction = frame, time_ns, direction
    head = bytes([0xC0 | kind << 4]) + version.to_bytes(4, "big")
    packet.payload = head + bytes([len(to)]) + to + bytes([len(of)]) + of + b"\0" + b"\x04" + bytes(4)
    return packet


@pytest.mark.parametrize(("after", "stays"), [(10 * SECOND, True), (10 * SECOND + 1, False)])
def test_what_comes_long_after_a_quic_connection_began_does_not_stay(after, stays):
    """Ids are chosen anew by somebody else some day: what comes ten seconds later is another's."""
    found = datagrams.kept([initial(1, 5), initial(2, 5 + after)], 0, 1)
    assert (1 in found, 2 in found) == (True, stays)
