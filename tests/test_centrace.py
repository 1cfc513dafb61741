"""CenTrace's two TLS cases: target and control are separate files, merged here by time, the names are on no list."""

from __future__ import annotations

import struct

import pytest

from kzpcap import analyze, reference
from kzpcap.capture.container import Records
from kzpcap.capture.health import Notes
from tests.conftest import CORPUS


def merged(tmp_path, *names):
    packets, link = [], 1
    for name in names:
        path = CORPUS / "files" / f"centrace__{name}.pcap"
        if not path.exists():
            pytest.skip(f"0 captures of the corpus at {CORPUS}: set KZPCAP_CORPUS")
        raw = path.read_bytes()
        records = Records(raw, Notes())
        while records.advance():
            body = raw[records.offset : records.offset + records.captured]
            packets.append((records.time_ns, body, records.original))
            link = records.link_type
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, link)
    for time_ns, body, original in sorted(packets, key=lambda packet: packet[0]):
        out += struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9 // 1000, len(body), original) + body
    path = tmp_path / "merged.pcap"
    path.write_bytes(out)
    report = analyze(str(path), reference.load())
    states = [connection.verdict.state.value for connection in report.connections()]
    report.close()
    return report.ladders, states


def test_a_reset_injector_beside_the_path(tmp_path):
    """CenTrace: on_path. The blocked series is the target though its name is on no list."""
    (ladder,), states = merged(
        tmp_path, "222.138.4.221_archive.org_archive.org", "222.138.4.221_archive.org_example.com"
    )
    assert (ladder.server_name, ladder.control_server_name) == ("archive.org", "example.com")
    assert (ladder.interceptor_ttl, ladder.effect, ladder.bound) == (13, "reset", "exact")
    assert ladder.placement == "on_path"
    assert (ladder.last_clean_hop.address, ladder.first_intercepted_hop.address) == ("219.158.16.77", "219.158.18.65")
    assert states.count("interfered") == 6


def test_a_closed_port_is_no_interceptor(tmp_path):
    """CenTrace names a middlebox here, and these packets do not carry it.

    The server refuses every SYN with a reset, of target and control alike, so no connection exists; the reset of the
    probe with TTL 14 has TTL 238 where the others have 239, as that connection's first one does (46 for 47): the path
    had become a hop longer. Nothing is concluded.
    """
    ladders, states = merged(
        tmp_path, "200.115.176.142_binance.com_binance.com", "200.115.176.142_binance.com_example.com"
    )
    assert [ladder.interceptor_ttl for ladder in ladders] == [None]
    assert set(states) == {"undetermined"}
