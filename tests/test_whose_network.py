"""Whose network a server's address is in, and whether DNS gave it: told, and nothing is concluded from it."""

from __future__ import annotations

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from kzpcap.paths.networks import Networks
from kzpcap.reference import DATA
from tests.talk import CLIENT, SERVER, Talk, said


def test_names_of_services_and_their_networks():
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
