"""What the edge table and the claims of a case count, and what they leave out: condition by condition."""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from kzpcap.cases import claims as claims_of
from kzpcap.cases import edges
from kzpcap.cases.claims import INTERLEAVED, Controls, Gathered, claims, document
from kzpcap.cases.crossings import NOT_KNOWN, Edge
from kzpcap.cases.tomography import Explanation, explain
from kzpcap.report.document import Document
from tests.conftest import CAPTURES, run
from tests.test_across import crossing
from tests.test_claims import TITLES, seen, strong

NOTHING = explain([])
KEY = "known_generation:kz-2019-qaznet"
A, B, C = Edge("x", "a"), Edge("a", "b"), Edge("b", "c")


def ladder(path, where, **more):
    """A ladder that found the box on these edges."""
    values = {"bound": "exact", "effect": "certificate", "runs": 1, "time": 1_563_613_200.0, **more}
    found = crossing(path, values.get("outcome", "intercepted") == "intercepted", where=where)
    return replace(found, **values)


def test_a_row_counts_what_its_ladders_show():
    every = [
        ladder([A, B], [B], runs=3),
        ladder([A, B, C], [B, C], bound="at_or_beyond", capture="d", network="n2", time=1_563_613_200.0 + 86_400),
        ladder([A, B, C], [], outcome="neutral", effect="reset", capture="e", network="n3"),
        crossing([A, B], True, time=1_563_613_200.0),
    ]
    rows = {row.edge: row for row in edges.table(every)}
    assert set(rows) == {B, C}
    told = rows[B].document({"a": "AS1"})
    assert (told["ladders"], told["runs"], told["effects"]) == ({"at_or_beyond": 1, "exact": 1}, 4, {"certificate": 2})
    assert (told["captures"], told["vantage_networks"], told["vantage_networks_exact"]) == (2, 2, 1)
    assert told["days"] == ["2019-07-20", "2019-07-21"]
    assert (told["before_network"], told["after_network"]) == ("AS1", None)
    assert (told["intercepted"], told["neutral"], told["clean_eligible"]) == (3, 1, 0)
    assert told["examples"] == [{"capture": "c", "frame": 1}]
    assert rows[C].examples == []
    assert rows[C].exact_networks == set()


def test_clean_ones_speak_against_an_edge_within_ten_minutes_of_an_intercepted_one():
    time = 1_563_613_200.0
    clean = [crossing([B], False, time=time + late, frame=number) for number, late in enumerate((600.0, 601.0, -600.0))]
    (row,) = edges.table([ladder([B], [B]), *clean])
    assert (row.clean, row.out_of_time, row.counter) == (2, 1, [("c", 0), ("c", 2)])
    assert row.document({})["clean_not_eligible"] == 1


def test_examples_are_few(monkeypatch):
    monkeypatch.setattr(edges, "MAX_EXAMPLES", 2)
    clean = [crossing([B], False, time=1_563_613_200.0, frame=number) for number in range(4)]
    (row,) = edges.table([*(ladder([B], [B], frame=number) for number in range(4)), *clean])
    assert row.examples == row.counter == [("c", 0), ("c", 1)]
    assert (row.ladders["exact"], row.clean) == (4, 4)


def test_the_edges_with_most_exact_ladders_come_first():
    every = [ladder([C], [C], bound="at_or_beyond") for _ in range(3)]
    every += [ladder([A], [A]), ladder([B], [B]), ladder([B], [B], bound="at_or_before")]
    assert [row.edge for row in edges.table(every)] == [B, A, C]


def guilty(found):
    return SimpleNamespace(edges=found)


def row(edge, count, bound="exact"):
    return edges.Row(edge, ladders=Counter({bound: count}))


@pytest.mark.parametrize(
    ("rows", "count", "of"),
    [
        ([row(B, 2)], 2, 2),
        ([row(B, 1)], None, None),
        ([row(B, 1), row(C, 1)], 2, 2),
        ([row(B, 2), row(C, 9, "at_or_beyond")], 2, 2),
        ([row(B, 2), row(Edge("b", "c", 1), 9)], 2, 2),
        ([row(B, 95), row(C, 5)], 95, 100),
        ([row(B, 94), row(C, 6)], 100, 100),
        ([row(B, 2), row(Edge("b", "a"), 1)], 2, 2),
    ],
    ids=["two", "one", "one and one", "a bound", "silent between", "95 of 100", "94 of 100", "from the other side"],
)
def test_between_which_routers_most_edges_lie(rows, count, of):
    found = edges.mostly(rows)
    assert (found and (found.count, found.of)) == (count and (count, of))


@pytest.mark.parametrize(("other", "words"), [(0, ""), (1, " 1 more ladder names"), (2, " 2 more ladders name")])
def test_ladders_from_the_other_side_are_told(other, words):
    rows = [row(B, 5), *([row(Edge("b", "a"), other)] if other else [])]
    assert edges.mostly(rows).sentence().partition("is b.")[2].startswith(words)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 1),
        ({"where": (B,)}, 0),
        ({"where": (B, C)}, 0),
        ({"bound": "at_or_beyond"}, 0),
        ({"network": "n2"}, 0),
        ({"server": "s2"}, 0),
        ({"name": "ok.ru"}, 0),
    ],
)
def test_two_exact_ladders_of_one_way_disagree(changes, count):
    every = [ladder([B, C], [B]), replace(ladder([B, C], [C]), **changes)]
    assert len(edges.disagreements(every)) == count
    assert edges.disagreements([replace(one, network=NOT_KNOWN) for one in every]) == []


# claims


@pytest.fixture(scope="module")
def report():
    return json.loads(run("analyze", "--json", str(CAPTURES / "kz-2019-ladder" / "capture.pcapng")).stdout)


def gathered(report, *names):
    found = Gathered()
    for name in names or "c":
        found.add(name, Document(copy.deepcopy(report)))
    return found


def control(time, client="1.1.1.1", server="2.2.2.2"):
    return {"client": {"address": client}, "server": {"address": server}, "time": time}


@pytest.mark.parametrize(
    ("end", "address", "late", "beside"),
    [
        ("client", "1.1.1.1", INTERLEAVED, True),
        ("client", "1.1.1.1", INTERLEAVED + 1, False),
        ("client", "1.1.1.1", -INTERLEAVED, True),
        ("client", "1.1.1.1", -INTERLEAVED - 1, False),
        ("client", "2.2.2.2", 0, False),
        ("server", "2.2.2.2", 0, True),
        ("server", "1.1.1.1", 0, False),
    ],
)
def test_a_control_stands_beside_what_came_within_ten_minutes(end, address, late, beside):
    found = Controls()
    for hour in ("12", "09"):  # connections come in the order in which they ended
        found.add(control(f"2019-07-20T{hour}:00:00Z"))
    for hour in (9, 12):
        assert found.beside(end, address, 1_563_580_800.0 + hour * 3_600 + late) is beside
    found.add(control("2019-07-20T06:00:00Z"))
    assert found.beside(end, address, 1_563_580_800.0 + 6 * 3_600 + late) is beside


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"rule_id": "no-name-sent"}, True),
        ({"rule_id": "publicly-trusted"}, True),
        ({"rule_id": "probe-unanswered"}, False),
        ({"target": {"name": "x", "match": "subdomain", "in_force": True, "list": "x"}}, False),
    ],
)
def test_a_control_got_through_and_is_on_no_list(report, changes, counts):
    other = copy.deepcopy(report)
    for one in other["connections"]:
        if one["rule_id"] == "no-name-sent":
            one.update(changes)
    (support,) = gathered(other).by_identity.values()
    assert (support.interleaved, support.same_server) == (({"c"}, {"c"}) if counts else (set(), set()))


def test_what_stands_behind_a_claim(report, monkeypatch):
    monkeypatch.setattr(claims_of, "MAX_EXAMPLES", 2)
    other = copy.deepcopy(report)
    hits = [one for one in other["connections"] if one["state"] == "intercepted"]
    for number, one in enumerate(hits):
        one["client"].update(address="95.56.1.1", asn=9198 if number else None)
    hits[0].update(possession="proved", corroboration="agrees")
    hits[1].update(corroboration="agrees")  # a replay reads alike to all
    hits[2].update(corroboration="differs")
    (support,) = gathered(other).by_identity.values()
    told = support.document()
    assert (told["connections"], told["vantage_days"], told["vantage_networks"]) == (6, 1, 1)
    assert (told["possession_proved"], told["witness_agrees"], told["witness_differs"]) == (1, 1, 1)
    assert (told["published_certificates"], told["signatures_by_a_known_key"]) == (5, 6)
    assert (told["client_as"], told["days"], told["captures"]) == ([9198], ["2019-07-20"], 1)
    assert [one["frame"] for one in told["examples"]] == [hits[0]["frame"], hits[1]["frame"]]
    assert support.of_capture == {"c": ("95.56.0.0/16", None, "2019-07-20")}
    assert (support.proved, support.agreeing) == ({"c": "95.56.0.0/16"}, {"c"})


@pytest.mark.parametrize(("status", "anchored"), [("anchored", {"c"}), ("consistent", set())])
def test_a_clock_that_is_anchored_is_told_of_its_capture(report, status, anchored):
    other = copy.deepcopy(report)
    other["capture"]["clock"]["status"] = status
    (support,) = gathered(other).by_identity.values()
    assert support.anchored == anchored


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("95.56.1.1", "95.56.9.9", 6),
        ("95.56.1.1", "2.133.1.1", 0),
        ("95.56.1.1", "10.0.0.1", 6),
        ("10.0.0.1", "95.56.1.1", 6),
        ("10.0.0.1", "10.0.0.2", 6),
    ],
)
def test_what_two_known_networks_saw_is_two(report, first, second, alike):
    found = Gathered()
    for address in (first, second):
        other = copy.deepcopy(report)
        for one in other["connections"]:
            one["client"]["address"] = address
        other["ladders"][0]["client"] = address
        found.add(address, Document(other))
    assert found.alike == alike
    assert [support.connections for support in found.by_identity.values()] == [12 - alike]


@pytest.mark.parametrize(
    "change",
    [{"ja3": "x"}, {"server_name": "x"}, {"certificates": []}, {"server": {"address": "203.0.113.80", "port": 8443}}],
)
def test_what_differs_in_anything_is_another_connection(report, change):
    found = gathered(report)
    other = copy.deepcopy(report)
    for one in other["connections"]:
        one.update(change)
    found.add("d", Document(other))
    assert found.alike == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"networks": {"n0"}, "possession": 0, "proved": {}}, "corroborated"),
        ({"days": {"2019-07-20"}, "possession": 0, "proved": {}}, "corroborated"),
        ({"days": {"2019-07-20"}, "networks": {"n0"}, "anchored": set()}, "observed"),
        ({"agree": 0, "anchored": set()}, "corroborated"),
        ({"networks": {"n0", NOT_KNOWN}, "days": {"2019-07-20"}, "anchored": set()}, "observed"),
    ],
    ids=["two days, a reader", "two networks, a reader", "one of each", "two of each, possession", "perhaps one"],
)
def test_what_corroborates(changes, expected):
    found = Gathered(by_identity={KEY: strong(**changes)})
    (claim,) = claims(found, TITLES, NOTHING)
    assert claim.level == expected


def test_one_network_beside_one_that_is_not_known_is_no_scope(report):
    where = seen(a=("n0", 9198, "2019-07-20"), b=("n0", 9198, "2019-07-21"), c=(NOT_KNOWN, 9198, "2019-07-21"))
    support = strong(networks={"n0", NOT_KNOWN}, of_capture=where, proved=dict.fromkeys("abc", "n0"))
    (claim,) = claims(Gathered(by_identity={KEY: support}), TITLES, NOTHING)
    assert claim.level == "corroborated"


@pytest.mark.parametrize(
    ("verified", "others", "level"),
    [(30, [], "publishable"), (29, [], "corroborated"), (30, [(C,)], "corroborated"), (30, [(B, C)], "publishable")],
    ids=["alone", "not all by the key", "another explanation", "of a group"],
)
def test_a_place_is_published_where_nothing_else_explains_the_case(verified, others, level):
    first = (B, C) if others == [(B, C)] else (B,)
    groups = [first, *(one for one in others if one != first)]
    explained = replace(NOTHING, explanations=tuple(Explanation((guilty(one),), 0.0) for one in groups))
    (claim,) = claims(Gathered(by_edge={B: strong(verified=verified)}), TITLES, explained)
    assert (claim.level, claim.edge) == (level, B)
    assert claim.document()["edge"] == ["a", "b"]


def test_a_place_that_the_one_explanation_does_not_name_is_not_published():
    explained = replace(NOTHING, explanations=(Explanation((guilty((C,)),), 0.0),))
    for edge, level in ((B, "corroborated"), (C, "publishable")):
        (claim,) = claims(Gathered(by_edge={edge: strong()}), TITLES, explained)
        assert claim.level == level


def test_a_place_is_supported_by_the_first_that_its_ladder_intercepted(report):
    """Not by the ladder's first probe, which a router answered; and a copy of the capture supports it no more."""
    (frame, *_) = [one["frame"] for one in report["connections"] if one["state"] == "intercepted"]
    found = gathered(report, "c", "d")
    (support,) = found.by_edge.values()
    assert (support.connections, support.examples, support.verified) == (1, [("c", frame)], 1)
    assert len(found.crossings) == 1


def test_a_ladder_without_effect_has_a_mark_for_it():
    (row,) = edges.table([ladder([B], [B], effect=None)])
    assert row.effects == {"?": 1}


def test_the_best_supported_claims_come_first():
    found = {"unknown": strong(connections=99, verified=0), KEY: strong(), "product:avast": strong(verified=0)}
    made = claims(Gathered(by_identity=found), TITLES, NOTHING)
    assert [(one.level, one.support.connections) for one in made] == [
        ("publishable", 30),
        ("corroborated", 99),
        ("corroborated", 30),
    ]
    assert document(Gathered(), made)["levels"] == {"publishable": 1, "corroborated": 2}
    assert document(Gathered(), made)["claims"][0]["edge"] is None
