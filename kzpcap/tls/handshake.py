# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=True
"""A connection's TLS handshake: who is the client, what each side said, in which frames.

`read(flow)` gives a Handshake, or None where the connection has no TLS. Facts only: what a handshake means is for
verdict/ to say.

The file runs as it is; handshake.pxd gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture.codes import ACK, SYN, UDP
from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet
from kzpcap.flows import Stream, both_directions, distance, reassemble, versions
from kzpcap.iana import is_tls13
from kzpcap.tls import codes, dtls, quic, records, upgrade
from kzpcap.tls.keylog import KeyLog, open_flight, open_quic
from kzpcap.tls.messages import (
    EARLY_DATA,
    MAX_CERTIFICATES,
    RAW_KEY_SAYS,
    RAW_PUBLIC_KEY,
    SERVER_CERTIFICATE_TYPE,
    certificate_list,
    client_hello,
    server_hello,
)
from kzpcap.tls.seen import (
    AlertSeen,
    BytesSeen,
    CertificateVerify,
    ChainSeen,
    ClientHelloSeen,
    Handshake,
    Seen,
    ServerHelloSeen,
)

MAX_HISTORY = 100
MAX_TICKETS = 16
PLAIN_PORTS = frozenset({20, 80})
"""FTP-data and HTTP: TLS is not spoken there from the first byte on."""


def read(flow: Flow, keys: KeyLog | None = None) -> Handshake | None:
    """The TLS handshake of a flow over TCP, QUIC or DTLS; None where there is no TLS in it.

    With `keys`, the server's flight of TLS 1.3 over TCP or QUIC is opened as far as its Certificate.
    """
    if flow.protocol == UDP:
        return _read_datagrams(flow, keys)
    streams = both_directions(flow)
    return read_streams(streams, keys)


def connections(flow: Flow) -> list[Flow]:
    """The connections of a flow: of UDP there may be many between two ports, of TCP there is one."""
    if flow.protocol != UDP:
        return [flow]
    parts = dtls.connections(flow)
    return parts if len(parts) > 1 else quic.connections(flow)


def _read_datagrams(flow: Flow, keys: KeyLog | None) -> Handshake | None:
    found = dtls.read(flow)
    if found is not None:
        client, server, direction = found
        return _build(client, server, direction, None, "dtls")
    found = quic.read(flow)
    if found is not None:
        client, server, direction = found
        handshake = _build(client, server, direction, None, "quic")
        handshake.quic = quic.turns(flow, direction)
        return _opened(handshake, client, server, keys, flow) if keys and keys.secrets else handshake
    return None


def read_streams(streams: tuple[Stream, Stream], keys: KeyLog | None = None) -> Handshake | None:
    """The TLS handshake of two directions; None where there is no TLS."""
    sides = (records.read(streams[0]), records.read(streams[1]))
    for hidden in (0, 1):
        if sides[hidden].begin is None and streams[hidden].conflicts and client_of(sides) == hidden:
            found = _behind_fakes(sides[hidden])
            sides = (found, sides[1]) if hidden == 0 else (sides[0], found)
            break
    before: upgrade.Upgrade | None = None
    if sides[0].begin != 0 or sides[1].begin != 0:
        clear = [_clear(stream, side) for stream, side in zip(streams, sides, strict=True)]
        for client in (0, 1):
            before = upgrade.recognise(clear[client], clear[1 - client])
            if before is not None:
                sides = (_upgraded(sides[0]), _upgraded(sides[1]))
                break
    if (sides[0].begin is None and sides[1].begin is None) or not _is_tls(sides):
        return None
    client = client_of(sides)
    if _talks_otherwise(sides[client], sides[1 - client]):
        return None
    handshake = _build(sides[client], sides[1 - client], client, before)
    return _opened(handshake, sides[client], sides[1 - client], keys) if keys and keys.secrets else handshake


def _behind_fakes(side: records.Side) -> records.Side:
    """The first reading of a client's bytes with TLS in it, where they came in several versions and the first has none.

    A client lays fakes before its own hello. Of a server's bytes the first copy is what the client took.
    """
    for other in versions(side.stream.packets):
        found = records.read(other)
        if found.begin is not None:
            return found
    return side


def _talks_otherwise(client: records.Side, server: records.Side) -> bool:
    """Is no TLS of the client's there because it sent none? Then the other's records are a file.

    Nobody answers a handshake that was not begun: a download, or an upload, may hold the bytes of any. The client's
    side is whole from its SYN, in plain text; or it sent nothing, as the server acknowledges; or, where its side is not
    whole, the port is one of plain text. Who goes on as a client of TLS has begun as one, in bytes that show no hello
    where one is looked for.
    """
    stream = client.stream
    if client.begin is not None or _went_on(stream.packets):
        return False
    if stream.from_start and not stream.cut and len(stream.runs) == 1 and stream.runs[0].offset == 0:
        first = stream.runs[0].data[0]
        return not (20 <= first <= 24 or first & 0x80)
    if not stream.runs and _acknowledges_nothing(stream.packets, server.stream.packets):
        return True
    packets = server.stream.packets or stream.packets
    return bool(packets) and (packets[0].sport in PLAIN_PORTS or packets[0].dport in PLAIN_PORTS)


def _went_on(packets: list[Packet]) -> bool:
    """Does the client send a ClientKeyExchange and a change of the cipher, as it goes on in TLS 1.2?"""
    exchanged = changed = False
    for packet in packets:
        head = packet.payload[:6]
        exchanged = exchanged or (head[:2] == b"\x16\x03" and head[5:] == b"\x10")
        changed = changed or b"\x14\x03" + head[2:3] + b"\0\1\1" in packet.payload
    return exchanged and changed


def _acknowledges_nothing(client: list[Packet], server: list[Packet]) -> bool:
    """Did the server send data and yet acknowledge no more of the client's than SYN and FIN?"""
    begin = -1
    for packet in client:
        if packet.flags & SYN:
            begin = packet.seq
            break
    if begin < 0:
        return False
    answered = False
    for packet in server:
        if packet.flags & ACK and packet.payload:
            answered = True
            if distance(packet.ack, begin) > 2:
                return False
    return answered


def _upgraded(side: records.Side) -> records.Side:
    """The side, read again where its TLS may stand behind another protocol."""
    return side if side.begin is not None else records.read(side.stream, True)


def _opened(
    handshake: Handshake, client: records.Side, server: records.Side, keys: KeyLog, flow: Flow | None = None
) -> Handshake:
    """The handshake with what the keys show of the server's encrypted flight; over QUIC where its flow is given.

    Of several hellos (decoys) the one counts that the keys are of: it comes first then.
    """
    hellos = sorted(handshake.client_hellos, key=lambda seen: seen.hello.random not in keys.secrets)
    if hellos and hellos[0] is not handshake.client_hellos[0]:
        handshake.client_hellos = tuple(hellos)
        if hellos[0].alternative:
            client = records.read(reassemble(client.stream.packets, True))
    hello, answer = handshake.client_hello, handshake.server_hello
    if hello is None or answer is None or not is_tls13(answer.hello.version):
        return handshake
    secret = keys.secrets.get(hello.hello.random)
    if secret is None or (flow is None and not server.encrypted):
        return handshake
    suite = answer.hello.cipher_suite
    if flow is None:
        opened = open_flight(client, server, secret, suite)
    else:
        opened = open_quic(flow, handshake.client_direction, client, server, secret, suite)
    if opened is None:
        handshake.keys = "wrong"
        return handshake
    handshake.keys = "opened"
    if opened.certificates is not None and opened.certificate_packet is not None:
        seen = _seen(opened.certificate_packet)
        handshake.chains = (ChainSeen(opened.certificates, opened.complete, seen, seen.frame),)
    if opened.signature and opened.verify_packet:
        handshake.certificate_verify = CertificateVerify(
            *opened.signature, _seen(opened.verify_packet), opened.delegated
        )
    handshake.finished_ok = opened.finished_ok
    if opened.finished_packet is not None:
        handshake.finished_seen = _seen(opened.finished_packet)
    handshake.chain_problem = opened.problem
    return handshake


def _clear(stream: Stream, side: records.Side) -> bytes:
    """The first bytes of a direction up to where TLS begins."""
    if not stream.runs or stream.runs[0].offset:
        return b""
    return stream.runs[0].data[: side.begin if side.begin is not None else upgrade.LOOK]


def _is_tls(sides: tuple[records.Side, records.Side]) -> bool:
    """A hello, a Certificate, or records of both kinds: enough to call it TLS."""
    shaped = 0
    for side in sides:
        if side.sslv2 or (side.encrypted and side.malformed is None):
            return True
        for message in side.messages:
            if message.kind in (1, 2, 11):
                return True
        shaped += len(side.encrypted) + len(side.alerts) + (side.cipher_change is not None)
    return shaped >= 2


def client_of(sides: tuple[records.Side, records.Side]) -> int:
    """Which of two directions is the client's: who said ClientHello, else who did not say ServerHello, else ports.

    A client sends Certificate as well, so that counts only where no SYN was seen.
    """
    for index in (0, 1):
        if sides[index].sslv2 or _said(sides[index], (1, 15, 16)):
            return index
    for index in (0, 1):
        if _said(sides[index], (2, 12, 13, 14)):
            return 1 - index
    for index in (0, 1):
        for packet in sides[index].stream.packets:
            if packet.flags & 0x12 == 0x02:  # SYN without ACK
                return index
            if packet.flags & 0x12 == 0x12:
                return 1 - index
    for index in (0, 1):
        if _said(sides[index], (11,)):
            return 1 - index
    for index in (0, 1):
        for packet in sides[index].stream.packets[:1]:
            return index if packet.dport < packet.sport else 1 - index
    return 0


def _said(side: records.Side, kinds: tuple[int, ...]) -> bool:
    """Did this side send a message of one of these types?"""
    for message in side.messages:
        if message.kind in kinds:
            return True
    return False


def _seen(packet: Packet) -> Seen:
    return tuple.__new__(Seen, (packet.frame, packet.time_ns, packet.ttl, packet.ip_id))


def _build(
    client: records.Side,
    server: records.Side,
    direction: int,
    before: upgrade.Upgrade | None,
    transport: str = "tcp",
) -> Handshake:
    hellos = _client_hellos(client, transport == "dtls")
    answers = _server_hellos(server)
    version = 0x0303
    retries: list[int] = []
    for answer in answers:
        if answer.hello.is_retry:
            retries.append(answer.seen.frame)
    for answer in answers:
        if not answer.hello.is_retry:
            version = answer.hello.version
            break
    found = Handshake(transport, direction)
    if server.begin is None and hellos:
        found.plain_answer = _plain_answer(client, server, hellos[0].first_frame)
    answered = _answered(hellos, answers)
    client_data = _first_data(client, answered)
    server_data = _first_data(server, 0)
    found.client_hellos = hellos
    found.server_hellos = answers
    found.chains = _chains(server, version)
    chosen = found.server_hello
    if found.chains and chosen is not None and chosen.hello.extension(SERVER_CERTIFICATE_TYPE) == RAW_PUBLIC_KEY:
        found.chains = ()
        found.chain_problem = RAW_KEY_SAYS
    found.client_chains = _chains(client, version)
    found.alternative_chains = _alternatives(server, version)
    found.key_exchange = _first(server, 12)
    found.certificate_status = _first(server, 22)
    found.tickets = _tickets(server)
    found.alerts = _alerts(client, True) + _alerts(server, False)
    found.history = _history(client, server, retries)
    change = client.cipher_change
    found.client_cipher_change = _seen(change) if change is not None and change.frame >= answered else None
    found.server_cipher_change = _seen(server.cipher_change) if server.cipher_change else None
    found.client_key_exchange = _client_key_exchange(client)
    if client_data is not None:
        found.client_data = _seen(client_data.packet)
        found.client_encrypted_size = client_data.length
    if server_data is not None:
        found.server_data = _seen(server_data.packet)
    found.client_data_bytes = _data_behind(client, answered) if answered else client.application_bytes
    found.server_flight = _flight(server, client_data.packet.frame if client_data else None)
    found.upgrade = before
    found.lost = server.lost or (server.stream.gaps > 0 and not server.encrypted)
    found.cut = server.stream.cut
    found.full = server.full or _many(found.chains)
    found.client_full = client.full
    found.malformed = server.malformed or client.malformed
    found.server_conflicts = tuple([(c.first_frame, c.other_frame) for c in server.stream.conflicts])
    found.client_conflict = bool(client.stream.conflicts)
    found.strays = client.stream.strays + server.stream.strays
    return found


def _plain_answer(client: records.Side, server: records.Side, asked: int) -> BytesSeen | None:
    """What the server said to the ClientHello of a frame, if it is no TLS record.

    It begins where the client had acknowledged the server's stream with its hello: what came before is no answer, and
    where that byte is missing the rest is a part of an answer. What was recorded before the hello must acknowledge it.
    """
    stream = server.stream
    for packet in client.stream.packets:
        if packet.frame != asked:
            continue
        if packet.flags & SYN and not stream.from_start:
            return None
        at = 0 if packet.flags & SYN else distance(packet.ack, stream.base)
        for run in stream.runs:
            if run.offset <= at < run.offset + len(run.data):
                first = stream.packet_at(at)
                if first.frame < asked and distance(first.ack, packet.seq) <= 0:
                    return None
                body = run.data[at - run.offset : at - run.offset + 1024]
                return None if 20 <= body[0] <= 24 and body[1:2] == b"\3" else BytesSeen(body, _seen(first))
        return None
    return None


def _server_hellos(side: records.Side) -> tuple[ServerHelloSeen, ...]:
    found = []
    for message in side.messages:
        if message.kind == 2:
            parsed = server_hello(message.body, message.complete)
            if parsed is not None:
                found.append(ServerHelloSeen(parsed, _seen(message.packet)))
    return tuple(found)


def _answered(hellos: tuple[ClientHelloSeen, ...], answers: tuple[ServerHelloSeen, ...]) -> int:
    """The frame before which a client says nothing of an answer: its early data (RFC 8446 section 4.2.10). 0: none."""
    if not hellos or hellos[0].hello.extension(EARLY_DATA) is None:
        return 0
    for answer in answers:
        if not answer.hello.is_retry:
            return answer.seen.frame
    return 0


def _first_data(side: records.Side, behind: int) -> records.EncryptedRecord | None:
    """The first record of application data that is not before a frame."""
    for record in side.encrypted:
        if record.kind == codes.APPLICATION_DATA and record.packet.frame >= behind:
            return record
    return None


def _data_behind(side: records.Side, frame: int) -> int:
    """Bytes of the records of application data that are not before a frame."""
    return sum(
        [one.length for one in side.encrypted if one.kind == codes.APPLICATION_DATA and one.packet.frame >= frame]
    )


def _flight(server: records.Side, before: int | None) -> int:
    """Bytes of the server's first encrypted records, those in frames before the client's first."""
    total = counted = 0
    for record in server.encrypted:
        if record.kind == codes.APPLICATION_DATA:
            counted += 1
            if counted > 64:
                break
            if before is None or record.packet.frame < before:
                total += record.length
    return total


def _first(side: records.Side, kind: int) -> BytesSeen | None:
    for message in side.messages:
        if message.kind == kind and message.complete:
            return BytesSeen(message.body, _seen(message.packet))
    return None


def _tickets(server: records.Side) -> tuple[bytes, ...]:
    """Of each whole NewSessionTicket: lifetime and length are left out."""
    found: list[bytes] = []
    for message in server.messages:
        if message.kind == 4 and message.complete and len(message.body) > 6 and len(found) < MAX_TICKETS:
            found.append(message.body[6:])
    return tuple(found)


def _client_key_exchange(side: records.Side) -> Seen | None:
    for message in side.messages:
        if message.kind == 16:
            return _seen(message.packet)
    return None


def _alerts(side: records.Side, from_client: bool) -> tuple[AlertSeen, ...]:
    return tuple([AlertSeen(from_client, one.level, one.code, _seen(one.packet)) for one in side.alerts])


def _chains(side: records.Side, version: int) -> tuple[ChainSeen, ...]:
    found = []
    for message in side.messages:
        if message.kind == 11:
            certificates, whole = certificate_list(message.body, version)
            found.append(
                ChainSeen(
                    certificates,
                    whole and message.complete,
                    _seen(message.packet),
                    message.first_frame,
                    message.complete and not whole,
                )
            )
    return tuple(found)


def _many(chains: tuple[ChainSeen, ...]) -> bool:
    """Are there more certificates than are kept of one list?"""
    for chain in chains:
        if len(chain.certificates) > MAX_CERTIFICATES:
            return True
    return False


def _alternatives(server: records.Side, version: int) -> tuple[ChainSeen, ...]:
    if not server.stream.conflicts:
        return ()
    known = {chain.certificates for chain in _chains(server, version)}
    found = []
    for stream in versions(server.stream.packets):
        for chain in _chains(records.read(stream), version):
            if chain.certificates not in known:
                known.add(chain.certificates)
                found.append(chain)
    return tuple(found)


def _client_hellos(side: records.Side, is_dtls: bool) -> tuple[ClientHelloSeen, ...]:
    """Every ClientHello of the client, also those that overlapping segments hide behind the first copy."""
    found: list[ClientHelloSeen] = []
    if side.sslv2:
        hello, packet = side.sslv2
        found.append(ClientHelloSeen(hello, _seen(packet), packet.frame))
    found += _parsed(side, False, is_dtls)
    if side.stream.conflicts:
        known = {(seen.hello.random, seen.hello.server_name) for seen in found}
        for stream in versions(side.stream.packets):
            for seen in _parsed(records.read(stream), True, False):
                if (seen.hello.random, seen.hello.server_name) not in known:
                    known.add((seen.hello.random, seen.hello.server_name))
                    found.append(seen)
    return tuple(found)


def _parsed(side: records.Side, alternative: bool, is_dtls: bool) -> list[ClientHelloSeen]:
    found = []
    for message in side.messages:
        if message.kind == 1:
            parsed = client_hello(message.body, message.complete, is_dtls)
            if parsed is not None:
                found.append(ClientHelloSeen(parsed, _seen(message.packet), message.first_frame, alternative))
    return found


def _history(client: records.Side, server: records.Side, retries: list[int]) -> str:
    """Zeek's ssl_history: a letter a message in the order seen, the client's upper case; `retries`: frames of those."""
    events: list[tuple[int, int, str]] = []
    for index, (packet, letter) in enumerate(client.order):
        events.append((packet.frame, index, letter.upper()))
    for index, (packet, letter) in enumerate(server.order):
        events.append((packet.frame, index, "j" if letter == "s" and packet.frame in retries else letter))
    events.sort()
    return "".join([letter for _, _, letter in events])[:MAX_HISTORY]
