"""Our reading of a capture beside a witness's: where they differ, by frame and field.

tshark is compared handshake by handshake (name, cipher suite, certificates); dpkt and scapy packet by packet. A witness
reads the very bytes that were analysed, unpacked if they were compressed, and shares no code with kzpcap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from kzpcap.analysis import Reading, Report
from kzpcap.capture.codes import OK, TCP, UDP
from kzpcap.capture.container import open_records
from kzpcap.capture.decode import decode
from kzpcap.capture.health import Notes
from kzpcap.capture.packet import Packet
from kzpcap.capture.unpack import Source
from kzpcap.capture.witnesses import PACKET_WITNESSES, PacketSeen, fd_path, packets, with_tshark
from kzpcap.errors import CaptureError
from kzpcap.observations import Observation
from kzpcap.observer import Observer
from kzpcap.paths.icmp import address
from kzpcap.report.text import decode as decode_text

WITNESSES = ("tshark", *PACKET_WITNESSES)
MAX_REPORTED = 1_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that two readers read differently; None where a reader has none."""

    frame: int
    what: str
    field: str
    ours: object
    theirs: object


@dataclass
class Corroboration:
    """The outcome of one comparison: how much was compared, and every difference."""

    witness: str
    compared: int = 0
    """Connections, or packets."""
    fields: int = 0
    only_ours: int = 0
    """Connections or packets that the witness does not read; by itself no difference."""
    differences: list[Difference] = field(default_factory=list)
    failed: str | None = None
    """Why the witness could not read the capture: then nothing was compared."""
    outcomes: dict[int, str] = field(default_factory=dict)
    """Index of a connection to agrees, differs or not_seen (the witness does not read it)."""

    def add(self, other: Corroboration) -> None:
        """Count another comparison into this one."""
        self.witness = other.witness
        self.compared += other.compared
        self.fields += other.fields
        self.only_ours += other.only_ours
        self.differences += other.differences

    def sentence(self, unit: str) -> str:
        """The outcome in one line; `unit` is connections or packets."""
        if self.failed:
            return f"{self.witness}: compared nothing: {self.failed}"
        count = len(self.differences)
        outcome = f"{count:,} difference{'' if count == 1 else 's'}" if count else "no difference"
        only = f" ({self.only_ours:,} that it does not read)" if self.only_ours else ""
        return f"{self.witness}: {self.compared:,} {unit}, {self.fields:,} fields, {outcome}{only}"

    def document(self) -> dict[str, Any]:
        """The `corroboration` part of a report."""
        return {
            "witness": self.witness,
            "connections": self.compared,
            "fields": self.fields,
            "not_seen": self.only_ours,
            "differences": [
                {"frame": d.frame, "what": d.what, "field": d.field, "ours": d.ours, "theirs": d.theirs}
                for d in self.differences[:MAX_REPORTED]
            ],
            "differences_in_all": len(self.differences),
            "failed": self.failed,
        }


def corroborate(source: Source, witness: str) -> Corroboration:
    """Compare with one witness and close the source; WitnessMissing where it is not installed."""
    with source.again() as file:
        if witness != "tshark":
            return _packets(source, file, witness)
        observer = Observer(())
        reading = Reading(source, want_digest=False)
        try:
            ours = [
                observation
                for flow, handshake in reading.flows()
                if handshake is not None and (observation := observer.observe(flow, handshake)) is not None
            ]
        finally:
            reading.close()
        return _handshakes(sorted(ours, key=lambda observation: observation.first_frame), file)


def corroborate_report(report: Report, file: IO[bytes]) -> None:
    """Add tshark's word on each connection to a report, or why it has none; `file`: as `Source.again` gives it."""
    try:
        result = _handshakes((observation for observation in report.spill if observation.tls), file)
    except CaptureError as error:
        result = Corroboration(with_tshark.version(), failed=str(error))
    report.corroboration = result.document()
    report.outcomes = result.outcomes


def _handshakes(ours: Iterable[Observation], file: IO[bytes]) -> Corroboration:
    result = Corroboration(with_tshark.version())
    theirs: dict[tuple[object, ...], list[with_tshark.HandshakeSeen]] = {}
    for seen in with_tshark.handshakes(file):
        theirs.setdefault((seen.client, seen.server), []).append(seen)
    for observation in ours:
        rows = theirs.get((observation.client, observation.server), [])
        other = next((row for row in rows if observation.first_frame <= row.frame <= observation.last_frame), None)
        if other is None:
            if observation.hello_sent or observation.server_hello:
                result.only_ours += 1
            result.outcomes[observation.number] = "not_seen"
            continue
        rows.remove(other)
        result.compared += 1
        before = len(result.differences)
        _compare(result, observation, other)
        result.outcomes[observation.number] = "agrees" if len(result.differences) == before else "differs"
    for rows in theirs.values():
        for row in rows:
            seen_as = row.server_name or "seen"
            result.differences.append(Difference(row.frame, _text(row.client, row.server), "handshake", None, seen_as))
    result.differences.sort(key=lambda difference: difference.frame)
    return result


def _text(client: tuple[str, int], server: tuple[str, int]) -> str:
    return f"{client[0]}:{client[1]} to {server[0]}:{server[1]}"


def _compare(result: Corroboration, ours: Observation, other: with_tshark.HandshakeSeen) -> None:
    what = _text(ours.client, ours.server)
    if ours.client_hello is not None and other.hello_frame is not None:
        name = decode_text(ours.server_name_raw) if ours.server_name_raw else None
        if other.server_name is not None and other.server_name in ours.other_names:
            name = other.server_name  # of several hellos of the client, tshark shows the first
        _field(result, ours.client_hello.frame, what, "server_name", name, other.server_name)
    if ours.server_hello is not None and other.cipher is not None:
        _field(result, ours.server_hello.frame, what, "cipher_suite", ours.cipher, other.cipher)
    if other.chain or ours.chain:
        if ours.chain_seen is not None and not ours.chain_complete and not other.chain:
            return
        frame = ours.chain_seen.frame if ours.chain_seen else other.chain_frame or 0
        _field(result, frame, what, "certificates", list(ours.chain), other.chain)


def _field(result: Corroboration, frame: int, what: str, name: str, ours: object, theirs: object) -> None:
    result.fields += 1
    if ours != theirs:
        result.differences.append(Difference(frame, what, name, ours, theirs))


def _packets(source: Source, file: IO[bytes], witness: str) -> Corroboration:
    result = Corroboration(witness)
    theirs = {seen.frame: seen for seen in packets(witness, fd_path(file))}
    notes = Notes()
    last = 0
    for ours in own_packets(source, notes):
        last = ours.frame
        other = theirs.pop(ours.frame, None)
        if other is None:
            result.only_ours += 1
            continue
        result.compared += 1
        for name in PacketSeen.__slots__[1:]:
            what = f"{ours.src}:{ours.sport} to {ours.dst}:{ours.dport}"
            _field(result, ours.frame, what, name, getattr(ours, name), getattr(other, name))
    for frame, other in sorted(theirs.items()):
        if frame > last and notes.counts["cut-short"]:
            continue  # the record at which the file breaks off: Wireshark does not count it, and neither do we
        what = f"{other.src}:{other.sport} to {other.dst}:{other.dport}"
        result.differences.append(Difference(frame, what, "packet", None, "seen"))
    return result


def own_packets(source: Source, notes: Notes) -> Iterator[PacketSeen]:
    """Every TCP and UDP packet that kzpcap decodes, fragments left out; closes the source."""
    try:
        records = open_records(source.raw, notes)
        packet = Packet()
        while records.advance():
            outcome = decode(packet, source.raw, records.offset, records.captured, records.original, records.link_type)
            if outcome != OK or packet.protocol not in (TCP, UDP):
                continue
            size = 4 if packet.version == 4 else 16
            at = packet.address_at
            yield PacketSeen(
                records.frame,
                address(bytes(source.raw[at : at + size])),
                address(bytes(source.raw[at + size : at + 2 * size])),
                packet.ttl,
                packet.protocol,
                packet.sport,
                packet.dport,
                packet.seq if packet.protocol == TCP else 0,
                packet.captured,
            )
        del records
    finally:
        source.close()
