"""Which probe a router's answer is to, and which probes are one ladder: whoever knows the ports can send an error."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from kzpcap.paths.icmp import IcmpError
from kzpcap.paths.ladders import HOUR_NS, RouteProbe, Sent, find_routes, find_series

SECOND = 1_000_000_000


@pytest.mark.parametrize(("ttls", "found"), [([1, 2], 0), ([1, 2, 3], 1), ([1, 1, 1], 0)])
def test_a_ladder_has_at_least_three_ttls(ttls, found):
    sent = [Sent(i, ttl, i + 1, 0, 0, "a", i, "b", 443, None) for i, ttl in enumerate(ttls)]
    assert len(find_series(sent, [])) == found


def exceeded(frame, ip_id, seq, router):
    return SimpleNamespace(
        frame=frame, time_ns=frame * SECOND // 5, version=4, ttl=60, outer_src=router, of_a_hop=True, kind=11,
        q_id=ip_id, q_seq=seq, q_ttl=1, q_tos=0, q_df=True, q_dst="b", q_dport=443, q_sport=1, q_protocol=6,
        q_echo=None, labels=(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ip_id", "seq", "counted"),
    [(7, 100, True), (7, 999, True), (900, 100, True), (900, 999, False)],
    ids=["the probe", "its sequence number was changed", "its IP ID was changed", "somebody else's reset"],
)
def test_a_quote_of_a_segment_that_the_client_never_sent_names_no_hop(ip_id, seq, counted):
    sent = [Sent(ttl, ttl, ttl * 10, ttl * 2 * SECOND, 7, "a", 1, "b", 443, None, seq=100) for ttl in (1, 2, 3)]
    (found,) = find_series(sent, [exceeded(35, ip_id, seq, "r")])
    assert found.hops_at(3) == (("r",) if counted else ())


@pytest.mark.parametrize(("frames", "named"), [((11, 21, 31), {1: "r1", 2: "r2", 3: "r3"}), ((21, 31, 41), {})])
def test_an_answer_that_fits_probes_of_several_ttls_names_no_hop(frames, named):
    """Probes that no number tells apart, five in a second: each answered before the next goes out, or after it."""
    sent = [Sent(1, ttl, ttl * 10, ttl * SECOND // 5, 1, "a", 1, "b", 443, None, seq=100) for ttl in (1, 2, 3)]
    errors = [exceeded(frame, 1, 100, f"r{at}") for at, frame in enumerate(frames, 1)]
    for error in errors:
        error.time_ns //= 10
    (found,) = find_series(sent, errors)
    assert {ttl: router for ttl in (1, 2, 3) for router in found.hops_at(ttl)} == named
    assert found.unclear == 3 - len(named)


@pytest.mark.parametrize(("late_ns", "named"), [(999_999, ("r",)), (1_000_000, ())])
def test_an_answer_recorded_before_its_question_is_of_the_same_moment(late_ns, named):
    """Captures of several queues: the probe's record comes next, and its time is hardly later."""
    error = exceeded(29, 9, 100, "r")
    sent = [Sent(ttl, ttl, ttl * 10, 0, 6 + ttl, "a", 1, "b", 443, None, seq=90 + ttl) for ttl in (1, 2, 3)]
    sent[2] = replace(sent[2], time_ns=error.time_ns + late_ns)
    (found,) = find_series(sent, [error])
    assert found.hops_at(3) == named


@pytest.mark.parametrize(("source", "ends"), [("203.0.113.1", 2), ("10.0.0.3", None)])
def test_a_router_that_refuses_is_not_where_a_traceroute_ends(source, ends):
    error = exceeded(31, 7, None, source)
    error.__dict__.update(of_a_hop=False, kind=3, q_dst="203.0.113.1", q_protocol=17, q_sport=5, q_dport=33_436)
    expired = exceeded(15, 6, None, "10.0.0.1")
    expired.__dict__.update(q_dst="203.0.113.1", q_protocol=17, q_sport=5, q_dport=33_436)
    probes = [RouteProbe("203.0.113.1", ttl, 10 * ttl, 5 + ttl, (5, 33_436), 17) for ttl in (1, 2, 3)]
    routes = find_routes(probes, [expired, error], [])
    assert routes["203.0.113.1"].destination_ttl == ends


@pytest.mark.parametrize(("round_trip", "named"), [(0, [1]), (30_000_000, [1, 3, 4, 5])])
def test_a_silent_router_hides_no_others_where_the_way_is_short(round_trip, named):
    """Five a second, each answered within 10 ms; the second router never answers."""
    sent = [
        Sent(1, ttl, ttl * 10, ttl * SECOND // 5, 1, "a", 1, "b", 443, None, seq=100, round_trip_ns=round_trip)
        for ttl in range(1, 6)
    ]
    errors = [exceeded(ttl * 10 + 1, 1, 100, f"r{ttl}") for ttl in (1, 3, 4, 5)]
    for error in errors:
        error.time_ns = (error.frame // 10) * SECOND // 5 + 10_000_000
    (found,) = find_series(sent, errors)
    assert [ttl for ttl in range(1, 6) if found.hops_at(ttl) == (f"r{ttl}",)] == named


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, True),
        ({"time_ns": 3 * 2 * SECOND + 5 * SECOND}, True),
        ({"time_ns": 3 * 2 * SECOND + 5 * SECOND + 1}, False),
        ({"time_ns": 0}, True),
        ({"q_ttl": 3}, True),
        ({"q_ttl": 4}, False),
        ({"q_seq": None}, True),
        ({"q_seq": None, "q_id": 900}, False),
        ({"code": 1}, False),
        ({"outer_src": "192.0.2.1"}, False),
        ({"outer_src": "255.255.255.255"}, False),
        ({"outer_src": "0.0.0.0"}, False),
        ({"outer_src": "224.0.0.5"}, False),
        ({"outer_src": "127.0.0.1"}, False),
    ],
    ids=lambda one: " ".join(map(str, one.values())) if isinstance(one, dict) else "",
)
def test_only_a_routers_answer_to_the_probe_names_a_hop(changes, named):
    """Whoever knows the ports can send an error: it must fit the probe, and come of a router."""
    sent = [
        Sent(ttl, ttl, ttl * 10, ttl * 2 * SECOND, 6 + ttl, "192.0.2.1", 1, "203.0.113.1", 443, None, seq=99 + ttl)
        for ttl in (1, 2, 3)
    ]
    error = IcmpError(
        35, 6 * SECOND + 1, 4, 11, 0, "10.0.0.3", 60, "192.0.2.1", "203.0.113.1", 1, 6, 9, 0, 60, 1, 443, 102
    )
    (found,) = find_series(sent, [error._replace(**changes)])
    assert found.hops_at(3) == ((error.outer_src,) if named else ())


def test_ladders_over_an_hour_apart_are_two():
    """A box is moved, a way changes: each day's probes are a ladder of their own."""
    sent = [
        Sent(
            day * 100 + ttl,
            ttl,
            day * 1_000 + ttl * 10,
            day * 86_400 * SECOND + ttl * SECOND,
            ttl,
            "a",
            1,
            "b",
            443,
            "n",
        )
        for day in (0, 1)
        for ttl in range(1, 6)
    ]
    first, second = find_series(sent, [])
    assert [one.times for one in (first, second)] == [(1 * SECOND, 5 * SECOND), (86_401 * SECOND, 86_405 * SECOND)]
    slow = [replace(one, time_ns=one.ttl * HOUR_NS) for one in sent[:5]]
    assert len(find_series(slow, [])) == 1, "a ladder that takes an hour for each probe is one"
    untimed = [replace(one, time_ns=0 if one.ttl == 3 else one.time_ns + 10 * HOUR_NS) for one in sent[:5]]
    assert len(find_series(untimed, [])) == 1, "a packet without a time parts nothing"
    ahead = [replace(one, time_ns=one.time_ns + (one.ttl > 3) * 2 * HOUR_NS) for one in sent[:5]]
    assert len(find_series(ahead, [])) == 1, "a clock that is set forward within a climb parts nothing"
    back = [replace(one, time_ns=one.time_ns - (one.ttl > 3) * 2 * HOUR_NS) for one in sent[:5]]
    assert len(find_series(back, [])) == 1, "a clock that is set back parts nothing"
