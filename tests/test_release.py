"""`case release`: what leaves the house has nothing by which an operator finds a subscriber, and says what it lacks."""

from __future__ import annotations

import csv
import json
import re

import pytest

from kzpcap.cases.release import COLUMNS
from tests.conftest import CAPTURES, judged, run

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
FILES = ["README.txt", "claims.json", "connections.csv", "left-out.csv", "ooni.jsonl", "report.html", "summary.json"]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    judged(folder / "case", CAPTURES)
    done = run("case", "release", str(folder / "case"), "-o", str(folder / "out"))
    assert done.returncode == 0, done.stderr.decode()
    return folder / "case", folder / "out", done.stdout.decode()


def test_every_file_is_there_and_is_what_it_should_be(released):
    _, out, shown = released
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert all(name in shown for name in FILES)
    with (out / "connections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", row["day"]) for row in rows)
    with (out / "left-out.csv").open(newline="") as file:
        left = {row["what"]: int(row["how many"]) for row in csv.DictReader(file)}
    assert left["serial numbers of forged certificates, as differences"] > 0
    assert all(f"{count:>12,}  {what}" in shown for what, count in left.items())
    assert "custody" in (out / "README.txt").read_text().lower()


def test_the_counts_are_those_of_the_case(released):
    case, out, _ = released
    expected = 0
    for path in case.glob("results/*/*/report.json"):
        for one in json.loads(path.read_text())["connections"]:
            expected += bool(one["target"]) and one["target"]["match"] == "exact" and one["probe_ttl"] is None
    with (out / "connections.csv").open(newline="") as file:
        assert sum(int(row["connections"]) for row in csv.DictReader(file)) == expected > 0


def test_nobody_can_be_found_by_it(released):
    case, out, _ = released
    texts = {path.name: path.read_text() for path in out.iterdir()}
    every = "".join(texts.values())
    for path in case.glob("results/*/*/report.json"):
        report = json.loads(path.read_text())
        for one in report["connections"]:
            address = one["server"]["address"]
            assert address.startswith("127.") or f'"{address}"' not in every
            assert f"{address}:" not in every or address.startswith("127.")
            if one["state"] == "intercepted" and one["certificates"]:
                leaf = report["certificates"][one["certificates"][0]]
                assert not any(leaf[key] in every for key in ("sha256", "spki_sha256", "serial"))
            if one["server_name"] and not one["target"]:
                assert one["server_name"] not in texts["summary.json"] + texts["connections.csv"] + texts["claims.json"]
    for name in ("summary.json", "claims.json", "connections.csv"):
        assert set(re.findall(r"T\d\d:(\d\d:\d\d)", texts[name])) <= {"00:00"}, name
    assert '"frame"' not in texts["claims.json"]


def test_a_client_s_network_is_told_only_among_others(released):
    _, out, _ = released
    with (out / "connections.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            assert row["client_as"] or not row["client_network"]


def test_claims_of_place_name_the_routers_as_the_report_does(released):
    case, out, _ = released
    document = json.loads((out / "claims.json").read_text())
    exact = json.loads(run("case", "claims", str(case), "--json").stdout)
    places = [claim for claim in document["claims"] if claim["about"] == "place"]
    assert len(places) == sum(claim["about"] == "place" for claim in exact["claims"]) > 0
    page = (out / "report.html").read_text()
    for claim in places:
        assert all(re.fullmatch(r"\d+\.\d+\.0\.0/16", end) for end in claim["edge"]), "too few networks saw them"
        assert f"through {claim['edge'][0]} and {claim['edge'][1]}" in claim["says"]
        assert f"through {claim['edge'][0]} and {claim['edge'][1]}" in page


def test_an_edge_seen_from_both_sides_may_be_one_box(released):
    case, out, _ = released
    said = " ".join(run("case", "summary", str(case)).stdout.decode().split())
    one = "a box on a path through 92.47.151.210 and 95.56.243.92: 2 intercepted"
    assert one in said
    assert "and a box on a path through 95.56.243.92 and 92.47.151.210, the other way: it may be the same one" in said
    page = (out / "report.html").read_text()
    assert "and on one through 95.56.0.0/16 and 92.47.0.0/16, the other way: it may be the same box (in each" in page


def test_an_existing_folder_stays(released, tmp_path):
    case, *_ = released
    (tmp_path / "mine").mkdir()
    assert run("case", "release", str(case), "-o", str(tmp_path / "mine")).returncode == 2
    assert run("case", "release", str(tmp_path / "mine"), "-o", str(tmp_path / "out")).returncode == 6
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_a_laboratory_releases_says_so_on_its_first_line(tmp_path):
    """Who is handed the folder reads README.txt first: throw-away CAs are no finding about anybody's network."""
    folder = CAPTURES / "lab-sslsplit"
    given = ("--trusted-root", str(folder / "root.pem"))
    run("batch", str(folder), "--case", str(tmp_path / "case"), "--jobs", "1", *given)
    run("case", "release", str(tmp_path / "case"), "-o", str(tmp_path / "out"))
    assert (tmp_path / "out" / "README.txt").read_text().startswith("LABORATORY: ")
