"""Link layers and tunnels, built by scapy: each leads to the same TCP segment, with the TTLs it should have."""

from __future__ import annotations

import logging
import struct
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap.capture.codes import ENCRYPTED, MALFORMED, NOT_IP, OK, SHORT, UNKNOWN_LINK
from kzpcap.capture.decode import decode
from kzpcap.capture.links import link_name
from kzpcap.capture.packet import Packet, checksum_matches

logging.getLogger("scapy").setLevel(logging.ERROR)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.contrib.geneve import GENEVE
    from scapy.contrib.gtp import GTP_U_Header
    from scapy.contrib.mpls import MPLS
    from scapy.layers.dot11 import Dot11, Dot11QoS, RadioTap
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
    from scapy.layers.l2 import GRE, LLC, SNAP, CookedLinux, Dot1AD, Dot1Q, Ether, Loopback
    from scapy.layers.ppp import PPP, PPPoE
    from scapy.layers.vxlan import VXLAN
    from scapy.packet import Raw

SEGMENT = TCP(sport=40_000, dport=443, seq=7, flags="PA") / Raw(b"\x16\x03\x01payload")
V4 = IP(src="192.0.2.1", dst="203.0.113.9", ttl=61, id=77, flags="DF") / SEGMENT
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2", hlim=60) / SEGMENT
OUTER = IP(src="198.51.100.1", dst="198.51.100.2", ttl=40)

PLAIN = {
    "ethernet": (1, Ether() / V4),
    "vlan": (1, Ether() / Dot1Q(vlan=3) / V4),
    "qinq": (1, Ether() / Dot1AD(vlan=2) / Dot1Q(vlan=3) / V4),
    "mpls": (1, Ether(type=0x8847) / MPLS(s=0, label=16) / MPLS(s=1, label=17) / V4),
    "nsh": (1, Ether(type=0x894F) / Raw(bytes.fromhex("0fc60201000001ff") + bytes(16)) / V4),
    "nsh-ethernet": (1, Ether(type=0x894F) / Raw(bytes.fromhex("0fc60103000001ff") + bytes(16)) / Ether() / V4),
    "pppoe": (1, Ether() / PPPoE(sessionid=1) / PPP() / V4),
    "snap": (1, Ether(type=80) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(code=0x0800) / V4),
    "cooked": (113, CookedLinux(proto=0x0800) / V4),
    "raw": (101, V4),
    "ipv4": (228, V4),
    "null": (0, Loopback(type=2) / V4),
    "radiotap": (127, RadioTap() / Dot11(type=2, subtype=8) / Dot11QoS() / LLC() / SNAP(code=0x0800) / V4),
    "wifi": (105, Dot11(type=2) / LLC() / SNAP(code=0x0800) / V4),
    "ppp": (9, PPP() / V4),
    "pppd": (166, Raw(b"\1\3\0\x21") / V4),
    "atm": (100, LLC() / SNAP(code=0x0800) / V4),
}
TUNNELS = {
    "gre": OUTER / GRE() / V4,
    "gre-key": OUTER / GRE(key_present=1, key=5, seqnum_present=1, sequence_number=6) / V4,
    "ipip": OUTER / V4,
    "6in4": OUTER / V6,
    "4in6": IPv6(hlim=40) / V4,
    "vxlan": OUTER / UDP(dport=4789) / VXLAN(vni=1) / Ether() / V4,
    "geneve": OUTER / UDP(dport=6081) / GENEVE(vni=1, proto=0x6558) / Ether() / V4,
    "gtp": OUTER / UDP(sport=2152, dport=2152) / GTP_U_Header(teid=1) / V4,
    "teredo": OUTER / UDP(sport=3544, dport=50_000) / V6,
}


def decoded(link, frame):
    raw = bytes(frame)
    packet = Packet()
    return decode(packet, raw, 0, len(raw), len(raw), link), packet, raw


@pytest.mark.parametrize("name", PLAIN)
def test_links(name):
    outcome, packet, raw = decoded(*PLAIN[name])
    assert outcome == OK
    assert (packet.sport, packet.dport, packet.seq, packet.ttl, packet.ip_id, packet.tunnels) == (
        40_000,
        443,
        7,
        61,
        77,
        0,
    )
    assert raw[packet.payload_at : packet.payload_at + packet.captured].startswith(b"\x16\x03\x01payload")


@pytest.mark.parametrize("name", TUNNELS)
def test_tunnels_keep_both_ttls(name):
    outcome, packet, raw = decoded(101, TUNNELS[name])
    assert outcome == OK
    assert (packet.sport, packet.dport, packet.seq) == (40_000, 443, 7)
    assert packet.outer_ttl == 40
    assert packet.ttl in (60, 61)
    assert packet.tunnels == 1
    assert raw[packet.payload_at : packet.payload_at + 10] == b"\x16\x03\x01payload"


def test_ipv6_extension_headers():
    frame = Ether() / IPv6(hlim=60) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / SEGMENT
    outcome, packet, _ = decoded(1, frame)
    assert (outcome, packet.version, packet.dport, packet.ttl) == (OK, 6, 443, 60)


def test_a_total_length_of_zero_is_offload():
    frame = bytearray(bytes(Ether() / V4))
    frame[16:18] = b"\0\0"
    outcome, packet, _ = decoded(1, bytes(frame))
    assert outcome == OK
    assert packet.captured == 10


def test_padding_is_not_payload():
    outcome, packet, _ = decoded(1, bytes(Ether() / IP() / TCP(flags="A")) + b"\0" * 6)
    assert outcome == OK
    assert packet.length == 0


def test_a_cut_packet_says_how_long_it_was():
    raw = bytes(Ether() / V4)
    packet = Packet()
    assert decode(packet, raw, 0, len(raw) - 4, len(raw), 1) == OK
    assert (packet.captured, packet.length) == (6, 10)


@pytest.mark.parametrize(
    ("link", "frame", "outcome"),
    [
        (1, Ether(type=0x0806) / Raw(b"\0" * 28), NOT_IP),
        (1, Ether(type=0x88E5) / Raw(b"\0" * 60), ENCRYPTED),
        (1, Ether(type=0x894F) / Raw(bytes.fromhex("0fc2020400000100")) / V4, NOT_IP),
        (1, Ether(type=0x894F) / Raw(bytes.fromhex("0fff020100000100")), SHORT),
        (1, Ether(type=0x894F) / Raw(bytes.fromhex("0fff02")), SHORT),
        (187, Raw(b"\0" * 28), UNKNOWN_LINK),
        (1, Raw(b"\0" * 9), SHORT),
        (101, Raw(b"\x41" + b"\0" * 30), MALFORMED),
        (105, Dot11(type=2, FCfield="protected") / Raw(b"\0" * 40), ENCRYPTED),
    ],
)
def test_what_cannot_be_decoded_has_a_reason(link, frame, outcome):
    assert decoded(link, frame)[0] == outcome


def test_nested_tunnels_are_bounded():
    frame = V4
    for _ in range(40):
        frame = IP(ttl=9) / frame
    assert decoded(101, frame)[0] != OK


def test_an_unknown_link_type_has_a_name():
    assert link_name(220) == "USB_LINUX_MMAPPED (220)"
    assert link_name(4_711) == "link type 4711"


@given(st.sampled_from([1, 0, 101, 113, 276, 127, 105, 9, 104, 107, 239, 258, 192]), st.binary(max_size=200))
def test_any_bytes_decode_or_have_a_reason(link, raw):
    packet = Packet()
    try:
        outcome = decode(packet, raw, 0, len(raw), len(raw) + 3, link)
    except IndexError:
        return  # the scanner counts it as malformed
    assert 0 <= outcome <= 9
    if outcome == OK:
        assert packet.payload_at + packet.captured <= len(raw)
        assert packet.captured <= packet.length + 3


@given(st.binary(min_size=0, max_size=70), st.integers(0, 1))
def test_a_checksum_fits_and_with_one_bit_flipped_does_not(payload, version6):
    """RFC 9293 section 3.1, against the plain loop of RFC 1071; payloads of odd lengths too."""
    addresses = bytes(range(1, 33)) if version6 else bytes(range(1, 9))
    segment = bytearray(struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 0x50, 0x10, 5, 0, 0) + payload)
    pseudo = addresses + struct.pack("!II", len(segment), 6)
    words = pseudo + segment + b"\0" * (len(segment) & 1)
    total = sum(struct.unpack(f"!{len(words) // 2}H", words))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    segment[16:18] = (total ^ 0xFFFF).to_bytes(2, "big")
    if version6:
        header = struct.pack("!IHBB", 6 << 28, len(segment), 6, 64) + addresses
    else:
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 7, 0, 64, 6, 0) + addresses
    for flipped in (0, 1):
        segment[-1] ^= flipped
        raw = header + bytes(segment)
        packet = Packet()
        assert decode(packet, raw, 0, len(raw), len(raw), 101) == OK
        assert checksum_matches(packet, raw) is not bool(flipped)
