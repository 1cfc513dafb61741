"""Who signed for each client of a capture: for the question whether an interceptor stands on the client's own side."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

from kzpcap.kept import keep
from kzpcap.surroundings.briefs import FRESH_GENUINE, LISTED, LOWERED, NAMED, SIGNED, Briefs

MAX_ISSUERS = 8
MAX_USES = 64
MANY = 1_024
NOT_TOLD = 1 << 62
"""Nanoseconds, where a SYN and its SYN-ACK have one time, or most of them are not in the capture."""
NEAR_US = 10_000
"""From a ClientHello to the ServerHello of who signs nearby, in microseconds: key generation and a signature."""


@dataclass
class Signing:
    """Who signed for one client, over all of its connections that were answered; each set bounded, texts by key."""

    issuers: set[int] = field(default_factory=set)
    """Private issuers whose signatures were verified; what is signed otherwise, or hidden, is 0 here."""
    names: set[int] = field(default_factory=set)
    listed: set[int] = field(default_factory=set)
    servers: set[int] = field(default_factory=set)
    slowest: int = 0
    """The longest time between a SYN and its SYN-ACK, of all connections, in nanoseconds."""
    near: set[int] = field(default_factory=set)
    """Private issuers, some ServerHello of whom came as soon as one can from nearby."""
    lowered: bool = False
    """Some server's answers came with a TTL that routers had lowered: TTLs mean something at this capture point."""
    fresh_genuine: bool = False
    """A genuine certificate came with a TTL that no router had lowered: then TTLs mean nothing."""


class Signers:
    """Asked by client, once the capture was surveyed."""

    def __init__(self, briefs: Briefs) -> None:
        self.briefs = briefs
        self.found: dict[str, Signing] = {}
        self.of_many: dict[str, Signing] = {}
        """Of clients with many connections: there are few of those, and their rows are not walked again."""

    def of(self, client: str) -> Signing:
        """Who signed for a client, over all of its connections over TCP."""
        found = self.found.get(client) or self.of_many.get(client)
        if found is None:
            rows = self.briefs.by_client.of(hash(client))
            found = self._work_out(rows)
            if len(rows) > MANY:
                self.of_many[client] = found
            else:
                keep(self.found, client, found)
        return found

    def _work_out(self, of_client: array[int]) -> Signing:
        rows, found = self.briefs, Signing()
        untold = sum(rows.took[row] < 0 for row in of_client)
        if any(rows.took[row] == 0 for row in of_client) or 2 * untold > len(of_client):
            found.slowest = NOT_TOLD
        for row in of_client:
            flags = rows.flags[row]
            found.slowest = max(found.slowest, rows.took[row])
            found.lowered = found.lowered or bool(flags & LOWERED)
            found.fresh_genuine = found.fresh_genuine or bool(flags & FRESH_GENUINE)
            if not flags & SIGNED:
                continue
            if rows.issuers[row] and 0 < rows.answer_took[row] <= NEAR_US and len(found.near) < MAX_ISSUERS:
                found.near.add(rows.issuers[row])
            if len(found.issuers) < MAX_ISSUERS:
                found.issuers.add(rows.issuers[row])
            if flags & NAMED and len(found.names) < MAX_USES:
                found.names.add(rows.names[row])
                if flags & LISTED:
                    found.listed.add(rows.names[row])
            if len(found.servers) < MAX_USES:
                found.servers.add(rows.servers[row])
        return found
