"""Single conditions of what a case claims and tells that no other test holds."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest

from kzpcap.cases import timeline, tomography
from kzpcap.cases.across import Across, _days
from kzpcap.cases.claims import Gathered
from kzpcap.cases.crossings import START, Edge, crossings, settled
from kzpcap.cases.public import public, published_keys
from kzpcap.cases.store import Case
from kzpcap.cases.summary import total
from kzpcap.report import words
from kzpcap.report.document import Document
from tests.conftest import CAPTURES, judged, run
from tests.test_across import crossing


@pytest.fixture(scope="module")
def report():
    """The report of a ladder that found the box on one edge."""
    return json.loads(run("analyze", "--json", str(CAPTURES / "kz-2019-ladder" / "capture.pcapng")).stdout)


def gathered(report):
    found = Gathered()
    found.add("c", Document(copy.deepcopy(report)))
    return found


def test_a_name_below_a_listed_one_supports_no_claim(report):
    """The claims speak of listed names: what was intercepted on a subdomain alone is no support for them."""
    assert [support.connections for support in gathered(report).by_identity.values()] == [6]
    below = copy.deepcopy(report)
    for one in below["connections"]:
        if one["target"]:
            one["target"]["match"] = "subdomain"
    assert gathered(below).by_identity == {}


@pytest.mark.parametrize(("bound", "edges"), [("exact", 1), ("at_or_beyond", 0), ("at_or_before", 0), (None, 0)])
def test_only_an_exact_edge_supports_a_claim_of_place(report, bound, edges):
    """A bound says on which side of a router the box is, and names no edge that may be published."""
    other = copy.deepcopy(report)
    for ladder in other["ladders"]:
        ladder["bound"] = bound
    assert len(gathered(other).by_edge) == edges


@pytest.mark.parametrize("answered", [8, None])
def test_a_control_that_only_routers_answered_shows_nothing_of_the_server(report, answered):
    """An edge is exact where a router beyond it answered the control: that the name's server did is another thing."""
    other = copy.deepcopy(report)
    (ladder,) = other["ladders"]
    ladder["control_terminating_ttl"] = answered
    for one in other["connections"]:
        if not one["target"]:
            one.update(state="undetermined", rule_id="probe-unanswered", certificates=[])
    (support,) = gathered(other).by_edge.values()
    assert support.same_server == ({"c"} if answered else set())


def test_a_bound_that_leaves_one_edge_supports_no_claim_of_place(report):
    """Behind the last router that answered there is one edge alone: that the box is on it no control has shown."""
    other = copy.deepcopy(report)
    (ladder,) = other["ladders"]
    ladder["steps"] = [one for one in ladder["steps"] if one["ttl"] <= 5]
    for one in ladder["steps"]:
        if one["ttl"] == 5:
            one["control"] = one["control"] and {**one["control"], "time_exceeded": []}
    ladder["bound"] = "at_or_beyond"
    (found,) = [one for one, path in crossings("c", Document(copy.deepcopy(other))) if path is not None]
    assert len(found.where) == 1
    assert gathered(other).by_edge == {}


def test_two_signers_on_one_ladder_place_neither(report):
    """A box further on and a product at home may both answer a ladder's probes: its edge is then of neither."""
    other = copy.deepcopy(report)
    hits = [one for one in other["connections"] if one["state"] == "intercepted"]
    assert len(hits) > 2
    (found,) = [one for one, path in crossings("c", Document(copy.deepcopy(other))) if path is not None]
    assert found.outcome == "intercepted"
    assert len(found.where) == 1
    hits[-1]["interceptor"]["identity"] = "known_generation:another"
    (found,) = [one for one, path in crossings("c", Document(copy.deepcopy(other))) if path is not None]
    assert found.where == ()
    assert gathered(other).by_edge == {}


def test_the_names_of_files_that_failed_are_counted_and_not_told(tmp_path):
    """A volunteer's file name may be the volunteer's: others learn how many failed, and that names were left out."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "ivanov.pcap").write_bytes(b"\xd4\xc3\xb2\xa1" + bytes(7))
    judged(tmp_path / "case", tmp_path / "disk", CAPTURES / "kz-2019-rcku")
    document = total(Case.open(tmp_path / "case")).document()
    assert len(document["captures"]["failed"]) == 1
    shown, left = public(document, published_keys())
    assert shown["captures"]["failed"] == 1
    assert left["file names of captures that failed"] == 1
    assert "ivanov" not in json.dumps(shown)
    document["captures"]["failed"].clear()
    shown, left = public(document, published_keys())
    assert shown["captures"]["failed"] == 0
    assert "file names of captures that failed" not in left


def test_issuer_names_are_told_of_published_systems_alone(tmp_path):
    """The CA of a product bears the name of a machine or a company; that of the state's system is in the papers."""
    judged(tmp_path / "case", CAPTURES / "kz-2019-rcku")
    document = total(Case.open(tmp_path / "case")).document()
    rows = document["across"]["interceptors"]
    (known,) = copy.deepcopy(rows)
    rows += [{**known, "identity": one, "issuer": "Root of IVANOV-PC"} for one in ("product:avast", "unknown")]
    shown, left = public(document, published_keys())
    assert [one["issuer"] for one in shown["across"]["interceptors"]] == [known["issuer"], "(not told)", "(not told)"]
    assert left["issuer names of products and of unknown signers"] == 2


def test_too_many_explanations_are_said_to_be(monkeypatch):
    """Where not all were looked at, nobody may read that no other set of edges explains the case."""
    path = [Edge(START, "a"), Edge("a", "b"), Edge("b", "c")]
    every = [crossing(path, True, number, where=path[number : number + 2]) for number in range(2)]
    assert not any("more explanations" in said for said in tomography.explain(every).contradictions)
    monkeypatch.setattr(tomography, "MAX_EXPLANATIONS", 1)
    found = tomography.explain([crossing(path[:1], True)])
    assert len(found.explanations) <= 1
    monkeypatch.setattr(tomography, "_hitting", lambda _: {frozenset({(path[0],)})})
    found = tomography.explain([crossing(path[:1], True)])
    assert any("more explanations" in said for said in found.contradictions)
    monkeypatch.setattr(tomography, "MAX_EXPLANATIONS", 2)
    found = tomography.explain([crossing(path[:1], True)])
    assert not any("more explanations" in said for said in found.contradictions)


@pytest.mark.parametrize("in_force", [True, False])
@pytest.mark.parametrize(
    ("where", "ttl", "counts"),
    [("client", 64, True), ("unknown", 57, True), ("router", 63, True), ("router", 57, False), ("server", 57, False)],
)
def test_what_was_recorded_beside_the_server_is_not_clean(where, ttl, counts, in_force):
    """There every chain is the server's own, whatever came to the client: it shows no "off"."""
    path = CAPTURES / "kz-2019-rcku-genuine" / "capture.pcapng"
    other = json.loads(run("analyze", "--json", str(path)).stdout)
    other["capture"]["vantage"]["where"] = where
    for one in other["connections"]:
        one["target"] = {**(one["target"] or {}), "name": "rcku.kz", "match": "exact", "in_force": in_force}
        one["syn"]["ttl"] = ttl
    found = [told for told, _ in crossings("c", Document(other))]
    found = settled([*found, crossing((), True, name="rcku.kz")])[:-1]
    assert found
    assert {one.outcome for one in found} == {"clean" if counts else "neutral"}


def test_a_day_with_something_suspected_is_not_painted_clean():
    from kzpcap.report.case_page import _strongest

    clean = crossing((), False, time=1_563_613_200.0)
    both = [clean, replace(clean, outcome="neutral", why="no certificate was seen", doubtful=True)]
    (day,) = [counts for name in _days(both) for counts in name["days"].values()]
    assert _strongest(day) == "neutral"
    (hour,) = timeline.hours(both).values()
    assert _strongest(hour) == "neutral"
    open_beside = [both[0], replace(both[1], doubtful=False)]
    (day,) = [counts for name in _days(open_beside) for counts in name["days"].values()]
    assert _strongest(day) == "clean"


@pytest.mark.parametrize("split", [False, True])
def test_a_name_that_is_whole_in_no_packet_is_not_clean(split):
    """A box that looks at packets alone did not see it: that nothing came of it shows no "off"."""
    path = CAPTURES / "kz-2019-rcku-genuine" / "capture.pcapng"
    other = json.loads(run("analyze", "--json", str(path)).stdout)
    for one in other["connections"]:
        one["server_name_split"] = split
        one["target"] = {**(one["target"] or {}), "name": "rcku.kz", "match": "exact", "in_force": True}
    found = [told for told, _ in crossings("c", Document(other))]
    assert {one.outcome for one in found} == {"neutral" if split else "clean"}


@pytest.mark.parametrize(("proved", "says"), [(0, "All that is intercepted on known ways shows a"), (1, "")])
def test_places_that_rest_on_replayable_certificates_are_told_as_such(report, proved, says):
    """The probes of a ladder count as one: it is no replay where the key of any is shown to be there."""
    other = copy.deepcopy(report)
    hits = [one for one in other["connections"] if one["state"] == "intercepted"]
    for one in hits[:proved]:
        one["possession"] = "proved"
    across = Across()
    across.add("c", Document(other))
    told = " ".join(words.replayed(across.document()["how_sure"]))
    assert told.startswith(says) if says else not told


def test_a_ladder_that_met_nothing_shows_no_published_certificate(report):
    other = copy.deepcopy(report)
    for one in other["connections"]:
        one.update(state="undetermined", rule_id="probe-unanswered", certificates=[])
    for ladder in other["ladders"]:
        ladder.update(interceptor_ttl=None, effect=None, bound=None)
    found = [told for told, _ in crossings("c", Document(other))]
    assert found
    assert not any(one.published for one in found)


@pytest.mark.parametrize(("name", "doubtful"), [("kz-2019-rcku-genuine", False), ("reset-after-client-hello", True)])
def test_what_was_suspected_or_interfered_with_is_doubtful_whatever_else_it_lacks(name, doubtful):
    """A reset leaves no certificate, and is counted neither way for that: it clears nothing all the same."""
    other = json.loads(run("analyze", "--json", str(CAPTURES / name / "capture.pcapng")).stdout)
    for one in other["connections"]:
        one["target"] = {"name": "rcku.kz", "list": "x", "match": "exact", "in_force": True}
    found = [told for told, _ in crossings("c", Document(other))]
    assert any(one.doubtful for one in found) is doubtful


@pytest.mark.parametrize(
    ("source", "told"), [("iptoasn 2026-09-18", "iptoasn 2026-09-18"), ("mine.tsv", "a table that was given")]
)
def test_the_name_of_a_given_as_table_stays_in_the_house(source, told, tmp_path):
    judged(tmp_path / "case", CAPTURES / "kz-2019-rcku")
    found = total(Case.open(tmp_path / "case"))
    found.across.as_sources = {source}
    document, left = public(found.document(), published_keys())
    assert document["across"]["as_sources"] == [told]
    assert ("names of AS tables that were given" in left) is (source != told)


@pytest.mark.parametrize(
    "change",
    [
        {"other_server_names": ["www.w3.org"]},
        {"server": {"address": "203.0.113.80", "port": 993}},
        {"transport": "quic"},
    ],
    ids=["a decoy", "another port", "QUIC"],
)
def test_what_the_published_conditions_say_nothing_of_is_not_clean(change):
    path = CAPTURES / "kz-2019-rcku-genuine" / "capture.pcapng"
    other = json.loads(run("analyze", "--json", str(path)).stdout)
    for one in other["connections"]:
        one["target"] = {"name": "rcku.kz", "list": "x", "match": "exact", "in_force": True}
    assert {told.outcome for told, _ in crossings("c", Document(other))} == {"clean"}
    for one in other["connections"]:
        one.update(change)
    assert {told.outcome for told, _ in crossings("c", Document(other))} == {"neutral"}


def test_a_claim_of_place_rests_on_the_client_that_sent_the_ladder(report):
    """Another client's connection to the same server and name, which came first, is of no network of the ladder's."""
    other = copy.deepcopy(report)
    first = copy.deepcopy(next(one for one in other["connections"] if one["state"] == "intercepted"))
    first.update(frame=10_000, client={**first["client"], "address": "2.133.4.4", "port": 1})
    other["connections"].insert(0, first)
    (support,) = gathered(other).by_edge.values()
    assert support.networks == {next(iter(gathered(report).by_edge.values())).of_capture["c"][0]}
