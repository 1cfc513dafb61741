"""Custody: whatever is changed, added or taken away in a case is found, and results are vouched for or made again."""

from __future__ import annotations

import json
import random
import time
import tracemalloc

import pytest

from kzpcap.cases import custody, runner, second, summary, work
from kzpcap.cases.pool import Limits
from kzpcap.cases.runner import batch
from kzpcap.cases.store import Case
from kzpcap.cases.verify import verify
from kzpcap.cases.work import Settings
from tests.conftest import CAPTURES, judged, run


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
    assert b'"undetermined"' in kept
    report.write_bytes(kept.replace(b'"undetermined"', b'"interfered!!"', 1))
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


@pytest.fixture
def chain(tmp_path):
    case = Case.create(tmp_path / "case")
    return custody.Chain(case, custody.new_run(), {"analysis": "a"}, case.runs)


@pytest.mark.parametrize("where", ["before the bytes", "behind them", "behind all of it"])
def test_an_interrupt_at_any_point_leaves_the_chain_whole(where, chain, monkeypatch):
    file, settle = chain.file, chain._settle

    class Interrupted:
        def write(self, raw):
            if where == "before the bytes":
                raise KeyboardInterrupt
            file.write(raw)

        def flush(self):
            file.flush()
            if where == "behind them":
                raise KeyboardInterrupt

        def tell(self):
            return file.tell()

    def settled():
        settle()
        if where == "behind all of it" and chain.last.number == 2:
            chain._settle = settle
            raise KeyboardInterrupt

    chain.file, chain._settle = Interrupted(), settled
    with pytest.raises(KeyboardInterrupt):
        chain.add("skipped", name="/a", why="because")
    chain.file, chain._settle = file, settle
    chain.add("interrupted", outcomes={}, heads={})
    head = chain.close()
    log = custody.read(chain.case.custody / f"{chain.run}.jsonl")
    assert log.faults == []
    assert log.head == head
    assert [line["what"] for line in log.lines] == (
        ["begin", "interrupted"] if where == "before the bytes" else ["begin", "skipped", "interrupted"]
    )


def test_a_number_that_another_file_got_meanwhile_makes_it_not_the_same(tmp_path):
    """A recorder's spool: files are deleted while a run goes on, and their inodes are used again."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"1")
    found, skipped = [], []
    walk = runner.find([str(tmp_path)], tmp_path / "case", lambda *_: None, lambda *told: skipped.append(told))
    found.append(next(walk)[0])
    (tmp_path / "b" / "x").unlink()
    (tmp_path / "a" / "x").rename(tmp_path / "b" / "x")  # the inode that was met goes on under another name
    found += [path for path, _ in walk]
    assert [path[-3:] for path in found] == ["a/x", "b/x"]
    assert skipped == []


def test_a_result_that_was_altered_and_put_right_again_poisons_nothing(disk, tmp_path):
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    report = next(case.results.glob("*/*/report.json"))
    kept = report.read_bytes()
    report.write_bytes(kept + b" ")
    assert run("batch", disk, "--case", case.folder).returncode == 1
    assert any("is not what it was" in fault.says for fault in verify(case).faults)
    report.write_bytes(kept)
    assert run("batch", disk, "--case", case.folder).returncode == 0, "and it is tried again unasked"
    assert verify(case).faults == []


def test_runs_name_the_last_heads_alone_and_vouch_for_all(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "note.txt").write_text("no capture")
    case = Case.create(tmp_path / "case")
    for _ in range(5):
        batch(case, [str(tmp_path / "disk")], Settings(), 1, Limits())
    logs = sorted(custody.logs(case), key=lambda log: len(log.lines[0]["heads"]))
    assert [len(log.lines[0]["heads"]) for log in logs] == [0, 1, 1, 1, 1]
    assert verify(case).faults == []
    first = case.custody / f"{logs[0].run}.jsonl"
    first.write_bytes(b"".join(first.read_bytes().splitlines(True)[:-1]))
    assert any("saw last" in fault.says for fault in verify(case).faults)


def test_the_run_that_saw_all_others_is_the_last_whatever_its_clock_says(tmp_path, monkeypatch):
    case = Case.create(tmp_path / "case")
    for name, analysis in (("20300101T000000Z-00000001", "first"), ("20260101T000000Z-00000002", "second")):
        one = custody.Chain(case, name, {"analysis": analysis}, case.runs)
        one.add("end", outcomes={}, heads={})
        one.close()
        path = case.custody / f"{name}.jsonl"
        lines, previous = [], None
        for raw in path.read_bytes().splitlines():
            line = {**json.loads(raw), "previous": previous, "time": f"{name[:4]}-01-01T00:00:00.000+00:00"}
            line["digest"] = previous = custody.digest_of(line)
            lines.append(custody.canonical(line) + b"\n")
        path.write_bytes(b"".join(lines))
    assert custody.latest(case) == "second"
    assert [log.lines[0]["analysis"] for log in custody.logs(case)] == ["first", "second"]
    request = tmp_path / "request"
    told = run("case", "stamp", case.folder, "--request", request).stdout.decode()
    assert custody.logs(case)[-1].head in told, "what is stamped is the head of the last run, not of the latest clock"


def test_runs_of_one_second_are_in_the_order_in_which_they_came(tmp_path, monkeypatch):
    case = Case.create(tmp_path / "case")
    names = [f"20261128T060500Z-{number:08x}" for number in (7, 3, 9, 1, 5)]
    for name in names:
        custody.Chain(case, name, {"analysis": name}, case.runs).close()
    assert [log.run for log in custody.logs(case)] == names
    (case.custody / "20261128T060500Z-00000000.jsonl").write_bytes(b"")
    assert [log.run for log in custody.logs(case)] == ["20261128T060500Z-00000000", *names]


def test_a_run_whose_file_was_emptied_is_told_and_no_run_leaves_it_so(tmp_path, monkeypatch):
    case = Case.create(tmp_path / "case")
    for name in ("first", "last"):
        begun = custody.Chain(case, name, {"analysis": "a"}, case.runs)
        begun.add("end")
        begun.close()
    assert not verify(case).faults
    (case.custody / "last.jsonl").write_bytes(b"")
    (told,) = verify(case).open
    assert told.path == "custody/last.jsonl"
    assert told.says.startswith("has no line: it was emptied, or ")
    assert not verify(case).faults, "a case of an earlier kzpcap may have it so"

    def cut(chain, what, **more):
        raise KeyboardInterrupt

    (case.custody / "last.jsonl").unlink()
    monkeypatch.setattr(custody.Chain, "add", cut)
    (case.runs / "cut").mkdir()
    with pytest.raises(KeyboardInterrupt):
        custody.Chain(case, "cut", {"analysis": "a"}, case.runs / "cut")
    assert not (case.custody / "cut.jsonl").exists(), "it appears with its first line"
    assert [one.path for one in verify(case).open] == ["runs/cut"]


def test_runs_that_name_each_other_are_all_read(tmp_path):
    case = Case.create(tmp_path / "case")
    heads = {"a": {"b": "0" * 64, "a": "0" * 64}, "b": {"a": "0" * 64}, "c": {"gone": "0" * 64}}
    for name, named in heads.items():
        line = {"run": name, "number": 0, "previous": None, "time": "2026", "what": "begin", "heads": named}
        line["digest"] = custody.digest_of(line)
        (case.custody / f"{name}.jsonl").write_bytes(custody.canonical(line) + b"\n")
    assert [log.run for log in custody.logs(case)] == ["c", "a", "b"]
    assert verify(case).faults


@pytest.mark.parametrize(
    ("key", "value"),
    [("results", []), ("results", "x"), ("certificates", [[]]), ("certificates", None), ("sha256", ["a"]),
     ("heads", []), ("analysis", 7), ("file", ["x"]), ("file", {"size": "1", "mtime_ns": 1}), ("why", 4),
     ("name", None), ("sidecar", 3), ("time", None), ("reference", {"files": {"a": 1}})],
)  # fmt: skip
def test_values_of_another_kind_are_told_and_break_nothing(key, value, disk, tmp_path):
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    (path,) = case.custody.iterdir()
    lines, previous = [], None
    for raw in path.read_bytes().splitlines():
        line = {**json.loads(raw), "previous": previous}
        if key in line or (key in ("why", "sha256", "sidecar") and line["what"] == "capture"):
            line[key] = value
        line["digest"] = previous = custody.digest_of(line)
        lines.append(custody.canonical(line) + b"\n")
    path.write_bytes(b"".join(lines))
    assert any("is no line of custody" in fault.says for fault in verify(case).faults)
    for command in (("case", "verify"), ("case", "summary"), ("case", "claims")):
        assert b"Traceback" not in run(*command, case.folder).stderr
    assert b"Traceback" not in run("batch", disk, "--case", case.folder).stderr


def test_of_an_archive_what_was_not_read_for_want_of_time_is_tried_again(tmp_path):
    case = Case.create(tmp_path / "case")
    file = {"size": 5, "mtime_ns": 7}
    for run_name, outcomes in (("1-a", [("failed", False), ("failed", True)]), ("2-b", [("failed", False)])):
        one = custody.Chain(case, run_name, {"analysis": "a"}, case.runs)
        for outcome, passing in outcomes:
            one.add("capture", name="/x.zip", file=file, outcome=outcome, **({"passing": True} if passing else {}))
        one.close()
        expected = {("/x.zip", 5, 7)} if run_name == "2-b" else set()
        assert runner.failed_before(case, "a") == expected


def test_dots_behind_a_link_lead_where_the_system_leads(tmp_path):
    (tmp_path / "real" / "sub").mkdir(parents=True)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "real" / "sub")
    (tmp_path / "real" / "f").write_text("x")
    assert runner.full(str(tmp_path / "a" / "link" / ".." / "f")) == str(tmp_path.resolve() / "real" / "f")
    assert runner.full(str(tmp_path / "a" / "f")) == str(tmp_path / "a" / "f")
    assert runner.full(str(tmp_path / "a" / "link" / "..")) == str(tmp_path.resolve() / "real")


def test_an_issuer_of_many_open_connections_is_judged_once():
    def took(count):
        shared = second.Shared()
        opened = [second.Open(f"{n}", n, "vk.com", True, f"10.{n % 99}.0.0/16", "undetermined", "private-root", ("a",))
                  for n in range(count)]  # fmt: skip
        others = second.Others(open=opened)
        for one in opened:
            shared.add(one)
        chain = (None, type("Issuer", (), {"spki_sha256": "k"}))
        begun = time.process_time()
        for one in opened:
            others._shared(one, chain, {"k": shared})
        return time.process_time() - begun

    took(1_000)
    assert took(40_000) < 1, "quadratic it took minutes"


def test_a_failure_that_was_mended_is_none(tmp_path):
    case = Case.create(tmp_path / "case")

    def run_of(name, *told):
        one = custody.Chain(case, name, {"analysis": "a"}, case.runs)
        for what, more in told:
            one.add(what, **more)
        one.close()
        found = summary.Total("a")
        summary._custody(case, found)
        return found.failed

    file = {"size": 5, "mtime_ns": 7}
    killed = {"name": "/d/x.zip", "file": file, "outcome": "failed", "why": "SIGKILL", "passing": True}
    one = {"name": "/d/x.zip", "member": "m", "file": file, "sha256": "b", "results": {"report.json": "d"}}
    assert run_of("1-a", ("capture", killed), ("unreadable", {"name": "/e", "why": "Permission denied"})) == {
        "/d/x.zip": "SIGKILL",
        "/e": "Permission denied",
    }
    read = {**one, "outcome": "analysed"}
    assert run_of("2-b", ("capture", read), ("capture", {**read, "name": "/e/f", "member": "g"})) == {}
    twice = {"name": "/d/two.zip", "member": "m", "file": file}
    broken = {**twice, "outcome": "failed", "why": "broken"}
    sound = {**read, **twice}
    assert run_of("3-c", ("capture", broken), ("capture", sound)) == {"/d/two.zip/m": "broken"}, "one of two of a name"


def test_a_name_that_is_too_long_for_a_file_beside_it_has_none(tmp_path):
    assert work.sidecar(str(tmp_path / ("x" * 250))) is None


def test_an_original_is_looked_for_wherever_custody_saw_it(tmp_path, disk):
    place = tmp_path / "originals"
    place.mkdir()
    rcku, other = (CAPTURES / name / "capture.pcapng" for name in ("kz-2019-rcku", "other-authorities"))
    (place / "a.pcapng").write_bytes(rcku.read_bytes())
    judged(tmp_path / "case", place)
    (place / "a.pcapng").rename(place / "b.pcapng")
    case = Case.open(tmp_path / "case")
    assert [fault.says for fault in verify(case, rehash=True).open] == ["the original is no longer there"]
    judged(tmp_path / "case", place)
    assert not verify(case, rehash=True).open, "it was read again under another name"
    (place / "b.pcapng").write_bytes(other.read_bytes())
    assert ["is not what was read" in fault.says for fault in verify(case, rehash=True).faults] == [True]
    judged(tmp_path / "case", place)
    found = verify(case, rehash=True)
    assert not found.faults
    assert [fault.path for fault in found.open] == [str(place / "b.pcapng")]
    assert "another took its place" in found.open[0].says


def test_a_file_that_was_replaced_between_two_runs_is_told_by_both(tmp_path, disk):
    """Though the bytes that it had are elsewhere too, and custody tells of what it has now."""
    place = tmp_path / "originals"
    place.mkdir()
    rcku, other = (CAPTURES / name / "capture.pcapng" for name in ("kz-2019-rcku", "other-authorities"))
    for name in ("a.pcapng", "copy.pcapng"):
        (place / name).write_bytes(rcku.read_bytes())
    said = [run("batch", str(place), "--case", str(tmp_path / "case")).stdout.decode() for _ in range(2)]
    assert "held other bytes" not in "".join(said)
    (place / "a.pcapng").write_bytes(other.read_bytes())
    told = run("batch", str(place), "--case", str(tmp_path / "case")).stdout.decode()
    assert f"1 file held other bytes when an earlier run read them:\n    {place / 'a.pcapng'}\n" in told
    found = verify(Case.open(tmp_path / "case"), rehash=True)
    assert [fault.path for fault in found.open] == [str(place / "a.pcapng")]
    assert run("case", "verify", str(tmp_path / "case"), "--rehash").returncode == 8


def test_a_file_that_grew_while_it_was_read_is_no_fault(tmp_path, disk, monkeypatch):
    place = tmp_path / "originals"
    place.mkdir()
    path = place / "a.pcapng"
    path.write_bytes((CAPTURES / "kz-2019-rcku" / "capture.pcapng").read_bytes())
    monkeypatch.setattr(runner, "changed", lambda *_: "it has another size")
    judged(tmp_path / "case", place)
    path.write_bytes(path.read_bytes() * 2)
    found = verify(Case.open(tmp_path / "case"), rehash=True)
    assert not found.faults
    assert ["changed while it was read" in fault.says for fault in found.open].count(True) == 1


def test_what_is_beside_a_capture_makes_no_line_that_is_not_json(tmp_path):
    path = tmp_path / "x.pcapng"
    (tmp_path / "x.pcapng.custody.json").write_text('{"a": 1e999, "b": NaN, "c": -Infinity, "d": 1.5}')
    assert work.sidecar(str(path)) == {"d": 1.5}


def test_files_that_are_no_captures_take_little(tmp_path, disk):
    """A disk has millions of them."""
    judged(tmp_path / "case", disk)
    case = Case.open(tmp_path / "case")
    chain = custody.Chain(case, custody.new_run(), {"analysis": custody.latest(case)}, case.runs)
    file = {"size": 1, "mtime_ns": 1}
    for number in range(20_000):
        chain.add("capture", name=f"/disk/home/user/pictures/{number:08}.jpg", file=file, outcome="not a capture")
    chain.add("end", outcomes={}, heads=chain.heads())
    chain.close()
    for what in (lambda: verify(case), lambda: summary.total(case)):
        tracemalloc.start()
        what()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        tracemalloc.stop()
    assert summary.total(case).not_captures >= 20_000


def test_a_ring_whose_files_take_other_names_is_as_custody_says(tmp_path, disk):
    """What a later run found elsewhere was moved there; what was elsewhere all along was not."""
    place = tmp_path / "originals"
    place.mkdir()
    rcku, other = (CAPTURES / name / "capture.pcapng" for name in ("kz-2019-rcku", "other-authorities"))
    (place / "ring.pcapng").write_bytes(rcku.read_bytes())
    judged(tmp_path / "case", place)
    (place / "ring.pcapng").rename(place / "ring.pcapng.1")
    (place / "ring.pcapng").write_bytes(other.read_bytes())
    judged(tmp_path / "case", place)
    found = verify(Case.open(tmp_path / "case"), rehash=True)
    assert not found.faults
    assert not found.open
