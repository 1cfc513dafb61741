"""Nothing that a peer can send costs more than its size: each shape at one size and at four times that."""

from __future__ import annotations

import io
import lzma
import random
import re
import struct
import sys
import tarfile
import time
import zipfile
from types import SimpleNamespace

import dpkt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from kzpcap import analysis, analyze, reference, spill
from kzpcap.capture import archive, scan, unpack
from kzpcap.capture.health import Notes
from kzpcap.capture.source import open_source
from kzpcap.certificates.certificate import MAX_EXTENSIONS, MAX_PURPOSES, parse
from kzpcap.errors import CaptureError
from kzpcap.flows import reassemble
from kzpcap.paths.ladders import MAX_STEPS, RouteProbe, Sent, find_routes, find_series
from kzpcap.paths.networks import Networks
from kzpcap.report.handshakes import Lines
from kzpcap.report.text import cell, day_and_time, rfc3339
from kzpcap.tls import records
from kzpcap.tls.messages import numbers
from kzpcap.verdict.ladders import judge_ladders
from kzpcap.verdict.outcomes import Outcome
from kzpcap.verdict.rules import State
from tests.build import client_hello, packets, record, server_hello_body
from tests.conftest import CAPTURES, run

sys.path.insert(0, str(CAPTURES))
from recipes.packets import ACK, PSH, SPRING_2026, Capture, Connection
from recipes.tls import Authority, der, message, vector

DATA = reference.load()


def judged(tmp_path, capture):
    capture.write(tmp_path / "capture.pcapng")
    report = analyze(str(tmp_path / "capture.pcapng"), DATA, want_digest=False)
    found = list(report.connections())
    report.close()
    return report, found


def grows(work, size):
    """How many times longer four times as much takes; the best of three each."""

    def best(count):
        times = []
        for _ in range(3):
            begun = time.process_time()
            work(count)
            times.append(time.process_time() - begun)
        return min(times)

    return best(4 * size) / max(best(size), 1e-4)


LINEAR = 9
"""Four times as much may take this much longer: twice what is due, for noise; a square would be sixteen."""


# bytes


def test_a_vector_that_claims_more_than_is_there_gives_what_is_there():
    """In both forms: the compiled one once asked what is left before it read the length."""
    assert numbers(bytes.fromhex("0006000a00ff"), 2, 2) == (10, 255)
    assert numbers(bytes.fromhex("ffff000a00ff"), 2, 2) == (10, 255)
    assert numbers(b"\xff\x01", 1, 1) == (1,)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2**64 // 1000, "9999-12-31T23:59:59Z"),
        (-62_135_596_800, "0001-01-01T00:00:00Z"),
        (-(10**13), "0001-01-01T00:00:00Z"),
        (1_563_614_042, "2019-07-20T09:14:02Z"),
    ],
)
def test_any_time_can_be_written(seconds, text):
    assert rfc3339(seconds * 10**9) == text
    assert day_and_time(seconds * 10**9) == text[:-1].replace("T", " ")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("a\x1b[31mb\u202e", "a\\x1b[31mb\\u202e"),
        (-7, -7),
        ("-7", "'-7"),
    ],
)
def test_a_cell_is_text_and_nothing_else(value, written):
    assert cell(value) == written


def with_key(exponent_bits):
    """A certificate whose key has a long exponent: nobody can have signed it, and it is in the capture all the same."""
    key = rsa.RSAPublicNumbers((1 << (exponent_bits - 1)) + 1, (1 << 4_095) + 12_345).public_key()
    authority = Authority.make("LAB root", SPRING_2026)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "www.facebook.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(authority.name).serial_number(7)
    builder = builder.public_key(key).not_valid_before(SPRING_2026).not_valid_after(SPRING_2026)
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_an_exponent_that_fills_pages_is_told_by_its_length(tmp_path):
    certificate = with_key(4_000)
    parsed = parse(certificate)
    assert (parsed.key, parsed.exponent) == ("RSA-4096 with an exponent of 4,000 bits", None)
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello(b"www.facebook.com"))
    body = vector(vector(certificate, 3), 3)
    exchange = message(12, b"\x03\x00\x17\x04abcd\x04\x01\x02\x00" + bytes(512))
    connection.send(1, record(22, message(2, server_hello_body(0xC02F)) + message(11, body) + exchange))
    capture.write(tmp_path / "capture.pcapng")
    for command in (("analyze", "--json"), ("analyze",), ("certificates", "--json"), ("certificates",)):
        done = run(*command, str(tmp_path / "capture.pcapng"))
        assert (done.returncode, done.stderr) == (0, b""), command
    assert b'"possession":"not_captured"' in run("analyze", "--json", str(tmp_path / "capture.pcapng")).stdout


def test_of_many_hellos_few_are_tried_and_none_is_refuted(tmp_path):
    key, leaf = Authority.make("LAB root", SPRING_2026).issue(["vk.com"], SPRING_2026, strong=True)
    del key
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    hellos = b"".join(client_hello(b"vk.com", random=number.to_bytes(32, "big")) for number in range(40))
    connection.send(0, hellos)
    body = vector(vector(der(leaf), 3), 3)
    exchange = message(12, b"\x03\x00\x17\x04abcd\x04\x01\x01\x00" + b"\x01" * 256)
    connection.send(1, record(22, message(2, server_hello_body(0xC02F)) + message(11, body) + exchange))
    _, (one,) = judged(tmp_path, capture)
    assert one.observation.possession.value == "not_captured"


def test_lists_in_a_certificate_are_weighed_and_bounded():
    authority = Authority.make("LAB root", SPRING_2026)
    purposes = [x509.ObjectIdentifier(f"1.3.6.1.4.1.{number}") for number in range(2_000)]
    purposes.append(x509.oid.ExtendedKeyUsageOID.SERVER_AUTH)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "vk.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(authority.name).serial_number(7)
    builder = builder.public_key(authority.key.public_key()).not_valid_before(SPRING_2026).not_valid_after(SPRING_2026)
    builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
    for number in range(400):
        builder = builder.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(f"1.2.3.{number}"), b""), False
        )
    found = parse(builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.DER))
    assert len(found.purposes) == MAX_PURPOSES + 1
    assert found.serves_tls
    assert len(found.extensions) == MAX_EXTENSIONS
    assert found.weight > len(found.der) + 100 * (len(found.purposes) + len(found.extensions))


# memory


def test_alerts_are_bounded_and_weighed(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello() + record(21, b"\1\0") * 2_000)
    connection.send(1, record(22, message(2, server_hello_body())) + record(21, b"\1\0") * 2_000)
    _, (one,) = judged(tmp_path, capture)
    assert len(one.observation.alerts) == 128
    assert spill.weight_of(one.observation) > 128 * 100


def test_what_dns_answers_say_is_bounded(monkeypatch):
    monkeypatch.setattr(analysis, "MAX_NAMES", 50)
    reading = analysis.Reading.__new__(analysis.Reading)
    reading.names, reading.named, reading.names_left_out = {}, 0, False
    answer = dpkt.dns.DNS(id=1, qr=1, an=[], qd=[dpkt.dns.DNS.Q(name="vk.com", type=1)])
    sent = []
    for number in range(200):
        answer.an = [dpkt.dns.DNS.RR(name="vk.com", type=1, rdata=struct.pack(">I", number + 7), ttl=1)]
        sent.append(SimpleNamespace(payload=bytes(answer), time_ns=1))
    reading.scanner = SimpleNamespace(dns=sent, ntp=[])
    reading._names()
    assert sum(map(len, reading.names.values())) == 50
    assert reading.names_left_out


def udp(sport, dport, payload, ttl=5):
    inside = dpkt.udp.UDP(sport=sport, dport=dport, data=payload)
    inside.ulen = len(inside)
    ip = dpkt.ip.IP(src=b"\xc0\0\2\1", dst=b"\xc6\x33\x64\7", p=17, ttl=ttl, data=inside)
    ip.len = len(ip)
    return bytes(dpkt.ethernet.Ethernet(src=bytes(6), dst=bytes(6), data=ip))


def test_a_traceroutes_probe_keeps_no_payload_and_too_many_are_told(tmp_path, monkeypatch):
    capture = Capture(SPRING_2026)
    for number in range(30):
        capture.add(udp(40_000, 33_434 + number, b"x" * 1_000), 0.001)
    capture.write(tmp_path / "capture.pcapng")
    with (tmp_path / "capture.pcapng").open("rb"):
        reading = analysis.Reading(str(tmp_path / "capture.pcapng"), False)
        list(reading.flows())
        assert [len(packet.payload) for packet in reading.scanner.probes] == [0] * 30
        assert reading.scanner.given_up_packets == 0
        assert len(reading.route_probes()) == 30
        reading.close()
    assert scan.MAX_SIDE_PACKETS < 50_000, "each takes a kilobyte or two, as an error with its quote"


def test_handshakes_are_sorted_in_a_file_and_not_in_memory(monkeypatch):
    from kzpcap.report import handshakes

    monkeypatch.setattr(handshakes, "IN_MEMORY", 100)
    order = list(range(100))
    random.Random(1).shuffle(order)
    with Lines() as lines:
        for frame in order:
            lines.add(frame, f"line {frame} \udcff\u00e9")
        assert lines.file._rolled
        assert list(lines.in_order()) == [f"line {frame} \udcff\u00e9\n" for frame in range(100)]


def tar_of(size):
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", size
    return info.tobuf() + bytes(1024)


def tar_with(kind, records):
    """A pax header of these records, and an empty member behind it."""
    body = b"".join(b"%d %s\n" % (len(record) + 4, record) for record in records)
    info = tarfile.TarInfo("pax")
    info.type, info.size = kind, len(body)
    padded = body + bytes(-len(body) % 512)
    return info.tobuf(tarfile.USTAR_FORMAT) + padded + tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT) + bytes(1024)


def tar_with_a_map(size):
    """A sparse file (GNU, 1.0) whose map of holes, in its data, has so many bytes."""
    begin = tar_with(b"x", [b"GNU.sparse.major=1", b"GNU.sparse.minor=0", b"GNU.sparse.name=x"])[: 2 * 512]
    info = tarfile.TarInfo("x")
    info.size = size
    return begin + info.tobuf(tarfile.USTAR_FORMAT) + b"9999999\n" + b"0\n" * (size // 2 - 4) + bytes(1024)


def zip_of(members):
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as archive:
        for number in range(members):
            archive.writestr(f"{number:0200}", b"")
    return body.getvalue()


def zip_with_a_dictionary(size):
    """A member packed with LZMA that asks for so much memory."""
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.pcap", b"\xd4\xc3\xb2\xa1" + bytes(20))
    data = bytearray(body.getvalue())
    at = 30 + len("x.pcap") + 5
    data[at : at + 4] = size.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (tar_of(300 << 20), "damaged: a header of 314,572,800 bytes"),
        (
            tar_with(b"g", [b"%05d=v" % number for number in range(600)]),
            "damaged: headers of 6,600 bytes for all members",
        ),
        (tar_with_a_map(3 << 20), "damaged: a header without bounds"),
        (zip_of(1_000), "not unpacked: a directory of 246,000 bytes"),
        (zip_with_a_dictionary((1 << 32) - 1), "packed with a dictionary of more memory than is given"),
    ],
    ids=["tar", "tar for all", "tar with holes", "zip", "zip with LZMA"],
)
def test_headers_that_would_be_read_whole_are_bounded(data, why, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_DIRECTORY", 200_000)
    (tmp_path / "archive").write_bytes(data)
    with pytest.raises(CaptureError, match=re.escape(why)):
        open_source(str(tmp_path / "archive"), Notes())


def test_xz_takes_no_more_memory_than_xz_itself_may(tmp_path, monkeypatch):
    path = tmp_path / "c.xz"
    whole = (CAPTURES / "kz-2019-rcku" / "capture.pcapng").read_bytes()
    path.write_bytes(lzma.compress(whole[:100]) + b"\0" * 8 + lzma.compress(whole[100:], preset=9))
    opened = open_source(str(path), Notes())
    assert bytes(opened.raw) == whole
    opened.close()
    monkeypatch.setattr(unpack, "MAX_DICTIONARY", 1 << 20)
    with pytest.raises(CaptureError, match=r"nothing can be unpacked: .*Memory usage limit"):
        open_source(str(path), Notes())


# time


def asked(names, errors):
    """So many ladders on one pair of ports, each with another name, and so many errors that quote it."""
    sent = [
        Sent(number, ttl, number * 10 + ttl, 0, number * 3 + ttl, "a", 1, "b", 443, f"n{number}", seq=5)
        for number in range(names)
        for ttl in (1, 2, 3)
    ]
    told = [
        SimpleNamespace(
            frame=names * 10 + number, time_ns=0, version=4, ttl=60, outer_src=f"r{number % 9}", of_a_hop=True,
            kind=11, q_id=number % 60_000, q_seq=5, q_ttl=1, q_tos=0, q_df=True, q_dst="b", q_dport=443, q_sport=1,
            q_protocol=6, q_echo=None, labels=(),
        )
        for number in range(errors)
    ]  # fmt: skip
    return sent, told


def test_errors_are_matched_to_ladders_in_linear_time():
    built = {count: asked(count, 10 * count) for count in (250, 1_000)}
    assert grows(lambda count: find_series(*built[count]), 250) < LINEAR


def test_errors_are_matched_to_traceroutes_in_linear_time():
    def build(count):
        probes = [RouteProbe("b", number % 30 + 1, number, 7, (1, 33_434), 17) for number in range(count)]
        told = [
            SimpleNamespace(
                frame=count + number, q_echo=None, q_sport=1, q_dport=33_434, q_dst="b", q_protocol=17, q_id=0,
                of_a_hop=True, outer_src="r", kind=11, version=4,
            )
            for number in range(count)
        ]  # fmt: skip
        replies = [SimpleNamespace(request=False, src="b", key=(1, 2), frame=count + n) for n in range(count)]
        echoes = [RouteProbe("b", number % 30 + 1, number, 0, (1, 2), 1) for number in range(count)]
        return [*probes, *echoes], told, replies

    built = {count: build(count) for count in (1_000, 4_000)}
    assert grows(lambda count: find_routes(*built[count]), 1_000) < LINEAR


def test_ladders_beside_a_long_control_are_judged_in_linear_time():
    """The control: so many connections of 64 probes each; and ten names."""
    forged = Outcome(State.INTERCEPTED, "x", False, True, 10**9, None)
    genuine = Outcome(State.GENUINE, "x", True, True, 10**9, None)

    def build(count):
        sent = [
            Sent((1, index), ttl, index * 64 + ttl, 0, 7, "a", 1, "b", 443, None)
            for index in range(count)
            for ttl in range(1, 65)
        ]
        for name in range(10):
            sent += [
                Sent((2, name, ttl), ttl, 10_000 + name * 64 + ttl, 0, 7, "a", 1, "b", 443, f"n{name}")
                for ttl in range(1, 65)
            ]
        return sorted(sent, key=lambda probe: probe.frame)

    built = {count: build(count) for count in (16, 64)}

    def work(count):
        series = find_series(built[count], [])
        found = judge_ladders(series, lambda of: genuine if of[0] == 1 else forged, lambda name: name is not None, {})
        assert len(found) == 10

    assert grows(work, 16) < LINEAR


def test_no_rung_of_a_ladder_goes_missing_for_want_of_room():
    sent = [Sent(number, number % 3 + 1, number, 0, 7, "a", number, "b", 443, "n") for number in range(3 * MAX_STEPS)]
    sent += [
        Sent(number, 21, number, 0, 7, "a", number, "b", 443, "n") for number in range(3 * MAX_STEPS, 3 * MAX_STEPS + 9)
    ]
    (series,) = find_series(sent, [])
    assert sorted(series.steps) == [1, 2, 3, 21]
    assert len(series.steps[21].frames) == 9
    assert len(series.sent) + series.left_out == len(sent)
    assert len(series.sent) <= MAX_STEPS


@pytest.mark.parametrize(("apart", "found"), [(1, True), (40, False)])
def test_an_answer_that_was_recorded_just_before_its_question_counts(apart, found):
    sent = [Sent(ttl, ttl, ttl * 100, ttl * 10**9, ttl, "a", 1, "b", 443, None, seq=5) for ttl in (1, 2, 3)]
    (_, (told,)) = asked(1, 1)
    told.frame, told.q_id, told.time_ns, told.outer_src = 300 - apart, 3, 3 * 10**9 - 1_000, "r"
    (series,) = find_series(sent, [told])
    assert (series.hops_at(3) == ("r",)) == found


def test_a_name_of_dots_is_looked_up_in_linear_time():
    networks = Networks(reference.DATA / "asn")
    assert networks.service_of("a.b.www.facebook.com") == networks.service_of("facebook.com")
    assert networks.service_of("xfacebook.com") is None
    assert grows(lambda count: networks.service_of("a." * count), 20_000) < LINEAR


def test_segments_with_gaps_are_read_in_linear_time():
    def build(count):
        found = packets(b"", dport=443)
        for number in range(count):
            (piece,) = packets(b"\x17\x03\x03\0\1a", seq=5_000 + number * 8, first_frame=20 + number, dport=443)[1:]
            found.append(piece)
        return found

    built = {count: reassemble(build(count)) for count in (1_000, 4_000)}
    assert len(built[4_000].runs) == 4_000
    assert grows(lambda count: records.read(built[count], True), 1_000) < LINEAR


# what is given up is told


def fragments(count, whole):
    """UDP datagrams in two fragments each; of each the second only where `whole`."""
    frames = []
    for number in range(count):
        for offset, more in ((0, 1), (8, 0)) if whole else ((0, 1),):
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 28, number, more << 13 | offset // 8, 64, 99, 0)
            frames.append(b"\0" * 12 + b"\x08\0" + ip + b"\xc0\0\2\1\xc6\x33\x64\7" + bytes(8))
    return frames


@pytest.mark.parametrize(("whole", "says"), [(False, "not all fragments are in the capture"), (True, "cannot be read")])
def test_fragments_that_come_to_nothing_are_told(whole, says, tmp_path):
    capture = Capture(SPRING_2026)
    for frame in fragments(20, whole):
        capture.add(frame, 0.001)
    report, _ = judged(tmp_path, capture)
    notes = [note for note in report.capture["notes"] if note["kind"] == "fragments"]
    assert says in notes[0]["text"]
    read = report.capture["packets"]
    assert read["read"] == read["decoded"] + sum(read["skipped"].values()) + report.capture["fragments"]["packets"]


def test_a_client_that_says_too_much_is_told(tmp_path):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    decoy = client_hello(b"decoy.example")
    for _ in range(16):
        connection.packet(0, PSH | ACK, decoy * 10)
        connection.packet(0, PSH | ACK, decoy * 8)
    connection.packet(0, PSH | ACK, client_hello(b"www.facebook.com"))
    report, _ = judged(tmp_path, capture)
    told = "more handshake messages, or certificates, than are read"
    assert any(told in note["text"] for note in report.capture["notes"])
