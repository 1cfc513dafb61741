"""Claims: the level follows from the conditions alone, every alternative has its fact, and nothing counts twice."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace

import pytest

from kzpcap.cases.claims import NOT_EXCLUDED, Gathered, Support, claims, document, through, vantage_days, wilson
from kzpcap.cases.crossings import NOT_IN_FORCE, NOT_KNOWN
from kzpcap.cases.store import Case
from kzpcap.cases.summary import reports
from kzpcap.cases.tomography import explain
from kzpcap.report.document import Document
from tests.conftest import CAPTURES, judged, run
from tests.test_across import crossing

TITLES = {"kz-2019-qaznet": "Qaznet Trust Network, Kazakhstan 2016-2019"}
NOTHING = explain([])


def strong(**changes):
    """Support that meets every condition."""
    values = {
        "connections": 30,
        "vantage_days": {(f"n{number}", day) for number in range(3) for day in ("2019-07-20", "2019-07-21")},
        "networks": {"n0", "n1", "n2"},
        "systems": {9198, 21299},
        "days": {"2019-07-20", "2019-07-21"},
        "captures": {"a", "b", "c"},
        "interleaved": {"a", "b", "c"},
        "same_server": {"a"},
        "possession": 4,
        "proved": {"a": "n0", "b": "n1", "c": "n2"},
        "verified": 30,
        "anchored": {"a"},
        "agree": 30,
        "agreeing": {"a", "b", "c"},
        "of_capture": {
            "a": ("n0", 9198, "2019-07-20"),
            "b": ("n1", 21299, "2019-07-21"),
            "c": ("n2", 9198, "2019-07-21"),
        },
    }
    return Support(**{**values, **changes})


def seen(**changes):
    """The vantages of three captures, some of them changed."""
    return {**strong().of_capture, **changes}


def level(support, identity="known_generation:kz-2019-qaznet", **more):
    (claim,) = claims(Gathered(by_identity={identity: support}, **more), TITLES, NOTHING)
    return claim.level


def test_everything_met_is_publishable():
    assert level(strong()) == "publishable"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"of_capture": seen(c=("n1", 9198, "2019-07-21"))}, "corroborated"),  # two networks
        ({"of_capture": seen(b=("n1", 9198, "2019-07-21"))}, "corroborated"),  # one AS
        ({"of_capture": seen(a=("n0", None, "2019-07-20"), c=("n2", None, "2019-07-21"))}, "corroborated"),
        ({"of_capture": seen(a=("n0", 9198, "2019-07-21"))}, "corroborated"),  # one day
        ({"interleaved": set()}, "corroborated"),
        ({"interleaved": {"a", "b"}}, "corroborated"),  # a capture without controls is no vantage that counts
        ({"agreeing": {"a", "b"}}, "corroborated"),  # nor one that no other reader read
        ({"proved": {"a": "n0"}}, "corroborated"),  # one sound capture does not vouch for the others
        ({"possession": 0, "proved": {}}, "corroborated"),
        ({"anchored": set()}, "corroborated"),
        ({"agree": 0}, "corroborated"),
        ({"differ": 1}, "corroborated"),
        ({"verified": 29}, "corroborated"),
        ({"same_server": set()}, "corroborated"),
        ({"possession": 0, "proved": {}, "agree": 0}, "observed"),
        (
            {
                "networks": {"n0"},
                "days": {"2019-07-20"},
                "of_capture": dict.fromkeys("abc", ("n0", 9198, "2019-07-20")),
            },
            "observed",
        ),
    ],
)
def test_each_condition_is_needed(changes, expected):
    assert level(strong(**changes)) == expected


def test_one_network_alone_may_be_published_with_its_scope():
    one = {name: ("n0", 9198, day) for name, (_, _, day) in strong().of_capture.items()}
    proved = dict.fromkeys("abc", "n0")
    support = strong(networks={"n0"}, systems={9198}, of_capture=one, proved=proved)
    (claim,) = claims(Gathered(by_identity={"known_generation:kz-2019-qaznet": support}), TITLES, NOTHING)
    assert (claim.level, claim.scope) == ("publishable", "one network")


def test_networks_that_are_not_known_are_no_scope_to_publish_with():
    """Scrubbed captures, and those of clients with private addresses: they may be of one network, or of three."""
    one = {name: (NOT_KNOWN, 9198, day) for name, (_, _, day) in strong().of_capture.items()}
    support = strong(networks={NOT_KNOWN}, systems={9198}, of_capture=one, proved=dict.fromkeys("abc", NOT_KNOWN))
    (claim,) = claims(Gathered(by_identity={"known_generation:kz-2019-qaznet": support}), TITLES, NOTHING)
    assert (claim.level, claim.scope) == ("corroborated", "networks that are not known")


def test_vantage_days_are_counted_as_few():
    assert vantage_days([]) == 0
    seen = [(NOT_KNOWN, "2019-07-20"), ("95.56.0.0/16", "2019-07-20"), (NOT_KNOWN, "2019-07-21")]
    assert vantage_days(seen) == 2
    assert vantage_days([*seen, ("2.133.0.0/16", "2019-07-20")]) == 3


def test_only_a_known_key_excludes_products_and_imitations():
    for identity in ("unknown", "product:kaspersky"):
        (claim,) = claims(Gathered(by_identity={identity: strong(verified=0)}), TITLES, NOTHING)
        assert claim.level == "corroborated"
        open_ones = {what for what, why in claim.alternatives if why == NOT_EXCLUDED}
        assert "an imitation of the names" in open_ones
        assert "a local product (antivirus, company gateway)" in open_ones
        assert "Kazakhstan" not in claim.says
    assert level(strong(), laboratory=True) == "corroborated"


def gathered(case):
    found = Gathered()
    for capture, report in reports(Case.open(case), next(iter(Case.open(case).results.glob("*/*"))).name):
        found.add(capture, report)
    return found


def test_the_claims_of_a_case(tmp_path):
    judged(tmp_path / "case", *(CAPTURES / name for name in ("kz-2019-ladder", "kz-2019-rcku", "clean-ladder")))
    found = gathered(tmp_path / "case")
    made = claims(found, TITLES, explain(found.crossings))
    assert {claim.level for claim in made} == {"observed"}
    assert [claim.about for claim in made] == ["identity", "place"]
    assert made[0].says == (
        "TLS to listed names was intercepted with a certificate signed by a key of Qaznet Trust Network, Kazakhstan"
        " 2016-2019"
    )
    assert made[1].says == "TLS to listed names was intercepted on a path through 92.47.151.210 and 95.56.243.92"
    assert dict(made[1].conditions)["no other set of edges explains the case as well"]
    assert dict(made[0].alternatives)["a fabricated or replayed capture"] == NOT_EXCLUDED, "nothing proves possession"
    assert document(found, made)["vantage_days"]["eligible"] == 1


def test_a_connection_in_two_captures_counts_once(tmp_path):
    judged(tmp_path / "case", CAPTURES / "kz-2019-rcku")
    once = gathered(tmp_path / "case")
    twice = copy.deepcopy(once)
    report = json.loads(next((tmp_path / "case").glob("results/*/*/report.json")).read_bytes())
    twice.add("another capture of it", Document(report))
    (name,) = once.by_identity
    assert twice.by_identity[name].connections == once.by_identity[name].connections == 1
    assert twice.alike == 1
    for one in report["connections"]:
        one["client"]["address"] = "192.0.2.1"  # as in a copy that was scrubbed
    twice.add("a scrubbed copy of it", Document(report))
    assert twice.alike == 2
    later = json.loads(json.dumps(report).replace("2019-07-20T09", "2019-07-20T11"))
    twice.add("two hours later", Document(later))
    assert twice.by_identity[name].connections == 2


@pytest.mark.parametrize(
    ("time", "again"),
    [("2019-07-20T09:14:59", 0), ("2019-07-20T09:15:59", 1), ("2019-07-20T09:17:01", 1), ("2019-07-20T09:18:01", 0)],
    ids=["two minutes before", "the minute before", "the minute after", "two minutes after"],
)
def test_copies_by_clocks_that_hardly_differ_count_once(tmp_path, time, again):
    judged(tmp_path / "case", CAPTURES / "kz-2019-rcku")
    report = json.loads(next((tmp_path / "case").glob("results/*/*/report.json")).read_bytes())
    report["connections"] = [one for one in report["connections"] if one["state"] == "intercepted"]
    (one,) = report["connections"]
    found = Gathered()
    for stamp in ("2019-07-20T09:16:30Z", f"{time}Z"):
        one["time"] = stamp
        found.add(stamp, Document(json.loads(json.dumps(report))))
    assert found.alike == again


@pytest.mark.parametrize(
    ("time", "counts"),
    [
        ("1970-01-01T23:59:59Z", 0),
        ("1970-01-02T00:00:00Z", 1),
        ("2200-01-01T00:00:00Z", 1),
        ("2200-01-01T00:00:01Z", 0),
    ],
)
def test_what_has_no_time_supports_no_claim(tmp_path, time, counts):
    judged(tmp_path / "case", CAPTURES / "kz-2019-rcku")
    report = json.loads(next((tmp_path / "case").glob("results/*/*/report.json")).read_bytes())
    (one,) = [one for one in report["connections"] if one["state"] == "intercepted"]
    one["time"] = time
    found = Gathered()
    found.add("c", Document(report))
    assert len(found.by_identity) == counts


def test_the_interval_is_wilson_s():
    """Values of the published formula, as statistics packages give them."""
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


def test_on_the_command_line_with_a_witness(tmp_path):
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed (Debian: tshark)")
    done = run("batch", "captures/kz-2019-rcku", "--case", str(tmp_path / "case"), "--corroborate", "--jobs", "1")
    assert done.returncode == 0, done.stderr.decode()
    shown = run("case", "claims", str(tmp_path / "case"))
    text = shown.stdout.decode()
    assert shown.returncode == 0
    assert max(map(len, text.splitlines())) <= 80
    assert "- an independent reader agrees, and nowhere differs" in text, "anybody can replay a published certificate"
    dossier = json.loads(run("case", "claims", "--json", str(tmp_path / "case")).stdout)
    support = dossier["claims"][0]["support"]
    assert (support["witness_agrees"], support["published_certificates"]) == (0, 1)
    report = json.loads(next((tmp_path / "case").glob("results/*/*/report.json")).read_bytes())
    for change, agrees in (({"specimen": False}, 1), ({"possession": "proved"}, 1), ({}, 0)):
        found = Gathered()
        changed = {**report, "connections": [{**one, **change} for one in report["connections"]]}
        found.add("c", Document(changed))
        assert [support.agree for support in found.by_identity.values()] == [agrees]


def test_two_routers_told_as_one_network_are_told_once():
    assert through("1.2.0.0/16", "1.2.0.0/16").endswith("on a path through routers in 1.2.0.0/16")
    assert through("1.2.0.0/16", "1.3.0.0/16").endswith("on a path through 1.2.0.0/16 and 1.3.0.0/16")


def test_days_count_as_in_the_summary():
    """A name that was intercepted in this case is listed then: its clean days outside the list's dates are eligible."""
    clean = replace(crossing((), False, time=5 * 86_400.0 + 1_563_500_000), outcome="neutral", why=NOT_IN_FORCE)
    untimed = replace(clean, time=1e18, why="its packets have no time")
    hit = crossing((), True, time=1_563_500_000.0)
    for seen, eligible in (([hit, clean, untimed], 2), ([hit, untimed], 1), ([clean], 0)):
        days = document(Gathered(crossings=seen), [])["vantage_days"]
        assert (days["with_interception"], days["eligible"]) == (int(hit in seen), eligible)
