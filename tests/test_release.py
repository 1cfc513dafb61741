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


def test_an_existing_folder_stays(released, tmp_path):
    case, *_ = released
    (tmp_path / "mine").mkdir()
    assert run("case", "release", str(case), "-o", str(tmp_path / "mine")).returncode == 2
    assert run("case", "release", str(tmp_path / "mine"), "-o", str(tmp_path / "out")).returncode == 6
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
