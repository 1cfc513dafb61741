"""TCP reassembly: any order, any overlap, sequence wrap, gaps, conflicts, and who brought which byte."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from kzpcap.capture.codes import SYN
from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet
from kzpcap.flows import acknowledge_too_much, both_directions, reassemble


def segment(frame, seq, payload, flags=24, length=None, ttl=64):
    packet = Packet()
    packet.frame, packet.seq, packet.flags, packet.ttl = frame, seq & 0xFFFFFFFF, flags, ttl
    packet.payload = payload
    packet.captured = len(payload)
    packet.length = len(payload) if length is None else length
    return packet


def text(stream):
    return [(run.offset, run.data) for run in stream.runs]


def test_in_order():
    stream = reassemble([segment(1, 99, b"", SYN), segment(2, 100, b"abc"), segment(3, 103, b"def")])
    assert text(stream) == [(0, b"abcdef")]
    assert stream.from_start
    assert [stream.packet_at(i).frame for i in range(6)] == [2, 2, 2, 3, 3, 3]


@given(st.lists(st.integers(0, 50), unique=True, max_size=9).map(sorted), st.integers(-5, 60))
def test_the_place_of_an_offset(starts, offset):
    stream = reassemble([])
    stream.starts[:] = starts
    stream.pieces[:] = [segment(frame, 0, b"x") for frame in range(len(starts))]
    if starts:
        assert stream.packet_at(offset).frame == max(0, bisect_right(starts, offset) - 1)


def test_sequence_wrap():
    stream = reassemble([segment(1, 0xFFFFFFFE, b"", SYN), segment(2, 0xFFFFFFFF, b"ab"), segment(3, 1, b"cd")])
    assert text(stream) == [(0, b"abcd")]


def test_a_segment_far_from_the_others_is_counted_as_a_stray():
    stream = reassemble([segment(1, 0, b"", SYN), segment(2, 1, b"abc"), segment(3, 1 << 30, b"far")])
    assert text(stream) == [(0, b"abc")]
    assert stream.strays == 1


def test_out_of_order_and_a_gap():
    stream = reassemble([segment(1, 0, b"", SYN), segment(2, 11, b"late"), segment(3, 1, b"early")])
    assert text(stream) == [(0, b"early"), (10, b"late")]
    assert stream.gaps == 1


def test_a_differing_overlap_is_kept_with_both_versions():
    stream = reassemble([segment(1, 0, b"", SYN), segment(2, 1, b"genuine"), segment(3, 1, b"forgery")])
    assert text(stream) == [(0, b"genuine")]
    (conflict,) = stream.conflicts
    assert (conflict.first_frame, conflict.first, conflict.other_frame, conflict.other) == (
        2,
        b"genuine",
        3,
        b"forgery",
    )


def test_the_last_copy_can_be_asked_for():
    packets = [segment(1, 0, b"", SYN), segment(2, 1, b"genuine"), segment(3, 1, b"forgery")]
    assert text(reassemble(packets, last_wins=True)) == [(0, b"forgery")]


def test_a_keep_alive_is_no_conflict():
    stream = reassemble([segment(1, 0, b"", SYN), segment(2, 1, b"abc"), segment(3, 3, b"\0")])
    assert text(stream) == [(0, b"abc")]
    assert not stream.conflicts


def test_without_a_syn_the_lowest_number_is_the_start():
    stream = reassemble([segment(5, 1_005, b"fg"), segment(6, 1_000, b"abcde")])
    assert text(stream) == [(0, b"abcdefg")]
    assert not stream.from_start


def test_data_in_the_syn():
    stream = reassemble([segment(1, 0, b"fast", SYN), segment(2, 5, b"open")])
    assert text(stream) == [(0, b"fastopen")]


def test_snaplen_leaves_a_gap():
    stream = reassemble([segment(1, 0, b"", SYN), segment(2, 1, b"ab", length=5), segment(3, 6, b"fg")])
    assert text(stream) == [(0, b"ab"), (5, b"fg")]
    assert stream.cut


@given(st.binary(min_size=1, max_size=400), st.integers(0, 2**32 - 1), st.data())
def test_any_cutting_order_and_repetition_gives_the_bytes_back(body, isn, data):
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(body) - 1)), max_size=12)))
    edges = [0, *[cut for cut in cuts if cut < len(body)], len(body)]
    pieces = [(a, b) for a, b in pairwise(edges) if a < b]
    for _ in range(data.draw(st.integers(0, 4))):
        low = data.draw(st.integers(0, len(body) - 1))
        pieces.append((low, data.draw(st.integers(low + 1, len(body)))))
    order = data.draw(st.permutations(pieces))
    packets = [segment(1, isn, b"", SYN)]
    packets += [segment(2 + i, isn + 1 + a, body[a:b]) for i, (a, b) in enumerate(order)]
    stream = reassemble(packets)
    assert text(stream) == [(0, body)]
    assert not stream.conflicts
    for offset in range(len(body)):
        packet = stream.packet_at(offset)
        start = (packet.seq - isn - 1) & 0xFFFFFFFF
        assert start <= offset < start + packet.captured


def exchange(*packets):
    """A flow of (direction, seq, ack, payload), after a handshake with both sequence numbers at 100."""
    kept = [segment(1, 99, b"", SYN), segment(2, 99, b"", SYN | 16)]
    kept[1].direction, kept[1].ack = 1, 100
    for frame, (direction, seq, ack, payload) in enumerate(packets, 3):
        packet = segment(frame, seq, payload)
        packet.direction, packet.ack = direction, ack
        kept.append(packet)
    flow = Flow(kept[0], b"", b"")
    flow.packets.extend(kept)
    return flow


def test_of_conflicting_segments_the_one_counts_that_the_receiver_could_take():
    # The end of the origin's conversation arrives first, in the place of bytes that the box is about to send.
    flow = exchange((0, 100, 100, b"hello"), (1, 104, 106, b"end"), (1, 100, 105, b"answer"))
    assert acknowledge_too_much(flow.packets) == {4}
    _, server = both_directions(flow)
    assert text(server) == [(0, b"answerd")]
    assert server.conflicts[0].first_frame == 5


def test_without_a_conflict_nothing_is_put_last():
    # The client's packet that would explain the acknowledgement may simply not have been captured.
    flow = exchange((0, 100, 100, b"hello"), (1, 100, 110, b"abc"), (1, 103, 110, b"def"))
    _, server = both_directions(flow)
    assert text(server) == [(0, b"abcdef")]
