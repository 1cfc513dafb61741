"""Conversations between a client and servers, packet by packet, every field of the server's side open to the test."""

from __future__ import annotations

import random
import sys

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import PcapWriter

from kzpcap import analyze, reference
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
