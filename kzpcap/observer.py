# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=True
"""From a flow and its handshake to an Observation.

The file runs as it is; observer.pxd gives the compiled form its types.
"""

from __future__ import annotations

import hashlib
from typing import Any

from kzpcap.absent import absent_reason, scrubbed, without_tls
from kzpcap.capture import codes
from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet
from kzpcap.certificates.certificate import Certificate
from kzpcap.certificates.names import normalise
from kzpcap.certificates.possession import Possession, certificate_verify, server_key_exchange
from kzpcap.certificates.seen import SeenCertificates
from kzpcap.certificates.staple import Staple
from kzpcap.certificates.staple import read as read_staple
from kzpcap.flows import acknowledges_unsent, direction_packets
from kzpcap.iana import CERTIFICATE_ALERTS, TLS_PORTS, is_tls13, key_exchange
from kzpcap.marks import (
    acknowledges_missing,
    client_stamps,
    closed_by_server,
    first_marked,
    mark,
    probes,
    resets,
    server_marks,
    syn_ack,
)
from kzpcap.observations import IGNORED, Absent, Mark, Observation, Reaction
from kzpcap.paths.icmp import address
from kzpcap.reference.targets import Match, TargetList, Targets
from kzpcap.tls.fingerprints import ja3, ja3s, ja4
from kzpcap.tls.messages import ECH, SCT
from kzpcap.tls.seen import ChainSeen, ClientHelloSeen, Handshake

MAX_SEGMENT = 1_460
"""Bytes of a TCP segment over Ethernet and IPv4."""
MAX_PROTOCOLS = 256
MAX_TRIED = 16
"""Hellos of one connection over whose randoms a signature is checked; clients send one, decoys are few."""
MAX_TIMESTAMPS = 4_096
PATIENCE = 3_000_000_000
"""A client that gave up sooner, without repeating its hello, shows nothing (browsers race and cancel)."""
REPEATS_AFTER = 100_000_000
"""Nanoseconds: no timer of a lost first segment is shorter (RFC 6298 section 2.4 asks for a second, Linux for 0.2)."""
FIELDS = Observation._fields
DEFAULTS: dict[str, Any] = Observation._field_defaults


class Observer:
    """Makes observations, and collects the certificates in them.

    `at` is the time by which lists are judged (nanoseconds UTC), in place of the capture's.
    """

    def __init__(
        self,
        target_lists: tuple[TargetList, ...],
        ech_public_names: frozenset[str] = frozenset(),
        at: int | None = None,
    ) -> None:
        self.targets = Targets(target_lists)
        self.ech_public_names = ech_public_names
        self.at = at
        self.certificates = SeenCertificates()
        self.count = 0

    def observe(self, flow: Flow, handshake: Handshake | None) -> Observation | None:
        """The observation of one flow; None where it has nothing to do with TLS."""
        first = flow.packets[0]
        client = handshake.client_direction if handshake is not None else _syn_sender(flow)
        ends = ((address(first.src), first.sport), (address(first.dst), first.dport))
        if first.direction != client:
            ends = (ends[1], ends[0])
        if handshake is None and not _expected(flow, ends[1][1]):
            return None
        sent = direction_packets(flow, client)
        answered = direction_packets(flow, 1 - client)
        self.count += 1
        acknowledged = syn_ack(sent, answered)
        again = acknowledged is not None and _sent_again(sent, acknowledged.frame)
        facts: dict[str, Any] = {
            "number": self.count,
            "first_frame": flow.first_frame,
            "last_frame": flow.last_frame,
            "time_ns": flow.first_time,
            "client": ends[0],
            "server": ends[1],
            "syn": first_marked(sent, "syn", codes.SYN, codes.ACK),
            "syn_ack": acknowledged,
            "syn_again": again,
            "client_packets": flow.side(client).packets,
            "server_packets": flow.side(1 - client).packets,
            "server_bytes": flow.side(1 - client).bytes,
            "resets": resets(answered, flow),
            "client_resets": resets(sent, flow),
            "client_closed": _closed(sent) if flow.reset else None,
            "given_up": flow.given_up,
            "duplicates": flow.duplicates,
            "tunnels": first.tunnels,
            "ppp": first.ppp,
            "client_stamps": client_stamps(sent),
            "odd_acks": ()
            if flow.given_up or flow.protocol != codes.TCP
            else acknowledges_unsent(flow.packets, client),
        }
        if handshake is None:
            facts.update(DEFAULTS)
            facts["syn_again"] = again
            facts["absent"] = without_tls(flow)
            facts["server_marks"] = tuple([mark(packet, "data") for packet in answered if packet.payload][:4])
        else:
            self._add(facts, handshake, flow, sent, answered)
        return tuple.__new__(Observation, [facts[name] for name in FIELDS])

    def _add(
        self, facts: dict[str, Any], handshake: Handshake, flow: Flow, sent: list[Packet], answered: list[Packet]
    ) -> None:
        """Add what the handshake shows."""
        chain = handshake.chains[0] if handshake.chains and not scrubbed(handshake.chains[0]) else None
        certificates = [self.certificates.add(der) for der in chain.certificates] if chain else []
        possession, frame, proven = _possession(flow, handshake, certificates)
        seen = proven or handshake.client_hello
        hello = seen.hello if seen else None
        raw = hello.server_name if hello else None
        raw = raw or None
        name = normalise(raw) if raw is not None else None
        other = _other_chain(handshake)
        ech = hello is not None and hello.extension(ECH) is not None
        answer = handshake.server_hello
        first = handshake.first_answer
        server = first.hello if first else None
        version = server.version if server else None
        newest = version is not None and is_tls13(version)
        others = _other_names(handshake, raw)
        upgrade = handshake.upgrade
        plain = handshake.plain_answer
        finished = handshake.finished_seen
        time_ns = flow.first_time if self.at is None else self.at
        older = server if server and not newest else None
        facts["transport"] = handshake.transport
        facts["tls"] = True
        if first is None and seen is not None:
            facts["client_closed"] = _closed(sent)
        facts["server_name_raw"] = raw
        facts["server_name"] = name
        facts["name_status"] = (
            "no_hello" if hello is None else "seen" if raw is not None else "absent" if hello.complete else "cut"
        )
        facts["other_names"] = others
        facts["target"] = self._target((name, *others), time_ns)
        facts["ech_offered"] = ech
        facts["ech_inner_unknown"] = ech and name in self.ech_public_names
        facts["client_hello"] = seen.seen if seen else None
        facts["hello_first_frame"] = seen.first_frame if seen else 0
        facts["server_hello"] = answer.seen if answer else None
        facts["hello_sent"] = seen is not None
        facts["offers_tls13"] = hello is not None and _offers_tls13(hello.supported_versions)
        facts["version"] = version
        facts["cipher"] = server.cipher_suite if server else None
        facts["alpn_offered"] = _offered(hello.alpn_protocols) if hello else None
        facts["alpn_chosen"] = server.alpn if server else None
        facts["ja3"] = ja3(hello) if hello else None
        facts["ja4"] = ja4(hello, handshake.transport) if hello else None
        facts["ja3s"] = ja3s(server) if server and not server.is_retry else None
        facts["chain"] = tuple([certificate.sha256 for certificate in certificates])
        facts["chain_seen"] = chain.seen if chain else None
        facts["chain_complete"] = chain is not None and chain.complete
        reason = absent_reason(handshake, flow)
        if reason is Absent.NOT_REACHED and not facts["server_bytes"] and acknowledges_missing(sent, answered):
            reason = Absent.NOT_CAPTURED
        facts["absent"] = reason
        facts["acknowledged_more"] = answer is not None and acknowledges_missing(answered, sent)
        facts["client_chain"] = self._digests(handshake.client_chains[0]) if handshake.client_chains else ()
        facts["possession"] = possession
        facts["possession_frame"] = frame
        facts["resumed"] = handshake.resumed
        facts["resumed_session"] = _accepted(handshake)
        facts["issued_session"] = _session_digests((older.session_id if older else b"", *handshake.tickets))
        facts["alerts"] = handshake.alerts
        facts["reaction"] = _reaction(handshake, sent, facts["resets"])
        facts["history"] = handshake.history
        facts["server_marks"] = server_marks(handshake, answered)
        facts["probes"] = probes(handshake, sent)
        facts["plain_answer"] = plain.body[:512] if plain else b""
        facts["plain_frame"] = plain.seen.frame if plain else None
        facts["upgrade"] = upgrade.protocol if upgrade else None
        facts["requested_name"] = upgrade.requested if upgrade else None
        facts["proxied"] = bool(upgrade and upgrade.proxy)
        facts["conflicts"] = handshake.server_conflicts
        facts["other_chain"] = self._digests(other) if other else ()
        facts["other_chain_frame"] = other.seen.frame if other else None
        facts["waited"] = _waited(seen.seen.time_ns, sent, flow) if seen else False
        facts["finished_ok"] = handshake.finished_ok
        facts["finished_frame"] = finished.frame if finished else None
        facts["chain_problem"] = handshake.chain_problem
        facts["quic"] = handshake.quic
        facts["strays"] = handshake.strays
        facts["server_time"] = (
            int.from_bytes(older.random[:4], "big") if older and handshake.transport == "tcp" else None
        )
        facts["staple"] = _staple(handshake, certificates)
        facts["flight"] = handshake.server_flight
        facts["client_record"] = handshake.client_encrypted_size
        facts["server_closed"] = closed_by_server(sent, answered, seen.first_frame) if seen and not first else None
        facts["sentinel"] = server is not None and server.random[24:31] == b"DOWNGRD"
        facts["name_split"] = raw is not None and handshake.transport == "tcp" and _is_split(raw, sent)
        facts["long_hello"] = seen is not None and _is_long(seen.first_frame, seen.seen.frame, sent)
        facts["timestamps"] = (server.extension(SCT) or b"")[:MAX_TIMESTAMPS] if server else b""

    def _digests(self, chain: ChainSeen) -> tuple[str, ...]:
        """The SHA-256 of each certificate of a chain."""
        return tuple([self.certificates.add(der).sha256 for der in chain.certificates])

    def _target(self, names: tuple[str | None, ...], time_ns: int) -> Match | None:
        """The best match among all names that the client sent: a decoy before the real hello hides nothing."""
        best = None
        for name in names:
            hit = self.targets.match(name, time_ns) if name else None
            if hit is not None and (best is None or (hit.exact and not best.exact)):
                best = hit
        return best


def _other_chain(handshake: Handshake) -> ChainSeen | None:
    """The chain of the later copy, where bytes of the server differ."""
    for chain in handshake.alternative_chains:
        if not scrubbed(chain):
            return chain
    return None


def _other_names(handshake: Handshake, raw: bytes | None) -> tuple[str, ...]:
    """Names of further hellos, other than the one that counts."""
    hellos = handshake.client_hellos
    if len(hellos) < 2 and raw is not None:
        return ()
    names = [entry.hello.server_name for entry in hellos]
    return tuple([normalise(name) for name in names if name and name != raw])


def _offered(names: tuple[bytes, ...] | None) -> tuple[bytes, ...] | None:
    """The first of the ALPN names: no client offers ten."""
    return names[:MAX_PROTOCOLS] if names is not None else None


def _offers_tls13(versions: tuple[int, ...]) -> bool:
    for version in versions:
        if is_tls13(version):
            return True
    return False


def _staple(handshake: Handshake, chain: list[Certificate]) -> Staple | None:
    """The OCSP response that the server stapled, checked with the issuer that it sent."""
    if handshake.certificate_status is None or not chain:
        return None
    issuer = chain[1].der if len(chain) > 1 else None
    return read_staple(handshake.certificate_status.body, chain[0].der, issuer)


def _closed(sent: list[Packet]) -> int | None:
    """The frame of the client's FIN, or of its reset: one with the TTL of its SYN."""
    ttl = -1
    for packet in sent:
        if packet.flags & codes.SYN and ttl < 0:
            ttl = packet.ttl
        if packet.flags & codes.FIN or (packet.flags & codes.RST and packet.ttl == ttl):
            return packet.frame
    return None


def _is_long(first: int, last: int, sent: list[Packet]) -> bool:
    """Did what lies in these frames take more than one packet? More than an Ethernet's segment is cut by the card."""
    if first < last:
        return True
    for packet in sent:
        if packet.frame == first:
            return packet.protocol == codes.TCP and packet.length > MAX_SEGMENT
    return False


def _sent_again(sent: list[Packet], answer: int) -> bool:
    """Did the client send its SYN again, before the frame that answered? What follows at once is a copy of it."""
    first = None
    for packet in sent:
        if packet.frame > answer:
            break
        if packet.flags & codes.SYN:
            if first is None:
                first = packet
            elif packet.time_ns - first.time_ns >= REPEATS_AFTER:
                return True
    return False


def _is_split(raw: bytes, sent: list[Packet]) -> bool:
    """Is a name in no packet as a whole?"""
    for packet in sent:
        if raw in packet.payload:
            return False
    return True


def _syn_sender(flow: Flow) -> int:
    for packet in flow.packets:
        if packet.flags & codes.SYN:
            return packet.direction if not packet.flags & codes.ACK else 1 - packet.direction
    first = flow.packets[0]
    return first.direction if first.dport < first.sport else 1 - first.direction


def _expected(flow: Flow, server_port: int) -> bool:
    """A TCP handshake, SYN and SYN-ACK, with a port where TLS is expected."""
    if server_port not in TLS_PORTS:
        return False
    for packet in flow.packets:
        if packet.flags & codes.SYN and packet.flags & codes.ACK:
            return True
    return False


def lone_syn(flow: Flow) -> Packet | None:
    """The SYN of a connection attempt that came no further: a traceroute's probe, if its TTL is low."""
    first = flow.packets[0]
    if len(flow.packets) > 8 or first.flags & codes.ACK or first.payload:
        return None
    return first if first.flags & codes.SYN and not flow.b.packets else None


def _session_digests(values: tuple[bytes, ...]) -> tuple[str, ...]:
    """Short digests of session ids and tickets: enough to link two connections, nothing to resume them with."""
    return tuple([hashlib.sha256(value).hexdigest()[:16] for value in values if len(value) >= 8])


def _possession(
    flow: Flow, handshake: Handshake, chain: list[Certificate]
) -> tuple[Possession | None, int | None, ClientHelloSeen | None]:
    """Whether the answer was signed with the leaf's key, the frame, and the hello whose random proved it.

    Where the client sent several hellos (decoys), the signature may be over the random of any: one that fits proves,
    and only if none fits, no bytes of either side came in two versions and none were damaged is it refuted.
    """
    if not chain or (handshake.client_hello is None and handshake.server_hello is None):
        return None, None, None
    proof = handshake.certificate_verify
    if proof is not None:
        outcome = certificate_verify(
            chain[0], proof.scheme, proof.signature, proof.signed, proof.delegated, proof.seen.time_ns
        )
        if outcome is Possession.REFUTED and not handshake.finished_ok:
            outcome = Possession.NOT_CAPTURED  # what was signed is not what was captured: Finished tells which
        return outcome, proof.seen.frame, None
    exchange, answer = handshake.key_exchange, handshake.server_hello
    if exchange is None:
        whole = handshake.client_key_exchange is not None or "n" in handshake.history
        rsa = answer is not None and key_exchange(answer.hello.cipher_suite) == "rsa"
        return Possession.NOT_POSSIBLE if whole and rsa else Possession.NOT_CAPTURED, None, None
    outcome = Possession.NOT_CAPTURED
    for seen in handshake.client_hellos[:MAX_TRIED]:
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
    if outcome is Possession.REFUTED and (
        handshake.client_conflict
        or handshake.server_conflicts
        or len(handshake.client_hellos) > MAX_TRIED
        or _damaged(flow, exchange.seen.frame)
    ):
        outcome = Possession.NOT_CAPTURED
    return outcome, exchange.seen.frame, None


def _damaged(flow: Flow, last: int) -> bool:
    """Is a checksum wrong up to a frame, of a sender who has right ones too? Offloading leaves all of them wrong."""
    right, wrong = [False, False], [False, False]
    for packet in flow.packets:
        if packet.checksum_ok:
            right[packet.direction] = True
        elif packet.length and packet.frame <= last:
            wrong[packet.direction] = True
    return (wrong[0] and right[0]) or (wrong[1] and right[1])


def _accepted(handshake: Handshake) -> str | None:
    """The digest of the session id or ticket that the server accepted."""
    how = handshake.resumed
    if how not in ("ticket", "session_id") or handshake.client_hello is None:
        return None
    hello = handshake.client_hello.hello
    found = _session_digests((hello.session_ticket if how == "ticket" else hello.session_id,))
    return found[0] if found else None


def _waited(hello_ns: int, sent: list[Packet], flow: Flow) -> bool:
    """Did the client give the server time to answer: a repeated hello, or some seconds before it closed?"""
    if repeated(sent):
        return True
    ended = flow.last_time
    for packet in sent:
        if packet.flags & (codes.FIN | codes.RST):
            ended = packet.time_ns
            break
    return ended - hello_ns >= PATIENCE


def repeated(sent: list[Packet]) -> bool:
    """Did the client send its first data segment again, having waited? One packet captured twice is no repetition.

    What UDP repeats bears another number and is encrypted anew: there any datagram after that time counts.
    """
    first = None
    for packet in sent:
        if packet.payload:
            if first is None:
                first = packet
            elif packet.seq == first.seq:
                later = packet.time_ns - first.time_ns >= REPEATS_AFTER
                if later or (packet.time_ns == 0 and packet.ip_id != first.ip_id):  # some formats have no times
                    return True
    return False


def _reaction(handshake: Handshake, sent: list[Packet], against: tuple[Mark, ...]) -> Reaction:
    """What the client did once the server had answered; `against`: the resets of the server's side.

    A system whose connection was reset answers what comes for it still with resets of its own: that is no closing.
    """
    answer = handshake.server_hello
    if answer is None or not sent or handshake.transport == "quic":
        return Reaction.NOT_SEEN  # what QUIC's client says next is encrypted, and may be a refusal
    for alert in handshake.alerts:
        if alert.from_client and alert.code in CERTIFICATE_ALERTS:
            return Reaction.REFUSED
    # Before TLS 1.3 its key exchange says nothing yet: Firefox checks the certificate while its second flight is out.
    if handshake.client_data_bytes > 128 or (handshake.client_key_exchange and handshake.client_data):
        return Reaction.WENT_ON
    frame = answer.seen.frame
    over = min([one.frame for one in against if one.frame > frame and one.what != IGNORED], default=0)
    for packet in sent:
        if packet.frame > frame and packet.flags & (codes.FIN | codes.RST):
            if 0 < over < packet.frame and packet.flags & codes.RST:
                continue
            return Reaction.CLOSED
    if handshake.client_key_exchange or handshake.client_cipher_change or handshake.client_data:
        return Reaction.WENT_ON
    return Reaction.SILENT
