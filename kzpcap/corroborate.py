"""Our reading of a capture beside a witness's: where they differ, by frame and field.

tshark is compared handshake by handshake (name, cipher suite, certificates); dpkt and scapy packet by packet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from kzpcap.analysis import Reading
from kzpcap.capture.container import Records
from kzpcap.capture.decode import OK, TCP, UDP, Packet, decode
from kzpcap.capture.health import Notes
from kzpcap.capture.scan import Flow
from kzpcap.capture.source import open_source
from kzpcap.capture.witnesses import PACKET_WITNESSES, PacketSeen, packets, with_tshark
from kzpcap.paths.icmp import address
from kzpcap.report.text import decode as decode_text
from kzpcap.tls.handshake import Handshake

WITNESSES = ("tshark", *PACKET_WITNESSES)


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
    outcomes: dict[tuple[object, ...], str] = field(default_factory=dict)
    """(client, server) of a connection to agrees, differs or not_seen."""


def corroborate(path: str, witness: str) -> Corroboration:
    """Compare with one witness; WitnessMissing where it is not installed, CaptureError where there is no capture."""
    return _handshakes(path) if witness == "tshark" else _packets(path, witness)


def _handshakes(path: str) -> Corroboration:
    result = Corroboration(with_tshark.version())
    theirs = {(seen.client, seen.server): seen for seen in with_tshark.handshakes(path)}
    reading = Reading(path, want_digest=False)
    try:
        ours = [(flow, handshake) for flow, handshake in reading.flows() if handshake is not None]
    finally:
        reading.close()
    ours.sort(key=lambda pair: pair[0].first_frame)
    seen_keys = set()
    for flow, handshake in ours:
        key = _ends(flow, handshake)
        if key in seen_keys:
            continue  # tshark's rows do not tell a reused port apart
        seen_keys.add(key)
        other = theirs.get(key)
        if other is None:
            if handshake.client_hello or handshake.server_hello:
                result.only_ours += 1
            result.outcomes[key] = "not_seen"
            continue
        result.compared += 1
        before = len(result.differences)
        _compare(result, flow, handshake, other)
        result.outcomes[key] = "agrees" if len(result.differences) == before else "differs"
    for key, other in theirs.items():
        if key not in seen_keys:
            frame = other.hello_frame or other.server_hello_frame or other.chain_frame or 0
            result.differences.append(Difference(frame, _text(key), "handshake", None, other.server_name or "seen"))
    return result


def _ends(flow: Flow, handshake: Handshake) -> tuple[tuple[str, int], tuple[str, int]]:
    first = flow.packets[0]
    ends = ((address(first.src), first.sport), (address(first.dst), first.dport))
    return ends if first.direction == handshake.client_direction else (ends[1], ends[0])


def _text(key: tuple[tuple[str, int], tuple[str, int]]) -> str:
    return f"{key[0][0]}:{key[0][1]} to {key[1][0]}:{key[1][1]}"


def _compare(result: Corroboration, flow: Flow, handshake: Handshake, other: with_tshark.HandshakeSeen) -> None:
    what = _text(_ends(flow, handshake))
    hello, answer = handshake.client_hello, handshake.server_hello
    if hello is not None and other.hello_frame is not None:
        name = hello.hello.server_name
        _field(result, hello.seen.frame, what, "server_name", decode_text(name) if name else None, other.server_name)
    if answer is not None and other.cipher is not None:
        ciphers = {seen.hello.cipher_suite for seen in handshake.server_hellos}
        ours = other.cipher if other.cipher in ciphers else answer.hello.cipher_suite
        _field(result, answer.seen.frame, what, "cipher_suite", ours, other.cipher)
    if other.chain or handshake.chains:
        chain = handshake.chains[0] if handshake.chains else None
        if chain is not None and not chain.complete and not other.chain:
            return
        ours_chain = [hashlib.sha256(der).hexdigest() for der in chain.certificates] if chain else []
        frame = chain.seen.frame if chain else other.chain_frame or 0
        _field(result, frame, what, "certificates", ours_chain, other.chain)


def _field(result: Corroboration, frame: int, what: str, name: str, ours: object, theirs: object) -> None:
    result.fields += 1
    if ours != theirs:
        result.differences.append(Difference(frame, what, name, ours, theirs))


def _packets(path: str, witness: str) -> Corroboration:
    result = Corroboration(witness)
    theirs = {seen.frame: seen for seen in packets(witness, path)}
    notes = Notes()
    last = 0
    for ours in own_packets(path, notes):
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


def own_packets(path: str, notes: Notes) -> Iterator[PacketSeen]:
    """Every TCP and UDP packet that kzpcap decodes, fragments left out."""
    source = open_source(path, notes, want_digest=False)
    try:
        records = Records(source.raw, notes)
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
