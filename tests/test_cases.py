"""Cases: many captures, one folder; killed, damaged, attacked and repeated."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import jsonschema
import pytest

from kzpcap.cases import custody, summary
from kzpcap.cases.pool import Limits
from kzpcap.cases.runner import batch
from kzpcap.cases.store import Case, clear, workshop
from kzpcap.cases.verify import verify
from kzpcap.cases.work import Settings
from kzpcap.errors import CaseError
from kzpcap.report.json import cut_address, schema
from tests.conftest import CAPTURES, judged, run, told


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_captures_are_found_by_content_and_judged_once(disk, tmp_path):
    first = judged(tmp_path / "case", disk)
    assert first.outcomes == {"analysed": 6, "not a capture": 2}
    assert first.intercepted > 0
    assert first.failures == []
    again = judged(tmp_path / "case", disk)
    assert again.outcomes == {"already there": 6, "not a capture": 2}
    found = verify(Case.open(tmp_path / "case"), rehash=True)
    assert (found.faults, found.open) == ([], [])
    assert (found.runs, found.results, found.originals) == (2, 6, 6)


def test_a_report_names_no_file_and_no_client(disk, tmp_path):
    judged(tmp_path / "case", disk)
    for path in (tmp_path / "case" / "results").glob("*/*/report.json"):
        report = json.loads(path.read_text())
        jsonschema.validate(report, schema())
        text = path.read_text()
        assert "185.120.76.77" not in text
        assert "192.0.2.10" not in text
        assert str(disk) not in text
        assert "holiday" not in text
        assert all("/" in connection["client"]["address"] for connection in report["connections"])
    kept = batch(Case.create(tmp_path / "kept"), [str(disk)], Settings(keep_addresses=True), 2, Limits())
    assert kept.analysis != judged(tmp_path / "case", disk).analysis
    assert any("185.120.76.77" in path.read_text() for path in (tmp_path / "kept").glob("results/*/*/report.json"))


def test_addresses_are_cut_to_their_networks():
    assert cut_address("185.120.76.77") == "185.120.0.0/16"
    assert cut_address("2001:db8:1:2::3") == "2001:db8::/32"


def test_the_case_has_one_certificate_file_each(disk, tmp_path):
    judged(tmp_path / "case", disk)
    named = {
        digest
        for path in (tmp_path / "case" / "results").glob("*/*/report.json")
        for digest in json.loads(path.read_text())["certificates"]
    }
    assert {path.stem for path in (tmp_path / "case" / "certificates").iterdir()} == named


def test_killed_at_random_moments_it_comes_to_the_same(disk, tmp_path):
    """What `make soak` does for longer."""
    judged(tmp_path / "whole", disk)
    command = [sys.executable, "-m", "kzpcap", "batch", str(disk), "--case", str(tmp_path / "case"), "--jobs", "2"]
    rng = random.Random(int(os.environ.get("SOAK_SEED", "7")))
    kills = 0
    for _ in range(int(os.environ.get("SOAK_KILLS", "5"))):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0.05, 1.6))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills > 0
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    assert tree(tmp_path / "case" / "results") == tree(tmp_path / "whole" / "results")
    assert tree(tmp_path / "case" / "certificates") == tree(tmp_path / "whole" / "certificates")
    assert told(tmp_path / "case") == told(tmp_path / "whole")
    found = verify(Case.open(tmp_path / "case"))
    assert (found.faults, found.open) == ([], [])
    assert not list((tmp_path / "case" / "runs").iterdir())


def test_two_runs_at_once_do_no_harm(disk, tmp_path):
    judged(tmp_path / "whole", disk)
    command = [sys.executable, "-m", "kzpcap", "batch", str(disk), "--case", str(tmp_path / "case"), "--jobs", "1"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    assert tree(tmp_path / "case" / "results") == tree(tmp_path / "whole" / "results")
    found = verify(Case.open(tmp_path / "case"))
    assert (found.faults, found.open, found.runs) == ([], [], 2)


def test_a_workshop_is_dropped_only_when_nobody_holds_it(tmp_path):
    case = Case.create(tmp_path / "case")
    with workshop(case, "held"):
        (case.runs / "left").mkdir()
        (case.runs / "left" / "lock").touch()
        assert clear(case) == 1
        assert [path.name for path in case.runs.iterdir()] == ["held"]
    assert list(case.runs.iterdir()) == []


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "thing").write_text("mine")
    with pytest.raises(CaseError, match="not empty"):
        Case.create(tmp_path)
    with pytest.raises(CaseError, match="no case"):
        Case.open(tmp_path)
    done = run("batch", str(CAPTURES), "--case", str(tmp_path))
    assert done.returncode == 6
    assert b"not empty and no case" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thing"]


def test_a_file_that_is_named_twice_is_read_once(disk, tmp_path):
    tally = judged(tmp_path / "case", disk / "1.bin", disk, disk / "1.bin", disk / "." / "2.bin")
    assert tally.outcomes == {"analysed": 6, "not a capture": 2}


def test_a_case_inside_the_disk_is_not_searched(disk):
    first = judged(disk / "case", disk)
    second = judged(disk / "case", disk)
    assert first.files == second.files


def test_ctrl_c_ends_cleanly(disk, tmp_path):
    for number in range(200):
        shutil.copy(disk / "1.bin", disk / f"copy-{number}")
        with (disk / f"copy-{number}").open("ab") as file:
            file.write(bytes(16 + number))
    command = [sys.executable, "-m", "kzpcap", "batch", str(disk), "--case", str(tmp_path / "case")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    case = tmp_path / "case"
    until = time.monotonic() + 20
    while not list(case.glob("results/*/*")) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors.decode()
    assert b"Traceback" not in errors
    assert b"interrupted" in output
    (log,) = custody.logs(Case.open(case))
    assert log.lines[-1]["what"] == "interrupted"
    assert verify(Case.open(case)).faults == []


def test_the_summary_counts_what_the_reports_say(disk, tmp_path):
    judged(tmp_path / "case", disk)
    total = summary.total(Case.open(tmp_path / "case"))
    assert total.captures == 6
    assert sum(total.states.values()) == total.connections
    truths = (json.loads((CAPTURES / name / "truth.json").read_text()) for name in ("kz-2019-rcku", "kz-2019-ladder"))
    expected = sum(known["state"] == "intercepted" for truth in truths for known in truth["connections"])
    assert total.identities["known_generation:kz-2019-qaznet"] == {"2019-07-20": expected}
    (edge,) = total.document()["across"]["edges"]
    assert (edge["before"], edge["after"], edge["ladders"]) == ("92.47.151.210", "95.56.243.92", {"exact": 1})
    assert total.document()["captures"]["judged"] == 6
    shown = run("case", "summary", str(tmp_path / "case"))
    assert shown.returncode == 0
    assert max(len(line) for line in shown.stdout.decode().splitlines()) <= 80
    assert (
        json.loads(run("case", "summary", "--json", str(tmp_path / "case")).stdout)["connections"] == total.connections
    )


def test_reference_data_that_changes_while_a_run_begins(disk, tmp_path, monkeypatch):
    from kzpcap.cases import runner

    inner = runner.identity
    monkeypatch.setattr(runner, "identity", lambda *given: ("0" * 32, inner(*given)[1]))
    with pytest.raises(CaseError, match="did not start"):
        judged(tmp_path / "case", disk)
    assert not list((tmp_path / "case").glob("results/*/*"))


def test_a_client_is_cut_wherever_it_stands():
    from kzpcap.report.json import Clients

    clients = Clients(["192.0.2.7", "2001:db8:1:2::3"], cut_address)
    value = {"a": ["192.0.2.7", "192.0.2.8", "2001:db8:1:ffff::1", "2001:db8:2::1", "text: no address", 7]}
    assert json.loads(clients.cut(json.dumps(value)))["a"] == [
        "192.0.0.0/16", "192.0.2.8", "2001:db8::/32", "2001:db8:2::1", "text: no address", 7,
    ]  # fmt: skip


def test_what_was_judged_under_other_options_is_said_not_to_count(tmp_path):
    """A run with another list is the last one: of what came before nothing is in the reports, and they must say so."""
    case = tmp_path / "case"
    first, second = (str(CAPTURES / name / "capture.pcapng") for name in ("kz-2019-ladder", "clean-ladder"))
    assert b"not counted" not in run("batch", first, "--case", str(case)).stdout
    done = run("batch", second, "--case", str(case), "--targets", "kz-2024")
    told = "1 capture is judged under other options, data or versions alone, and not counted"
    assert told in " ".join(done.stdout.decode().split())
    for command in ("summary", "claims"):
        shown = run("case", command, str(case)).stdout.decode()
        assert told in " ".join(shown.split())
        assert all(len(line) <= 80 for line in shown.splitlines())
    claims = run("case", "claims", str(case)).stdout
    assert b"No claim: nothing in what is counted here" in claims
    run("case", "release", str(case), "-o", str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "claims.json").read_text())["captures_judged_otherwise"] == 1


def test_the_summary_leaves_out_no_day_in_silence():
    found = summary.Total("a" * 32)
    for number in range(45):
        found.days[f"2019-{7 + number // 31:02}-{number % 31 + 1:02}"] = summary.Counter({"intercepted": 1})
    for number in range(15):
        found.reasons[f"rule-{number}"] = 2
    lines = list(summary.lines(found))
    assert sum(line.startswith("  2019-") for line in lines) == 40
    (between,) = (line for line in lines if "(5 days between)" in line)
    assert between.split()[3] == "5"
    (others,) = (line for line in lines if "(3 other rules)" in line)
    assert others.split()[-1] == "6"
