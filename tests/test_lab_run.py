"""The laboratory itself: it records, grades as it should, and leaves nothing behind, however it ends."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import CAPTURES
from tests.test_lab_captures import DIRECTORIES, accusations, analyse, wrong_connections, wrong_ladders, wrong_places

sys.path.insert(0, str(CAPTURES))

import catalogue
from lab.__main__ import NO_NAMESPACES, obstacle
from lab.recipes import NEEDS, RECIPES

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(CAPTURES)}
WHY = obstacle()


def lab(*arguments):
    return [sys.executable, "-m", "lab", *arguments]


@pytest.fixture
def machine(tmp_path_factory):
    """One laboratory at a time, over all test processes; skips where nothing can be recorded (in CI, that fails)."""
    if WHY and os.environ.get("CI") and WHY != NO_NAMESPACES:  # what can be installed must be
        pytest.fail(WHY)
    if WHY:
        pytest.skip(WHY)
    with (tmp_path_factory.getbasetemp().parent / "laboratory.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def processes(session):
    """Command line, and network namespace, of every process of a session, whatever namespace it is in."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
            command = (path / "cmdline").read_bytes().split(b"\0")
            space = str((path / "ns" / "net").readlink()).strip("net:[]") if int(fields[3]) == session else ""
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append((command, space))
    return found


def namespaces():
    done = subprocess.run(["lsns", "-n", "-t", "net", "-o", "NS"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def leftovers():
    places = (Path("/run/netns"), Path("/run/lab"), Path("/dev/shm"))
    return {str(path) for place in places if place.exists() for path in place.iterdir()}


def test_a_capture_made_now_is_judged_as_the_committed_one(machine, tmp_path):
    before = leftovers()
    subprocess.run(lab("--out", str(tmp_path), "lab-kz-take-over"), env=ENVIRONMENT, check=True, timeout=200)
    directory = tmp_path / "lab-kz-take-over"
    truth = json.loads((directory / "truth.json").read_text())
    happened = {known["happened"] for known in truth["connections"]}
    assert {"intercepted", "answered", "unanswered"} <= happened
    document = analyse(directory, truth)
    wrong = [*wrong_connections(truth, document), *wrong_ladders(truth, document)]
    assert not [*wrong, *accusations(truth, document, True, True), *wrong_places(truth, document)]
    assert leftovers() == before


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind_when_it_is_interrupted(machine, tmp_path, how):
    before, spaces = leftovers(), namespaces()
    process = subprocess.Popen(
        lab("--out", str(tmp_path), "lab-kz-terminate"),
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until = time.monotonic() + 30
    while not any(b"lab.box" in command for command, _ in processes(process.pid)):
        assert time.monotonic() < until, "the box never started"
        time.sleep(0.1)
    # Other tests make namespaces too, at the same time: those that this run's processes are in are looked for.
    ours = {space for _, space in processes(process.pid)} - spaces
    assert ours
    process.send_signal(how)
    process.wait(20)
    until = time.monotonic() + 10
    while (processes(process.pid) or namespaces() & ours) and time.monotonic() < until:
        time.sleep(0.1)
    assert processes(process.pid) == []
    assert namespaces() & ours == set()
    assert leftovers() == before
    assert not list(tmp_path.iterdir())


def test_it_says_what_is_missing():
    program = f"import os, sys; os.geteuid = lambda: 1000; sys.path.insert(0, {str(CAPTURES)!r}); sys.argv = ['lab']\n"
    program += "from lab.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs root" in done.stderr


def test_an_unknown_name():
    done = subprocess.run(lab("no-such-capture"), env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no-such-capture" in done.stderr


def test_every_recipe_is_recorded_and_listed():
    assert {path.name for path in DIRECTORIES} == set(RECIPES)
    assert set(NEEDS) <= set(RECIPES)
    assert (CAPTURES / "README.md").read_text() == catalogue.text()
