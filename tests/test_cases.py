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
from pathlib import Path

import jsonschema
import pytest

from kzpcap.cases import custody, summary
from kzpcap.cases.pool import Limits
from kzpcap.cases.runner import batch, find
from kzpcap.cases.store import Case, clear, workshop
from kzpcap.cases.verify import verify
from kzpcap.cases.work import Settings
from kzpcap.errors import CaseError
from kzpcap.report.json import cut_address, schema
from tests.conftest import CAPTURES, judged, run


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def told(case):
    """What custody says of each capture: the same set, however often the run was cut off."""
    return {
        (line["sha256"], log.lines[0]["analysis"], json.dumps(line["results"]))
        for log in custody.logs(Case(case))
        for line in log.lines
        if line["what"] == "capture" and line.get("results")
    }


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


def test_a_flipped_byte_anywhere_is_found(disk, tmp_path):
    judged(tmp_path / "case", disk)
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    rng = random.Random(3)
    for path in [path for path in sorted(case.folder.rglob("*")) if path.is_file() and path.stat().st_size]:
        data = path.read_bytes()
        for at in {0, len(data) - 1, *(rng.randrange(len(data)) for _ in range(3))}:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert verify(case).faults, (path, at)
        path.write_bytes(data)
    assert verify(case).faults == []


def test_what_is_missing_or_added_is_found(disk, tmp_path):
    judged(tmp_path / "case", disk)
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    first, second = sorted(case.custody.iterdir(), key=lambda path: custody.read(path).lines[0]["time"])
    kept = first.read_bytes()
    first.unlink()
    assert "is missing" in verify(case).faults[0].says
    first.write_bytes(b"\n".join(kept.splitlines()[:-1]) + b"\n")
    assert any("saw last" in fault.says for fault in verify(case).faults)
    first.write_bytes(kept)
    made = next(case.results.glob("*/*"))
    (made / "more.txt").write_text("x")
    assert [fault.says for fault in verify(case).faults] == ["is unknown"]
    (made / "more.txt").unlink()
    moved = made.rename(tmp_path / "aside")
    assert any("is missing" in fault.says for fault in verify(case).faults)
    moved.rename(made)
    assert verify(case).faults == []
    assert second.exists()


def test_a_torn_last_line_is_cut_and_told(disk, tmp_path):
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    (path,) = case.custody.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"half')
    assert any("torn" in fault.says for fault in verify(case).open)
    tally = judged(tmp_path / "case", disk)
    assert path.read_bytes() == whole
    lines = custody.read(case.custody / f"{tally.run}.jsonl").lines
    assert [(line["of"], line["bytes"]) for line in lines if line["what"] == "torn"] == [(path.stem, 6)]
    assert (verify(case).faults, verify(case).open) == ([], [])


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


def test_one_bad_capture_does_not_stop_the_rest(disk, tmp_path):
    (disk / "cut.pcap").write_bytes(b"\xd4\xc3\xb2\xa1\x02\x00")
    (disk / "broken.zip").write_bytes(b"PK\x03\x04" + bytes(60))
    (disk / "packed.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(60))
    done = run("batch", str(disk), "--case", str(tmp_path / "case"))
    assert done.returncode == 1
    assert b"6 analysed, 3 failed" in done.stdout
    for name in ("cut.pcap", "broken.zip", "packed.7z"):
        assert name.encode() in done.stderr
    again = judged(tmp_path / "case", disk)
    assert again.outcomes == {"already there": 6, "failed before": 3, "not a capture": 2}
    tried = judged(tmp_path / "case", disk, retry=True)
    assert tried.outcomes["failed"] == 3
    total = summary.total(Case.open(tmp_path / "case"))
    assert len(total.failed) == 3
    assert verify(Case.open(tmp_path / "case")).faults == []


def test_time_and_memory_have_limits(disk, tmp_path):
    small = (CAPTURES / "lab-kz-three-runs" / "capture.pcap").read_bytes()
    (disk / "large.pcap").write_bytes(small[:24] + small[24:] * 1500)
    slow = batch(Case.create(tmp_path / "slow"), [str(disk)], Settings(), 1, Limits(seconds=1.0))
    assert [why for path, why in slow.failures if path.endswith("large.pcap")] == ["it took longer than 1 s"]
    assert slow.outcomes["analysed"] == 6
    meagre = batch(Case.create(tmp_path / "meagre"), [str(disk / "large.pcap")], Settings(), 1, Limits(bytes=90 << 20))
    assert meagre.outcomes == {"failed": 1}
    assert "memory" in meagre.failures[0][1].lower()


def test_a_worker_that_is_killed_costs_one_capture(disk, tmp_path, monkeypatch):
    from kzpcap.cases import pool

    class Dying(pool.Pool):
        """Kills its worker at the first file."""

        def run(self, paths, tick):
            died = False
            for path, outcome in super().run(paths, tick):
                yield path, outcome
                if not died:
                    died = True
                    os.kill(self.places[0].process.pid, signal.SIGKILL)

    monkeypatch.setattr("kzpcap.cases.runner.Pool", Dying)
    tally = batch(Case.create(tmp_path / "case"), [str(disk)], Settings(), 1, Limits())
    assert tally.outcomes["failed"] <= 1
    assert tally.outcomes["analysed"] >= 5
    monkeypatch.undo()
    assert judged(tmp_path / "case", disk, retry=True).outcomes["failed"] == 0


def test_a_capture_that_changes_while_it_is_read(disk, tmp_path, monkeypatch):
    from kzpcap.cases import work

    case = Case.create(tmp_path / "case")
    path = disk / "1.bin"
    with workshop(case, "run") as folder:
        worker = work.Worker(str(case.folder), str(folder), Settings())
        inner = work.analysis.analyze

        def touching(*arguments, **more):
            report = inner(*arguments, **more)
            os.utime(path, ns=(1, 1))
            return report

        monkeypatch.setattr(work.analysis, "analyze", touching)
        (outcome,) = worker.work(str(path))
    assert (outcome.outcome, outcome.why) == ("changed while it was read", "another mtime_ns and ctime_ns afterwards")
    assert not list(case.results.glob("*/*"))


def test_links_pipes_and_locked_folders(disk, tmp_path):
    (disk / "loop").symlink_to(disk)
    (disk / "again.pcap").symlink_to(disk / "1.bin")
    (disk / "nowhere").symlink_to(disk / "gone")
    os.mkfifo(disk / "pipe")
    complaints = []
    found = [path for path, _ in find([str(disk)], tmp_path / "case", lambda path, why: complaints.append(path))]
    assert len(found) == 8
    assert complaints == [str(disk / "nowhere")]
    done = run("batch", str(disk / "pipe"), str(disk / "no-such"), "--case", str(tmp_path / "case"))
    assert done.returncode == 1
    assert b"no plain file" in done.stderr
    assert b"No such file" in done.stderr


def test_a_file_that_is_named_twice_is_read_once(disk, tmp_path):
    tally = judged(tmp_path / "case", disk / "1.bin", disk, disk / "1.bin", disk / "." / "2.bin")
    assert tally.outcomes == {"analysed": 6, "not a capture": 2}


def test_a_case_inside_the_disk_is_not_searched(disk):
    first = judged(disk / "case", disk)
    second = judged(disk / "case", disk)
    assert first.files == second.files


def test_ten_thousand_files_that_are_no_captures(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    for number in range(10_000):
        (folder / f"{number}.pcap").write_bytes(b"no capture at all" if number % 2 else b"")
    began = time.monotonic()
    tally = judged(tmp_path / "case", folder)
    assert tally.outcomes == {"not a capture": 10_000}
    assert tally.failures == []
    assert time.monotonic() - began < 30


def test_names_that_are_no_text(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    name = os.fsencode(str(folder)) + b"/\xff\x1b[31m.pcap"
    Path(os.fsdecode(name)).write_bytes(b"\xd4\xc3\xb2\xa1\x02\x00")
    done = run("batch", str(folder), "--case", str(tmp_path / "case"))
    assert done.returncode == 1
    assert b"\x1b" not in done.stderr + done.stdout
    assert verify(Case.open(tmp_path / "case")).faults == []
    shown = run("case", "summary", str(tmp_path / "case"))
    assert shown.returncode == 0
    assert b"\x1b" not in shown.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk(disk, tmp_path):
    script = f"mount -t tmpfs -o size=120k small {tmp_path} && mkdir {tmp_path}/x && "
    script += f"{sys.executable} -m kzpcap batch {CAPTURES} --case {tmp_path}/x/case --jobs 1"
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script], capture_output=True, check=False
    )
    if b"unshare failed" in done.stderr:
        pytest.skip("this machine does not allow mount namespaces")
    assert done.returncode in (1, 6), done.stderr.decode()
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


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


def test_the_tool_of_a_custody_line_can_be_told(disk, tmp_path):
    (disk / "1.bin.custody.json").write_text('{"tool": "tcpdump", "filter": "port 443"}')
    judged(tmp_path / "case", disk)
    (log,) = custody.logs(Case.open(tmp_path / "case"))
    (line,) = [line for line in log.lines if line.get("name", "").endswith("/1.bin")]
    assert line["sidecar"]["filter"] == "port 443"
    assert (line["connections"], line["intercepted"]) == (20, 6)
    (none,) = [line for line in log.lines if line.get("name", "").endswith("/2.bin")]
    assert none["intercepted"] == 0
    assert line["file"]["size"] == (disk / "1.bin").stat().st_size


def test_a_result_that_custody_does_not_vouch_for_is_made_again_and_compared(disk, tmp_path):
    judged(tmp_path / "case", disk / "1.bin")
    case = Case.open(tmp_path / "case")
    (report,) = case.results.glob("*/*/report.json")
    kept = report.read_bytes()
    for path in case.custody.iterdir():
        path.unlink()
    assert judged(case.folder, disk / "1.bin").outcomes == {"already there": 1}
    for path in case.custody.iterdir():
        path.unlink()
    report.write_bytes(kept.replace(b'"genuine"', b'"forged!"', 1))
    tally = judged(case.folder, disk / "1.bin")
    assert tally.outcomes == {"failed": 1}
    assert "not what this capture gives" in tally.failures[0][1]


def test_a_result_that_was_changed_since_is_not_taken_for_the_same(disk, tmp_path):
    judged(tmp_path / "case", disk / "1.bin")
    (report,) = (tmp_path / "case").glob("results/*/*/report.json")
    report.write_bytes(report.read_bytes() + b" ")
    tally = judged(tmp_path / "case", disk / "1.bin")
    assert tally.failures == [(str(disk / "1.bin"), "the result that is there is not what custody says")]


def test_certificates_are_in_custody(disk, tmp_path):
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    one = next(case.certificates.iterdir())
    data = one.read_bytes()
    one.unlink()
    assert [fault.says for fault in verify(case).faults] == ["is missing"]
    one.write_bytes(data)
    import hashlib

    (case.certificates / f"{hashlib.sha256(b'x').hexdigest()}.der").write_bytes(b"x")
    assert [fault.says for fault in verify(case).open] == ["is in no run's custody"]


def test_a_head_that_was_written_down_must_be_there(disk, tmp_path):
    first = judged(tmp_path / "case", disk / "1.bin")
    second = judged(tmp_path / "case", disk / "2.bin")
    case = Case.open(tmp_path / "case")
    assert verify(case, heads=[first.head, second.head]).faults == []
    path = case.custody / f"{second.run}.jsonl"
    path.write_bytes(b"\n".join(path.read_bytes().splitlines()[:-1]) + b"\n")
    assert verify(case).faults == []
    assert run("case", "verify", str(case.folder)).returncode == 8
    done = run("case", "verify", str(case.folder), "--head", second.head)
    assert done.returncode == 7
    assert second.head.encode() in done.stdout


def test_the_original_of_a_member_is_its_archive(disk, tmp_path):
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    archive = disk / "deep" / "backup.tgz"
    archive.write_bytes(archive.read_bytes() + b"x")
    assert [fault.path for fault in verify(case, rehash=True).faults] == [str(archive)]


def test_archives_lose_nothing_without_a_word(tmp_path):
    import zipfile

    folder = tmp_path / "disk"
    folder.mkdir()
    capture = (CAPTURES / "block-page" / "capture.pcapng").read_bytes()
    with zipfile.ZipFile(folder / "inner.zip", "w") as archive:
        archive.writestr("x.pcapng", capture)
    inner = (folder / "inner.zip").read_bytes()
    (folder / "inner.zip").unlink()
    with zipfile.ZipFile(folder / "nested.zip", "w") as archive:
        archive.writestr("inner.zip", inner)
        archive.writestr("good.pcapng", capture)
    with zipfile.ZipFile(folder / "many.zip", "w") as archive:
        for number in range(10_001):
            archive.writestr(f"{number}.txt", "no capture")
    with zipfile.ZipFile(folder / "damaged.zip", "w") as archive:
        archive.writestr("bad.pcapng", capture)
        archive.writestr("good.pcapng", capture[:-12])
    data = bytearray((folder / "damaged.zip").read_bytes())
    data[200] ^= 1
    (folder / "damaged.zip").write_bytes(data)
    tally = judged(tmp_path / "case", folder)
    assert tally.outcomes == {"analysed": 2, "failed": 3}
    said = {Path(path).name: why for path, why in tally.failures}
    assert "inside an archive" in said["inner.zip"]
    assert "10,000 members" in said["(archive)"]
    assert "damaged" in said["bad.pcapng"]


def test_what_failed_for_want_of_room_is_tried_again(disk, tmp_path, monkeypatch):
    from kzpcap.cases import runner
    from kzpcap.cases.work import Outcome

    class Full(runner.Pool):
        def run(self, paths, tick):
            for path in paths:
                yield path, Outcome("failed", why="No space left on device", passing=True)
                yield path, None

    monkeypatch.setattr(runner, "Pool", Full)
    assert judged(tmp_path / "case", disk).outcomes["failed"] == 6
    monkeypatch.undo()
    assert judged(tmp_path / "case", disk).outcomes["analysed"] == 6


@pytest.mark.parametrize(
    "text", ['{"a":' + "[" * 30_000 + "]" * 30_000 + "}", "[1]", "no JSON", '{"a": {"b": 1}, "c": "d"}']
)
def test_a_sidecar_harms_nobody(text, disk, tmp_path):
    (disk / "1.bin.custody.json").write_text(text)
    assert judged(tmp_path / "case", disk / "1.bin").outcomes == {"analysed": 1}
    assert verify(Case.open(tmp_path / "case")).faults == []


def test_reference_data_that_changes_while_a_run_begins(disk, tmp_path, monkeypatch):
    from kzpcap.cases import runner

    inner = runner.identity
    monkeypatch.setattr(runner, "identity", lambda *given: ("0" * 32, inner(*given)[1]))
    with pytest.raises(CaseError, match="did not start"):
        judged(tmp_path / "case", disk)
    assert not list((tmp_path / "case").glob("results/*/*"))


def test_a_client_is_cut_wherever_it_stands():
    from kzpcap.report.json import _cut

    clients = frozenset({"192.0.2.7", "2001:db8:1:2::3"})
    value = {"a": ["192.0.2.7", "192.0.2.8", "2001:db8:1:ffff::1", "2001:db8:2::1", "text: no address", 7]}
    assert _cut(value, clients, cut_address)["a"] == [
        "192.0.0.0/16", "192.0.2.8", "2001:db8::/32", "2001:db8:2::1", "text: no address", 7,
    ]  # fmt: skip
