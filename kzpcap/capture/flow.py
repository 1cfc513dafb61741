# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=False
"""One conversation while it is read: what each side sent, which packets are kept, and which of the next are wanted.

The first bytes of each direction are, and more of them once TLS is seen; behind a handshake that both sides have
ended, little. The file runs as it is; flow.pxd gives the compiled form its types.
"""

from __future__ import annotations

from kzpcap.capture import codes, limits, pieces
from kzpcap.capture.packet import Packet

REUSE_NS = 1_000_000_000
LATE = 65_536
"""Bytes behind a SYN that an answer captured before it may acknowledge."""
FIRST = 64
"""Packets of a connection among which its ClientHello is."""
BESIDE = 1 << 24
"""How many bytes of the client's a connection has at most that goes on beside a newer one between the same ports."""


class Side:
    """What one side of a conversation sent.

    `kept` and `kept_packets` count what is kept of it; `data_from` is how much was kept before its first encrypted
    record (-1: none); `protected`: it has sent one; `application`: one of application data.
    """

    def __init__(self) -> None:
        self.packets = 0
        self.bytes = 0
        self.kept = 0
        self.kept_packets = 0
        self.data_from = -1
        self.fin = False
        self.application = False
        self.protected = False


class Flow:
    """The kept packets of one conversation, `a` being the sender of its first packet (direction 0).

    `left_from` is the first frame with bytes that were not kept, since they lie behind the handshake; 0 without one.
    """

    def __init__(self, first: Packet, key: bytes, reverse: bytes) -> None:
        self.key = key
        self.reverse = reverse
        self.protocol = first.protocol
        self.first_frame = first.frame
        self.first_time = first.time_ns
        self.last_frame = first.frame
        self.last_time = first.time_ns
        self.packets: list[Packet] = []
        self.a = Side()
        self.b = Side()
        self.given_up = 0
        self.left_from = 0
        self.duplicates = 0
        self.cost = 0
        self.isn = -1
        self.first_ack = (
            first.ack if first.protocol == codes.TCP and first.flags & codes.SYN and first.flags & codes.ACK else -1
        )
        self.reset = False
        self.has_data = False
        self.tls = False
        self.old = False
        """TLS up to 1.2, by a message of its handshake that later versions encrypt."""
        self.two_points = False
        """The SYN or the SYN-ACK was captured twice."""
        self.older: Flow | None = None
        """One between the same ports that was open when this one's SYN came: both legs of a box, or a forged SYN."""

    def side(self, direction: int) -> Side:
        """The side that sends in a direction."""
        return self.a if direction == 0 else self.b

    def count(self, p: Packet) -> None:
        """Count a packet, kept or not."""
        own = self.side(p.direction)
        own.packets += 1
        own.bytes += p.length
        self.last_frame = p.frame
        self.last_time = p.time_ns

    def store(self, p: Packet) -> int:
        """Keep a packet that has bytes of its own; what it costs is returned."""
        own = self.side(p.direction)
        own.kept += p.captured
        own.kept_packets += 1
        self.packets.append(p)
        cost = p.captured + limits.PACKET_COST
        self.cost += cost
        return cost

    def part(self, packets: list[Packet]) -> Flow:
        """A flow of some of the kept packets: one UDP socket may speak for many connections."""
        made = Flow(packets[0], self.key, self.reverse)
        for packet in packets:
            made.count(packet)
            made.store(packet)
            if packet.length:
                made.has_data = True
        made.given_up = self.given_up
        return made

    def is_closed(self) -> bool:
        """Both sides closed, or one reset the connection."""
        return self.reset or (self.a.fin and self.b.fin)

    def is_over(self, now: int) -> bool:
        """Both sides closed, or a reset and then a pause: a stray reset alone ends nothing."""
        return (self.a.fin and self.b.fin) or (self.reset and now - self.last_time > REUSE_NS)

    def is_simultaneous(self) -> bool:
        """May a SYN of the other side be a simultaneous open (RFC 9293 section 3.5)?"""
        return self.a.packets == 1 and self.b.packets == 0 and self.isn >= 0

    def begins_anew(self, p: Packet, data: bytes) -> bool:
        """Is a segment the ClientHello of another connection, whose SYN was not captured? Both sides had closed before.

        What is sent again has a sequence number that was there; what was recorded out of order comes soon.
        """
        at = p.payload_at
        if not (self.a.fin and self.b.fin) or p.time_ns - self.last_time <= limits.QUEUED_NS:
            return False
        if p.captured < 6 or data[at] != 22 or data[at + 1] != 3 or data[at + 5] != 1:
            return False
        index = 0
        while index < len(self.packets) and index < FIRST:
            other = self.packets[index]
            if other.direction == p.direction and other.length and other.seq == p.seq:
                return False
            index += 1
        return True

    def began_with(self, p: Packet) -> bool:
        """Is what is there of a connection what a SYN began? Queues are recorded out of order.

        Its sender's first bytes follow it at once; or the other side acknowledges bytes a little way behind it.
        """
        follows = (p.seq + 1) & 0xFFFFFFFF
        answered = False
        for other in self.packets:
            if other.direction == p.direction and other.length:
                return bool(other.seq == follows)
            if other.direction != p.direction and other.flags & codes.ACK and (other.ack - follows) & 0xFFFFFFFF < LATE:
                answered = True
        return answered

    def is_copy_of_first(self, p: Packet) -> bool:
        """Is this the first SYN once more, recorded by a second machine after a short connection was over?"""
        first = self.packets[0] if self.packets else p
        if (
            first is not p
            and p.seq == first.seq
            and p.seq == self.isn
            and p.flags == first.flags
            and p.direction == first.direction
            and p.ip_id == first.ip_id
            and p.ip_id != 0
            and 0 <= first.ttl - p.ttl <= 1
            and p.window == first.window
            and 0 <= p.time_ns - first.time_ns <= limits.QUEUED_NS
        ):
            self.two_points = True
            return True
        return False

    def owner(self, p: Packet) -> Flow:
        """This connection or the older one between the same ports: whose a packet is, by the client's numbers."""
        older = self.older
        if older is None:
            return self
        if p.flags & codes.SYN and not p.flags & codes.ACK and p.direction == 0:
            return older if p.seq == older.isn else self
        if p.direction == 1 and not p.flags & codes.ACK:
            return self
        number = p.seq if p.direction == 0 else p.ack
        ours = (number - self.isn) & 0xFFFFFFFF
        theirs = (number - older.isn) & 0xFFFFFFFF
        return older if theirs < ours and theirs < BESIDE else self

    def wanted(self, p: Packet, data: bytes) -> int:
        """What becomes of a TCP segment that has bytes, or begins or ends: KEEP, LEAVE, or GIVE_UP for want of room."""
        own = self.side(p.direction)
        if p.captured >= 5 and not (self.tls and p.direction == 0 and own.kept == 0):
            if tls_record(data, p.payload_at, p.captured):
                if not self.tls:
                    self.tls = True
                    self.a.kept = 0
                    self.b.kept = 0
            elif data[p.payload_at] & 0x80 and not self.has_data:
                self.tls = True
        if self.tls and p.captured >= 5 and data[p.payload_at + 1] == 3:
            self._records(own, p, data)
        if self.a.data_from >= 0 and self.b.data_from >= 0 and not p.flags & codes.ENDS:
            room = limits.BEHIND if self.a.application and self.b.application else limits.DATA
            if own.kept > own.data_from + room:
                if not self.left_from:
                    self.left_from = p.frame
                return codes.LEAVE  # application data behind a handshake that both sides have ended
        limit = limits.TLS if self.tls else limits.PLAIN
        if own.kept_packets >= limits.PACKETS or (own.kept > limit and (p.captured or not p.flags & codes.ENDS)):
            return codes.GIVE_UP
        return codes.KEEP

    def _records(self, own: Side, p: Packet, data: bytes) -> None:
        """Note what the records of a segment say of how far the handshake is."""
        if own.application:
            head = data[p.payload_at]
            found = codes.PROTECTS if head == 23 else codes.CHANGES if head == 20 else 0
        else:
            found = records_of(data, p.payload_at, p.captured)
        if found & codes.OLDER:
            self.old = True
        if found & (codes.CHANGES | codes.PROTECTS):
            self._first_protected(own, self.b if p.direction == 0 else self.a)
            if found & codes.PROTECTS:
                own.application = True
            if own.data_from < 0:
                own.data_from = own.kept
        elif found & codes.HELLO:
            own.protected = False
            own.data_from = -1

    def _first_protected(self, own: Side, other: Side) -> None:
        """What a side protected before the other did at all was part of the handshake: early data, the first flight.

        The other did once it changed its cipher; and up to TLS 1.2, where that ends a handshake, nothing before was.
        """
        if self.old or own.protected:
            return
        own.protected = True
        if other.application:
            other.application = False
            other.data_from = -1

    def repeats(self, p: Packet, data: bytes) -> bool:
        """The same packet captured twice: equal bytes within a millisecond, the later TTL equal or one lower.

        A router between two points may hold its queue for longer: that is known by the SYN or the SYN-ACK, which no
        system sends again so soon. Probes of a ladder may all bear one IP ID.
        """
        begins = p.flags & codes.SYN != 0
        apart = limits.QUEUED_NS if p.ip_id and (begins or self.two_points) else limits.DUPLICATE_NS
        size = len(self.packets)
        at = size - 1
        stop = size - limits.RECENT
        while at >= 0 and at >= stop:
            other = self.packets[at]
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
                    self.two_points = True
                return True
        return False


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
