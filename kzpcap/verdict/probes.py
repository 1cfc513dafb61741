"""From observations to judged ladders: which connections were probes, how each ended, and which routes are known."""

from __future__ import annotations

from kzpcap.capture.health import Notes
from kzpcap.capture.packet import Packet
from kzpcap.observations import Absent, Observation
from kzpcap.paths.icmp import Echo, IcmpError, address
from kzpcap.paths.ladders import RouteProbe, Sent, Series, find_routes, find_series
from kzpcap.surroundings import Surroundings
from kzpcap.verdict.judge import judge
from kzpcap.verdict.ladders import Ladder, judge_ladders
from kzpcap.verdict.outcomes import Outcome

MAX_PROBED = 100_000
MAX_ROUTE_TTL = 40


class Probes:
    """Collects, over all observations, those that can be part of a ladder or of a TCP traceroute."""

    def __init__(self) -> None:
        self.probed: set[int] = set()
        """Numbers of observations."""
        self.sent: list[Sent] = []
        self.routes: list[RouteProbe] = []
        self.targets: set[str | None] = set()
        self.nameless = 0
        """Connections with a lowered TTL of which it is not known what they asked for: they are of no ladder."""
        self.left_out = 0
        """Probes of ladders and of TCP traceroutes that were too many."""

    def collect(self, observation: Observation) -> None:
        """Take one connection, in any order."""
        if observation.transport != "tcp" or observation.tunnels or observation.proxied:
            return
        if observation.probe_ttl is None:
            return
        if not observation.name_known:
            self.nameless += 1
            return
        if len(self.sent) < MAX_PROBED:
            self._add(observation)
        else:
            self.left_out += len(observation.probes)

    def syn(self, packet: Packet | None) -> None:
        """A SYN that came no further and has a low TTL: a TCP traceroute's probe."""
        if packet is None or packet.ttl > MAX_ROUTE_TTL or packet.tunnels:
            return
        if len(self.routes) >= MAX_PROBED:
            self.left_out += 1
        else:
            key = (packet.sport, packet.dport)
            self.routes.append(RouteProbe(address(packet.dst), packet.ttl, packet.frame, packet.ip_id, key, 6))

    def _add(self, observation: Observation) -> None:
        self.probed.add(observation.number)
        if observation.target is not None and observation.target.exact:
            self.targets.add(observation.server_name)
        round_trip = observation.syn_ack_ns or 0
        full = observation.syn.ttl if observation.syn and len({p.ttl for p in observation.probes}) <= 2 else None
        for probe in observation.probes:
            if full is not None and probe.ttl >= full - 1:
                continue
            self.sent.append(
                Sent(
                    observation.number,
                    probe.ttl,
                    probe.frame,
                    probe.time_ns,
                    probe.ip_id,
                    observation.client[0],
                    observation.client[1],
                    observation.server[0],
                    observation.server[1],
                    observation.server_name,
                    probe.seq,
                    probe.tos,
                    probe.dont_fragment,
                    round_trip,
                )
            )


def ladders(
    probes: Probes,
    surroundings: Surroundings,
    errors: list[IcmpError],
    echoes: list[Echo],
    udp: list[RouteProbe],
    notes: Notes,
) -> tuple[Ladder, ...]:
    """The judged ladders of a capture; `notes` is told of probes that were too many."""
    series: list[Series] = find_series(sorted(probes.sent, key=lambda sent: (sent.frame, sent.index)), errors)
    left_out = probes.left_out + sum(entry.left_out for entry in series)
    if left_out:
        notes.add("limit", f"{left_out:,} probes of ladders or traceroutes, more than are kept: hops may be missing")
    if probes.nameless:
        one = probes.nameless == 1
        said = "a connection" if one else f"{probes.nameless:,} connections"
        notes.add(
            "names",
            f"{said} with a lowered TTL, and a name that is not whole here, {'is' if one else 'are'} of no ladder",
        )
    if not series:
        return ()
    asked = [RouteProbe(e.dst, e.ttl, e.frame, 0, e.key, 1) for e in echoes if e.request and e.ttl <= MAX_ROUTE_TTL]
    routes = find_routes([*udp, *asked, *probes.routes], errors, echoes)
    outcomes: dict[int, Outcome] = {}

    def outcome_of(index: int) -> Outcome | None:
        if index not in probes.probed:
            return None
        if index not in outcomes:
            outcomes[index] = _outcome(surroundings.observations.get(index), surroundings)
        return outcomes[index]

    return judge_ladders(series, outcome_of, probes.targets.__contains__, routes)


def _outcome(observation: Observation, surroundings: Surroundings) -> Outcome:
    verdict = judge(observation, surroundings)
    facts = surroundings.chain_facts(observation)
    frames = [seen.frame for seen in (observation.server_hello, observation.chain_seen) if seen]
    if not frames:
        after = observation.client_hello.frame if observation.client_hello else 0
        frames = [mark.frame for mark in observation.server_marks if mark.frame > after and mark.what != "syn_ack"]
    return Outcome(
        verdict.state,
        verdict.rule.id,
        facts is not None and facts.trusted,
        observation.version is not None,  # a HelloRetryRequest is somebody's answer too
        min(frames, default=None),
        observation.failed,
        next((mark.ttl for mark in observation.server_marks if frames and mark.frame == min(frames)), None),
        verdict.interceptor.identity if verdict.interceptor else "",
        surroundings.signer_of(observation),
        _when(observation, min(frames, default=None)),
        _round_trip(observation),
        observation.absent in (Absent.NOT_CAPTURED, Absent.TRUNCATED),
    )


def _when(observation: Observation, frame: int | None) -> int:
    """When a packet of the server's side came."""
    for seen in (observation.server_hello, observation.chain_seen, *observation.server_marks):
        if seen is not None and seen.frame == frame:
            return seen.time_ns
    return 0


def _round_trip(observation: Observation) -> int:
    """Nanoseconds from the SYN to the SYN-ACK; 0 where that is not known."""
    return max(0, observation.syn_ack_ns or 0)
