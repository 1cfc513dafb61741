"""What cannot be written is told with its name and leaves nothing; what cannot be read of a case names the report."""

from __future__ import annotations

import errno
import json
import os
import shutil

import pytest

from kzpcap.cases.store import Case
from kzpcap.cli_common import NotWritten, new_file
from tests.conftest import CAPTURES, judged, run

RCKU = CAPTURES / "kz-2019-rcku" / "capture.pcapng"


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_no_file_and_names_it(tmp_path):
    path = tmp_path / "out.html"
    with pytest.raises(NotWritten) as found, new_file(path) as file:
        file.write("half of it")
        full()
    assert (found.value.filename, found.value.errno) == (str(path), errno.ENOSPC)
    assert not path.exists()
    with new_file(path) as file:
        file.write("whole")
    with pytest.raises(FileExistsError), new_file(path):
        pass
    assert path.read_text() == "whole"


def test_what_was_there_before_stays(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text("one\n")
    with pytest.raises(NotWritten), new_file(path, "a") as file:
        file.write("two\n")
        full()
    assert path.read_text() == "one\n"


def test_a_link_to_nowhere_stays(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(NotWritten), new_file(tmp_path / "link", "a") as file:
        file.write("two\n")
        full()
    assert (tmp_path / "link").is_symlink()


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_case(tmp_path):
    judged(tmp_path / "case", RCKU)
    for command in (["report"], ["ooni"]):
        done = run("case", *command, str(tmp_path / "case"), "-o", "/proc/out")
        assert done.returncode == 9, done.stderr
        assert b"kzpcap: /proc/out: " in done.stderr


def test_a_page_is_of_one_capture_and_nothing_is_written_of_the_first(tmp_path):
    done = run("analyze", "--html", str(tmp_path / "x.html"), str(RCKU), str(RCKU))
    assert done.returncode == 2
    assert not (tmp_path / "x.html").exists()


DAMAGE = {
    "deep": b"[" * 100_000,
    "cut": None,
    "other": b'{"capture": 7, "connections": [{"client": true}], "certificates": [], "ladders": 1}',
    "a list": b"[]",
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("command", ["summary", "claims", "judge", "sql", "report"])
def test_a_damaged_report_is_named(kind, command, tmp_path):
    judged(tmp_path / "case", RCKU)
    (path,) = Case.open(tmp_path / "case").results.glob("*/*/report.json")
    path.write_bytes(DAMAGE[kind] or path.read_bytes()[:-2_000])
    more = {"sql": ["SELECT 1"], "report": ["-o", str(tmp_path / "x.html")]}.get(command, [])
    done = run("case", command, str(tmp_path / "case"), *more)
    assert done.returncode == 6
    assert b"Traceback" not in done.stderr
    assert f"results/{path.parent.parent.name}".encode() in done.stderr


def test_every_name_of_a_file_is_in_custody_with_what_stands_beside_it(tmp_path):
    for folder in "ab":
        (tmp_path / "in" / folder).mkdir(parents=True)
    shutil.copy(RCKU, tmp_path / "in" / "a" / "first.pcapng")
    os.link(tmp_path / "in" / "a" / "first.pcapng", tmp_path / "in" / "b" / "second.pcapng")
    (tmp_path / "in" / "b" / "second.pcapng.custody.json").write_text(json.dumps({"tool": "tcpdump on router B"}))
    assert run("batch", str(tmp_path / "in"), "--case", str(tmp_path / "case")).returncode == 0
    (log,) = (tmp_path / "case" / "custody").glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (told,) = [line for line in lines if line["what"] == "skipped"]
    assert told["name"].endswith("/b/second.pcapng")
    assert told["why"] == f"the same file as {tmp_path}/in/a/first.pcapng"
    assert told["sidecar"] == {"tool": "tcpdump on router B"}
    assert run("case", "verify", str(tmp_path / "case")).returncode == 0
