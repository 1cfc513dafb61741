"""Handshakes: put together message by message, or OpenSSL's own over memory buffers under throw-away authorities."""

from __future__ import annotations

import datetime
import random
import ssl
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from recipes.packets import ACK, PSH, Connection


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


@dataclass
class Authority:
    """A throw-away CA."""

    name: x509.Name
    key: Any
    certificate: x509.Certificate

    @classmethod
    def make(
        cls, common_name: str, at: datetime.datetime, country: str | None = None, organization: str | None = None
    ) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COUNTRY_NAME, country)] if country else []
        attributes += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
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


def key_pem(key: Any) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def server_context(key: Any, certificate: x509.Certificate, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = version
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.pem"
        path.write_bytes(pem(certificate) + key_pem(key))
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
