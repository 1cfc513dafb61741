"""kzpcap as a library: its names, what it takes, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import CAPTURES


def test_the_library_takes_paths_and_shows_what_it_has():
    import kzpcap

    assert set(dir(kzpcap)) == set(kzpcap.__all__)
    assert all(getattr(kzpcap, name) is not None for name in kzpcap.__all__)
    with kzpcap.analyze(CAPTURES / "kz-2019-rcku" / "capture.pcapng", kzpcap.reference.load()) as report:
        assert [one.verdict.state for one in report.connections()].count(kzpcap.State.INTERCEPTED) == 1


def test_an_analysis_that_fails_leaves_no_file_open(monkeypatch):
    from kzpcap import analysis, reference

    loaded = reference.load()
    path = CAPTURES / "kz-2019-ladder" / "capture.pcapng"
    monkeypatch.setattr(analysis, "survey", lambda _: (_ for _ in ()).throw(OSError("no room")))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(OSError, match="no room"):
            analysis.analyze(path, loaded)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1, "the table of addresses stays open"
