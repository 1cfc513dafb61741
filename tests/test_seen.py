"""The certificates of a capture, beyond what is kept in memory: all of them, in order, as they were."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import analyze, reference
from kzpcap.certificates import certificate, seen
from kzpcap.certificates.seen import Digests, SeenCertificates
from kzpcap.kept import by_digest, kept
from tests.conftest import CAPTURES

ROOTS = [ca.certificate.der for ca in reference.load().interception_cas]
LEAVES = [b"no certificate %d" % number for number in range(20)]


@pytest.fixture(autouse=True)
def little_room(monkeypatch):
    monkeypatch.setattr(seen, "KEPT", 4)


def test_what_made_room_comes_back():
    store = SeenCertificates()
    given = [*LEAVES[:10], *ROOTS, *LEAVES[10:]]
    names = [store.add(der).sha256 for der in given]
    assert [store.add(der).sha256 for der in given] == names
    assert list(store) == names
    assert len(store) == len(given)
    assert len(store.parsed) <= 4
    assert [found.der for found in store.values()] == given
    assert all(store[name] == certificate.parse(der) for name, der in zip(names, given, strict=True))
    assert names[0] in store
    assert "00" * 32 not in store
    assert "no digest" not in store
    with pytest.raises(KeyError):
        store["00" * 32]
    store.close()


def test_each_is_told_with_its_first_frames():
    store = SeenCertificates()
    once, often, never = (store.add(der).sha256 for der in LEAVES[:3])
    store.seen(once, 7)
    for frame in range(1, 20):
        store.seen(often, frame)
    assert store.frames_of(once) == [7]
    assert store.frames_of(often) == list(range(1, 1 + seen.MAX_FRAMES))
    assert store.frames_of(never) == []
    store.close()


def test_authorities_are_bounded(monkeypatch):
    monkeypatch.setattr(seen, "MAX_AUTHORITIES", 2)
    store = SeenCertificates()
    for der in (*LEAVES[:3], *ROOTS):
        store.add(der)
    assert [found.der for found in store.authorities] == ROOTS[:2]
    assert store.authorities_left_out == len(ROOTS) - 2
    store.close()


@pytest.mark.parametrize("name", ["lab-kz-take-over", "products-and-strangers", "tricks"])
def test_a_report_is_the_same_with_little_room(name):
    (path,) = (CAPTURES / name).glob("capture.pcap*")
    command = [sys.executable, "-m", "kzpcap", "analyze", "--json", str(path)]
    usual = json.loads(subprocess.check_output(command))
    report = analyze(str(path), reference.load())
    try:
        states = [connection.verdict.state.value for connection in report.connections()]
        assert states == [connection["state"] for connection in usual["connections"]]
        assert list(report.surroundings.certificates) == list(usual["certificates"])
        frames = [report.surroundings.certificates.frames_of(name) for name in usual["certificates"]]
        assert frames == [entry["frames"] for entry in usual["certificates"].values()]
        assert report.surroundings.certificates.file is not None or len(usual["certificates"]) <= 4
    finally:
        report.close()


@given(st.lists(st.integers(0, 40), max_size=80))
def test_digests_are_numbered_as_a_dictionary_would(values):
    digests, wanted = Digests(), {}
    for value in values:
        digest = hashlib.sha256(bytes([value])).digest()
        assert digests.find(digest) == wanted.get(digest, -1)
        assert (digest in digests) == (digest in wanted)
        if digest not in wanted:
            wanted[digest] = len(wanted)
            digests.add(digest)
    assert list(digests) == list(wanted)
    assert [digests.find(digest) for digest in wanted] == list(wanted.values())
    assert digests.find(b"") == -1


def test_large_ones_make_room_by_their_weight(monkeypatch):
    monkeypatch.setattr(seen, "KEPT", 1_000)
    monkeypatch.setattr(seen, "MAX_WEIGHT", 100_000)
    store = SeenCertificates()
    large = [b"no certificate" + bytes([number]) * 30_000 for number in range(20)]
    for der in (*large, *ROOTS):
        store.add(der)
        assert sum(found.weight for found in store.parsed.values()) == store.weight <= 100_000
    assert [found.der for found in store.values()] == [*large, *ROOTS]
    store.close()


def test_nothing_is_remembered_of_what_is_large():
    asked = []

    @kept(8, 100)
    def work(one, other=()):
        asked.append(one)
        return len(one)

    for _ in range(3):
        assert work(b"a" * 90) == 90
        assert work(b"b" * 101) == 101
        assert work(b"c", ("d" * 60, "e" * 60)) == 1
    assert [one[:1] for one in asked] == [b"a", b"b", b"c", b"b", b"c", b"b", b"c"]


def test_answers_about_certificates_are_kept_by_their_digests():
    asked = []

    @by_digest(4)
    def work(one, other):
        asked.append((one.common_name, other.common_name))
        return None if one is other else len(asked)

    first, second, third = (certificate.parse(der) for der in ROOTS[:3])
    assert [work(first, second), work(first, second), work(second, first), work(first, second)] == [1, 1, 2, 1]
    assert work(third, third) is work(third, third) is None
    assert len(asked) == 3
    for one in (first, second):
        work(one, third)
    assert work(second, first) == 6, "the half that came first made room"
