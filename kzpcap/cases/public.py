"""The public profile of a case: what may leave the house, and a list of what was left out.

A forged leaf's digest or serial, or a server with the exact time, lets an operator find the subscriber in its logs. So
times are hours, servers are networks, leaf keys are told only if they were seen from three networks, names on no list
are not told, and routers are told by address only where the ladders of three networks name their edge.
"""

from __future__ import annotations

import copy
import ipaddress
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from kzpcap import reference
from kzpcap.cases.crossings import SERVER, START, network_of
from kzpcap.verdict.identity import is_known

TOLD = "The public profile: hours, networks, listed names; what was left out is counted at the end."
SHIPPED = re.compile(r"iptoasn \d{4}-\d\d-\d\d")
"""The name of the table of AS numbers that comes with kzpcap; any other may be a file's."""
ENOUGH = 3
"""Networks from which something must have been seen."""
AS_NETWORKS = "addresses of routers and servers, told as networks"
"""Whose issuer names are told: the others' may be a company's, or a volunteer's own."""


def published_keys() -> frozenset[str]:
    """SHA-256 of the public keys of published interception CAs: they lead to nobody."""
    return frozenset(ca.certificate.spki_sha256 for ca in reference.load().interception_cas)


def public(document: dict[str, Any], known_keys: frozenset[str]) -> tuple[dict[str, Any], dict[str, int]]:
    """The case's document for others, and what was left out of it, counted by kind.

    `known_keys` are the SHA-256 of the public keys of published interception CAs.
    """
    out = copy.deepcopy(document)
    left = Counter[str]()
    listed = set(out["targets"])
    captures, across = out["captures"], out["across"]
    shipped = [source for source in across["as_sources"] if SHIPPED.fullmatch(source)]
    if len(shipped) < len(across["as_sources"]):
        left["names of AS tables that were given"] += len(across["as_sources"]) - len(shipped)
        across["as_sources"] = [*shipped, "a table that was given"]
    if captures["failed"]:
        left["file names of captures that failed"] += len(captures["failed"])
    captures["failed"] = len(captures["failed"])
    captures["first"], captures["last"] = _down(captures["first"]), _up(captures["last"])
    _times(across["timeline"], left)
    _routers(across, widely_known(across), left)
    _keys(across, listed, known_keys, left)
    _servers(across, left)
    contradictions = across["explanations"]["contradictions"]
    if contradictions:
        left["contradictions of the explanations, with routers"] += len(contradictions)
        across["explanations"]["contradictions"] = []
    _references(out, left)
    if across["disagreements"]:
        left["ladders that disagree, with network and server"] += len(across["disagreements"])
        across["disagreements"] = []
    for one in across["interceptors"]:
        if not is_known(one["identity"]):
            one["issuer"] = "(not told)"
            left["issuer names of products and of unknown signers"] += 1
    forged: dict[tuple[str, str], dict[str, Any]] = {}
    for one in across["forged_minus_genuine"]:
        left["serial numbers of forged certificates, as differences"] += bool(one["serial"])
        name = one["server_name"] if one["server_name"] in listed else "(a name on no list)"
        row = forged.setdefault(
            (name, one["dates"]), {"server_name": name, "dates": one["dates"], "serial": "", "seen": []}
        )
        row["seen"] += one["seen"]
    across["forged_minus_genuine"] = list(forged.values())
    return out, dict(sorted((what, count) for what, count in left.items() if count))


def _times(when: dict[str, Any], left: Counter[str]) -> None:
    for one in when["periods"]:
        ends = ("last", "last_intercepted_before") if one["is"] == "on" else ("first", "first_intercepted_after")
        for key in ("first", "last", "last_intercepted_before", "first_intercepted_after"):
            if one[key]:
                one[key] = _up(one[key]) if key in (*ends, "first_intercepted_after") else _down(one[key])
                left["minutes and seconds of times"] += 1
        hours = -(-one["longest_silence_seconds"] // 3600)
        one["longest_silence_seconds"] = hours * 3600
    for gap in when["gaps"]:
        gap["from"], gap["to"] = _down(gap["from"]), _up(gap["to"])


def _moment(stamp: str) -> datetime:
    return datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)


def _down(stamp: str | None) -> str | None:
    """The hour that a time is in."""
    return stamp and stamp[:13] + ":00:00Z"


def _up(stamp: str | None) -> str | None:
    """The next full hour."""
    if not stamp:
        return stamp
    moment = _moment(stamp)
    whole = moment.replace(minute=0, second=0)
    return (whole if whole == moment else whole + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def widely_known(across: dict[str, Any]) -> set[str]:
    """The routers whose addresses may be told: the ladders of three networks name an edge of theirs."""
    return {
        row[end]
        for row in across["edges"]
        if row["vantage_networks_exact"] >= ENOUGH
        for end in ("before", "after")
        if not row[end].endswith(SERVER)
    }


def node(name: str, known: set[str]) -> str:
    """A router or server of an edge for others: its address only where it is known widely enough, else its network."""
    if name in known or name == START:
        return name
    address, _, rest = name.partition(" ")
    try:
        kind = f" {SERVER}" if rest == SERVER else " (private)" if not ipaddress.ip_address(address).is_global else ""
        return f"{network_of(address)}{kind}" if kind != " (private)" else "a private address"
    except ValueError:  # a network already: the client's own
        return name


def _routers(across: dict[str, Any], known: set[str], left: Counter[str]) -> None:
    def cut(edge: dict[str, Any]) -> None:
        for end in ("before", "after"):
            shown = node(edge[end], known)
            left[AS_NETWORKS] += shown != edge[end]
            edge[end] = shown

    for row in across["edges"]:
        cut(row)
    for path in across["paths"]:
        for edge in path["edges"]:
            cut(edge)
        for hop in path["hops"]:
            if hop["address"]:
                hop["address"] = node(hop["address"], known)
    for one in across["explanations"]["explanations"]:
        for group in one["groups"]:
            for edge in group["edges"]:
                cut(edge)
    mostly = across["mostly"]
    if mostly and not {*mostly["before"], *mostly["after"]} <= known:
        across["mostly"] = None
        left["the sentence of the commonest edge: too few networks saw it"] += 1


def _references(document: dict[str, Any], left: Counter[str]) -> None:
    """Drop what names a capture: whoever finds the file with a volunteer knows that it was sent."""
    across = document["across"]
    lists = [across["examples"], *across["paths"], *across["edges"], *across["forged_minus_genuine"]]
    for one in lists:
        for key, value in one.items():
            if isinstance(value, list) and value and isinstance(value[0], dict) and "capture" in value[0]:
                left["references to captures and frames"] += len(value)
                one[key] = []


def _keys(across: dict[str, Any], listed: set[str], known_keys: frozenset[str], left: Counter[str]) -> None:
    issuers = []
    for key in across["issuer_keys"]:
        if key["spki_sha256"] not in known_keys and key["vantage_networks"] < ENOUGH:
            left["issuer keys that are not published, seen from fewer than three networks"] += 1
            continue
        issuers.append(key)
        more = [name for name in key["server_names"] if name not in listed]
        left["names on no list"] += len(more)
        key["server_names"] = [name for name in key["server_names"] if name in listed]
        key["certificates"] = []
        if not all(is_known(identity) for identity in key["identities"]):
            key["subjects"] = ["(not told)"]
            left["issuer names of products and of unknown signers"] += 1
        for end in ("first", "last"):
            key[end] = key[end][:10]
    across["issuer_keys"] = issuers
    kept = [key for key in across["leaf_keys_seen_again"] if key["vantage_networks"] >= ENOUGH]
    left["keys of end entities seen from fewer than three networks"] += len(across["leaf_keys_seen_again"]) - len(kept)
    for key in kept:
        key["certificates"] = []
        for end in ("first", "last"):
            key[end] = key[end][:10]
        key["server_names"] = [name for name in key["server_names"] if name in listed]
    across["leaf_keys_seen_again"] = kept
    across["leaf_keys"] = None


def _servers(across: dict[str, Any], left: Counter[str]) -> None:
    servers: dict[tuple[str, str, bool], Counter[str]] = {}
    for one in across["servers"]:
        name = one["server_name"] if one["listed"] else "(names on no list)"
        left["names on no list"] += not one["listed"]
        servers.setdefault((network_of(one["server"]), name, one["listed"]), Counter()).update(one["states"])
    across["servers"] = [
        {"server": server, "server_name": name, "listed": is_listed, "states": dict(sorted(states.items()))}
        for (server, name, is_listed), states in sorted(servers.items())
    ]
    triggers: dict[tuple[str, str, str], Counter[str]] = {}
    for one in across["triggers"]:
        counts = Counter({what: one[what] for what in ("intercepted", "clean", "neutral") if what in one})
        triggers.setdefault((one["server_name"], network_of(one["server"]), one["hour"]), Counter()).update(counts)
    across["triggers"] = [
        {"server_name": name, "server": server, "hour": hour, **dict(sorted(counts.items()))}
        for (name, server, hour), counts in sorted(triggers.items())
    ]
