"""The machine that answered: each condition of facts/stacks.py by what differs where it alone is not met."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kzpcap.observations import Mark
from kzpcap.surroundings.responders import Alike, Answer, Stack
from kzpcap.verdict.facts import stacks
from tests.test_conditions import first_of

MS = 1_000_000
SEEN = SimpleNamespace
KINDS = ("syn_ack", "server_hello", "certificate", "data", "data", "data", "fin")


def kept():
    return first_of("kz-2019-rcku").observation


def with_ids(ids, what=KINDS, every=10 * MS, packets=0, server="203.0.113.80"):
    """A connection whose server's packets have these IP IDs, one each ten milliseconds."""
    marks = tuple(
        Mark(kind, 10 + number, 1 + number * every, 57, one, True)
        for number, (one, kind) in enumerate(zip(ids, what, strict=False))
    )
    return kept()._replace(server_marks=marks, server_packets=packets, server=(server, 443))


@pytest.mark.parametrize(
    ("ids", "frames"),
    [
        ([7_001, 7_002, 7_003, 52_000], (13, 12)),
        ([9_000, 40_001, 40_002, 40_003], (10, 11)),
        ([7_001, 52_000, 7_002, 7_003], (11, 10, 12)),
        ([7_001, 7_002, 52_000, 7_003], (12, 11, 13)),
        ([7_001, 7_002, 52_000, 7_003, 61_000], None),
        ([7_001, 7_002, 52_000, 61_000, 7_003], None),
        ([7_001, 7_002, 52_000], None),
        ([7_001, 7_002, 7_003, 7_004], None),
        ([7_001, 7_101, 7_201, 7_302], (13, 12)),
        ([7_001, 7_101, 7_201, 7_301], None),
        ([65_500, 65_535, 10, 30_000], (13, 12)),
        ([7_001, 7_002, 52_000, 52_001], None),
        ([7_001, 7_002, 7_003, 7_004, 7_005, 7_006, 52_000], (16, 15)),
    ],
    ids=[
        "last", "first", "second", "third", "two that stand out", "two together", "three packets", "a counter",
        "more than a step", "a step", "a counter that wraps", "two counters",
        "last of seven",
    ],
)  # fmt: skip
def test_one_ip_id_that_stands_out_of_a_counter(ids, frames):
    found = stacks.ip_id_breaks(with_ids(ids), SEEN())
    assert (found.value, found.frames) == ((False, ()) if frames is None else (True, frames))


@pytest.mark.parametrize(
    ("ids", "what", "told"),
    [
        ([0, 7_001, 7_002, 7_003], KINDS, False),
        ([0, 7_001, 7_002, 7_003, 52_000], KINDS, True),
        ([0, 7_001, 7_002, 52_000], KINDS, False),
        ([7_001, 7_002, 7_003, 0], ("syn_ack", "data", "data", "reset"), False),
        ([7_001, 7_002, 7_003, 0], KINDS, True),
        ([0, 0, 0, 31_000], KINDS, True),
        ([0, 0, 31_000, 31_001], KINDS, False),
        ([0, 7_001, 0, 0, 0], KINDS, True),
        ([31_000, 0, 0, 0], KINDS, True),
        ([0, 65_400, 65_480, 0, 40], KINDS, False),
    ],
    ids=[
        "Linux", "Linux and another", "too few beside zero", "its reset", "no reset's zero", "zeros",
        "two beside zeros", "one among zeros", "the first before zeros", "a counter that passes zero",
    ],
)  # fmt: skip
def test_zero_in_a_syn_ack_or_reset_is_no_part_of_a_counter(ids, what, told):
    """Unless zero comes in others too: then it is what this stack sends."""
    found = stacks.ip_id_breaks(with_ids(ids, what), SEEN())
    assert found.value is told
    if told and 31_000 in ids:
        assert "other 3 packets kept have zero" in found.says


@pytest.mark.parametrize(
    ("packets", "told"), [(0, True), (20_438, True), (20_439, False)], ids=["few", "one too few", "as many"]
)
def test_a_long_download_between_two_packets_counts_on(packets, told):
    """52000 to 7003 is a step of 20,539, recorded in another order: a hundred are others', the rest this one's own."""
    assert stacks.ip_id_breaks(with_ids([7_001, 7_002, 7_003, 52_000], packets=packets), SEEN()).value is told


@pytest.mark.parametrize(("every", "told"), [(1_000 * MS, True), (1_000 * MS + 1, False)])
def test_steps_of_a_counter_say_nothing_a_second_apart(every, told):
    assert stacks.ip_id_breaks(with_ids([7_001, 7_002, 7_003, 52_000], every=every), SEEN()).value is told


@pytest.mark.parametrize(("before", "after", "told"), [(1, 5, True), (5, 1, True), (5, 5, False)])
def test_one_neighbour_within_a_second_is_enough(before, after, told):
    seen = with_ids([7_001, 7_002, 52_000, 7_003])
    times = (1, 2, 2 + before * 1_000 * MS, 2 + (before + after) * 1_000 * MS)
    marks = tuple(one._replace(time_ns=time) for one, time in zip(seen.server_marks, times, strict=True))
    assert stacks.ip_id_breaks(seen._replace(server_marks=marks), SEEN()).value is told


def test_ip_version_6_has_no_ids():
    assert stacks.ip_id_breaks(with_ids([7_001, 7_002, 7_003, 52_000], server="2001:db8::1"), SEEN()).value is False


@pytest.mark.parametrize("ids", [[7_004, 7_001, 7_002, 7_003], [7_001, 7_004, 7_003, 7_005]])
def test_what_fits_a_counter_in_another_order_is_no_other_stack(ids):
    assert stacks.ip_id_breaks(with_ids(ids), SEEN()).value is False


# timestamps


def stamped(value, echo=9_000):
    return b"\x01\x01\x08\x0a" + value.to_bytes(4, "big") + echo.to_bytes(4, "big")


def stamping(*sent, syn=9_000, what=KINDS, begin=0):
    """A connection with these timestamps in the server's packets, one a millisecond; None for none."""
    marks = tuple(
        Mark(kind, 10 + number, number * MS, 57, 0, True, True, 0, b"" if one is None else stamped(*one))
        for number, (one, kind) in enumerate(zip(sent, what, strict=False))
    )
    opened = Mark("syn", 1, 0, 64, 0, True, True, 0, b"" if syn is None else stamped(syn, 0))
    return kept()._replace(
        syn=opened, syn_ack=marks[begin], server_marks=marks, client_stamps=None if syn is None else (syn, syn + 1),
        time_ns=0,
    )  # fmt: skip


T = (700, 9_000)


@pytest.mark.parametrize(
    ("observation", "value", "frames"),
    [
        (stamping(T, T, T), False, ()),
        (stamping(T, T, None), True, (10, 12)),
        (stamping(T, (3_000_000_000, 9_000)), True, (10, 11)),
        (stamping(None, T, T), None, ()),
        (stamping(T, T, None, syn=None), None, ()),
        (stamping(T, T, None, what=("syn_ack", "data", "reset")), False, ()),
        (stamping(T, None, T, what=("syn_ack", "syn_ack", "data")), False, ()),
        (stamping(None, T, T, begin=1, what=("data", "syn_ack", "data")), False, ()),
        (stamping(T, T, None)._replace(syn=None), None, ()),
        (stamping(T, T, None)._replace(syn_ack=None), None, ()),
    ],
    ids=[
        "kept", "vanished", "another clock", "not agreed on", "not offered", "a reset has none", "a further SYN-ACK",
        "before the SYN-ACK", "no SYN", "no SYN-ACK",
    ],
)  # fmt: skip
def test_timestamps_once_agreed_on_are_kept_and_of_one_clock(observation, value, frames):
    found = stacks.timestamps_break(observation, SEEN())
    assert (found.value, found.frames) == (value, frames)
    if frames == (10, 11):
        assert found.says == "TCP timestamp 700 in the SYN-ACK, 3000000000 in the ServerHello 1.0 ms later: two clocks"


@pytest.mark.parametrize(
    ("observation", "value"),
    [
        (stamping(T, T, T), False),
        (stamping(T, (700, 5_000_000)), True),
        (stamping(T, (700, 5_000_000), what=("syn_ack", "reset")), False),
        (stamping(T, None), False),
        (stamping(T, (700, 5_000_000), syn=None), None),
        (stamping(T, (700, 5_000_000))._replace(syn=None), None),
        (stamping(T, (700, 5_000_000))._replace(client_stamps=None), None),
        (stamping(T, (700, 5_000_000), syn=None)._replace(client_stamps=(9_000, 9_001)), None),
        (stamping((700, 5_000_000)), True),
    ],
    ids=[
        "its own",
        "another",
        "a reset's",
        "none",
        "not offered",
        "no SYN",
        "none kept",
        "none in the SYN",
        "in the SYN-ACK",
    ],
)
def test_a_server_echoes_what_the_client_sent(observation, value):
    found = stacks.echoes_no_timestamp(observation, SEEN())
    assert found.value is value
    if value:
        assert "echoes the TCP timestamp 5000000; the client sent 9000 to 9001" in found.says
        assert found.frames[0] == 1


# beside controls

MINE = Stack(("mss",), "window 1", 57)


def responding(mine, others, hellos=(57, 57), rebuilt=""):
    controls = [Answer(row, stack, ttl) for row, (stack, ttl) in enumerate(zip(others, hellos, strict=True))]
    frames = {"frames": lambda answers: tuple(100 + one.row for one in answers)}
    return SEEN(responders=SEEN(of=lambda _: mine, controls=lambda _: controls, **frames), rebuilt=rebuilt)


OTHER = MINE._replace(signature="window 2")


@pytest.mark.parametrize(
    ("mine", "others", "value"),
    [
        (MINE, (OTHER, OTHER), True),
        (MINE, (MINE, MINE), False),
        (MINE, (MINE, OTHER), None),
        (None, (OTHER, OTHER), None),
        (MINE, (OTHER,), None),
        (MINE, (OTHER, OTHER._replace(asked=("mss", "ts"))), None),
        (MINE, (OTHER, OTHER._replace(ttl=61)), True),
    ],
    ids=["another", "the same", "several", "no SYN-ACK", "one control", "asked otherwise", "other distances"],
)
def test_a_syn_was_answered_by_another_stack_than_two_equal_ones(mine, others, value):
    told = responding(mine, others, (57,) * len(others))
    found = stacks.syn_answered_unlike_controls(kept(), told)
    assert found.value is value
    if value:
        assert found.frames == (kept().syn_ack.frame, 100, 101)
        assert stacks.syn_answered_unlike_controls(kept()._replace(syn_ack=None), told).frames == (0, 100, 101)


@pytest.mark.parametrize(
    ("ttl", "hellos", "change", "value"),
    [
        (61, (57, 57), {}, True),
        (57, (57, 57), {}, False),
        (58, (57, 57), {}, False),
        (61, (57, 61), {}, False),
        (121, (57, 57), {}, None),
        (61, (57, 125), {}, None),
        (61, (57,), {}, None),
        (61, (57, None), {}, None),
        (61, (57, 57), {"rebuilt": "made anew"}, None),
        (61, (57, 57), {"transport": "quic"}, None),
        (61, (57, 57), {"tunnels": 1}, None),
        (61, (57, 57), {"proxied": True}, None),
        (61, (57, 57), {"server_hello": None}, None),
    ],
    ids=[
        "elsewhere", "there", "one hop", "as one of them", "another family", "as one of another family", "one control",
        "one answer", "rebuilt", "QUIC", "a tunnel", "a proxy", "no answer",
    ],
)  # fmt: skip
def test_an_answer_came_from_another_distance_than_all_controls(ttl, hellos, change, value):
    change = dict(change)
    told = responding(MINE, (OTHER,) * len(hellos), hellos, change.pop("rebuilt", ""))
    seen = kept()._replace(server_hello=kept().server_hello._replace(ttl=ttl))._replace(**change)
    found = stacks.answered_from_another_distance(seen, told)
    assert found.value is value
    if value:
        assert found.frames == (seen.server_hello.frame, 100, 101)


# many servers


@pytest.mark.parametrize(("systems", "value"), [(3, True), (2, None)])
def test_one_stack_in_three_networks(systems, value):
    alike = Alike(9, {f"198.51.100.{number}": 90 - number for number in range(9)})
    told = SEEN(responders=SEEN(same_stack=lambda _: alike), systems_of=lambda _: systems)
    found = stacks.one_stack_for_many_servers(kept(), told)
    assert (found.value, found.frames) == (value, (85, 86, 87, 88, 89, 90) if value else ())
    if value:
        assert f"9 addresses in 3 AS answered SYNs with TTL {kept().syn_ack.ttl} and" in found.says
    told.responders.same_stack = lambda _: None
    assert stacks.one_stack_for_many_servers(kept(), told).value is False


@pytest.mark.parametrize("shared", [True, False])
def test_one_clock_behind_several_addresses_is_told_where_there_is_one(shared):
    servers = {f"198.51.100.{number}": 90 - number for number in range(9)} if shared else {}
    found = stacks.one_clock_for_several_servers(kept(), SEEN(responders=SEEN(same_clock=lambda _: servers)))
    assert (found.value, found.frames) == (shared, (82, 83, 84, 85, 86, 87) if shared else ())


@pytest.mark.parametrize("frames", [(), (4, 5)])
def test_what_the_client_had_not_sent_is_told_with_its_frames(frames):
    found = stacks.acknowledged_unsent(kept()._replace(odd_acks=frames), SEEN())
    assert (found.value, found.frames) == (bool(frames), frames)
