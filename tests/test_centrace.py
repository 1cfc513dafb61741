"""CenTrace's two TLS cases: target and control are separate files, laid together by time, the names are on no list."""

from __future__ import annotations

import pytest

from kzpcap import analyze, reference
from kzpcap.capture.together import open_together
from tests.conftest import CORPUS


def merged(*names):
    """Both files as `kzpcap analyze --together` reads them."""
    paths = [CORPUS / "files" / f"centrace__{name}.pcap" for name in names]
    if not all(path.exists() for path in paths):
        pytest.skip(f"0 captures of the corpus at {CORPUS}: set KZPCAP_CORPUS")
    ((_, source, notes),) = open_together([str(path) for path in paths])
    report = analyze(source, reference.load(), notes=notes)
    states = [connection.verdict.state.value for connection in report.connections()]
    report.close()
    return report.ladders, states


def test_a_reset_injector_beside_the_path():
    """CenTrace: on_path. The blocked series is the target though its name is on no list."""
    (ladder,), states = merged("222.138.4.221_archive.org_archive.org", "222.138.4.221_archive.org_example.com")
    assert (ladder.server_name, ladder.control_server_name) == ("archive.org", "example.com")
    assert (ladder.interceptor_ttl, ladder.effect, ladder.bound) == (13, "reset", "exact")
    assert ladder.placement == "on_path"
    assert (ladder.last_clean_hop.address, ladder.first_intercepted_hop.address) == ("219.158.16.77", "219.158.18.65")
    assert states.count("interfered") == 6


def test_a_closed_port_is_no_interceptor():
    """CenTrace names a middlebox here, and these packets do not carry it.

    The server refuses every SYN with a reset, of target and control alike, so no connection exists; the reset of the
    probe with TTL 14 has TTL 238 where the others have 239, as that connection's first one does (46 for 47): the path
    had become a hop longer. Nothing is concluded.
    """
    ladders, states = merged("200.115.176.142_binance.com_binance.com", "200.115.176.142_binance.com_example.com")
    assert [ladder.interceptor_ttl for ladder in ladders] == [None]
    assert set(states) == {"undetermined"}
