"""What the connections of a capture show of its clock: collected while it is read, judged once all chains are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.chains import ChainJudge
from kzpcap.certificates.possession import Possession
from kzpcap.certificates.staple import Staple
from kzpcap.certificates.transparency import PRECERTIFICATE, check, embedded
from kzpcap.clock import Bound, Clock, Point, Points, judge_clock
from kzpcap.observations import Observation
from kzpcap.reference.targets import day
from kzpcap.tls.seen import Seen

MAX_BOUNDS = 2_048
MAX_DETAILED = 64
"""Leaves whose SCTs are verified for the clock's sake."""
PLAUSIBLE = (day("2000-01-01"), day("2100-01-01"))
"""Bytes in the place of a ServerHello's time that say another year are no time."""


class Shown(NamedTuple):
    """What a connection that showed a chain says of the time."""

    chain: tuple[str, ...]
    time_ns: int
    chain_seen: Seen | None
    staple: Staple | None


@dataclass
class Anchors:
    """What the connections of a capture show of its clock: each chain's first use, and what servers say of the time."""

    first: dict[str, Shown] = field(default_factory=dict)
    """Leaf digest to the earliest time at which it was shown."""
    told: dict[str, tuple[str, Point]] = field(default_factory=dict)
    """Server to its leaf and what its first ServerHello says of the time."""

    def add(self, observation: Observation) -> None:
        """Take one connection."""
        if not observation.chain or not observation.time_ns:
            return
        leaf, server = observation.chain[0], observation.server[0]
        proved = observation.possession is Possession.PROVED
        if proved and observation.server_time is not None and len(self.told) < MAX_BOUNDS and server not in self.told:
            value = observation.server_time * 1_000_000_000
            point = Point("ServerHello", server, value, observation.time_ns, observation.first_frame)
            self.told[server] = (leaf, point)
        known = self.first.get(leaf)
        if known is None and len(self.first) >= MAX_BOUNDS:
            return
        if known is None or observation.time_ns < known.time_ns:
            self.first[leaf] = Shown(observation.chain, observation.time_ns, observation.chain_seen, observation.staple)

    def judge(self, chains: ChainJudge, certificates: Mapping[str, Certificate], points: Points) -> Clock:
        """What the certificates bound and the servers tell; an interceptor's certificates and word do not count.

        Only chains whose signatures lead to a root that was public at some time, or to a given one, are heard.
        """
        bounds: list[Bound] = []
        heard: set[str] = set()
        for shown in self.first.values():
            facts = chains.judge(tuple(certificates[name] for name in shown.chain), shown.time_ns)
            path = facts.public or facts.supplied
            if path is None or shown.chain_seen is None or len(path.certificates) < 2:
                continue
            heard.add(facts.leaf.sha256)
            seen = (shown.time_ns, shown.chain_seen.frame)
            name = facts.leaf.common_name or (facts.leaf.dns_names or ("?",))[0]
            bounds.append(Bound(f'the certificate of "{name}"', facts.leaf.not_before, *seen, stamped=False))
            if len(bounds) < MAX_DETAILED:
                issuer = path.certificates[1]
                found = check(embedded(facts.leaf), facts.leaf, issuer, PRECERTIFICATE, chains.reference.ct_logs)
                bounds += [
                    Bound(f'an SCT for "{name}" by {one.log}', one.timestamp.time_ns, *seen)
                    for one in found
                    if one.verified
                ]
            staple = shown.staple
            if staple is not None and staple.verified:
                bounds.append(Bound(f'an OCSP response for "{name}"', staple.produced, *seen, staple.next_update))
        for leaf, point in self.told.values():
            if leaf in heard and PLAUSIBLE[0] <= point.value < PLAUSIBLE[1]:
                points.add(point)
        return judge_clock(bounds, points)
