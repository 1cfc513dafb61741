"""Programs that share none of our code read the same: tshark the handshakes, dpkt and scapy the packets."""

from __future__ import annotations

import os
import shutil

import pytest

from kzpcap.corroborate import corroborate
from tests.conftest import CAPTURES, corpus_files, lab_files, run

PATHS = sorted(CAPTURES.glob("*/capture.pcapng"))


def needs_tshark():
    if shutil.which("tshark") is None:
        if os.environ.get("CI"):
            pytest.fail("tshark is not installed, and in CI every witness must be")
        pytest.skip("tshark is not installed (Debian: apt install tshark)")


@pytest.mark.parametrize("witness", ["tshark", "dpkt", "scapy"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.parent.name)
def test_a_witness_reads_the_same(path, witness):
    if witness == "tshark":
        needs_tshark()
    result = corroborate(str(path), witness)
    assert result.differences == []
    assert result.compared > 0
    assert result.fields >= result.compared


def test_tshark_reads_the_laboratory_the_same():
    needs_tshark()
    compared = 0
    for path in lab_files():
        result = corroborate(str(path), "tshark")
        assert [d for d in result.differences if d.frame] == [], path.name
        compared += result.compared
    assert compared > 150


@pytest.mark.parametrize("witness", ["dpkt", "scapy"])
def test_packets_of_the_corpus_read_the_same(witness):
    """Plain Ethernet captures of one category; where a witness gives up on a packet, that is no difference."""
    chosen = [path for path in corpus_files() if path.name.startswith("mitmengine__browsers__computer-OS_X")][:12]
    for path in chosen:
        assert corroborate(str(path), witness).differences == [], path.name


def test_a_missing_witness_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    done = run("corroborate", str(PATHS[0]))
    assert done.returncode == 5
    assert b"apt install tshark" in done.stderr


def test_the_command_line():
    done = run("corroborate", "--witness", "dpkt", str(PATHS[0]))
    assert done.returncode == 0
    assert b"no difference" in done.stdout
    assert run("corroborate", "--witness", "nobody", str(PATHS[0])).returncode == 2
