"""Every directory of captures/ yields its truth, compiled and interpreted."""

from __future__ import annotations

import json

import jsonschema
import pytest

from kzpcap.report.json import schema
from tests.conftest import CAPTURES, run

ALL = {path.parent: json.loads(path.read_text()) for path in sorted(CAPTURES.glob("*/truth.json"))}
# What the laboratory recorded is graded in test_lab_captures.py.
DIRECTORIES = [path for path, truth in ALL.items() if "laboratory" not in truth]


def report(directory, interpreted):
    truth = ALL[directory]
    options = [
        item
        for name, files in truth["options"].items()
        for file in files
        for item in (f"--{name.replace('_', '-')}", str(directory / file))
    ]
    done = run(
        "analyze", "--json", *options, str(directory / truth.get("capture", "capture.pcapng")), interpreted=interpreted
    )
    assert done.returncode == 0, done.stderr.decode()
    return truth, done.stdout


def test_there_are_captures():
    assert len(DIRECTORIES) >= 6


@pytest.mark.parametrize("interpreted", [False, True], ids=["installed", "interpreted"])
@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_truth(directory, interpreted):
    truth, output = report(directory, interpreted)
    document = json.loads(output)
    jsonschema.validate(document, schema())
    assert len(document["connections"]) == len(truth["connections"])
    for expected, connection in zip(truth["connections"], document["connections"], strict=True):
        check(expected, connection)
    assert len(document["ladders"]) == len(truth["ladders"])
    for expected, ladder in zip(truth["ladders"], document["ladders"], strict=True):
        for key, value in expected.items():
            got = ladder[key]
            assert ({k: got[k] for k in value} if isinstance(value, dict) else got) == value, key


def check(expected, connection):
    for key, value in expected.items():
        if key == "identity":
            assert connection["interceptor"]["identity"] == value
        elif key == "target":
            got = connection["target"]
            assert (got if value is None else {k: got[k] for k in value}) == value
        elif key == "place":
            assert connection["place"]["where"] == value
        elif key == "remark":
            assert any(value in remark["says"] for remark in connection["remarks"]), connection["remarks"]
        else:
            assert connection[key] == value, (key, connection["frame"], connection["rule_id"])
    if "identity" not in expected and expected["state"] not in ("intercepted", "suspected"):
        assert connection["interceptor"] is None


@pytest.mark.parametrize("directory", ALL, ids=lambda path: path.name)
def test_both_forms_and_two_runs_give_the_same_bytes(directory):
    _, first = report(directory, False)
    _, again = report(directory, False)
    _, interpreted = report(directory, True)
    assert first == again == interpreted


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_has_a_readme(directory):
    assert len((directory / "README.md").read_text()) > 200
