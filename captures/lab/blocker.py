"""What stands on a path and answers, or silences, a ClientHello with a target's name, without speaking TLS.

    python -m lab.blocker SPEC.json

SPEC: `targets`; `how`: reset, drop, page, alert; `in_path` (the ClientHello goes no further); `initial_ttl` of what is
injected, or `copy` (the TTL with which the probe arrived); `residual` seconds for which the pair of hosts stays blocked.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from lab import hello as hellos
from lab import journal
from lab.nfqueue import ACCEPT, DROP, Queue
from lab.origin import page
from lab.packets import ACK, FIN, PSH, RST, SYN, Segment, raw_socket, segment

PAGE = page(b"<!doctype html><title>Blocked</title><p>LAB: this site is not available.</p>", "403 Forbidden")
HANDSHAKE_FAILURE = bytes.fromhex("15030300020228")


class Blocker:
    """One box; what it has triggered on."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.targets = {name.lower() for name in spec["targets"]}
        self.out = raw_socket()
        self.blocked: dict[tuple[str, str], float] = {}
        self.flows: set[tuple[tuple[str, int], tuple[str, int]]] = set()

    def inject(self, seen: Segment, back: bool, flags: int, payload: bytes = b"", offset: int = 0) -> None:
        ttl = self.spec.get("initial_ttl", 64)
        ttl = seen.ttl if ttl == "copy" else ttl
        end = seen.seq + len(seen.payload)
        ends = (seen.destination, seen.source) if back else (seen.source, seen.destination)
        seq, ack = (seen.ack + offset, end) if back else (end, seen.ack)
        ip_id = int.from_bytes(os.urandom(2), "big")
        made = Segment(*ends, seq, ack, flags, 0 if flags & RST else 512, payload, {}, ttl, ip_id, False)
        self.out.sendto(made.bytes(), (ends[1][0], 0))

    def act(self, seen: Segment) -> None:
        how = self.spec["how"]
        if how == "reset":
            for offset in self.spec.get("offsets", [0]):
                self.inject(seen, True, RST | ACK, offset=offset)
            self.inject(seen, False, RST | ACK)
        elif how == "page":
            self.inject(seen, True, PSH | ACK | FIN, PAGE)
            self.inject(seen, False, RST | ACK)
        elif how == "alert":
            self.inject(seen, True, PSH | ACK | FIN, HANDSHAKE_FAILURE)
            self.inject(seen, False, RST | ACK)

    def judge(self, seen: Segment) -> int:
        pair = (seen.source[0], seen.destination[0])
        if self.blocked.get(pair, 0) > time.monotonic():
            if seen.flags & SYN and seen.key not in self.flows:
                self.flows.add(seen.key)
                journal.note("blocker", "blocked", seen.source, seen.destination, how="residual")
            return DROP
        if seen.key in self.flows:
            return DROP if self.spec.get("in_path", True) else ACCEPT
        if not seen.payload or not hellos.complete(seen.payload):
            return ACCEPT
        name = hellos.parse(seen.payload).server_name
        if (name or "").lower() not in self.targets:
            return ACCEPT
        journal.note("blocker", "blocked", seen.source, seen.destination, server_name=name, how=self.spec["how"])
        self.act(seen)
        self.flows.add(seen.key)
        if self.spec.get("residual"):
            self.blocked[pair] = time.monotonic() + self.spec["residual"]
        return DROP if self.spec.get("in_path", True) else ACCEPT


def main(spec: dict[str, Any]) -> None:
    queue, blocker = Queue(1), Blocker(spec)
    print("ready", flush=True)
    while True:
        for packet in queue.packets():
            seen = segment(packet.data)
            queue.verdict(packet, blocker.judge(seen) if seen else ACCEPT)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
