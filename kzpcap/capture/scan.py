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
from kzpcap.capture.decode import decode, decode_ip, decode_more
from kzpcap.capture.flow import Flow
from kzpcap.capture.fragments import Fragments
from kzpcap.capture.health import Notes
from kzpcap.capture.packet import Packet, checksum_matches
from kzpcap.capture.records import Records

IDLE_NS = 600 * 1_000_000_000
CLOSED_NS = 30 * 1_000_000_000
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
MAX_DEEP = 4
"""Times that what came out of fragments is a fragment again."""
PCAPDROID = b"\x01\x07\x20\x21"
"""How the trailers begin that PCAPdroid puts behind each packet."""


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
        self.fragments = Fragments(notes)
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
        self.jump_frame = 0
        """The frame behind the largest jump."""
        self.tcp_packets = 0
        self.udp_packets = 0
        self.icmp_packets = 0
        self.syn_packets = 0
        self.tunnelled = 0
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
                self.fragments.end()
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
                    self.jump_frame = p.frame
            self.previous_time = p.time_ns
        link_type = records.link_type
        if link_type != self.link_type:
            self._count_links()
            self.link_type = link_type
        self.link_packets += 1
        try:
            outcome = decode(p, self.data, records.offset, records.captured, records.original, link_type)
        except IndexError:
            outcome = codes.MALFORMED
        more = p.more_at
        end = p.more_end
        within = p.more_within
        self._came(p, outcome, link_type)
        while more:  # of an A-MSDU, which is one frame of many packets
            p = self.packet
            p.frame = records.frame
            p.time_ns = records.time_ns
            p.link_type = link_type
            try:
                outcome = decode_more(p, self.data, more, end, within)
            except IndexError:
                outcome = codes.MALFORMED
            more = p.more_at
            self._came(p, outcome, link_type)

    def _came(self, p: Packet, outcome: int, link_type: int) -> None:
        """Go on with what was decoded, or count why it was not."""
        if outcome == codes.OK:
            self._decoded(p, self.data)
        elif outcome == codes.FRAGMENT:
            self._fragment(p)
        else:
            self.reasons[outcome] = self.reasons.get(outcome, 0) + 1
            if outcome == codes.UNKNOWN_LINK:
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

    def _fragment(self, p: Packet) -> None:
        """Once a datagram is whole, it is decoded like any other packet."""
        datagram = self.fragments.add(p, self.data)
        if not datagram:
            return
        outcome = _within(p, datagram)
        deep = 0
        while outcome == codes.FRAGMENT and deep < MAX_DEEP:  # of a datagram that a tunnel carried in fragments
            deep += 1
            datagram = self.fragments.add(p, datagram)
            if not datagram:
                return
            outcome = _within(p, datagram)
        if outcome == codes.OK:
            self.fragments.reassembled += 1
            self._decoded(p, datagram)
        else:
            self.notes.add("fragments", "an IP datagram put together of its fragments cannot be read", p.frame)

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
            if flow is not current and (quiet > IDLE_NS or (quiet > CLOSED_NS and flow.is_closed())):
                self._end(flow, False)
        if self.live > limits.FLOWS * 3 // 4 or self.buffered > limits.BUFFERED * 3 // 4:
            by_age = [flow for key, flow in self.sides.items() if key is flow.key]  # it stands there for each side
            by_age.sort(key=last_frame_of)
            for flow in by_age:
                if self.live <= limits.FLOWS // 2 and self.buffered <= limits.BUFFERED // 2:
                    break
                if flow is not current:
                    self._end(flow, not flow.is_closed())

    def _tcp(self, p: Packet, data: bytes) -> None:
        newest = self._flow(p, data)
        flow = newest.owner(p)
        flags = p.flags
        if flags & codes.SYN:
            self.syn_packets += 1
            if flow is not newest:
                pass  # once more what began the older of two connections
            elif not flags & codes.ACK and flow.isn < 0 and flow.began_with(p):
                if p.direction == 0:  # captured behind what it began
                    flow.isn = p.seq
            elif (
                not flags & codes.ACK
                and p.direction == 1
                and flow.first_ack == (p.seq + 1) & 0xFFFFFFFF
                and flow.b.packets == 0
            ):
                pass  # the SYN of a SYN-ACK that was captured before it
            elif not flags & codes.ACK:
                # a SYN against the direction of an open connection is dropped by its receiver (RFC 5961 section 4)
                reused = flow.isn >= 0 and (
                    p.seq != flow.isn if p.direction == 0 else flow.b.packets == 0 or flow.is_over(p.time_ns)
                )
                closed = flow.reset or flow.a.fin or flow.b.fin
                again = closed and flow.has_data and flow.is_copy_of_first(p)  # of all of it, recorded late
                if (
                    (flow.isn < 0 and (flow.a.packets or flow.b.packets))
                    or reused
                    or (closed and flow.has_data and not again)
                ):
                    if p.direction == 0 or not flow.is_simultaneous():
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
            elif p.direction == 1 and flow.has_data and flow.is_over(p.time_ns):
                if flow.isn >= 0 and p.ack != (flow.isn + 1) & 0xFFFFFFFF:
                    # the answer to a SYN that was not captured: the port is in use again
                    self._end(flow, False)
                    p.direction = 0
                    flow = self._open(p, flow.reverse, flow.key)
        elif p.length and flow is newest and flow.begins_anew(p, data):
            key = flow.key if p.direction == 0 else flow.reverse
            reverse = flow.reverse if p.direction == 0 else flow.key
            self._end(flow, False)
            p.direction = 0
            flow = self._open(p, key, reverse)
        flow.count(p)
        if flags & codes.RST:
            flow.reset = True
        if flags & codes.FIN:
            flow.side(p.direction).fin = True
        if p.length:
            flow.has_data = True
        if flags & codes.ENDS or p.length:
            self._consider(flow, p, data)

    def _consider(self, flow: Flow, p: Packet, data: bytes) -> None:
        """Keep the segment if its flow wants it."""
        wanted = flow.wanted(p, data)
        if wanted == codes.KEEP:
            self._store(flow, p, data)
        elif wanted == codes.GIVE_UP:
            self._give_up(flow)

    def _give_up(self, flow: Flow) -> None:
        flow.given_up += 1
        self.given_up_packets += 1

    def _store(self, flow: Flow, p: Packet, data: bytes) -> None:
        """Keep the packet with its flow, unless it is there already."""
        if flow.repeats(p, data):
            flow.duplicates += 1
            self.duplicates += 1
            return
        if p.protocol == codes.TCP and p.captured >= p.length:
            self.checked_checksums += 1
            if not checksum_matches(p, data):
                p.checksum_ok = False
                self.wrong_checksums += 1
        self._keep(p, data)
        self.buffered += flow.store(p)
        if self.buffered > limits.BUFFERED:
            self._sweep(p.time_ns, flow)

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
        if p.ttl <= MAX_PROBE_TTL and 33_434 <= p.dport <= 33_690 and not self._answers(p, data):
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
        elif not (head & 0x08 and p.captured > 20 and (p.dport in (443, 80) or p.sport in (443, 80))):
            return  # nor gQUIC's public header
        flow = self._flow(p, data)
        flow.count(p)
        if known and head == 23:
            return  # DTLS: nothing of it is a handshake's
        if flow.given_up:  # of neither side: what one says later would have no answer
            self._give_up(flow)
            return
        kept = flow.side(p.direction).kept_packets
        if kept < limits.DATAGRAMS and (known or kept < limits.SHORT):
            self._store(flow, p, data)
        elif known:
            self._give_up(flow)

    def _answers(self, p: Packet, data: bytes) -> bool:
        """Is it from a well-known port, or what a QUIC or DTLS flow goes on with? Then no traceroute sent it."""
        if p.sport < 1_024:
            return True
        head = data[p.payload_at] if p.captured else 0
        if not head & 0x80 and not 20 <= head <= 26:
            return False
        size = 4 if p.version == 4 else 16
        at = p.address_at
        l4 = p.l4_at
        return (pieces.joined(data, at, at + size + size, l4, l4 + 4) + b"u") in self.sides

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


def _within(p: Packet, datagram: bytes) -> int:
    """Decode what fragments were put together to."""
    p.version = 0
    p.tunnels = 0
    try:
        return decode_ip(p, datagram, 0, len(datagram))
    except IndexError:
        return codes.MALFORMED


def last_frame_of(flow: Flow) -> int:
    """The sort key of the sweep: closed flows first, then by how long they were quiet."""
    return flow.last_frame - (1 << 40) if flow.is_closed() else flow.last_frame
