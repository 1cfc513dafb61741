"""Which edges of the network the connections of a case crossed, and whether they were intercepted there.

An edge is two routers that answered one after the other on the way of the probes of a ladder; it has a direction. A
connection crosses the edges of a ladder to the same server in the same capture. Only connections to listed names are
looked at, and only what meets all published conditions counts as clean (FACTS 1.3: a listed name, an origin with a
publicly trusted certificate, this direction); everything else is neutral, with its reason.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from kzpcap.paths.hops import FRESH_TTLS
from kzpcap.report.document import Document
from kzpcap.report.names import identity_of, replayable
from kzpcap.report.probing import standing_alone
from kzpcap.verdict.identity import is_known, is_product

SERVER, START = "(server)", "(capture point)"
TRUSTED_RULES = frozenset({"publicly-trusted", "trusted-by-supplied-anchor", "other-name"})
"""Rules by which the origin's chain was seen and was trusted on that day: for any name, as the box asks no more."""
EXACT = "exact"
NOT_KNOWN = "not known"
"""In place of the network of a client whose address says nothing of it."""
HOUR = 3600.0
"""Seconds before and after a ladder in which it tells the way of other connections."""
FIRST_TIME, LAST_TIME = 86_400.0, 7_258_118_400.0
"""2 January 1970 and the year 2200: what is outside has no time, or a made-up one."""


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """Two routers in the direction of the probes; `silent` routers between them did not answer."""

    before: str
    after: str
    silent: int = 0

    def __str__(self) -> str:
        between = f" ({self.silent} not seen)" if self.silent else ""
        return f"{self.before} > {self.after}{between}"


@dataclass(frozen=True, slots=True)
class Crossing:
    """A connection to a listed name, or a ladder with one: when, on which way, and what came of it."""

    capture: str
    frame: int
    time: float
    """Seconds since 1970, by the capture's clock."""
    network: str
    """The client's network: how vantage points are told apart, with the capture."""
    name: str
    server: str
    outcome: str
    """intercepted, clean, neutral."""
    why: str
    """Why a neutral one is neutral."""
    path: tuple[Edge, ...]
    """All edges that it crossed, as far as they were seen."""
    where: tuple[Edge, ...]
    """Of an intercepted one, the edges on which the box may be."""
    bound: str | None = None
    """Of a ladder that found a box: exact, at_or_beyond, at_or_before."""
    effect: str | None = None
    """Of a ladder that found one: certificate, reset, silence ..."""
    runs: int = 0
    """Of a ladder: how often it was gone up; 0 for a connection."""
    port: int = 0
    """The client's: by it the same connection is known in another capture."""
    published: bool = False
    """Is what was shown a published certificate, which anyone can replay?"""
    doubtful: bool = False
    """Was it suspected, or interfered with? That is neither clean nor a reason to call it so."""
    control_answered: bool = False
    """Of a ladder: did its control get a trusted chain? A router beyond the box makes an edge exact as well."""

    @property
    def same(self) -> tuple[object, ...]:
        """What the same connection, or ladder, has in another capture of it."""
        way = self.path if self.runs else ()
        return self.network, self.port, self.server, self.name, int(self.time), self.runs > 0, way


NOT_IN_FORCE = "the list was not in force on that day"
HTTPS = 443
BESIDE = "another name was sent beside it: a box may have gone by that"
ELSEWHERE = "not over TCP to port 443: of anything else it is not known what the system does"
SPLIT = "the name was whole in no packet: a box that looks at packets alone did not see it"
DOUBTFUL = frozenset({"suspected", "interfered"})
AT_SERVER = "recorded on the server's side: an interceptor before it is not seen there"


def settled(crossings: Sequence[Crossing]) -> list[Crossing]:
    """The crossings of a case, each name that was itself intercepted in it counting as listed then."""
    live = {one.name for one in crossings if one.outcome == "intercepted"}
    return [
        replace(one, outcome="clean", why="") if one.why == NOT_IN_FORCE and one.name in live else one
        for one in crossings
    ]


@dataclass(frozen=True, slots=True)
class Path:
    """The way of a ladder: (TTL, router or None) in order, and the AS of each router as the report tells it."""

    hops: tuple[tuple[int, str | None], ...]
    networks: tuple[tuple[str, str], ...]

    def as_far_as_seen(self) -> Path:
        """Without the silent hops at its end, and without what it says of routers that are not on it."""
        last = max((number for number, (_, router) in enumerate(self.hops, 1) if router), default=0)
        routers = {router for _, router in self.hops}
        return Path(self.hops[:last], tuple(entry for entry in self.networks if entry[0] in routers))


@dataclass(frozen=True, slots=True)
class _Way:
    """What a ladder says of other connections of its client to its server."""

    along: tuple[Edge, ...]
    where: tuple[Edge, ...]
    whose: tuple[str, tuple[str, ...]] | None
    """Whose certificate its target got; None where the ladder found none."""
    begins: float
    ends: float


def seconds(stamp: str | None) -> float:
    """A time of a report as seconds since 1970; 0 where the packets have none."""
    if stamp is None:
        return 0.0
    return datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()


@lru_cache(4096)
def network_of(address: str) -> str:
    """The network of a client: as cut in the report, or its IPv4 /16 or IPv6 /32.

    A private address says nothing of it, nor does one that stands for a client in a scrubbed capture: NOT_KNOWN.
    """
    first, cut, _ = address.partition("/")
    if not ipaddress.ip_address(first).is_global:
        return NOT_KNOWN
    return address if cut else str(ipaddress.ip_network((address, 32 if ":" in address else 16), strict=False))


def vantages(networks: Iterable[str]) -> int:
    """How many networks these are at least: who is in one that is not known may be in any of the others."""
    found = set(networks)
    return len(found - {NOT_KNOWN}) or len(found)


def scope(networks: Iterable[str]) -> str:
    """The same in words."""
    found = set(networks)
    if found == {NOT_KNOWN}:
        return "networks that are not known"
    number = vantages(found)
    told = "one network" if number == 1 else f"{number} networks"
    return f"{told} and others that are not known" if NOT_KNOWN in found else told


@lru_cache(65536)
def router_name(address: str, network: str) -> str:
    """A router's address; one that is not worldwide stands for another router in each client's network."""
    if "/" in address:  # it was cut: the client's own
        return f"{address} (the client's own)"
    return address if ipaddress.ip_address(address).is_global else f"{address} (in {network})"


def path_of(ladder: dict[str, Any], network: str) -> Path:
    """The routers of a ladder: the target's own answers, beyond the box the control's where both agree below it."""
    k = ladder["interceptor_ttl"]
    hops: list[tuple[int, str | None]] = []
    networks: dict[str, str] = {}
    agree = True
    for step in ladder["steps"]:
        target, control = (_routers(step[side]) for side in ("target", "control"))
        for entry in [*target.values(), *control.values()]:
            if entry.get("asn"):
                name = router_name(entry["address"], network)
                networks[name] = f"AS{entry['asn']} {entry.get('network') or ''}".strip()
        if k is None or step["ttl"] < k:
            agree &= not (target and control) or bool(set(target) & set(control))
        seen = set(target) if target and (k is None or step["ttl"] < k) else set(control) if agree else set()
        one = seen.pop() if len(seen) == 1 else None
        hops.append((step["ttl"], router_name(one, network) if one else None))
    return Path(tuple(hops), tuple(sorted(networks.items())))


def _routers(side: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    return {entry["address"]: entry for entry in side["time_exceeded"]} if side else {}


def edges_of(path: Path, server: str) -> list[tuple[int, Edge]]:
    """(TTL at which its far end answers, edge) along a path, from the capture point to the server."""
    found: list[tuple[int, Edge]] = []
    before, last = START, 0
    for ttl, address in path.hops:
        if address is not None and address != server:
            if address != before:
                found.append((ttl, Edge(before, address, ttl - last - 1)))
            before, last = address, ttl
    found.append((last + 1, Edge(before, f"{server} {SERVER}")))
    return found


def _where(ladder: dict[str, Any], edges: list[tuple[int, Edge]]) -> tuple[Edge, ...]:
    """The edges on which a ladder's box may be: the one that holds the step from k-1 to k, or all on one side of it.

    Of a box that copies the TTL of probes it is not known behind which hop it is; of any other, the last clean one.
    """
    k = ladder["interceptor_ttl"]
    clean = ladder["last_clean_hop"]
    least = clean["ttl"] if clean and ladder["inferred_hop"] is None else 0
    begins = 0
    spans = []
    for ends, edge in edges:
        spans.append((begins, ends, edge))
        begins = ends
    if ladder["bound"] == EXACT:
        return tuple(edge for begins, ends, edge in spans if begins < k <= ends) or (spans[-1][2],)
    if ladder["bound"] == "at_or_before":
        return tuple(edge for begins, ends, edge in spans if begins < k and ends > least)
    if ladder["bound"] is None:
        return tuple(edge for _, ends, edge in spans if ends > least) or (spans[-1][2],)
    return tuple(edge for _, ends, edge in spans if ends >= k) or (spans[-1][2],)


def crossings(capture: str, report: Document) -> Iterator[tuple[Crossing, Path | None]]:
    """Every connection to a listed name and every ladder with one, each with its way where the capture shows it."""
    where_seen = report["capture"]["vantage"]["where"]
    ways: dict[tuple[str, str], list[_Way]] = {}
    listed = {}
    wanted: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for ladder in report["ladders"]:
        wanted.setdefault(_series(ladder, ladder["client"]), []).append(ladder)
    probing: dict[int, list[dict[str, Any]]] = {}
    for one in report.connections():
        if one["target"] and one["target"]["match"] == EXACT:
            listed[one["server_name"], one["server"]["address"]] = one["target"]["name"]
        if one["probe_ttl"] is not None and (series := _series(one, one["client"]["address"])) in wanted:
            nearest = min(wanted[series], key=lambda ladder: _apart(ladder, seconds(one["time"])))
            probing.setdefault(id(nearest), []).append(one)
    for ladder in report["ladders"]:
        probes = probing.get(id(ladder))
        if probes is None:
            continue
        server = ladder["server"]["address"]
        network = network_of(ladder["client"])
        path = path_of(ladder, f"the network of {capture[:12]}" if network == NOT_KNOWN else network)
        edges = edges_of(path, server)
        along = tuple(edge for _, edge in edges)
        found = ladder["interceptor_ttl"] is not None
        hits = {_whose(one) for one in probes if one["state"] == "intercepted"} if found else set()
        where = _where(ladder, edges) if found and ladder["effect"] == "certificate" and len(hits) == 1 else ()
        times = [seconds(one["time"]) for one in probes]
        way = _Way(along, where, hits.pop() if where else None, min(times), max(times))
        ways.setdefault((ladder["client"], server), []).append(way)
        name = listed.get((ladder["server_name"], server))
        if name is None:
            continue
        outcome, why = _ladder_outcome(ladder, probes, where_seen)
        told = Crossing(
            capture,
            probes[0]["frame"],
            times[0],
            network_of(ladder["client"]),
            name,
            server,
            outcome,
            why,
            along,
            where if outcome == "intercepted" else (),
            ladder["bound"],
            ladder["effect"] if found else None,
            max(1, ladder["support"]["runs"]),
            probes[0]["client"]["port"],
            outcome == "intercepted" and all(replayable(one) for one in probes if one["state"] == "intercepted"),
            outcome == "neutral" and any(probe["state"] in DOUBTFUL for probe in probes),
            ladder["control_terminating_ttl"] is not None,
        )
        yield _timed(told), path
    alone = standing_alone(report["ladders"])
    for one in report.connections():
        if alone(one) and one["target"] and one["target"]["match"] == EXACT:
            server = one["server"]["address"]
            near = ways.get((one["client"]["address"], server), ())
            yield _timed(_connection(capture, one, near, where_seen)), None


def _connection(capture: str, one: dict[str, Any], ways: Sequence[_Way], where_seen: str) -> Crossing:
    """A connection on the way of the nearest ladder of its own client to its server, within an hour.

    The ladder's box is its own only where the same signer's certificate came: a product on the client's own computer
    intercepts on no edge of the network.
    """
    time = seconds(one["time"])
    outcome, why = _outcome(one, where_seen)
    near = [way for way in ways if way.begins - HOUR <= time <= way.ends + HOUR]
    way = min(near, key=lambda way: (abs(way.begins - time), way.along), default=None)
    where: tuple[Edge, ...] = ()
    if way is not None and outcome == "intercepted":
        boxes = {way.where for way in near if way.whose == _whose(one)}
        where = boxes.pop() if len(boxes) == 1 else ()
    return Crossing(
        capture,
        one["frame"],
        time,
        network_of(one["client"]["address"]),
        one["target"]["name"],
        one["server"]["address"],
        outcome,
        why,
        way.along if way is not None else (),
        where,
        port=one["client"]["port"],
        published=replayable(one),
        doubtful=one["state"] in DOUBTFUL,
    )


def _whose(one: dict[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Whose certificate a connection got: by a known key, else by the CAs that came with it."""
    identity = identity_of(one)
    return identity, () if is_known(identity) else tuple(one["certificates"][1:])


def _apart(ladder: dict[str, Any], time: float) -> float:
    """Seconds between a ladder's probes and a time."""
    return max(seconds(ladder["first_time"]) - time, time - seconds(ladder["last_time"]), 0.0)


def _timed(crossing: Crossing) -> Crossing:
    """A crossing whose time can be told; neutral where the packets have none, or one that no capture was made at."""
    if FIRST_TIME <= crossing.time <= LAST_TIME:
        return crossing
    return replace(crossing, outcome="neutral", why="its packets have no time", where=())


def _series(one: dict[str, Any], client: str) -> tuple[Any, ...]:
    """What a ladder, or one of its target's probes, has to tell it from others."""
    return one["server"]["address"], one["server"]["port"], one["server_name"], client


def _ladder_outcome(ladder: dict[str, Any], probes: list[dict[str, Any]], where_seen: str) -> tuple[str, str]:
    if ladder["interceptor_ttl"] is not None:
        if ladder["effect"] == "certificate":
            products = [
                one for one in probes if one["state"] == "intercepted" and _outcome(one, where_seen)[0] == "neutral"
            ]
            return _outcome(products[0], where_seen) if products else ("intercepted", "")
        return "neutral", "a ladder with another effect than a forged certificate"
    outcomes = Counter(_outcome(one, where_seen) for one in probes)
    if ("clean", "") in outcomes:
        return "clean", ""
    return outcomes.most_common(1)[0][0]


def _outcome(one: dict[str, Any], where_seen: str) -> tuple[str, str]:
    """(intercepted, clean or neutral, why neutral) of a connection to a listed name; `where_seen`: the vantage.

    On the server's side of a box every chain is the server's own, whatever came to the client: beside the server, and
    at a router unless it is the client's next.
    """
    if one["state"] == "intercepted":
        if is_product(identity_of(one)) or one["place"]["where"] == "volunteer_side":
            return "neutral", "intercepted by a product, or on the client's own side"
        return "intercepted", ""
    if one["rule_id"] in TRUSTED_RULES:
        beside_client = one["syn"] is not None and one["syn"]["ttl"] + 1 in FRESH_TTLS
        if where_seen == "server" or (where_seen == "router" and not beside_client):
            return "neutral", AT_SERVER
        if one.get("server_name_split"):
            return "neutral", SPLIT
        if one["other_server_names"]:
            return "neutral", BESIDE
        if one["transport"] != "tcp" or one["server"]["port"] != HTTPS:
            return "neutral", ELSEWHERE
        return ("neutral", NOT_IN_FORCE) if one["target"]["in_force"] is False else ("clean", "")
    if one["certificate_absent"] is not None:
        return "neutral", "no certificate was seen"
    if one["state"] in ("suspected", "interfered"):
        return "neutral", f"{one['state']}: neither intercepted nor clean"
    return "neutral", "the origin's certificate was not publicly trusted"
