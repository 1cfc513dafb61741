"""The cage around what scrubs a stranger's capture: its own files, and nothing else of the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kzpcap.upload import cage
from tests.conftest import CAPTURES, ROOT

TRIES = """
import json, os, socket, subprocess, sys, tempfile
from pathlib import Path
from kzpcap.upload import cage
folder, capture, other, port = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
assert cage.keep_to(folder, [capture])

def may(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "may"

def connect():
    with socket.create_connection(("127.0.0.1", port), 2):
        pass

def start_own():
    own = folder / "own"
    own.write_bytes(Path(sys.executable).resolve().read_bytes())
    own.chmod(0o700)
    try:
        subprocess.run([str(own), "-c", ""], check=False)
    finally:
        own.unlink()

tempfile.tempdir = str(folder)
print(json.dumps({
    "read the capture": may(capture.read_bytes),
    "write below its folder": may(lambda: (folder / "made").write_bytes(b"x")),
    "a file without a name": may(lambda: tempfile.TemporaryFile().write(b"x")),
    "rename and unlink there": may(lambda: (folder / "made").rename(folder / "moved").unlink()),
    "import what was not yet": may(lambda: __import__("kzpcap.analysis")),
    "change the capture": may(lambda: capture.write_bytes(b"")),
    "read another upload": may(other.read_bytes),
    "list the folder above": may(lambda: list(folder.parent.iterdir())),
    "make a file above": may(lambda: (folder.parent / "made").write_bytes(b"x")),
    "read a password file": may(Path("/etc/passwd").read_bytes),
    "look at processes": may(lambda: list(Path("/proc").iterdir())),
    "start a program": may(lambda: subprocess.run(["/bin/true"], check=True)),
    "start one of its own": may(start_own),
    "connect": may(connect),
    "signal its parent": may(lambda: os.kill(os.getppid(), 0)),
}))
"""


def test_what_the_cage_lets_do_and_what_not(tmp_path):
    if not cage.with_own_files(tmp_path):
        pytest.skip("1 test: this kernel has no Landlock")
    import socket

    folder, capture, other = tmp_path / "work", tmp_path / "capture", tmp_path / "other"
    folder.mkdir()
    capture.write_bytes(b"capture")
    other.write_bytes(b"of another volunteer")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-c", TRIES, str(folder), str(capture), str(other), str(port)],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    version = cage.landlock()
    newer = {"connect": cage.TCP_VERSION, "signal its parent": cage.SCOPE_VERSION}
    allowed = [*list(found)[:5], *(what for what, needed in newer.items() if version < needed)]
    assert {what for what, told in found.items() if told == "may"} == set(allowed)
    assert capture.read_bytes() == b"capture"


def test_a_capture_is_scrubbed_in_the_cage(tmp_path):
    """As the service does it, under each of the bounds."""
    folder = tmp_path / "work"
    folder.mkdir()
    capture = tmp_path / "capture"
    capture.write_bytes((CAPTURES / "kz-2019-rcku" / "capture.pcapng").read_bytes())
    settings = {
        "parent": os.getpid(), "memory": 2 << 30, "seconds": 60, "roots": [], "cas": [], "originals_to": "",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "kzpcap.upload.child", str(capture), str(folder), json.dumps(settings)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "result.json").read_text())["target_states"] == {"intercepted": 1}


def test_no_other_system_is_asked_for_landlock(monkeypatch):
    """The numbers of its calls are others' elsewhere."""

    def asked(*_):
        raise AssertionError("a system call of Linux's")

    monkeypatch.setattr(cage.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(cage.ctypes, "CDLL", asked)
    assert cage.landlock() == 0
