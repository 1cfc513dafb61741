"""Captures that volunteers sent: opened where they are sealed, kept in the case, told in custody."""

from __future__ import annotations

import bz2
import io
import json
import shutil
import tarfile
from pathlib import Path

import pyrage
import pytest

from kzpcap.cases.bring import bring
from kzpcap.cases.custody import logs
from kzpcap.cases.store import Case, file_digest
from kzpcap.cases.verify import verify
from kzpcap.sealing import SealError, identities
from tests.conftest import CAPTURES, run

RCKU = CAPTURES / "kz-2019-rcku" / "capture.pcapng"
LADDER = CAPTURES / "kz-2019-ladder" / "capture.pcapng"


@pytest.fixture
def key(tmp_path):
    found = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(f"# public key: {found.to_public()}\n{found}\n")
    return found


def sealed(body: bytes, key) -> bytes:
    return pyrage.encrypt(body, [key.to_public()])


def told(case):
    return [line for log in logs(case) for line in log.lines if line["what"] in ("capture", "unreadable", "skipped")]


def test_sealed_by_scrub_and_opened_by_its_reader(tmp_path, key):
    recipient = str(key.to_public())
    out = tmp_path / "sent.age"
    done = run("scrub", str(RCKU), "-o", str(out), "--encrypt-to", recipient)
    assert done.returncode == 0, done.stderr
    place = tmp_path / "case"
    done = run("case", "import", str(out), "--case", str(place), "--identity", str(tmp_path / "key.txt"))
    assert done.returncode == 0, done.stderr
    assert b"1 new intercepted connection\n" in done.stdout
    (capture,) = (place / "captures").iterdir()
    assert file_digest(capture) == capture.stem
    assert capture.stat().st_mode & 0o777 == 0o600
    (line,) = told(Case(place))
    assert line["sha256"] == capture.stem
    cost = line["sidecar"].pop("answers_lost")
    assert line["sidecar"] == {"imported_from": str(out), "sealed_sha256": file_digest(out), "scrubbed": "evidence"}
    assert f"1 of them lost {cost} answer" in " ".join(run("case", "summary", str(place)).stdout.decode().split())
    assert not verify(Case(place), rehash=True).faults
    again = run("case", "import", str(out), "--case", str(place), "--identity", str(tmp_path / "key.txt"))
    assert b"1 already there" in again.stdout

    with capture.open("r+b") as file:
        file.seek(200)
        byte = file.read(1)
        file.seek(200)
        file.write(bytes([byte[0] ^ 1]))
    assert [fault.path for fault in verify(Case(place)).faults] == [f"captures/{capture.name}"]


def test_what_does_not_open_is_told_and_stops_nothing(tmp_path, key):
    whole = sealed(RCKU.read_bytes(), key)
    stranger = pyrage.x25519.Identity.generate()
    folder = tmp_path / "came"
    folder.mkdir()
    (folder / "a-other.age").write_bytes(sealed(RCKU.read_bytes(), stranger))
    (folder / "b-cut.age").write_bytes(whole[:-40])
    (folder / "c-altered.age").write_bytes(whole[:-40] + bytes(40))
    (folder / "d-head.age").write_bytes(whole[:60])
    (folder / "e-poem.age").write_bytes(sealed(b"no capture at all", key))
    (folder / "f-link.age").symlink_to(folder / "g-good.age")
    (folder / "g-good.age").write_bytes(whole)
    case = Case.create(tmp_path / "case")
    brought = bring(case, [folder, tmp_path / "nowhere"], [key])
    assert [path.rpartition("/")[2] for path, _ in brought.failures] == [
        "a-other.age", "b-cut.age", "c-altered.age", "d-head.age", "e-poem.age", "nowhere",
    ]  # fmt: skip
    assert [path.rpartition("/")[2] for path, _ in brought.skipped] == ["f-link.age"]
    assert [path.name for path in case.captures.iterdir()] == [f"{file_digest(RCKU)}.pcapng"]
    assert brought.captures == [str(case.captures / f"{file_digest(RCKU)}.pcapng")]
    assert not list(case.runs.iterdir())  # nothing opened lies about


def test_a_services_folder_gives_what_was_scrubbed_and_a_case_in_it_nothing(tmp_path, key):
    folder = tmp_path / "kept" / "u1"
    folder.mkdir(parents=True)
    (folder / "scrubbed.pcapng").write_bytes(RCKU.read_bytes())
    (folder / "original.age").write_bytes(sealed(LADDER.read_bytes(), key))
    for name in ("report.html", "report.json", "manifest.json", "result.json"):
        (folder / name).write_text("{}")
    case = Case.create(tmp_path / "kept" / "case")
    for _ in range(2):
        brought = bring(case, [tmp_path / "kept"], [key])
        assert [path.rpartition("/")[2] for path in brought.captures] == [f"{file_digest(RCKU)}.pcapng"]
        assert [path for path, _ in brought.skipped] == [str(folder / "original.age")]
        assert not brought.again
    assert bring(case, [folder / "original.age"], [key]).captures, "named, it is taken"


def test_without_the_key_nothing_is_opened(tmp_path, key):
    (tmp_path / "sent.age").write_bytes(sealed(RCKU.read_bytes(), key))
    done = run("case", "import", str(tmp_path / "sent.age"), "--case", str(tmp_path / "case"))
    assert done.returncode == 1
    assert b"no --identity was given" in done.stderr
    (line,) = told(Case(tmp_path / "case"))
    assert line["what"] == "unreadable"


def test_an_export_with_what_was_told_and_tricks(tmp_path, key):
    archive = tmp_path / "export.tar"
    with tarfile.open(archive, "w") as out:

        def put(name, body, kind=tarfile.REGTYPE):
            member = tarfile.TarInfo(name)
            member.type, member.size = kind, len(body)
            if kind == tarfile.SYMTYPE:
                member.linkname = "/etc/passwd"
            out.addfile(member, io.BytesIO(body))

        put("u1/scrubbed.pcapng", RCKU.read_bytes())
        put("u1/told.json", json.dumps({"isp": "KT", "sealed_sha256": "forged", "n": 3, "note": "x" * 5000}).encode())
        put("u1/report.json", b"{}")
        put("../../u2/sealed.age", sealed(LADDER.read_bytes(), key))
        put("../../u2/told.json", b"[" * 9000)
        put("/abs/told.json", b"{}")
        put("u3/link.pcapng", b"", tarfile.SYMTYPE)
        put("u4/scrubbed.pcapng", RCKU.read_bytes())
        put("u4/told.json", b'{"isp": "another"}')
    case = Case.create(tmp_path / "case")
    brought = bring(case, [archive], [key])
    assert not brought.failures
    assert [path for path, _ in brought.skipped] == [f"{archive}/u3/link.pcapng"]
    by_digest = {place.rpartition("/")[2][:64]: beside for place, beside in brought.beside.items()}
    one, two = by_digest[file_digest(RCKU)], by_digest[file_digest(LADDER)]
    assert one["isp"] == "KT"
    assert len(one["note"]) == 1_000
    assert set(one) == {"imported_from", "isp", "note"}
    assert set(two) == {"imported_from", "sealed_sha256"}
    assert [entry["isp"] for _, entry in brought.again] == ["another"], "who sends the same has a word too"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["case", "export.tar", "key.txt"]
    assert not list(case.runs.iterdir())


def test_a_file_with_holes_is_not_unpacked(tmp_path):
    """Three kilobytes of tar would be three gigabytes in the case."""
    archive = tmp_path / "export.tar"
    info = tarfile.TarInfo("u1/big.pcap")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (3 << 30, 0)
    header[483:495] = b"%011o\0" % (3 << 30)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    archive.write_bytes(bytes(header) + bytes(1024))
    brought = bring(Case.create(tmp_path / "case"), [archive], [])
    assert brought.skipped == [(f"{archive}/u1/big.pcap", "no plain file")]
    assert not brought.captures
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 100_000


def test_a_broken_archive_is_a_failure_and_its_beginning_is_kept(tmp_path):
    archive = tmp_path / "export.tar"
    with tarfile.open(archive, "w") as out:
        out.add(RCKU, "u1/scrubbed.pcapng")
        out.add(LADDER, "u2/scrubbed.pcapng")
    archive.write_bytes(archive.read_bytes()[: RCKU.stat().st_size + 4_000])
    case = Case.create(tmp_path / "case")
    brought = bring(case, [archive], [])
    assert len(brought.failures) == 1
    assert [place.rpartition("/")[2] for place in brought.captures] == [f"{file_digest(RCKU)}.pcapng"]


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "no age identity"), ("AGE-SECRET-KEY-1QQQ\n", "line 1"), ("#x\nhunter2\n", "line 2"), (None, "No such file")],
)
def test_identity_files(text, why, tmp_path):
    path = tmp_path / "key"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SealError, match=why) as caught:
        identities(path)
    assert "hunter2" not in str(caught.value)
    assert "QQQ" not in str(caught.value)


def test_a_case_with_captures_of_its_own_moves_as_one_folder(tmp_path):
    first, second = tmp_path / "one", tmp_path / "two"
    done = run("case", "import", str(RCKU), "--case", str(first))
    assert done.returncode == 0, done.stderr
    shutil.move(first, second)
    found = verify(Case(second), rehash=True)
    assert not found.faults
    assert not found.open
    assert found.originals == 1


def _swap(capture):
    capture.rename(capture.parent.parent.parent / "outside")
    capture.symlink_to(capture.parent.parent.parent / "outside")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda capture: capture.unlink(), "is missing"),
        (lambda capture: shutil.rmtree(capture.parent), "is missing"),
        (lambda capture: capture.rename(capture.with_suffix(".exe")), "is missing"),
        (_swap, "is not what its name says"),
    ],
    ids=["deleted", "all deleted", "another suffix", "a link to elsewhere"],
)
def test_a_capture_that_the_case_alone_has_is_missed(change, says, tmp_path):
    place = tmp_path / "case"
    assert run("case", "import", str(RCKU), "--case", str(place)).returncode == 0
    (capture,) = (place / "captures").iterdir()
    change(capture)
    faults = verify(Case(place)).faults
    assert (f"captures/{capture.name}", says) in [(fault.path, fault.says) for fault in faults]
    told = run("case", "verify", str(place))
    assert told.returncode == 7
    assert says.encode() in told.stdout


def test_a_capture_that_no_run_took_is_open(tmp_path):
    place = tmp_path / "case"
    assert run("case", "import", str(RCKU), "--case", str(place)).returncode == 0
    other = place / "captures" / f"{file_digest(LADDER)}.pcapng"
    shutil.copy(LADDER, other)
    found = verify(Case(place))
    assert not found.faults
    assert [fault.path for fault in found.open] == [f"captures/{other.name}"]


def test_a_copied_case_reads_its_own_copy(tmp_path):
    """By its absolute path the original in the other folder was read, and vouched for this one."""
    first, second = tmp_path / "one", tmp_path / "two"
    assert run("case", "import", str(RCKU), "--case", str(first)).returncode == 0
    shutil.copytree(first, second)
    (capture,) = (second / "captures").iterdir()
    capture.write_bytes(b"another")
    faults = verify(Case(second), rehash=True).faults
    assert {fault.path for fault in faults} >= {f"captures/{capture.name}"}
    assert any(fault.says.startswith("the original is not what was read") for fault in faults)


@pytest.mark.parametrize("name", ["custody/zz.jsonl", "certificates/aa.der"])
def test_a_folder_in_place_of_a_file_is_a_fault(name, tmp_path):
    place = tmp_path / "case"
    assert run("case", "import", str(RCKU), "--case", str(place)).returncode == 0
    (place / name).mkdir()
    assert [fault.path for fault in verify(Case(place)).faults] == [name]


def test_what_scrubbing_cost_is_in_custody(tmp_path):
    """A connection that the original shows as suspected is undetermined in the copy: custody says that it lost that."""
    out = tmp_path / "sent" / "scrubbed.pcapng"
    out.parent.mkdir()
    source = CAPTURES / "products-and-strangers" / "capture.pcapng"
    done = run("scrub", str(source), "-o", str(out), "--accept-losses")
    assert done.returncode == 0, done.stderr
    lost = json.loads(Path(f"{out}.manifest.json").read_text())["proof"]["losses"]
    assert lost
    assert run("case", "import", str(out.parent), "--case", str(tmp_path / "case")).returncode in (0, 2)
    lines = [line for line in told(Case(tmp_path / "case")) if line["what"] == "capture"]
    assert [line["sidecar"] for line in lines] == [
        {"imported_from": str(out), "scrubbed": "evidence", "answers_lost": len(lost)}
    ]
    said = " ".join(run("case", "summary", str(tmp_path / "case")).stdout.decode().split())
    assert f"1 capture came scrubbed; 1 of them lost {len(lost)} answer" in said
    captures = json.loads(run("case", "summary", str(tmp_path / "case"), "--json").stdout)["captures"]
    assert (captures["scrubbed"], captures["scrubbed_with_answers_lost"], captures["answers_lost"]) == (1, 1, len(lost))
    other = tmp_path / "other" / "scrubbed.pcapng"  # a manifest of another file says nothing of this one
    other.parent.mkdir()
    shutil.copy(RCKU, other)
    shutil.copy(f"{out}.manifest.json", other.parent / "manifest.json")
    case = Case.create(tmp_path / "second")
    (beside,) = bring(case, [other.parent], []).beside.values()
    assert beside == {"imported_from": str(other)}


def test_what_is_brought_is_judged_under_the_options_of_batch(tmp_path):
    targets = tmp_path / "targets.txt"
    targets.write_text("nowhere.example\n")
    options = ["--targets", str(targets), "--memory-limit", "512"]
    assert run("case", "import", str(RCKU), "--case", str(tmp_path / "sent"), *options).returncode == 0
    assert run("batch", str(RCKU), "--case", str(tmp_path / "found"), *options).returncode == 0
    analyses = {log.lines[0]["analysis"] for name in ("sent", "found") for log in logs(Case(tmp_path / name))}
    assert len(analyses) == 1
    for name in ("sent", "found"):
        document = json.loads(run("case", "summary", str(tmp_path / name), "--json").stdout)
        assert document["states"] == {"genuine": 2, "intercepted": 1}
        assert not document["targets"], "the list that was given has none of its names"


def test_what_was_written_beside_a_capture_comes_with_it(tmp_path):
    (tmp_path / "came").mkdir()
    (tmp_path / "came" / "a.pcapng").write_bytes(RCKU.read_bytes())
    beside = {"tool": "tcpdump", "clock": "ntp", "imported_from": "elsewhere"}
    (tmp_path / "came" / "a.pcapng.custody.json").write_text(json.dumps(beside))
    done = run("case", "import", tmp_path / "came", "--case", tmp_path / "case")
    assert (done.returncode, b"skipped" in done.stderr + done.stdout) == (0, False)
    (line,) = (line for line in told(Case(tmp_path / "case")) if line["what"] == "capture")
    assert line["sidecar"] == {
        "tool": "tcpdump",
        "clock": "ntp",
        "imported_from": str(tmp_path / "came" / "a.pcapng"),
    }


def test_a_failure_names_what_came_and_not_where_it_is_kept(tmp_path):
    (tmp_path / "almaty.pcap.bz2").write_bytes(bz2.compress(RCKU.read_bytes())[:2_000])
    done = run("case", "import", tmp_path / "almaty.pcap.bz2", "--case", tmp_path / "case")
    assert f"{tmp_path / 'almaty.pcap.bz2'}: ".encode() in done.stderr
    assert b"/captures/" not in done.stderr
    failed = json.loads(run("case", "summary", "--json", tmp_path / "case").stdout)["captures"]["failed"]
    assert [one["file"] if isinstance(one, dict) else one for one in failed] == [str(tmp_path / "almaty.pcap.bz2")]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (lambda key: b"", "named as sealed, and holds nothing that age has sealed"),
        (lambda key: b"aye-" + sealed(RCKU.read_bytes(), key)[4:], "named as sealed, and holds nothing"),
        (lambda key: b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n", "sealed in ASCII armour"),
    ],
    ids=["emptied", "altered", "armour"],
)
def test_sealed_files_of_a_folder_that_do_not_open_are_failures(body, why, tmp_path, key):
    """A file beside them that was never sealed, and is no capture, is left out as before."""
    folder = tmp_path / "sent"
    folder.mkdir()
    (folder / "good.age").write_bytes(sealed(RCKU.read_bytes(), key))
    (folder / "bad.age").write_bytes(body(key))
    (folder / "notes.txt").write_text("seen in July")
    case = Case.create(tmp_path / "case")
    found = bring(case, [folder], identities(tmp_path / "key.txt"))
    assert [(Path(path).name, why in text) for path, text in found.failures] == [("bad.age", True)]
    assert [Path(path).name for path, _ in found.skipped] == ["notes.txt"]
    assert len(found.captures) == 1


@pytest.mark.parametrize("whole", [True, False])
def test_an_export_that_ends_between_two_members_is_told(whole, tmp_path):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, path in (("a/scrubbed.pcapng", RCKU), ("b/scrubbed.pcapng", LADDER), ("c/scrubbed.pcapng", RCKU)):
            archive.add(path, name)
        end = archive.offset
    path = tmp_path / "export.tar"
    path.write_bytes(out.getvalue() if whole else out.getvalue()[:end])
    done = run("case", "import", str(path), "--case", str(tmp_path / "case"))
    said = (done.stdout + done.stderr).decode()
    assert "2 analysed" in said
    assert "1 came again" in said
    assert ("the tar has no end mark: it may be cut off" in said) is not whole
    assert done.returncode == (0 if whole else 1)


@pytest.mark.parametrize(
    ("change", "ended"),
    [
        (lambda raw, end: raw + b"\n", True),
        (lambda raw, end: raw[:end], False),
        (lambda raw, end: raw[: end + 512], False),
    ],
    ids=["a byte behind", "cut behind zeros", "half an end mark"],
)
def test_the_end_of_an_export_is_looked_for_behind_its_last_member(change, ended, tmp_path):
    """A member may end in zeros itself."""
    out = io.BytesIO()
    body = RCKU.read_bytes() + bytes(4_096)
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a/scrubbed.pcapng")
        info.size = len(body)
        archive.addfile(info, io.BytesIO(body))
        end = archive.offset
    path = tmp_path / "export.tar"
    path.write_bytes(change(out.getvalue(), end))
    found = bring(Case.create(tmp_path / "case"), [path], [])
    assert len(found.captures) == 1
    assert any("no end mark" in why for _, why in found.failures) is not ended
