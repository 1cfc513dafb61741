"""OONI measurements of a report: TLS handshakes (df-006) and ladders as `tlsmiddlebox` (ts-037), a JSON object a line.

Made of the JSON document alone, and the certificates' DER. Nobody verified the certificates while the packets were
captured, so `no_tls_verify` is true; kzpcap's own verdict is in the tags. In the public profile only connections to
listed names are told, times are hours, addresses are "[scrubbed]" as OONI's own probe writes them, and of chains that
are not genuine only the issuers of known interceptors: with a forged leaf an operator could find the subscriber.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kzpcap.iana import CERTIFICATE_ALERTS, PROTOCOL, suite_name
from kzpcap.report.document import Document
from kzpcap.report.names import asked_for_it_alone, listed_name
from kzpcap.report.probing import standing_alone

QUIET: dict[str, Any] = {
    "certificates": [],
    "certificate_absent": None,
    "failed": None,
    "cipher_suite": None,
    "alpn_chosen": None,
    "tls_version": None,
    "alerts": [],
    "state": "undetermined",
    "rule_id": "probe-unanswered",
    "interceptor": None,
    "timing": {"syn_ack_ms": None, "server_hello_ms": None, "failed_ms": None},
}
"""What a probe that nobody answered tells."""
Der = Callable[[str], bytes | None]
SCRUBBED = "[scrubbed]"
MOST = 1000
"""Handshakes of one measurement."""
HOUR = 3600.0
EXTENSIONS = {"netevents": 0, "tcpconnect": 0, "tlshandshake": 0}
FAILURES = {
    "reset": "connection_reset",
    "closed": "eof_error",
    "plain": "ssl_failed_handshake",
    "alert": "ssl_failed_handshake",
    "silent": "generic_timeout_error",
}
"""How a connection ended without an answer in TLS -> the failure that a probe would have told (df-007)."""
BROKEN_OFF = {
    "reset-by-another-sender": FAILURES["reset"],
    "handshake-reset-by-another-sender": FAILURES["reset"],
    "client-reset-by-another-sender": FAILURES["reset"],
    "closed-by-another-sender": FAILURES["closed"],
    "plain-answer-by-another-sender": FAILURES["plain"],
    "alert-by-another-sender": FAILURES["alert"],
}
"""Rules of connections that were broken off -> the failure, whatever was answered before or came to a closed socket."""
REFUSALS = dict.fromkeys(CERTIFICATE_ALERTS, "ssl_invalid_certificate") | {48: "ssl_unknown_authority"}
"""The client's alert -> its failure."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What may be told: all, or the public profile; `known` are the digests of published interception CAs."""

    der: Der
    evidence: bool
    known: frozenset[str]

    def chain(self, connection: dict[str, Any]) -> list[str]:
        """The certificates of a connection that may be told.

        Others' issuers may be a company's, or a volunteer's own; who intercepts may send a leaf anywhere in a chain.
        """
        chain: list[str] = connection["certificates"]
        if self.evidence or (connection["state"] == "genuine" and asked_for_it_alone(connection)):
            return chain
        return []  # what stands first is read as the leaf, so no issuer alone

    def issuer(self, connection: dict[str, Any]) -> str | None:
        """The published interception CA in a chain that is not told."""
        return next((digest for digest in connection["certificates"] if digest in self.known), None)

    def name(self, connection: dict[str, Any]) -> str:
        """The name asked for; for others the listed one, though another may have been sent beside it."""
        return (connection["server_name"] if self.evidence else listed_name(connection)) or ""

    def protocol(self, connection: dict[str, Any]) -> str:
        """The protocol that the server chose; what it made up may be anything, and is for nobody else."""
        chosen: str = connection["alpn_chosen"] or ""
        return chosen if self.evidence or (chosen.isascii() and PROTOCOL.fullmatch(chosen.encode())) else ""


def measurements(
    document: Document, der: Der, evidence: bool, known_keys: frozenset[str] = frozenset()
) -> Iterator[dict[str, Any]]:
    """Measurements of all handshakes, MOST in each, and one for each ladder; none of a capture without TLS.

    `known_keys` are the SHA-256 of the public keys of published interception CAs, which may be told in any profile.
    """
    certificates = () if evidence else document.certificates()
    known = {digest for digest, one in certificates if one.get("spki_sha256") in known_keys and one.get("is_ca")}
    tell = Telling(der, evidence, frozenset(known))
    probes: dict[tuple[str, int], list[dict[str, Any]]] = {_server(ladder): [] for ladder in document["ladders"]}
    shown: list[dict[str, Any]] = []
    alone = standing_alone(document["ladders"])
    for one in document.connections():
        if one["time"] is None:
            continue  # there is no measurement without a time
        if not alone(one):
            if _server(one) in probes:
                probes[_server(one)].append(one)
        elif evidence or listed_name(one):
            shown.append(one)
            if len(shown) == MOST:
                yield _handshakes(document, shown, tell)
                shown = []
    if shown:
        yield _handshakes(document, shown, tell)
    for ladder in document["ladders"]:
        found = _ladder(document, ladder, [one for one in probes[_server(ladder)] if _of(one, ladder)], tell)
        if found is not None:
            yield found


def _handshakes(document: Document, shown: list[dict[str, Any]], tell: Telling) -> dict[str, Any]:
    """One measurement of handshakes."""
    start = seconds(shown[0]["time"])
    connects = (_connect(one, number, start, tell.evidence) for number, one in enumerate(shown, 1))
    return {
        **_head(document, shown, "kzpcap", "0.1.0", None, tell.evidence),
        "test_keys": {
            "network_events": [],
            "queries": [],
            "tcp_connect": [found for found in connects if found is not None],
            "tls_handshakes": [_handshake(one, number, start, tell) for number, one in enumerate(shown, 1)],
        },
    }


def _of(one: dict[str, Any], ladder: dict[str, Any]) -> bool:
    """Was a probe sent while a ladder was gone up, or within the hour, as its controls may be?"""
    if ladder["first_time"] is None or ladder["last_time"] is None:
        return True
    return seconds(ladder["first_time"]) - HOUR <= seconds(one["time"]) <= seconds(ladder["last_time"]) + HOUR


def _server(one: dict[str, Any]) -> tuple[str, int]:
    return one["server"]["address"], one["server"]["port"]


def seconds(stamp: str) -> float:
    """A time of the report as seconds since 1970."""
    text, _, rest = stamp.rstrip("Z").partition(".")
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
    return moment + (float(f"0.{rest}") if rest else 0.0)


def _head(
    document: Document, shown: list[dict[str, Any]], test: str, version: str, target: str | None, evidence: bool
) -> dict[str, Any]:
    """The keys that every measurement has, in OONI's order."""
    clients = Counter((one["client"].get("asn"), one["client"].get("network")) for one in shown)
    asn, network = clients.most_common(1)[0][0]
    country = next((one["client"].get("country") for one in shown if one["client"].get("asn") == asn), None)
    begins, ends = (seconds(one["time"]) for one in (shown[0], shown[-1]))
    start = datetime.fromtimestamp(begins, UTC).strftime("%Y-%m-%d %H:%M:%S" if evidence else "%Y-%m-%d %H:00:00")
    notes = {"passive": "true", "profile": "evidence" if evidence else "public", "clock": _clock(document)}
    if document["reference"]["laboratory"]:
        notes["laboratory"] = "true"
    if evidence and document["capture"].get("sha256"):
        notes["capture_sha256"] = document["capture"]["sha256"]
    return {
        "annotations": notes,
        "data_format_version": "0.2.0",
        "extensions": dict(EXTENSIONS),
        "input": target,
        "measurement_start_time": start,
        "options": [],
        "probe_asn": f"AS{asn or 0}",
        "probe_cc": country or "ZZ",
        "probe_ip": "127.0.0.1",
        "probe_network_name": network or "",
        "report_id": "",
        "resolver_asn": "AS0",
        "resolver_ip": "127.0.0.2",
        "resolver_network_name": "",
        "software_name": document["tool"]["name"],
        "software_version": document["tool"]["version"],
        "test_helpers": {},
        "test_name": test,
        "test_runtime": round(max(0.0, ends - begins), 6) if evidence else 0.0,
        "test_start_time": start,
        "test_version": version,
    }


def _clock(document: Document) -> str:
    return str(document["capture"]["clock"]["status"])


def _address(connection: dict[str, Any], evidence: bool) -> str:
    address, port = connection["server"]["address"], connection["server"]["port"]
    shown = (f"[{address}]" if ":" in address else address) if evidence else SCRUBBED
    return f"{shown}:{port}"


def _times(connection: dict[str, Any], start: float, evidence: bool, key: str) -> dict[str, float]:
    """`t0` and `t` in seconds since the measurement began; in the public profile only how long it took."""
    began = max(0.0, seconds(connection["time"]) - start) if evidence else 0.0
    took = connection["timing"][key]
    if key == "server_hello_ms" and took is None:
        took = connection["timing"].get("failed_ms")
    return {"t0": round(began, 6), "t": round(began + (took or 0.0) / 1000, 6)}


def _connect(connection: dict[str, Any], number: int, start: float, evidence: bool) -> dict[str, Any] | None:
    """A df-005 entry; None where SYN and SYN-ACK were not both captured: a ClientHello says that there were both."""
    if connection["transport"] != "tcp" or connection["syn"] is None or connection["syn_ack"] is None:
        return None
    return {
        "ip": connection["server"]["address"] if evidence else SCRUBBED,
        "port": connection["server"]["port"],
        "status": {"failure": None, "success": True},
        **_times(connection, start, evidence, "syn_ack_ms"),
        "tags": [],
        "transaction_id": number,
    }


def _handshake(connection: dict[str, Any], number: int, start: float, tell: Telling) -> dict[str, Any]:
    """A df-006 entry, its keys in the order of OONI's own probe."""
    tags = [f"kzpcap_state={connection['state']}", f"kzpcap_rule={connection['rule_id']}"]
    chain = tell.chain(connection)
    if len(chain) < len(connection["certificates"]):
        tags.append("kzpcap_certificates_left_out")
        if issuer := tell.issuer(connection):
            tags.append(f"kzpcap_issuer={issuer}")
    if connection["certificate_absent"]:
        tags.append(f"kzpcap_certificate_absent={connection['certificate_absent']}")
    suite = connection["cipher_suite"]
    return {
        "network": "tcp" if connection["transport"] == "tcp" else "udp",
        "address": _address(connection, tell.evidence),
        "cipher_suite": suite_name(int(suite, 16)) if suite else "",
        "failure": _failure(connection),
        "negotiated_protocol": tell.protocol(connection),
        "no_tls_verify": True,
        "peer_certificates": [
            {"data": base64.b64encode(found).decode(), "format": "base64"}
            for digest in chain
            if (found := tell.der(digest)) is not None
        ],
        "server_name": tell.name(connection),
        **_times(connection, start, tell.evidence, "server_hello_ms"),
        "tags": tags,
        "tls_version": (connection["tls_version"] or "").replace("TLS ", "TLSv").replace("TLSv1.0", "TLSv1"),
        "transaction_id": number,
    }


def _failure(connection: dict[str, Any]) -> str | None:
    """What the client's side would have told as its failure; None where the handshake went on, as far as is seen."""
    for alert in connection["alerts"]:
        if alert["from"] == "client" and alert["code"] in REFUSALS:
            return REFUSALS[alert["code"]]
    if connection["rule_id"] in BROKEN_OFF:
        return BROKEN_OFF[connection["rule_id"]]
    if connection["certificates"] or connection["tls_version"]:
        return None
    if connection["rule_id"] == "probe-unanswered":
        return FAILURES["silent"]
    if connection["failed"]:
        return FAILURES[connection["failed"]]
    if any(alert["from"] == "server" for alert in connection["alerts"]):
        return "ssl_failed_handshake"
    return f"unknown_failure: {connection['rule_id']}"


def _ladder(
    document: Document, ladder: dict[str, Any], own: list[dict[str, Any]], tell: Telling
) -> dict[str, Any] | None:
    """A `tlsmiddlebox` measurement of the probes of its server; None where the target is not told."""
    target = [one for one in own if one["server_name"] == ladder["server_name"]]
    if not any(tell.evidence or (listed_name(one) and asked_for_it_alone(one)) for one in target):
        return None
    start = seconds(own[0]["time"])
    traces: dict[str, dict[str, Any]] = {}
    for side, name in (("target", ladder["server_name"]), ("control", ladder["control_server_name"])):
        series = [one for one in own if one["server_name"] == name]
        shown = SCRUBBED if name and side == "control" and not tell.evidence else name or ""
        steps = [(step["ttl"], step[side]) for step in ladder["steps"] if step[side] is not None]
        traces[side] = {
            "server_name": shown,
            "iterations": [
                {"ttl": ttl, "handshake": _step(ttl, step, series or own, number, start, tell)}
                for number, (ttl, step) in enumerate(steps, 1)
            ],
        }
        for iteration in traces[side]["iterations"]:
            iteration["handshake"]["server_name"] = shown
    port, name = ladder["server"]["port"], ladder["server_name"] or ""
    address = _address(own[0], tell.evidence)
    return {
        **_head(document, own, "tlsmiddlebox", "0.1.0", f"tlshandshake://{name}:{port}", tell.evidence),
        "test_keys": {
            "queries": [],
            "tcp_connect": [found for one in own[:1] if (found := _connect(one, 1, start, tell.evidence)) is not None],
            "iterative_trace": [
                {"address": address, "control_trace": traces["control"], "target_trace": traces["target"]}
            ],
        },
    }


def _step(
    ttl: int,
    step: dict[str, Any],
    series: list[dict[str, Any]],
    number: int,
    start: float,
    tell: Telling,
) -> dict[str, Any]:
    """One iteration: what one TTL drew, as a handshake; an ICMP Time Exceeded is OONI's `host_unreachable`.

    A ladder in one connection has one answer for all its TTLs: the steps without it are told as unanswered.
    """
    answered = step["answer"] not in ("silence", "time_exceeded")
    own = [one for one in series if one["probe_ttl"] == ttl] or series
    probe = next((one for one in own if bool(one["tls_version"]) == answered), own[0])
    if not answered:
        probe = {**probe, **QUIET}
    found = _handshake(probe, number, start, tell)
    if step["time_exceeded"]:
        keys = list(found.items())
        found = dict([*keys[:4], ("so_error", "host_unreachable"), *keys[4:]])
    return found
