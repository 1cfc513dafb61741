"""TTL ladders and traceroutes: what was sent with which TTL, and what each drew. No place is concluded here.

A ladder is the same question asked with rising TTL, in either published shape: one connection in which the same
ClientHello segment is sent again and again (Raman et al., IMC 2020), or one connection for each TTL (CenTrace,
OONI's tlsmiddlebox). A Time Exceeded is matched to the very probe: by 5-tuple and IP ID, else by what was sent last.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from kzpcap.paths.icmp import UNREACHABLE, Echo, IcmpError, Label

MIN_TTLS = 3
MAX_TTL = 64
MAX_STEPS = 4_096


@dataclass(frozen=True, slots=True)
class Sent:
    """One copy of a ClientHello: its TTL, its frame, and the connection (`index`) it was part of."""

    index: int
    ttl: int
    frame: int
    time_ns: int
    ip_id: int
    client: str
    sport: int
    server: str
    dport: int
    name: str | None
    seq: int | None = None
    tos: int | None = None
    dont_fragment: bool | None = None


class Exceeded(NamedTuple):
    """A router's Time Exceeded for a probe: its own TTL, how long after, and what its quote shows was changed."""

    frame: int
    ttl: int
    after_ns: int
    changed: tuple[str, ...]
    labels: tuple[Label, ...]


@dataclass(slots=True)
class Step:
    """All that was sent with one TTL: the frames, the connections, and the Time Exceeded it drew."""

    ttl: int
    frames: list[int] = field(default_factory=list)
    connections: list[int] = field(default_factory=list)
    hops: dict[str, int] = field(default_factory=dict)
    """Router to the first frame in which it answered."""
    exceeded: dict[str, Exceeded] = field(default_factory=dict)
    """Router to its first answer."""


@dataclass(slots=True)
class Series:
    """One name asked of one server with many TTLs."""

    client: str
    server: str
    dport: int
    name: str | None
    shape: str
    """connection_per_ttl or one_connection."""
    steps: dict[int, Step] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)

    def hops_at(self, ttl: int) -> tuple[str, ...]:
        """The routers whose Time Exceeded answered this TTL."""
        step = self.steps.get(ttl)
        return tuple(step.hops) if step else ()


@dataclass(slots=True)
class Route:
    """A traceroute to one destination: routers by TTL, and the destination's own hop where UDP or ICMP showed it."""

    destination: str
    hops: dict[int, dict[str, int]] = field(default_factory=dict)
    destination_ttl: int | None = None


def find_series(sent: Iterable[Sent], errors: list[IcmpError]) -> list[Series]:
    """The ladders among these probes: series with at least three different TTLs."""
    groups: dict[tuple[str, str, int, str | None], list[Sent]] = {}
    for probe in sent:
        if 0 < probe.ttl <= MAX_TTL:
            groups.setdefault((probe.client, probe.server, probe.dport, probe.name), []).append(probe)
    by_flow: dict[tuple[str, int, int], list[IcmpError]] = {}
    for error in errors:
        if error.time_exceeded and error.q_protocol == 6 and error.q_sport is not None and error.q_dport is not None:
            by_flow.setdefault((error.q_dst, error.q_dport, error.q_sport), []).append(error)
    found = []
    for (client, server, dport, name), probes in groups.items():
        if len({probe.ttl for probe in probes}) < MIN_TTLS:
            continue
        per_connection: dict[int, set[int]] = {}
        for probe in probes:
            per_connection.setdefault(probe.index, set()).add(probe.ttl)
        one = any(len(ttls) >= MIN_TTLS for ttls in per_connection.values())
        series = Series(client, server, dport, name, "one_connection" if one else "connection_per_ttl")
        series.sent = sorted(probes, key=lambda probe: probe.frame)[:MAX_STEPS]
        for probe in series.sent:
            step = series.steps.setdefault(probe.ttl, Step(probe.ttl))
            step.frames.append(probe.frame)
            if probe.index not in step.connections:
                step.connections.append(probe.index)
        _match(series, by_flow)
        found.append(series)
    return found


def runs(series: Series) -> list[list[Sent]]:
    """The times a series went up the ladder: in one connection each, else wherever the TTL falls again."""
    if series.shape == "one_connection":
        by_connection: dict[int, list[Sent]] = {}
        for probe in series.sent:
            by_connection.setdefault(probe.index, []).append(probe)
        return list(by_connection.values())
    found: list[list[Sent]] = []
    for probe in series.sent:
        if not found or probe.ttl < found[-1][-1].ttl:
            found.append([])
        found[-1].append(probe)
    return [run for run in found if len({probe.ttl for probe in run}) >= MIN_TTLS]


def _match(series: Series, by_flow: dict[tuple[str, int, int], list[IcmpError]]) -> None:
    """Give each Time Exceeded to the step whose probe it quotes."""
    by_port: dict[int, list[Sent]] = {}
    for probe in series.sent:
        by_port.setdefault(probe.sport, []).append(probe)
    for sport, probes in by_port.items():
        for error in by_flow.get((series.server, series.dport, sport), ()):
            quoted = _quoted(probes, error)
            if quoted is not None:
                step = series.steps[quoted.ttl]
                step.hops.setdefault(error.outer_src, error.frame)
                after = error.time_ns - quoted.time_ns
                answer = Exceeded(error.frame, error.ttl, after, changed(quoted, error), error.labels)
                step.exceeded.setdefault(error.outer_src, answer)


def changed(probe: Sent, error: IcmpError) -> tuple[str, ...]:
    """What the quoted packet differs in from what was sent (RFC 792: as it arrived at that router)."""
    found = []
    if probe.tos is not None and error.q_tos != probe.tos:
        found.append(f"TOS 0x{probe.tos:02x} became 0x{error.q_tos:02x}")
    if probe.dont_fragment is not None and error.q_df is not None and error.q_df != probe.dont_fragment:
        found.append("DF was set" if error.q_df else "DF was cleared")
    if error.version == 4 and error.q_id != probe.ip_id:
        found.append(f"IP ID {probe.ip_id} became {error.q_id}")
    if probe.seq is not None and error.q_seq is not None and error.q_seq != probe.seq:
        found.append("another TCP sequence number")
    if error.q_ttl > 1:
        found.append(f"TTL {error.q_ttl} was left")
    return tuple(found)


def _quoted(probes: list[Sent], error: IcmpError) -> Sent | None:
    """The probe that an error quotes: the IP ID names it, else it is the last one sent before.

    A TCP quote with neither the IP ID nor the sequence number of any probe is of a segment that the client never sent:
    a box reset the server in the client's name, and that reset ran out of its TTL on the way.
    """
    before = [probe for probe in probes if probe.frame < error.frame]
    if error.q_id:
        same = [probe for probe in before if probe.ip_id == error.q_id]
        if same:
            return same[-1]
    if error.q_seq is not None:
        before = [probe for probe in before if probe.seq is None or probe.seq == error.q_seq]
    return before[-1] if before else None


class RouteProbe(NamedTuple):
    """A traceroute's probe: `key` is what its quote repeats."""

    destination: str
    ttl: int
    frame: int
    ip_id: int
    key: tuple[int, int]
    """Ports, or identifier and sequence number of an echo request."""
    protocol: int
    """6, 17, or 1 for ICMP of either version."""


def find_routes(probes: list[RouteProbe], errors: list[IcmpError], replies: list[Echo]) -> dict[str, Route]:
    """Traceroutes by destination, from the probes and the errors that quote them."""
    sent: dict[tuple[str, int, tuple[int, int]], list[RouteProbe]] = {}
    for probe in probes:
        sent.setdefault((probe.destination, probe.protocol, probe.key), []).append(probe)
    routes: dict[str, Route] = {}
    for error in errors:
        key = error.q_echo or (error.q_sport or 0, error.q_dport or 0)
        protocol = 1 if error.q_echo else error.q_protocol
        matching = [p for p in sent.get((error.q_dst, protocol, key), ()) if p.frame < error.frame]
        if error.q_id:
            matching = [p for p in matching if p.ip_id == error.q_id] or matching
        if not matching:
            continue
        route = routes.setdefault(error.q_dst, Route(error.q_dst))
        ttl = matching[-1].ttl
        if error.time_exceeded:
            route.hops.setdefault(ttl, {}).setdefault(error.outer_src, error.frame)
        elif error.kind == UNREACHABLE[error.version] and error.outer_src == error.q_dst:
            route.destination_ttl = min(ttl, route.destination_ttl or ttl)
    for reply in replies:
        if reply.request:
            continue
        answered = [p.ttl for p in sent.get((reply.src, 1, reply.key), ()) if p.frame < reply.frame]
        if answered and reply.src in routes:
            route = routes[reply.src]
            route.destination_ttl = min(answered[-1], route.destination_ttl or answered[-1])
    return routes
