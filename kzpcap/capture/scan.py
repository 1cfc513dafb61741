# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""Walk a capture and hand on the packets that can matter; count all the others.

What matters: SYN, FIN and RST; the first bytes of each direction of a TCP connection, and more of them once TLS is
seen; ICMP errors; DNS answers; QUIC, DTLS. A segment seen again with another TTL is evidence (a TTL ladder), not a
retransmission, and is kept like any other. Totals are exact: every packet is counted, whatever becomes of it.

`Scanner.read(n)` reads up to n packets and returns the flows that ended meanwhile; what a bound gave up is counted.
The file runs as it is; scan.pxd gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture import codes, limits, pieces
from kzpcap.capture.container import Records
from kzpcap.capture.decode import Packet, checksum_matches, decode, decode_ip
from kzpcap.capture.health import Notes

IDLE_NS = 600 * 1_000_000_000
CLOSED_NS = 30 * 1_000_000_000
REUSE_NS = 1_000_000_000
LATE = 65_536
"""Bytes behind a SYN that an answer captured before it may acknowledge."""
BESIDE = 1 << 24
"""How many bytes of the client's a connection has at most that goes on beside a newer one between the same ports."""
MAX_FRAGMENTS = 128
"""Datagrams in the making at once; each may take twice its own length."""
FRAGMENTS_NS = 30_000_000_000
"""How long fragments of a datagram are waited for (RFC 791 section 3.2 has 15 s)."""
FRAGMENTS_APART = 20_000
"""The same in frames: packets may have no times."""
MAX_WHOLE = 256
MAX_PIECES = 64
MAX_APART = 1_000
"""How many datagrams are remembered that were put together, of each how many pieces, and for how many frames."""
MAX_DATAGRAM = 65_535
MAX_FINISHED = 2 << 20
"""Bytes of ended flows after which `read` returns early, so that they can be taken away."""
MAX_WINDOW = 2 << 20
"""Bytes of the capture that one call of `read` walks at most."""
MAX_NTP = 4_096
MAX_SIDE_PACKETS = 32_768
"""Of DNS answers in one batch, probes of traceroutes, ICMP errors and echoes each."""
ICMP_KEPT = 256
"""Bytes of an ICMP message that are kept: an error with its quote and extensions."""
MAX_PROBE_TTL = 40
PCAPDROID = b"\x01\x07\x20\x21"
"""How the trailers begin that PCAPdroid puts behind each packet."""


class Flow:
    """The kept packets of one conversation, `a` being the sender of its first packet (direction 0)."""

    def __init__(self, first: Packet, key: bytes, reverse: bytes) -> None:
        self.key = key
        self.reverse = reverse
        self.protocol = first.protocol
        self.first_frame = first.frame
        self.first_time = first.time_ns
        self.last_frame = first.frame
        self.last_time = first.time_ns
        self.packets: list[Packet] = []
        self.a_packets = 0
        self.b_packets = 0
        self.a_bytes = 0
        self.b_bytes = 0
        self.a_kept = 0
        self.b_kept = 0
        self.a_data_from = -1
        self.b_data_from = -1
        self.a_kept_packets = 0
        self.b_kept_packets = 0
        self.given_up = 0
        self.duplicates = 0
        self.cost = 0
        self.isn = -1
        self.first_ack = (
            first.ack if first.protocol == codes.TCP and first.flags & codes.SYN and first.flags & codes.ACK else -1
        )
        self.a_fin = False
        self.b_fin = False
        self.a_application = False
        self.a_protected = False
        self.b_protected = False
        self.b_application = False
        self.reset = False
        self.has_data = False
        self.tls = False
        self.old = False
        """TLS up to 1.2, by a message of its handshake that later versions encrypt."""
        self.two_points = False
        """The SYN or the SYN-ACK was captured twice."""
        self.older: Flow | None = None
        """One between the same ports that was open when this one's SYN came: both legs of a box, or a forged SYN."""


class Fragments:
    """One IP datagram in the making: its bytes, and which of them have come."""

    def __init__(self, frame: int, time_ns: int) -> None:
        self.frame = frame
        self.time_ns = time_ns
        self.ttl = 0
        self.pieces: set[int] = set()
        """Hashes of those that came."""
        self.body = bytearray()
        self.have = bytearray()
        self.filled = 0
        self.total = -1
        self.header = b""


class Scanner:
    """The engine: one pass over the records of a capture."""

    def __init__(self, records: Records, notes: Notes) -> None:
        self.records = records
        self.notes = notes
        self.data = records.raw
        self.packet = Packet()
        self.sides: dict[bytes, Flow] = {}
        self.latest: Flow | None = None
        """The live flow of the packet before."""
        self.finished: list[Flow] = []
        self.finished_cost = 0
        self.icmp: list[Packet] = []
        self.dns: list[Packet] = []
        self.probes: list[Packet] = []
        self.ntp: list[Packet] = []
        self.icmp_echoes = 0
        self.icmp_errors = 0
        self.fragments: dict[bytes, Fragments] = {}
        self.whole: dict[bytes, Fragments] = {}
        """Of the last datagrams that were put together: the pieces, without their bytes."""
        self.live = 0
        self.buffered = 0
        self.until_sweep = 65_536
        self.done = False
        # totals
        self.packets = 0
        self.decoded = 0
        self.wire_bytes = 0
        self.captured_bytes = 0
        self.cut_packets = 0
        self.first_time = -1
        self.last_time = -1
        self.previous_time = -1
        self.backward_jumps = 0
        self.largest_jump_back = 0
        self.tcp_packets = 0
        self.udp_packets = 0
        self.icmp_packets = 0
        self.syn_packets = 0
        self.tunnelled = 0
        self.fragment_packets = 0
        self.reassembled = 0
        self.duplicates = 0
        self.wrong_checksums = 0
        self.checked_checksums = 0
        self.given_up_packets = 0
        self.early_flows = 0
        self.pcapdroid = 0
        self.reasons: dict[int, int] = {}
        self.unknown_links: dict[int, int] = {}
        self.link_types: dict[int, int] = {}
        self.link_type = -1
        self.link_packets = 0

    def read(self, count: int) -> list[Flow]:
        """Read up to `count` packets; the flows that ended are returned. `done` is set at the end of the capture."""
        records = self.records
        self.finished_cost = 0
        stop = records.pos + MAX_WINDOW
        while count > 0 and self.finished_cost < MAX_FINISHED and records.pos < stop:
            count -= 1
            if not records.advance():
                self.done = True
                if self.fragments:
                    text = f"IP datagrams of which not all fragments are in the capture: {len(self.fragments):,}"
                    self.notes.add("fragments", text)
                for flow in list(self.sides.values()):
                    self._end(flow, False)
                break
            self._packet(records)
        self._count_links()
        finished = self.finished
        self.finished = []
        return finished

    def _count_links(self) -> None:
        """Bring `link_types` up to date."""
        if self.link_packets:
            self.link_types[self.link_type] = self.link_types.get(self.link_type, 0) + self.link_packets
            self.link_packets = 0

    def _packet(self, records: Records) -> None:
        p = self.packet
        p.frame = records.frame
        p.time_ns = records.time_ns
        self.packets += 1
        self.wire_bytes += records.original
        self.captured_bytes += records.captured
        if records.captured < records.original:
            self.cut_packets += 1
        if p.time_ns:
            if self.first_time < 0 or p.time_ns < self.first_time:
                self.first_time = p.time_ns
            if p.time_ns > self.last_time:
                self.last_time = p.time_ns
            if p.time_ns < self.previous_time:
                self.backward_jumps += 1
                if self.previous_time - p.time_ns > self.largest_jump_back:
                    self.largest_jump_back = self.previous_time - p.time_ns
            self.previous_time = p.time_ns
        link_type = records.link_type
        if link_type != self.link_type:
            self._count_links()
            self.link_type = link_type
        self.link_packets += 1
        try:
            outcome = decode(p, self.data, records.offset, records.captured, records.original, link_type)
        except IndexError:
            outcome = 4
        if outcome == codes.OK:
            self._decoded(p, self.data)
        elif outcome == codes.FRAGMENT:
            self.fragment_packets += 1
            self._fragment(p)
        else:
            self.reasons[outcome] = self.reasons.get(outcome, 0) + 1
            if outcome == 2:
                self.unknown_links[link_type] = self.unknown_links.get(link_type, 0) + 1

    def _decoded(self, p: Packet, data: bytes) -> None:
        self.decoded += 1
        if p.tunnels:
            self.tunnelled += 1
        if p.trailer_at and p.protocol != 0 and pieces.piece(data, p.trailer_at, p.trailer_at + 4) == PCAPDROID:
            self.pcapdroid += 1
        if p.protocol == codes.TCP:
            self.tcp_packets += 1
            self._tcp(p, data)
        elif p.protocol == codes.UDP:
            self.udp_packets += 1
            self._udp(p, data)
        else:
            self.icmp_packets += 1
            self._icmp(p, data)

    def _keep(self, p: Packet, data: bytes) -> None:
        """Give the packet bytes of its own; the scanner goes on with a new one."""
        size = 4 if p.version == 4 else 16
        p.src = pieces.piece(data, p.address_at, p.address_at + size)
        p.dst = pieces.piece(data, p.address_at + size, p.address_at + size * 2)
        p.payload = pieces.piece(data, p.payload_at, p.payload_at + p.captured)
        if p.options_length:
            p.options = pieces.piece(data, p.l4_at + 20, p.l4_at + 20 + p.options_length)
        fresh = Packet()
        fresh.frame = p.frame
        fresh.time_ns = p.time_ns
        self.packet = fresh

    def _flow(self, p: Packet, data: bytes) -> Flow:
        """The flow of a packet, with `p.direction` set; a new one where there is none."""
        size = 4 if p.version == 4 else 16
        at = p.address_at
        l4 = p.l4_at
        latest = self.latest
        if latest is not None and p.protocol == codes.TCP:  # packets come in bursts: most are of the flow before
            if pieces.same(data, at, at + size + size, l4, l4 + 4, latest.key):
                p.direction = 0
                return latest
            if pieces.same(data, at, at + size + size, l4, l4 + 4, latest.reverse):
                p.direction = 1
                return latest
        key = pieces.joined(data, at, at + size + size, l4, l4 + 4)
        if p.protocol == codes.UDP:
            key = key + b"u"
        flow = self.sides.get(key)
        if flow is not None:
            p.direction = 0 if flow.key == key else 1
            self.latest = flow
            return flow
        reverse = pieces.joined(data, at + size, at + size + size, at, at + size)
        reverse = reverse + pieces.joined(data, l4 + 2, l4 + 4, l4, l4 + 2)
        if p.protocol == codes.UDP:
            reverse = reverse + b"u"
        p.direction = 0
        return self._open(p, key, reverse)

    def _open(self, p: Packet, key: bytes, reverse: bytes) -> Flow:
        flow = self.latest = Flow(p, key, reverse)
        self.sides[key] = flow
        self.sides[reverse] = flow
        self.live += 1
        self.until_sweep -= 1
        if self.live > limits.FLOWS or self.until_sweep <= 0:
            self._sweep(p.time_ns, flow)
        return flow

    def _end(self, flow: Flow, early: bool) -> None:
        if self.sides.get(flow.key) is not flow:
            return
        if flow.older is not None:
            self._finish(flow.older, early)
            flow.older = None
        if flow is self.latest:
            self.latest = None
        del self.sides[flow.key]
        if flow.reverse != flow.key:
            self.sides.pop(flow.reverse, None)
        self._finish(flow, early)

    def _finish(self, flow: Flow, early: bool) -> None:
        self.live -= 1
        self.buffered -= flow.cost
        self.finished_cost += flow.cost
        if early:
            self.early_flows += 1
        self.finished.append(flow)

    def _sweep(self, now: int, current: Flow) -> None:
        """End flows that closed or fell quiet; under pressure, those that were quiet longest."""
        self.until_sweep = 65_536
        for flow in list(self.sides.values()):
            quiet = now - flow.last_time
            closed = flow.reset or (flow.a_fin and flow.b_fin)
            if flow is not current and (quiet > IDLE_NS or (closed and quiet > CLOSED_NS)):
                self._end(flow, False)
        if self.live > limits.FLOWS * 3 // 4 or self.buffered > limits.BUFFERED * 3 // 4:
            by_age = [flow for key, flow in self.sides.items() if key is flow.key]  # it stands there for each side
            by_age.sort(key=last_frame_of)
            for flow in by_age:
                if self.live <= limits.FLOWS // 2 and self.buffered <= limits.BUFFERED // 2:
                    break
                if flow is not current:
                    self._end(flow, not (flow.reset or (flow.a_fin and flow.b_fin)))

    def _beside(self, flow: Flow, older: Flow, p: Packet) -> Flow:
        """Which of two connections between the same ports a packet is of, by the client's sequence numbers."""
        if p.flags & codes.SYN and not p.flags & codes.ACK and p.direction == 0:
            return older if p.seq == older.isn else flow
        if p.direction == 1 and not p.flags & codes.ACK:
            return flow
        number = p.seq if p.direction == 0 else p.ack
        ours = (number - flow.isn) & 0xFFFFFFFF
        theirs = (number - older.isn) & 0xFFFFFFFF
        return older if theirs < ours and theirs < BESIDE else flow

    def _tcp(self, p: Packet, data: bytes) -> None:
        newest = flow = self._flow(p, data)
        if newest.older is not None:
            flow = self._beside(newest, newest.older, p)
        flags = p.flags
        if flags & codes.SYN:
            self.syn_packets += 1
            if flow is not newest:
                pass  # once more what began the older of two connections
            elif not flags & codes.ACK and flow.isn < 0 and self._late(flow, p):
                if p.direction == 0:  # captured behind what it began
                    flow.isn = p.seq
            elif (
                not flags & codes.ACK
                and p.direction == 1
                and flow.first_ack == (p.seq + 1) & 0xFFFFFFFF
                and flow.b_packets == 0
            ):
                pass  # the SYN of a SYN-ACK that was captured before it
            elif not flags & codes.ACK:
                # a SYN against the direction of an open connection is dropped by its receiver (RFC 5961 section 4)
                reused = flow.isn >= 0 and (
                    p.seq != flow.isn if p.direction == 0 else flow.b_packets == 0 or self._over(flow, p.time_ns)
                )
                closed = flow.reset or flow.a_fin or flow.b_fin
                if (flow.isn < 0 and (flow.a_packets or flow.b_packets)) or reused or (closed and flow.has_data):
                    if p.direction == 0 or not self._simultaneous(flow):
                        key = flow.key if p.direction == 0 else flow.reverse
                        reverse = flow.reverse if p.direction == 0 else flow.key
                        older = flow if p.direction == 0 and flow.isn >= 0 and not closed else None
                        if older is None:
                            self._end(flow, False)
                        elif older.older is not None:
                            self._finish(older.older, False)
                            older.older = None
                        p.direction = 0
                        flow = self._open(p, key, reverse)
                        flow.older = older
                if p.direction == 0:
                    flow.isn = p.seq
            elif p.direction == 1 and flow.has_data and self._over(flow, p.time_ns):
                if flow.isn >= 0 and p.ack != (flow.isn + 1) & 0xFFFFFFFF:
                    # the answer to a SYN that was not captured: the port is in use again
                    self._end(flow, False)
                    p.direction = 0
                    flow = self._open(p, flow.reverse, flow.key)
        flow.last_frame = p.frame
        flow.last_time = p.time_ns
        if p.direction == 0:
            flow.a_packets += 1
            flow.a_bytes += p.length
        else:
            flow.b_packets += 1
            flow.b_bytes += p.length
        if flags & codes.RST:
            flow.reset = True
        if flags & codes.FIN:
            if p.direction == 0:
                flow.a_fin = True
            else:
                flow.b_fin = True
        if p.length:
            flow.has_data = True
        if flags & codes.ENDS or p.length:
            self._consider(flow, p, data)

    def _late(self, flow: Flow, p: Packet) -> bool:
        """Is what is there of a connection what a SYN began? Queues are recorded out of order.

        Its sender's first bytes follow it at once; or the other side acknowledges bytes a little way behind it.
        """
        follows = (p.seq + 1) & 0xFFFFFFFF
        answered = False
        for other in flow.packets:
            if other.direction == p.direction and other.length:
                return bool(other.seq == follows)
            if other.direction != p.direction and other.flags & codes.ACK and (other.ack - follows) & 0xFFFFFFFF < LATE:
                answered = True
        return answered

    def _over(self, flow: Flow, now: int) -> bool:
        """Both sides closed, or a reset and then a pause: a stray reset alone ends nothing."""
        return (flow.a_fin and flow.b_fin) or (flow.reset and now - flow.last_time > REUSE_NS)

    def _simultaneous(self, flow: Flow) -> bool:
        return flow.a_packets == 1 and flow.b_packets == 0 and flow.isn >= 0

    def _consider(self, flow: Flow, p: Packet, data: bytes) -> None:
        """Keep the packet if its flow still has room for it."""
        if p.captured >= 5 and not (flow.tls and p.direction == 0 and flow.a_kept == 0):
            head = data[p.payload_at]
            if tls_record(data, p.payload_at, p.captured):
                if not flow.tls:
                    flow.tls = True
                    flow.a_kept = 0
                    flow.b_kept = 0
            elif head & 0x80 and not flow.has_data:
                flow.tls = True
        limit = limits.TLS if flow.tls else limits.PLAIN
        kept = flow.a_kept if p.direction == 0 else flow.b_kept
        kept_packets = flow.a_kept_packets if p.direction == 0 else flow.b_kept_packets
        found = 0
        if flow.tls and p.captured >= 5 and data[p.payload_at + 1] == 3:
            if flow.a_application if p.direction == 0 else flow.b_application:
                found = codes.PROTECTS if data[p.payload_at] == 23 else codes.CHANGES if data[p.payload_at] == 20 else 0
            else:
                found = records_of(data, p.payload_at, p.captured)
        if found & codes.OLDER:
            flow.old = True
        if found & (codes.CHANGES | codes.PROTECTS):
            application = found & codes.PROTECTS != 0
            self._first_protected(flow, p.direction)
            if p.direction == 0:
                flow.a_application = flow.a_application or application
                if flow.a_data_from < 0:
                    flow.a_data_from = kept
            else:
                flow.b_application = flow.b_application or application
                if flow.b_data_from < 0:
                    flow.b_data_from = kept
        elif found & codes.HELLO:
            if p.direction == 0:
                flow.a_protected = False
                flow.a_data_from = -1
            else:
                flow.b_protected = False
                flow.b_data_from = -1
        data_from = flow.a_data_from if p.direction == 0 else flow.b_data_from
        both = flow.a_data_from >= 0 and flow.b_data_from >= 0
        room = limits.BEHIND if flow.a_application and flow.b_application else limits.DATA
        if both and kept > data_from + room and not p.flags & codes.ENDS:
            return  # application data behind a handshake that both sides have ended: nothing is given up with it
        if kept_packets >= limits.PACKETS or (kept > limit and not p.flags & codes.ENDS):
            flow.given_up += 1
            self.given_up_packets += 1
            return
        if self._duplicate(flow, p, data):
            flow.duplicates += 1
            self.duplicates += 1
            return
        if p.captured >= p.length:
            self.checked_checksums += 1
            if not checksum_matches(p, data):
                p.checksum_ok = False
                self.wrong_checksums += 1
        self._keep(p, data)
        flow.packets.append(p)
        cost = p.captured + limits.PACKET_COST
        flow.cost += cost
        self.buffered += cost
        if p.direction == 0:
            flow.a_kept += p.captured
            flow.a_kept_packets += 1
        else:
            flow.b_kept += p.captured
            flow.b_kept_packets += 1
        if self.buffered > limits.BUFFERED:
            self._sweep(p.time_ns, flow)

    def _duplicate(self, flow: Flow, p: Packet, data: bytes) -> bool:
        """The same packet captured twice: equal bytes within a millisecond, the later TTL equal or one lower.

        A router between two points may hold its queue for longer: that is known by the SYN or the SYN-ACK, which no
        system sends again so soon. Probes of a ladder may all bear one IP ID.
        """
        begins = p.flags & codes.SYN != 0
        apart = limits.QUEUED_NS if p.ip_id and (begins or flow.two_points) else limits.DUPLICATE_NS
        size = len(flow.packets)
        at = size - 1
        stop = size - limits.RECENT
        while at >= 0 and at >= stop:
            other = flow.packets[at]
            at -= 1
            if (
                other.direction == p.direction
                and other.seq == p.seq
                and other.ip_id == p.ip_id
                and other.flags == p.flags
                and other.ack == p.ack
                and other.length == p.length
                and 0 <= other.ttl - p.ttl <= 1
                and other.window == p.window
                and -apart <= p.time_ns - other.time_ns <= apart
                and other.payload == pieces.piece(data, p.payload_at, p.payload_at + p.captured)
            ):
                if begins:
                    flow.two_points = True
                return True
        return False

    def _udp(self, p: Packet, data: bytes) -> None:
        if p.sport == 53 and p.captured >= 12:
            if len(self.dns) < MAX_SIDE_PACKETS:
                self._keep(p, data)
                self.dns.append(p)
            else:
                self.given_up_packets += 1
            return
        if p.sport == 123 and p.captured >= 48 and len(self.ntp) < MAX_NTP:
            self._keep(p, data)
            self.ntp.append(p)
            return
        if p.ttl <= MAX_PROBE_TTL and 33_434 <= p.dport <= 33_690:
            if len(self.probes) < MAX_SIDE_PACKETS:
                p.captured = 0  # of a traceroute's probe nothing but the headers is used
                self._keep(p, data)
                self.probes.append(p)
                return
            self.given_up_packets += 1
        if p.captured < 13:
            return
        head = data[p.payload_at]
        known = False
        if head & 0x80:  # QUIC long header (the fixed bit may be greased)
            known = True
        elif 20 <= head <= 26 and data[p.payload_at + 1] in (254, 1):  # DTLS record
            known = True
        elif head == 1 and data[p.payload_at + 1] == 0 and 20 <= data[p.payload_at + 4] <= 26:  # DTLS in CAPWAP
            known = True
        elif head & 0x08 and p.captured > 20 and (p.dport in (443, 80) or p.sport in (443, 80)):  # gQUIC public header
            known = True
        if not known:
            return
        flow = self._flow(p, data)
        flow.last_frame = p.frame
        flow.last_time = p.time_ns
        if p.direction == 0:
            flow.a_packets += 1
            flow.a_bytes += p.length
            if flow.a_kept_packets >= limits.DATAGRAMS:
                flow.given_up += 1
                self.given_up_packets += 1
                return
        else:
            flow.b_packets += 1
            flow.b_bytes += p.length
            if flow.b_kept_packets >= limits.DATAGRAMS:
                flow.given_up += 1
                self.given_up_packets += 1
                return
        if self._duplicate(flow, p, data):
            flow.duplicates += 1
            self.duplicates += 1
            return
        if p.direction == 0:
            flow.a_kept_packets += 1
        else:
            flow.b_kept_packets += 1
        self._keep(p, data)
        flow.packets.append(p)
        cost = p.captured + limits.PACKET_COST
        flow.cost += cost
        self.buffered += cost
        if self.buffered > limits.BUFFERED:
            self._sweep(p.time_ns, flow)

    def _icmp(self, p: Packet, data: bytes) -> None:
        """Keep errors and echoes, as much of each as is used."""
        if p.captured < 8:
            return
        kind = data[p.payload_at]
        wanted = kind in (0, 3, 4, 5, 8, 11, 12) if p.protocol == codes.ICMP else kind in (1, 2, 3, 4, 128, 129)
        if not wanted:
            return
        echo = kind in (0, 8) if p.protocol == codes.ICMP else kind in (128, 129)
        if (self.icmp_echoes if echo else self.icmp_errors) >= MAX_SIDE_PACKETS:
            self.given_up_packets += 1
            return
        if echo:
            self.icmp_echoes += 1
        else:
            self.icmp_errors += 1
        if p.captured > ICMP_KEPT:
            p.captured = ICMP_KEPT
        self._keep(p, data)
        self.icmp.append(p)

    def _first_protected(self, flow: Flow, direction: int) -> None:
        """What a side protected before the other did at all was part of the handshake: early data, the first flight.

        The other did once it changed its cipher; and up to TLS 1.2, where that ends a handshake, nothing before was.
        """
        if flow.old:
            return
        if direction == 0 and not flow.a_protected:
            flow.a_protected = True
            if flow.b_application:
                flow.b_application = False
                flow.b_data_from = -1
        elif direction == 1 and not flow.b_protected:
            flow.b_protected = True
            if flow.a_application:
                flow.a_application = False
                flow.a_data_from = -1

    def _fragment(self, p: Packet) -> None:
        """Collect the pieces of an IP datagram; once whole, it is decoded like any other packet."""
        data = self.data
        size = 4 if p.version == 4 else 16
        key = (
            pieces.piece(data, p.address_at, p.address_at + size * 2)
            + p.fragment_id.to_bytes(4, "big")
            + bytes((p.fragment_protocol,))
        )
        piece = pieces.piece(data, p.fragment_at, p.fragment_end)
        one = hash((p.fragment_offset, piece))
        held = self.whole.get(key)
        if (
            held is not None
            and one in held.pieces
            and 0 <= held.ttl - p.ttl <= 1
            and p.frame - held.frame <= MAX_APART
            and abs(p.time_ns - held.time_ns) <= limits.QUEUED_NS
        ):
            self.duplicates += 1  # of a datagram that is whole nothing more is to come
            return
        held = self.fragments.get(key)
        if held is None or p.frame - held.frame > FRAGMENTS_APART or abs(p.time_ns - held.time_ns) > FRAGMENTS_NS:
            if held is not None:
                self.notes.add("fragments", "an IP datagram of which fragments are missing", held.frame)
            if len(self.fragments) >= MAX_FRAGMENTS:
                oldest = next(iter(self.fragments))
                del self.fragments[oldest]
                self.notes.add("limit", "an IP datagram was given up before all its fragments came", p.frame)
            held = Fragments(p.frame, p.time_ns)
            self.fragments[key] = held
        if len(held.pieces) < MAX_PIECES:
            held.pieces.add(one)
        begin = p.fragment_offset
        end = begin + len(piece)
        if end > MAX_DATAGRAM:
            del self.fragments[key]
            self.notes.add("limit", "an IP datagram longer than it can be", p.frame)
            return
        if end > len(held.body):
            held.body += bytes(end - len(held.body))
            held.have += bytes(end - len(held.have))
        before = bytes(held.have[begin:end])
        if 1 in before:
            merged = merge(bytes(held.body[begin:end]), piece, before)
            if merged is None:
                self.notes.add("conflict", "IP fragments that overlap with different bytes", p.frame)
                merged = keep_first(bytes(held.body[begin:end]), piece, before)
            held.body[begin:end] = merged
        else:
            held.body[begin:end] = piece
        held.filled += len(piece) - before.count(1)
        held.have[begin:end] = b"\1" * len(piece)
        if begin == 0:
            held.header = pieces.piece(data, p.ip_at, p.fragment_at)
        if not p.more_fragments:
            held.total = end
        if held.total < 0 or not held.header or held.filled < held.total or 0 in held.have[: held.total]:
            return
        whole = bytes(held.body[: held.total])
        del self.fragments[key]
        if len(self.whole) >= MAX_WHOLE:
            del self.whole[next(iter(self.whole))]
        done = Fragments(p.frame, p.time_ns)
        done.pieces, done.ttl = held.pieces, p.ttl
        self.whole[key] = done
        if p.version == 4:
            header = bytearray(held.header)
            header[2:4] = min(0xFFFF, len(header) + len(whole)).to_bytes(2, "big")
            header[6:8] = b"\0\0"
        else:
            header = bytearray(held.header[:40])
            header[4:6] = (len(whole) if len(whole) < 0x10000 else 0).to_bytes(2, "big")
            header[6] = p.fragment_protocol
        datagram = bytes(header) + whole
        p.version = 0
        p.tunnels = 0
        try:
            outcome = decode_ip(p, datagram, 0, len(datagram))
        except IndexError:
            outcome = 4
        if outcome == codes.OK:
            self.reassembled += 1
            self._decoded(p, datagram)
        else:
            self.notes.add("fragments", "an IP datagram put together of its fragments cannot be read", p.frame)


def last_frame_of(flow: Flow) -> int:
    """The sort key of the sweep: closed flows first, then by how long they were quiet."""
    closed = flow.reset or (flow.a_fin and flow.b_fin)
    return flow.last_frame - (1 << 40) if closed else flow.last_frame


def merge(first: bytes, second: bytes, have: bytes) -> bytes | None:
    """Two overlapping pieces as one; None where they differ in a byte that both have."""
    if have.count(1) == len(have):
        return first if first == second else None
    for index in range(len(have)):
        if have[index] and first[index] != second[index]:
            return None
    return second


def keep_first(first: bytes, second: bytes, have: bytes) -> bytes:
    """Overlapping pieces that differ: what came first counts."""
    return bytes(first[index] if have[index] else second[index] for index in range(len(have)))


def records_of(data: bytes, at: int, length: int) -> int:
    """What the records of a payload are that starts with one: a change of the cipher, data that is protected, ...

    OLDER is a message in clear that TLS 1.3 encrypts, as a ClientKeyExchange. A change before a second ClientHello
    changes nothing (RFC 8446 section D.4).
    """
    end = at + length
    found = 0
    while at + 5 <= end and 20 <= data[at] <= 24 and data[at + 1] == 3:
        kind = data[at]
        size = data[at + 3] << 8 | data[at + 4]
        if kind == 23:
            return found | codes.PROTECTS
        if kind == 20:
            found |= codes.CHANGES
        elif kind == 22 and at + 9 <= end and (data[at + 7] << 8 | data[at + 8]) == size - 4:
            if data[at + 5] == 1:
                found = found & ~codes.CHANGES | codes.HELLO
            elif data[at + 5] in (11, 12, 14, 16) and not found & codes.CHANGES:
                found |= codes.OLDER
        at += 5 + size
    return found


def tls_record(data: bytes, at: int, length: int) -> bool:
    """Does a payload start like a TLS record, or like an SSLv2-format ClientHello?"""
    if length < 5:
        return False
    head = data[at]
    if 20 <= head <= 24 and data[at + 1] == 3:  # the minor version of a record means nothing
        return True
    return length >= 11 and head & 0x80 != 0 and data[at + 2] == 1 and data[at + 3] in (0, 3) and data[at + 4] <= 4
