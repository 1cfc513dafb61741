"""Small runs of what is long: fuzzing (`make fuzz`) and the benchmark (`make bench`) start, work and end well."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from tests.conftest import ROOT

TARGETS = ("scan", "packet", "tls", "hellos", "datagrams", "control", "certificates", "evidence", "scrubbed")


@pytest.mark.parametrize("target", TARGETS)
def test_two_seconds_of_fuzzing(target, tmp_path):
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: it has wheels for Linux and some Pythons only")
    command = [sys.executable, str(ROOT / "tests" / "fuzz.py"), target, "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert "stat::number_of_executed_units" in done.stderr
    assert [path.name for path in tmp_path.glob("crash-*")] == []


def test_a_small_benchmark(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "bench.py"), "--megabytes", "3"]
    command += ["--chains", "4", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-2_000:]
    row = next(line for line in done.stdout.splitlines() if line.startswith("| kzpcap |"))
    assert float(row.split("|")[3]) > 0
    assert "| decode, flows, choose packets |" in done.stdout
    assert list((tmp_path / "build" / "bench").iterdir()) == []


@pytest.mark.parametrize("shape", ["scan", "bytes"])
def test_small_shapes(shape, tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "shapes.py"), "--largest", "2000", "--shape", shape]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr[-2_000:]
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith(f"| {shape} |")]
    assert [int(row[2].replace(",", "")) for row in rows] == [20, 200, 2_000]
    assert all(float(row[4]) > 0 for row in rows)


def test_a_small_load(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "uploads.py"), "--count", "4", "--megabytes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    assert "4 arrived whole" in done.stdout


def test_a_small_run_on_all_cores(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "bench.py"), "--cores", "2", "--megabytes", "2"]
    command += ["--chains", "4", "--rounds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert "| 1 | " in done.stdout
    assert "2 captures of 2 MB" in done.stdout
    assert list((tmp_path / "build" / "bench").iterdir()) == []
