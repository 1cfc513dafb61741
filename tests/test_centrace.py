"""CenTrace's two TLS cases: target and control are separate files, laid together by time, the names are on no list."""

from __future__ import annotations

import json

import pytest
from scapy.layers.inet import ICMP, IP, TCP
from scapy.utils import PcapReader

from kzpcap import analyze, reference
from kzpcap.analysis import Reading
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


def expected():
    path = CORPUS / "extras" / "centrace_expected.json"
    if not path.exists():
        pytest.skip(f"0 expectations of CenTrace at {CORPUS}: set KZPCAP_CORPUS")
    return json.loads(path.read_text())


def exceeded_by_ttl(name):
    """Probe TTL to the routers whose Time Exceeded quotes it: our errors, matched to probes as scapy reads them."""
    path = str(CORPUS / "files" / name)
    sent = {}
    with PcapReader(path) as packets:
        for packet in packets:
            if TCP in packet and ICMP not in packet:
                sent.setdefault((packet[IP].id, packet[TCP].sport), packet[IP].ttl)
    reading = Reading(path)
    try:
        for _ in reading.flows():
            pass
        errors = [error for error in reading.icmp_errors() if error.time_exceeded]
    finally:
        reading.close()
    found = {}
    for error in errors:
        found.setdefault(sent.get((error.q_id, error.q_sport)), []).append(error.outer_src)
    return found


@pytest.mark.parametrize(
    ("test", "count"), [("test_parse_timeout", 14), ("test_find_icmp_correctly", 7)], ids=["nifty", "torproject"]
)
def test_icmp_answers_of_probes_over_http(test, count):
    """CenTrace's probes over HTTP on port 80: no TLS, so only the ICMP answers are compared."""
    (entry,) = (one for one in expected() if one["test"] == test)
    assert f"ICMPResponse.TTL), {count})" in " ".join(entry["asserts"]), "what CenTrace counts"
    answered = exceeded_by_ttl(entry["files"][0])
    assert None not in answered, "each quote is of a probe that was sent"
    assert sum(map(len, answered.values())) == count
    assert all(len(set(routers)) == 1 for routers in answered.values())


@pytest.mark.parametrize("middlebox", ["134.0.217.233", "194.154.209.226", "94.20.50.158"])
def test_the_router_that_centrace_names_is_where_it_says(middlebox):
    """The middlebox of CenTrace is the router of the control at a TTL at which the target was answered no more."""
    entry = next(one for one in expected() if f"'{middlebox}'" in " ".join(one["asserts"]))
    target, control = (exceeded_by_ttl(name) for name in entry["files"])
    ttls = [ttl for ttl, routers in control.items() if middlebox in routers]
    assert ttls
    last = max(target, default=0)
    assert any(ttl >= last for ttl in ttls), (ttls, last)
