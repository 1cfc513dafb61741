"""Programs that share none of our code read the same: tshark the handshakes, dpkt and scapy the packets."""

from __future__ import annotations

import gzip
import json
import os
import shutil

import jsonschema
import pytest

from kzpcap import analyze, reference
from kzpcap import corroborate as comparison
from kzpcap.capture.health import Notes
from kzpcap.capture.source import open_source
from kzpcap.capture.witnesses import with_tshark
from kzpcap.report import terminal
from kzpcap.report.json import schema
from tests.conftest import CAPTURES, corpus_files, lab_files, run

PATHS = sorted(CAPTURES.glob("*/capture.pcap*"))


# What a witness cannot do: dpkt reads no cooked mode of version 2, tshark shows no handshake message that was cut.
NOTHING_TO_COMPARE = {(name, "dpkt") for name in ("lab-any", "lab-antivirus", "lab-antivirus-and-box")}
NOTHING_TO_COMPARE.add(("lab-snaplen", "tshark"))
# The origin's SYN-ACK comes past the box on another way, with other sequence numbers: tshark begins a new conversation.
STRAY_SYN_ACK = ("lab-ecmp-past-the-box", "tshark")


def corroborate(path, witness):
    return comparison.corroborate(open_source(path, Notes(), want_digest=False), witness)


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
    case = (path.parent.name, witness)
    if case == STRAY_SYN_ACK:
        assert all(difference.theirs == [] for difference in result.differences)
    else:
        assert result.differences == []
    assert (result.compared > 0) == (case not in NOTHING_TO_COMPARE)
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


def test_a_compressed_capture_and_standard_input_are_read_by_the_witness_too(tmp_path):
    packed = tmp_path / "capture.pcapng.gz"
    packed.write_bytes(gzip.compress(PATHS[0].read_bytes()))
    done = run("corroborate", "--witness", "dpkt", str(packed))
    assert done.returncode == 0, done.stderr
    assert b"no difference" in done.stdout
    needs_tshark()
    done = run("analyze", "--json", "--corroborate", "-", stdin=packed.read_bytes())
    document = json.loads(done.stdout)
    jsonschema.validate(document, schema())
    assert document["corroboration"]["witness"].startswith("tshark ")
    assert document["corroboration"]["connections"] == len(document["connections"]) > 0
    assert {connection["corroboration"] for connection in document["connections"]} == {"agrees"}


def test_what_a_witness_reads_otherwise_is_told_of_its_connection(monkeypatch):
    """A witness that read another name, and a connection that we do not have."""
    path = str(CAPTURES / "kz-2019-rcku" / "capture.pcapng")
    other = with_tshark.HandshakeSeen(("192.0.2.10", 50_002), ("203.0.113.80", 443), 25, "vk.com")
    extra = with_tshark.HandshakeSeen(("192.0.2.99", 1), ("203.0.113.80", 443), 30, "vk.com")
    monkeypatch.setattr(with_tshark, "version", lambda: "tshark 0.0.0")
    monkeypatch.setattr(with_tshark, "handshakes", lambda file: [other, extra])
    report = analyze(path, reference.load())
    comparison.corroborate_report(report, None)
    lines = []
    terminal.write(report, terminal.Options("capture"), lines.append)
    report.close()
    assert list(report.outcomes.values()) == ["not_seen", "differs", "not_seen"]
    told = [(d["frame"], d["field"]) for d in report.corroboration["differences"]]
    assert told == [(25, "server_name"), (28, "certificates"), (30, "handshake")]
    text = "".join(lines)
    assert "tshark 0.0.0: 1 connection, 2 fields, 3 differences; 2 that it does not read" in text
    assert "frame 25: server_name: ours 'www.facebook.com', theirs 'vk.com'" in text


def test_a_witness_that_cannot_read_agrees_with_nothing(tmp_path, monkeypatch):
    program = tmp_path / "tshark"
    program.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "TShark 4.0.17" && exit 0\necho "it is broken" >&2\nexit 2\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = run("corroborate", CAPTURES / "kz-2019-rcku" / "capture.pcapng")
    assert done.returncode == 3
    assert b"tshark ended with status 2: it is broken" in done.stderr
    done = run("analyze", "--json", "--corroborate", CAPTURES / "kz-2019-rcku" / "capture.pcapng")
    report = json.loads(done.stdout)
    assert report["corroboration"]["failed"] == "tshark ended with status 2: it is broken"
    assert {one.get("corroboration") for one in report["connections"]} == {None}
    shown = run("analyze", "--corroborate", CAPTURES / "kz-2019-rcku" / "capture.pcapng").stdout
    assert b"compared nothing: tshark ended with status 2" in shown
    assert b"no difference" not in shown
