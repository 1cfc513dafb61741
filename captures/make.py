"""Build the captures of this folder: `python captures/make.py [NAME...]`.

Every connection is written packet by packet with dpkt. Handshakes are those of OpenSSL (Python's ssl over memory
buffers) under throw-away CAs, or, where a published certificate is shown, put together message by message. Truth
is written from what was built, never from what kzpcap says of it. Addresses are those for documentation (RFC 5737).
"""

from __future__ import annotations

import datetime
import json
import random
import shutil
import ssl
import struct
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dpkt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HERE = Path(__file__).parent
DATA = HERE.parent / "kzpcap" / "reference" / "data"
CLIENT, SERVER, OTHER = "192.0.2.10", "203.0.113.80", "198.51.100.7"
JULY_2019 = datetime.datetime(2019, 7, 20, 9, 14, 2, tzinfo=datetime.UTC)
SPRING_2026 = datetime.datetime(2026, 4, 2, 12, 0, 0, tzinfo=datetime.UTC)
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def address(text: str) -> bytes:
    return bytes(int(part) for part in text.split("."))


@dataclass
class Capture:
    """Packets with their times; written as pcapng."""

    start: datetime.datetime
    packets: list[tuple[float, bytes]] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.now = self.start.timestamp()

    def add(self, frame: bytes, wait: float) -> int:
        self.now += wait
        self.packets.append((self.now, frame))
        return len(self.packets)

    def write(self, path: Path) -> None:
        with path.open("wb") as file:
            writer = dpkt.pcapng.Writer(file)
            for when, frame in self.packets:
                writer.writepkt(frame, ts=when)


class Connection:
    """One TCP connection between a client and whoever answers; TTLs are as seen beside the client."""

    def __init__(self, capture: Capture, port: int, server: str = SERVER, server_port: int = 443) -> None:
        self.capture = capture
        self.ends = (CLIENT, port), (server, server_port)
        self.ttl = [64, 57]
        self.seq = [1_000_000 + port * 7919, 5_000_000 + port * 104_729]
        self.ip_id = [port, 0]
        self.last_frame = 0
        self.intercepted = False
        self.segment = 1400
        self.hops: list[str] = HOPS
        self.box_hop = BOX_HOP

    def packet(
        self, who: int, flags: int, payload: bytes = b"", wait: float = 0.0002, ttl: int | None = None, df: bool = True
    ) -> int:
        (src, sport), (dst, dport) = self.ends[who], self.ends[1 - who]
        options = b"\x02\x04\x05\xb4\x01\x01\x04\x02" if flags & SYN else b""
        tcp = dpkt.tcp.TCP(
            sport=sport,
            dport=dport,
            seq=self.seq[who] & 0xFFFFFFFF,
            ack=self.seq[1 - who] & 0xFFFFFFFF if flags & ACK else 0,
            flags=flags,
            win=64_240,
            opts=options,
            data=payload,
        )
        tcp.off = (20 + len(options)) // 4
        self.ip_id[who] = (self.ip_id[who] + 1) & 0xFFFF
        ip = dpkt.ip.IP(
            src=address(src),
            dst=address(dst),
            p=6,
            ttl=ttl if ttl is not None else self.ttl[who],
            id=self.ip_id[who],
            data=tcp,
            df=int(df),
        )
        ip.len = len(ip)
        frame = dpkt.ethernet.Ethernet(
            src=b"\x02\x00\x5e\x00\x53" + bytes([who]), dst=b"\x02\x00\x5e\x00\x53" + bytes([1 - who]), data=ip
        )
        number = self.capture.add(bytes(frame), wait)
        if not flags & RST:
            self.seq[who] += len(payload) + (1 if flags & (SYN | FIN) else 0)
        self.last_frame = number
        return number

    def open(self) -> None:
        self.packet(0, SYN)
        self.packet(1, SYN | ACK, wait=0.031)
        self.packet(0, ACK)

    def send(self, who: int, data: bytes, wait: float = 0.0005, ttl: int | None = None) -> int:
        frame = 0
        for at in range(0, len(data), self.segment):
            frame = self.packet(who, PSH | ACK, data[at : at + self.segment], wait if at == 0 else 0.0001, ttl)
        self.packet(1 - who, ACK)
        return frame

    def close(self) -> None:
        self.packet(0, FIN | ACK)
        self.packet(1, FIN | ACK, wait=0.03)
        self.packet(0, ACK)


# handshakes put together message by message


def record(kind: int, body: bytes) -> bytes:
    return struct.pack(">BHH", kind, 0x0303, len(body)) + body


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3, "big") + body


def vector(body: bytes, size: int) -> bytes:
    return len(body).to_bytes(size, "big") + body


def client_hello(
    name: str | None, rng: random.Random, suites: tuple[int, ...] = (0xC02F, 0xC030, 0x009C, 0x009D)
) -> bytes:
    host = (name or "").encode()
    extensions = struct.pack(">HH", 0, len(host) + 5) + vector(b"\0" + vector(host, 2), 2) if name else b""
    extensions += bytes.fromhex("000a00060004001d0017") + bytes.fromhex("000b00020100")
    extensions += bytes.fromhex("000d000800060401050106 01".replace(" ", ""))
    body = b"\x03\x03" + rng.randbytes(32) + vector(rng.randbytes(32), 1)
    body += vector(b"".join(suite.to_bytes(2, "big") for suite in suites), 2) + b"\x01\x00" + vector(extensions, 2)
    return record(22, message(1, body))


def server_flight(chain: list[bytes], suite: int, rng: random.Random, exchange: bytes = b"") -> bytes:
    hello = b"\x03\x03" + rng.randbytes(32) + vector(rng.randbytes(32), 1) + suite.to_bytes(2, "big") + b"\x00"
    certificates = vector(b"".join(vector(der, 3) for der in chain), 3)
    flight = message(2, hello) + message(11, certificates)
    if exchange:
        flight += message(12, exchange)
    return record(22, flight + message(14, b""))


def rsa_handshake(connection: Connection, name: str, chain: list[bytes], rng: random.Random) -> None:
    """A whole TLS 1.2 handshake with RSA key exchange: the server never signs."""
    connection.open()
    connection.send(0, client_hello(name, rng))
    connection.send(1, server_flight(chain, 0x009C, rng), wait=0.034)
    finished = record(22, rng.randbytes(40))
    connection.send(0, record(22, message(16, vector(rng.randbytes(256), 2))) + record(20, b"\x01") + finished)
    connection.send(1, record(20, b"\x01") + finished, wait=0.03)
    connection.send(0, record(23, rng.randbytes(220)))
    connection.send(1, record(23, rng.randbytes(1_900)), wait=0.05)
    connection.close()


# throw-away authorities and OpenSSL


@dataclass
class Authority:
    """A throw-away CA."""

    name: x509.Name
    key: Any
    certificate: x509.Certificate

    @classmethod
    def make(cls, common_name: str, at: datetime.datetime, country: str | None = None) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COUNTRY_NAME, country)] if country else []
        name = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - datetime.timedelta(days=400))
            .not_valid_after(at + datetime.timedelta(days=4000))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        return cls(name, key, certificate)

    def issue(
        self, names: list[str], at: datetime.datetime, days: int = 90, own: bool = False, strong: bool = False
    ) -> tuple[Any, x509.Certificate]:
        key = rsa.generate_private_key(65537, 2048) if strong else ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if own else self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - datetime.timedelta(days=30))
            .not_valid_after(at + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        return key, builder.sign(key if own else self.key, hashes.SHA256())


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def server_context(key: Any, certificate: x509.Certificate, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.pem"
        path.write_bytes(
            pem(certificate)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context.load_cert_chain(path)
    return context


def client_context(trusts: Authority | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if trusts:
        context.load_verify_locations(cadata=pem(trusts.certificate).decode())
    else:
        context.verify_mode = ssl.CERT_NONE
    return context


def openssl(
    connection: Connection,
    name: str | None,
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    session: ssl.SSLSession | None = None,
    answer_ttl: int | None = None,
    decoy: bytes = b"",
    lose: int = 0,
) -> ssl.SSLSession | None:
    """Run a real handshake over memory buffers and write what each side sent; gives the client's session."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
    theirs = server.wrap_bio(to_server_in := ssl.MemoryBIO(), to_client_out := ssl.MemoryBIO(), server_side=True)
    connection.open()
    opened = len(connection.capture.packets)

    def move() -> None:
        said = to_server.read()
        if said and decoy and len(connection.capture.packets) == opened:
            connection.packet(0, PSH | ACK, decoy, ttl=5)
            connection.seq[0] -= len(decoy)
        if said:
            connection.send(0, said)
            to_server_in.write(said)
        answered = to_client_out.read()
        if answered:
            nonlocal lose
            before = len(connection.capture.packets)
            connection.send(1, answered, wait=0.03, ttl=answer_ttl)
            if lose:  # the capture misses this segment of the server's first flight
                del connection.capture.packets[before + lose]
                lose = 0
            to_client.write(answered)

    done = [False, False]
    for _ in range(8):
        for index, side in enumerate((ours, theirs)):
            if done[index]:
                continue
            try:
                side.do_handshake()
                done[index] = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                done[index] = True  # the client refused the certificate
            move()
    try:
        ours.write(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n")
        move()
        theirs.read(4096)
        theirs.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        move()
        ours.read(4096)
    except ssl.SSLError:
        pass
    connection.close()
    try:
        return ours.session
    except ValueError:  # the handshake was refused: no session
        return None


# the captures


@dataclass
class Built:
    """A finished capture with its truth."""

    capture: Capture
    title: str
    text: str
    connections: list[dict[str, Any]]
    options: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    ladders: list[dict[str, Any]] = field(default_factory=list)


def published(name: str) -> bytes:
    path = next(DATA.rglob(name))
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)


def qaznet_chain() -> list[bytes]:
    return [published("kz2019_injected_leaf_rcku.kz.pem"), published("kz2019_intermediate_Security_Certificate.pem")]


def genuine_chain() -> list[bytes]:
    return [published("rcku.kz_genuine_leaf_thawte.pem"), published("thawte_ev_rsa_ca_2018.pem")]


def kz_2019_rcku() -> Built:
    rng = random.Random(2019)
    capture = Capture(JULY_2019)
    rsa_handshake(Connection(capture, 50_001), "rcku.kz", genuine_chain(), rng)
    rsa_handshake(Connection(capture, 50_002), "www.facebook.com", qaznet_chain(), rng)
    rsa_handshake(Connection(capture, 50_003), "rcku.kz", genuine_chain(), rng)
    return Built(
        capture,
        "July 2019, rebuilt: the same server with a listed name and with its own",
        "A RECONSTRUCTION, no recording. The chain of the second connection is the real one that Kazakhstan's system\n"
        "showed for rcku.kz in July 2019 (published by Censored Planet with full PEM); the handshake around it, times\n"
        "and addresses are made up. The name asked is a listed one and the certificate is the server's own, forged, as\n"
        "the published probes saw it. RSA key exchange: the server signs nothing, so nobody's key was needed. Because the\n"
        "certificate is public, kzpcap says that a replay cannot be excluded. The two connections around it ask for the\n"
        "server's own name and get its genuine chain.",
        [
            {"server_name": "rcku.kz", "state": "genuine", "rule_id": "publicly-trusted", "target": None},
            {
                "server_name": "www.facebook.com",
                "state": "intercepted",
                "rule_id": "signed-by-known-interception-ca",
                "identity": "known_generation:kz-2019-qaznet",
                "target": {"list": "kz-2019", "match": "exact", "in_force": True},
                "possession": "not_possible",
                "remark": "a replay cannot be excluded",
            },
            {"server_name": "rcku.kz", "state": "genuine", "rule_id": "publicly-trusted", "target": None},
        ],
    )


def kz_2019_rcku_genuine() -> Built:
    rng = random.Random(2020)
    capture = Capture(JULY_2019)
    rsa_handshake(Connection(capture, 50_011), "rcku.kz", genuine_chain(), rng)
    return Built(
        capture,
        "The genuine twin: rcku.kz with its own certificate, by the trust of July 2019",
        "Built around the published genuine certificate of rcku.kz and its issuer. The root was in the public bundle of\n"
        "2019; it has since been removed, so today's trust store would judge this capture wrongly.",
        [{"server_name": "rcku.kz", "state": "genuine", "rule_id": "publicly-trusted", "possession": "not_possible"}],
    )


def replayed_chain() -> Built:
    rng = random.Random(2021)
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_021)
    connection.open()
    connection.send(0, client_hello("www.facebook.com", rng))
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    raw = point.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    exchange = b"\x03\x00\x17" + vector(raw, 1) + b"\x04\x01" + vector(rng.randbytes(256), 2)
    connection.send(1, server_flight(qaznet_chain(), 0xC02F, rng, exchange), wait=0.034)
    connection.close()
    return Built(
        capture,
        "The real forged chain of 2019, replayed by somebody without its key",
        "The ServerKeyExchange is not signed with the leaf's key: whoever answered has only the published certificate.\n"
        "This is no interception by the CA's owner, and kzpcap must not say so.",
        [
            {
                "server_name": "www.facebook.com",
                "state": "undetermined",
                "rule_id": "replayed-without-its-key",
                "possession": "refuted",
            }
        ],
    )


def supplied(public: Authority, *extra: tuple[str, Authority]) -> tuple[dict[str, list[str]], dict[str, bytes]]:
    options = {"trusted_root": ["root.pem"]}
    files = {"root.pem": pem(public.certificate)}
    for name, authority in extra:
        options.setdefault("interception_ca", []).append(name)
        files[name] = pem(authority.certificate)
    return options, files


def lab_interception() -> Built:
    at = SPRING_2026
    public, box = Authority.make("LAB public root", at), Authority.make("LAB interception CA", at)
    capture = Capture(at)
    genuine = server_context(*public.issue(["www.example.org", "vk.com"], at), ssl.TLSVersion.TLSv1_2)
    forged = server_context(*box.issue(["vk.com"], at, strong=True), ssl.TLSVersion.TLSv1_2)
    openssl(Connection(capture, 50_031), "www.example.org", genuine, client_context())
    openssl(Connection(capture, 50_032), "vk.com", forged, client_context(), answer_ttl=61)
    openssl(Connection(capture, 50_033), "vk.com", forged, client_context(public), answer_ttl=61)
    options, files = supplied(public, ("interception.pem", box))
    return Built(
        capture,
        "A laboratory interceptor that takes over at the ClientHello; one client goes on, one refuses",
        "OpenSSL on both sides under throw-away CAs (names say LAB). The second and third connections are answered by\n"
        "a box four hops nearer than the server: the SYN-ACK has TTL 57, the ServerHello 61. The third client knows the\n"
        "public root only and refuses the certificate with an alert.",
        [
            {
                "server_name": "www.example.org",
                "state": "genuine",
                "rule_id": "trusted-by-supplied-anchor",
                "possession": "proved",
            },
            {
                "server_name": "vk.com",
                "state": "intercepted",
                "rule_id": "signed-by-supplied-interception-ca",
                "identity": "supplied_ca",
                "possession": "proved",
                "client_reaction": "went_on",
                "remark": "two senders",
            },
            {
                "server_name": "vk.com",
                "state": "intercepted",
                "rule_id": "signed-by-supplied-interception-ca",
                "identity": "supplied_ca",
                "client_reaction": "refused",
            },
        ],
        options,
        files,
    )


def names_without_the_key() -> Built:
    at = JULY_2019
    imitation = Authority.make("Security Certificate", at, "KZ")
    capture = Capture(at)
    forged = server_context(*imitation.issue(["vk.com"], at), ssl.TLSVersion.TLSv1_2)
    openssl(Connection(capture, 50_041), "vk.com", forged, client_context())
    return Built(
        capture,
        "The names of 2019 over another key",
        "A throw-away CA called C=KZ, CN=Security Certificate, like the intermediate of 2019. A name is not a signature:\n"
        "kzpcap may suspect, and must name nobody.",
        [
            {
                "server_name": "vk.com",
                "state": "suspected",
                "rule_id": "imitates-known-interception-ca",
                "identity": "unknown",
                "possession": "proved",
            }
        ],
    )


def tls13_encrypted() -> Built:
    at = SPRING_2026
    public = Authority.make("LAB public root", at)
    capture = Capture(at)
    server = server_context(*public.issue(["www.example.org"], at), ssl.TLSVersion.TLSv1_3)
    openssl(Connection(capture, 50_051), "www.example.org", server, client_context())
    return Built(
        capture,
        "TLS 1.3 without keys",
        "The certificate is encrypted. Nothing can be said of it: neither that it was genuine nor that it was forged.",
        [
            {
                "server_name": "www.example.org",
                "state": "undetermined",
                "rule_id": "certificate-encrypted",
                "certificate_absent": "ENCRYPTED",
            }
        ],
    )


def resumed_session() -> Built:
    at = SPRING_2026
    public, box = Authority.make("LAB public root", at), Authority.make("LAB interception CA", at)
    capture = Capture(at)
    genuine = server_context(*public.issue(["www.example.org"], at), ssl.TLSVersion.TLSv1_2)
    forged = server_context(*box.issue(["vk.com"], at), ssl.TLSVersion.TLSv1_2)
    one, two = client_context(), client_context()
    session = openssl(Connection(capture, 50_061), "www.example.org", genuine, one)
    openssl(Connection(capture, 50_062), "www.example.org", genuine, one, session)
    session = openssl(Connection(capture, 50_063, OTHER), "vk.com", forged, two)
    openssl(Connection(capture, 50_064, OTHER), "vk.com", forged, two, session)
    options, files = supplied(public, ("interception.pem", box))
    return Built(
        capture,
        "Two resumed sessions: one of a genuine server, one of an interceptor",
        "A resumed TLS 1.2 session shows no certificate. The second one presents the ticket that was issued behind an\n"
        "interception certificate earlier in the capture; only the holder of that session's keys can accept it.",
        [
            {"server_name": "www.example.org", "state": "genuine", "rule_id": "trusted-by-supplied-anchor"},
            {
                "server_name": "www.example.org",
                "state": "undetermined",
                "rule_id": "session-resumed",
                "certificate_absent": "RESUMED",
                "resumed": "ticket",
                "resumes_frame": 6,
            },
            {"server_name": "vk.com", "state": "intercepted", "identity": "supplied_ca"},
            {
                "server_name": "vk.com",
                "state": "intercepted",
                "rule_id": "resumes-intercepted-session",
                "certificate_absent": "RESUMED",
            },
        ],
        options,
        files,
    )


def reset_after_client_hello() -> Built:
    at = SPRING_2026
    rng = random.Random(2022)
    public = Authority.make("LAB public root", at)
    capture = Capture(at)
    genuine = server_context(*public.issue(["www.example.org", "vk.com"], at), ssl.TLSVersion.TLSv1_2)
    expected = []
    for turn in range(2):
        openssl(Connection(capture, 50_071 + turn * 2), "www.example.org", genuine, client_context())
        expected.append({"server_name": "www.example.org", "state": "genuine", "rule_id": "trusted-by-supplied-anchor"})
        connection = Connection(capture, 50_072 + turn * 2)
        connection.open()
        connection.packet(0, PSH | ACK, client_hello("vk.com", rng))
        connection.packet(1, RST | ACK, wait=0.011, ttl=125, df=False)
        expected.append(
            {
                "server_name": "vk.com",
                "state": "interfered",
                "rule_id": "reset-by-another-sender",
                "certificate_absent": "NOT_REACHED",
            }
        )
    connection = Connection(capture, 50_079)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello("unlisted.example.net", rng))
    connection.packet(1, RST | ACK, wait=0.031)
    expected.append({"server_name": "unlisted.example.net", "state": "undetermined", "rule_id": "reset-once"})
    options, files = supplied(public)
    return Built(
        capture,
        "Resets after the ClientHello, beside controls that got through",
        "The resets for vk.com have TTL 125 where the server's SYN-ACK has 57: another sender. The last connection is\n"
        "reset by the server itself, once, with the same TTL: that shows nothing.",
        expected,
        options,
        files,
    )


def mid_connection() -> Built:
    at = SPRING_2026
    public = Authority.make("LAB public root", at)
    whole = Capture(at)
    server = server_context(*public.issue(["www.example.org"], at), ssl.TLSVersion.TLSv1_2)
    first = Connection(whole, 50_081)
    openssl(first, "www.example.org", server, client_context())
    cut = next(i for i, (_, frame) in enumerate(whole.packets) if frame[54:55] == b"\x17") + 0
    capture = Capture(at, whole.packets[cut:])
    capture.now = whole.now
    openssl(Connection(capture, 50_082), "www.example.org", server, client_context())
    options, files = supplied(public)
    return Built(
        capture,
        "A capture that starts in the middle of a connection",
        "The first connection is already in application data: neither name nor certificate were captured. The second is\n"
        "whole.",
        [
            {
                "server_name": None,
                "state": "undetermined",
                "rule_id": "handshake-not-captured",
                "certificate_absent": "NOT_CAPTURED",
            },
            {"server_name": "www.example.org", "state": "genuine", "rule_id": "trusted-by-supplied-anchor"},
        ],
        options,
        files,
    )


def untrusted_kinds() -> Built:
    at = SPRING_2026
    public, private = Authority.make("LAB public root", at), Authority.make("LAB company root", at)
    capture = Capture(at)
    v12 = ssl.TLSVersion.TLSv1_2
    names = ["www.example.org"]
    for port, context in (
        (50_091, server_context(*public.issue(names, at, days=-2), v12)),
        (50_092, server_context(*public.issue(["other.example.net"], at), v12)),
        (50_093, server_context(*public.issue(names, at, own=True), v12)),
        (50_094, server_context(*private.issue(names, at), v12)),
    ):
        openssl(Connection(capture, port), names[0], context, client_context())
    options, files = supplied(public)
    states = ["outside-its-dates", "other-name", "self-signed", "issuer-missing"]
    return Built(
        capture,
        "Certificates that a browser refuses, and that are no interception",
        "Expired, for another name, self-signed, and by a private CA that is not in the capture: each is named for what\n"
        "it is. An untrusted chain alone is not interception.",
        [{"server_name": "www.example.org", "state": "undetermined", "rule_id": rule} for rule in states],
        options,
        files,
    )


def block_page() -> Built:
    at = SPRING_2026
    rng = random.Random(2023)
    capture = Capture(at)
    connection = Connection(capture, 50_101)
    connection.open()
    connection.send(0, client_hello("vk.com", rng))
    connection.send(1, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\n\r\nblocked", wait=0.01, ttl=61)
    connection.close()
    connection = Connection(capture, 50_102)
    connection.open()
    connection.send(0, client_hello("mail.ru", rng))
    connection.packet(1, PSH | ACK, record(21, b"\x02\x70"), wait=0.01, ttl=61)
    connection.close()
    connection = Connection(capture, 50_103)
    connection.open()
    connection.send(0, client_hello("static.example.net", rng))
    connection.packet(1, PSH | ACK, record(21, b"\x02\x70"), wait=0.03)
    connection.close()
    return Built(
        capture,
        "A block page and an alert put in by a box, and a server that refuses a name itself",
        "The first two answers have another TTL than the SYN-ACK. The third has the server's own: it may refuse the name.",
        [
            {"server_name": "vk.com", "state": "interfered", "rule_id": "plain-answer-by-another-sender"},
            {"server_name": "mail.ru", "state": "interfered", "rule_id": "alert-by-another-sender"},
            {"server_name": "static.example.net", "state": "undetermined", "rule_id": "refused-with-alert"},
        ],
    )


def silent_beside_controls() -> Built:
    at = SPRING_2026
    rng = random.Random(2024)
    public = Authority.make("LAB public root", at)
    capture = Capture(at)
    server = server_context(*public.issue(["www.example.org", "vk.com"], at), ssl.TLSVersion.TLSv1_2)
    expected = []
    openssl(Connection(capture, 50_111), "vk.com", server, client_context())
    expected.append({"server_name": "vk.com", "state": "genuine", "rule_id": "trusted-by-supplied-anchor"})
    for turn in range(3):
        connection = Connection(capture, 50_120 + turn * 2)
        connection.open()
        hello = client_hello("vk.com", rng)
        connection.packet(0, PSH | ACK, hello)
        connection.seq[0] -= len(hello)
        connection.packet(0, PSH | ACK, hello, wait=1.0)
        expected.append(
            {"server_name": "vk.com", "state": "interfered", "rule_id": "failed-repeatedly-beside-controls"}
        )
        openssl(Connection(capture, 50_121 + turn * 2), "www.example.org", server, client_context())
        expected.append({"server_name": "www.example.org", "state": "genuine", "rule_id": "trusted-by-supplied-anchor"})
    options, files = supplied(public)
    return Built(
        capture,
        "A name that falls silent three times between controls that get through",
        "The server hosts the name (its genuine chain is seen once, at the start). One silence would be nothing.",
        expected,
        options,
        files,
    )


# TTL ladders over the published path

HOPS = ["185.120.76.1", "88.204.195.89", "212.154.195.97", "92.47.151.210"]
HOPS += ["95.56.243.92", "178.89.110.198", "178.89.110.206"]
BOX_HOP, SERVER_HOP = 5, 8


def time_exceeded(connection: Connection, hop: int) -> None:
    """The router at this hop of the connection's path answers the last packet with an RFC 792 quote of it."""
    quoted = bytearray(connection.capture.packets[-1][1][14:])
    quoted[8] = 1  # the TTL with which it arrived
    icmp = dpkt.icmp.ICMP(type=11, code=0, data=b"\0\0\0\0" + bytes(quoted[:28]))
    ip = dpkt.ip.IP(
        src=address(connection.hops[hop - 1]), dst=address(CLIENT), p=1, ttl=255 - hop + 1, id=hop, data=icmp
    )
    ip.len = len(ip)
    frame = dpkt.ethernet.Ethernet(src=b"\x02\x00\x5e\x00\x53\x01", dst=b"\x02\x00\x5e\x00\x53\x00", data=ip)
    connection.capture.add(bytes(frame), 0.002 * hop)


def probe(connection: Connection, hello: bytes, ttl: int) -> None:
    """The same segment with a TTL of its own: the sequence number does not move on."""
    connection.packet(0, PSH | ACK, hello, wait=0.08, ttl=ttl)
    connection.seq[0] -= len(hello)
    if ttl < SERVER_HOP:
        reached_box = ttl >= connection.box_hop and connection.intercepted
        if not reached_box:
            time_exceeded(connection, ttl)


def answer(connection: Connection, hello: bytes, chain: list[bytes], rng: random.Random) -> None:
    connection.seq[0] += len(hello)
    ttl = 64 - connection.box_hop + 1 if connection.intercepted else None
    connection.send(1, server_flight(chain, 0x009C, rng), wait=0.03, ttl=ttl)
    connection.packet(0, RST | ACK)


def ladder_truth(shape: str) -> list[dict[str, Any]]:
    return [
        {
            "server_name": "www.facebook.com",
            "control_server_name": None,
            "shape": shape,
            "interceptor_ttl": BOX_HOP,
            "effect": "certificate",
            "control_terminating_ttl": SERVER_HOP,
            "bound": "exact",
            "placement": "in_path",
            "last_clean_hop": {
                "ttl": 4,
                "address": "92.47.151.210",
                "asn": 50482,
                "network": "Kazakhtelecom",
                "published": "AS9198 as published 2019",
            },
            "first_intercepted_hop": {"ttl": 5, "address": "95.56.243.92", "asn": 9198, "network": "Kazakhtelecom"},
        }
    ]


def probe_each_ttl(seed: int, hops: list[str], box_hop: int) -> tuple[Capture, list[dict[str, Any]]]:
    """One connection for each TTL, target and control in turn, over a path with the box at one hop."""
    rng = random.Random(seed)
    capture = Capture(JULY_2019)
    expected: list[dict[str, Any]] = []
    for ttl in range(1, 11):
        for target in (True, False):
            connection = Connection(capture, 51_000 + ttl * 2 + target)
            connection.ttl[1] = 64 - SERVER_HOP + 1
            connection.intercepted = target
            connection.hops, connection.box_hop = hops, box_hop
            connection.open()
            hello = client_hello("www.facebook.com" if target else None, rng)
            probe(connection, hello, ttl)
            name = "www.facebook.com" if target else None
            if ttl >= (box_hop if target else SERVER_HOP):
                answer(connection, hello, qaznet_chain() if target else genuine_chain(), rng)
                if target:
                    expected.append({"server_name": name, "state": "intercepted", "place": "edge"})
                else:
                    expected.append({"server_name": name, "state": "undetermined", "rule_id": "no-name-sent"})
            else:
                expected.append({"server_name": name, "state": "undetermined", "rule_id": "probe-unanswered"})
    return capture, expected


def kz_2019_ladder() -> Built:
    capture, expected = probe_each_ttl(2031, HOPS, BOX_HOP)
    return Built(
        capture,
        "The published path of July 2019 as a TTL ladder: one connection for each TTL",
        "A RECONSTRUCTION with the addresses and the real chain that Censored Planet published: the target is answered\n"
        "with the forged certificate from TTL 5 on, the control (a ClientHello without a name, as in the published\n"
        "measurement) only by the server at TTL 8. So the box sits between hop 4 (92.47.151.210) and hop 5 (95.56.243.92).\n"
        "Today's table gives the first to AS50482; in 2019 it was published as AS9198. Both are Kazakhtelecom.",
        expected,
        ladders=ladder_truth("connection_per_ttl"),
    )


def kz_2019_ladder_from_outside() -> Built:
    capture, expected = probe_each_ttl(2034, HOPS[::-1], 4)
    truth = ladder_truth("connection_per_ttl")
    truth[0].update(
        interceptor_ttl=4,
        last_clean_hop={"ttl": 3, "address": "95.56.243.92", "asn": 9198, "network": "Kazakhtelecom"},
        first_intercepted_hop={"ttl": 4, "address": "92.47.151.210", "asn": 50482, "network": "Kazakhtelecom"},
    )
    return Built(
        capture,
        "The same edge from outside: the client is abroad, the server in the country",
        "A RECONSTRUCTION, and more of it is assumed than in `kz-2019-ladder`. Published: hosts in the country were injected\n"
        "when asked from North America (Censored Planet, 2019). Not published: any hop seen from there. Here the published\n"
        "path is walked the other way, so the edge has its ends exchanged: the last clean hop is 95.56.243.92, the first\n"
        "intercepted one 92.47.151.210. It tests that a ladder is read the same from either side, not where the box stood.",
        expected,
        ladders=truth,
    )


def kz_2019_ladder_one_connection() -> Built:
    rng = random.Random(2032)
    capture = Capture(JULY_2019)
    expected: list[dict[str, Any]] = []
    for target in (True, False):
        connection = Connection(capture, 52_000 + target)
        connection.ttl[1] = 64 - SERVER_HOP + 1
        connection.intercepted = target
        connection.open()
        hello = client_hello("www.facebook.com" if target else None, rng)
        last = BOX_HOP if target else SERVER_HOP
        for ttl in range(1, last + 1):
            probe(connection, hello, ttl)
        answer(connection, hello, qaznet_chain() if target else genuine_chain(), rng)
        if target:
            expected.append({"server_name": "www.facebook.com", "state": "intercepted", "place": "edge"})
        else:
            expected.append({"server_name": None, "state": "undetermined", "rule_id": "no-name-sent"})
    return Built(
        capture,
        "The published path of July 2019 as a TTL ladder: one connection, the same segment with rising TTL",
        "A RECONSTRUCTION in the shape of the published tool (work_ttl.py): after the TCP handshake the same ClientHello\n"
        "segment is sent again and again with TTL 1, 2, 3 ... until something answers. A reader that takes the copies for\n"
        "retransmissions destroys this evidence. An answer belongs to no one probe; here the bounds meet at TTL 5.",
        expected,
        ladders=ladder_truth("one_connection"),
    )


def clean_ladder() -> Built:
    rng = random.Random(2033)
    capture = Capture(JULY_2019)
    expected: list[dict[str, Any]] = []
    for ttl in range(1, 10):
        for name in ("vk.com", "www.example.org"):
            connection = Connection(capture, 53_000 + ttl * 2 + (name == "vk.com"))
            connection.ttl[1] = 64 - SERVER_HOP + 1
            connection.open()
            hello = client_hello(name, rng)
            probe(connection, hello, ttl)
            if ttl >= SERVER_HOP:
                answer(connection, hello, genuine_chain(), rng)
            rule = "other-name" if ttl >= SERVER_HOP else "probe-unanswered"
            expected.append({"server_name": name, "state": "undetermined", "rule_id": rule, "place": "unknown"})
    return Built(
        capture,
        "A clean ladder: target and control are answered by the server alone",
        "Nothing on the path answered for the server: no place may be told.",
        expected,
        ladders=[
            {
                "server_name": "vk.com",
                "control_server_name": "www.example.org",
                "interceptor_ttl": None,
                "control_terminating_ttl": SERVER_HOP,
                "bound": None,
                "last_clean_hop": None,
                "first_intercepted_hop": None,
                "placement": "unknown",
            }
        ],
    )


def missing_pieces() -> Built:
    at = SPRING_2026
    rng = random.Random(2041)
    public, private = Authority.make("LAB public root", at), Authority.make("LAB company root", at)
    capture = Capture(at)
    expected: list[dict[str, Any]] = []

    def connection(port: int, rule: str, **truth: Any) -> Connection:
        truth.setdefault("server_name", "www.example.org")
        expected.append({"state": "undetermined", "rule_id": rule, **truth})
        return Connection(capture, port)

    _, leaf = private.issue(["www.example.org"], at, days=200, strong=True)
    one = connection(54_001, "private-root")
    one.open()
    one.send(0, client_hello("www.example.org", rng))
    one.send(1, server_flight([der(leaf), der(private.certificate)], 0x009C, rng))
    one.close()
    two = connection(54_002, "plain-answer", certificate_absent="NOT_REACHED")
    two.open()
    two.send(0, client_hello("www.example.org", rng))
    two.send(1, b"HTTP/1.1 400 Bad Request\r\n\r\n", wait=0.03)
    two.close()
    three = connection(54_003, "no-answer", certificate_absent="NOT_REACHED")
    three.open()
    hello = client_hello("www.example.org", rng)
    three.packet(0, PSH | ACK, hello)
    three.seq[0] -= len(hello)
    three.packet(0, PSH | ACK, hello, wait=1.0)
    four = connection(54_004, "no-tls", server_name=None)
    four.open()
    four.close()
    five = connection(54_005, "one-sided", certificate_absent="ONE_SIDED")
    five.packet(0, SYN)
    five.packet(0, ACK)
    five.packet(0, PSH | ACK, client_hello("www.example.org", rng))
    six = connection(54_006, "no-certificate", certificate_absent="NOT_SENT")
    six.open()
    six.send(0, client_hello("www.example.org", rng, (0x00A8,)))
    hello = b"\x03\x03" + rng.randbytes(32) + b"\0" + b"\x00\xa8" + b"\0"
    six.send(1, record(22, message(2, hello) + message(14, b"")))
    six.close()
    _, trusted = public.issue(["www.example.org"], at, strong=True)
    seven = connection(54_007, "name-not-captured", server_name=None)
    seven.packet(1, SYN | ACK)
    seven.send(1, server_flight([der(trusted)], 0x009C, rng))
    eight = connection(54_008, "certificate-truncated", certificate_absent="TRUNCATED", certificates=[])
    eight.open()
    eight.send(0, client_hello("www.example.org", rng))
    flight = server_flight([der(trusted) + b"\0" * 2_000], 0x009C, rng)
    eight.packet(1, PSH | ACK, flight[:600], wait=0.03)
    nine = connection(54_009, "unreadable-certificate")
    nine.open()
    nine.send(0, client_hello("www.example.org", rng))
    nine.send(1, server_flight([b"\x30\x03\x02\x01\x05"], 0x009C, rng))
    nine.close()
    ten = connection(54_010, "client-reset-by-another-sender", state="interfered", server_name="vk.com")
    ten.open()
    ten.packet(0, PSH | ACK, client_hello("vk.com", rng))
    ten.packet(0, RST | ACK, ttl=52)
    eleven = connection(54_011, "conflicting-server-bytes")
    eleven.open()
    eleven.send(0, client_hello("www.example.org", rng))
    flight = server_flight([der(trusted)], 0x009C, rng)
    start = eleven.seq[1]
    eleven.send(1, flight)
    eleven.seq[1] = start
    eleven.send(1, flight[:100] + rng.randbytes(200))
    options, files = supplied(public)
    return Built(
        capture,
        "What is missing, and why: one connection for each reason",
        "A private root on the wire, a plain answer by the server itself, silence once, no TLS at all, one direction only, no\n"
        "certificate sent (a pre-shared key), the client's side not captured, a certificate cut short, one that cannot be\n"
        "read, a reset in the client's name, and different bytes for the same place of the server's stream.",
        expected,
        options,
        files,
    )


def tricks() -> Built:
    at = SPRING_2026
    rng = random.Random(2043)
    public, box = Authority.make("LAB public root", at), Authority.make("LAB interception CA", at)
    capture = Capture(at)
    v12 = ssl.TLSVersion.TLSv1_2
    genuine = server_context(*public.issue(["www.example.org", "vk.com"], at, strong=True), v12)
    forged = server_context(*box.issue(["vk.com"], at, strong=True), v12)
    expected: list[dict[str, Any]] = []

    # a circumvention tool's decoy before the real hello, and an interceptor all the same
    openssl(Connection(capture, 56_001), "vk.com", forged, client_context(), decoy=client_hello("decoy.example", rng))
    expected.append(
        {
            "server_name": "vk.com",
            "other_server_names": ["decoy.example"],
            "state": "intercepted",
            "possession": "proved",
            "target": {"name": "vk.com", "match": "exact"},
        }
    )
    # a ticket issued by the interceptor, declined by the genuine server; the capture lost the Certificate
    two = client_context()
    session = openssl(Connection(capture, 56_002, OTHER), "vk.com", forged, two)
    declined = Connection(capture, 56_003, OTHER)
    declined.segment = 200
    openssl(declined, "vk.com", genuine, two, session, lose=2)
    expected.append({"server_name": "vk.com", "state": "intercepted"})
    expected.append({"server_name": "vk.com", "state": "undetermined", "resumed": None})
    # a stray reset that everybody ignored
    start = len(capture.packets)
    openssl(Connection(capture, 56_004), "www.example.org", genuine, client_context())
    hello_at = next(i for i in range(start, len(capture.packets)) if capture.packets[i][1][54:55] == b"\x16")
    stray = Capture(at)
    connection = Connection(stray, 56_004)
    connection.seq[1] += 10_000_000
    connection.packet(1, RST | ACK, ttl=99)
    capture.packets.insert(hello_at + 1, (capture.packets[hello_at][0] + 1e-4, stray.packets[0][1]))
    expected.append({"server_name": "www.example.org", "state": "genuine"})
    # two flights for the same bytes, the second with a known interception chain
    five = Connection(capture, 56_005, "203.0.113.90")
    five.open()
    five.send(0, client_hello("www.facebook.com", rng))
    begin = five.seq[1]
    five.send(1, server_flight(genuine_chain(), 0x009C, rng))
    five.seq[1] = begin
    five.send(1, server_flight(qaznet_chain(), 0x009C, rng))
    expected.append(
        {
            "server_name": "www.facebook.com",
            "state": "suspected",
            "rule_id": "interception-chain-in-conflicting-bytes",
            "identity": "unknown",
        }
    )
    # a reset between the two segments of a hello
    six = Connection(capture, 56_006)
    six.open()
    hello = client_hello("vk.com", rng)
    six.packet(0, PSH | ACK, hello[:90])
    six.packet(1, RST | ACK, wait=0.01, ttl=125)
    six.packet(0, PSH | ACK, hello[90:])
    expected.append({"server_name": "vk.com", "state": "interfered", "rule_id": "reset-by-another-sender"})
    # a client that cancels three times within a millisecond, between controls that get through
    for turn in range(3):
        seven = Connection(capture, 56_010 + turn * 2)
        seven.open()
        seven.packet(0, PSH | ACK, client_hello("mail.ru", rng))
        seven.packet(0, FIN | ACK, wait=0.001)
        expected.append({"server_name": "mail.ru", "state": "undetermined"})
        openssl(Connection(capture, 56_011 + turn * 2), "www.example.org", genuine, client_context())
        expected.append({"server_name": "www.example.org", "state": "genuine"})
    # a reset as far away as the server, from another initial TTL
    eight = Connection(capture, 56_020)
    eight.open()
    eight.packet(0, PSH | ACK, client_hello("vk.com", rng))
    eight.packet(1, RST | ACK, ttl=248)
    expected.append({"server_name": "vk.com", "state": "undetermined", "rule_id": "reset-once"})
    options, files = supplied(public, ("interception.pem", box))
    return Built(
        capture,
        "Tricks and accidents that must not turn a verdict round",
        "A decoy hello before an intercepted one; an interceptor's ticket that the genuine server declined, with the\n"
        "Certificate lost; a stray reset that everybody ignored; two chains for the same bytes; a reset between the two\n"
        "segments of a hello; a client that cancels at once; a reset as far away as the server, from another initial TTL.",
        expected,
        options,
        files,
    )


def resigned_copy() -> Built:
    at = SPRING_2026
    rng = random.Random(2051)
    public, box = Authority.make("LAB public root", at), Authority.make("LAB unknown box", at)
    _, genuine = public.issue(["vk.com", "www.vk.com"], at, strong=True)
    hours = datetime.timedelta(hours=6)

    def resign(shift: datetime.timedelta, serial: int) -> x509.Certificate:
        key = rsa.generate_private_key(3, 2048)
        builder = (
            x509.CertificateBuilder()
            .subject_name(genuine.subject)
            .issuer_name(box.name)
            .public_key(key.public_key())
            .serial_number(serial)
            .not_valid_before(genuine.not_valid_before_utc - shift)
            .not_valid_after(genuine.not_valid_after_utc - shift)
        )
        names = genuine.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return builder.add_extension(names.value, critical=False).sign(box.key, hashes.SHA256())

    capture = Capture(at)
    _, stranger = box.issue(["vk.com", "www.vk.com"], at, days=365, strong=True)
    expected: list[dict[str, Any]] = []
    for port, leaf, truth in (
        (57_001, genuine, {"state": "genuine", "rule_id": "trusted-by-supplied-anchor"}),
        (
            57_002,
            resign(hours, genuine.serial_number + 0xADB3),
            {"state": "intercepted", "rule_id": "resigned-copy-of-genuine-certificate", "identity": "unknown"},
        ),
        (
            57_003,
            resign(datetime.timedelta(0), x509.random_serial_number()),
            {"state": "intercepted", "rule_id": "resigned-copy-of-genuine-certificate", "identity": "unknown"},
        ),
        (57_004, stranger, {"state": "undetermined", "rule_id": "issuer-missing"}),
    ):
        rsa_handshake(Connection(capture, port), "vk.com", [der(leaf)], rng)
        expected.append({"server_name": "vk.com", **truth})
    options, files = supplied(public)
    return Built(
        capture,
        "Re-signed copies beside the genuine certificate, by a box that nobody knows",
        "The second leaf has the genuine one's subject and names, both dates six hours earlier and a serial a little higher;\n"
        "the third its exact dates (as squid makes them). Each is proven to be re-signed, and by whom nothing is said. The\n"
        "fourth has the same names by the same box, but neither dates nor serial of the genuine one: that proves nothing.",
        expected,
        options,
        files,
    )


def other_authorities() -> Built:
    rng = random.Random(2042)
    at = datetime.datetime(2026, 6, 20, 12, 0, 0, tzinfo=datetime.UTC)
    capture = Capture(at)
    isca = Authority.make("Information Security Certification Authority", at)
    isca.name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "KZ"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ISCA"),
            x509.NameAttribute(NameOID.COMMON_NAME, "Information Security Certification Authority"),
        ]
    )
    _, unverified = isca.issue(["xakep.ru"], at, strong=True)
    russian = [published("ru2022_sub_Russian_Trusted_Sub_CA.pem"), published("ru2022_root_Russian_Trusted_Root_CA.pem")]
    expected: list[dict[str, Any]] = []
    for port, name, chain, truth in (
        (55_001, "rcku.kz", genuine_chain(), {"state": "undetermined", "rule_id": "root-public-at-another-time"}),
        (55_002, "gosuslugi.ru", russian, {"state": "undetermined", "rule_id": "signed-by-national-ca"}),
        (
            55_003,
            "xakep.ru",
            [der(unverified)],
            {"state": "suspected", "rule_id": "bears-names-of-known-interception-ca", "identity": "unknown"},
        ),
        (
            55_004,
            "vk.com",
            [published("kz2016_root_Qaznet_Trust_Network.pem")],
            {"state": "undetermined", "rule_id": "self-signed"},
        ),
        (
            55_005,
            "vk.com",
            [der(unverified), published("kz2019_intermediate_Security_Certificate.pem")],
            {"state": "suspected", "rule_id": "bears-names-of-known-interception-ca", "identity": "unknown"},
        ),
    ):
        rsa_handshake(Connection(capture, port), name, chain, rng)
        expected.append({"server_name": name, **truth})
    return Built(
        capture,
        "Roots of another time, a national CA, and names that nothing can verify",
        "rcku.kz's genuine chain seven years later (its root has left the bundle), Russia's national CA, a leaf under the name\n"
        "of Kazakhstan's ISCA whose intermediates nobody published, Qaznet's own published root shown as a server's\n"
        "certificate, and a known intermediate that stands in the list and signed nothing. None of these is interception.",
        expected,
    )


CAPTURES = {
    "kz-2019-rcku": kz_2019_rcku,
    "kz-2019-rcku-genuine": kz_2019_rcku_genuine,
    "replayed-chain": replayed_chain,
    "lab-interception": lab_interception,
    "names-without-the-key": names_without_the_key,
    "tls13-encrypted": tls13_encrypted,
    "resumed-session": resumed_session,
    "reset-after-client-hello": reset_after_client_hello,
    "mid-connection": mid_connection,
    "untrusted-kinds": untrusted_kinds,
    "block-page": block_page,
    "silent-beside-controls": silent_beside_controls,
    "missing-pieces": missing_pieces,
    "other-authorities": other_authorities,
    "tricks": tricks,
    "resigned-copy": resigned_copy,
    "kz-2019-ladder": kz_2019_ladder,
    "kz-2019-ladder-from-outside": kz_2019_ladder_from_outside,
    "kz-2019-ladder-one-connection": kz_2019_ladder_one_connection,
    "clean-ladder": clean_ladder,
}


def main(names: list[str]) -> None:
    for name in names or CAPTURES:
        built = CAPTURES[name]()
        folder = HERE / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        built.capture.write(folder / "capture.pcapng")
        truth = {
            "title": built.title,
            "options": built.options,
            "connections": built.connections,
            "ladders": built.ladders,
        }
        (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
        for file, content in built.files.items():
            (folder / file).write_bytes(content)
        made = "Built by `python captures/make.py " + name + "`. Nothing in it was scrubbed: nobody's traffic is in it."
        (folder / "README.md").write_text(f"# {built.title}\n\n{built.text}\n\n{made}\n")
        print(f"{name:28} {len(built.capture.packets):4} packets, {len(built.connections)} connections")


if __name__ == "__main__":
    main(sys.argv[1:])
