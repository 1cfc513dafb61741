"""TTL ladders over the published path."""

from __future__ import annotations

import random
from typing import Any

import dpkt

from recipes.built import Built, genuine_chain, qaznet_chain
from recipes.packets import (
    ACK,
    BOX_HOP,
    CLIENT,
    HOPS,
    JULY_2019,
    PSH,
    RST,
    SERVER_HOP,
    Capture,
    Connection,
    address,
)
from recipes.tls import client_hello, server_flight


def time_exceeded(connection: Connection, hop: int) -> None:
    """The router at this hop of the connection's path answers the last packet with an RFC 792 quote of it."""
    quoted = bytearray(connection.capture.packets[-1][1][14:])
    quoted[8] = 1  # the TTL with which it arrived
    icmp = dpkt.icmp.ICMP(type=11, code=0, data=b"\0\0\0\0" + bytes(quoted[:28]))
    ip = dpkt.ip.IP(
        src=address(connection.hops[hop - 1]), dst=address(CLIENT), p=1, ttl=255 - hop + 1, id=hop, data=icmp
    )
    ip.len = len(ip)
    frame = dpkt.ethernet.Ethernet(src=b"\x02\x00\x5e\x00\x53\x01", dst=b"\x02\x00\x5e\x00\x53\x00", data=ip)
    connection.capture.add(bytes(frame), 0.002 * hop)


def probe(connection: Connection, hello: bytes, ttl: int) -> None:
    """The same segment with a TTL of its own: the sequence number does not move on."""
    connection.packet(0, PSH | ACK, hello, wait=0.08, ttl=ttl)
    connection.seq[0] -= len(hello)
    if ttl < SERVER_HOP:
        reached_box = ttl >= connection.box_hop and connection.intercepted
        if not reached_box:
            time_exceeded(connection, ttl)


def answer(connection: Connection, hello: bytes, chain: list[bytes], rng: random.Random) -> None:
    connection.seq[0] += len(hello)
    ttl = 64 - connection.box_hop + 1 if connection.intercepted else None
    connection.send(1, server_flight(chain, 0x009C, rng), wait=0.03, ttl=ttl)
    connection.packet(0, RST | ACK)


def ladder_truth(shape: str) -> list[dict[str, Any]]:
    return [
        {
            "server_name": "www.facebook.com",
            "control_server_name": None,
            "shape": shape,
            "interceptor_ttl": BOX_HOP,
            "effect": "certificate",
            "control_terminating_ttl": SERVER_HOP,
            "bound": "exact",
            "placement": "in_path",
            "last_clean_hop": {
                "ttl": 4,
                "address": "92.47.151.210",
                "asn": 50482,
                "network": "Kazakhtelecom",
                "published": "AS9198 as published 2019",
            },
            "first_intercepted_hop": {"ttl": 5, "address": "95.56.243.92", "asn": 9198, "network": "Kazakhtelecom"},
        }
    ]


def probe_each_ttl(seed: int, hops: list[str], box_hop: int) -> tuple[Capture, list[dict[str, Any]]]:
    """One connection for each TTL, target and control in turn, over a path with the box at one hop."""
    rng = random.Random(seed)
    capture = Capture(JULY_2019)
    expected: list[dict[str, Any]] = []
    for ttl in range(1, 11):
        for target in (True, False):
            connection = Connection(capture, 51_000 + ttl * 2 + target)
            connection.ttl[1] = 64 - SERVER_HOP + 1
            connection.intercepted = target
            connection.hops, connection.box_hop = hops, box_hop
            connection.open()
            hello = client_hello("www.facebook.com" if target else None, rng)
            probe(connection, hello, ttl)
            name = "www.facebook.com" if target else None
            if ttl >= (box_hop if target else SERVER_HOP):
                answer(connection, hello, qaznet_chain() if target else genuine_chain(), rng)
                if target:
                    expected.append({"server_name": name, "state": "intercepted", "place": "edge"})
                else:
                    expected.append({"server_name": name, "state": "undetermined", "rule_id": "no-name-sent"})
            else:
                expected.append({"server_name": name, "state": "undetermined", "rule_id": "probe-unanswered"})
    return capture, expected


def kz_2019_ladder() -> Built:
    capture, expected = probe_each_ttl(2031, HOPS, BOX_HOP)
    return Built(
        capture,
        "The published path of July 2019 as a TTL ladder: one connection for each TTL",
        "A RECONSTRUCTION with the addresses and the real chain that Censored Planet published: the target is answered\n"
        "with the forged certificate from TTL 5 on, the control (a ClientHello without a name, as in the published\n"
        "measurement) only by the server at TTL 8. So the box sits between hop 4 (92.47.151.210) and hop 5 (95.56.243.92).\n"
        "Today's table gives the first to AS50482; in 2019 it was published as AS9198. Both are Kazakhtelecom.",
        expected,
        ladders=ladder_truth("connection_per_ttl"),
    )


def kz_2019_ladder_from_outside() -> Built:
    capture, expected = probe_each_ttl(2034, HOPS[::-1], 4)
    truth = ladder_truth("connection_per_ttl")
    truth[0].update(
        interceptor_ttl=4,
        last_clean_hop={"ttl": 3, "address": "95.56.243.92", "asn": 9198, "network": "Kazakhtelecom"},
        first_intercepted_hop={"ttl": 4, "address": "92.47.151.210", "asn": 50482, "network": "Kazakhtelecom"},
    )
    return Built(
        capture,
        "The same edge from outside: the client is abroad, the server in the country",
        "A RECONSTRUCTION, and more of it is assumed than in `kz-2019-ladder`. Published: hosts in the country were injected\n"
        "when asked from North America (Censored Planet, 2019). Not published: any hop seen from there. Here the published\n"
        "path is walked the other way, so the edge has its ends exchanged: the last clean hop is 95.56.243.92, the first\n"
        "intercepted one 92.47.151.210. It tests that a ladder is read the same from either side, not where the box stood.",
        expected,
        ladders=truth,
    )


def kz_2019_ladder_one_connection() -> Built:
    rng = random.Random(2032)
    capture = Capture(JULY_2019)
    expected: list[dict[str, Any]] = []
    for target in (True, False):
        connection = Connection(capture, 52_000 + target)
        connection.ttl[1] = 64 - SERVER_HOP + 1
        connection.intercepted = target
        connection.open()
        hello = client_hello("www.facebook.com" if target else None, rng)
        last = BOX_HOP if target else SERVER_HOP
        for ttl in range(1, last + 1):
            probe(connection, hello, ttl)
        answer(connection, hello, qaznet_chain() if target else genuine_chain(), rng)
        if target:
            expected.append({"server_name": "www.facebook.com", "state": "intercepted", "place": "edge"})
        else:
            expected.append({"server_name": None, "state": "undetermined", "rule_id": "no-name-sent"})
    return Built(
        capture,
        "The published path of July 2019 as a TTL ladder: one connection, the same segment with rising TTL",
        "A RECONSTRUCTION in the shape of the published tool (work_ttl.py): after the TCP handshake the same ClientHello\n"
        "segment is sent again and again with TTL 1, 2, 3 ... until something answers. A reader that takes the copies for\n"
        "retransmissions destroys this evidence. An answer belongs to no one probe; here the bounds meet at TTL 5.",
        expected,
        ladders=ladder_truth("one_connection"),
    )


def clean_ladder() -> Built:
    rng = random.Random(2033)
    capture = Capture(JULY_2019)
    expected: list[dict[str, Any]] = []
    for ttl in range(1, 10):
        for name in ("vk.com", "www.example.org"):
            connection = Connection(capture, 53_000 + ttl * 2 + (name == "vk.com"))
            connection.ttl[1] = 64 - SERVER_HOP + 1
            connection.open()
            hello = client_hello(name, rng)
            probe(connection, hello, ttl)
            if ttl >= SERVER_HOP:
                answer(connection, hello, genuine_chain(), rng)
            rule = "other-name" if ttl >= SERVER_HOP else "probe-unanswered"
            expected.append({"server_name": name, "state": "undetermined", "rule_id": rule, "place": "unknown"})
    return Built(
        capture,
        "A clean ladder: target and control are answered by the server alone",
        "Nothing on the path answered for the server: no place may be told.",
        expected,
        ladders=[
            {
                "server_name": "vk.com",
                "control_server_name": "www.example.org",
                "interceptor_ttl": None,
                "control_terminating_ttl": SERVER_HOP,
                "bound": None,
                "last_clean_hop": None,
                "first_intercepted_hop": None,
                "placement": "unknown",
            }
        ],
    )
