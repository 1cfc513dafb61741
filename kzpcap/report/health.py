"""The capture's health: what was read, what was not and why, from where it was seen, and what that means.

Counts come from the scanner; the vantage point from the TTLs of packets that have not been forwarded yet.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from kzpcap.capture.decode import REASONS
from kzpcap.capture.health import Notes
from kzpcap.capture.links import link_name
from kzpcap.capture.records import Records
from kzpcap.capture.scan import Scanner
from kzpcap.capture.unpack import Source
from kzpcap.observations import Observation
from kzpcap.paths.hops import FRESH_TTLS
from kzpcap.report.text import decode, rfc3339, safe
from kzpcap.surroundings import Surroundings
from kzpcap.unanswered import Unanswered

NO_LINK = frozenset({12, 14, 101, 228, 229})
"""Link types of bare IP packets (RAW, IPV4, IPV6)."""


@dataclass
class Vantage:
    """Counts of connections by whose packets were still fresh at the capture point."""

    client_fresh: int = 0
    server_fresh: int = 0
    forwarded: int = 0
    unclear: int = 0
    connections: int = 0
    both_directions: int = 0
    strays: int = 0
    with_syn: int = 0
    lowered: bool = False
    """Some packet of a server's side came with a TTL that routers had lowered, or that no system begins with."""

    def add(self, observation: Observation) -> None:
        """Count one connection."""
        self.connections += 1
        self.strays += observation.strays
        self.lowered = self.lowered or any(
            mark.ttl not in FRESH_TTLS for mark in (*observation.server_marks, *observation.resets)
        )
        if observation.client_packets and observation.server_packets:
            self.both_directions += 1
        if observation.syn or observation.syn_ack:
            self.with_syn += 1
        sent = (
            observation.syn.ttl
            if observation.syn
            else observation.client_hello.ttl
            if observation.client_hello
            else None
        )
        came = observation.syn_ack.ttl if observation.syn_ack else None
        if came is None and observation.server_marks:
            came = observation.server_marks[0].ttl
        if sent is None or came is None:
            return
        if (sent in FRESH_TTLS) == (came in FRESH_TTLS):
            self.forwarded += sent not in FRESH_TTLS
            self.unclear += sent in FRESH_TTLS
        elif sent in FRESH_TTLS:
            self.client_fresh += 1
        else:
            self.server_fresh += 1

    def rebuilt(self, pcapdroid: int, links: Collection[int], icmp_errors: int) -> str:
        """Why TTLs mean nothing: an app made the headers as it recorded. Empty where nothing says so.

        Without an app's own mark it is told where there is no link layer, as apps that tunnel all traffic record,
        nobody's packets ever came through a router, and no router spoke.
        """
        if pcapdroid:
            return "the capture app rebuilt the packets: TTLs mean nothing"
        untouched = self.unclear and not (self.client_fresh or self.server_fresh or self.forwarded)
        if untouched and not self.lowered and not icmp_errors and links and set(links) <= NO_LINK:
            return "no link layer, and both sides' TTLs are undecremented, as in what apps rebuild: TTLs mean nothing"
        return ""

    def answer(self, rebuilt: str) -> tuple[str, str]:
        """(client, router, server or unknown; its basis)."""
        if rebuilt:
            return "client", rebuilt
        total = self.client_fresh + self.server_fresh + self.forwarded
        if not total:
            why = "both sides' TTLs are undecremented" if self.unclear else "no connection shows TTLs of both sides"
            return "unknown", why
        if self.client_fresh > total * 0.6:
            return "client", "client packets have undecremented TTLs"
        if self.server_fresh > total * 0.6:
            return "server", "server packets have undecremented TTLs"
        if self.forwarded == total:
            return "router", "both sides' packets had been forwarded already"
        return "unknown", "the connections do not agree"


def capture_health(
    source: Source,
    records: Records,
    scanner: Scanner,
    notes: Notes,
    vantage: Vantage,
    unanswered: Unanswered,
    surroundings: Surroundings,
) -> dict[str, Any]:
    """The `capture` part of the report."""
    where, basis = vantage.answer(surroundings.rebuilt)
    skipped = {REASONS[reason]: count for reason, count in sorted(scanner.reasons.items())}
    health: dict[str, Any] = {
        "sha256": source.sha256,
        "size": source.size,
        "compression": source.compression,
        "format": records.format,
        "parts": [part._asdict() for part in source.parts],
        "big_endian": bool(records.big),
        "link_types": [
            {"number": number, "name": link_name(number), "packets": count}
            for number, count in sorted(scanner.link_types.items())
        ],
        "unsupported_links": [link_name(number) for number in sorted(scanner.unknown_links)],
        "interfaces": [safe(decode(entry.name)) for entry in records.interfaces if entry.name][:16],
        "filtered": bool(records.filtered) or any(part.filtered for part in source.parts),
        "first_time": rfc3339(scanner.first_time) if scanner.first_time >= 0 else None,
        "last_time": rfc3339(scanner.last_time) if scanner.last_time >= 0 else None,
        "packets": {
            "read": scanner.packets,
            "decoded": scanner.decoded,
            "skipped": skipped,
            "cut": scanner.cut_packets,
        },
        "bytes": {"captured": scanner.captured_bytes, "on_the_wire": scanner.wire_bytes},
        "tcp": scanner.tcp_packets,
        "udp": scanner.udp_packets,
        "icmp": scanner.icmp_packets,
        "syn": scanner.syn_packets,
        "tunnelled": scanner.tunnelled,
        "fragments": {"packets": scanner.fragments.packets, "reassembled": scanner.fragments.reassembled},
        "duplicates": scanner.duplicates + scanner.fragments.duplicates,
        "checksums": {"checked": scanner.checked_checksums, "wrong": scanner.wrong_checksums},
        "clock": {
            "backward_jumps": scanner.backward_jumps,
            "largest_ns": scanner.largest_jump_back,
            "largest_frame": scanner.jump_frame or None,
            "status": surroundings.clock.status,
            "reasons": [{"says": r.says, "frames": list(r.frames)} for r in surroundings.clock.reasons],
            "not_before": rfc3339(surroundings.clock.not_before) if surroundings.clock.not_before else None,
        },
        "judged_at": rfc3339(surroundings.at) if surroundings.at is not None else None,
        "truncated": bool(records.truncated),
        "skipped_bytes": records.skipped_bytes,
        "given_up": {
            "packets": scanner.given_up_packets,
            "flows_ended_early": scanner.early_flows,
            "strays": vantage.strays,
        },
        "secrets": len(records.secrets),
        "comments": records.comments,
        "name_resolution_blocks": records.private_blocks,
        "headers_rebuilt": bool(surroundings.rebuilt),
        "vantage": {"where": where, "basis": basis},
        "both_directions": vantage.both_directions,
        "connections": vantage.connections,
        "unanswered": {
            "attempts": unanswered.attempts,
            "first": [{"address": server, "port": port, "frame": frame} for server, port, frame in unanswered.first],
        },
        "notes": [
            {"kind": note.kind, "text": note.text, "frame": note.frame, "offset": note.offset} for note in notes.kept
        ],
        "note_counts": dict(sorted(notes.counts.items())),
    }
    health["means"] = meaning(health, vantage)
    return health


SET_BACK_NS = 3_600 * 1_000_000_000
"""More than the queues of a card, or of two captures that were laid together, are apart."""


def meaning(health: dict[str, Any], vantage: Vantage) -> list[str]:
    """What the capture's health means for the answer, in sentences."""
    said: list[str] = []
    packets = health["packets"]
    if health["vantage"]["where"] in ("server", "router"):
        said.append("an interceptor between this point and the client shows no certificate of its own here")
    if vantage.connections and not health["icmp"]:
        why = "the capture filter may have left it out, " if health["filtered"] else ""
        advice = "record without a port filter, and a traceroute beside it"
        said.append(f"no ICMP was captured: {why}hops cannot be named ({advice})")
    if vantage.connections and not vantage.with_syn:
        said.append("no TCP handshakes were captured: senders cannot be compared")
    if vantage.connections and not vantage.both_directions:
        said.append("only one direction was captured")
    if health["unanswered"]["attempts"]:
        said.append(_unanswered(**health["unanswered"]))
    if packets["cut"]:
        said.append(
            f"{packets['cut']} packets were cut by the snapshot length: certificates may be missing"
            " (record whole packets)"
        )
    if health["headers_rebuilt"]:
        said.append("the capture app rebuilt the packets' headers: hop counts are withheld")
    if health["parts"]:
        said.append(
            f"{len(health['parts'])} files were read as one recording: that they were taken at one point, by clocks"
            " that agree, is the word of who laid them together; frames count through all of them in the order of time"
        )
    if health["truncated"] or health["skipped_bytes"] or any(part["damaged"] for part in health["parts"]):
        said.append("the file is damaged or cut: what could be read is reported")
    back, frame = health["clock"]["largest_ns"], health["clock"]["largest_frame"]
    if back >= SET_BACK_NS:
        said.append(
            f"the clock goes back by {_long(back)} at frame {frame}: what stands before it and behind it is judged by"
            " different times"
        )
    if health["clock"]["backward_jumps"] > max(8, packets["read"] // 50):
        said.append("packets are out of time order")
    if health["given_up"]["packets"]:
        said.append(f"{health['given_up']['packets']} packets were beyond what is kept of a connection")
    if health["given_up"]["strays"]:
        said.append(f"{health['given_up']['strays']} segments lie too far from their connection and were left out")
    if health["unsupported_links"]:
        said.append(f"packets of link types that kzpcap does not read: {', '.join(health['unsupported_links'])}")
    if health["given_up"]["flows_ended_early"]:
        said.append(f"{health['given_up']['flows_ended_early']} connections were ended early to bound memory")
    clock = health["clock"]
    reasons = "; ".join(reason["says"] for reason in clock["reasons"])
    if health["judged_at"]:
        said.append(f"judged by the day that was given, {health['judged_at'][:10]}, not by the capture's clock")
    elif clock["status"] == "contradicted":
        said.append(f"THE CLOCK IS WRONG: {reasons}; nothing is judged by its day (--at gives a day)")
    elif clock["status"] == "anchored":
        said.append(f"every date rests on the capture's clock, which is anchored: {reasons}")
    elif vantage.connections:
        said.append("every date rests on the capture's own clock, which nothing in it confirms")
    return said


def _long(span_ns: int) -> str:
    """A span of hours or days in words."""
    hours = span_ns // 3_600_000_000_000
    number, name = (hours // 24, "day") if hours >= 48 else (hours, "hour")
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _unanswered(attempts: int, first: list[dict[str, Any]]) -> str:
    one, several = first[0], attempts > 1
    count = (
        f"{attempts:,} attempts to connect to TLS ports have" if several else "an attempt to connect to a TLS port has"
    )
    where = f"{one['address']}, port {one['port']}, frame {one['frame']}"
    return f"{count} no answer in the capture ({'first: ' if several else ''}{where}); silence is not blocking"
