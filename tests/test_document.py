"""A stored report read in parts: the same as read at once, whoever reads beside it, in memory that does not grow."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from kzpcap.cases import claims as claiming
from kzpcap.cases.public import published_keys
from kzpcap.cases.release import release
from kzpcap.cases.store import Case
from kzpcap.cases.summary import reports, total
from kzpcap.cases.tables import rows
from kzpcap.report import document
from kzpcap.report.document import Document
from kzpcap.report.ooni import MOST, measurements
from tests.conftest import CAPTURES, judged, run

NAMES = ("kz-2019-ladder", "kz-2019-rcku", "resigned-copy", "lab-kz-three-runs", "lab-mitmproxy", "other-authorities")


@pytest.fixture(scope="module")
def ladder():
    return run("analyze", "--json", str(CAPTURES / "kz-2019-ladder" / "capture.pcapng")).stdout


@pytest.fixture
def in_parts(monkeypatch):
    """No document is small."""
    monkeypatch.setattr(document, "WHOLE", 0)


def stored(tmp_path, raw):
    path = tmp_path / "report.json"
    path.write_bytes(raw)
    return path.open("rb")


def test_read_in_parts_it_is_the_same(tmp_path, ladder, in_parts):
    whole = json.loads(ladder)
    with stored(tmp_path, ladder) as file:
        found = Document(file)
        assert list(found.connections()) == whole.pop("connections")
        certificates = whole.pop("certificates")
        assert dict(found.certificates()) == certificates
        some = sorted(certificates)[:2]
        assert found.chosen(some) == {digest: certificates[digest] for digest in some}
        assert found.chosen(()) == {}
        assert {part: found[part] for part in whole} == whole


def test_two_readings_are_not_in_each_other_s_way(tmp_path, ladder, in_parts):
    numbers = [one["frame"] for one in json.loads(ladder)["connections"]]
    with stored(tmp_path, ladder) as file:
        found = Document(file)
        seen = [(one["frame"], two["frame"]) for one in found.connections() for two in found.connections()]
    assert seen == [(one, two) for one in numbers for two in numbers]


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"connections":[{"a":1},', b'{"connections":{}}', b"\xff\xfe{"])
def test_what_is_no_report_is_told_as_such(tmp_path, monkeypatch, raw, small):
    if not small:
        monkeypatch.setattr(document, "WHOLE", -1)
    with stored(tmp_path, raw) as file, pytest.raises((ValueError, KeyError)):
        found = Document(file)
        list(found.connections())
        found["summary"]


def test_numbers_of_any_size_are_read(tmp_path, in_parts):
    exponent = 2**2048 + 1
    with stored(tmp_path, json.dumps({"certificates": {"a": {"exponent": exponent}}}).encode()) as file:
        assert dict(Document(file).certificates()) == {"a": {"exponent": exponent}}


def told(case, folder):
    """All that is said of a case, in every form that is made of its reports."""
    analysis = next(iter(case.results.glob("*/*"))).name
    gathered, lines = claiming.Gathered(), []
    for capture, report in reports(case, analysis):
        gathered.add(capture, report)
        lines += list(rows(capture, analysis, report))
        lines += list(measurements(report, case.certificate, True, published_keys()))
    summary = total(case).document()
    left = release(case, folder)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    support = {str(name): one.document() for name, one in (gathered.by_identity | gathered.by_edge).items()}
    return json.loads(json.dumps([summary, lines, support, left])), files


def test_a_case_says_the_same_of_large_reports(tmp_path, monkeypatch):
    judged(tmp_path / "case", *(CAPTURES / name for name in NAMES))
    case = Case.open(tmp_path / "case")
    at_once = told(case, tmp_path / "one")
    monkeypatch.setattr(document, "WHOLE", 0)
    assert told(case, tmp_path / "two") == at_once


def test_the_page_and_the_measurements_are_the_same(tmp_path, monkeypatch):
    from kzpcap import analyze, reference
    from kzpcap.report import html

    report = analyze(str(CAPTURES / "kz-2019-ladder" / "capture.pcapng"), reference.load())
    try:
        pages = [html.write(report, "capture.pcapng")[0]]
        monkeypatch.setattr(document, "WHOLE", 0)
        pages.append(html.write(report, "capture.pcapng")[0])
    finally:
        report.close()
    assert pages[0] == pages[1]
    assert "Qaznet" in pages[0]


def test_no_measurement_grows_without_end(tmp_path, ladder):
    report = json.loads(ladder)
    one = {**report["connections"][0], "probe_ttl": None}
    many = {**report, "connections": [one] * (2 * MOST + 1), "ladders": []}
    found = list(measurements(Document(many), lambda digest: None, True))
    assert [len(each["test_keys"]["tls_handshakes"]) for each in found] == [MOST, MOST, 1]


PEAK = """
import re, sys
from pathlib import Path
from kzpcap.cases import claims
from kzpcap.cases.store import Case
from kzpcap.cases.summary import reports, total
case = Case.open(Path(sys.argv[1]))
total(case)
gathered = claims.Gathered()
for capture, report in reports(case, next(iter(case.results.glob("*/*"))).name):
    gathered.add(capture, report)
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def test_controls_are_found_without_going_through_them():
    controls = claiming.Controls()
    for second in (50, 10, 30):
        one = {"time": f"2019-07-20T09:{second}:00Z"}
        controls.add({**one, "client": {"address": "10.0.0.1"}, "server": {"address": "192.0.2.1"}})
    noon = claiming.seconds("2019-07-20T10:00:00Z")
    assert controls.beside("client", "10.0.0.1", noon)
    assert controls.beside("server", "192.0.2.1", noon)
    assert not controls.beside("client", "192.0.2.1", noon)
    assert not controls.beside("client", "10.0.0.1", noon + 1)
    assert controls.beside("client", "10.0.0.1", noon - 3600)
    assert not controls.beside("client", "10.0.0.1", noon - 3601)


def test_a_large_report_is_never_in_memory(tmp_path, ladder):
    """A report of 60 MB: read at once it takes some 400 MB."""
    judged(tmp_path / "case", CAPTURES / "kz-2019-ladder")
    (path,) = (tmp_path / "case").glob("results/*/*/report.json")

    def peak():
        done = subprocess.run(
            [sys.executable, "-c", PEAK, str(tmp_path / "case")], capture_output=True, text=True, check=True
        )
        return int(done.stdout) / 1024

    small = peak()
    report = json.loads(ladder)
    (one, *_) = [one for one in report["connections"] if not one["target"]]
    count = 60_000_000 // len(json.dumps(one))
    probe = {**one, "server_name": "another.example"}
    plain = {**one, "probe_ttl": None}
    many = [json.dumps({**(probe, plain)[at % 2], "frame": 1_000_000 + at}) for at in range(count)]
    shown = json.dumps(report)
    cut = shown.index('"connections": [') + len('"connections": [')
    path.write_text(shown[:cut] + ", ".join(many) + ", " + shown[cut:])
    assert peak() < small + 40
