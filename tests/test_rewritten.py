"""The same packets in another dress are judged alike: other containers, links, points of capture, and company."""

from __future__ import annotations

import json
import struct
from functools import cache

import dpkt
import pytest

from kzpcap import analyze, reference
from kzpcap.capture.container import open_records
from kzpcap.capture.health import Notes
from kzpcap.capture.source import open_source
from tests.conftest import CAPTURES

DIRECTORIES = sorted(path.parent for path in CAPTURES.glob("*/truth.json"))
ETHERNET, RAW, COOKED = 1, 101, 113
BESIDE = bytes.fromhex("02005e00530102005e005300080045000030000100004011b6990a0000010a0000029c409c41001c0000") + bytes(
    20
)
"""A datagram between two others of that network."""


def packets(path):
    """(link type, [(nanoseconds, frame)], key log) of a capture; None where the packets are of several kinds."""
    with path.open("rb") as file:
        kind = dpkt.pcapng.Reader if file.read(4) == b"\n\r\r\n" else dpkt.pcap.Reader
        file.seek(0)
        reader = kind(file)
        link = reader.datalink()
        found = [(round(when * 1_000_000) * 1_000, frame) for when, frame in reader]
    notes = Notes()
    source = open_source(str(path), notes, False)
    records = open_records(source.raw, notes)
    while records.advance():
        pass
    secrets = b"".join(records.secrets)
    cut = any(len(frame) < 34 for _, frame in found)
    del records
    source.close()
    return (link, found, secrets) if not notes.counts["damaged"] and not cut else None


def write(path, link, found):
    """As pcap, big-endian, with nanoseconds."""
    raw = [struct.pack(">IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, link)]
    for when, frame in found:
        raw.append(struct.pack(">IIII", *divmod(when, 10**9), len(frame), len(frame)) + frame)
    path.write_bytes(b"".join(raw))


def is_ip(frame):
    return frame[12:14] in (b"\x08\x00", b"\x86\xdd")


def tagged(link, found):
    return link, [(when, frame[:12] + b"\x88\xa8\x00\x07\x81\x00\x00\x64" + frame[12:]) for when, frame in found]


def cooked(_, found):
    head = b"\0\0\0\1\0\6\2\0\x5e\0\x53\0\0\0"
    return COOKED, [(when, head + frame[12:]) for when, frame in found]


def raw(_, found):
    return RAW, [(when, frame[14:]) for when, frame in found if is_ip(frame)]


def labelled(link, found):
    mpls = b"\x88\x47\x00\x01\x01\x40"
    return link, [(when, frame[:12] + mpls + frame[14:] if is_ip(frame) else frame) for when, frame in found]


def padded(link, found):
    return link, [(when, frame + b"\xde\xad\xbe\xef") for when, frame in found]


def twice(link, found):
    return link, [(when + later, frame) for when, frame in found for later in (0, 3_000)]


def in_company(link, found):
    return link, [(when, one) for when, frame in found for one in (BESIDE, frame, BESIDE)]


def as_it_is(link, found):
    return link, found


DRESSES = (tagged, cooked, raw, labelled, padded, twice, in_company)


@cache
def given(directory):
    options = json.loads((directory / "truth.json").read_text())["options"]
    names = ("trusted_root", "interception_ca", "keylog")
    roots, boxes, keys = ([directory / file for file in options.get(name, ())] for name in names)
    return reference.load(trusted_roots=roots, interception_cas=boxes), b"".join(path.read_bytes() for path in keys)


def told(path, directory, secrets):
    known, keys = given(directory)
    with analyze(str(path), known, keylog=keys + secrets, want_digest=False) as report:
        connections = [
            (
                one.observation.server_name,
                one.verdict.state,
                one.verdict.rule.id,
                one.verdict.interceptor,
                one.verdict.place.where,
                one.verdict.place.bound,
                one.verdict.also,
                one.observation.chain,
                (one.observation.ja3, one.observation.ja3s, one.observation.ja4),
                (one.observation.probe_ttl, one.observation.failed, one.observation.history),
                [(mark.what, mark.ttl) for mark in one.observation.server_marks],
            )
            for one in report.connections()
        ]
        ladders = [
            (
                one.interceptor_ttl,
                one.effect,
                one.bound,
                one.placement,
                one.control_terminating_ttl,
                one.destination_ttl,
            )
            for one in report.ladders
        ]
    return connections, ladders


@pytest.mark.parametrize("directory", DIRECTORIES, ids=lambda path: path.name)
def test_another_dress_changes_no_answer(directory, tmp_path):
    truth = json.loads((directory / "truth.json").read_text())
    read = packets(directory / truth.get("capture", "capture.pcapng"))
    if read is None:
        pytest.skip("damaged on purpose, or cut")
    link, found, secrets = read
    path = tmp_path / "capture.pcap"
    write(path, link, found)
    expected = told(path, directory, secrets)
    assert expected[0]
    for dress in DRESSES if link == ETHERNET else (twice,):
        write(path, *dress(link, found))
        connections, ladders = told(path, directory, secrets)
        if dress is raw:  # without a link layer, and with no TTL lowered, an app may have rebuilt the headers
            assert all(one[4] in (was[4], "unknown") for one, was in zip(connections, expected[0], strict=True))
            connections = [(*one[:4], was[4], *one[5:]) for one, was in zip(connections, expected[0], strict=True)]
        assert (connections, ladders) == expected, dress.__name__
