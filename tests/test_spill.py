"""The spill gives observations back in order, as they were, also when they went to its temporary file."""

from __future__ import annotations

import pytest

from kzpcap import analyze, reference, spill
from tests.conftest import CAPTURES, LAB

PATHS = sorted(CAPTURES.glob("*/capture.pcap*")) + sorted(
    path for path in (LAB / "captures").glob("*") if path.suffix in (".pcap", ".pcapng")
)
DATA = reference.load()


def test_what_was_spilled_comes_back_in_order(monkeypatch):
    path = str(CAPTURES / "tricks" / "capture.pcapng")

    def verdicts():
        report = analyze(path, DATA)
        try:
            return [
                (c.observation.first_frame, c.verdict.rule.id, c.observation.server_name) for c in report.connections()
            ]
        finally:
            report.close()

    in_memory = verdicts()
    monkeypatch.setattr(spill, "SPILL_AFTER", 3)
    spilled = verdicts()
    assert spilled == in_memory
    assert [frame for frame, _, _ in spilled] == sorted(frame for frame, _, _ in spilled)


def shape(value):
    """The value with the type of everything in it."""
    return type(value), [shape(one) for one in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_is_packed_comes_back_as_it_was(path):
    report = analyze(str(path), DATA, want_digest=False)
    for observation in report.spill:
        assert shape(spill.unpack(spill.pack(observation))) == shape(observation)
