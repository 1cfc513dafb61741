"""Disks of unknown origin: bad files, limits, lost workers, full disks; each costs its file alone and is told."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kzpcap.cases import summary
from kzpcap.cases.pool import Limits
from kzpcap.cases.runner import batch, find
from kzpcap.cases.store import Case, workshop
from kzpcap.cases.verify import verify
from kzpcap.cases.work import Settings
from tests.conftest import CAPTURES, judged, run


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
    with (disk / "large.pcap").open("wb") as file:
        file.write(small[:24])
        for hour in range(1_500):  # at other times: what is there twice at one time counts once
            later, at = bytearray(small[24:]), 0
            while at < len(later):
                seconds, _, captured, _ = struct.unpack_from("<IIII", later, at)
                struct.pack_into("<I", later, at, seconds + hour * 3_600)
                at += 16 + captured
            file.write(later)
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
