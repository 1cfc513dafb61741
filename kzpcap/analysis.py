"""The line: a capture's bytes in, a report out. The command line, the batch runner and the service all call it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from kzpcap import __version__
from kzpcap.capture.codes import TCP, UDP
from kzpcap.capture.container import open_records
from kzpcap.capture.flow import Flow
from kzpcap.capture.health import Notes
from kzpcap.capture.scan import Scanner
from kzpcap.capture.source import open_source
from kzpcap.capture.unpack import Source
from kzpcap.certificates.chains import ChainJudge
from kzpcap.certificates.public_trust import PublicTrust
from kzpcap.clock import Point, Points, http_date, ntp_time
from kzpcap.dns import answers
from kzpcap.observations import Observation
from kzpcap.observer import Observer, lone_syn
from kzpcap.paths.icmp import Echo, IcmpError, address, read_echo
from kzpcap.paths.icmp import read as read_icmp
from kzpcap.paths.ladders import RouteProbe
from kzpcap.paths.networks import Networks
from kzpcap.reference import Reference
from kzpcap.report import model
from kzpcap.report.health import Vantage, capture_health
from kzpcap.spill import Spill
from kzpcap.surroundings import Surroundings, survey, take_given
from kzpcap.surroundings.anchors import Anchors
from kzpcap.tls.handshake import connections
from kzpcap.tls.handshake import read as read_handshake
from kzpcap.tls.keylog import KeyLog
from kzpcap.tls.quic import is_gquic
from kzpcap.tls.seen import Handshake
from kzpcap.unanswered import Unanswered
from kzpcap.verdict.judge import Verdict, judge
from kzpcap.verdict.ladders import Ladder
from kzpcap.verdict.place import LadderIndex, on_the_volunteers_side, place_of, placed
from kzpcap.verdict.probes import Probes, ladders

BATCH = 65_536
MAX_NAMES = 65_536
"""Pairs of an address and a name that DNS answers gave it."""
MAX_NAMES_EACH = 256
Progress = Callable[[int, int], None]


class Connection(NamedTuple):
    """A judged connection."""

    observation: Observation
    verdict: Verdict


@dataclass
class Report:
    """The outcome of one analysis; `connections()` judges as it goes."""

    reference: Reference
    capture: dict[str, Any]
    surroundings: Surroundings
    spill: Spill
    icmp: list[IcmpError]
    ladders: tuple[Ladder, ...]
    networks: Networks
    corroboration: dict[str, Any] | None = None
    """A witness's word on the whole, where one was asked (corroborate.py)."""
    outcomes: dict[int, str] = field(default_factory=dict)
    """Index of a connection to what the witness says of it."""

    def connections(self) -> Iterator[Connection]:
        """Every connection with its verdict, by first frame."""
        index = LadderIndex(self.ladders)
        for observation in self.spill:
            target = observation.target
            if target is not None and not self.surroundings.moment(observation.time_ns):
                observation = observation._replace(target=target._replace(in_force=None))  # no day to tell it by
            verdict = judge(observation, self.surroundings)
            place = place_of(verdict, observation, self.surroundings, index)
            yield Connection(
                observation,
                placed(verdict, place)
                if place
                else on_the_volunteers_side(verdict, observation, self.reference.products, self.surroundings, index),
            )

    def head(self) -> dict[str, Any]:
        """What stands before the connections."""
        return {
            "schema": model.SCHEMA,
            "tool": {"name": "kzpcap", "version": __version__},
            "reference": {
                "files": self.reference.digests,
                "supplied": self.reference.supplied_digests,
                "laboratory": self.reference.laboratory,
            },
            "capture": self.capture,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the temporary files."""
        self.spill.close()
        self.surroundings.certificates.close()


class Reading:
    """A capture being read: flows in, handshakes out."""

    def __init__(
        self,
        path: str | os.PathLike[str] | Source,
        want_digest: bool = True,
        keylog: bytes = b"",
        notes: Notes | None = None,
    ) -> None:
        self.notes = notes if notes is not None else Notes()
        self.names: dict[str, dict[str, int]] = {}
        self.named = 0
        self.names_left_out = False
        self.points = Points()
        self.keys = KeyLog()
        self.keys.add(keylog)
        self.source = path if isinstance(path, Source) else open_source(os.fspath(path), self.notes, want_digest)
        try:
            self.records = open_records(self.source.raw, self.notes)
            self.scanner = Scanner(self.records, self.notes)
        except BaseException:
            self.source.close()
            raise

    def flows(self, progress: Progress | None = None) -> Iterator[tuple[Flow, Handshake | None]]:
        """Each finished flow with its handshake, in the order in which the flows ended."""
        while not self.scanner.done:
            self.records.shorten(self.source.mapped_size())
            ended = self.scanner.read(BATCH)
            self._names()
            for block in self.records.secrets[self.keys.read :]:
                self.keys.read += 1
                self.keys.add(block)
            ended.reverse()
            while ended:  # each goes as soon as it is read: those of one batch are not there beside the next
                flow = ended.pop()
                if not flow.packets:
                    continue
                if flow.protocol == TCP and not flow.has_data:  # a scan's SYNs may be millions
                    yield flow, None
                    continue
                if flow.protocol != TCP:
                    for part in connections(flow):
                        handshake = read_handshake(part, self.keys)
                        if handshake is None and is_gquic(part):
                            self.notes.add("gquic", "Google QUIC, which is not TLS, is not read", part.first_frame)
                            continue
                        yield part, handshake
                    continue
                handshake = read_handshake(flow, self.keys)
                if handshake is None:
                    self._date(flow)
                yield flow, handshake
            self.source.release(self.records.pos)
            if progress:
                progress(self.records.pos, self.records.size)

    def _names(self) -> None:
        """Take the DNS answers away from the scanner, and keep which addresses they gave to which names."""
        for packet in self.scanner.dns:
            found = answers(packet.payload)
            if found is None:
                continue
            for server in found[1]:
                names = self.names.get(server, {})
                if found[0] in names:
                    continue
                if self.named >= MAX_NAMES or len(names) >= MAX_NAMES_EACH:
                    self.names_left_out = True
                    continue
                names[found[0]] = packet.time_ns
                self.names[server] = names
                self.named += 1
        self.scanner.dns = []
        for packet in self.scanner.ntp:
            told = ntp_time(packet.payload)
            if told is not None:
                self.points.add(Point("NTP", address(packet.src), told, packet.time_ns, packet.frame))
        self.scanner.ntp = []

    def _date(self, flow: Flow) -> None:
        """Keep what an HTTP server says of the time."""
        for packet in flow.packets:
            told = http_date(packet.payload)
            if told is not None:
                self.points.add(Point("HTTP Date", address(packet.src), told, packet.time_ns, packet.frame))
                return

    def icmp_errors(self) -> list[IcmpError]:
        """Every ICMP error of the capture, in order."""
        return [error for packet in self.scanner.icmp if (error := read_icmp(packet)) is not None]

    def echoes(self) -> list[Echo]:
        """Every echo request and reply."""
        return [echo for packet in self.scanner.icmp if (echo := read_echo(packet)) is not None]

    def route_probes(self) -> list[RouteProbe]:
        """The UDP probes of traceroutes."""
        return [
            RouteProbe(address(p.dst), p.ttl, p.frame, p.ip_id, (p.sport, p.dport), UDP) for p in self.scanner.probes
        ]

    def close(self) -> None:
        """Close the capture."""
        del self.scanner, self.records
        self.source.close()


@lru_cache(maxsize=2)
def _trust(folder: Path) -> PublicTrust:
    """One history of public trust for all captures of a run."""
    return PublicTrust(folder)


@lru_cache(maxsize=2)
def _networks(folder: Path, given: Path | None) -> Networks:
    """One table of addresses for all captures of a run, opened on the first question."""
    return Networks(folder, given)


def analyze(
    path: str | os.PathLike[str] | Source,
    reference: Reference,
    progress: Progress | None = None,
    want_digest: bool = True,
    keylog: bytes = b"",
    notes: Notes | None = None,
    at: int | None = None,
) -> Report:
    """Analyse one capture: a path ("-" is standard input) or an opened source; CaptureError where it is none.

    `keylog` holds the lines of an SSLKEYLOGFILE; secrets inside a pcapng are used by themselves. `at` (nanoseconds
    UTC) is the time by which certificates and lists are judged, in place of the capture's own.
    """
    networks = _networks(reference.folder / "asn", reference.asn)
    if reference.asn is not None:
        networks.check()
    reading = Reading(path, want_digest, keylog, notes)
    files = ExitStack()
    try:
        observer = Observer(reference.target_lists, reference.ech_public_names, at)
        files.callback(observer.certificates.close)
        spill = Spill()
        files.callback(spill.close)
        vantage = Vantage()
        probes = Probes()
        unanswered = Unanswered()
        anchors = Anchors()
        for flow, handshake in reading.flows(progress):
            if handshake is None and flow.protocol != TCP:
                continue
            observation = observer.observe(flow, handshake)
            if observation is None:
                syn = lone_syn(flow)
                probes.syn(syn)
                unanswered.add(syn, flow)
                continue
            if handshake is not None and (handshake.full or handshake.client_full):
                reading.notes.add(
                    "limit", "more handshake messages, or certificates, than are read of one side", flow.first_frame
                )
            vantage.add(observation)
            anchors.add(observation)
            if observation.chain_seen:
                for name in observation.chain:
                    observer.certificates.seen(name, observation.chain_seen.frame)
            probes.collect(observation)
            spill.append(observation)
        if reading.keys.left_out:
            reading.notes.add("limit", f"{reading.keys.left_out:,} secrets of key logs, the oldest, more than are kept")
        chains = ChainJudge(reference, _trust(reference.folder / "public_trust"))
        if observer.certificates.authorities_left_out:
            left = observer.certificates.authorities_left_out
            reading.notes.add("limit", f"{left} CA certificates, more than are tried as issuers")
        for certificate in (*observer.certificates.authorities, *reference.genuine):
            if certificate.is_ca:
                chains.pool.add(certificate)
        clock = anchors.judge(chains, observer.certificates, reading.points)
        surroundings = Surroundings(spill, observer.certificates, chains, reference.specimens, at, clock, reading.names)
        surroundings.networks = networks
        surroundings.names_left_out = reading.names_left_out
        surroundings.interception_leaves = reference.interception_leaves
        for leaf in take_given(reference.genuine, surroundings, reading.scanner.first_time):
            reading.notes.add("given", f"given as genuine, and not publicly trusted then: {leaf.sha256}")
        scanner = reading.scanner
        surroundings.rebuilt = vantage.rebuilt(scanner.pcapdroid, scanner.link_types, scanner.icmp_errors)
        survey(surroundings)
        errors = reading.icmp_errors()
        found = ladders(probes, surroundings, errors, reading.echoes(), reading.route_probes(), reading.notes)
        health = capture_health(
            reading.source, reading.records, reading.scanner, reading.notes, vantage, unanswered, surroundings
        )
        report = Report(reference, health, surroundings, spill, errors, found, networks)
        files.pop_all()  # the report's from here on
        return report
    finally:
        files.close()
        reading.close()
