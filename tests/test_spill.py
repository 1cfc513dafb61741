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
    monkeypatch.setattr(spill, "SPILL_ALL", 5)
    assert spilled == verdicts() == in_memory
    assert [frame for frame, _, _ in spilled] == sorted(frame for frame, _, _ in spilled)


def test_the_first_are_in_memory_until_there_are_many(monkeypatch):
    report = analyze(str(CAPTURES / "tricks" / "capture.pcapng"), DATA, want_digest=False)
    one = next(iter(report.spill))
    report.close()
    monkeypatch.setattr(spill, "SPILL_AFTER", 3)
    monkeypatch.setattr(spill, "SPILL_ALL", 6)
    store = spill.Spill()
    given = [one._replace(number=number, first_frame=100 - number) for number in range(1, 11)]
    held = []
    for number, observation in enumerate(given, 1):
        store.append(observation)
        held.append(len(store.memory))
        assert [store.get(at) for at in range(1, number + 1)] == given[:number]
    assert held == [1, 2, 3, 3, 3, 3, 0, 0, 0, 0]
    assert list(store) == given[::-1]
    with pytest.raises(IndexError):
        store.get(11)
    store.close()


def shape(value):
    """The value with the type of everything in it."""
    return type(value), [shape(one) for one in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_is_packed_comes_back_as_it_was(path):
    report = analyze(str(path), DATA, want_digest=False)
    for observation in report.spill:
        assert shape(spill.unpack(spill.pack(observation))) == shape(observation)


def test_what_a_peer_makes_long_is_not_kept_in_memory(monkeypatch):
    """Names of 60 kB, chains of many: a capture of a few hundred megabytes held two gigabytes of them."""
    report = analyze(str(CAPTURES / "tricks" / "capture.pcapng"), DATA, want_digest=False)
    one = next(iter(report.spill))
    report.close()
    long = [
        one._replace(server_name_raw=b"n" * 60_000, server_name="n" * 60_000),
        one._replace(alpn_offered=(b"p" * 250,) * 250),
        one._replace(chain=("0" * 64,) * 500),
        one._replace(other_names=("o" * 60_000,)),
        one._replace(requested_name=b"r" * 60_000),
    ]
    assert spill.weight_of(one) < 2_000
    assert min(map(spill.weight_of, long)) > 50_000
    monkeypatch.setattr(spill, "MAX_WEIGHT", 200_000)
    store = spill.Spill()
    given = [kind._replace(number=number, first_frame=number) for number, kind in enumerate(long * 20, 1)]
    for observation in given:
        store.append(observation)
        assert sum(map(spill.weight_of, store.memory)) <= 200_000
    assert list(store) == given
    assert [store.get(number) for number in range(1, 101)] == given
    store.close()
