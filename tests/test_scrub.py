"""Scrubbing: the same answers, and nothing else: every capture there is, looked through byte by byte."""

from __future__ import annotations

import ast
import ipaddress
import json
import shutil
import stat
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import dpkt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import analyze, reference
from kzpcap.capture.codes import OK
from kzpcap.capture.container import Records
from kzpcap.capture.decode import Packet, checksum_matches, decode
from kzpcap.capture.health import Notes
from kzpcap.capture.source import open_source
from kzpcap.errors import CaptureError
from kzpcap.scrub import mask as masks
from kzpcap.scrub.addresses import Addresses, kind_of
from kzpcap.scrub.apply import Turn, tcp_options
from kzpcap.scrub.choose import Choices
from kzpcap.scrub.mask import Policy
from kzpcap.scrub.work import scrub
from kzpcap.tls.fingerprints import ja3, ja4
from kzpcap.tls.messages import client_hello
from tests.build import client_hello_body, extension, message, record, vector
from tests.conftest import CAPTURES, LAB, ROOT, corpus_files, lab_files, run

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
    records = Records(raw, Notes())
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
    records = Records(raw, Notes())
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
    records, packet, versions = Records(raw, Notes()), Packet(), Counter()
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
    assert ours <= {f"kzpcap.capture.{name}" for name in ("codes", "container", "decode", "health")}
    assert modules - ours <= {"__future__", "collections.abc", "dataclasses"}


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


# the parts

NAME = b"www.example.org"
POLICY = Policy(frozenset({b"vk.com"}), False, "all", b"k" * 32)


def changed(body, changes):
    out = bytearray(body)
    for change in changes:
        out[change.begin : change.end] = change.value if change.value is not None else bytes(change.end - change.begin)
    return bytes(out)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", [b"vk.com", b"www.example.org", b"a.kz", b"WWW.EXAMPLE.ORG", b"x" * 200])
def test_a_hello_keeps_its_length_its_fingerprint_and_only_a_given_name(name, exact):
    extra = extension(51, vector(b"\0\x1d" + vector(b"\x41" * 32, 2), 2)) + extension(35, b"ticket" * 9)
    body = client_hello_body(name, extra, session=b"\x33" * 32)
    policy = Policy(frozenset({b"vk.com"}), exact, "all", b"k" * 32)
    out = changed(body, masks.client_hello(body, policy))
    before, after = client_hello(body, True), client_hello(out, True)
    assert len(out) == len(body)
    assert (ja3(before), ja4(before, "tcp")) == (ja3(after), ja4(after, "tcp"))
    if name == b"vk.com":
        assert after.server_name == name
    else:
        assert after.server_name != name
        assert len(after.server_name) == len(name)
        assert name.lower() not in out.lower()
        assert after.server_name.islower()
    assert (after.random == before.random) is exact
    assert (after.session_ticket == before.session_ticket) is exact


def test_pseudonyms_are_equal_where_names_are_and_differ_by_the_key():
    assert POLICY.name(b"a.example") == POLICY.name(b"a.example") != POLICY.name(b"b.example")
    other = Policy(frozenset(), False, "all", b"j" * 32)
    assert other.name(b"a.example") != POLICY.name(b"a.example")
    assert POLICY.name(b"mail.example.org").endswith(b".invalid")
    assert POLICY.name(b"VK.com") == b"VK.com", "what stays, stays as it was sent"


@given(st.binary(max_size=400), st.booleans(), st.sampled_from([1, 2, 4, 11, 12, 14, 16, 22, 77]))
def test_any_message_is_changed_within_itself(body, from_client, kind):
    for policy in (POLICY, Policy(frozenset(), True, "none", b"k"), Policy(frozenset(), False, "issuers", b"k")):
        for change in masks._changes(kind, body, from_client, policy):
            assert 0 <= change.begin <= change.end <= len(body)
            assert change.value is None or len(change.value) == change.end - change.begin


@given(st.integers(0, 60), st.integers(1, 70))
def test_a_cut_hello_shows_no_part_of_another_name(cut, size):
    body = client_hello_body(NAME, b"", session=b"")
    at = body.index(NAME)
    piece = body[: at + min(cut, len(NAME))]
    out = changed(piece, masks.client_hello(piece, POLICY))
    assert NAME[: min(cut, len(NAME))] not in out or cut < 3
    assert size


def test_a_hello_over_several_records_and_segments_is_masked_all_through():
    from tests.build import streams

    body = message(1, client_hello_body(NAME))
    pieces = b"".join(record(22, body[at : at + 7]) for at in range(0, len(body), 7))
    stream, _ = streams(pieces, b"", size=11)
    made = masks.mask(stream, True, POLICY, 0)
    kept, put = made.within(0, len(pieces))
    out = bytearray(len(pieces))
    for begin, end in kept:
        out[begin:end] = pieces[begin:end]
    for begin, value in put:
        out[begin : begin + len(value)] = value
    whole = b"".join(bytes(out[at + 5 : at + 12]) for at in range(0, len(out), 12))
    after = client_hello(whole[4:], True)
    assert after.server_name == POLICY.name(NAME)


def test_options_of_tcp_lose_what_tells_of_a_client():
    raw = bytes.fromhex("020405b40402080a000003e8000000072206c0ffee001e08a1a2a3a4a5a603030701")
    out = tcp_options(raw, Turn(1, 2, stamp=5, echo=9, ack=0))
    assert out.startswith(bytes.fromhex("020405b40402080a000003ed00000010"))
    assert b"\xc0\xff\xee" not in out
    assert b"\xa1\xa2" not in out
    assert len(out) % 4 == 0


@given(st.binary(max_size=40))
def test_any_options(raw):
    out = tcp_options(raw, Turn(1, 2, 3, 4, 5, 6))
    assert len(out) == len(raw) + (-len(raw) & 3)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("192.168.1.7", "private"), ("10.9.8.7", "private"), ("172.20.0.1", "private"), ("100.64.3.4", "carrier NAT"),
        ("169.254.9.9", "link-local"), ("127.0.0.1", "loopback"), ("92.46.1.2", None), ("2a00:5da3::1", None),
        ("fe80::1234", "link-local"), ("fd12::1", "private"),
    ],
)  # fmt: skip
def test_addresses_keep_their_kind(address, kind):
    raw = ipaddress.ip_address(address).packed
    new = Addresses().client(raw)
    assert new != raw
    found = kind_of(ipaddress.ip_address(new))
    assert (found[0] if found else None) == kind
    if kind is None:
        documentation = ("192.0.2.0/24", "2001:db8::/32")
        assert any(
            ipaddress.ip_address(new) in ipaddress.ip_network(one)
            for one in documentation
            if ipaddress.ip_network(one).version == ipaddress.ip_address(new).version
        )


def test_routers_near_the_client_are_coarsened_and_others_stay():
    addresses = Addresses()
    addresses.client(ipaddress.ip_address("92.46.1.2").packed)
    for address, stays in (
        ("92.46.1.1", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("92.47.151.210", True),
    ):
        raw = ipaddress.ip_address(address).packed
        assert (addresses.router(raw) == raw) is stays, address


def test_an_address_that_stays_stands_for_nothing_else():
    addresses = Addresses(taken={ipaddress.ip_address(f"192.0.2.{n}").packed for n in range(1, 9)})
    assert addresses.client(ipaddress.ip_address("92.46.1.2").packed) == ipaddress.ip_address("192.0.2.9").packed


# the command


def command(*arguments):
    done = run("scrub", *map(str, arguments))
    return done.returncode, done.stdout.decode() + done.stderr.decode()


RCKU = CAPTURES / "kz-2019-rcku" / "capture.pcapng"


def test_writes_a_capture_and_a_manifest_for_their_owner_alone(tmp_path):
    out = tmp_path / "out.pcapng"
    code, told = command(RCKU, "-o", out)
    assert code == 0, told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.pcapng", "out.pcapng.manifest.json"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
    assert "the same answers for connections: 3" in told
    manifest = json.loads((tmp_path / "out.pcapng.manifest.json").read_text())
    assert manifest["proof"]["leaks"] == manifest["proof"]["stronger"] == 0
    assert manifest["judged"][0]["state"] == "intercepted"
    assert "192.0.2.10" not in json.dumps(manifest)
    assert all(len(line) <= 80 for line in told.splitlines() if str(tmp_path) not in line)
    again = json.loads(run("analyze", "--json", str(out)).stdout)
    states = Counter(one["state"] for one in again["connections"])
    assert states == {"genuine": 1, "intercepted": 1, "undetermined": 1}, "a control without a name has no certificate"


def test_never_overwrites(tmp_path):
    out = tmp_path / "out.pcapng"
    out.write_text("mine")
    code, told = command(RCKU, "-o", out)
    assert (code, out.read_text()) == (9, "mine")
    assert "exists already" in told


def test_a_capture_without_evidence_writes_nothing(tmp_path):
    names = ("vk.com", "www.google.com", "mail.ru", "www.facebook.com")
    drop = [option for name in names for option in ("--drop", name)]
    code, told = command(CAPTURES / "lab-clean" / "capture.pcap", *drop, "-o", tmp_path / "out.pcapng")
    assert code == 9
    assert "no connection in this capture is evidence of anything" in told.replace("\n    ", " ")
    assert list(tmp_path.iterdir()) == []


def test_names_on_no_list_are_the_volunteers_to_give(tmp_path):
    capture = CAPTURES / "products-and-strangers" / "capture.pcapng"
    code, told = command(capture, "-o", tmp_path / "a.pcapng")
    assert code == 0
    assert "left out (--keep NAME hands one on)" in told
    assert "bank.example: 1 connection" in told
    body = (tmp_path / "a.pcapng").read_bytes()
    assert b"bank.example" not in body
    code, told = command(capture, "--keep", "bank.example", "-o", tmp_path / "b.pcapng")
    assert b"bank.example" in (tmp_path / "b.pcapng").read_bytes()


def test_what_is_lost_is_told_and_nothing_is_written_before_it_is_accepted(tmp_path):
    directory = CAPTURES / "products-and-strangers"
    options = ["--trusted-root", directory / "root.pem"]
    out = tmp_path / "out.pcapng"
    code, told = command(directory / "capture.pcapng", *options, "-o", out)
    assert code == 9, told
    assert "NOT THE SAME" in told
    assert list(tmp_path.iterdir()) == []
    code, told = command(directory / "capture.pcapng", *options, "--accept-losses", "-o", out)
    assert code == 0
    assert out.exists()


def test_for_one_reader_alone(tmp_path):
    pyrage = pytest.importorskip("pyrage")
    identity = pyrage.x25519.Identity.generate()
    out = tmp_path / "out.pcapng.age"
    code, told = command(RCKU, "--encrypt-to", identity.to_public(), "-o", out)
    assert code == 0, told
    sealed = out.read_bytes()
    assert sealed.startswith(b"age-encryption.org/v1")
    assert pyrage.decrypt(sealed, [identity])[:4] == struct.pack("<I", 0x0A0D0D0A)
    for path in tmp_path.iterdir():
        assert b"facebook" not in path.read_bytes(), path
    code, told = command(RCKU, "--encrypt-to", "age1nonsense", "-o", tmp_path / "other")
    assert code == 2
    assert "not an age recipient" in told.replace("\n", " ")


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [("notes.txt", b"plain text, no capture", 3), ("empty", b"", 3), ("cut", b"\xd4\xc3\xb2\xa1\x02\0", 3)],
)
def test_what_is_no_capture_is_told(name, body, code, tmp_path):
    path = tmp_path / name
    path.write_bytes(body)
    got, told = command(path, "-o", tmp_path / "out.pcapng")
    assert got == code
    assert name in told
    assert not (tmp_path / "out.pcapng").exists()


def test_the_original_is_left_as_it_is(tmp_path):
    copy = tmp_path / "capture.pcapng"
    shutil.copy(RCKU, copy)
    copy.chmod(0o400)
    before = (copy.read_bytes(), copy.stat().st_mtime_ns)
    assert command(copy, "-o", tmp_path / "out.pcapng")[0] == 0
    assert (copy.read_bytes(), copy.stat().st_mtime_ns) == before
    assert Path(copy).exists()


# what is built to leak


def built(tmp_path, client, server, port=50_001, name="c.pcapng"):
    """A capture of one connection to vk.com: what the client says, then what the server says, piece by piece."""
    from recipes.packets import JULY_2019, Capture, Connection

    capture = Capture(JULY_2019)
    talk = Connection(capture, port)
    talk.open()
    for who, data in [*((0, one) for one in client), *((1, one) for one in server)]:
        talk.send(who, data)
    talk.close()
    capture.write(tmp_path / name)
    return tmp_path / name


def left(path, **choices):
    scrubbed = scrub(str(path), SHIPPED, Choices(**choices))
    with scrubbed.output:
        assert scrubbed.proof.wrong == scrubbed.proof.leaks == []
        return scrubbed, scrubbed.output.read()


HELLO = record(22, message(1, client_hello_body(b"vk.com")))
SECRETS_OF = (b"192.0.2.10", b"7701", b"s3cret", b"private-name", b"Basic", b"cookie", b"EHLO", b"phone")


@pytest.mark.parametrize("profile", ["evidence", "public"])
@pytest.mark.parametrize(
    ("client", "server"),
    [
        ([HELLO], [b"HTTP/1.1 302 Found\r\nLocation: /?ip=192.0.2.10&phone=77015550000\r\nSet-Cookie: s3cret\r\n\r\n"]),
        ([HELLO], [b"blocked for 192.0.2.10 phone 77015550000"]),
        ([HELLO], [b"HTTP/1.1 403 no access for 192.0.2.10\r\n\r\n<html>phone 7701"]),
        ([HELLO + record(23, b"s3cret private-name" * 9)], [record(23, b"cookie s3cret" * 20)]),
        ([b"GET /private-name HTTP/1.1\r\nCookie: s3cret\r\n\r\n" + HELLO], []),
        ([b"EHLO private-name\r\nSTARTTLS\r\n", HELLO], [b"220 private-name ESMTP\r\n250 s3cret\r\n"]),
        ([record(22, message(1, client_hello_body(b"private-name.example"))), HELLO], []),
        ([record(22, message(1, client_hello_body(b"vk.com")) + message(11, b"\0\0\x20\0\0\x1d private-name"))], []),
        ([record(22, message(1, client_hello_body(b"vk.com")) + message(77, b"private-name s3cret"))], []),
        ([HELLO], [record(22, message(13, b"private-name s3cret 7701"))]),
        ([HELLO], [record(22, message(14, b"private-name s3cret 7701"))]),
        ([HELLO], [record(21, b"private-name s3cret 7701")]),
        ([HELLO + record(20, b"\x01s3cret private-name")], []),
        ([HELLO + b"\x99private-name s3cret and no record"], [b"\x16\x03\x03\x00\x05" + b"s3cret private-name"]),
    ],
    ids=["redirect", "plain", "status line", "data", "http first", "starttls", "another hello", "client certificate",
         "unknown message", "authorities", "done with more", "alert with more", "cipher change with more", "no record"],
)  # fmt: skip
def test_what_is_built_to_leak_does_not(client, server, profile, tmp_path):
    _, out = left(built(tmp_path, client, server), profile=profile)
    assert not [secret for secret in SECRETS_OF if secret in out]


def test_a_proxy_is_told_its_target_and_nothing_else(tmp_path):
    asks = b"CONNECT vk.com:443 HTTP/1.1\r\nProxy-Authorization: Basic czNjcmV0\r\nUser-Agent: private-name\r\n\r\n"
    path = built(tmp_path, [asks], [b"HTTP/1.1 200 OK\r\nVia: private-name\r\n\r\n"])
    from recipes.packets import JULY_2019, Capture, Connection

    capture = Capture(JULY_2019)
    talk = Connection(capture, 50_001, server_port=8080)
    talk.open()
    for who, data in ((0, asks), (1, b"HTTP/1.1 200 OK\r\nVia: private-name\r\n\r\n"), (0, HELLO)):
        talk.send(who, data)
    talk.close()
    capture.write(path)
    scrubbed, out = left(path)
    assert b"CONNECT vk.com:443" in out
    assert not [secret for secret in (b"Basic", b"czNj", b"private-name", b"Via", b"User-Agent") if secret in out]
    assert scrubbed.proof.unexpected == []


def test_bytes_that_conflict_are_masked_by_what_each_of_them_is(tmp_path):
    """A second copy of a segment with other bytes: application data where the first had a hello."""
    from recipes.packets import JULY_2019, Capture, Connection

    capture = Capture(JULY_2019)
    talk = Connection(capture, 50_001)
    talk.open()
    seq = talk.seq[0]
    talk.send(0, HELLO)
    talk.seq[0] = seq
    talk.send(0, (record(23, b"s3cret private-name " * 30))[: len(HELLO)])
    talk.close()
    capture.write(tmp_path / "c.pcapng")
    _, out = left(tmp_path / "c.pcapng")
    assert b"s3cret" not in out
    assert b"private-name" not in out
    assert b"vk.com" in out


def test_a_flow_of_another_name_on_the_same_ports_does_not_stay(tmp_path):
    from recipes.packets import JULY_2019, Capture, Connection

    capture = Capture(JULY_2019)
    for number, name in enumerate((b"vk.com", b"private-name.example", b"vk.com")):
        talk = Connection(capture, 50_001)
        talk.seq[0] += number * 1_000_003
        talk.open()
        talk.send(0, record(22, message(1, client_hello_body(name))))
        talk.close()
        capture.now += 2
    capture.write(tmp_path / "c.pcapng")
    _, out = left(tmp_path / "c.pcapng", drop=frozenset({"private-name.example"}))
    assert b"private-name" not in out
    assert out.count(b"vk.com") == 2
