"""Who answered each SYN, connection by connection: signatures, distances and clocks, for comparison between them.

Signatures are compared only between answers to equal SYNs: a stack's answer depends on what it was offered.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from kzpcap.observations import Observation
from kzpcap.paths.stack import options, shared_clocks, signature

MAX_SERVERS = 100_000
MAX_ANSWERS = 64
MAX_CLOCKS = 4_096
CLOCK_HOSTS = 3
CLOCK_SPAN_NS = 1_000_000_000
CONTROLS = 2
"""To compare one answer with."""
MANY_SERVERS = 4
MOST = 2 / 3
WINDOW_NS = 600 * 1_000_000_000
Stack = tuple[tuple[str, ...], str, int]
"""The client's SYN options, the SYN-ACK's signature and its TTL."""


class Answer(NamedTuple):
    """How the SYN of one connection was answered, and how its ClientHello was; TTLs as captured."""

    frame: int
    name: str | None
    control: bool
    """With a name on no list, and it got through."""
    asked: tuple[str, ...]
    """The options of the client's SYN."""
    signature: str
    ttl: int
    hello_ttl: int | None
    time_ns: int
    client: str


@dataclass
class Responders:
    """The answers by server, bounded; frozen in use once the capture was surveyed."""

    answers: dict[tuple[str, int], list[Answer]] = field(default_factory=dict)
    clocks: list[tuple[str, int, int]] = field(default_factory=list)
    """Server, TSval and time in nanoseconds of its SYN-ACKs."""
    clock_frames: dict[int, int] = field(default_factory=dict)
    """Frame of a SYN-ACK to its place in `clocks`."""

    def add(self, observation: Observation, control: bool) -> None:
        """Take one connection over TCP whose SYN and SYN-ACK were captured."""
        syn, answered = observation.syn, observation.syn_ack
        if syn is None or answered is None or observation.transport != "tcp" or observation.tunnels:
            return
        sent = options(answered.options)
        found = self.answers.get(observation.server)
        if found is None:
            if len(self.answers) >= MAX_SERVERS:
                return
            found = self.answers[observation.server] = []
        if len(found) < MAX_ANSWERS:
            hello = observation.server_hello.ttl if observation.server_hello else None
            asked = options(syn.options).layout
            found.append(
                Answer(
                    answered.frame, observation.server_name, control, asked, signature(answered.window, sent),
                    answered.ttl, hello, observation.time_ns, observation.client[0],
                )
            )  # fmt: skip
        if sent.stamps is not None and answered.time_ns and len(self.clocks) < MAX_CLOCKS:
            self.clock_frames[answered.frame] = len(self.clocks)
            self.clocks.append((observation.server[0], sent.stamps[0], answered.time_ns))

    def of(self, observation: Observation) -> Answer | None:
        """The answer that a connection got."""
        frame = observation.syn_ack.frame if observation.syn_ack else 0
        return next((one for one in self.answers.get(observation.server, ()) if one.frame == frame), None)

    def controls(self, observation: Observation) -> list[Answer]:
        """What connections with other names, on no list, got from the same address and port: those of the same client
        within ten minutes, for ways change and clients move."""
        return [
            one
            for one in self.answers.get(observation.server, ())
            if one.control
            and one.name != observation.server_name
            and one.client == observation.client[0]
            and abs(one.time_ns - observation.time_ns) <= WINDOW_NS
        ]

    @cached_property
    def compared(self) -> frozenset[tuple[str, int]]:
        """The servers with answers to several controls, of whatever client and time."""
        return frozenset(
            server for server, answers in self.answers.items() if sum(one.control for one in answers) >= CONTROLS
        )

    @cached_property
    def alike(self) -> dict[Stack, dict[str, int]]:
        """Who answered equal SYNs alike, where it is most of all servers: the servers, and the first frame of each."""
        found: dict[Stack, dict[str, int]] = {}
        servers = {server for server, _ in self.answers}
        for (server, _), answers in self.answers.items():
            for one in answers:
                found.setdefault((one.asked, one.signature, one.ttl), {}).setdefault(server, one.frame)
        least = max(MANY_SERVERS, MOST * len(servers))
        return {stack: group for stack, group in found.items() if len(group) >= least}

    def same_stack(self, observation: Observation) -> dict[str, int]:
        """The servers, this one among them, that answered SYNs alike to TTL and signature; none where they are not
        several, or not most of all servers in the capture."""
        mine = self.of(observation) if self.alike else None
        return self.alike.get((mine.asked, mine.signature, mine.ttl), {}) if mine is not None else {}

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
