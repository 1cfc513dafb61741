"""Scrubbing: the same answers, and nothing else: every capture there is, looked through byte by byte."""

from __future__ import annotations

import ast
import ipaddress
import json
import shutil
import struct
import subprocess
import sys
from collections import Counter

import dpkt
import pytest

from kzpcap import analyze, reference
from kzpcap.capture.codes import OK
from kzpcap.capture.container import open_records
from kzpcap.capture.decode import decode
from kzpcap.capture.health import Notes
from kzpcap.capture.packet import Packet, checksum_matches
from kzpcap.capture.source import open_source
from kzpcap.errors import CaptureError
from kzpcap.scrub.choose import Choices
from kzpcap.scrub.work import scrub
from tests.conftest import CAPTURES, LAB, ROOT, corpus_files, lab_files

sys.path.insert(0, str(CAPTURES))
TRUTHS = {path.parent: json.loads(path.read_text()) for path in sorted(CAPTURES.glob("*/truth.json"))}
# The certificates of controls whose names were not given are what this rests on: it is told, and asked.
NEEDS_NAMES = {"products-and-strangers": {"bank.example", "mail.example", "news.example", "www.example.org"}}


def known(directory):
    options = TRUTHS[directory]["options"]
    return reference.load(
        None,
        None,
        [directory / name for name in options.get("trusted_root", ())],
        [directory / name for name in options.get("interception_ca", ())],
    )


def capture_of(directory):
    return directory / TRUTHS[directory].get("capture", "capture.pcapng")


def packets(raw):
    """(frame, protocol, addresses, payload, whole packet) as our own reader sees them, with link layers as they are."""
    records = open_records(raw, Notes())
    packet = Packet()
    while records.advance():
        whole = bytes(raw[records.offset : records.offset + records.captured])
        try:
            outcome = decode(packet, raw, records.offset, records.captured, records.original, records.link_type)
        except IndexError:
            outcome = -1
        if outcome != OK:
            yield records.frame, None, (), whole, whole
            continue
        size = 4 if packet.version == 4 else 16
        at = packet.address_at
        ends = bytes(raw[at : at + size]), bytes(raw[at + size : at + size * 2])
        yield records.frame, packet.protocol, ends, bytes(raw[packet.payload_at :][: packet.captured]), whole


def hardware(raw):
    """The MAC addresses of Ethernet frames."""
    records = open_records(raw, Notes())
    found = set()
    while records.advance():
        if records.link_type == 1 and records.captured >= 14:
            head = bytes(raw[records.offset : records.offset + 12])
            found |= {head[:6], head[6:]}
    return {mac for mac in found if len(set(mac)) > 2}


def windows(payload, size=32):
    """Runs of a payload that do not occur everywhere: no zeros, no single byte again and again."""
    for at in range(0, len(payload) - size + 1, 8):
        piece = payload[at : at + size]
        if len(set(piece)) > 16:
            yield piece


def unpacked(path):
    source = open_source(str(path), Notes(), False)
    try:
        return bytes(source.raw[:])
    finally:
        source.close()


def look(path, scrubbed):
    """What of the original is in the new capture and should not be, found without asking what the plan meant to do.

    The same bytes may stand in a packet that stays: a retransmission, or a certificate that a server sends every time.
    """
    raw, out = unpacked(path), scrubbed.output.read()
    wrong = []
    # Not in the headers' numbers: a checksum and what follows it may look like any address.
    spoken = [(ends, payload) for _, _, ends, payload, _ in packets(out)]
    for client in scrubbed.made.addresses.clients:
        text = str(ipaddress.ip_address(client)).encode()
        if text in out or any(client in ends or client in payload for ends, payload in spoken):
            wrong.append(f"client {text.decode()}")
    wrong += [f"MAC {mac.hex()}" for mac in hardware(raw) if mac in out]
    frames = scrubbed.written.frames
    before = {frame: (protocol, payload, whole) for frame, protocol, _, payload, whole in packets(raw)}
    after = {frame: payload for frame, _, _, payload, _ in packets(out)}
    stays = b"".join(
        bytes(a if a == b else 0 for a, b in zip(before[old][1], after[new], strict=False))
        for old, new in frames.items()
    )
    for frame, (protocol, payload, whole) in before.items():
        if frame not in frames:
            lost = whole if protocol is None else payload
            wrong += [f"dropped frame {frame}" for piece in windows(lost) if piece in out and piece not in stays][:1]
        elif protocol == 6:
            mine = after[frames[frame]].ljust(len(payload), b"\0")
            blanked = bytes(a if a != b else 0 for a, b in zip(payload, mine, strict=False))
            wrong += [f"blanked frame {frame}" for piece in windows(blanked) if piece in out and piece not in stays][:1]
    return wrong + [f"not TLS in frame {frame}" for frame in strangers(out)]


PRELUDES = (b"HTTP/1", b"CONNECT ", b"\x05\x01\x00", b"\x05\x00", b"\x05\x02", b"\x04\x01")
"""A page in a ServerHello's place, and what opens a proxy: evidence too, and looked at by tests of their own."""


def strangers(out):
    """Frames of the new capture with bytes that are neither zero nor in records of handshake, alert or cipher change.

    Read record by record, direction by direction, as RFC 8446 section 5.1 says, with none of kzpcap's code.
    """
    flows = {}
    for frame, protocol, ends, payload, whole in packets(out):
        if protocol == 6 and payload:
            at = whole.index(payload) if payload else 0
            header = (whole[0] & 15) * 4 if whole[0] >> 4 == 4 else 40
            del at
            sport, dport, seq = struct.unpack_from(">HHI", whole, header)
            flows.setdefault((ends, sport, dport), []).append((seq, frame, payload))
    for segments in flows.values():
        first = min(segments)[0]
        stream, owner = bytearray(), {}
        for seq, frame, payload in sorted(segments, key=lambda one: one[1]):
            at = (seq - first) & 0xFFFFFFFF
            if at > 1 << 20:
                continue
            stream.extend(bytes(max(0, at + len(payload) - len(stream))))
            if not any(stream[at : at + len(payload)]):
                stream[at : at + len(payload)] = payload
            owner.setdefault(at, frame)
        at = 0
        while at + 5 <= len(stream):
            kind, length = stream[at], stream[at + 3] << 8 | stream[at + 4]
            if kind == 0:
                at += 1
                continue
            if bytes(stream[at:]).startswith(PRELUDES):
                break
            if not 20 <= kind <= 24 or stream[at + 1] != 3:
                yield owner.get(at, segments[0][1])
                break
            if kind == 23 and any(stream[at + 5 : at + 5 + length]):
                yield owner.get(at, segments[0][1])
                break
            at += 5 + length


@pytest.mark.parametrize("profile", ["evidence", "public"])
@pytest.mark.parametrize("directory", TRUTHS, ids=lambda path: path.name)
def test_the_same_answers_and_nothing_else(directory, profile):
    keep = frozenset(NEEDS_NAMES.get(directory.name, ()))
    scrubbed = scrub(str(capture_of(directory)), known(directory), Choices(profile, keep))
    with scrubbed.output:
        proof = scrubbed.proof
        assert proof.unexpected == []
        assert proof.wrong == []
        assert proof.leaks == []
        assert scrubbed.written.missing == []
        assert proof.compared == len(scrubbed.chosen.roles)
        assert look(capture_of(directory), scrubbed) == []


@pytest.mark.parametrize("profile", ["evidence", "public"])
def test_the_laboratory(profile):
    lab = reference.load(None, None, [LAB / "pki/public_roots.pem"], [LAB / "pki/interception_cas.pem"])
    for path in lab_files():
        scrubbed = scrub(str(path), lab, Choices(profile))
        with scrubbed.output:
            # Secrets are not handed on: what they opened is closed again, told and asked.
            secrets = "dsb" in path.name
            assert bool(scrubbed.proof.unexpected) is secrets, path.name
            assert scrubbed.proof.wrong == scrubbed.proof.leaks == []
            assert look(path, scrubbed) == []


SECRETS = {"quic_follow_multistream.pcapng"}


@pytest.mark.parametrize("profile", ["evidence", "public"])
def test_the_corpus(profile, capsys):
    counts = Counter()
    for path in corpus_files():
        try:
            scrubbed = scrub(str(path), SHIPPED, Choices(profile))
        except CaptureError:
            counts["no capture"] += 1
            continue
        with scrubbed.output:
            proof = scrubbed.proof
            opened = any(path.name.endswith(name) for name in SECRETS)
            assert proof.unexpected == [] or opened, (path.name, proof.unexpected)
            assert proof.wrong == proof.leaks == [], path.name
            counts["captures"] += 1
            counts["connections"] += proof.compared
            counts["bytes in"] += scrubbed.original_size
            counts["bytes out"] += scrubbed.size
            if scrubbed.written.frames and scrubbed.original_size < 1_000_000:
                assert look(path, scrubbed) == [], path.name
    with capsys.disabled():
        share = 100 * counts["bytes out"] / counts["bytes in"]
        print(f"\nscrubbed, {profile}: {dict(counts)}; {share:.1f} % of the bytes")
    assert counts["captures"] > 900
    assert share < 5


SHIPPED = reference.load()


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed (Debian: tshark)")
@pytest.mark.parametrize("name", ["lab-kz-take-over", "lab-clean", "lab-chromium", "lab-key-log", "lab-any", "tricks"])
def test_no_application_data_by_another_reader(name):
    """tshark says which bytes are application data; none of them is in the new capture."""
    directory = CAPTURES / name
    scrubbed = scrub(str(capture_of(directory)), known(directory), Choices())
    with scrubbed.output:
        out = scrubbed.output.read()
    fields = ["-T", "fields", "-e", "tls.app_data"]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(capture_of(directory)), *fields], capture_output=True, text=True, check=True
    )
    pieces = [bytes.fromhex(part.replace(":", "")) for line in done.stdout.split() for part in line.split(",") if part]
    found = [piece for piece in pieces if len(set(piece[:16])) > 8 and piece[:16] in out]
    assert found == []
    assert len(pieces) > 0 or name == "tricks"


def test_reads_as_a_capture_everywhere(tmp_path):
    """dpkt, scapy's reader and capinfos take the new file, and every checksum is right."""
    directory = CAPTURES / "lab-ipv6"
    scrubbed = scrub(str(capture_of(directory)), known(directory), Choices())
    path = tmp_path / "out.pcapng"
    with scrubbed.output:
        path.write_bytes(scrubbed.output.read())
    with path.open("rb") as file:
        assert sum(1 for _ in dpkt.pcapng.Reader(file)) == len(scrubbed.written.frames)
    raw = path.read_bytes()
    records, packet, versions = open_records(raw, Notes()), Packet(), Counter()
    while records.advance():
        assert decode(packet, raw, records.offset, records.captured, records.original, records.link_type) == OK
        assert checksum_matches(packet, raw)
        versions[packet.version] += 1
    assert set(versions) == {4, 6}


def test_apply_needs_no_more_than_the_standard_library():
    """It must run inside a browser one day: of kzpcap it may use the reading of records and packets alone."""
    tree = ast.parse((ROOT / "kzpcap" / "scrub" / "apply.py").read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    ours = {name for name in modules if name.startswith("kzpcap")}
    assert ours <= {f"kzpcap.capture.{name}" for name in ("codes", "container", "decode", "health", "packet")}
    assert modules - ours <= {"__future__", "bisect", "collections.abc", "dataclasses"}


# the public profile


def test_public_leaves_differences_and_no_absolute_numbers(tmp_path):
    directory = CAPTURES / "lab-kz-take-over"
    reports = []
    for profile in ("evidence", "public", "public"):
        scrubbed = scrub(str(capture_of(directory)), known(directory), Choices(profile))
        path = tmp_path / f"{len(reports)}.pcapng"
        with scrubbed.output:
            path.write_bytes(scrubbed.output.read())
        report = analyze(str(path), known(directory))
        reports.append([connection.observation for connection in report.connections()])
        report.close()
    exact, public, again = reports
    assert len(exact) == len(public) == len(again)
    shifts = {mine.client[1] - theirs.client[1] for mine, theirs in zip(exact, public, strict=True)}
    assert len(shifts) == 1, "ports are shifted by one constant"
    assert shifts != {0} or public[0].client[1] != again[0].client[1]
    day = 86_400 * 10**9
    assert public[0].time_ns - min(one.time_ns for one in public) < day
    assert min(one.time_ns for one in public) % day < 10**9, "the first packet stands at the beginning of its day"
    steps = [[one.time_ns - entries[0].time_ns for one in entries] for entries in (exact, public)]
    assert steps[0] == steps[1], "differences of time stay"
    for mine, theirs, third in zip(exact, public, again, strict=True):
        assert mine.ja4 == theirs.ja4
        if mine.syn and mine.probe_ttl is None:
            assert mine.syn.ttl == theirs.syn.ttl
        if mine.client_stamps and theirs.client_stamps and third.client_stamps:
            passed = (mine.client_stamps[1] - mine.client_stamps[0]) & 0xFFFFFFFF
            assert passed == (theirs.client_stamps[1] - theirs.client_stamps[0]) & 0xFFFFFFFF
            assert theirs.client_stamps != third.client_stamps


@pytest.mark.parametrize("name", ["replayed-chain", "lab-replayed"])
def test_public_never_accuses_more_than_the_original(name):
    """Without its signature a replayed chain would look held: so its leaf does not stay."""
    directory = CAPTURES / name
    scrubbed = scrub(str(capture_of(directory)), known(directory), Choices("public"))
    with scrubbed.output:
        assert scrubbed.proof.wrong == []
        assert any("certificate-scrubbed" in loss.what for loss in scrubbed.proof.losses)


def test_a_resumed_session_is_still_told_from_a_full_one():
    directory = CAPTURES / "lab-resumption"
    for profile in ("evidence", "public"):
        scrubbed = scrub(str(capture_of(directory)), known(directory), Choices(profile))
        with scrubbed.output:
            assert not [loss for loss in scrubbed.proof.losses if "handshake-not-captured" in loss.what]
