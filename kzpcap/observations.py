"""Everything seen about one connection, in one compact record that holds no packet.

An observation says what happened and in which frames, not what it means. Observations are made while the capture is
read, kept in a spill, and judged once all are there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from kzpcap.capture.codes import ACK, FIN, RST, SYN, TCP
from kzpcap.capture.decode import Packet
from kzpcap.capture.scan import Flow
from kzpcap.certificates.certificate import Certificate, parse
from kzpcap.certificates.names import normalise
from kzpcap.certificates.possession import Possession, certificate_verify, server_key_exchange
from kzpcap.certificates.staple import Staple
from kzpcap.certificates.staple import read as read_staple
from kzpcap.flows import acknowledges_unsent, distance
from kzpcap.iana import CERTIFICATE_ALERTS, TLS_PORTS, is_tls13, key_exchange
from kzpcap.paths.icmp import address
from kzpcap.paths.stack import stamps
from kzpcap.reference.targets import Match, TargetList, match
from kzpcap.tls.fingerprints import ja3, ja3s, ja4
from kzpcap.tls.handshake import AlertSeen, ChainSeen, ClientHelloSeen, Handshake, Seen
from kzpcap.tls.messages import ECH, SCT
from kzpcap.tls.quic import Turns

MAX_MARKS = 24
MAX_PROBE_TTL = 32
MAX_TIMESTAMPS = 4_096
PATIENCE = 3_000_000_000
"""A client that gave up sooner, without repeating its hello, shows nothing (browsers race and cancel)."""


class Absent(StrEnum):
    """Why there is no (whole) certificate of the server."""

    ENCRYPTED = "ENCRYPTED"
    UNDECRYPTABLE = "UNDECRYPTABLE"
    RESUMED = "RESUMED"
    NOT_SENT = "NOT_SENT"
    NOT_REACHED = "NOT_REACHED"
    NOT_CAPTURED = "NOT_CAPTURED"
    ONE_SIDED = "ONE_SIDED"
    TRUNCATED = "TRUNCATED"
    MALFORMED = "MALFORMED"
    LIMIT = "LIMIT"
    SCRUBBED = "SCRUBBED"


class Reaction(StrEnum):
    """What the client did after the server's hello."""

    WENT_ON = "went_on"
    REFUSED = "refused"
    CLOSED = "closed"
    SILENT = "silent"
    NOT_SEEN = "not_seen"


class Mark(NamedTuple):
    """IP marks of one packet of the server's side, and what it carried."""

    what: str
    frame: int
    time_ns: int
    ttl: int
    ip_id: int
    dont_fragment: bool
    checksum_ok: bool = True
    window: int = 0
    options: bytes = b""
    """TCP's, as sent."""


class Probe(NamedTuple):
    """One copy of a ClientHello's first segment as the client sent it."""

    ttl: int
    frame: int
    time_ns: int
    seq: int
    ip_id: int
    tos: int
    dont_fragment: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """One connection."""

    index: int
    first_frame: int
    last_frame: int
    time_ns: int
    transport: str
    client: tuple[str, int]
    server: tuple[str, int]
    tls: bool
    syn: Mark | None
    syn_ack: Mark | None
    client_packets: int
    server_packets: int
    server_bytes: int
    server_name_raw: bytes | None
    server_name: str | None
    name_status: str
    """seen, absent (a whole hello without one), cut (hello not whole) or no_hello."""
    other_names: tuple[str, ...]
    target: Match | None
    ech_offered: bool
    """ECH or GREASE ECH: nobody on the path can tell which."""
    ech_inner_unknown: bool
    """The name on the wire is a known public name: the name asked lies in the encrypted part."""
    client_hello: Seen | None
    hello_first_frame: int
    server_hello: Seen | None
    hello_sent: bool
    """A ClientHello, whole or cut, was seen."""
    offers_tls13: bool
    version: int | None
    cipher: int | None
    alpn_offered: tuple[bytes, ...] | None
    alpn_chosen: bytes | None
    ja3: str | None
    ja4: str | None
    ja3s: str | None
    chain: tuple[str, ...]
    chain_seen: Seen | None
    chain_complete: bool
    absent: Absent | None
    client_chain: tuple[str, ...]
    possession: Possession | None
    possession_frame: int | None
    resumed: str | None
    resumed_session: str | None
    """Digest of the session id or ticket that the server accepted."""
    issued_session: tuple[str, ...]
    alerts: tuple[AlertSeen, ...]
    reaction: Reaction
    history: str
    server_marks: tuple[Mark, ...]
    resets: tuple[Mark, ...]
    client_resets: tuple[Mark, ...]
    probes: tuple[Probe, ...]
    plain_answer: bytes
    plain_frame: int | None
    upgrade: str | None
    requested_name: bytes | None
    proxied: bool
    conflicts: tuple[tuple[int, int], ...]
    """Frames of server bytes that were sent twice with different content."""
    other_chain: tuple[str, ...]
    """The chain that the later copy of conflicting server bytes holds."""
    other_chain_frame: int | None
    waited: bool
    """The client repeated its hello or kept the connection open for some seconds: no answer was silence."""
    finished_ok: bool | None
    """The server's Finished fits the keys and the captured transcript; None where it was not opened."""
    finished_frame: int | None
    chain_problem: str | None
    """Why a Certificate that is there could not be read."""
    quic: Turns | None
    strays: int
    server_time: int | None
    """The first four bytes of ServerHello.random up to TLS 1.2, in seconds: the time, where a server still sends it."""
    staple: Staple | None
    flight: int
    """Bytes of the server's encrypted records before the client's first."""
    client_record: int | None
    """The length of the client's first encrypted record."""
    sentinel: bool
    """ServerHello.random ends in the downgrade sentinel of RFC 8446 section 4.1.3."""
    timestamps: bytes
    """The SignedCertificateTimestampList of the ServerHello's extension (RFC 6962 section 3.3.1)."""
    given_up: int
    duplicates: int
    tunnels: int
    client_stamps: tuple[int, int] | None
    """The first and the last TCP timestamp (TSval) that the client is seen to send."""
    odd_acks: tuple[int, ...]
    """Frames of the server's segments that acknowledge what the client had not sent."""

    @property
    def probe_ttl(self) -> int | None:
        """The lowest TTL of the hello, where it is below that of the SYN: a TTL-limited probe."""
        if not self.probes:
            return None
        lowest = min(probe.ttl for probe in self.probes)
        if len({probe.ttl for probe in self.probes}) > 2:
            return lowest
        return lowest if self.syn is not None and lowest < self.syn.ttl - 1 and lowest <= MAX_PROBE_TTL else None

    @property
    def failed(self) -> str | None:
        """How a connection ended after its ClientHello without an answer to it: reset, alert, plain, silent."""
        if not self.hello_sent or self.server_hello or self.chain:
            return None
        if self.plain_frame:
            return "plain"
        if any(not alert.from_client for alert in self.alerts):
            return "alert"
        if self.resets:
            return "reset"
        if self.server_bytes or not self.waited:
            return None
        return "silent" if self.syn_ack or self.transport != "tcp" else None


@dataclass
class Observer:
    """Makes observations; certificates are parsed once each and collected in `certificates`."""

    target_lists: tuple[TargetList, ...]
    ech_public_names: frozenset[str] = frozenset()
    at: int | None = None
    """The time by which lists are judged, in place of the capture's."""
    certificates: dict[str, Certificate] = field(default_factory=dict)
    count: int = 0

    def certificate(self, der: bytes) -> Certificate:
        """The parsed certificate, once per digest."""
        name = hashlib.sha256(der).hexdigest()
        found = self.certificates.get(name)
        if found is None:
            found = self.certificates[name] = parse(der)
        return found

    def observe(self, flow: Flow, handshake: Handshake | None) -> Observation | None:
        """The observation of one flow; None where it has nothing to do with TLS."""
        first = flow.packets[0]
        client_direction = handshake.client_direction if handshake else _syn_sender(flow)
        ends = ((address(first.src), first.sport), (address(first.dst), first.dport))
        if first.direction != client_direction:
            ends = (ends[1], ends[0])
        if handshake is None and not _expected(flow, ends[1][1]):
            return None
        server_packets = [packet for packet in flow.packets if packet.direction != client_direction]
        client_packets = [packet for packet in flow.packets if packet.direction == client_direction]
        self.count += 1
        facts = (
            self._handshake_facts(handshake, flow, client_packets, server_packets)
            if handshake
            else _no_handshake(flow, server_packets)
        )
        return Observation(
            index=self.count,
            first_frame=flow.first_frame,
            last_frame=flow.last_frame,
            time_ns=flow.first_time,
            client=ends[0],
            server=ends[1],
            syn=_mark_first(client_packets, "syn", SYN, ACK),
            syn_ack=_syn_ack(client_packets, server_packets),
            client_packets=flow.a_packets if client_direction == 0 else flow.b_packets,
            server_packets=flow.b_packets if client_direction == 0 else flow.a_packets,
            server_bytes=flow.b_bytes if client_direction == 0 else flow.a_bytes,
            resets=tuple(_mark(packet, "reset") for packet in server_packets if packet.flags & RST)[:MAX_MARKS],
            client_resets=tuple(_mark(packet, "reset") for packet in client_packets if packet.flags & RST)[:MAX_MARKS],
            given_up=flow.given_up,
            duplicates=flow.duplicates,
            tunnels=first.tunnels,
            client_stamps=_client_stamps(client_packets),
            odd_acks=()
            if flow.given_up or flow.protocol != TCP
            else acknowledges_unsent(flow.packets, client_direction),
            **facts,
        )

    def _handshake_facts(
        self, handshake: Handshake, flow: Flow, client_packets: list[Packet], server_packets: list[Packet]
    ) -> dict[str, Any]:
        chain = handshake.chains[0] if handshake.chains and not scrubbed(handshake.chains[0]) else None
        certificates = [self.certificate(der) for der in chain.certificates] if chain else []
        possession, frame, proven = _possession(handshake, certificates)
        seen = proven or handshake.client_hello
        hello = seen.hello if seen else None
        raw = hello.server_name if hello else None
        raw = raw or None
        name = normalise(raw) if raw is not None else None
        other = next((one for one in handshake.alternative_chains if not scrubbed(one)), None)
        status = "no_hello" if hello is None else "seen" if raw is not None else "absent" if hello.complete else "cut"
        ech = hello is not None and hello.extension(ECH) is not None
        answered = handshake.server_hello
        server = answered.hello if answered else None
        others = tuple(
            normalise(entry.hello.server_name)
            for entry in handshake.client_hellos
            if entry.hello.server_name and entry.hello.server_name != raw
        )
        return {
            "transport": handshake.transport,
            "tls": True,
            "server_name_raw": raw,
            "server_name": name,
            "name_status": status,
            "other_names": others,
            "target": self._target((name, *others), flow.first_time if self.at is None else self.at),
            "ech_offered": ech,
            "ech_inner_unknown": ech and name in self.ech_public_names,
            "client_hello": seen.seen if seen else None,
            "hello_first_frame": seen.first_frame if seen else 0,
            "server_hello": answered.seen if answered else None,
            "hello_sent": seen is not None,
            "offers_tls13": hello is not None and any(is_tls13(version) for version in hello.supported_versions),
            "version": handshake.version,
            "cipher": server.cipher_suite if server else None,
            "alpn_offered": hello.alpn_protocols if hello else None,
            "alpn_chosen": server.alpn if server else None,
            "ja3": ja3(hello) if hello else None,
            "ja4": ja4(hello, handshake.transport) if hello else None,
            "ja3s": ja3s(server) if server and not server.is_retry else None,
            "chain": tuple(certificate.sha256 for certificate in certificates),
            "chain_seen": chain.seen if chain else None,
            "chain_complete": chain is not None and chain.complete,
            "absent": absent_reason(handshake, flow),
            "client_chain": tuple(
                self.certificate(der).sha256 for sent in handshake.client_chains[:1] for der in sent.certificates
            ),
            "possession": possession,
            "possession_frame": frame,
            "resumed": handshake.resumed,
            "resumed_session": _accepted(handshake),
            "issued_session": _digests(
                server.session_id if server and not is_tls13(server.version) else b"", *handshake.tickets
            ),
            "alerts": handshake.alerts,
            "reaction": _reaction(handshake, client_packets),
            "history": handshake.history,
            "server_marks": _server_marks(handshake, server_packets),
            "probes": _probes(handshake, client_packets),
            "plain_answer": handshake.plain_answer.body[:512] if handshake.plain_answer else b"",
            "plain_frame": handshake.plain_answer.seen.frame if handshake.plain_answer else None,
            "upgrade": handshake.upgrade.protocol if handshake.upgrade else None,
            "requested_name": handshake.upgrade.requested if handshake.upgrade else None,
            "proxied": bool(handshake.upgrade and handshake.upgrade.proxy),
            "conflicts": handshake.server_conflicts,
            "other_chain": tuple(self.certificate(der).sha256 for der in other.certificates) if other else (),
            "other_chain_frame": other.seen.frame if other else None,
            "waited": _waited(seen.seen.time_ns, client_packets, flow) if seen else False,
            "finished_ok": handshake.finished_ok,
            "finished_frame": handshake.finished_seen.frame if handshake.finished_seen else None,
            "chain_problem": handshake.chain_problem,
            "quic": handshake.quic,
            "strays": handshake.strays,
            "server_time": int.from_bytes(server.random[:4], "big")
            if server and handshake.transport == "tcp" and not is_tls13(server.version)
            else None,
            "staple": _staple(handshake, certificates),
            "flight": handshake.server_flight,
            "client_record": handshake.client_encrypted_size,
            "sentinel": server is not None and server.random[24:31] == b"DOWNGRD",
            "timestamps": (server.extension(SCT) or b"")[:MAX_TIMESTAMPS] if server else b"",
        }

    def _target(self, names: tuple[str | None, ...], time_ns: int) -> Match | None:
        """The best match among all names that the client sent: a decoy before the real hello hides nothing."""
        found = [hit for name in names if name and (hit := match(name, self.target_lists, time_ns))]
        return min(found, key=lambda hit: not hit.exact, default=None)


def _no_handshake(flow: Flow, server_packets: list[Packet]) -> dict[str, Any]:
    """A TCP connection to a port where TLS was expected, without any TLS byte."""
    return {
        "transport": "tcp", "tls": False, "server_name_raw": None, "server_name": None, "name_status": "no_hello",
        "other_names": (), "target": None, "ech_offered": False, "ech_inner_unknown": False,
        "client_hello": None, "hello_first_frame": 0,
        "server_hello": None, "hello_sent": False, "offers_tls13": False, "version": None, "cipher": None,
        "alpn_offered": None, "alpn_chosen": None, "ja3": None, "ja4": None, "ja3s": None, "chain": (),
        "chain_seen": None, "chain_complete": False,
        "absent": Absent.NOT_CAPTURED if flow.has_data else Absent.NOT_REACHED,
        "client_chain": (), "possession": None, "possession_frame": None, "resumed": None, "resumed_session": None,
        "issued_session": (), "alerts": (), "reaction": Reaction.NOT_SEEN, "history": "",
        "server_marks": tuple(_mark(packet, "data") for packet in server_packets if packet.payload)[:4],
        "probes": (), "plain_answer": b"", "plain_frame": None, "upgrade": None, "requested_name": None,
        "proxied": False, "conflicts": (), "other_chain": (), "other_chain_frame": None, "waited": False,
        "finished_ok": None, "finished_frame": None, "chain_problem": None, "quic": None, "strays": 0,
        "server_time": None, "staple": None, "timestamps": b"",
        "flight": 0, "client_record": None, "sentinel": False,
    }  # fmt: skip


def _staple(handshake: Handshake, chain: list[Certificate]) -> Staple | None:
    """The OCSP response that the server stapled, checked with the issuer that it sent."""
    if handshake.certificate_status is None or not chain:
        return None
    issuer = chain[1].der if len(chain) > 1 else None
    return read_staple(handshake.certificate_status.body, chain[0].der, issuer)


def _syn_sender(flow: Flow) -> int:
    for packet in flow.packets:
        if packet.flags & SYN:
            return packet.direction if not packet.flags & ACK else 1 - packet.direction
    first = flow.packets[0]
    return first.direction if first.dport < first.sport else 1 - first.direction


def _expected(flow: Flow, server_port: int) -> bool:
    """A TCP handshake, SYN and SYN-ACK, with a port where TLS is expected."""
    return server_port in TLS_PORTS and any(packet.flags & (SYN | ACK) == SYN | ACK for packet in flow.packets)


def lone_syn(flow: Flow) -> Packet | None:
    """The SYN of a connection attempt that came no further: a traceroute's probe, if its TTL is low."""
    if len(flow.packets) > 8 or any(packet.flags & ACK or packet.payload for packet in flow.packets[:1]):
        return None
    return flow.packets[0] if flow.packets[0].flags & SYN and not flow.b_packets else None


def _mark(packet: Packet, what: str) -> Mark:
    return Mark(
        what, packet.frame, packet.time_ns, packet.ttl, packet.ip_id, packet.dont_fragment, packet.checksum_ok,
        packet.window, packet.options,
    )  # fmt: skip


def _client_stamps(packets: list[Packet]) -> tuple[int, int] | None:
    sent = [found for packet in (packets[:1] + packets[-1:]) if (found := stamps(packet.options)) is not None]
    return (sent[0][0], sent[-1][0]) if sent else None


def _mark_first(packets: list[Packet], what: str, wanted: int, unwanted: int) -> Mark | None:
    for packet in packets:
        if packet.flags & wanted == wanted and not packet.flags & unwanted:
            return _mark(packet, what)
    return None


def _syn_ack(client_packets: list[Packet], server_packets: list[Packet]) -> Mark | None:
    """The SYN-ACK that acknowledges the client's SYN; any, where the SYN was not captured."""
    isn = next((packet.seq for packet in client_packets if packet.flags & SYN), None)
    for packet in server_packets:
        if packet.flags & (SYN | ACK) == SYN | ACK and (isn is None or packet.ack == (isn + 1) & 0xFFFFFFFF):
            return _mark(packet, "syn_ack")
    return None


def _digests(*values: bytes) -> tuple[str, ...]:
    """Short digests of session ids and tickets: enough to link two connections, nothing to resume them with."""
    return tuple(hashlib.sha256(value).hexdigest()[:16] for value in values if len(value) >= 8)


def _server_marks(handshake: Handshake, packets: list[Packet]) -> tuple[Mark, ...]:
    """The marks of the server's side, message by message: SYN-ACK, hello, Certificate, first data, FIN, RST."""
    named = {}
    if handshake.server_hello:
        named[handshake.server_hello.seen.frame] = "server_hello"
    if handshake.chains:
        named.setdefault(handshake.chains[0].seen.frame, "certificate")
    for alert in handshake.alerts:
        if not alert.from_client:
            named.setdefault(alert.seen.frame, "alert")
    marks: list[Mark] = []
    data = 0
    for packet in packets:
        flags = packet.flags
        if flags & (SYN | RST | FIN):
            what = "syn_ack" if flags & SYN else "reset" if flags & RST else "fin"
        else:
            what = named.get(packet.frame, "data")
            if what == "data":
                data += 1
                if data > 3:
                    continue
        marks.append(_mark(packet, what))
    return tuple(marks[:MAX_MARKS])


def _probes(handshake: Handshake, packets: list[Packet]) -> tuple[Probe, ...]:
    """Every copy of the segment that begins the first ClientHello: several TTLs make a ladder."""
    seen = handshake.client_hello
    if seen is None or handshake.transport != "tcp":
        return ()
    first = next((packet for packet in packets if packet.frame == seen.first_frame), None)
    if first is None:
        return ()
    return tuple(
        Probe(
            packet.ttl, packet.frame, packet.time_ns, packet.seq, packet.ip_id, packet.tos, bool(packet.dont_fragment)
        )
        for packet in packets
        if packet.payload and distance(packet.seq, first.seq) == 0
    )[:128]


def _possession(
    handshake: Handshake, chain: list[Certificate]
) -> tuple[Possession | None, int | None, ClientHelloSeen | None]:
    """Whether the answer was signed with the leaf's key, the frame, and the hello whose random proved it.

    Where the client sent several hellos (decoys), the signature may be over the random of any: one that fits proves,
    and only if none fits and no bytes of the client's overlap is it refuted.
    """
    if not chain or (handshake.client_hello is None and handshake.server_hello is None):
        return None, None, None
    proof = handshake.certificate_verify
    if proof is not None:
        return certificate_verify(chain[0], proof.scheme, proof.signature, proof.signed), proof.seen.frame, None
    exchange, answer = handshake.key_exchange, handshake.server_hello
    if exchange is None:
        whole = handshake.client_key_exchange is not None or "n" in handshake.history
        rsa = answer is not None and key_exchange(answer.hello.cipher_suite) == "rsa"
        return Possession.NOT_POSSIBLE if whole and rsa else Possession.NOT_CAPTURED, None, None
    outcome = Possession.NOT_CAPTURED
    for seen in handshake.client_hellos:
        if answer is None or seen.hello.sslv2_format:
            continue
        outcome = server_key_exchange(
            chain[0],
            seen.hello.random,
            answer.hello.random,
            exchange.body,
            answer.hello.version,
            key_exchange(answer.hello.cipher_suite),
        )
        if outcome is Possession.PROVED:
            return outcome, exchange.seen.frame, seen
    if outcome is Possession.REFUTED and handshake.client_conflict:
        outcome = Possession.NOT_CAPTURED
    return outcome, exchange.seen.frame, None


def _accepted(handshake: Handshake) -> str | None:
    """The digest of the session id or ticket that the server accepted."""
    hello = handshake.client_hello.hello if handshake.client_hello else None
    if hello is None or handshake.resumed not in ("ticket", "session_id"):
        return None
    found = _digests(hello.session_ticket if handshake.resumed == "ticket" else hello.session_id)
    return found[0] if found else None


def _waited(hello_ns: int, client_packets: list[Packet], flow: Flow) -> bool:
    """Did the client give the server time to answer: a repeated hello, or some seconds before it closed?"""
    if handshake_copies(client_packets) > 1:
        return True
    ended = [packet.time_ns for packet in client_packets if packet.flags & (FIN | RST)]
    return (ended[0] if ended else flow.last_time) - hello_ns >= PATIENCE


def handshake_copies(client_packets: list[Packet]) -> int:
    """How often the client sent its first data segment."""
    data = [packet for packet in client_packets if packet.payload]
    return sum(packet.seq == data[0].seq for packet in data) if data else 0


def scrubbed(chain: ChainSeen) -> bool:
    """Was the leaf taken out of the capture (scrub/): zeros in its place, its length as it was?"""
    return bool(chain.certificates) and not any(chain.certificates[0])


def absent_reason(handshake: Handshake, flow: Flow) -> Absent | None:
    """The reason why the server's Certificate is not, or not wholly, there; None where it is."""
    if handshake.chains:
        if scrubbed(handshake.chains[0]):
            return Absent.SCRUBBED
        if handshake.chains[0].complete:
            return None
        return Absent.TRUNCATED if handshake.cut or not handshake.lost else Absent.NOT_CAPTURED
    answer = handshake.server_hello
    if handshake.resumed:
        return Absent.RESUMED
    if answer is not None and is_tls13(answer.hello.version):
        if handshake.chain_problem:
            return Absent.MALFORMED
        return Absent.UNDECRYPTABLE if handshake.keys else Absent.ENCRYPTED
    if answer is None:
        return _absent_without_hello(handshake, flow)
    if handshake.cut:
        return Absent.TRUNCATED
    if handshake.lost:
        return Absent.NOT_CAPTURED
    if handshake.malformed:
        return Absent.MALFORMED
    if handshake.key_exchange or "n" in handshake.history or handshake.server_cipher_change:
        return Absent.NOT_SENT
    return Absent.LIMIT if flow.given_up else Absent.NOT_REACHED


def _absent_without_hello(handshake: Handshake, flow: Flow) -> Absent:
    """No ServerHello: nothing of the server, nothing yet, or the part of it that was not captured."""
    from_server = (flow.b_packets, flow.a_packets)[handshake.client_direction]
    if not from_server:
        return Absent.ONE_SIDED if handshake.transport == "tcp" else Absent.NOT_REACHED
    if handshake.cut:
        return Absent.TRUNCATED
    if handshake.server_data or handshake.server_cipher_change or handshake.client_hello is None:
        return Absent.NOT_CAPTURED
    sent = (flow.b_bytes, flow.a_bytes)[handshake.client_direction]
    if sent and not handshake.alerts and not handshake.plain_answer:
        return Absent.NOT_CAPTURED
    return Absent.NOT_REACHED


def _reaction(handshake: Handshake, client_packets: list[Packet]) -> Reaction:
    """What the client did once the server had answered."""
    answer = handshake.server_hello
    if answer is None or not client_packets or handshake.transport == "quic":
        return Reaction.NOT_SEEN  # what QUIC's client says next is encrypted, and may be a refusal
    for alert in handshake.alerts:
        if alert.from_client and alert.code in CERTIFICATE_ALERTS:
            return Reaction.REFUSED
    if handshake.client_key_exchange or handshake.client_data_bytes > 128:
        return Reaction.WENT_ON
    after = [packet for packet in client_packets if packet.frame > answer.seen.frame]
    if any(packet.flags & (FIN | RST) for packet in after):
        return Reaction.CLOSED
    if handshake.client_cipher_change or handshake.client_data:
        return Reaction.WENT_ON
    return Reaction.SILENT
