"""All connections of a capture in brief, for the connections around each: columns of numbers, some 80 bytes a row.

A text is kept as a key, its hash of 64 bits: keys are compared and never shown. What is shown is read back from the
observation itself. Keys differ from one run to the next, so nothing may depend on their order. Columns are filled from
generators: a list of a million numbers is 40 MB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from kzpcap.certificates.chains import ChainFacts
from kzpcap.certificates.names import carries
from kzpcap.observations import FAILURES, Observation, Reaction
from kzpcap.paths.hops import FRESH_TTLS
from kzpcap.spill import Spill
from kzpcap.surroundings.profiles import Profile, shape

BUCKETS = 256
PIECE = 65_536
LARGEST = (1 << 32) - 1
LATEST = (1 << 63) - 1

# What the flags of a row say.
ATTEMPT = 1 << 0
"""A ClientHello was sent, at full TTL and to the server itself."""
THROUGH = 1 << 1
"""Answered with a publicly trusted chain, or the handshake went on."""
TRUSTED = 1 << 2
LISTED = 1 << 3
FAILED = 1 << 4
"""Reset, or silence."""
NAMED = 1 << 5
QUIC = 1 << 6
ANSWERED = 1 << 7
PROFILED = 1 << 8
TLS13 = 1 << 9
REFUSED = 1 << 10
FELL = 1 << 11
CARRIED = 1 << 12
"""The trusted leaf carries the name that was asked for."""
TCP = 1 << 13
LOWERED = 1 << 14
"""The SYN-ACK's TTL had been lowered by routers."""
FRESH_GENUINE = 1 << 15
"""A genuine certificate came with a TTL that no router had lowered."""
LONG = 1 << 17
"""The ClientHello took more than one packet."""
SIGNED = 1 << 16
"""A ServerHello came: `issuers` says who signed for it."""


def key(text: str | None) -> int:
    """The key of a text; 0 for none."""
    return hash(text) if text is not None else 0


class Attempt(NamedTuple):
    """One connection in brief; texts by key."""

    time_ns: int
    frame: int
    client: int
    server: int
    name: int
    trusted: bool
    long: bool


class Groups:
    """Rows by a key, each group's in their order: 4 bytes a row, 12 a group. `keys` has the key of each row."""

    def __init__(self, rows: Sequence[int], keys: Sequence[int]) -> None:
        self.keys = array("q")
        self.starts = array("I")
        self.rows = array("I")
        for piece in _pieces(keys):
            if len(piece) > PIECE:
                self._add_few(piece, rows, keys)
                continue
            order = sorted(piece, key=keys.__getitem__)
            ordered = [keys[at] for at in order]
            begin = len(self.rows)
            starts = [at for at, (one, two) in enumerate(pairwise(ordered), 1) if one != two]
            if ordered:
                starts.insert(0, 0)
            self.rows.extend([rows[at] for at in order])
            self.starts.extend([begin + at for at in starts])
            self.keys.extend([ordered[at] for at in starts])
        self.starts.append(len(self.rows))

    def _add_few(self, piece: Sequence[int], rows: Sequence[int], keys: Sequence[int]) -> None:
        """Add a piece that is large because few keys have most of its rows: to sort it would take 100 bytes a row."""
        groups: dict[int, array[int]] = {}
        for at in piece:
            group = groups.get(keys[at])
            if group is None:
                group = groups[keys[at]] = array("I")
            group.append(rows[at])
        for one in sorted(groups):
            self.keys.append(one)
            self.starts.append(len(self.rows))
            self.rows.extend(groups.pop(one))

    def __contains__(self, wanted: int) -> bool:
        keys = self.keys
        place = bisect_left(keys, wanted)
        return place < len(keys) and keys[place] == wanted

    def find(self, wanted: int) -> int:
        """The place of a group; -1 where there is none."""
        keys = self.keys
        place = bisect_left(keys, wanted)
        return place if place < len(keys) and keys[place] == wanted else -1

    def span(self, wanted: int) -> tuple[int, int]:
        """Where a group's rows stand in `rows`."""
        place = self.find(wanted)
        return (self.starts[place], self.starts[place + 1]) if place >= 0 else (0, 0)

    def of(self, wanted: int, limit: int = LARGEST) -> array[int]:
        """The first rows of a group."""
        low, high = self.span(wanted)
        return self.rows[low : min(high, low + limit)]

    def firsts(self) -> array[int]:
        """The first row of each group, in order of rows."""
        return array("I", sorted(self.rows[start] for start in self.starts[:-1]))

    def __iter__(self) -> Iterator[array[int]]:
        """The rows of each group, the groups in no order that may matter."""
        for place in range(len(self.keys)):
            yield self.rows[self.starts[place] : self.starts[place + 1]]


def _pieces(keys: Sequence[int]) -> Iterable[Sequence[int]]:
    """The positions of keys in pieces to sort one after the other, each below the next: sorting takes memory itself."""
    if len(keys) <= PIECE:
        return [range(len(keys))]
    pieces = [array("I") for _ in range(BUCKETS)]
    for at, one in enumerate(keys):
        pieces[(one >> 56) + BUCKETS // 2].append(at)
    return pieces


class Briefs:
    """The columns; groups are made at the first question, once all rows are there."""

    def __init__(self, observations: Spill | None = None) -> None:
        self.observations = observations if observations is not None else Spill()
        self.numbers = array("I")
        self.times = array("q")
        self.clients = array("q")
        self.servers = array("q")
        self.ports = array("H")
        self.names = array("q")
        self.flags = array("I")
        self.stacks = array("I")
        """How the SYN was answered, by number (responders.py); 0 where it is not compared."""
        self.hello_ttls = array("h")
        """-1 where there was no ServerHello."""
        self.took = array("q")
        """Nanoseconds from SYN to SYN-ACK; -1 where they were not both seen."""
        self.answer_took = array("I")
        """Microseconds from ClientHello to ServerHello; the largest number where they were not both seen."""
        self.issuers = array("q")
        """Who signed, where that is a private issuer whose signature was verified; else 0."""
        self.ja3 = array("q")
        self.ja3s = array("q")
        self.flights = array("I")

    def add(self, observation: Observation, flags: int, stack: int, issuer: int) -> None:
        """Add a row."""
        hello = observation.server_hello
        self.numbers.append(observation.number)
        self.times.append(observation.time_ns)
        self.clients.append(hash(observation.client[0]))
        self.servers.append(hash(observation.server[0]))
        self.ports.append(observation.server[1])
        self.names.append(key(observation.server_name))
        self.stacks.append(stack)
        self.hello_ttls.append(hello.ttl if hello is not None else -1)
        took = -1 if observation.syn_ack_ns is None else observation.syn_ack_ns
        self.took.append(min(max(took, -1), LATEST))
        asked = observation.client_hello
        waited = (hello.time_ns - asked.time_ns) // 1_000 if hello is not None and asked is not None else LARGEST
        self.answer_took.append(waited if 0 <= waited <= LARGEST else LARGEST)
        self.issuers.append(issuer)
        self.flags.append(flags)
        self.ja3.append(key(observation.ja3))
        self.ja3s.append(key(observation.ja3s))
        self.flights.append(min(observation.flight, LARGEST))

    def __len__(self) -> int:
        return len(self.numbers)

    def observation(self, row: int) -> Observation:
        """The connection of a row."""
        return self.observations.get(self.numbers[row])

    def frame(self, row: int) -> int:
        """Its first frame."""
        return self.observations.first_frame(self.numbers[row])

    def attempt(self, row: int) -> Attempt:
        """The row as a record."""
        return Attempt(
            self.times[row],
            self.frame(row),
            self.clients[row],
            self.servers[row],
            self.names[row],
            bool(self.flags[row] & TRUSTED),
            bool(self.flags[row] & LONG),
        )

    def profile(self, row: int) -> Profile:
        """The profile of a connection, texts by key."""
        flags = self.flags[row]
        return Profile(
            self.frame(row),
            self.servers[row],
            self.ja3[row],
            self.ja3s[row],
            bool(flags & TLS13),
            self.flights[row],
            bool(flags & REFUSED),
            bool(flags & FELL),
            bool(flags & LISTED),
        )

    def having(self, wanted: int, without: int = 0) -> array[int]:
        """The rows with all of some flags and none of others."""
        mask = wanted | without
        return array("I", (row for row, flags in enumerate(self.flags) if flags & mask == wanted))

    def by_time(self, rows: array[int]) -> array[int]:
        """The rows by time; those of one time in their order."""
        times = self.times
        if all(times[one] <= times[two] for one, two in pairwise(rows)):
            return rows
        return array("I", sorted(rows, key=times.__getitem__))

    def between(self, groups: Groups, wanted: int, low: int, high: int) -> tuple[int, int]:
        """Where the rows of a group from one time to another stand; the group's rows are by time."""
        first, end = groups.span(wanted)
        at = bisect_left(groups.rows, low, first, end, key=self.times.__getitem__)
        return at, bisect_right(groups.rows, high, at, end, key=self.times.__getitem__)

    def grouped(self, rows: array[int], *columns: array[int]) -> Groups:
        """The rows by one column, or by several together."""
        if len(columns) == 1:
            return Groups(rows, array("q", (columns[0][row] for row in rows)))
        return Groups(rows, array("q", (hash(tuple([column[row] for column in columns])) for row in rows)))

    @cached_property
    def controls_by_server(self) -> Groups:
        """Attempts with names on no list that got through, by server, transport and time."""
        return self.grouped(self._controls(), self.servers, self.over_quic)

    @cached_property
    def controls_by_client(self) -> Groups:
        """The same by client."""
        return self.grouped(self._controls(), self.clients, self.over_quic)

    def _controls(self) -> array[int]:
        return self.by_time(self.having(ATTEMPT | THROUGH | NAMED, LISTED))

    @cached_property
    def failures(self) -> Groups:
        """Attempts with names that failed, by client, server, name and transport, and by time."""
        rows = self.by_time(self.having(ATTEMPT | NAMED | FAILED))
        return self.grouped(rows, self.clients, self.servers, self.names, self.over_quic)

    @cached_property
    def successes(self) -> Groups:
        """Attempts with names that got through, by client, name and transport, whichever server; and by time."""
        rows = self.by_time(self.having(ATTEMPT | NAMED | THROUGH))
        return self.grouped(rows, self.clients, self.names, self.over_quic)

    @cached_property
    def over_quic(self) -> array[int]:
        """Of each row: 1 for QUIC. What UDP comes to says nothing of TCP."""
        return array("b", (flags & QUIC != 0 for flags in self.flags))

    @cached_property
    def genuine(self) -> Groups:
        """Attempts with names that got a publicly trusted chain, by server and name."""
        return self.grouped(self.having(ATTEMPT | TRUSTED | NAMED), self.servers, self.names)

    @cached_property
    def examples(self) -> Groups:
        """The first of `genuine` for each name at each server, by server."""
        return self.grouped(self.genuine.firsts(), self.servers)

    @cached_property
    def carried(self) -> Groups:
        """Attempts that got a publicly trusted chain which carries their name, by name."""
        return self.grouped(self.having(ATTEMPT | TRUSTED | NAMED | CARRIED), self.names)

    @cached_property
    def quic(self) -> Groups:
        """QUIC connections with names, by client and name, and by time."""
        return self.grouped(self.by_time(self.having(ATTEMPT | QUIC | NAMED)), self.clients, self.names)

    @cached_property
    def quic_servers(self) -> Groups:
        """QUIC connections that were answered, by server."""
        return self.grouped(self.having(QUIC | ANSWERED), self.servers)

    @cached_property
    def profiles(self) -> Groups:
        """Those with a profile, by name."""
        return self.grouped(self.having(PROFILED), self.names)

    @cached_property
    def by_client(self) -> Groups:
        """Those over TCP, by client."""
        return self.grouped(self.having(TCP), self.clients)

    @cached_property
    def endpoints(self) -> Groups:
        """Those whose SYN-ACK is compared, by the server's address and port."""
        rows = array("I", (row for row, stack in enumerate(self.stacks) if stack))
        return self.grouped(rows, self.servers, self.ports)

    @cached_property
    def _shortest(self) -> tuple[array[int], array[int]]:
        """Each server with a SYN that was answered in some time, and the shortest of these times."""
        groups = self.grouped(array("I", (row for row, took in enumerate(self.took) if took > 0)), self.servers)
        return groups.keys, array("q", (min(self.took[row] for row in rows) for rows in groups))

    def shortest_syn(self, server: str) -> int | None:
        """The shortest time in which any SYN to this address was answered, in nanoseconds."""
        servers, shortest = self._shortest
        wanted = hash(server)
        place = bisect_left(servers, wanted)
        return shortest[place] if place < len(servers) and servers[place] == wanted else None


def endpoint(server: int, port: int) -> int:
    """The key of a server's address (by key) and port."""
    return hash((server, port))


def flags_of(observation: Observation, facts: ChainFacts | None) -> int:
    """What a row says of its connection."""
    syn, answer, hello, name = observation.syn, observation.syn_ack, observation.server_hello, observation.server_name
    trusted = facts is not None and facts.trusted
    found = LISTED if observation.target is not None else 0
    if observation.transport == "tcp":
        found |= TCP
    if syn is not None and answer is not None and answer.ttl not in FRESH_TTLS:
        found |= LOWERED
    if hello is not None:
        found |= SIGNED
        if trusted and hello.ttl in FRESH_TTLS:
            found |= FRESH_GENUINE
    if name:
        found |= NAMED
    seen = shape(observation)
    if seen is not None:
        found |= PROFILED
        found |= TLS13 if seen.tls13 else 0
        found |= REFUSED if seen.refused else 0
        found |= FELL if seen.fell else 0
    if not observation.hello_sent or observation.proxied or observation.probe_ttl is not None:
        return found
    found |= ATTEMPT
    if observation.long_hello:
        found |= LONG
    if observation.transport == "quic":
        found |= QUIC
    if observation.server_packets > 0:
        found |= ANSWERED
    if facts is not None and trusted:
        found |= TRUSTED | THROUGH
        if name and carries(facts.leaf, name):
            found |= CARRIED
    elif facts is not None:
        found |= THROUGH if facts.disputed else 0
    elif hello is not None and observation.reaction is Reaction.WENT_ON:
        found |= THROUGH
    if observation.failed in FAILURES:
        found |= FAILED
    return found
