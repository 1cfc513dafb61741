"""What a plan is made of: the flows that stay, the numbers that are shifted, and what the manifest tells."""

from __future__ import annotations

import os
from bisect import bisect_right, insort
from collections import Counter
from dataclasses import dataclass, field

from kzpcap.scrub.addresses import Addresses
from kzpcap.scrub.apply import Plan, Turn
from kzpcap.scrub.choose import Role

MAX_BESIDE = 16
"""Flows between the same ports at one time."""
Range = tuple[int, int]


@dataclass
class Kept:
    """One kept flow: its packets with data that stays, and from when on it has nothing more to say."""

    role: Role
    first: int
    last: int
    until: int
    """The frame after which packets without data are not needed."""
    turns: tuple[int, int]
    """For packets of the direction `forward`, and of the other."""
    forward: bytes
    data: dict[int, tuple[tuple[Range, ...], tuple[tuple[int, bytes], ...]]] = field(default_factory=dict)


class Between:
    """The kept flows between two ends, in order of their first frames: of one pair of ports there may be thousands."""

    def __init__(self) -> None:
        self.flows: list[Kept] = []

    def add(self, kept: Kept) -> None:
        """Take a flow; they come as they ended."""
        insort(self.flows, kept, key=_first_of)

    def before(self, frame: int) -> Kept | None:
        """The last flow that began by then."""
        at = bisect_right(self.flows, frame, key=_first_of)
        return self.flows[at - 1] if at else None

    def at(self, frame: int) -> Kept | None:
        """The flow that a frame is part of: the one that has its bytes, else the newest that was there then."""
        at = bisect_right(self.flows, frame, key=_first_of)
        there = [one for one in self.flows[max(0, at - MAX_BESIDE) : at] if frame <= one.last]
        return next((one for one in there if frame in one.data), there[-1] if there else None)


def _first_of(kept: Kept) -> int:
    return kept.first


@dataclass
class Made:
    """A plan, and what the manifest tells of it."""

    plan: Plan
    dropped: Counter[str] = field(default_factory=Counter)
    """Why to packets."""
    kept: Counter[str] = field(default_factory=Counter)
    blanked: Counter[str] = field(default_factory=Counter)
    addresses: Addresses = field(default_factory=Addresses)
    names: frozenset[str] = frozenset()
    """The server names that stay."""


@dataclass
class Shifts:
    """The constants of the public profile; all zero in the other."""

    client_port: int = 0
    client_stamp: int = 0
    server_stamp: int = 0
    client_id: int = 0
    server_id: int = 0
    client_probe: int = 0
    server_probe: int = 0
    """Of the sequence numbers of probes, which are no flows."""
    exact: bool = True

    @classmethod
    def of(cls, exact: bool, ports: set[int]) -> Shifts:
        """Random constants; client ports stay in their order, above the well-known ones."""
        if exact:
            return cls()
        low, high = min(ports, default=1_024), max(ports, default=1_024)
        room = 65_535 - 1_024 - (high - low)
        port = 1_024 - low + int.from_bytes(os.urandom(4), "big") % max(1, room)
        stamps = [int.from_bytes(os.urandom(4), "big") for _ in range(4)]
        ids = [1 + int.from_bytes(os.urandom(2), "big") % 0xFFFE for _ in range(2)]
        return cls(port, stamps[0], stamps[1], ids[0], ids[1], stamps[2], stamps[3], False)


@dataclass
class Draft:
    """A plan in the making: what the flows that stay have told, for the packets that go with them."""

    exact: bool
    """Are all numbers as captured? Not in the public profile."""
    shifts: Shifts
    made: Made
    flows: dict[bytes, Between] = field(default_factory=dict)
    ends: dict[bytes, list[bytes]] = field(default_factory=dict)
    """Server and ports as an error quotes them -> the clients of kept flows between these."""
    spoken: set[tuple[bytes, int, bytes, int]] = field(default_factory=set)
    """Connections with TLS that do not stay: their SYNs are no probes."""
    servers: set[bytes] = field(default_factory=set)
    """The servers whose addresses stay."""
    _turns: dict[Turn, int] = field(default_factory=dict)

    @property
    def addresses(self) -> Addresses:
        """Which address stands for which."""
        return self.made.addresses

    def turn(self, turn: Turn) -> int:
        """The number of a turn in the plan."""
        found = self._turns.get(turn)
        if found is None:
            found = self._turns[turn] = len(self.made.plan.turns)
            self.made.plan.turns.append(turn)
        return found
