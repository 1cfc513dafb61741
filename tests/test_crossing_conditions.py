"""What a connection or a ladder shows of edges, and what edges and claims make of it: condition by condition."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest

from kzpcap.cases.crossings import (
    AT_SERVER,
    FIRST_TIME,
    HOUR,
    LAST_TIME,
    NOT_IN_FORCE,
    SPLIT,
    START,
    Edge,
    Path,
    _connection,
    _ladder_outcome,
    _outcome,
    _timed,
    _Way,
    _where,
    crossings,
    edges_of,
    path_of,
    router_name,
    seconds,
)
from kzpcap.report.document import Document
from tests.conftest import CAPTURES, run
from tests.test_across import crossing, step

KEY = "known_generation:kz-2019-qaznet"
A, B, C = Edge(START, "a"), Edge("a", "b"), Edge("b", "c")


@pytest.fixture(scope="module")
def report():
    """The report of a ladder that found the box on one edge."""
    return json.loads(run("analyze", "--json", str(CAPTURES / "kz-2019-ladder" / "capture.pcapng")).stdout)


def ladders_of(report):
    return [one for one, path in crossings("c", Document(copy.deepcopy(report))) if path is not None]


def hits_of(report):
    return [one for one in report["connections"] if one["state"] == "intercepted"]


# ways


def test_a_way_ends_at_its_last_router():
    """Of routers beyond it, which answered another way's probes, it says nothing."""
    way = Path(((1, "a"), (2, None), (3, "b"), (4, None)), (("a", "AS1"), ("x", "AS2")))
    assert way.as_far_as_seen() == Path(way.hops[:3], (("a", "AS1"),))
    assert Path(((1, None),), (("x", "AS2"),)).as_far_as_seen() == Path((), ())


@pytest.mark.parametrize(
    ("hops", "found"),
    [
        (((1, "a"), (2, "b")), [(1, A), (2, B), (3, Edge("b", "s (server)"))]),
        (((1, "a"), (2, "a"), (3, "b")), [(1, A), (3, B), (4, Edge("b", "s (server)"))]),
        (((1, "a"), (2, None), (3, "b")), [(1, A), (3, Edge("a", "b", 1)), (4, Edge("b", "s (server)"))]),
        (((1, "a"), (2, "s")), [(1, A), (2, Edge("a", "s (server)"))]),
        ((), [(1, Edge(START, "s (server)"))]),
    ],
    ids=["two", "one twice", "a silent one", "the server itself", "none"],
)
def test_the_edges_of_a_way(hops, found):
    assert edges_of(Path(hops, ()), "s") == found


@pytest.mark.parametrize(
    ("k", "steps", "routers"),
    [
        (2, [step(1, ["1.1.1.1"], ["1.1.1.1"]), step(2, ["2.2.2.2"], ["3.3.3.3"])], ["1.1.1.1", "3.3.3.3"]),
        (3, [step(1, ["1.1.1.1"], ["1.1.1.1"]), step(2, ["2.2.2.2"], ["3.3.3.3"])], ["1.1.1.1", "2.2.2.2"]),
        (None, [step(1, ["1.1.1.1"], ["9.9.9.9"]), step(2, [], ["3.3.3.3"])], ["1.1.1.1", None]),
        (None, [step(1, ["1.1.1.1"], ["1.1.1.1", "9.9.9.9"]), step(2, [], ["3.3.3.3"])], ["1.1.1.1", "3.3.3.3"]),
        (None, [step(1, [], ["9.9.9.9"]), step(2, [], ["3.3.3.3"])], ["9.9.9.9", "3.3.3.3"]),
        (9, [step(1, ["1.1.1.1"], []), step(2, [], ["3.3.3.3", "4.4.4.4"])], ["1.1.1.1", None]),
        (2, [step(1, ["1.1.1.1"], ["1.1.1.1"]), step(2, ["2.2.2.2"], [])], ["1.1.1.1", None]),
        (3, [step(1, ["1.1.1.1"], ["9.9.9.9"]), step(2, [], ["3.3.3.3"])], ["1.1.1.1", None]),
        (None, [step(1, ["1.1.1.1"], []), step(2, [], ["3.3.3.3"])], ["1.1.1.1", "3.3.3.3"]),
        (1, [step(1, ["1.1.1.1"], ["2.2.2.2"]), step(2, [], ["3.3.3.3"])], ["2.2.2.2", "3.3.3.3"]),
    ],
    ids=[
        "at the box",
        "before it",
        "other ways",
        "one in common",
        "the control's alone",
        "two routers",
        "beyond it",
        "other ways before it",
        "the target's alone",
        "what the box let by is no other way",
    ],
)
def test_whose_answers_name_a_router(k, steps, routers):
    found = path_of({"interceptor_ttl": k, "steps": steps}, "2.132.0.0/16")
    assert [router for _, router in found.hops] == routers


def test_a_router_whose_address_was_cut_is_the_client_s_own():
    assert router_name("2a02:6b8::/48", "2a02:6b8::/32") == "2a02:6b8::/48 (the client's own)"


@pytest.mark.parametrize(
    ("k", "bound", "clean", "inferred", "found"),
    [
        (9, "exact", 2, None, [C]),
        (3, "exact", 2, None, [C]),
        (2, "exact", 1, None, [B]),
        (9, "at_or_beyond", 8, None, [C]),
        (2, "at_or_beyond", 1, None, [B, C]),
        (9, None, 8, None, [C]),
        (3, None, 2, None, [C]),
        (3, None, 2, 1, [A, B, C]),
        (2, "at_or_before", 1, 1, [A, B]),
        (2, "at_or_before", 1, None, [B]),
        (1, "at_or_before", None, None, [A]),
    ],
)
def test_a_box_beyond_all_routers_is_on_the_last_edge(k, bound, clean, inferred, found):
    ladder = {
        "interceptor_ttl": k,
        "bound": bound,
        "inferred_hop": inferred,
        "last_clean_hop": clean and {"ttl": clean},
    }
    assert _where(ladder, [(1, A), (2, B), (3, C)]) == tuple(found)


def test_a_ladder_is_told_from_a_connection_and_by_its_way():
    """Two ladders of one second may go two ways; of a connection its way is only what some ladder told."""
    one = crossing((A,), True)
    assert one.same == replace(one, path=(B,)).same
    ladder = replace(one, runs=1)
    assert len({one.same, ladder.same, replace(ladder, path=(B,)).same, replace(ladder, time=1.0).same}) == 4
    assert replace(ladder, path=()).same != one.same
    assert ladder.same == replace(ladder, runs=2, time=0.9, capture="d", frame=7).same


def test_networks_of_routers_are_told_where_they_are_known():
    one = step(1, ["1.1.1.1"], ["2.2.2.2"])
    one["target"]["time_exceeded"][0].update(asn=7, network=None)
    assert path_of({"interceptor_ttl": None, "steps": [one]}, "n").networks == (("1.1.1.1", "AS7"),)
    one["target"]["time_exceeded"][0].update(network="Seven")
    assert path_of({"interceptor_ttl": None, "steps": [one]}, "n").networks == (("1.1.1.1", "AS7 Seven"),)
    one["control"] = None
    assert path_of({"interceptor_ttl": 1, "steps": [one]}, "n").hops == ((1, None),)


# connections beside ladders


def beside(report, *ways, shift=0.0, **changes):
    """An intercepted connection of the report, so long after its ladders' begin, on their ways."""
    one = {**copy.deepcopy(hits_of(report)[0]), **changes}
    whose = one["interceptor"]["identity"], ()
    begin = seconds(one["time"]) - shift
    made = [
        _Way(along, where, whose if mine else None, begin + late, begin + late + 10)
        for along, where, mine, late in ways
    ]
    return _connection("c", one, made, "client")


@pytest.mark.parametrize(
    ("shift", "known"), [(HOUR + 10, True), (HOUR + 11, False), (-HOUR, True), (-HOUR - 1, False), (0, True)]
)
def test_a_ladder_tells_the_way_of_connections_within_an_hour(report, shift, known):
    found = beside(report, ((A, B), (B,), True, 0), shift=shift)
    assert (found.path, found.where) == (((A, B), (B,)) if known else ((), ()))


def test_the_nearest_ladder_tells_the_way_and_all_agree_on_the_box(report):
    assert beside(report, ((A,), (A,), True, 900), ((A, B), (A,), True, 60)).path == (A, B)
    assert beside(report, ((A,), (A,), True, -60), ((A, B), (A,), True, 900)).path == (A,)
    assert beside(report, ((B, C), (B,), True, 60), ((A, B), (B,), True, -60)).path == min(((A, B), (B, C)))
    assert beside(report, ((A, B), (A,), True, 0), ((A, B), (B,), True, 60)).where == ()
    assert beside(report, ((A, B), (A,), True, 0), ((A, B), (B,), False, 60)).where == (A,)
    assert beside(report, ((A, B), (A,), False, 0)).where == ()


def test_what_was_not_intercepted_is_on_no_box(report):
    found = beside(report, ((A, B), (A,), True, 0), state="genuine", rule_id="publicly-trusted")
    assert (found.outcome, found.path, found.where) == ("clean", (A, B), ())


@pytest.mark.parametrize(
    ("time", "told"),
    [(FIRST_TIME, True), (FIRST_TIME - 1, False), (LAST_TIME, True), (LAST_TIME + 1, False), (0.0, False)],
)
def test_what_has_no_time_is_counted_neither_way(time, told):
    assert seconds(None) == 0.0
    found = _timed(crossing((A,), True, time))
    assert (found.outcome, found.where) == (("intercepted", (A,)) if told else ("neutral", ()))


# ladders


def test_a_series_gone_up_twice_is_two_ladders_with_their_own_probes(report):
    """Three hours later by another way: each ladder has the probes that are nearest to it."""
    other = copy.deepcopy(report)
    late = json.loads(json.dumps([other["ladders"], other["connections"]]).replace("2019-07-20T09", "2019-07-20T12"))
    for one in late[1]:
        one["frame"] += 1_000
    other["ladders"] += late[0]
    other["connections"] += late[1]
    first, second = ladders_of(other)
    assert (first.frame, second.frame) == (1, 1_001)
    assert second.time - first.time == 3 * HOUR
    other["ladders"].reverse()
    assert [one.frame for one in ladders_of(other)] == [1_001, 1]


def test_a_ladder_without_probes_in_the_report_is_none(report):
    other = copy.deepcopy(report)
    other["ladders"][0]["server_name"] = "another.example"
    assert ladders_of(other) == []


def test_a_ladder_to_a_name_on_no_list_is_told_of_no_case_and_still_shows_the_way(report):
    other = copy.deepcopy(report)
    for one in other["connections"]:
        if one["target"]:
            one["target"]["match"] = "subdomain"
    assert list(crossings("c", Document(copy.deepcopy(other)))) == []
    own = {**copy.deepcopy(hits_of(report)[0]), "probe_ttl": None, "server_name": "vk.com", "frame": 999}
    own["target"] = {**own["target"], "match": "exact", "name": "vk.com"}
    other["connections"].append(own)
    ((found, path),) = crossings("c", Document(other))
    assert (found.frame, path, len(found.where), found.runs) == (999, None, 1, 0)


def alone(report, time, **changes):
    """An intercepted connection that is no probe, at some time."""
    return {**copy.deepcopy(hits_of(report)[0]), "probe_ttl": None, "frame": 999, "time": time, **changes}


def all_told(report, *more, **ladder):
    """Frame, runs of a ladder, and how many edges with the box, of all crossings of a report with more connections."""
    other = copy.deepcopy(report)
    other["ladders"][0].update(ladder)
    other["connections"] = [*more, *other["connections"]]
    return [(one.frame, one.runs, len(one.where)) for one, _ in crossings("c", Document(other))]


def test_probes_are_no_connections_and_connections_are_no_probes(report):
    soon = alone(report, "2019-07-20T09:20:00Z")
    assert all_told(report) == [(1, 1, 1)]
    assert all_told(report, soon) == [(1, 1, 1), (999, 0, 1)]
    below = {**soon, "target": {**soon["target"], "match": "subdomain"}}
    assert all_told(report, below) == all_told(report, {**soon, "target": None}) == [(1, 1, 1)]


def test_a_ladder_that_found_another_effect_places_no_connection(report):
    assert all_told(report, alone(report, "2019-07-20T09:20:00Z"), effect="reset") == [(1, 1, 0), (999, 0, 0)]


@pytest.mark.parametrize(("time", "placed"), [("08:14:02", 1), ("08:14:01", 0), ("11:00:00", 1), ("11:00:01", 0)])
def test_a_long_ladder_tells_the_way_from_its_first_probe_to_its_last(report, time, placed):
    other = copy.deepcopy(report)
    next(one for one in reversed(other["connections"]) if one["target"])["time"] = "2019-07-20T10:00:00Z"
    told = all_told(other, alone(report, f"2019-07-20T{time}Z"))
    assert told == [(1, 1, 1), (999, 0, placed)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ("intercepted", "certificate", "exact", 1)),
        ({"effect": "reset"}, ("neutral", "reset", "exact", 0)),
        ({"interceptor_ttl": None, "bound": None}, ("intercepted", None, None, 0)),
    ],
    ids=["a certificate", "a reset", "no box"],
)
def test_only_a_certificate_places_an_interceptor(report, change, expected):
    other = copy.deepcopy(report)
    other["ladders"][0].update(change)
    (found,) = ladders_of(other)
    assert (found.outcome, found.effect, found.bound, len(found.where)) == expected


@pytest.mark.parametrize(("proved", "published"), [(0, True), (1, False)])
def test_a_ladder_is_a_replay_where_all_of_its_probes_may_be(report, proved, published):
    other = copy.deepcopy(report)
    for one in hits_of(other)[:proved]:
        one["possession"] = "proved"
    assert [one.published for one in ladders_of(other)] == [published]


@pytest.mark.parametrize(("runs", "told"), [(0, 1), (1, 1), (4, 4)])
def test_a_ladder_was_gone_up_once_at_least(report, runs, told):
    other = copy.deepcopy(report)
    other["ladders"][0]["support"]["runs"] = runs
    assert [one.runs for one in ladders_of(other)] == [told]


@pytest.mark.parametrize(
    ("states", "effect", "doubtful"),
    [
        ({"intercepted": "suspected"}, "reset", True),
        ({"intercepted": "interfered"}, "reset", True),
        ({"intercepted": "undetermined"}, "reset", False),
        ({"undetermined": "suspected"}, "certificate", False),
    ],
)
def test_a_ladder_is_doubtful_where_nothing_is_decided_and_something_was_suspected(report, states, effect, doubtful):
    other = copy.deepcopy(report)
    other["ladders"][0]["effect"] = effect
    for one in other["connections"]:
        if one["target"]:
            one["state"] = states.get(one["state"], one["state"])
    assert [one.doubtful for one in ladders_of(other)] == [doubtful]


def connection(state="genuine", rule="publicly-trusted", **more):
    return {
        "state": state, "rule_id": rule, "syn": {"ttl": 64}, "certificate_absent": None, "target": {"in_force": True},
        "interceptor": {"identity": KEY}, "place": {"where": "unknown"}, "other_server_names": [], "transport": "tcp",
        "server": {"address": "203.0.113.80", "port": 443}, **more,
    }  # fmt: skip


AVAST = {"interceptor": {"identity": "product:avast"}}
BESIDE = {"place": {"where": "volunteer_side"}}
PRODUCT = ("neutral", "intercepted by a product, or on the client's own side")
BAD = ("neutral", "the origin's certificate was not publicly trusted")


@pytest.mark.parametrize(
    ("one", "where", "told"),
    [
        (connection(), "client", ("clean", "")),
        (connection("intercepted"), "server", ("intercepted", "")),
        (connection("intercepted", **AVAST), "client", PRODUCT),
        (connection("intercepted", **BESIDE), "client", PRODUCT),
        (connection(**BESIDE), "client", ("clean", "")),
        (connection(syn=None), "router", ("neutral", AT_SERVER)),
        (connection(syn=None), "client", ("clean", "")),
        (connection(target={"in_force": False}), "client", ("neutral", NOT_IN_FORCE)),
        (connection(target={"in_force": None}), "client", ("clean", "")),
        (connection(server_name_split=True), "client", ("neutral", SPLIT)),
        (connection(rule="x", certificate_absent="ENCRYPTED"), "client", ("neutral", "no certificate was seen")),
        (connection("suspected", "x"), "client", ("neutral", "suspected: neither intercepted nor clean")),
        (connection("interfered", "x"), "client", ("neutral", "interfered: neither intercepted nor clean")),
        (connection(rule="x"), "client", BAD),
    ],
)
def test_what_came_of_a_connection(one, where, told):
    assert _outcome(one, where) == told


def ladder(k=5, effect="certificate"):
    return {"interceptor_ttl": k, "effect": effect}


@pytest.mark.parametrize(
    ("ladder", "probes", "told"),
    [
        (ladder(), [connection("intercepted"), connection()], ("intercepted", "")),
        (ladder(), [connection("intercepted"), connection("intercepted", **AVAST)], PRODUCT),
        (ladder(), [connection("intercepted"), connection(rule="x")], ("intercepted", "")),
        (ladder(None), [connection(rule="x"), connection(rule="x"), connection()], ("clean", "")),
        (ladder(None), [connection(rule="x"), connection("suspected", "x"), connection(rule="x")], BAD),
    ],
    ids=["intercepted", "a product", "lost beside it", "clean once", "what most were"],
)
def test_what_came_of_a_ladder(ladder, probes, told):
    assert _ladder_outcome(ladder, probes, "client") == told
