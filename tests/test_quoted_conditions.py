"""What was sent with which TTL, and which probe a quote is of: each condition of reading ladders by itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kzpcap.paths.icmp import Echo
from kzpcap.paths.ladders import (
    HOUR_NS,
    MAX_STEPS,
    MAX_SWAPPED,
    MAX_TTL,
    WAITS_NS,
    RouteProbe,
    Sent,
    changed,
    find_routes,
    find_series,
    runs,
    sent_before,
)

SECOND = 1_000_000_000
SERVER = "203.0.113.1"


def probe(ttl, frame=None, time_ns=None, index=None, **more):
    """A probe of its own connection; what is not said follows from its TTL."""
    frame = ttl * 10 if frame is None else frame
    more = {"ip_id": 100 + ttl, "name": "n", "seq": 1_000 + ttl, "sport": 5, **more}
    return Sent(
        ttl if index is None else index, ttl, frame, ttl * SECOND if time_ns is None else time_ns,
        client="c", server=SERVER, dport=443, **more,
    )  # fmt: skip


def error(frame, **more):
    """A router's Time Exceeded, by default for the probe with TTL 3."""
    fields = {
        "frame": frame, "time_ns": frame * SECOND // 10, "version": 4, "ttl": 60, "outer_src": "r", "of_a_hop": True,
        "kind": 11, "q_id": 103, "q_seq": 1_003, "q_ttl": 1, "q_tos": 0, "q_df": True, "q_dst": SERVER, "q_dport": 443,
        "q_sport": 5, "q_protocol": 6, "q_echo": None, "labels": (),
    }  # fmt: skip
    return SimpleNamespace(**{**fields, **more})


def hops(sent, *errors):
    (found,) = find_series(sent, list(errors))
    return {ttl: found.hops_at(ttl) for ttl in found.steps if found.hops_at(ttl)}


THREE = [probe(1), probe(2), probe(3)]


@pytest.mark.parametrize(("ttl", "part"), [(0, False), (1, True), (MAX_TTL, True), (MAX_TTL + 1, False)])
def test_a_ladder_goes_from_one_to_the_highest_ttl(ttl, part):
    """No packet is sent with a TTL of 0, and what has an ordinary one is no probe."""
    rest = [probe(one) for one in (2, 3, 4)]
    (found,) = find_series([*rest, probe(ttl, frame=900)], [])
    assert (ttl in found.steps) is part


@pytest.mark.parametrize(("indices", "shape"), [((1, 2, 3), "connection_per_ttl"), ((1, 1, 1, 2), "one_connection")])
def test_one_connection_with_three_ttls_makes_the_shape(indices, shape):
    sent = [probe(min(at, 3), frame=at * 10, index=index) for at, index in enumerate(indices, 1)]
    (found,) = find_series(sent, [])
    assert found.shape == shape
    two = [probe(ttl, index=index) for ttl, index in ((1, 1), (2, 1), (3, 2), (4, 2))]
    assert find_series(two, [])[0].shape == "connection_per_ttl"


def climb(begins, step=1, ttls=(1, 2, 3, 4, 5), frame=0):
    return [probe(ttl, frame=frame + at * 10, time_ns=begins + at * step, index=frame + ttl)
            for at, ttl in enumerate(ttls)]  # fmt: skip


@pytest.mark.parametrize(
    ("gap", "ladders"), [(HOUR_NS, 1), (HOUR_NS + 1, 2)], ids=["after an hour", "after over an hour"]
)
def test_a_ladder_that_begins_anew_after_over_an_hour_is_another(gap, ladders):
    first = climb(SECOND, ttls=(1, 2, 3))
    again = climb(first[-1].time_ns + gap, ttls=(1, 2, 3), frame=1_000)
    same_ttl = climb(first[-1].time_ns + gap, ttls=(3, 4, 5), frame=1_000)
    assert len(find_series([*first, *again], [])) == ladders
    assert len(find_series([*first, *same_ttl], [])) == ladders


def test_a_clock_that_is_set_within_a_climb_parts_no_ladder():
    """Both parts are long enough to be ladders of their own."""
    low, high = climb(SECOND, ttls=(1, 2, 3)), climb(5 * HOUR_NS, ttls=(4, 5, 6), frame=1_000)
    assert len(find_series([*low, *high], [])) == 1
    untimed = [probe(3, frame=30, time_ns=0), probe(2, frame=20, time_ns=0), probe(1, frame=10, time_ns=0)]
    assert len(find_series([*untimed, *climb(5 * HOUR_NS, ttls=(1, 2, 3), frame=1_000)], [])) == 1


@pytest.mark.parametrize(("more", "left_out"), [(0, 0), (1, MAX_STEPS % 3 + 1)])
def test_as_many_probes_of_each_ttl_are_kept_as_there_is_room_for(more, left_out):
    sent = [probe(at % 3 + 1, frame=at, index=at, time_ns=SECOND) for at in range(MAX_STEPS + more)]
    (found,) = find_series(sent, [])
    assert (found.left_out, len(found.sent)) == (left_out, MAX_STEPS + more - left_out)
    assert set(found.steps) == {1, 2, 3}


def test_runs_are_climbs_with_three_ttls_or_connections():
    (found,) = find_series([*climb(SECOND), *climb(SECOND, frame=100), *climb(SECOND, frame=200, ttls=(1, 2))], [])
    assert [[one.ttl for one in run] for run in runs(found)] == [[1, 2, 3, 4, 5]] * 2
    twice_each = climb(SECOND, ttls=(1, 1, 2, 2, 3, 3))
    assert len(runs(find_series(twice_each, [])[0])) == 1
    mixed = [probe(ttl, frame=frame, index=index) for frame, (ttl, index) in enumerate(
        [(1, 7), (1, 8), (2, 7), (2, 8), (3, 7), (3, 8)], 1)]  # fmt: skip
    assert [{one.index for one in run} for run in runs(find_series(mixed, [])[0])] == [{7}, {8}]


@pytest.mark.parametrize(
    ("behind", "earlier", "before"),
    [(-1, -1, True), (0, 1, True), (0, 0, False), (MAX_SWAPPED, 1, True), (MAX_SWAPPED + 1, 1, False), (1, 0, False)],
)
def test_a_probe_is_sent_before_what_is_recorded_behind_it_or_just_before(behind, earlier, before):
    assert sent_before(probe(3, frame=100 + behind, time_ns=SECOND - earlier), 100, SECOND) is before


def test_the_highest_ttl_before_an_answer_is_of_its_own_connection():
    sent = [probe(ttl, frame=frame, index=index, time_ns=frame) for frame, (ttl, index) in enumerate(
        [(3, 7), (1, 7), (9, 8), (5, 7), (6, 7)], 1)]  # fmt: skip
    (found,) = find_series(sent, [])
    assert [found.highest(7, frame, 0) for frame in (1, 2, 3, 4, 5, 6)] == [0, 3, 3, 3, 5, 6]
    assert (found.highest(7, 4, 5), found.highest(7, 4, 4)) == (5, 3)
    assert found.highest(9, 9, 0) == 0


def test_only_errors_of_routers_on_the_way_to_tcp_ports_name_hops():
    assert hops(THREE, error(35)) == {3: ("r",)}
    for change in ({"of_a_hop": False}, {"q_protocol": 17}, {"q_sport": None}, {"q_dport": None}, {"q_dport": 80}):
        assert hops(THREE, error(35, **change)) == {}


@pytest.mark.parametrize("untimed", ["probe", "error", "neither"])
def test_only_times_that_are_known_are_compared(untimed):
    sent = [*THREE[:2], probe(3, time_ns=0 if untimed == "probe" else 1)]
    late = error(35, time_ns=0 if untimed == "error" else WAITS_NS + 2)
    assert bool(hops(sent, late)) is (untimed != "neither")


def test_a_quote_without_a_sequence_number_is_of_the_last_probe_or_of_none():
    short = {"q_seq": None}
    assert hops(THREE, error(35, q_id=0, **short)) == {}
    zeros = [probe(ttl, ip_id=0, seq=1_000 + ttl) for ttl in (1, 2, 3)]
    assert hops(zeros, error(35, q_id=0, **short)) == {3: ("r",)}
    assert hops(zeros, error(5, q_id=0, **short)) == {}, "sent before all of them"


def test_a_number_that_tells_probes_apart_names_the_one():
    """The IP ID where it differs, else the sequence number: none was answered yet."""
    for alike in ({"seq": 9}, {"ip_id": 0}):
        sent = [probe(ttl, frame=ttl, time_ns=SECOND, index=1, **alike) for ttl in (1, 2, 3)]
        for ttl in (1, 2, 3):
            quote = {"q_id": sent[ttl - 1].ip_id, "q_seq": sent[ttl - 1].seq, "time_ns": SECOND}
            assert hops(sent, error(10, **quote)) == {ttl: ("r",)}


@pytest.mark.parametrize(("apart_ms", "round_trip_ms", "clear"), [(60, 1, False), (60, 30, False), (110, 1, True),
                                                                   (110, 30, False), (990, 900, False)])  # fmt: skip
def test_routers_answer_within_five_round_trips(apart_ms, round_trip_ms, clear):
    """At least a tenth of a second, at most one: an older probe that was not answered is not answered any more."""
    same = {"ip_id": 1, "seq": 1, "index": 1, "round_trip_ns": round_trip_ms * 1_000_000}
    sent = [probe(ttl, time_ns=SECOND + ttl * apart_ms * 1_000_000, **same) for ttl in (1, 2, 3)]
    (found,) = find_series(sent, [error(35, q_id=1, q_seq=1, time_ns=sent[2].time_ns + 5_000_000)])
    assert (found.hops_at(3), found.unclear) == ((("r",), 0) if clear else ((), 1))


@pytest.mark.parametrize(("frames", "named"), [(MAX_SWAPPED, True), (MAX_SWAPPED + 1, False)])
def test_an_answer_is_recorded_a_few_frames_before_its_question_at_most(frames, named):
    late = error(30 - frames, time_ns=3 * SECOND)
    assert (3 in hops(THREE, late)) is named


def test_a_connection_is_counted_once_at_a_ttl():
    sent = [probe(ttl, frame=ttl * 10 + again, index=1) for ttl in (1, 2, 3) for again in (0, 1)]
    (found,) = find_series(sent, [])
    assert (found.steps[2].frames, found.steps[2].connections) == ([20, 21], [1])


def test_who_spoke_is_known_whoever_had_asked():
    (found,) = find_series(THREE, [error(50), error(35, q_dst="198.51.100.9"), error(40, of_a_hop=False)])
    assert found.spoke == {"r": [35 * SECOND // 10, 5 * SECOND]}


SENT = {"tos": 0, "dont_fragment": True}


@pytest.mark.parametrize(
    ("sent", "quoted", "said"),
    [
        (SENT, {}, ()),
        (SENT, {"q_tos": 8}, ("TOS 0x00 became 0x08",)),
        ({}, {"q_tos": 8, "q_df": False}, ()),
        (SENT, {"q_df": False}, ("DF was cleared",)),
        ({"dont_fragment": False}, {}, ("DF was set",)),
        (SENT, {"q_df": None}, ()),
        (SENT, {"q_id": 7}, ("IP ID 103 became 7",)),
        (SENT, {"q_id": 7, "version": 6}, ()),
        (SENT, {"q_seq": 7}, ("another TCP sequence number",)),
        (SENT, {"q_seq": None}, ()),
        ({"seq": None}, {}, ()),
        (SENT, {"q_ttl": 2}, ("TTL 2 was left",)),
        (SENT, {"q_ttl": 0}, ()),
    ],
)
def test_what_a_quote_shows_to_be_changed_is_told_and_nothing_else(sent, quoted, said):
    assert changed(probe(3, **sent), error(35, **quoted)) == said


# traceroutes


def udp(ttl, frame=None, ip_id=None, port=None):
    key = (5, 33_434 + ttl if port is None else port)
    return RouteProbe(SERVER, ttl, ttl * 10 if frame is None else frame, 100 + ttl if ip_id is None else ip_id, key, 17)


def answer(ttl, frame=None, **more):
    fields = {"q_protocol": 17, "q_dport": 33_434 + ttl, "q_id": 100 + ttl, "outer_src": f"r{ttl}"}
    return error(ttl * 10 + 1 if frame is None else frame, **{**fields, **more})


def test_a_traceroutes_hops_are_of_the_probe_that_is_quoted():
    (route,) = find_routes([udp(1), udp(2)], [answer(1), answer(2), answer(2, 25), answer(9)], []).values()
    assert (route.hops, route.destination_ttl) == ({1: {"r1": 11}, 2: {"r2": 21}}, None)
    assert find_routes([udp(1)], [answer(1, 9)], []) == {}, "an answer before its question"
    same_ports = [udp(ttl, port=33_434) for ttl in (1, 2, 3)]
    late = [answer(ttl, 40 + ttl, q_dport=33_434) for ttl in (1, 2, 3)]
    assert find_routes(same_ports, late, [])[SERVER].hops == {1: {"r1": 41}, 2: {"r2": 42}, 3: {"r3": 43}}
    unnumbered = find_routes(same_ports, [answer(2, 25, q_dport=33_434, q_id=0)], [])
    assert unnumbered[SERVER].hops == {2: {"r2": 25}}, "else it is the last one that was sent"


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, 4),
        ({"outer_src": "r4"}, None),
        ({"kind": 4}, None),
        ({"of_a_hop": True, "kind": 11}, None),
        ({"version": 6, "kind": 1}, 4),
        ({"version": 6}, None),
    ],
    ids=["port unreachable", "of another", "another error", "a router's", "over IPv6", "IPv4's number over IPv6"],
)
def test_a_traceroute_ends_where_the_destination_itself_refuses(changes, ends):
    """The nearest of several, as the last probes all reach it."""
    refused = {"of_a_hop": False, "kind": 3, "outer_src": SERVER}
    errors = [answer(5, **refused), answer(4, 55, **{**refused, **changes}), answer(1)]
    routes = find_routes([udp(ttl) for ttl in (1, 4, 5)], errors, [])
    assert routes[SERVER].destination_ttl == (ends or 5)
    again = find_routes([udp(ttl) for ttl in (1, 4, 5)], [*errors[::-1]], [])
    assert again[SERVER].destination_ttl == (ends or 5)


def test_an_echo_reply_ends_a_traceroute_of_pings():
    pings = [RouteProbe(SERVER, ttl, ttl * 10, 0, (9, ttl), 1) for ttl in (1, 2, 3, 4)]
    expired = error(11, q_protocol=1, q_echo=(9, 1), q_id=0)
    replies = [Echo(frame, request, SERVER, "c", 57, key) for frame, key, request in
               [(5, (9, 2), False), (25, (9, 2), True), (41, (9, 4), False), (45, (9, 3), False), (46, (8, 1), False)]
               ]  # fmt: skip
    routes = find_routes(pings, [expired], replies)
    assert (routes[SERVER].hops, routes[SERVER].destination_ttl) == ({1: {"r": 11}}, 3)
    over_ipv6 = find_routes(pings, [error(11, q_protocol=58, q_echo=(9, 1), q_id=0, version=6)], replies[::-1])
    assert over_ipv6[SERVER].destination_ttl == 3
    assert find_routes(pings, [], replies) == {}, "a ping alone is no traceroute"
