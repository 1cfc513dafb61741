"""A case judged on a Dask cluster, one of whose workers is killed, equals the one of a single machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from kzpcap.cases.store import Case
from kzpcap.cases.verify import verify
from tests.conftest import CAPTURES, ROOT, judged, run

pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "cluster.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    yield json.loads(process.stdout.readline())
    process.stdin.close()
    process.wait(timeout=60)
    process.stdout.close()


def results(case):
    return {str(path.relative_to(case)): path.read_bytes() for path in sorted(case.glob("results/*/*/*"))}


def test_a_worker_that_is_killed_changes_nothing(cluster, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    for number, path in enumerate(sorted(CAPTURES.glob("*/capture.pcap*"))):
        shutil.copy(path, disk / f"{number}")
    (disk / "broken").write_bytes((disk / "1").read_bytes()[:10])
    case = tmp_path / "cluster"
    command = ["batch", str(disk), "--case", str(case), "--dask", cluster["address"]]
    process = subprocess.Popen(
        [sys.executable, "-m", "kzpcap", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and len(list(case.glob("results/*/*"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    before = len(list(case.glob("results/*/*")))
    os.kill(cluster["workers"][0], signal.SIGKILL)
    output, errors = process.communicate(timeout=180)
    assert process.returncode in (0, 1), errors.decode()
    assert b"Traceback" not in errors, errors.decode()
    alone = judged(tmp_path / "alone", disk)
    assert results(case) == results(tmp_path / "alone")
    assert 5 <= before < alone.outcomes["analysed"], "it was killed in the middle"
    found = verify(Case.open(case), rehash=True)
    assert (found.faults, found.open) == ([], [])
    assert found.results == alone.outcomes["analysed"]
    # A result that the killed worker put there before it could tell of it is found by whoever repeats its file.
    told = {kind: int(number) for number, kind in re.findall(r"(\d+) (analysed|already there)", output.decode())}
    assert sum(told.values()) == alone.outcomes["analysed"]
    assert told.get("already there", 0) <= 9, "no more than wait for three workers at once"
    assert list((case / "runs").iterdir()) == []
    again = run(*command)
    assert f"{alone.outcomes['analysed']} already there" in again.stdout.decode()


def test_a_cluster_that_is_not_there_is_told(tmp_path, monkeypatch):
    from kzpcap.cases import cluster

    monkeypatch.setattr(cluster, "SECONDS", 1)
    from kzpcap.cases.work import Settings
    from kzpcap.errors import CaseError

    with pytest.raises(CaseError, match="no Dask cluster with workers at tcp://127"):
        cluster.Cluster("tcp://127.0.0.1:1", str(tmp_path), str(tmp_path), Settings(), "", frozenset())
