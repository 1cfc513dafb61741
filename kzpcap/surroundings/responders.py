"""Who answered each SYN, connection by connection: signatures, distances and clocks, for comparison between them.

Signatures are compared only between answers to equal SYNs: a stack's answer depends on what it was offered.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import NamedTuple

from kzpcap.observations import Observation
from kzpcap.paths.hops import differ
from kzpcap.paths.stack import options, shared_clocks, signature
from kzpcap.surroundings.briefs import LISTED, NAMED, THROUGH, TRUSTED, Briefs, endpoint, key

MAX_STACKS = 65_536
MAX_ANSWERS = 64
MAX_SHOWN = 256
MAX_CLOCKS = 4_096
CLOCK_HOSTS = 3
CLOCK_SPAN_NS = 1_000_000_000
CONTROLS = 2
"""To compare one answer with."""
MANY_SERVERS = 4
MOST = 2 / 3
WINDOW_NS = 600 * 1_000_000_000
CONTROL = THROUGH | NAMED
CONTROL_MASK = CONTROL | LISTED
"""A control is with a name on no list, and got through."""
CONTROL_THROUGH = THROUGH | LISTED


class Stack(NamedTuple):
    """How a SYN was answered."""

    asked: tuple[str, ...]
    """The options of the client's SYN."""
    signature: str
    ttl: int


class Answer(NamedTuple):
    """How the SYN of one connection was answered, and how its ClientHello was; TTLs as captured."""

    row: int
    stack: Stack
    hello_ttl: int | None


class Alike(NamedTuple):
    """Servers that answered equal SYNs alike: how many, and some of them with a frame each, in order."""

    servers: int
    some: dict[str, int]


class Responders:
    """Who answered how, over the connections of a capture; asked once it was surveyed."""

    def __init__(self, briefs: Briefs) -> None:
        self.briefs = briefs
        self.stacks: list[Stack | None] = [None]
        """By the number under which `briefs` has them; 0 is for what is not compared."""
        self.numbers: dict[Stack, int] = {}
        self.begun: Counter[int] = Counter()
        """How many stacks were first seen at an address and port."""
        self.clocks: list[tuple[str, int, int]] = []
        """Server, TSval and time in nanoseconds of its SYN-ACKs."""
        self.clock_frames: dict[int, int] = {}
        """Frame of a SYN-ACK to its place in `clocks`."""

    def add(self, observation: Observation) -> int:
        """Take one connection; gives the number of its stack, 0 where its SYN-ACK is not compared."""
        answered = observation.syn_ack
        stack = self.of(observation)
        if stack is None or answered is None:
            return 0
        sent = options(answered.options)
        if sent.stamps is not None and answered.time_ns and len(self.clocks) < MAX_CLOCKS:
            self.clock_frames[answered.frame] = len(self.clocks)
            self.clocks.append((observation.server[0], sent.stamps[0], answered.time_ns))
        number = self.numbers.get(stack)
        if number is None:
            server = endpoint(hash(observation.server[0]), observation.server[1])
            if len(self.stacks) >= MAX_STACKS or self.begun[server] >= MAX_ANSWERS:
                return 0
            self.begun[server] += 1  # of more than its first answers none is compared: no server fills the numbers
            number = self.numbers[stack] = len(self.stacks)
            self.stacks.append(stack)
        return number

    def of(self, observation: Observation) -> Stack | None:
        """How the SYN of a connection was answered; None for probes, and where it was not captured or is a proxy's."""
        syn, answered = observation.syn, observation.syn_ack
        if syn is None or answered is None or observation.transport != "tcp" or observation.tunnels:
            return None
        if not observation.hello_sent or observation.proxied or observation.probe_ttl is not None:
            return None
        signed = signature(answered.window, options(answered.options))
        return Stack(options(syn.options).layout, signed, answered.ttl)

    def controls(self, observation: Observation) -> list[Answer]:
        """What connections with other names, on no list, got from the same address and port: those of the same client
        within ten minutes, for ways change and clients move. Of the first `MAX_ANSWERS` there."""
        briefs = self.briefs
        server, port = observation.server
        client, name = hash(observation.client[0]), key(observation.server_name)
        found = []
        for row in briefs.endpoints.of(endpoint(hash(server), port), MAX_ANSWERS):
            stack = self.stacks[briefs.stacks[row]]
            if (
                stack is not None
                and briefs.flags[row] & CONTROL_MASK == CONTROL
                and briefs.names[row] != name
                and briefs.clients[row] == client
                and abs(briefs.times[row] - observation.time_ns) <= WINDOW_NS
            ):
                ttl = briefs.hello_ttls[row]
                found.append(Answer(row, stack, ttl if ttl >= 0 else None))
        return found

    def answers_so(self, observation: Observation, ttl: int) -> int | None:
        """The row of a handshake of this server, trusted or a control's that went on, whose SYN-ACK and ServerHello are
        of as far away as this connection's SYN-ACK and a packet with this TTL.

        Then a device before the server answers SYNs in its place.
        """
        briefs, answered = self.briefs, observation.syn_ack
        if answered is None:
            return None
        for row in briefs.endpoints.of(endpoint(hash(observation.server[0]), observation.server[1]), MAX_ANSWERS):
            stack, hello = self.stacks[briefs.stacks[row]], briefs.hello_ttls[row]
            if (
                stack is not None
                and (briefs.flags[row] & TRUSTED or briefs.flags[row] & CONTROL_THROUGH == THROUGH)
                and hello >= 0
                and differ(stack.ttl, hello)
                and differ(stack.ttl, answered.ttl) is False
                and differ(hello, ttl) is False
            ):
                return row
        return None

    def frames(self, answers: list[Answer]) -> tuple[int, ...]:
        """The frames of the SYN-ACKs of some answers."""
        seen = (self.briefs.observation(one.row).syn_ack for one in answers)
        return tuple(mark.frame for mark in seen if mark is not None)

    def is_compared(self, observation: Observation) -> bool:
        """Are there several controls to the same address and port, of whatever client and time?"""
        place = self.briefs.endpoints.find(endpoint(hash(observation.server[0]), observation.server[1]))
        return place >= 0 and self._compared[place] != 0

    @cached_property
    def _compared(self) -> bytes:
        """For each group of `endpoints`: has it controls enough?"""
        flags = self.briefs.flags
        return bytes(
            sum(flags[row] & CONTROL_MASK == CONTROL for row in rows[:MAX_ANSWERS]) >= CONTROLS
            for rows in self.briefs.endpoints
        )

    @cached_property
    def alike(self) -> dict[Stack, Alike]:
        """Who answered equal SYNs alike, where it is most of all servers."""
        briefs = self.briefs
        servers = 0
        counts: Counter[int] = Counter()
        for rows in briefs.grouped(briefs.endpoints.rows, briefs.servers):
            servers += 1
            counts.update({briefs.stacks[row] for row in rows})
        least = max(MANY_SERVERS, MOST * servers)
        some: dict[int, dict[int, int]] = {number: {} for number, count in counts.items() if count >= least}
        for row, number in enumerate(briefs.stacks) if some else ():
            if number in some and len(some[number]) < MAX_SHOWN:
                some[number].setdefault(briefs.servers[row], row)
        found = {}
        for number, first in some.items():
            stack = self.stacks[number]
            if stack is not None:
                seen = (briefs.observation(row) for row in first.values())
                shown = {one.server[0]: one.syn_ack.frame for one in seen if one.syn_ack is not None}
                found[stack] = Alike(counts[number], shown)
        return found

    def same_stack(self, observation: Observation) -> Alike | None:
        """The servers, this one among them, that answered SYNs alike to TTL and signature; None where they are not
        several, or not most of all servers in the capture."""
        mine = self.of(observation) if self.alike else None
        return self.alike.get(mine) if mine is not None else None

    @cached_property
    def _shared(self) -> dict[int, dict[str, int]]:
        """Frame of a SYN-ACK to the servers whose clock it shares, each with its first frame there."""
        frames = {place: frame for frame, place in self.clock_frames.items()}
        found: dict[int, dict[str, int]] = {}
        for group in shared_clocks(self.clocks, CLOCK_HOSTS, CLOCK_SPAN_NS):
            servers = {self.clocks[one][0]: frames[one] for one in sorted(group, reverse=True)}
            for one in group:
                found.setdefault(frames[one], servers)
        return found

    def same_clock(self, observation: Observation) -> dict[str, int]:
        """The servers, this one among them, whose SYN-ACKs bear timestamps of one clock, with a frame each."""
        return self._shared.get(observation.syn_ack.frame, {}) if observation.syn_ack else {}
