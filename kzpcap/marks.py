# cython: annotation_typing=False, language_level=3, boundscheck=True, wraparound=True
"""What the IP and TCP headers of a connection's packets show: the marks of its SYN, SYN-ACK, messages and resets.

The file runs as it is; marks.pxd gives the compiled form its types. Records are made by `tuple.__new__`, which takes
a third of the time of a NamedTuple's constructor: there are some ten for each connection.
"""

from __future__ import annotations

from kzpcap.capture import codes
from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet
from kzpcap.flows import distance
from kzpcap.observations import IGNORED, Mark, Probe
from kzpcap.paths.stack import ignored_resets, stamps
from kzpcap.tls.seen import Handshake

MAX_MARKS = 24
MAX_PROBES = 128
GAVE_UP_NS = 1_000_000_000
"""No server waits shorter for a ClientHello."""


def mark(packet: Packet, what: str) -> Mark:
    """The marks of one packet; `what` says what it carried."""
    return tuple.__new__(
        Mark,
        (
            what, packet.frame, packet.time_ns, packet.ttl, packet.ip_id, packet.dont_fragment, packet.checksum_ok,
            packet.window, packet.options,
        ),
    )  # fmt: skip


def client_stamps(packets: list[Packet]) -> tuple[int, int] | None:
    """The TCP timestamps (TSval) of the client's first and last packet; one twice where the other has none."""
    if not packets:
        return None
    first = stamps(packets[0].options)
    last = stamps(packets[-1].options)
    if first is None or last is None:
        only = first or last
        return (only[0], only[0]) if only else None
    return first[0], last[0]


def first_marked(packets: list[Packet], what: str, wanted: int, unwanted: int) -> Mark | None:
    """The first packet with all of some TCP flags and none of others."""
    for packet in packets:
        if packet.flags & wanted == wanted and not packet.flags & unwanted:
            return mark(packet, what)
    return None


def syn_ack(sent: list[Packet], answered: list[Packet]) -> Mark | None:
    """The SYN-ACK that acknowledges the client's SYN, or also data in it (TCP Fast Open, RFC 7413 section 4.2).

    Any, where the SYN was not captured.
    """
    isn = -1
    carried = 0
    for packet in sent:
        if packet.flags & codes.SYN:
            isn = packet.seq
            carried = packet.length
            break
    for packet in answered:
        taken = isn < 0 or 1 <= distance(packet.ack, isn) <= 1 + carried
        if taken and packet.flags & codes.SYN and packet.flags & codes.ACK:
            return mark(packet, "syn_ack")
    return None


def resets(packets: list[Packet], flow: Flow) -> tuple[Mark, ...]:
    """The first resets of one direction; behind them, the first of those that their receiver drops."""
    found: list[Packet] = []
    for packet in packets:
        if packet.flags & codes.RST:
            found.append(packet)
    if not found:
        return ()
    dropped = set() if flow.given_up else ignored_resets(flow.packets)
    if flow.left_from:  # what was not kept moved the window on
        dropped = {frame for frame in dropped if frame < flow.left_from}
    taken = [packet for packet in found if packet.frame not in dropped]
    ignored = [packet for packet in found if packet.frame in dropped]
    marks = [mark(packet, "reset") for packet in taken[:MAX_MARKS]]
    return tuple(marks + [mark(packet, IGNORED) for packet in ignored[:1]])


def acknowledges_missing(own: list[Packet], others: list[Packet]) -> bool:
    """Does a side acknowledge bytes of the other's that were not captured? A FIN's one is none.

    Of several SYNs, one may have been lost behind the capture point: it must be so by each of them.
    """
    found = False
    for first in others:
        if not first.flags & codes.SYN:
            continue
        end = 1
        for packet in others:
            if packet.payload and distance(packet.seq, first.seq) + len(packet.payload) > end:
                end = distance(packet.seq, first.seq) + len(packet.payload)
        found = False
        for packet in own:
            if packet.flags & codes.ACK and not packet.flags & codes.RST and distance(packet.ack, first.seq) > end + 1:
                found = True
                break
        if not found:
            return False
    return found


def closed_by_server(sent: list[Packet], answered: list[Packet], hello: int) -> Mark | None:
    """The FIN with which the server's side answered a hello (its first frame): right behind the SYN-ACK.

    None where the client itself had closed before, to which it answers, and where the sender of the SYN-ACK says that
    nothing of the client's arrived: it gave up waiting.
    """
    begin = -1
    for packet in sent:
        if packet.frame == hello:
            begin = (packet.seq + (1 if packet.flags & codes.SYN else 0)) & 0xFFFFFFFF
            break
    first = None
    for packet in answered:
        if packet.flags & codes.SYN and packet.flags & codes.ACK:
            first = packet  # the last: one before may have been lost behind the capture point
        elif packet.flags & codes.ENDS == codes.FIN and packet.frame > hello and not packet.payload:
            if first is None or distance(packet.seq, first.seq) != 1:
                continue
            if packet.ack == begin and packet.ttl == first.ttl and packet.time_ns - first.time_ns >= GAVE_UP_NS:
                continue
            for own in sent:
                if own.frame < packet.frame and own.flags & (codes.FIN | codes.RST):
                    return None
            return mark(packet, "fin")
    return None


def server_marks(handshake: Handshake, packets: list[Packet]) -> tuple[Mark, ...]:
    """The marks of the server's side, message by message: SYN-ACK, hello, Certificate, first data, FIN, RST."""
    named: dict[int, str] = {}
    answer = handshake.first_answer
    if answer is not None:
        named[answer.seen.frame] = "server_hello"
    if handshake.chains:
        named.setdefault(handshake.chains[0].seen.frame, "certificate")
    for alert in handshake.alerts:
        if not alert.from_client:
            named.setdefault(alert.seen.frame, "alert")
    marks: list[Mark] = []
    data = 0
    for packet in packets:
        if packet.flags & codes.ENDS:
            what = "syn_ack" if packet.flags & codes.SYN else "reset" if packet.flags & codes.RST else "fin"
        else:
            found = named.get(packet.frame)
            if found is None:
                data += 1
                if data > 3:
                    continue
            what = found or "data"
        marks.append(mark(packet, what))
        if len(marks) == MAX_MARKS:
            break
    return tuple(marks)


def probes(handshake: Handshake, packets: list[Packet]) -> tuple[Probe, ...]:
    """Every copy of the segment that begins the first ClientHello: several TTLs make a ladder."""
    seen = handshake.client_hello
    if seen is None or handshake.transport != "tcp":
        return ()
    frame = seen.first_frame
    first = None
    for packet in packets:
        if packet.frame == frame:
            first = packet
            break
    if first is None:
        return ()
    copies: list[Probe] = []
    for packet in packets:
        if packet.payload and distance(packet.seq, first.seq) == 0 and len(copies) < MAX_PROBES:
            values = (packet.ttl, packet.frame, packet.time_ns, packet.seq, packet.ip_id, packet.tos)
            copies.append(tuple.__new__(Probe, (*values, packet.dont_fragment)))
    return tuple(copies)
