# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=True
"""The shape of a report: plain dictionaries, as the published schema (schema.json) describes them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kzpcap.certificates.certificate import Certificate
from kzpcap.iana import version_name
from kzpcap.observations import Mark, Observation
from kzpcap.paths.hops import KM_PER_MS, candidates
from kzpcap.paths.stack import options
from kzpcap.report.text import decode, rfc3339
from kzpcap.tls.seen import Seen
from kzpcap.verdict.judge import Verdict
from kzpcap.verdict.logic import Finding

SCHEMA = "https://kzpcap.example/schema/report-1.json"
MAX_TREE = 64


def connection(
    observation: Observation, verdict: Verdict, resumes_frame: int | None = None, shortest_syn_ns: int | None = None
) -> dict[str, Any]:
    """One connection of the report; `resumes_frame` is the Certificate's of the handshake whose session it resumes,
    `shortest_syn_ns` the shortest time that any SYN of the capture to this address was answered in."""
    target = observation.target
    return {
        "frame": observation.first_frame,
        "time": rfc3339(observation.time_ns) if observation.time_ns else None,
        "client_hello_time": _time(observation.client_hello),
        "transport": observation.transport,
        "client": {"address": observation.client[0], "port": observation.client[1]},
        "server": {"address": observation.server[0], "port": observation.server[1]},
        "server_name": decode(observation.server_name_raw) if observation.server_name_raw is not None else None,
        "server_name_status": observation.name_status,
        "other_server_names": list(observation.other_names),
        "server_name_split": observation.name_split,
        "target": None
        if target is None
        else {
            "name": target.name,
            "list": target.list_id,
            "match": "exact" if target.exact else "subdomain",
            "in_force": target.in_force,
        },
        "state": verdict.state.value,
        "rule_id": verdict.rule.id,
        "says": verdict.rule.says,
        "interceptor": None
        if verdict.interceptor is None
        else {"identity": verdict.interceptor.identity, "basis": verdict.interceptor.basis},
        "place": {"where": verdict.place.where, "bound": verdict.place.bound, "basis": verdict.place.basis},
        "evidence": finding(verdict.evidence),
        "remarks": [finding(remark) for remark in verdict.remarks],
        "also": list(verdict.also),
        "unsettled": list(verdict.unsettled),
        "tls_version": version_name(observation.version) if observation.version is not None else None,
        "cipher_suite": f"0x{observation.cipher:04x}" if observation.cipher is not None else None,
        "alpn_offered": [decode(name) for name in observation.alpn_offered] if observation.alpn_offered else None,
        "alpn_chosen": decode(observation.alpn_chosen) if observation.alpn_chosen else None,
        "ja3": observation.ja3,
        "ja3s": observation.ja3s,
        "ja4": observation.ja4,
        "ech_offered": observation.ech_offered,
        "ech_inner_name_unknown": observation.ech_inner_unknown,
        "quic": quic(observation),
        "certificates": list(observation.chain),
        "certificates_frame": observation.chain_seen.frame if observation.chain_seen else None,
        "certificate_absent": observation.absent.value if observation.absent else None,
        "certificate_problem": observation.chain_problem,
        "client_certificates": list(observation.client_chain),
        "finished_verified": observation.finished_ok,
        "possession": observation.possession.value if observation.possession else None,
        "resumed": observation.resumed,
        "resumes_frame": resumes_frame,
        "failed": observation.failed,
        "client_reaction": observation.reaction.value,
        "alerts": [
            {"from": "client" if alert.from_client else "server", "code": alert.code, "frame": alert.seen.frame}
            for alert in observation.alerts
        ],
        "history": observation.history,
        "upgrade": observation.upgrade,
        "requested_name": decode(observation.requested_name) if observation.requested_name else None,
        "probe_ttl": observation.probe_ttl,
        "hop_counts": hop_counts(observation),
        "syn": stack(observation.syn),
        "syn_ack": stack(observation.syn_ack),
        "timing": timing(observation, shortest_syn_ns),
        "conflicts": [list(pair) for pair in observation.conflicts],
        "conflicting_certificates": list(observation.other_chain),
        "duplicates": observation.duplicates,
        "given_up": observation.given_up,
    }


def _time(seen: Seen | None) -> str | None:
    """When something was seen; None where it was not, or its packet has no time."""
    return rfc3339(seen.time_ns) if seen is not None and seen.time_ns else None


def quic(observation: Observation) -> dict[str, Any] | None:
    """The version of a QUIC connection, and what the server's side sent before the handshake; None for others."""
    turns = observation.quic
    if turns is None:
        return None
    return {
        "version": f"0x{turns.version:08x}",
        "retry_frame": turns.retry_frame,
        "version_negotiation_frame": turns.negotiation_frame,
        "versions_offered": [f"0x{version:08x}" for version in turns.offered],
    }


def hop_counts(observation: Observation) -> list[dict[str, Any]]:
    """Hops from the capture point to whoever sent each message: inferred from TTL, on the return path.

    Withheld for proxied and tunnelled connections, where a TTL says nothing about the server.
    """
    if observation.proxied or observation.tunnels:
        return []
    marks: dict[str, Mark] = {}
    for mark in observation.server_marks:
        marks.setdefault(mark.what, mark)
    return [
        {
            "message": mark.what,
            "frame": mark.frame,
            "ttl": mark.ttl,
            "candidates": _candidates(mark.ttl),
            "method": "INFERRED",
            "path": "return",
        }
        for mark in marks.values()
    ]


@lru_cache(maxsize=256)
def _candidates(ttl: int) -> list[dict[str, int]]:
    return [{"initial_ttl": initial, "hops": hops} for initial, hops in candidates(ttl)]


def stack(mark: Mark | None) -> dict[str, Any] | None:
    """IP and TCP marks of a SYN or SYN-ACK, as plain values; None where it was not captured."""
    if mark is None:
        return None
    sent = options(mark.options)
    return {
        "frame": mark.frame,
        "ttl": mark.ttl,
        "ip_id": mark.ip_id,
        "dont_fragment": mark.dont_fragment,
        "window": mark.window,
        "options": list(sent.layout),
        "mss": sent.mss,
        "window_scale": sent.scale,
        "timestamp": sent.stamps[0] if sent.stamps else None,
    }


def timing(observation: Observation, shortest_syn_ns: int | None) -> dict[str, Any]:
    """Milliseconds from SYN to SYN-ACK, and from ClientHello to ServerHello or to what came in its place, at the
    capture point; None where not seen.

    `reach_km` is how far away whoever answered the SYN can be by the speed of light: a bound, and no distance.
    """
    took = observation.syn_ack_ns
    if took is not None and took < 0:
        took = None
    answered = _between(observation.client_hello, observation.server_hello)
    failed = _between(observation.client_hello, _failure(observation))
    return {
        "syn_ack_ms": None if took is None else round(took / 1e6, 3),
        "server_hello_ms": None if answered is None else round(answered / 1e6, 3),
        "failed_ms": None if failed is None else round(failed / 1e6, 3),
        "shortest_syn_ack_ms": None if shortest_syn_ns is None else round(shortest_syn_ns / 1e6, 3),
        "reach_km": None if took is None else -(-took * KM_PER_MS // 1_000_000),
    }


def _failure(observation: Observation) -> Mark | Seen | None:
    """What the ClientHello drew in place of an answer; None for silence."""
    failed = observation.failed
    if failed == "reset":
        return observation.resets[0]
    if failed == "closed":
        return observation.server_closed
    if failed == "alert":
        return next((alert.seen for alert in observation.alerts if not alert.from_client), None)
    if failed == "plain":
        return next((mark for mark in observation.server_marks if mark.frame == observation.plain_frame), None)
    return None


def _between(first: Mark | Seen | None, second: Mark | Seen | None) -> int | None:
    if first is None or second is None or second.time_ns < first.time_ns:
        return None
    return second.time_ns - first.time_ns


def finding(found: Finding) -> dict[str, Any]:
    """A node of the evidence tree."""
    node: dict[str, Any] = {"value": found.value}
    if found.operator:
        node["operator"] = found.operator
    if found.says:
        node["says"] = found.says
    if found.frames:
        node["frames"] = list(found.frames)
    if found.children:
        node["children"] = [finding(child) for child in found.children[:MAX_TREE]]
    return node


def certificate(cert: Certificate, frames: list[int]) -> dict[str, Any]:
    """The facts of one certificate."""
    seen: dict[str, Any] = {
        "sha256": cert.sha256,
        "sha1": cert.sha1,
        "size": len(cert.der),
        "problem": cert.problem,
        "frames": frames,
    }
    if cert.problem and not cert.subject_der:
        return seen
    return seen | {
        "subject": cert.subject,
        "issuer": cert.issuer,
        "serial": cert.serial,
        "not_before": rfc3339(cert.not_before),
        "not_after": rfc3339(cert.not_after),
        "spki_sha256": cert.spki_sha256,
        "key": cert.key,
        "exponent": cert.exponent,
        "signature_hash": cert.signature_hash,
        "dns_names": list(cert.dns_names),
        "ip_addresses": list(cert.ip_addresses),
        "is_ca": cert.is_ca,
        "extensions": [{"oid": oid, "critical": critical} for oid, critical in cert.extensions],
        "subject_key_id": cert.subject_key_id,
        "authority_key_id": cert.authority_key_id,
        "authority_has_issuer_and_serial": cert.authority_has_issuer,
        "has_scts": cert.has_scts,
    }
