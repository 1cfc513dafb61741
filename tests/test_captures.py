"""Every directory of captures/ yields its truth, compiled and interpreted."""

from __future__ import annotations

import json
import subprocess
import sys

import jsonschema
import pytest

from kzpcap.report.json import schema
from tests.conftest import CAPTURES, ROOT, run

ALL = {path.parent: json.loads(path.read_text()) for path in sorted(CAPTURES.glob("*/truth.json"))}
# What the laboratory recorded is graded in test_lab_captures.py.
DIRECTORIES = [path for path, truth in ALL.items() if "laboratory" not in truth]


def command(directory):
    """The arguments with which a directory's capture is judged."""
    truth = ALL[directory]
    options = [
        item
        for name, files in truth["options"].items()
        for file in files
        for item in (f"--{name.replace('_', '-')}", str(directory / file))
    ]
    return ["analyze", "--json", *options, str(directory / truth.get("capture", "capture.pcapng"))]


def report(directory, interpreted):
    done = run(*command(directory), interpreted=interpreted)
    assert done.returncode == 0, done.stderr.decode()
    return ALL[directory], done.stdout


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


PARTS = 8


@pytest.mark.parametrize("part", range(PARTS))
def test_both_forms_and_two_runs_give_the_same_bytes(part):
    """Three processes, each over the same captures: most of a run of its own for each would be Python's start."""
    directories = list(ALL)[part::PARTS]
    commands = json.dumps([command(directory) for directory in directories])
    outputs = [many(commands, *form) for form in ((), (), ("--interpreted",))]
    for directory, first, again, interpreted in zip(directories, *outputs, strict=True):
        assert len(first) > 100, directory.name
        assert first == again == interpreted, directory.name


def many(commands, *form):
    """The output of each command line, from one process for all."""
    script = [sys.executable, str(ROOT / "tests" / "interpreted.py"), "--each", *form]
    done = subprocess.run(script, input=commands, capture_output=True, check=False, text=True, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_has_a_readme(directory):
    assert len((directory / "README.md").read_text()) > 200


def undescribed(part, path=""):
    """The properties of a schema that say nothing of themselves."""
    for name, value in part.get("properties", {}).items():
        if "description" not in value and "$ref" not in value:
            yield f"{path}.{name}"
        yield from undescribed(value, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(part.get(key), dict):
            yield from undescribed(part[key], f"{path}[]")
    for choice in (*part.get("oneOf", ()), *part.get("$defs", {}).values()):
        yield from undescribed(choice, path)


def test_every_field_of_the_report_is_described():
    """Who reads the JSON with another program need not guess what a field counts, nor in what."""
    assert len(list(undescribed({"properties": {"a": {}, "b": {"items": {"properties": {"c": {}}}}}}))) == 3
    assert list(undescribed(schema())) == []
