"""Attempts to connect to ports where TLS is expected of which no answer is in the capture: no name was sent yet."""

from __future__ import annotations

from kzpcap.capture.codes import SYN
from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet
from kzpcap.iana import TLS_PORTS
from kzpcap.observations import MAX_PROBE_TTL
from kzpcap.paths.icmp import address

MAX_TOLD = 8


class Unanswered:
    """How many there are, and where the first of them went; probes with a low TTL are none."""

    def __init__(self) -> None:
        self.attempts = 0
        self.first: list[tuple[str, int, int]] = []
        """(server, port, frame)."""

    def add(self, syn: Packet | None, flow: Flow) -> None:
        """Count the SYN of one that came no further (observer.py, lone_syn); who sends more than SYNs was answered."""
        if syn is None or syn.ttl <= MAX_PROBE_TTL or syn.dport not in TLS_PORTS:
            return
        if flow.a.packets > sum(packet.flags & SYN != 0 for packet in flow.packets) + flow.duplicates:
            return
        self.attempts += 1
        if len(self.first) < MAX_TOLD:
            self.first.append((address(syn.dst), syn.dport, syn.frame))
