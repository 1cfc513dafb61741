"""TTL ladders and traceroutes: what was sent with which TTL, and what each drew. No place is concluded here.

A ladder is the same question asked with rising TTL, in either published shape: one connection in which the same
ClientHello segment is sent again and again (Raman et al., IMC 2020), or one connection for each TTL (CenTrace,
OONI's tlsmiddlebox). A Time Exceeded is matched to the very probe: by 5-tuple and IP ID, else by what was sent last. Of
probes alike in all that is quoted it answers the one that nobody had answered yet; where their TTLs differ, it is
counted as unclear and names no hop.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from kzpcap.paths.icmp import UNREACHABLE, Echo, IcmpError, Label

MIN_TTLS = 3
MAX_TTL = 64
MAX_STEPS = 4_096
MAX_SWAPPED = 16
"""Frames by which an answer may come before what it answers, where a capture was recorded from several queues."""
MS = 1_000_000
ANSWERS_NS = 1_000_000_000
"""How long a router may take to answer a probe, at most; and five times as long as the connection's SYN-ACK took."""
LEAST_NS = 100_000_000
MAX_ALIKE = 64
"""Probes, alike in all that an error quotes, that are looked through for the one it answers."""
WAITS_NS = 5_000_000_000
"""How long probing programs wait for a router, as traceroute by default; what comes later is of something else."""
HOUR_NS = 3_600_000_000_000
"""In which the probes of one ladder follow each other, a control speaks for a target, and a ladder for connections."""
S = TypeVar("S")
K = TypeVar("K")


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
    round_trip_ns: int = 0
    """How long the connection's SYN-ACK took; 0 where that was not seen."""


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
    expired: set[int] = field(default_factory=set)
    """The connections whose probes drew one."""


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
    left_out: int = 0
    """Probes beyond those that are kept, of each TTL as many."""
    unclear: int = 0
    """Time Exceeded that fit probes of several TTLs."""
    spoke: dict[str, list[int]] = field(default_factory=dict)
    """When each router of the capture sent a Time Exceeded, whoever had asked."""
    _highest: dict[int, tuple[list[Sent], list[int]]] = field(default_factory=dict)

    def highest(self, index: int, frame: int, time_ns: int) -> int:
        """The highest TTL that was sent in a connection before a frame of some time; 0 where none was."""
        if not self._highest:
            for probe in self.sent:
                probes, ttls = self._highest.setdefault(probe.index, ([], []))
                probes.append(probe)
                ttls.append(max(probe.ttl, ttls[-1] if ttls else 0))
        probes, ttls = self._highest.get(index, ([], []))
        at = bisect_left(probes, frame, key=lambda probe: probe.frame)
        while at < len(probes) and sent_before(probes[at], frame, time_ns):
            at += 1
        return ttls[at - 1] if at else 0

    @property
    def times(self) -> tuple[int, int]:
        """When its first and its last probe were sent."""
        times = [probe.time_ns for probe in self.sent]
        return min(times, default=0), max(times, default=0)

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
    found = []
    for (client, server, dport, name), probes in _by_the_hour(groups):
        if len({probe.ttl for probe in probes}) < MIN_TTLS:
            continue
        per_connection: dict[int, set[int]] = {}
        for probe in probes:
            per_connection.setdefault(probe.index, set()).add(probe.ttl)
        one = any(len(ttls) >= MIN_TTLS for ttls in per_connection.values())
        series = Series(client, server, dport, name, "one_connection" if one else "connection_per_ttl")
        series.sent, series.left_out = _kept(probes)
        for probe in series.sent:
            step = series.steps.setdefault(probe.ttl, Step(probe.ttl))
            step.frames.append(probe.frame)
            if probe.index not in step.connections:
                step.connections.append(probe.index)
        found.append(series)
    _match(found, errors)
    return found


def _by_the_hour(groups: dict[K, list[Sent]]) -> Iterator[tuple[K, list[Sent]]]:
    """Each group's probes by frame, parted where one climbs anew and for over an hour none was sent.

    Ways change, and boxes are moved. A packet without a time parts nothing, nor a clock that is set within a climb.
    """
    for key, probes in groups.items():
        probes.sort(key=lambda probe: probe.frame)
        begin = 0
        for at in range(1, len(probes) + 1):
            if at == len(probes) or _anew(probes[at - 1], probes[at]):
                yield key, probes[begin:at]
                begin = at


def _anew(last: Sent, probe: Sent) -> bool:
    return probe.ttl <= last.ttl and last.time_ns > 0 and probe.time_ns - last.time_ns > HOUR_NS


def _kept(probes: list[Sent]) -> tuple[list[Sent], int]:
    """As many of each TTL as there is room for, so that no rung goes missing; and how many are left out."""
    if len(probes) <= MAX_STEPS:
        return probes, 0
    room = MAX_STEPS // len({probe.ttl for probe in probes})
    seen: Counter[int] = Counter()
    kept = []
    for probe in probes:
        seen[probe.ttl] += 1
        if seen[probe.ttl] <= room:
            kept.append(probe)
    return kept, len(probes) - len(kept)


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


class _Sendings(Generic[S]):
    """What was sent between two ports, in order of frames: found again by what an error quotes of it."""

    def __init__(self) -> None:
        self.frames: dict[object, list[int]] = {}
        self.items: dict[object, list[S]] = {}

    def add(self, key: object, frame: int, item: S) -> None:
        """Add one under a key; frames must not fall."""
        self.frames.setdefault(key, []).append(frame)
        self.items.setdefault(key, []).append(item)

    def before(self, key: object, frame: int) -> tuple[int, S] | None:
        """The last one under a key before a frame, and its frame."""
        at = bisect_left(self.frames.get(key, ()), frame)
        return (self.frames[key][at - 1], self.items[key][at - 1]) if at else None

    def some_before(self, key: object, frame: int, most: int) -> list[S]:
        """The last few under a key before a frame, the last one first."""
        at = bisect_left(self.frames.get(key, ()), frame)
        return self.items[key][max(0, at - most) : at][::-1] if at else []

    def after(self, key: object, frame: int) -> tuple[int, S] | None:
        """The first one behind it."""
        frames = self.frames.get(key, ())
        at = bisect_right(frames, frame)
        return (frames[at], self.items[key][at]) if at < len(frames) else None


Quotable = tuple[Series, Sent]
ALL = "all"


def _match(found: list[Series], errors: list[IcmpError]) -> None:
    """Give each Time Exceeded to the step whose probe it quotes."""
    sent = [(probe, series) for series in found for probe in series.sent]
    sent.sort(key=lambda one: one[0].frame)
    by_flow: dict[tuple[str, int, int], _Sendings[Quotable]] = {}
    for probe, series in sent:
        sendings = by_flow.setdefault((probe.server, probe.dport, probe.sport), _Sendings())
        for key in (ALL, ("id", probe.ip_id), ("seq", probe.seq)):
            sendings.add(key, probe.frame, (series, probe))
    spoke: dict[str, list[int]] = {}
    for error in errors:
        if error.of_a_hop:
            spoke.setdefault(error.outer_src, []).append(error.time_ns)
    for times in spoke.values():
        times.sort()
    for series in found:
        series.spoke = spoke
    settled: set[int] = set()
    for error in errors:
        if not error.of_a_hop or error.q_protocol != 6 or error.q_sport is None or error.q_dport is None:
            continue
        flow = by_flow.get((error.q_dst, error.q_dport, error.q_sport))
        quoted = _quoted(flow, error)
        if flow is not None and quoted is not None and _may_answer(error, quoted[1]):
            again = error.outer_src in quoted[0].steps[quoted[1].ttl].exceeded
            alike = [] if again else _alike(flow, quoted, error, settled)
            if len({probe.ttl for _, probe in alike}) > 1:
                quoted[0].unclear += 1
                continue
            series, probe = alike[0] if alike else quoted
            settled.add(probe.frame)
            step = series.steps[probe.ttl]
            step.expired.add(probe.index)
            step.hops.setdefault(error.outer_src, error.frame)
            answer = Exceeded(
                error.frame, error.ttl, error.time_ns - probe.time_ns, changed(probe, error), error.labels
            )
            step.exceeded.setdefault(error.outer_src, answer)


def _may_answer(error: IcmpError, probe: Sent) -> bool:
    """Did the error come soon enough after the probe, and does it quote no higher TTL than was sent?"""
    timed = error.time_ns > 0 and probe.time_ns > 0
    return (not timed or abs(error.time_ns - probe.time_ns) <= WAITS_NS) and error.q_ttl <= probe.ttl


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


def sent_before(probe: Sent, frame: int, time_ns: int) -> bool:
    """Was a probe sent before an answer? It is recorded before it; or, by a capture of several queues, just behind."""
    return probe.frame < frame or (probe.frame - frame <= MAX_SWAPPED and probe.time_ns < time_ns)


def _quoted(sendings: _Sendings[Quotable] | None, error: IcmpError) -> Quotable | None:
    """The probe that an error quotes: the IP ID names it, else it is the last one sent before.

    Captures of several queues may record an answer just before the question: then the IP ID must name it, and the
    question's time be later by less than a millisecond. A TCP quote with neither the IP ID nor the sequence number of
    any probe is of a segment that the client never sent: a box reset the server in the client's name, and that reset
    ran out of its TTL on the way.
    """
    if sendings is None:
        return None
    if error.q_id:
        same = sendings.before(("id", error.q_id), error.frame)
        if same is not None:
            return same[1]
        late = sendings.after(("id", error.q_id), error.frame)
        if late is not None and late[0] - error.frame <= MAX_SWAPPED and late[1][1].time_ns - error.time_ns < MS:
            return late[1]
    if error.q_seq is None:  # less than the eight bytes that RFC 792 demands
        last = sendings.before(ALL, error.frame)
        return last[1] if last is not None and last[1][1].ip_id == error.q_id else None
    candidates = [sendings.before(("seq", seq), error.frame) for seq in (error.q_seq, None)]
    known = [one for one in candidates if one is not None]
    return max(known, key=lambda one: one[0])[1] if known else None


def _alike(sendings: _Sendings[Quotable], quoted: Quotable, error: IcmpError, settled: set[int]) -> list[Quotable]:
    """The probes that an error may as well quote as the one it was matched to: none was answered, and none is old."""
    last = quoted[1]
    waits = min(ANSWERS_NS, max(LEAST_NS, 5 * last.round_trip_ns)) if last.round_trip_ns > 0 else ANSWERS_NS
    key = ("id", last.ip_id) if error.q_id == last.ip_id else ("seq", last.seq)
    return [
        one
        for one in sendings.some_before(key, error.frame, MAX_ALIKE)
        if one[1].seq == last.seq and one[1].frame not in settled and error.time_ns - one[1].time_ns <= waits
    ]


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
    sent: dict[tuple[str, int, tuple[int, int]], _Sendings[RouteProbe]] = {}
    for probe in sorted(probes, key=lambda one: one.frame):
        sendings = sent.setdefault((probe.destination, probe.protocol, probe.key), _Sendings())
        for key in (ALL, ("id", probe.ip_id)):
            sendings.add(key, probe.frame, probe)
    routes: dict[str, Route] = {}
    for error in errors:
        quoted = error.q_echo or (error.q_sport or 0, error.q_dport or 0)
        found = sent.get((error.q_dst, 1 if error.q_echo else error.q_protocol, quoted))
        if found is None:
            continue
        matching = found.before(("id", error.q_id), error.frame) if error.q_id else None
        matching = matching or found.before(ALL, error.frame)
        if matching is None:
            continue
        route = routes.setdefault(error.q_dst, Route(error.q_dst))
        ttl = matching[1].ttl
        if error.of_a_hop:
            route.hops.setdefault(ttl, {}).setdefault(error.outer_src, error.frame)
        elif error.kind == UNREACHABLE[error.version] and error.outer_src == error.q_dst:
            route.destination_ttl = min(ttl, route.destination_ttl or ttl)
    for reply in replies:
        asked = sent.get((reply.src, 1, reply.key)) if not reply.request and reply.src in routes else None
        answered = asked.before(ALL, reply.frame) if asked is not None else None
        if answered is not None:
            route = routes[reply.src]
            route.destination_ttl = min(answered[1].ttl, route.destination_ttl or answered[1].ttl)
    return routes
