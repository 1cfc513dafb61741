"""The same connection in several captures of a case: copies count once, whatever is made of the case."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from kzpcap.cases.repeats import Repeats
from kzpcap.cases.store import Case
from kzpcap.cases.summary import total
from kzpcap.report.document import Document
from tests.conftest import CAPTURES, judged, run

RCKU = CAPTURES / "kz-2019-rcku" / "capture.pcapng"


@pytest.fixture
def copies(tmp_path):
    """A capture, and one that has a comment more: another digest, the same packets."""
    (tmp_path / "in").mkdir()
    shutil.copy(RCKU, tmp_path / "in" / "a.pcapng")
    raw = RCKU.read_bytes()
    (tmp_path / "in" / "b.pcapng").write_bytes(raw + b"\x0b\x00\x00\x00\x0c\x00\x00\x00\x0c\x00\x00\x00")
    judged(tmp_path / "case", tmp_path / "in")
    return tmp_path / "case"


def test_copies_count_once_in_all_that_is_said(copies, tmp_path):
    found = total(Case.open(copies))
    assert (found.captures, found.connections, found.again) == (2, 3, 3)
    assert found.captures_intercepted == 1
    shown = run("case", "summary", str(copies)).stdout.decode()
    assert "3 connections in several captures, and counted once" in shown
    out = tmp_path / "out"
    assert run("case", "release", str(copies), "-o", str(out)).returncode == 0
    with (out / "connections.csv").open() as file:
        assert [row["connections"] for row in csv.DictReader(file)] == ["1"]
    measured = [json.loads(line) for line in (out / "ooni.jsonl").read_text().splitlines()]
    assert [len(one["test_keys"]["tls_handshakes"]) for one in measured] == [1]
    claimed = json.loads((out / "claims.json").read_text())
    assert [claim["support"]["connections"] for claim in claimed["claims"]] == [1]


def test_published_certificates_are_told_as_such(copies):
    shown = " ".join(run("case", "summary", str(copies)).stdout.decode().split())
    assert "1 intercepted connection with a published certificate, whose key nobody is shown to hold" in shown


def connection(**changes):
    return {
        "frame": 1,
        "time": "2019-07-20T09:00:00.000001Z",
        "client": {"address": "95.56.0.0/16", "port": 50_001},
        "server": {"address": "203.0.113.80", "port": 443},
        "server_name": "vk.com",
        "ja3": "0" * 32,
        "certificates": ["1" * 64],
        "probe_ttl": None,
        **changes,
    }


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"client": {"address": "192.0.2.1", "port": 50_001}}, True),
        ({"client": {"address": "95.57.0.0/16", "port": 50_001}}, False),
        ({"client": {"address": "95.56.0.0/16", "port": 50_002}}, False),
        ({"time": "2019-07-20T09:00:00.000002Z"}, False),
        ({"certificates": []}, False),
        ({"probe_ttl": 5}, False),
    ],
    ids=["a copy", "scrubbed", "another client", "another port", "another time", "another answer", "a probe"],
)
def test_what_makes_two_connections_one(changes, same):
    repeats = Repeats()
    assert repeats.of(Document({"connections": [connection()]})) == frozenset()
    assert bool(repeats.of(Document({"connections": [connection(**changes)]}))) is same


def test_in_one_capture_two_are_two():
    assert Repeats().of(Document({"connections": [connection(), connection(frame=2)]})) == frozenset()
