"""Attempts to connect to ports where TLS is expected of which no answer is in the capture: no name was sent yet."""

from __future__ import annotations

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

    def add(self, syn: Packet | None) -> None:
        """Count the SYN of one that came no further (observer.py, lone_syn)."""
        if syn is None or syn.ttl <= MAX_PROBE_TTL or syn.dport not in TLS_PORTS:
            return
        self.attempts += 1
        if len(self.first) < MAX_TOLD:
            self.first.append((address(syn.dst), syn.dport, syn.frame))
