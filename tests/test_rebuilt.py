"""An app that records by a tunnel makes the headers itself: TTLs mean nothing then, and decide nothing."""

from __future__ import annotations

import json
import random
import sys

import dpkt
import pytest

from tests.conftest import CAPTURES, run

sys.path.insert(0, str(CAPTURES))
from recipes.packets import ACK, PSH, RST, SPRING_2026, Capture, Connection
from recipes.tls import client_hello

RAW, ETHERNET = 101, 1


def recorded(path, link, ttls, reset):
    """A hello that is answered with a reset, as it was recorded on a link."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.ttl = list(ttls)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("vk.com", random.Random(1)))
    connection.packet(1, RST | ACK, wait=0.01, ttl=reset)
    with path.open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=link)
        for time, frame in capture.packets:
            writer.writepkt(frame[14:] if link == RAW else frame, time)
    return path


@pytest.mark.parametrize(
    ("link", "ttls", "rebuilt"),
    [(RAW, (64, 64), True), (RAW, (64, 57), False), (RAW, (63, 57), False), (ETHERNET, (64, 64), False)],
    ids=["rebuilt", "an interface without a link layer", "a router's", "one link"],
)
def test_where_no_ttl_was_ever_lowered_and_there_is_no_link(link, ttls, rebuilt, tmp_path):
    path = recorded(tmp_path / "c.pcap", link, ttls, 64)
    document = json.loads(run("analyze", "--json", str(path)).stdout)
    assert document["capture"]["headers_rebuilt"] is rebuilt
    (one,) = document["connections"]
    assert bool(one["hop_counts"]) is not rebuilt
    assert (one["timing"]["reach_km"] is None) is rebuilt
    assert one["place"]["where"] == "unknown"
    if rebuilt:
        assert "TTLs mean nothing" in document["capture"]["vantage"]["basis"]


def test_a_ttl_that_was_lowered_refutes_it(tmp_path):
    """Both sides' SYNs are fresh, a proxy's next door: but the reset has come through routers."""
    path = recorded(tmp_path / "c.pcap", RAW, (64, 64), 57)
    document = json.loads(run("analyze", "--json", str(path)).stdout)
    assert document["capture"]["headers_rebuilt"] is False
    assert [one["rule_id"] for one in document["connections"]] == ["reset-by-another-sender"]
