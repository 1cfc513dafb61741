"""What a case tells is what its custody vouches for: tables, results, words beside captures, limits, folders."""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import random
import shutil
import sys

import pytest

from kzpcap.cases.store import Case, canonical, file_digest
from kzpcap.cases.tables import query
from kzpcap.cases.verify import verify
from tests.conftest import CAPTURES, judged, run

sys.path.insert(0, str(CAPTURES))
from recipes.built import qaznet_chain
from recipes.packets import ACK, PSH, SPRING_2026, Capture, Connection
from recipes.tls import client_hello, rsa_handshake, server_flight

RCKU = CAPTURES / "kz-2019-rcku" / "capture.pcapng"


@pytest.fixture
def case(tmp_path):
    judged(tmp_path / "case", CAPTURES / "kz-2019-rcku", CAPTURES / "kz-2019-ladder")
    return Case(tmp_path / "case")


def test_a_table_that_was_altered_is_found_though_its_names_fit(case):
    """Segments are named by their own digests: who rewrites one renames it."""
    duckdb = pytest.importorskip("duckdb")
    query(case, "SELECT 1")
    (segment,) = (path for path in (case.folder / "segments").iterdir() if path.is_dir())
    assert not verify(case).faults
    table, made = segment / "connections.parquet", segment / "made.parquet"
    duckdb.execute(
        f"COPY (SELECT * REPLACE ('intercepted' AS state) FROM read_parquet('{table}')) TO '{made}' (FORMAT parquet)"
    )
    made.replace(table)
    index = json.loads((segment / "index.json").read_bytes())
    index["files"]["connections.parquet"] = file_digest(table)
    raw = canonical(index)
    (segment / "index.json").write_bytes(raw)
    altered = segment.rename(segment.with_name(hashlib.sha256(raw).hexdigest()))
    (fault,) = verify(case).faults
    assert fault.path == f"segments/{altered.name}/connections.parquet"
    assert "not what the results say" in fault.says


def test_a_result_that_no_table_can_hold_is_told_and_ends_nothing(case):
    query(case, "SELECT 1")
    report = next(iter(sorted(case.results.glob("*/*/report.json"))))
    document = json.loads(report.read_bytes())
    for connection in document["connections"]:
        connection["frame"] = connection["server"]["port"] = "no number"
    report.write_text(json.dumps(document))
    done = run("case", "verify", str(case.folder))
    assert done.returncode == 7
    assert f"WRONG  results/{report.relative_to(case.results)}: is not what it was".encode() in done.stdout
    assert b"Traceback" not in done.stderr


def test_a_case_that_cannot_be_written_is_asked_all_the_same(case):
    (case.folder / "segments").write_text("in the way")
    _, rows = query(case, "SELECT count(*) FROM captures")
    assert list(rows) == [(2,)]


@pytest.mark.parametrize("change", ["altered", "gone", "planted"])
def test_nothing_is_published_that_custody_does_not_vouch_for(change, case, tmp_path):
    result = next(
        path for path in sorted(case.results.glob("*/*")) if b'"intercepted"' in (path / "report.json").read_bytes()
    )
    if change == "gone":
        shutil.rmtree(result.parent)
    elif change == "planted":
        shutil.copytree(result, case.results / ("0" * 64) / result.name)
    else:
        report = result / "report.json"
        report.write_bytes(report.read_bytes().replace(b'"state":"intercepted"', b'"state":"genuine"'))
    done = run("case", "release", str(case.folder), "-o", str(tmp_path / "out"))
    assert done.returncode == 7
    assert b"not as custody says" in done.stderr
    assert not (tmp_path / "out").exists()
    for command in ("summary", "claims"):
        told = run("case", command, str(case.folder))
        assert told.returncode == 0
        assert b"not as custody says" in told.stderr
        document = json.loads(run("case", command, "--json", str(case.folder)).stdout)
        assert document["results_not_as_custody_says"] == 1
    measured = run("case", "ooni", str(case.folder), "-o", str(tmp_path / "out.jsonl"))
    assert measured.returncode == 7
    assert not (tmp_path / "out.jsonl").exists()
    page = run("case", "report", str(case.folder), "-o", str(tmp_path / "out.html"))
    assert page.returncode == 0
    assert "NOT VOUCHED FOR: 1 result is not as custody says" in (tmp_path / "out.html").read_text()
    for command in (["judge"], ["sql"]):
        told = run("case", *command, str(case.folder), *(["SELECT 1"] if command == ["sql"] else []))
        assert b"not as custody says" in told.stderr


def test_a_file_beside_a_capture_cannot_speak_for_custody(tmp_path):
    capture = tmp_path / "in" / "a.pcapng"
    capture.parent.mkdir()
    shutil.copy(RCKU, capture)
    words = {"imported_from": "x", "scrubbed": "public", "answers_lost": 9, "tool": "tcpdump"}
    capture.with_name("a.pcapng.custody.json").write_text(json.dumps(words))
    assert run("batch", str(capture.parent), "--case", str(tmp_path / "case")).returncode == 0
    assert run("case", "verify", str(tmp_path / "case"), "--rehash").returncode == 0
    assert b"scrubbed" not in run("case", "summary", str(tmp_path / "case")).stdout
    assert b"tcpdump" in next((tmp_path / "case" / "custody").iterdir()).read_bytes()


def test_links_in_a_case_are_told(case, tmp_path):
    moved = tmp_path / "elsewhere"
    case.certificates.rename(moved)
    case.certificates.symlink_to(moved)
    assert ("certificates", "is a link to elsewhere") in {(one.path, one.says) for one in verify(case).faults}


def test_what_is_asked_for_and_not_there_is_open(case):
    roots = str(CAPTURES / "lab-clean" / "root.pem")
    done = run("case", "verify", str(case.folder), "--tsa", roots)
    assert done.returncode == 8
    assert b"no time-stamp is in this case" in done.stdout
    assert run("case", "verify", str(case.folder), "--head", "DIGEST").returncode == 2
    assert run("case", "verify", str(case.folder), "--head", "0" * 64).returncode == 7


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_limit_is_some_time(seconds, tmp_path):
    done = run("batch", str(RCKU), "--case", str(tmp_path / "case"), "--time-limit", seconds)
    assert done.returncode == 2
    assert not (tmp_path / "case").exists()


def test_what_was_judged_before_its_time_was_over_is_no_failure(tmp_path):
    """A worker that had told its outcome when it was ended has judged that capture, once.

    One that is ended between its result and the word of it leaves a result that no custody tells of, which is said.
    """
    folders = [CAPTURES / name for name in ("kz-2019-rcku", "kz-2019-ladder", "lab-clean", "quic-then-tcp")]
    case = tmp_path / "case"
    run("batch", *map(str, folders), "--case", str(case), "--time-limit", "0.02")
    document = json.loads(run("case", "summary", str(case), "--json").stdout)
    told = document["captures"]["judged"] - document["results_not_as_custody_says"]
    assert told + len(document["captures"]["failed"]) == len(folders)
    assert not verify(Case(case)).faults


def test_the_service_does_not_move_into_a_case(case):
    done = run("serve", "--data", str(case.folder))
    assert done.returncode == 2
    assert b"no data folder of a service" in done.stderr
    assert not (case.folder / "kept").exists()


def test_a_sealed_file_is_told_how_it_is_opened(tmp_path):
    for beginning in (b"age-encryption.org/v1\n-> X25519 x\n", b"-----BEGIN AGE ENCRYPTED FILE-----\n"):
        (tmp_path / "x.age").write_bytes(beginning)
        done = run("analyze", str(tmp_path / "x.age"))
        assert done.returncode == 3
        assert b"case import" in done.stderr


def test_names_below_listed_ones_are_told_and_not_counted(tmp_path):
    capture = Capture(SPRING_2026)
    for port, name in enumerate(("vk.com", "a.vk.com", "b.vk.com"), 50_001):
        connection = Connection(capture, port)
        connection.open()
        connection.send(0, client_hello(name, random.Random(port)))
        connection.close()
    capture.write(tmp_path / "capture.pcapng")
    assert run("batch", str(tmp_path / "capture.pcapng"), "--case", str(tmp_path / "case")).returncode == 0
    document = json.loads(run("case", "summary", str(tmp_path / "case"), "--json").stdout)
    assert document["connections_below_targets"] == 2
    assert list(document["targets"]) == ["vk.com"]
    said = run("case", "summary", str(tmp_path / "case")).stdout.decode()
    assert "  2 connections to names below listed ones are not counted here\n" in said


def test_a_custody_that_was_altered_with_its_result_vouches_for_nothing(case, tmp_path):
    result = next(path for path in case.results.glob("*/*/report.json") if b'"intercepted"' in path.read_bytes())
    raw = result.read_bytes()
    forged = raw.replace(b'"state":"intercepted"', b'"state":"genuine"')
    assert forged != raw
    result.write_bytes(forged)
    for path in case.custody.glob("*.jsonl"):
        told = path.read_bytes()
        path.write_bytes(
            told.replace(hashlib.sha256(raw).hexdigest().encode(), hashlib.sha256(forged).hexdigest().encode())
        )
    for command in ("release", "ooni"):
        done = run("case", command, case.folder, "-o", tmp_path / "out")
        assert (done.returncode, b"not as custody says" in done.stderr) == (7, True)
    document = json.loads(run("case", "summary", "--json", case.folder).stdout)
    assert document["results_not_as_custody_says"] == 2, "all of that run"


def test_a_certificate_in_the_place_of_another_is_not_published(case, tmp_path):
    one, other = sorted(case.certificates.glob("*.der"))[:2]
    one.write_bytes(other.read_bytes())
    for command in ("release", "ooni"):
        done = run("case", command, case.folder, "-o", tmp_path / "out")
        assert (done.returncode, f"certificates/{one.name} is not what its name says".encode() in done.stderr) == (
            7,
            True,
        )
    assert case.certificate(one.stem) is None
    assert case.certificate(other.stem) == other.read_bytes()


def test_what_cannot_be_read_hides_no_other_fault(case, monkeypatch):
    """A bad sector among thousands of originals, and one within the case."""
    from kzpcap.cases import store
    from kzpcap.cases import verify as verifying

    first, second = sorted(case.results.glob("*/*/report.json"))
    second.write_bytes(second.read_bytes() + b" ")
    original = CAPTURES / "kz-2019-rcku" / "capture.pcapng"
    real = store.file_digest

    def bad(path):
        if path in (first, original):
            raise OSError(5, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(store, "file_digest", bad)
    monkeypatch.setattr(verifying, "file_digest", bad)
    found = {fault.path: fault.says for fault in verify(case, rehash=True).faults}
    assert found == {
        str(first.parent.relative_to(case.folder)): "cannot be read: Input/output error",
        str(second.relative_to(case.folder)): "is not what it was",
        str(original): "cannot be read: Input/output error",
    }


def test_a_run_whose_first_line_is_damaged_stays_as_it_is(case):
    (path,) = case.custody.iterdir()
    raw = path.read_bytes()
    path.write_bytes(b"~" + raw[1:])
    judged(case.folder, CAPTURES / "block-page")
    assert path.read_bytes() == b"~" + raw[1:]
    assert f"custody/{path.name}" in {fault.path for fault in verify(case).faults}


def test_nothing_is_written_into_a_case(case):
    for command in ("report", "release", "ooni"):
        for place in ("out", "custody/x.jsonl"):
            done = run("case", command, case.folder, "-o", case.folder / place)
            assert (done.returncode, b"would be in the case" in done.stderr) == (2, True)
        done = run("case", command, case.folder, "-o", "-")
        assert (done.returncode, b"a file is wanted" in done.stderr) == (2, True)
    assert verify(case).faults == []


@pytest.mark.parametrize("times", [0.0, 12.0], ids=["none", "of a clock that began anew"])
def test_a_case_without_a_day_has_a_page_and_a_release(times, tmp_path):
    capture = Capture(SPRING_2026)
    rsa_handshake(Connection(capture, 50_001), "rcku.kz", qaznet_chain(), random.Random(5))
    capture.packets = [(times, frame) for _, frame in capture.packets]
    capture.write(tmp_path / "boot.pcapng")
    judged(tmp_path / "case", tmp_path / "boot.pcapng")
    assert run("case", "report", tmp_path / "case", "-o", tmp_path / "page.html").returncode == 0
    assert run("case", "release", tmp_path / "case", "-o", tmp_path / "out").returncode == 0
    page = (tmp_path / "page.html").read_text()
    assert "intercepted" in page
    assert "in Almaty from 1970" not in page
    assert "No interception was seen" not in page


def test_a_lone_probe_that_was_answered_is_a_connection(tmp_path):
    """Two hellos with a lowered TTL are no ladder; what answered them is told."""
    capture = Capture(SPRING_2026)
    for number, ttl in enumerate((5, 6)):
        connection = Connection(capture, 50_001 + number)
        connection.open()
        connection.packet(0, PSH | ACK, client_hello("www.facebook.com", random.Random(number)), ttl=ttl)
        connection.send(1, server_flight(qaznet_chain(), 0x009C, random.Random(5)), 0.03)
        connection.close()
    capture.write(tmp_path / "two.pcapng")
    assert run("analyze", tmp_path / "two.pcapng", "--ooni", tmp_path / "own.jsonl").returncode == 0
    judged(tmp_path / "case", tmp_path / "two.pcapng")
    document = json.loads(run("case", "summary", "--json", tmp_path / "case").stdout)
    assert document["states"]["intercepted"] == 2
    assert run("case", "ooni", tmp_path / "case", "--evidence", "-o", tmp_path / "case.jsonl").returncode == 0
    for name in ("own", "case"):
        (measurement,) = map(json.loads, (tmp_path / f"{name}.jsonl").read_text().splitlines())
        assert len(measurement["test_keys"]["tls_handshakes"]) == 2
    told = run("case", "report", tmp_path / "case", "-o", tmp_path / "page.html")
    assert told.returncode == 0
    assert "No interception was seen" not in (tmp_path / "page.html").read_text()


def test_evidence_that_fails_has_a_digest_and_its_alteration_is_found(tmp_path):
    """A file that cannot be unpacked is evidence as well; what is no capture is not read to its end."""
    (tmp_path / "in").mkdir()
    broken = tmp_path / "in" / "evidence.pcap.bz2"
    broken.write_bytes(bz2.compress(random.Random(1).randbytes(500_000))[:40])
    (tmp_path / "in" / "poem.txt").write_text("nothing")
    judged(tmp_path / "case", tmp_path / "in")
    case = Case(tmp_path / "case")
    lines = {
        line["name"]: line
        for path in case.custody.iterdir()
        for line in map(json.loads, path.read_text().splitlines())
        if line["what"] == "capture"
    }
    assert lines[str(broken)]["container"] == file_digest(broken)
    assert "container" not in lines.get(str(tmp_path / "in" / "poem.txt"), {})
    found = verify(case, rehash=True)
    assert (found.originals, found.faults, found.open) == (1, [], [])
    broken.write_bytes(b"\0" + broken.read_bytes()[1:])
    assert [fault.path for fault in verify(case, rehash=True).faults] == [str(broken)]
    broken.unlink()
    assert [fault.path for fault in verify(case, rehash=True).open] == [str(broken)]


def test_a_small_file_is_written_wholly_or_not_at_all(tmp_path, monkeypatch):
    from kzpcap.cases import store

    old, new = tmp_path / ".old", tmp_path / ".new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1, 1))
    monkeypatch.setattr(store, "sync", lambda path: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        store.write_whole(b"{}", tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == [new], "of another process, which may go on"
    monkeypatch.undo()
    store.write_whole(b"{}", tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == b"{}"
