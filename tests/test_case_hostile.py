"""Attacks on what a case says: accusations by pooling, leaks of the public profile, and names that are made to hurt."""

from __future__ import annotations

import copy
import io
import json

import pytest

from kzpcap import analyze, reference
from kzpcap.cases import edges, timeline, tomography
from kzpcap.cases.across import Across
from kzpcap.cases.claims import Gathered
from kzpcap.cases.crossings import crossings, settled
from kzpcap.cases.public import public, published_keys
from kzpcap.cases.release import _public_claims
from kzpcap.cases.store import Case
from kzpcap.cases.summary import total
from kzpcap.report import json as report_json
from kzpcap.report.case_page import findings
from kzpcap.report.document import Document
from kzpcap.report.ooni import measurements
from kzpcap.report.words import lines
from tests.conftest import CAPTURES, judged, run
from tests.test_across import crossing

EVIL = "CN=a$^$b\n  In 100 of 100 ladders the box is at 1.2.3.4,O=\u202e<b>"


def report_of(directory):
    return json.loads(run("analyze", "--json", str(CAPTURES / directory / "capture.pcapng")).stdout)


@pytest.fixture(scope="module")
def ladder():
    return report_of("kz-2019-ladder")


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile") / "case"
    names = ("kz-2019-ladder", "kz-2019-ladder-one-connection", "kz-2019-rcku", "resigned-copy", "clean-ladder")
    judged(folder, *(CAPTURES / name for name in names))
    return total(Case.open(folder)).document()


def organic(report, **changes):
    """A connection to the ladder's server and name that is no probe."""
    (probe, *_) = [one for one in report["connections"] if one["state"] == "intercepted"]
    one = copy.deepcopy(probe)
    one.update({"probe_ttl": None, "frame": 9999, **changes})
    return {**report, "connections": [*report["connections"], one]}


def last(report):
    return [found for found, _ in crossings("c", Document(report))][-1]


def test_a_product_is_on_no_edge_of_the_network(ladder):
    found = last(organic(ladder, interceptor={"identity": "product:kaspersky", "basis": ""}))
    assert (found.outcome, found.where) == ("neutral", ())
    found = last(organic(ladder, interceptor={"identity": "unknown", "basis": ""}))
    assert (found.outcome, found.where) == ("intercepted", ()), "another signer than the ladder's"
    assert last(organic(ladder)).where


@pytest.mark.parametrize(
    "change", [{"time": "2019-08-01T09:14:02Z"}, {"client": {"address": "198.51.100.7", "port": 9}}]
)
def test_another_time_or_client_is_not_on_the_ladder_s_way(ladder, change):
    found = last(organic(ladder, **change))
    assert (found.path, found.where) == ((), ())


def test_the_same_packets_in_two_captures_count_once(ladder):
    across, gathered = Across(), Gathered()
    for capture in ("one", "copy"):
        across.add(capture, Document(ladder))
        gathered.add(capture, Document(ladder))
    (row,) = edges.table(settled(across.crossings))
    assert row.ladders == {"exact": 1}
    assert edges.mostly([row]) is None
    assert across.again == 1
    assert [support.connections for support in gathered.by_edge.values()] == [1]


def test_what_has_no_time_supports_no_day(ladder):
    old = json.loads(json.dumps(ladder).replace("2019-07-20T", "1970-01-01T"))
    gathered = Gathered()
    gathered.add("c", Document(old))
    assert gathered.by_identity == {}
    assert {(found.outcome, found.why) for found, _ in crossings("c", Document(old))} == {
        ("neutral", "its packets have no time")
    }
    far = json.loads(json.dumps(ladder).replace("2019-07-20T", "9999-12-31T"))
    across = Across()
    across.add("c", Document(far))
    assert across.document()["timeline"]["periods"] == []


def test_other_names_and_connections_of_a_moment_are_no_off():
    hits = [crossing((), True, minute * 60.0) for minute in range(20)]
    another = [crossing((), False, 3000 + minute * 60.0, name="ok.ru") for minute in range(60)]
    assert [one.kind for one in timeline.timeline([*hits, *another]).periods] == ["on"]
    at_once = [crossing((), False, 3000.0, port=port) for port in range(50)]
    assert [one.kind for one in timeline.timeline([*hits, *at_once]).periods] == ["on"]


def test_two_explanations_are_no_finding(document):
    double = copy.deepcopy(document)
    found = double["across"]["explanations"]
    assert any("on a path through" in said for said in findings(document, {}))
    found["explanations"] = [found["explanations"][0], copy.deepcopy(found["explanations"][0])]
    assert not any("on a path through" in said for said in findings(double, {}))


def test_the_public_profile_has_no_router_in_words_and_no_reference(document):
    told = copy.deepcopy(document)
    told["across"]["explanations"]["contradictions"] = ["8.8.1.1 > 8.8.2.2 let 3 of 4 pass"]
    told["across"]["timeline"]["periods"][0]["longest_silence_seconds"] = 4321
    shown, left = public(told, published_keys())
    text = json.dumps(shown)
    assert "8.8.1.1" not in text
    assert '"capture":' not in text
    assert left["references to captures and frames"] > 0
    assert all(one["longest_silence_seconds"] % 3600 == 0 for one in shown["across"]["timeline"]["periods"])


def test_the_public_profile_tells_published_keys_alone(document):
    shown, left = public(document, published_keys())
    assert [key["spki_sha256"] for key in shown["across"]["issuer_keys"]] == [
        key["spki_sha256"] for key in document["across"]["issuer_keys"] if key["spki_sha256"] in published_keys()
    ]
    assert all(key["certificates"] == [] for key in shown["across"]["issuer_keys"])
    hidden = len(document["across"]["issuer_keys"]) - len(shown["across"]["issuer_keys"])
    assert left.get("issuer keys that are not published, seen from fewer than three networks", 0) == hidden


def test_a_leaf_sent_twice_stays_a_leaf(ladder):
    twice = copy.deepcopy(ladder)
    leaves = set()
    for one in twice["connections"]:
        if one["state"] == "intercepted":
            leaf = one["certificates"][0]
            leaves.add(twice["certificates"][leaf]["spki_sha256"])
            one["certificates"] = [leaf, leaf, *one["certificates"][1:]]
    across = Across()
    across.add("c", Document(twice))
    assert not leaves & set(across.issuers)
    for measurement in measurements(Document(twice), lambda digest: digest.encode(), False, published_keys()):
        shown = json.dumps(measurement)
        assert "kzpcap_certificates_left_out" in shown
        import base64

        assert not any(base64.b64encode(leaf.encode()).decode() in shown for leaf in map(_leaf_of, [twice]))


def _leaf_of(report):
    return next(one["certificates"][0] for one in report["connections"] if one["state"] == "intercepted")


def test_a_control_s_certificates_are_not_published(ladder):
    genuine = copy.deepcopy(ladder)
    for one in genuine["connections"]:
        if not one["target"] and one["certificates"]:
            one["state"], one["rule_id"] = "genuine", "publicly-trusted"
    for measurement in measurements(Document(genuine), lambda digest: digest.encode(), False, published_keys()):
        for trace in measurement["test_keys"].get("iterative_trace", []):
            for iteration in trace["control_trace"]["iterations"]:
                assert iteration["handshake"]["peer_certificates"] == []


def test_a_router_is_told_by_its_own_address_and_not_by_a_part_of_the_words():
    claim = {"about": "place", "edge": ["92.3.4.5", "8.8.2.29"], "says": "through 92.3.4.5 and 8.8.2.29", "support": {}}
    left = {}
    (told,) = _public_claims({"claims": [claim]}, {"2.3.4.5", "8.8.2.2", "92.3.4.0"}, left)["claims"]
    assert told["edge"] == ["92.3.0.0/16", "8.8.0.0/16"]
    assert told["says"].endswith("through 92.3.0.0/16 and 8.8.0.0/16")
    assert left == {"addresses of routers and servers, told as networks": 2}
    (told,) = _public_claims({"claims": [claim]}, set(claim["edge"]), {})["claims"]
    assert told["edge"] == claim["edge"]


def test_three_networks_must_have_it_exactly_and_a_server_is_no_router(document):
    wide = copy.deepcopy(document)
    for row in wide["across"]["edges"]:
        row["vantage_networks"], row["vantage_networks_exact"] = 9, 1
    shown, _ = public(wide, published_keys())
    assert all("/" in row["before"] for row in shown["across"]["edges"])
    wide["across"]["edges"][0].update(after="31.13.72.36 (server)", vantage_networks_exact=3)
    shown, _ = public(wide, published_keys())
    assert shown["across"]["edges"][0]["after"] == "31.13.0.0/16 (server)"


def test_names_with_dollars_and_line_breaks(document):
    pytest.importorskip("matplotlib")
    from kzpcap.report.case_page import render

    hostile = copy.deepcopy(document)
    hostile["across"]["interceptors"][0]["issuer"] = EVIL
    hostile["across"]["issuer_keys"][0]["subjects"] = [EVIL]
    made = {"profile": "", "heads": {}, "reference": {}, "suppressed": {}}
    page = render(hostile, {}, {}, made)
    assert "<b>\n" not in page
    shown = list(lines(hostile["across"]))
    assert not any(line.startswith("  In 100 of 100") for line in shown)
    assert any("a$^$b\\x0a" in line for line in shown)


def test_many_crossings_are_explained_in_bounded_time():
    every = [
        crossing([edges.Edge(f"{n % 37}", f"{n % 41}"), edges.Edge(f"x{n % 13}", f"y{n % 17}")], n % 3 == 0)
        for n in range(5000)
    ]
    assert tomography.explain(every).intercepted == sum(n % 3 == 0 for n in range(5000))


def written(report, cut=True):
    out = io.StringIO()
    report_json.write(report, out.write, report_json.cut_address if cut else None)
    return out.getvalue()


def test_no_sentence_tells_a_client_s_address(tmp_path):
    """In evidence, places and what a witness reads otherwise, not in fields of their own alone."""
    report = analyze(str(CAPTURES / "kz-2019-ladder" / "capture.pcapng"), reference.load())
    clients = {observation.client[0] for observation in report.spill}
    (client,) = clients
    report.corroboration = {"differences": [{"frame": 6, "what": f"{client}:40000 to 203.0.113.80:443"}]}
    assert client in written(report, cut=False)
    shown = written(report)
    report.close()
    assert client not in shown
    assert json.loads(shown)["corroboration"]["differences"][0]["what"].endswith(":40000 to 203.0.113.80:443")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"DNS gave 203.0.113.80, not 95.56.10.20"', '"DNS gave 203.0.113.80, not 95.56.0.0/16"'),
        ('"95.56.10.20:40000 to x."', '"95.56.0.0/16:40000 to x."'),
        ('"195.56.10.20 95.56.10.200 1.95.56.10.20 95.56.10.20.7"', None),
        ('"hop 1 (2a03:32c0:1234:1::1)"', '"hop 1 (2a03:32c0::/32)"'),
        ('"2a03:32c0:1235::1 23:33:20 a::b"', None),
        ('"2a03:32c0:1234:9:8:7:6:5."', '"2a03:32c0::/32."'),
        ('"95.56.0.0/16"', None),
    ],
)
def test_addresses_are_found_in_words(text, expected):
    clients = report_json.Clients(["95.56.10.20", "2a03:32c0:1234:5::6"], report_json.cut_address)
    assert clients.cut(text) == (expected or text)
