"""What added packets and odd but valid bytes must not bring about: an accusation, or a way past one."""

from __future__ import annotations

import datetime
import random
import re
import ssl
import sys
import tempfile

import dpkt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kzpcap import analyze, reference
from tests.conftest import CAPTURES

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain, qaznet_chain
from recipes.packets import ACK, FIN, JULY_2019, OTHER, PSH, RST, SPRING_2026, SYN, Capture, Connection
from recipes.tls import (
    Authority,
    client_context,
    client_hello,
    der,
    key_pem,
    message,
    openssl,
    pem,
    record,
    rsa_handshake,
    server_context,
    server_flight,
    vector,
)


def judged(capture, tmp_path, box=None, public=None, keylog=b""):
    """The judged connections; `box` is given as an interception CA, `public` as a trusted root."""
    path = tmp_path / "capture.pcapng"
    capture.write(path)
    given = {}
    for option, authority in (("interception_cas", box), ("trusted_roots", public)):
        if authority is not None:
            (tmp_path / f"{option}.pem").write_bytes(pem(authority.certificate))
            given[option] = (tmp_path / f"{option}.pem",)
    report = analyze(str(path), reference.load(**given), keylog=keylog)
    found = list(report.connections())
    report.close()
    return found


def altered(capture, first, alter):
    """Change the packets from `first` on."""
    for at in range(first, len(capture.packets)):
        when, frame = capture.packets[at]
        capture.packets[at] = when, alter(frame)


def flipped(frame, at):
    changed = bytearray(frame)
    changed[at] ^= 0xFF
    return bytes(changed)


def without_ack(frame):
    packet = dpkt.ethernet.Ethernet(frame)
    packet.data.data.flags, packet.data.data.ack, packet.data.data.sum, packet.data.sum = PSH, 0, 0, 0
    return bytes(packet)


def replay_under(genuine, alter):
    """The published chain of rcku.kz in segments that the client drops, then the server's own flight."""
    rng = random.Random(5)
    capture = Capture(JULY_2019)
    talk = Connection(capture, 50_001)
    talk.open()
    talk.send(0, client_hello("www.facebook.com", rng))
    begin, first = talk.seq[1], len(capture.packets)
    flight = server_flight(qaznet_chain(), 0x009C, rng)
    for at in range(0, len(flight), 1_400):
        talk.packet(1, PSH | ACK, flight[at : at + 1_400])
    altered(capture, first, alter)
    talk.seq[1] = begin
    talk.send(1, server_flight(genuine, 0x009C, rng), wait=0.01)
    finished = record(20, b"\1") + record(22, rng.randbytes(40))
    talk.send(0, record(22, message(16, vector(rng.randbytes(256), 2))) + finished)
    talk.send(1, finished)
    talk.close()
    return capture


@pytest.mark.parametrize(
    ("alter", "rule"),
    [(lambda frame: flipped(frame, 14 + 20 + 16), "other-name"),
     (without_ack, "other-name"),
     (lambda frame: flipped(frame, 14 + 10), "interception-chain-in-dispute"),
     (lambda frame: flipped(frame, 14 + 8), "interception-chain-in-dispute")],
    ids=["wrong checksum", "no ACK", "wrong IP checksum", "another TTL"],
)  # fmt: skip
def test_a_chain_laid_over_another_names_nobody(alter, rule, tmp_path):
    """Nobody is accused by a published chain that is laid over a genuine answer (here one for rcku.kz)."""
    (connection,) = judged(replay_under(genuine_chain(), alter), tmp_path)
    assert connection.verdict.rule.id == rule
    assert connection.verdict.interceptor is None or connection.verdict.interceptor.identity == "unknown"


def test_what_differs_behind_the_certificate_disputes_nothing(tmp_path):
    """Application data that came again with other bytes: the chain is read as it was."""
    capture, rng = Capture(JULY_2019), random.Random(5)
    talk = Connection(capture, 50_001)
    talk.open()
    talk.send(0, client_hello("www.facebook.com", rng))
    talk.send(1, server_flight(qaznet_chain(), 0x009C, rng))
    finished = record(20, b"\1") + record(22, rng.randbytes(40))
    talk.send(0, record(22, message(16, vector(rng.randbytes(256), 2))) + finished)
    talk.send(1, finished)
    begin = talk.seq[1]
    talk.send(1, record(23, rng.randbytes(900)))
    talk.seq[1] = begin
    talk.send(1, record(23, rng.randbytes(900)))
    talk.close()
    (connection,) = judged(capture, tmp_path)
    assert connection.observation.conflicts
    assert connection.verdict.rule.id == "signed-by-known-interception-ca"


@pytest.mark.parametrize("who", ["box", "public"])
@pytest.mark.parametrize("spoilt", [True, False])
def test_junk_over_the_signature_refutes_no_key(who, spoilt, tmp_path):
    """A copy of the ServerKeyExchange that the client drops shows nothing of who holds the key."""
    authority = Authority.make("LAB authority", SPRING_2026)
    capture = Capture(SPRING_2026)
    leaf = authority.issue(["vk.com"], SPRING_2026, days=90, strong=True)
    openssl(Connection(capture, 50_001), "vk.com", server_context(*leaf, ssl.TLSVersion.TLSv1_2), client_context())
    at, (when, frame) = next(
        (at, one) for at, one in enumerate(capture.packets) if one[1][34:36] == b"\1\xbb" and len(one[1]) > 500
    )
    packet = dpkt.ethernet.Ethernet(frame)
    segment = packet.data.data
    start = segment.data.index(b"\x16\3\3", segment.data.index(b"\x0b\0", 5))
    while segment.data[start + 5] != 12:
        start += 5 + int.from_bytes(segment.data[start + 3 : start + 5], "big")
    end = start + 5 + int.from_bytes(segment.data[start + 3 : start + 5], "big")
    segment.seq += start
    segment.data = segment.data[start : end - 50] + bytes(byte ^ 0x55 for byte in segment.data[end - 50 : end])
    segment.sum = packet.data.sum = packet.data.len = 0
    packet.data.len = len(packet.data)
    junk = bytes(packet)
    capture.packets.insert(at, (when - 0.0001, flipped(junk, 14 + 20 + 16) if spoilt else junk))
    (connection,) = judged(capture, tmp_path, **{who: authority})
    rules = {
        ("box", True): "signed-by-supplied-interception-ca",
        ("box", False): "interception-chain-in-dispute",
        ("public", True): "trusted-by-supplied-anchor",  # the copy that is read proves who holds the key
        ("public", False): "conflicting-server-bytes",
    }
    assert connection.observation.conflicts
    assert connection.verdict.rule.id == rules[who, spoilt]


def test_a_byte_alone_that_comes_again_is_no_keep_alive(tmp_path):
    rng = random.Random(5)
    capture = Capture(JULY_2019)
    talk = Connection(capture, 50_001)
    talk.open()
    talk.send(0, client_hello("rcku.kz", rng))
    flight = server_flight(qaznet_chain(), 0x009C, rng)
    at = flight.index(qaznet_chain()[0]) + len(qaznet_chain()[0]) - 5  # in the signature of the leaf
    talk.send(1, flight[:at])
    talk.packet(1, PSH | ACK, bytes([flight[at] ^ 0x55 or 1]))
    talk.seq[1] -= 1
    talk.packet(1, PSH | ACK, flight[at : at + 1])
    talk.send(1, flight[at + 1 :])
    talk.close()
    (connection,) = judged(capture, tmp_path)
    assert connection.observation.conflicts


def certificate(subject, key, issuer, signer, ca=True, names=(), key_id=None):
    """A certificate for a key, `issuer` being a name."""
    start = SPRING_2026 - datetime.timedelta(days=30)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3_000))
    )
    if ca:
        built = built.add_extension(x509.BasicConstraints(True, None), True)
        built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
    if names:
        built = built.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    if key_id is not None:
        built = built.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key_id), False)
    return built.sign(signer, hashes.SHA256())


def named(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def answering(key, *chain, version=ssl.TLSVersion.TLSv1_2):
    """A server with this chain."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(b"".join(map(pem, chain)) + key_pem(key))
        file.flush()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(file.name)
    return context


def test_a_cross_certificate_taints_no_public_chain(tmp_path):
    """Who holds an interception key can sign a certificate for a public CA's key and show it in a connection."""
    box = Authority.make("LAB interception CA", JULY_2019)
    public = x509.load_der_x509_certificate(genuine_chain()[1])
    cross = certificate(public.subject, public.public_key(), box.name, box.key)
    capture, rng = Capture(JULY_2019), random.Random(1)
    rsa_handshake(Connection(capture, 50_001), "rcku.kz", genuine_chain(), rng)
    _, leaf = box.issue(["shop.example"], JULY_2019)
    rsa_handshake(Connection(capture, 50_002, OTHER), "shop.example", [der(leaf), der(cross)], rng)
    genuine, other = judged(capture, tmp_path, box)
    assert genuine.verdict.rule.id == "publicly-trusted"
    assert other.verdict.rule.id == "signed-by-supplied-interception-ca"


def test_the_key_of_the_authority_in_the_leaf(tmp_path):
    box = Authority.make("LAB interception CA", SPRING_2026)
    leaf = certificate(named("vk.com"), box.key.public_key(), box.name, box.key, ca=False, names=["vk.com"])
    capture = Capture(SPRING_2026)
    openssl(Connection(capture, 50_001), "vk.com", answering(box.key, leaf), client_context())
    (connection,) = judged(capture, tmp_path, box)
    assert connection.verdict.rule.id == "signed-by-supplied-interception-ca"


def test_needless_certificates_of_one_name_hide_no_issuer(tmp_path):
    """Each connection has 62 others with the name of its issuer, and they add up."""
    box = Authority.make("LAB interception CA", SPRING_2026)
    middle, keys = named("LAB intermediate"), ec.generate_private_key(ec.SECP256R1())
    issuer = certificate(middle, keys.public_key(), box.name, box.key)
    capture = Capture(SPRING_2026)
    for port in (50_001, 50_002, 50_003):
        own = ec.generate_private_key(ec.SECP256R1())
        leaf = certificate(
            named("vk.com"), own.public_key(), middle, keys, ca=False, names=["vk.com"], key_id=keys.public_key()
        )
        others = [ec.generate_private_key(ec.SECP256R1()) for _ in range(62)]
        needless = [certificate(middle, other.public_key(), box.name, other) for other in others]
        openssl(Connection(capture, port), "vk.com", answering(own, leaf, issuer, *needless), client_context())
    for connection in judged(capture, tmp_path, box):
        assert connection.verdict.rule.id == "signed-by-supplied-interception-ca"


def hello_of_session(name, session, rng):
    """A ClientHello that offers a session id."""
    hello = bytearray(client_hello(name, rng))
    hello[44:76] = session
    return bytes(hello)


def test_what_is_resumed_was_issued_before(tmp_path):
    """A session id that a later handshake behind a published chain shows again says nothing of an earlier one."""
    rng = random.Random(9)
    session = rng.randbytes(32)
    answer = b"\3\3" + rng.randbytes(32) + vector(session, 1) + b"\0\x9c\0"
    finished = record(20, b"\1") + record(22, rng.randbytes(40))
    capture = Capture(JULY_2019)

    def resumed(port):
        talk = Connection(capture, port)
        talk.open()
        talk.send(0, hello_of_session("www.facebook.com", session, rng))
        talk.send(1, record(22, message(2, answer)) + finished)
        talk.send(0, finished + record(23, rng.randbytes(220)))
        talk.close()

    def whole(port):
        talk = Connection(capture, port)
        talk.open()
        talk.send(0, client_hello("www.facebook.com", rng))
        chain = vector(b"".join(vector(one, 3) for one in qaznet_chain()), 3)
        talk.send(1, record(22, message(2, answer) + message(11, chain) + message(14, b"")))
        talk.send(0, record(22, message(16, vector(rng.randbytes(256), 2))) + finished)
        talk.send(1, finished)
        talk.close()

    resumed(50_001)
    capture.now += 3_600
    whole(50_002)
    resumed(50_003)
    before, _, after = judged(capture, tmp_path)
    assert before.verdict.rule.id == "session-resumed"
    assert not any("replay" in remark.says for remark in before.verdict.remarks)
    assert any("the session that is resumed is" in remark.says for remark in after.verdict.remarks)
    assert after.verdict.rule.id == "resumes-intercepted-session"


def with_ladder(tmp_path, later, client, kind):
    """The ladder of captures/kz-2019-ladder, and afterwards a connection of a client to the same server and name."""
    capture = Capture(JULY_2019)
    with (CAPTURES / "kz-2019-ladder" / "capture.pcapng").open("rb") as file:
        capture.packets = list(dpkt.pcapng.Reader(file))
    capture.now = capture.packets[-1][0] + later
    talk, rng = Connection(capture, 50_500), random.Random(3)
    talk.ends = ((client, 50_500), ("203.0.113.80", 443))
    if kind == "reset":
        talk.open()
        talk.send(0, client_hello("www.facebook.com", rng))
        talk.packet(1, RST | ACK, ttl=61)
    else:
        rsa_handshake(talk, "www.facebook.com", qaznet_chain(), rng)
    return judged(capture, tmp_path)[-1].verdict


@pytest.mark.parametrize(
    ("later", "client", "kind", "where"),
    [(60, "192.0.2.10", "certificate", "edge"),
     (7_200, "192.0.2.10", "certificate", "unknown"),
     (60, "198.51.100.200", "certificate", "unknown"),
     (60, "192.0.2.10", "reset", "unknown")],
    ids=["the same", "two hours later", "another client", "a reset"],
)  # fmt: skip
def test_a_ladder_places_what_it_drew_from_its_own_client(later, client, kind, where, tmp_path):
    verdict = with_ladder(tmp_path, later, client, kind)
    assert verdict.state == ("interfered" if kind == "reset" else "intercepted")
    assert verdict.place.where == where


def test_decoys_with_a_low_ttl_are_no_ladder(tmp_path):
    """Circumvention tools send a decoy that dies on the way, and then the hello itself: no low TTL drew the answer."""
    capture, rng = Capture(JULY_2019), random.Random(7)
    for number, ttl in enumerate((5, 6, 7)):
        talk = Connection(capture, 50_001 + number)
        talk.open()
        decoy = client_hello("www.example.org", rng)
        talk.packet(0, PSH | ACK, decoy, ttl=ttl)
        talk.seq[0] -= len(decoy)
        talk.send(0, client_hello("www.facebook.com", rng))
        talk.send(1, server_flight(qaznet_chain(), 0x009C, rng))
        talk.close()
    for connection in judged(capture, tmp_path):
        assert connection.observation.probe_ttl is None
        assert connection.verdict.place.where == "unknown"


def test_a_syn_in_the_servers_name_breaks_no_connection(tmp_path):
    """RFC 5961 section 4: an established client drops it."""
    capture = Capture(JULY_2019)
    talk = Connection(capture, 50_001)
    talk.segment = 400
    rsa_handshake(talk, "www.facebook.com", qaznet_chain(), random.Random(1))
    at = [number for number, (_, frame) in enumerate(capture.packets) if frame[34:36] == b"\1\xbb"][3]
    when, frame = capture.packets[at]
    packet = dpkt.ethernet.Ethernet(frame)
    segment = packet.data.data
    segment.seq, segment.ack, segment.flags, segment.data = 12_345, 0, SYN, b""
    segment.sum = packet.data.sum = 0
    packet.data.len = len(packet.data)
    capture.packets.insert(at, (when - 0.00005, bytes(packet)))
    (connection,) = judged(capture, tmp_path)
    assert connection.verdict.rule.id == "signed-by-known-interception-ca"


def test_keys_open_the_hello_that_they_are_of(tmp_path):
    """A decoy before the real hello, over TLS 1.3: the key log has the real one's random."""
    box = Authority.make("LAB interception CA", SPRING_2026)
    capture, keys = Capture(SPRING_2026), tmp_path / "keys"
    client = client_context()
    client.keylog_filename = str(keys)
    server = server_context(*box.issue(["vk.com"], SPRING_2026, days=90, strong=True), ssl.TLSVersion.TLSv1_3)
    decoy = client_hello("decoy.example", random.Random(4))
    openssl(Connection(capture, 50_001), "vk.com", server, client, decoy=decoy)
    (connection,) = judged(capture, tmp_path, box, keylog=keys.read_bytes())
    assert connection.observation.server_name == "vk.com"
    assert connection.verdict.rule.id == "signed-by-supplied-interception-ca"


@pytest.mark.parametrize("proxy", ["198.51.100.7", "10.0.0.5", "127.0.0.1"])
def test_a_proxys_address_says_nothing_of_the_server(proxy, tmp_path):
    eset = Authority.make("ESET SSL Filter CA", SPRING_2026)
    chain = [der(eset.issue(["mail.example"], SPRING_2026, strong=True)[1]), der(eset.certificate)]
    capture, rng = Capture(SPRING_2026), random.Random(3)
    talk = Connection(capture, 50_001, proxy, 3128)
    talk.open()
    talk.send(0, b"CONNECT mail.example:443 HTTP/1.1\r\n\r\n")
    talk.send(1, b"HTTP/1.1 200 ok\r\n\r\n")
    talk.send(0, client_hello("mail.example", rng))
    talk.send(1, server_flight(chain, 0x009C, rng))
    talk.close()
    (connection,) = judged(capture, tmp_path)
    assert connection.verdict.rule.id == "product-by-issuer-names"
    assert connection.verdict.place.where == "unknown"


def test_controls_are_told_for_what_they_are():
    folder = CAPTURES / "silent-beside-controls"
    report = analyze(str(folder / "capture.pcapng"), reference.load(trusted_roots=tuple(folder.glob("*.pem"))))
    told = [
        child.says
        for connection in report.connections()
        if connection.verdict.rule.id == "failed-repeatedly-beside-controls"
        for child in connection.verdict.evidence.children
    ]
    report.close()
    assert told
    for says in told:
        found = re.fullmatch(r"(\d+) attempts failed; (\d+) controls .* got through, (\d+) of them in between", says)
        assert found
        assert int(found[2]) >= int(found[3]) >= 1


@pytest.mark.parametrize(
    ("offsets", "rule"),
    [
        ((0,), "reset-by-another-sender"),
        ((1_460,), "reset-by-another-sender"),
        ((64_239,), "reset-by-another-sender"),
        ((64_240,), "no-certificate"),
        ((500_000_000,), "no-certificate"),
        ((-1,), "no-certificate"),
        ((500_000_000,) * 30 + (0,), "reset-by-another-sender"),
    ],
)
def test_a_reset_outside_of_the_window_is_dropped(offsets, rule, tmp_path):
    """The client, with a window of 64,240, closed by itself later (RFC 9293 section 3.10.7.4: NXT =< SEQ < NXT+WND)."""
    capture = Capture(SPRING_2026)
    talk = Connection(capture, 50_001)
    talk.open()
    talk.packet(0, PSH | ACK, client_hello("vk.com", random.Random(1)))
    expected = talk.seq[1]
    for offset in offsets:
        talk.seq[1] = expected + offset
        talk.packet(1, RST | ACK, ttl=61)
    talk.seq[1] = expected
    capture.now += 1
    talk.packet(0, FIN | ACK)
    (connection,) = judged(capture, tmp_path)
    assert connection.verdict.rule.id == rule
    assert connection.observation.failed == ("reset" if rule == "reset-by-another-sender" else None)


def test_a_reset_behind_what_was_not_kept_may_be_in_the_window(tmp_path):
    """Of a long download only the first segments are kept, and the window moved on with the others."""
    rng = random.Random(1)
    capture = Capture(SPRING_2026)
    talk = Connection(capture, 50_001)
    rsa_handshake(talk, "www.facebook.com", genuine_chain(), rng)
    for _ in range(400):
        talk.packet(1, PSH | ACK, record(23, rng.randbytes(1_300)))
    talk.packet(0, ACK)
    talk.packet(1, RST | ACK)
    (connection,) = judged(capture, tmp_path)
    assert [mark.what for mark in connection.observation.resets] == ["reset"]
