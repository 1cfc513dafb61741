"""The same connection in several captures of a case: copies count once, whatever is made of the case."""

from __future__ import annotations

import csv
import json
import shutil

import dpkt
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
    assert "3 connections recorded more than once, and counted once" in shown
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
        "state": "undetermined",
        **changes,
    }


def without(*reports):
    """Which frames are left out of each of some reports."""
    named = {str(number): Document({"connections": list(connections)}) for number, connections in enumerate(reports)}
    repeats = Repeats(lambda: iter(named.items()))
    return [sorted(repeats.of(name, report)) for name, report in named.items()]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"client": {"address": "192.0.2.1", "port": 50_001}}, True),
        ({"time": "2019-07-20T09:00:00.000001234Z"}, True),
        ({"client": {"address": "95.56.0.0/16", "port": 50_002}}, False),
        ({"time": "2019-07-20T09:00:00.000002Z"}, False),
        ({"certificates": []}, True),
        ({"probe_ttl": 5}, False),
        ({"time": None}, False),
    ],
    ids=[
        "a copy",
        "scrubbed",
        "in nanoseconds",
        "another port",
        "another time",
        "cut before its certificate",
        "a probe",
        "no time",
    ],
)
def test_what_makes_two_connections_one(changes, same):
    assert without([connection()], [connection(**changes)]) == [[], [1] if same else []]


def test_without_a_time_nothing_is_a_copy():
    assert without([connection(time=None)], [connection(time=None)]) == [[], []]


def test_in_one_capture_the_same_packets_count_once_and_two_clients_are_two():
    """Files that were laid together may hold the same packets."""
    assert without([connection(), connection(frame=2)]) == [[2]]
    other = connection(frame=3, client={"address": "10.9.9.9", "port": connection()["client"]["port"]})
    assert without([connection(), other]) == [[]]
    assert without([connection(), connection(frame=2), other]) == [[2]]


def test_the_capture_that_says_more_is_counted():
    """With controls or a twin beside it a capture says more of a connection than one that was cut to it."""
    weak, strong = connection(frame=7), connection(state="interfered")
    assert without([weak], [strong]) == [[7], []]
    other = connection(frame=9, time="2019-07-20T09:01:00Z")
    assert without([weak], [connection(), other]) == [[7], []], "of equals the larger capture"


def test_a_copy_that_ends_early_counts_no_connection_twice(tmp_path):
    (tmp_path / "in").mkdir()
    raw = RCKU.read_bytes()
    (tmp_path / "in" / "whole.pcapng").write_bytes(raw)
    (tmp_path / "in" / "part.pcapng").write_bytes(raw[:9_000])
    judged(tmp_path / "case", tmp_path / "in")
    found = total(Case.open(tmp_path / "case"))
    assert (found.captures, found.connections) == (2, 3)
    assert found.states["intercepted"] == 1
    assert run("case", "release", str(tmp_path / "case"), "-o", str(tmp_path / "out")).returncode == 0
    with (tmp_path / "out" / "connections.csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)] == ["intercepted"]


def test_a_connection_that_begins_in_one_part_and_goes_on_in_the_next_is_one(tmp_path):
    """Its SYN is in the first part, its ClientHello in the second: the whole has both."""
    path = CAPTURES / "kz-2019-ladder" / "capture.pcapng"
    with path.open("rb") as file:
        packets = list(dpkt.pcapng.Reader(file))
    folder = tmp_path / "in"
    folder.mkdir()
    for name, part in (("whole", packets), ("first", packets[:41]), ("second", packets[41:])):
        with (folder / f"{name}.pcap").open("wb") as file:
            writer = dpkt.pcap.Writer(file)
            for time, frame in part:
                writer.writepkt(frame, time)
    assert run("batch", str(folder), "--case", str(tmp_path / "case")).returncode == 0
    told = json.loads(run("case", "summary", str(tmp_path / "case"), "--json").stdout)
    alone = json.loads(run("analyze", "--json", str(path)).stdout)["summary"]
    assert told["connections"] == alone["connections"]
    assert told["states"]["intercepted"] == alone["states"]["intercepted"]
