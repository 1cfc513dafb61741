"""An answer that came sooner than any SYN-ACK of the same address: told, and nothing is concluded from it."""

from __future__ import annotations

import random
import sys

import pytest

from kzpcap import analyze, reference
from tests.conftest import CAPTURES

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain
from recipes.packets import JULY_2019, Capture, Connection
from recipes.tls import client_hello, server_flight


@pytest.mark.parametrize(
    ("wait", "told"), [(0.003, True), (0.014, True), (0.020, False), (0.150, False)], ids=["3", "14", "20", "150"]
)
def test_sooner_than_the_syn(wait, told, tmp_path):
    """The SYN-ACK of this address takes 31 ms."""
    rng = random.Random(1)
    capture = Capture(JULY_2019)
    talk = Connection(capture, 50_001)
    talk.open()
    talk.send(0, client_hello("rcku.kz", rng))
    talk.send(1, server_flight(genuine_chain(), 0x009C, rng), wait=wait)
    talk.close()
    capture.write(tmp_path / "capture.pcapng")
    report = analyze(str(tmp_path / "capture.pcapng"), reference.load())
    (connection,) = report.connections()
    report.close()
    remarks = [remark.says for remark in connection.verdict.remarks if "came after" in remark.says]
    assert bool(remarks) is told
    assert connection.verdict.rule.id == "publicly-trusted"
    if told:
        assert "no SYN-ACK of this address in under 31.0 ms" in remarks[0]
