"""Which edges of the network the connections of a case crossed, and whether they were intercepted there.

An edge is two routers that answered one after the other on the way of the probes of a ladder; it has a direction. A
connection crosses the edges of a ladder to the same server in the same capture. Only connections to listed names are
looked at, and only what meets all published conditions counts as clean (FACTS 1.3: a listed name, an origin with a
publicly trusted certificate, this direction); everything else is neutral, with its reason.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

SERVER, START = "(server)", "(capture point)"
TRUSTED_RULES = frozenset({"publicly-trusted", "trusted-by-supplied-anchor", "other-name"})
"""Rules by which the origin's chain was seen and was trusted on that day: for any name, as the box asks no more."""
EXACT = "exact"


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


def seconds(stamp: str) -> float:
    """A time of a report as seconds since 1970."""
    return datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()


@lru_cache(4096)
def network_of(address: str) -> str:
    """The network of a client: as cut in the report, or its IPv4 /16 or IPv6 /32."""
    if "/" in address:
        return address
    return str(ipaddress.ip_network((address, 32 if ":" in address else 16), strict=False))


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
    """The edges on which a ladder's box may be: the one that holds the step from k-1 to k, or all on one side of it."""
    k = ladder["interceptor_ttl"]
    begins = 0
    spans = []
    for ends, edge in edges:
        spans.append((begins, ends, edge))
        begins = ends
    if ladder["bound"] == EXACT:
        return tuple(edge for begins, ends, edge in spans if begins < k <= ends) or (spans[-1][2],)
    if ladder["bound"] == "at_or_before":
        return tuple(edge for begins, _, edge in spans if begins < k)
    return tuple(edge for _, ends, edge in spans if ends >= k) or (spans[-1][2],)


def crossings(capture: str, report: dict[str, Any]) -> Iterator[tuple[Crossing, Path | None]]:
    """Every connection to a listed name and every ladder with one, each with its way where the capture shows it."""
    ways: dict[str, tuple[Path, tuple[Edge, ...], dict[str, Any]]] = {}
    listed = {}
    probing: list[dict[str, Any]] = []
    for one in report["connections"]:
        if one["target"] and one["target"]["match"] == EXACT:
            listed[one["server_name"], one["server"]["address"]] = one["target"]["name"]
        if one["probe_ttl"] is not None:
            probing.append(one)
    for ladder in report["ladders"]:
        server = ladder["server"]["address"]
        name = listed.get((ladder["server_name"], server))
        network = network_of(ladder["client"])
        path = path_of(ladder, network)
        edges = edges_of(path, server)
        along = tuple(edge for _, edge in edges)
        if server not in ways or ladder["interceptor_ttl"] is not None:
            ways[server] = path, _where(ladder, edges) if ladder["interceptor_ttl"] is not None else along, ladder
        if name is None:
            continue
        probes = _probes(ladder, probing)
        if not probes:
            continue
        outcome, why = _ladder_outcome(ladder, probes)
        where = _where(ladder, edges) if outcome == "intercepted" else ()
        yield (
            Crossing(
                capture,
                probes[0]["frame"],
                seconds(probes[0]["time"]),
                network,
                name,
                server,
                outcome,
                why,
                along,
                where,
                ladder["bound"],
                ladder["effect"] if ladder["interceptor_ttl"] is not None else None,
                max(1, ladder["support"]["runs"]),
            ),
            path,
        )
    for one in report["connections"]:
        if one["probe_ttl"] is None and one["target"] and one["target"]["match"] == EXACT:
            outcome, why = _outcome(one)
            way = ways.get(one["server"]["address"])
            along, where = way[1:2] * 2 if way else ((), ())
            if way:
                along = tuple(edge for _, edge in edges_of(way[0], one["server"]["address"]))
            yield (
                Crossing(
                    capture,
                    one["frame"],
                    seconds(one["time"]),
                    network_of(one["client"]["address"]),
                    one["target"]["name"],
                    one["server"]["address"],
                    outcome,
                    why,
                    along,
                    where if outcome == "intercepted" else (),
                ),
                None,
            )


def _probes(ladder: dict[str, Any], probes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The connections of a ladder's target series, in order."""
    return [
        one
        for one in probes
        if one["server"] == ladder["server"]
        and one["server_name"] == ladder["server_name"]
        and one["client"]["address"] == ladder["client"]
    ]


def _ladder_outcome(ladder: dict[str, Any], probes: list[dict[str, Any]]) -> tuple[str, str]:
    if ladder["interceptor_ttl"] is not None:
        if ladder["effect"] == "certificate":
            return "intercepted", ""
        return "neutral", "a ladder with another effect than a forged certificate"
    outcomes = Counter(_outcome(one) for one in probes)
    if ("clean", "") in outcomes:
        return "clean", ""
    return outcomes.most_common(1)[0][0]


def _outcome(one: dict[str, Any]) -> tuple[str, str]:
    """(intercepted, clean or neutral, why neutral) of a connection to a listed name."""
    if one["state"] == "intercepted":
        return "intercepted", ""
    if one["rule_id"] in TRUSTED_RULES:
        if one["target"]["in_force"] is False:
            return "neutral", "the list was not in force on that day"
        return "clean", ""
    if one["certificate_absent"] is not None:
        return "neutral", "no certificate was seen"
    if one["state"] in ("suspected", "interfered"):
        return "neutral", f"{one['state']}: neither intercepted nor clean"
    return "neutral", "the origin's certificate was not publicly trusted"
