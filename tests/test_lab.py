"""The laboratory's captures of real interceptions: nobody accused or exculpated falsely, nothing missed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.conftest import LAB, lab_files


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    lab_files()
    result = tmp_path_factory.mktemp("lab") / "lab.json"
    done = subprocess.run(
        [sys.executable, str(LAB / "score.py"), "--kzpcap", f"{sys.executable} -m kzpcap", "--json", str(result)],
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    document = json.loads(result.read_text())
    return document["counts"], document["wrong"]


def test_nobody_is_accused_and_nothing_missed(counts):
    numbers, _ = counts
    assert numbers.get("accused", 0) == 0
    assert numbers.get("exculpated", 0) == 0
    assert numbers.get("false place", 0) == 0
    assert numbers.get("missed", 0) == 0
    assert numbers.get("no report", 0) == 0
    assert numbers["visible interceptions"] > 0


def test_states_targets_and_chains(counts):
    numbers, wrong = counts
    assert numbers.get("target wrong", 0) == 0
    assert numbers.get("chain wrong", 0) == 0, wrong
    assert numbers.get("state wrong", 0) == 0, wrong
    assert numbers.get("state wrong in noca", 0) == 0, wrong
    assert numbers.get("state wrong in noroot", 0) == 0, wrong


def test_ladders(counts):
    numbers, wrong = counts
    assert numbers["ladder right"] == 30
    assert numbers.get("ladder wrong", 0) == 0, wrong
