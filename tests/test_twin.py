"""The genuine twin, in the capture or given: side by side for a reader, field by field in the report."""

from __future__ import annotations

import json

import dpkt

from kzpcap.reference import DATA
from tests.conftest import CAPTURES, run


def one_connection(tmp_path, first, last):
    """Some frames of the reconstruction of July 2019."""
    path = tmp_path / "capture.pcap"
    with path.open("wb") as file, (CAPTURES / "kz-2019-rcku" / "capture.pcapng").open("rb") as original:
        writer = dpkt.pcap.Writer(file)
        for number, (when, packet) in enumerate(dpkt.pcapng.Reader(original), 1):
            if first <= number <= last:
                writer.writepkt(packet, ts=when)
    return str(path)


def test_a_genuine_certificate_that_was_given_is_the_twin(tmp_path):
    folder = tmp_path / "genuine"
    folder.mkdir()
    (folder / "leaf.pem").write_bytes((DATA / "specimens" / "rcku.kz_genuine_leaf_thawte.pem").read_bytes())
    path = one_connection(tmp_path, 22, 41)
    alone = json.loads(run("analyze", "--json", path).stdout)["connections"][0]
    assert alone["twin"] is None
    given = json.loads(run("analyze", "--json", "--genuine", str(folder), path).stdout)
    twin = given["connections"][0]["twin"]
    assert twin["given"]
    assert twin["frame"] is None
    assert twin["shift_seconds"] == -21_600
    assert twin["serial_difference"] == "0xadb3ae52"
    assert twin["extensions_dropped"] == [
        "CRL distribution points",
        "certificate policies",
        "authority information access",
        "SCT list",
    ]
    assert not given["reference"]["laboratory"]
    assert any(name.startswith("genuine:") for name in given["reference"]["supplied"])
    text = run("analyze", "--genuine", str(folder / "leaf.pem"), path).stdout.decode()
    assert "  serial    0d04ed93debd7f87ad349e963333f23a ! 0d04ed93debd7f87ad349e95858043e8\n" in text
    assert "            authority key id, issuer, serial ! authority key id\n" in text
    assert max(map(len, text.splitlines())) <= 80


def test_what_is_given_as_genuine_must_be_trusted_that_day(tmp_path):
    """The forged leaf given as genuine makes nothing a copy, and that is told."""
    forged = DATA / "specimens" / "kz2019_injected_leaf_rcku.kz.pem"
    done = run("analyze", "--json", "--genuine", str(forged), one_connection(tmp_path, 1, 21))
    document = json.loads(done.stdout)
    assert document["connections"][0]["twin"] is None
    assert [note["kind"] for note in document["capture"]["notes"]] == ["given"]
    assert run("analyze", "--genuine", str(tmp_path / "none.pem"), str(forged)).returncode == 4
