# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=True
"""TCP reassembly: the bytes of each direction in order, and which packet brought each byte.

RFC 9293. The first copy of a byte counts; a later copy with other bytes is a conflict and is kept as evidence with
both versions. Where copies conflict, a segment that the receiver had to discard comes last. Nothing is guessed across
a gap: what follows it is a run of its own.

The file runs as it is; flows.pxd gives the compiled form its types.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Container
from typing import NamedTuple

from kzpcap.capture import codes
from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet

WINDOW = 1 << 24
"""Segments further than this from the others are strays: no stream that is kept is so long."""
LAST = (1 << 32) - 1
"""The highest sequence number. It and `HALF` have names so that the compiled form has them in C."""
HALF = 1 << 31
MAX_CONFLICTS = 16
MAX_VERSIONS = 4
"""How many further versions of the same bytes are read."""


class Conflict(NamedTuple):
    """The same sequence numbers with other bytes: `first` was seen first, in `first_frame`."""

    offset: int
    first_frame: int
    first: bytes
    other_frame: int
    other: bytes


class Run(NamedTuple):
    """Bytes without a gap; `offset` counts from the first byte of the stream."""

    offset: int
    data: bytes


class Stream:
    """One direction of a connection.

    `starts` and `pieces` are the stream offsets at which packets begin to own bytes, and those packets; `base` is the
    sequence number at offset 0; `cut`: segments were cut by the snapshot length; `strays`: segments too far from the
    others to be of this stream, whose bytes are left out.
    """

    def __init__(self, packets: list[Packet]) -> None:
        self.packets = packets
        self.runs: list[Run] = []
        self.starts: list[int] = []
        self.pieces: list[Packet] = []
        self.conflicts: list[Conflict] = []
        self.from_start = False
        self.cut = False
        self.base = 0
        self.strays = 0

    def packet_at(self, offset: int) -> Packet:
        """The packet that brought the byte at `offset`."""
        return self.pieces[index_at(self.starts, offset)]

    @property
    def gaps(self) -> int:
        """How many times bytes are missing inside the stream."""
        return max(0, len(self.runs) - 1)


def index_at(starts: list[int], offset: int) -> int:
    """The index of the last of the ascending `starts` that is not after `offset`; 0 where all are."""
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) >> 1
        start = starts[middle]
        if start > offset:
            high = middle
        else:
            low = middle + 1
    return low - 1 if low else 0


def distance(seq: int, base: int) -> int:
    """seq - base in sequence space, signed (RFC 9293 section 3.4)."""
    return ((seq - base + HALF) & LAST) - HALF


def direction_packets(flow: Flow, direction: int) -> list[Packet]:
    """The kept packets of one direction, in capture order."""
    found: list[Packet] = []
    for packet in flow.packets:
        if packet.direction == direction:
            found.append(packet)
    return found


def both_directions(flow: Flow) -> tuple[Stream, Stream]:
    """The streams of client and server; of conflicting copies, those that were acceptable on arrival count."""
    sent = direction_packets(flow, 0), direction_packets(flow, 1)
    streams = reassemble(sent[0]), reassemble(sent[1])
    if streams[0].conflicts or streams[1].conflicts:
        last = discarded(flow.packets)
        return reassemble(sent[0], False, last, damaged(sent[0])), reassemble(sent[1], False, last, damaged(sent[1]))
    return streams


def damaged(packets: list[Packet]) -> set[int]:
    """Frames of one sender's segments that were damaged on the way: their receiver dropped them.

    Their checksum is wrong, and that of the same segment, sent again, is right. Kernels leave the checksum of what they
    have put together wrong: that alone shows no damage.
    """
    right = set()
    for packet in packets:
        if packet.checksum_ok and packet.length:
            right.add((packet.seq, packet.length))
    found = set()
    for packet in packets:
        if not packet.checksum_ok and (packet.seq, packet.length) in right:
            found.add(packet.frame)
    return found


def discarded(packets: list[Packet]) -> set[int]:
    """Frames of segments that their receiver had to drop, as far as a capture shows it.

    A wrong checksum, no ACK outside of a SYN (RFC 9293 sections 3.1 and 3.10.7.4), or an ACK of what was not sent. A
    checksum left to the network card is wrong too, but then those of all segments of that sender are.
    """
    found = acknowledge_too_much(packets)
    for packet in packets:
        if not packet.checksum_ok or not packet.flags & (codes.ACK | codes.SYN | codes.RST):
            found.add(packet.frame)
    return found


def acknowledge_too_much(packets: list[Packet]) -> set[int]:
    """Frames of segments that acknowledge what the other side has not sent yet.

    The receiver drops them (RFC 9293 section 3.10.7.4, "If the ACK acks something not yet sent"). They are of another
    conversation between the same ports: the end of the origin's, beside the box that took its place.
    """
    sent: list[int | None] = [None, None]
    found = set()
    for packet in packets:
        theirs = sent[1 - packet.direction]
        if packet.flags & codes.ACK and theirs is not None and distance(packet.ack, theirs) > 0:
            found.add(packet.frame)
        end = packet.seq + packet.length + bool(packet.flags & codes.SYN) + bool(packet.flags & codes.FIN)
        ours = sent[packet.direction]
        if ours is None or distance(end, ours) > 0:
            sent[packet.direction] = end & LAST
    return found


def acknowledges_unsent(packets: list[Packet], client: int) -> tuple[int, ...]:
    """Frames of the server's segments that acknowledge what the client had not sent (RFC 9293 section 3.10.7.4).

    Told only where the client is seen to go on, later, from just where it was: what was lost by the capture, recorded
    in another order, or not kept would show otherwise. Empty too where its SYN is missing or its bytes have a gap.
    """
    sent = 0
    started = False
    waiting: list[tuple[int, int]] = []
    odd: list[int] = []
    for packet in packets:
        if packet.direction == client:
            if not started:
                if not packet.flags & codes.SYN:
                    return ()
                started = True
                sent = (packet.seq + packet.length + 1) & LAST
                continue
            ahead = distance(packet.seq, sent)
            if ahead > 0:
                if packet.flags & codes.RST:
                    continue  # an answer to the odd segment itself
                return ()
            end = (packet.seq + packet.length + (1 if packet.flags & codes.SYN else 0)) & LAST
            if ahead == 0:
                odd += [frame for frame, acknowledged in waiting if distance(acknowledged, end) > 1]
                waiting.clear()
            if distance(end, sent) > 0:
                sent = end
        elif started and packet.flags & codes.ACK and not packet.flags & codes.RST and distance(packet.ack, sent) > 1:
            waiting.append((packet.frame, packet.ack))  # one more than was sent is a FIN's
    return tuple(odd[:4])


def reassemble(
    packets: list[Packet], last_wins: bool = False, last: Container[int] = (), lost: Container[int] = ()
) -> Stream:
    """Put one direction's segments in order; with `last_wins`, later copies of a byte replace earlier ones.

    Segments whose frame is in `last` give way to all others; of those in `lost`, other bytes are no conflict.
    """
    stream = Stream(packets)
    data: list[Packet] = []
    syns: list[Packet] = []
    for packet in packets:
        if packet.payload:
            data.append(packet)
        if packet.flags & codes.SYN:
            syns.append(packet)
    if last:
        data = [one for one in data if one.frame not in last] + [one for one in data if one.frame in last]
    if not data:
        stream.from_start = bool(syns)
        return stream
    stream.base, stream.from_start = _base(syns, data)
    if last_wins:
        data.reverse()
    _place(stream, data, lost)
    return stream


def versions(packets: list[Packet]) -> list[Stream]:
    """The other readings of a direction whose bytes came in several versions: the last copy of each byte, and each
    further version of it, of which there are `MAX_VERSIONS` at most.

    Programs that evade inspection lay a fake segment before the true one and behind it; a forged answer may come before
    the genuine one is sent again.
    """
    found = [reassemble(packets, True)]
    copies = _copies([packet for packet in packets if packet.payload])
    for number in range(1, min(max(copies.values(), default=0), MAX_VERSIONS) + 1):
        found.append(reassemble(packets, False, {frame for frame, copy in copies.items() if copy != number}))
    return found


def _copies(data: list[Packet]) -> dict[int, int]:
    """Frame -> how many other versions of some of its bytes came before it, one upon the other.

    The very segment sent again is no other version.
    """
    layers: list[list[tuple[int, int]]] = []
    found: dict[int, int] = {}
    known: dict[tuple[int, bytes], int] = {}
    for packet in data:
        again = known.setdefault((packet.seq, packet.payload), packet.frame)
        if again in found:
            found[packet.frame] = found[again]
            continue
        begin = distance(packet.seq, data[0].seq)
        end = begin + len(packet.payload)
        above = 0
        for number in range(len(layers), 0, -1):
            if _overlaps(layers[number - 1], begin, end):
                above = number
                break
        found[packet.frame] = above
        if above == len(layers) and above <= MAX_VERSIONS + 1:
            layers.append([])
        insort(layers[min(above, len(layers) - 1)], (begin, end))
    return found


def _overlaps(layer: list[tuple[int, int]], begin: int, end: int) -> bool:
    """Does a segment lie upon one of a layer, whose own do not lie upon each other?"""
    at = bisect_right(layer, (begin, end))
    return (at > 0 and layer[at - 1][1] > begin) or (at < len(layer) and layer[at][0] < end)


def _base(syns: list[Packet], data: list[Packet]) -> tuple[int, bool]:
    """The sequence number of the first byte: after a SYN that fits the data, else the lowest that was seen."""
    first = data[0].seq
    for syn in syns:
        offset = distance(first, syn.seq + 1)
        if -1 <= offset < WINDOW:
            return (syn.seq + 1) & LAST, True
    for syn in syns:  # what was sent first may lie before the window, where no receiver takes it (RFC 9293 3.10.7.4)
        for packet in data:
            if packet.seq == (syn.seq + 1) & LAST:
                return packet.seq, True
    lowest = 0
    for packet in data:
        offset = distance(packet.seq, first)
        if -1 << 17 < offset < lowest:
            lowest = offset
    return (first + lowest) & LAST, False


def _place(stream: Stream, packets: list[Packet], lost: Container[int]) -> None:
    """Lay segments down in the given order; the first that covers a byte owns it."""
    starts: list[int] = []
    ends: list[int] = []
    bodies: list[bytes] = []
    owners: list[Packet] = []
    tail = 0
    for packet in packets:
        offset = distance(packet.seq + (1 if packet.flags & codes.SYN else 0), stream.base)
        if packet.captured < packet.length:
            stream.cut = True
        if not -WINDOW < offset < WINDOW:
            stream.strays += 1
            continue
        body = packet.payload
        if offset < -1 and offset + len(body) <= 0:
            stream.strays += 1
            continue
        if offset < 0:
            body = body[-offset:]
            offset = 0
        end = offset + len(body)
        at = offset
        if offset >= tail:  # in order: what almost every segment is
            if body:
                starts.append(offset)
                ends.append(end)
                bodies.append(body)
                owners.append(packet)
                tail = end
            continue
        index = index_at(starts, offset)
        while at < end:
            if index < len(starts) and ends[index] <= at:
                index += 1
                continue
            if index < len(starts) and starts[index] <= at:
                stop = min(end, ends[index])
                ours = body[at - offset : stop - offset]
                theirs = bodies[index][at - starts[index] : stop - starts[index]]
                alone = starts[index] == at and ends[index] == at + 1  # a byte that was a segment before it came again
                keep_alive = len(body) == 1 and at == ends[-1] - 1 and (not alone or body == b"\0")
                same = ours == theirs or packet.frame in lost or owners[index].frame in lost
                if not same and not keep_alive and len(stream.conflicts) < MAX_CONFLICTS:
                    stream.conflicts.append(Conflict(at, owners[index].frame, theirs, packet.frame, ours))
                at = stop
                index += 1
                continue
            stop = min(end, starts[index]) if index < len(starts) else end
            starts.insert(index, at)
            ends.insert(index, stop)
            bodies.insert(index, body[at - offset : stop - offset])
            owners.insert(index, packet)
            at = stop
            index += 1
        tail = ends[-1]
    stream.starts = starts
    stream.pieces = owners
    begin = 0
    while begin < len(starts):
        finish = begin + 1
        while finish < len(starts) and starts[finish] == ends[finish - 1]:
            finish += 1
        stream.runs.append(Run(starts[begin], b"".join(bodies[begin:finish])))
        begin = finish
