"""The spill gives observations back in order, also when they went to its temporary file."""

from __future__ import annotations

from kzpcap import analyze, reference, spill
from tests.conftest import CAPTURES


def test_what_was_spilled_comes_back_in_order(monkeypatch):
    path = str(CAPTURES / "tricks" / "capture.pcapng")
    data = reference.load()

    def verdicts():
        report = analyze(path, data)
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
