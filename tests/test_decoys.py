"""What clients in censored countries send beside the real thing, and TLS that is rare: named as it is, and no more."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import random
import ssl
import struct
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID

from kzpcap.certificates.possession import Possession
from kzpcap.observations import Absent, Reaction
from kzpcap.tls.secrets import expand_label
from tests.conftest import CAPTURES
from tests.test_overstated import judged, rules, states

sys.path.insert(0, str(CAPTURES))
from recipes.packets import ACK, OTHER, PSH, RST, SERVER, SPRING_2026, Capture, Connection
from recipes.tls import (
    Authority,
    client_context,
    client_hello,
    der,
    message,
    openssl,
    record,
    rsa_handshake,
    server_context,
    server_flight,
    vector,
)

IN_2024 = datetime.datetime(2024, 4, 2, 12, tzinfo=datetime.UTC)
TLS13, TLS12 = ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2


def observed(report):
    return [one.observation for one in report]


@pytest.fixture(scope="module")
def box():
    return Authority.make("LAB interception CA", SPRING_2026, "KZ")


def test_two_sites_behind_one_decoy_name_are_not_one_name(tmp_path):
    """GoodbyeDPI's and zapret's fake hello: a site whose own certificate is refused is not "answered otherwise"."""
    public = Authority.make("LAB public root", IN_2024)
    good = server_context(*public.issue(["rutracker.org", "www.example.org"], IN_2024, days=3000, strong=True), TLS13)
    before = IN_2024 - datetime.timedelta(days=900)
    expired = server_context(*public.issue(["xakep.ru"], before, days=30, strong=False), TLS13)
    cap, rng = Capture(IN_2024), random.Random(5)
    sites = [("rutracker.org", good), ("www.example.org", good), ("xakep.ru", expired), ("rutracker.org", good)]
    sites += [("www.example.org", good), ("xakep.ru", expired), ("rutracker.org", good)]
    for number, (name, server) in enumerate(sites):
        listed = name != "www.example.org"
        openssl(
            Connection(cap, 59_000 + number, SERVER if listed else OTHER),
            name,
            server,
            client_context(public),
            decoy=client_hello("www.w3.org", rng) if listed else b"",
        )
    report = judged(tmp_path, cap)
    assert set(states(report)) == {"undetermined"}
    assert {"hidden-answer-differs"} & set(rules(report)) == set()


def delegating(authority, name, may):
    """A key and a leaf that may delegate (RFC 9345 section 4.2)."""
    key, plain = authority.issue([name], SPRING_2026, strong=True)
    if not may:
        return key, plain
    builder = (
        x509.CertificateBuilder()
        .subject_name(plain.subject)
        .issuer_name(plain.issuer)
        .public_key(plain.public_key())
        .serial_number(plain.serial_number)
        .not_valid_before(plain.not_valid_before_utc)
        .not_valid_after(plain.not_valid_after_utc)
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.44363.44"), b"\5\0"), False)
    )
    for extension in plain.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return key, builder.sign(authority.key, hashes.SHA256())


def keyed(cap, port, name, authority, rng, delegate=True, sound=True, may=True, days=31):
    """TLS 1.3 whose server signs with a delegated key (RFC 9345); gives the line of the key log."""
    key, leaf = delegating(authority, name, may)
    sent, host = rng.randbytes(32), name.encode()
    extensions = struct.pack(">HH", 0, len(host) + 5) + vector(b"\0" + vector(host, 2), 2)
    extensions += bytes.fromhex("000a00060004001d0017000d00060004040308040022000400020403002b0003020304")
    extensions += struct.pack(">HH", 51, 38) + vector(struct.pack(">HH", 0x1D, 32) + rng.randbytes(32), 2)
    hello = message(1, b"\3\3" + sent + vector(rng.randbytes(32), 1) + b"\0\2\x13\x01\1\0" + vector(extensions, 2))
    chosen = bytes.fromhex("002b00020304") + struct.pack(">HHHH", 51, 36, 0x1D, 32) + rng.randbytes(32)
    answer = message(2, b"\3\3" + rng.randbytes(32) + vector(hello[39:71], 1) + b"\x13\x01\0" + vector(chosen, 2))
    secret = rng.randbytes(32)
    deputy = ec.generate_private_key(ec.SECP256R1())
    spki = deputy.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    credential = struct.pack(">IH", days * 86_400, 0x0403) + vector(spki, 3) + b"\x08\x04"
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    said = b" " * 64 + b"TLS, server delegated credentials\0" + der(leaf) + credential
    signature = key.sign(said if sound else said + b"!", pss, hashes.SHA256())
    extra = struct.pack(">H", 34) + vector(credential + vector(signature, 2), 2) if delegate else b""
    extended = message(8, b"\0\0")
    certificate = message(11, b"\0" + vector(vector(der(leaf), 3) + vector(extra, 2), 3))
    so_far = hashlib.sha256(hello + answer + extended + certificate).digest()
    signed = b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + so_far
    if delegate:
        proof = message(15, b"\x04\x03" + vector(deputy.sign(signed, ec.ECDSA(hashes.SHA256())), 2))
    else:
        proof = message(15, b"\x08\x04" + vector(key.sign(signed, pss, hashes.SHA256()), 2))
    whole = hashlib.sha256(hello + answer + extended + certificate + proof).digest()
    finished = message(20, hmac.new(expand_label(secret, "finished", 32, "sha256"), whole, "sha256").digest())
    plain = extended + certificate + proof + finished + b"\x16"
    head = struct.pack(">BHH", 23, 0x0303, len(plain) + 16)
    opener = AESGCM(expand_label(secret, "key", 16, "sha256"))
    sealed = opener.encrypt(expand_label(secret, "iv", 12, "sha256"), plain, head)
    link = Connection(cap, port)
    link.open()
    link.send(0, record(22, hello))
    link.send(1, record(22, answer) + record(20, b"\1") + head + sealed, wait=0.03)
    link.send(0, record(20, b"\1") + record(23, rng.randbytes(53)) + record(23, rng.randbytes(300)))
    link.send(1, record(23, rng.randbytes(900)), wait=0.03)
    link.close()
    return b"SERVER_HANDSHAKE_TRAFFIC_SECRET %s %s\n" % (sent.hex().encode(), secret.hex().encode())


def test_a_delegated_credential_hides_no_interceptor_and_makes_no_replay(box, tmp_path):
    public = Authority.make("LAB public root", SPRING_2026)
    cap, rng = Capture(SPRING_2026), random.Random(8)
    keys = keyed(cap, 50_001, "vk.com", box, rng, delegate=False) + keyed(cap, 50_002, "vk.com", box, rng)
    keys += keyed(cap, 50_003, "www.facebook.com", public, rng)
    keys += keyed(cap, 50_004, "www.facebook.com", public, rng, sound=False)
    for number, odd in enumerate(({"may": False}, {"days": 29}, {"days": 40})):
        keys += keyed(cap, 50_010 + number, "www.facebook.com", public, rng, **odd)
    report = judged(tmp_path, cap, trusted=[public], intercepting=[box], keylog=keys)
    assert states(report) == ["intercepted", "intercepted", *["genuine"] * 5]
    held = [one.possession for one in observed(report)]
    assert held == [Possession.PROVED] * 3 + [Possession.NOT_CAPTURED] * 4, "what no client takes shows nothing"


def test_a_known_key_that_signed_one_who_may_sign_none_is_told_as_that(box, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "LAB end entity")])
    entity = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(box.name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(SPRING_2026 - datetime.timedelta(days=30))
        .not_valid_after(SPRING_2026 + datetime.timedelta(days=300))
        .sign(box.key, hashes.SHA256())
    )
    _, leaf = Authority(name, key, entity).issue(["vk.com"], SPRING_2026, strong=True)
    cap = Capture(SPRING_2026)
    rsa_handshake(Connection(cap, 51_000), "vk.com", [der(leaf), der(entity)], random.Random(1))
    report = judged(tmp_path, cap, intercepting=[box])
    (one,) = report
    assert one.verdict.state.value == "suspected", "whoever has a certificate of this CA can sign so"
    assert "which may itself sign none" in str(one.verdict.evidence)
    assert "cannot be checked" not in str(one.verdict.evidence)


@pytest.mark.parametrize("fake", [False, True], ids=["plain", "with a segment from before the window"])
def test_bytes_from_before_the_window_are_no_hello(fake, tmp_path):
    """GoodbyeDPI --wrong-seq: sequence number 10,000 less; no receiver takes it (RFC 9293 section 3.10.7.4)."""
    public, rng = Authority.make("LAB public root", SPRING_2026), random.Random(5)
    names = ["www.example.org", "vk.com"]
    good = server_context(*public.issue(names, SPRING_2026, days=3000, strong=True), TLS12)
    cap = Capture(SPRING_2026)
    openssl(Connection(cap, 50_000), "vk.com", good, client_context())
    for number in range(4):
        openssl(Connection(cap, 51_000 + number), "www.example.org", good, client_context())
        link = Connection(cap, 52_000 + number)
        link.open()
        if fake:
            kept = list(link.seq)
            link.seq[0] -= 10_000
            link.seq[1] -= 66_000
            link.packet(0, PSH | ACK, client_hello("www.w3.org", rng))
            link.seq = kept
        link.packet(0, PSH | ACK, client_hello("vk.com", rng))
        link.packet(1, RST | ACK, wait=0.03)
    openssl(Connection(cap, 51_100), "www.example.org", good, client_context())
    report = judged(tmp_path, cap, trusted=[public])
    listed = [one for one in report if one.observation.target]
    assert [one.observation.server_name for one in listed] == ["vk.com"] * 5
    assert [one.verdict.state.value for one in listed] == ["genuine"] + ["interfered"] * 4
    assert all(not one.observation.other_names for one in listed)


@pytest.mark.parametrize(("more", "said"), [(False, Reaction.CLOSED), (True, Reaction.WENT_ON)])
def test_a_key_exchange_alone_is_no_going_on(more, said, box, tmp_path):
    """Firefox sends it while it checks the certificate, and then an alert that is encrypted."""
    rng, cap = random.Random(5), Capture(SPRING_2026)
    _, leaf = box.issue(["vk.com"], SPRING_2026, strong=True)
    link = Connection(cap, 51_000)
    link.open()
    link.send(0, client_hello("vk.com", rng))
    link.send(1, server_flight([der(leaf)], 0x009C, rng), wait=0.034)
    link.send(0, record(22, message(16, vector(rng.randbytes(256), 2))) + record(20, b"\1") + record(22, bytes(40)))
    link.send(1, record(20, b"\1") + record(22, rng.randbytes(40)), wait=0.03)
    link.send(0, record(23, rng.randbytes(300)) if more else record(21, rng.randbytes(26)))
    link.close()
    report = judged(tmp_path, cap, intercepting=[box])
    assert [one.reaction for one in observed(report)] == [said]
    assert states(report) == ["intercepted"]


def test_an_empty_entry_was_not_taken_out_by_anybody(box, tmp_path):
    rng, cap = random.Random(5), Capture(SPRING_2026)
    _, leaf = box.issue(["vk.com"], SPRING_2026, strong=True)
    for number, first in enumerate((b"", bytes(700))):
        link = Connection(cap, 51_000 + number)
        link.open()
        link.send(0, client_hello("vk.com", rng))
        link.send(1, server_flight([first, der(leaf)], 0x9C, rng), wait=0.03)
        link.close()
    empty, zeros = observed(judged(tmp_path, cap, intercepting=[box]))
    assert (empty.absent, zeros.absent) == (None, Absent.SCRUBBED)
    assert len(empty.chain) == 2


def test_a_raw_public_key_is_told_as_one(box, tmp_path):
    rng, cap = random.Random(5), Capture(SPRING_2026)
    spki = box.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    answer = message(2, b"\3\3" + rng.randbytes(32) + b"\0" + b"\0\x9c\0" + vector(struct.pack(">HHB", 20, 1, 2), 2))
    link = Connection(cap, 51_000)
    link.open()
    link.send(0, client_hello("vk.com", rng))
    link.send(1, record(22, answer + message(11, vector(spki, 3)) + message(14, b"")), wait=0.03)
    link.close()
    (seen,) = observed(judged(tmp_path, cap))
    assert seen.absent is Absent.MALFORMED
    assert seen.chain_problem == "a raw public key (RFC 7250), and no certificate"
