"""The outputs of one capture, and of one case, say the same: what one counts no other leaves out or words otherwise."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest

from kzpcap.cases.claims import Gathered, claims
from kzpcap.cases.tomography import explain
from kzpcap.report.document import Document
from kzpcap.report.ooni import BROKEN_OFF, _failure
from kzpcap.verdict.rules import RULES, State
from tests.conftest import CAPTURES, judged, run

TITLES = {"kz-2019-qaznet": "Qaznet Trust Network, Kazakhstan 2016-2019"}


@pytest.fixture(scope="module")
def intercepted(tmp_path_factory):
    """A report with one intercepted connection to a listed name."""
    case = tmp_path_factory.mktemp("agreement") / "case"
    judged(case, CAPTURES / "kz-2019-rcku")
    return json.loads(next(case.glob("results/*/*/report.json")).read_bytes())


def gathered(report, *changes):
    found = Gathered()
    for number, change in enumerate(changes):
        copy = json.loads(json.dumps(report))
        (one,) = [one for one in copy["connections"] if one["state"] == "intercepted"]
        change(one)
        found.add(f"capture {number}", Document(copy))
    return found


def test_a_supplied_ca_is_no_published_key(intercepted):
    def supplied(one):
        one["interceptor"]["identity"] = "supplied_ca"

    found = gathered(intercepted, supplied)
    (support,) = found.by_identity.values()
    assert support.document()["signatures_by_a_known_key"] == 0
    for claim in claims(found, TITLES, explain(found.crossings)):
        assert not any("published as the system's" in why for _, why in claim.alternatives)


def test_a_name_below_a_listed_one_supports_no_claim_of_listed_names(intercepted):
    def below(one):
        one["server_name"] = f"static.{one['server_name']}"
        one["target"]["match"] = "subdomain"

    assert gathered(intercepted, below).by_identity == {}


def test_clients_of_different_networks_are_different_people(intercepted):
    def of(address, minute):
        def change(one):
            one["client"]["address"] = address
            one["time"] = f"2019-07-20T09:{minute}:02Z"

        return change

    apart = gathered(intercepted, of("2.132.0.1", 14), of("92.46.0.1", 14), of("5.34.0.1", 15))
    (support,) = apart.by_identity.values()
    assert (support.connections, len(support.networks), apart.alike) == (3, 3, 0)
    scrubbed = gathered(intercepted, of("2.132.0.1", 14), of("192.0.2.1", 14), of("2.132.9.9", 15))
    (support,) = scrubbed.by_identity.values()
    assert (support.connections, scrubbed.alike) == (1, 2), "a copy without the address, and one of the same network"


@pytest.mark.parametrize("rule", [rule.id for rule in RULES if rule.state is State.INTERFERED])
def test_what_was_broken_off_is_no_success_to_ooni(rule):
    """The origin's answer may come all the same, to a socket that is closed."""
    one = {
        "rule_id": rule, "state": "interfered", "certificates": ["a"], "tls_version": "TLS 1.2", "alerts": [],
        "failed": None,
    }  # fmt: skip
    if rule in BROKEN_OFF:
        assert _failure(one)
    else:
        assert _failure({**one, "certificates": [], "tls_version": None, "failed": "silent"})


def test_a_file_that_is_named_and_no_capture_is_told(tmp_path):
    broken, folder = tmp_path / "broken.pcapng", tmp_path / "folder"
    broken.write_bytes(b"no capture at all")
    folder.mkdir()
    shutil.copy(broken, folder / "notes.txt")
    named = run("case", "import", str(broken), "--case", str(tmp_path / "case"))
    assert named.returncode == 1
    assert "broken.pcapng" in named.stderr.decode().replace("\n", "")
    assert "broken.pcapng" in run("case", "summary", str(tmp_path / "case")).stdout.decode().replace("\n", "")
    within = run("case", "import", str(folder), "--case", str(tmp_path / "other"))
    assert within.returncode == 0


def test_a_leaf_that_was_judged_is_not_counted_as_missing(tmp_path):
    """The intermediate's last bytes were not captured: the leaf is whole, and shown."""
    import dpkt

    path = tmp_path / "cut.pcapng"
    with (CAPTURES / "kz-2019-rcku" / "capture.pcapng").open("rb") as source:
        packets = list(dpkt.pcapng.Reader(source))
    report = json.loads(run("analyze", "--json", str(CAPTURES / "kz-2019-rcku" / "capture.pcapng")).stdout)
    (one,) = [one for one in report["connections"] if one["state"] == "intercepted"]
    for frames in range(one["frame"] + 7, one["frame"], -1):
        with path.open("wb") as out:
            writer = dpkt.pcapng.Writer(out)
            for when, frame in packets[:frames]:
                writer.writepkt(frame, ts=when)
        found = json.loads(run("analyze", "--json", str(path)).stdout)
        (seen,) = [each for each in found["connections"] if each["frame"] == one["frame"]] or [None]
        if seen and seen["certificates"] and seen["certificate_absent"]:
            break
    else:
        pytest.fail("no cut leaves the leaf alone")
    absent = sum(each["certificate_absent"] is not None and not each["certificates"] for each in found["connections"])
    assert sum(found["summary"]["certificate_absent"].values()) == absent


@pytest.mark.parametrize("folder", ["~case", os.fsdecode(b"case-\xff")], ids=["a tilde", "no UTF-8"])
def test_tables_of_a_case_whatever_its_folder_is_called(tmp_path, monkeypatch, folder):
    monkeypatch.chdir(tmp_path)
    judged(tmp_path / folder, CAPTURES / "kz-2019-rcku")
    from kzpcap.cases.store import Case
    from kzpcap.cases.tables import query
    from kzpcap.cases.verify import verify

    names, rows = query(
        Case.open(tmp_path / folder), "SELECT count(*) AS n FROM connections WHERE state = 'intercepted'"
    )
    assert (names, list(rows)) == (["n"], [(1,)])
    assert verify(Case.open(tmp_path / folder)).open == []


def test_numbers_and_times_of_the_tables_are_of_json(tmp_path):
    judged(tmp_path / "case", CAPTURES / "kz-2019-rcku")
    select = "SELECT time, 1.0/0 AS share, [1.0/0, 2] AS many FROM connections ORDER BY time LIMIT 1"
    told = run("case", "sql", str(tmp_path / "case"), select, "--json").stdout

    def refuse(word):
        raise AssertionError(word)

    row = json.loads(told, parse_constant=refuse)
    assert (row["share"], row["many"]) == (None, [None, 2])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", row["time"])
    assert row["time"].encode() in run("case", "sql", str(tmp_path / "case"), select, "--csv").stdout


def test_a_page_tells_the_day_of_each_connection(tmp_path):
    page = tmp_path / "page.html"
    run("analyze", "--html", str(page), str(CAPTURES / "kz-2019-rcku" / "capture.pcapng"))
    text = page.read_text("utf-8")
    assert re.search(r'data-of="UTC">2019-07-20 \d\d:\d\d:\d\d<', text)
    assert re.search(r"When: 2019-07-20 ", text)


@pytest.mark.parametrize("readable", [True, False])
def test_of_packets_that_cannot_be_read_nothing_is_said(tmp_path, readable):
    """MACsec: "no TLS" would be a word about what is in them."""
    import dpkt

    path, page = tmp_path / "capture.pcap", tmp_path / "page.html"
    udp = bytes(dpkt.ip.IP(src=b"\1\2\3\4", dst=b"\1\2\3\5", p=17, data=dpkt.udp.UDP(sport=5, dport=6)))
    with path.open("wb") as out:
        writer = dpkt.pcap.Writer(out)
        frame = (b"\x08\x00" + udp) if readable else (b"\x88\xe5" + bytes(60))
        writer.writepkt(bytes(12) + frame, ts=1_563_614_042)
    run("analyze", "--html", str(page), str(path))
    text = run("analyze", str(path)).stdout.decode() + page.read_text("utf-8")
    assert ("no TLS in this capture" in text) is readable
    assert ("No TLS in this capture" in text) is readable
    assert text.lower().count("none of its packets could be read") == (0 if readable else 2)
