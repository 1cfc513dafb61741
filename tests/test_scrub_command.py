"""`kzpcap scrub` as a volunteer runs it: what it writes, refuses, asks and says."""

from __future__ import annotations

import json
import shutil
import stat
import struct
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import CAPTURES, run

sys.path.insert(0, str(CAPTURES))


def command(*arguments):
    done = run("scrub", *map(str, arguments))
    return done.returncode, done.stdout.decode() + done.stderr.decode()


RCKU = CAPTURES / "kz-2019-rcku" / "capture.pcapng"


def test_writes_a_capture_and_a_manifest_for_their_owner_alone(tmp_path):
    out = tmp_path / "out.pcapng"
    code, told = command(RCKU, "-o", out)
    assert code == 0, told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.pcapng", "out.pcapng.manifest.json"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
    assert "the same state for 2 of 3 connections" in told
    assert "(control): genuine (publicly-trusted) became undetermined" in " ".join(told.split())
    manifest = json.loads((tmp_path / "out.pcapng.manifest.json").read_text())
    assert manifest["proof"]["leaks"] == manifest["proof"]["stronger"] == 0
    assert manifest["judged"][0]["state"] == "intercepted"
    assert "192.0.2.10" not in json.dumps(manifest)
    assert all(len(line) <= 80 for line in told.splitlines() if str(tmp_path) not in line)
    again = json.loads(run("analyze", "--json", str(out)).stdout)
    states = Counter(one["state"] for one in again["connections"])
    assert states == {"genuine": 1, "intercepted": 1, "undetermined": 1}, "a control without a name has no certificate"


def test_what_the_public_profile_loses_is_said(tmp_path):
    """The certificates go, and with them what they show: that is no same answer."""
    code, told = command(RCKU, "-o", tmp_path / "out.pcapng", "--profile", "public")
    assert code == 0, told
    assert "the same state for 1 of 3 connections" in told
    assert "www.facebook.com: intercepted (signed-by-known-interception-ca) became undetermined" in " ".join(
        told.split()
    )
    assert all(len(line) <= 80 for line in told.splitlines() if str(tmp_path) not in line)


def test_never_overwrites(tmp_path):
    out = tmp_path / "out.pcapng"
    out.write_text("mine")
    code, told = command(RCKU, "-o", out)
    assert (code, out.read_text()) == (9, "mine")
    assert "exists already" in told


def test_a_capture_without_evidence_writes_nothing(tmp_path):
    names = ("vk.com", "www.google.com", "mail.ru", "www.facebook.com")
    drop = [option for name in names for option in ("--drop", name)]
    code, told = command(CAPTURES / "lab-clean" / "capture.pcap", *drop, "-o", tmp_path / "out.pcapng")
    assert code == 9
    assert "no connection in this capture stays: none is evidence of anything" in told.replace("\n    ", " ")
    assert list(tmp_path.iterdir()) == []


def test_names_on_no_list_are_the_volunteers_to_give(tmp_path):
    capture = CAPTURES / "products-and-strangers" / "capture.pcapng"
    code, told = command(capture, "-o", tmp_path / "a.pcapng")
    assert code == 0
    assert "left out (--keep NAME hands one on)" in told
    assert "bank.example: 1 connection" in told
    body = (tmp_path / "a.pcapng").read_bytes()
    assert b"bank.example" not in body
    code, told = command(capture, "--keep", "bank.example", "-o", tmp_path / "b.pcapng")
    assert b"bank.example" in (tmp_path / "b.pcapng").read_bytes()


def test_what_is_lost_is_told_and_nothing_is_written_before_it_is_accepted(tmp_path):
    directory = CAPTURES / "products-and-strangers"
    options = ["--trusted-root", directory / "root.pem"]
    out = tmp_path / "out.pcapng"
    code, told = command(directory / "capture.pcapng", *options, "-o", out)
    assert code == 9, told
    assert "NOT THE SAME" in told
    assert list(tmp_path.iterdir()) == []
    code, told = command(directory / "capture.pcapng", *options, "--accept-losses", "-o", out)
    assert code == 0
    assert out.exists()


def test_for_one_reader_alone(tmp_path):
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    out = tmp_path / "out.pcapng.age"
    code, told = command(RCKU, "--encrypt-to", identity.to_public(), "-o", out)
    assert code == 0, told
    sealed = out.read_bytes()
    assert sealed.startswith(b"age-encryption.org/v1")
    assert pyrage.decrypt(sealed, [identity])[:4] == struct.pack("<I", 0x0A0D0D0A)
    for path in tmp_path.iterdir():
        assert b"facebook" not in path.read_bytes(), path
    code, told = command(RCKU, "--encrypt-to", "age1nonsense", "-o", tmp_path / "other")
    assert code == 2
    assert "not an age recipient" in told.replace("\n", " ")


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [("notes.txt", b"plain text, no capture", 3), ("empty", b"", 3), ("cut", b"\xd4\xc3\xb2\xa1\x02\0", 3)],
)
def test_what_is_no_capture_is_told(name, body, code, tmp_path):
    path = tmp_path / name
    path.write_bytes(body)
    got, told = command(path, "-o", tmp_path / "out.pcapng")
    assert got == code
    assert name in told
    assert not (tmp_path / "out.pcapng").exists()


def test_the_original_is_left_as_it_is(tmp_path):
    copy = tmp_path / "capture.pcapng"
    shutil.copy(RCKU, copy)
    copy.chmod(0o400)
    before = (copy.read_bytes(), copy.stat().st_mtime_ns)
    assert command(copy, "-o", tmp_path / "out.pcapng")[0] == 0
    assert (copy.read_bytes(), copy.stat().st_mtime_ns) == before
    assert Path(copy).exists()


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["--drop", "facebook.com"], 9, b"no connection is to facebook.com, but one is to www.facebook.com"),
        (["--keep", "nosuch.example"], 9, b"no connection is to nosuch.example\n"),
        (["--keep", "rcku.kz", "--drop", "rcku.kz."], 2, b"rcku.kz is kept as well"),
    ],
)
def test_a_name_that_is_not_there_is_no_silence(options, status, says, tmp_path):
    """Who mistypes the name that is to be left out must not hand it on."""
    source = CAPTURES / "kz-2019-rcku" / "capture.pcapng"
    done = run("scrub", str(source), "-o", str(tmp_path / "out.pcapng"), *options)
    assert done.returncode == status
    assert says in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("profile", "kept"), [("evidence", "1 of 1 ladder"), ("public", "0 of 1 ladder")])
def test_ladders_whose_answers_were_lost_are_not_told_as_the_same(profile, kept, tmp_path):
    path = str(CAPTURES / "kz-2019-ladder" / "capture.pcapng")
    done = run("scrub", path, "-o", str(tmp_path / "out.pcapng"), "--profile", profile)
    assert f"the same answers for {kept}" in " ".join((done.stdout + done.stderr).decode().split())
