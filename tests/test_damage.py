"""Every capture of captures/ cut at many lengths and with flipped bits: no traceback, always what could be read."""

from __future__ import annotations

import random

import pytest

from kzpcap import analyze, reference
from kzpcap.errors import CaptureError
from tests.conftest import CAPTURES

PATHS = sorted(CAPTURES.glob("*/capture.pcapng"))
REFERENCE = reference.load()


def judged(path):
    report = analyze(str(path), REFERENCE)
    try:
        connections = list(report.connections())
    finally:
        report.close()
    return report, connections


def block_ends(raw):
    """Where the blocks of a pcapng end, walked independently of kzpcap's reader."""
    ends, at = {0: False}, 0
    while at < len(raw):
        is_packet = raw[at : at + 4] == b"\6\0\0\0"
        at += int.from_bytes(raw[at + 4 : at + 8], "little")
        ends[at] = is_packet
    return ends


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.parent.name)
def test_cut_anywhere(path, tmp_path):
    whole = path.read_bytes()
    ends = block_ends(whole)
    before = judged(path)[0].capture["packets"]["read"]
    rng = random.Random(1)
    seen = 0
    for length in sorted({0, 1, 4, 27, *(rng.randrange(len(whole)) for _ in range(60))}):
        cut = tmp_path / "cut"
        cut.write_bytes(whole[:length])
        try:
            report, _ = judged(cut)
        except CaptureError as error:
            assert length < 28, str(error)
            continue
        packets = report.capture["packets"]["read"]
        assert seen <= packets <= before, "packets before the cut are kept"
        assert packets == sum(is_packet for end, is_packet in ends.items() if end <= length), (
            "every whole packet block is read"
        )
        seen = packets
        offsets = [note["offset"] for note in report.capture["notes"]]
        assert length in ends or max(end for end in ends if end <= length) in offsets


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.parent.name)
def test_flipped_bits(path, tmp_path):
    whole = path.read_bytes()
    rng = random.Random(2)
    for _ in range(40):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 1, 8, 64))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        file = tmp_path / "damaged"
        file.write_bytes(damaged)
        try:
            judged(file)
        except CaptureError as error:
            assert str(error)
