"""Custody: whatever is changed, added or taken away in a case is found, and results are vouched for or made again."""

from __future__ import annotations

import random

from kzpcap.cases import custody
from kzpcap.cases.store import Case
from kzpcap.cases.verify import verify
from tests.conftest import judged, run


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


def test_what_stands_where_only_runs_and_locks_belong_is_found(disk, tmp_path):
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    assert (verify(case).faults, verify(case).open) == ([], [])
    (case.folder / "segments").mkdir(exist_ok=True)
    (case.folder / "judgements").mkdir(exist_ok=True)
    for name, says in (
        ("runs/notes.txt", "does not belong there"),
        ("segments/lock", "is a lock, and not empty"),
        (".gate", "is a lock, and not empty"),
    ):
        place = case.folder / name
        was = place.read_bytes() if place.exists() else None
        place.write_text("x")
        assert [(fault.path, fault.says) for fault in verify(case).faults] == [(name, says)]
        place.unlink() if was is None else place.write_bytes(was)
    (case.folder / "judgements" / ".left").write_text("x")
    (case.results / "zz").mkdir()
    (case.runs / "20260101T000000Z-00000000").mkdir()
    assert verify(case).faults == []
    assert [fault.path for fault in verify(case).open] == [
        "runs/20260101T000000Z-00000000",
        "judgements/.left",
        "results/zz",
    ]
    judged(tmp_path / "case", disk)
    assert not any(case.runs.iterdir())


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
