"""QUIC: real handshakes of aioquic over memory, with Retry and Version Negotiation, and QUIC before TCP."""

from __future__ import annotations

import io
import ssl
import tempfile
from pathlib import Path
from typing import Any

import dpkt
from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import (
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.tls import CipherSuite

from recipes.built import Built, supplied
from recipes.packets import CLIENT, OTHER, SERVER, SPRING_2026, Capture, Connection, address
from recipes.tls import Authority, client_context, key_pem, openssl, pem, server_context

PORT = 443


class Datagrams:
    """One UDP conversation; TTLs are as seen beside the client."""

    def __init__(self, capture: Capture, port: int, server: str) -> None:
        self.capture = capture
        self.ends = (CLIENT, port), (server, PORT)
        self.ttl = (64, 57)
        self.ip_id = [port, 0]

    def send(self, who: int, data: bytes, wait: float) -> int:
        (src, sport), (dst, dport) = self.ends[who], self.ends[1 - who]
        udp = dpkt.udp.UDP(sport=sport, dport=dport, data=data)
        udp.ulen = len(udp)
        self.ip_id[who] += 1
        ip = dpkt.ip.IP(src=address(src), dst=address(dst), p=17, ttl=self.ttl[who], id=self.ip_id[who], df=1, data=udp)
        ip.len = len(ip)
        ethernet = dpkt.ethernet.Ethernet(
            src=b"\x02\x00\x5e\x00\x53" + bytes([who]), dst=b"\x02\x00\x5e\x00\x53" + bytes([1 - who]), data=ip
        )
        return self.capture.add(bytes(ethernet), wait)


def client(
    name: str,
    version: int = QuicProtocolVersion.VERSION_1,
    suite: CipherSuite = CipherSuite.AES_128_GCM_SHA256,
    keys: Any = None,
) -> QuicConnection:
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=["h3"], server_name=name, verify_mode=ssl.CERT_NONE,
        supported_versions=[version, QuicProtocolVersion.VERSION_1], original_version=version,
        cipher_suites=[suite], secrets_log_file=keys,
    )  # fmt: skip
    return QuicConnection(configuration=configuration)


def unanswered(talk: Datagrams, name: str, attempts: int) -> None:
    """The client's first flight, sent again and again to nobody."""
    ours = client(name)
    now = talk.capture.now
    ours.connect((talk.ends[1][0], PORT), now=now)
    for data, _ in ours.datagrams_to_send(now=now):
        talk.send(0, data, 0.0002)
    for _ in range(attempts - 1):
        now = ours.get_timer()
        ours.handle_timer(now=now)
        for data, _ in ours.datagrams_to_send(now=now):
            talk.send(0, data, max(0.0001, now - talk.capture.now))


def answered(talk: Datagrams, ours: QuicConnection, key: Any, certificate: Any, retry: bool = False) -> dict[str, Any]:
    """A whole handshake; with `retry` behind a Retry, with a version that the server has not behind a negotiation.

    Gives what the report must say of its beginning.
    """
    truth: dict[str, Any] = {
        "version": "0x00000001", "retry_frame": None, "version_negotiation_frame": None, "versions_offered": [],
    }  # fmt: skip
    configuration = QuicConfiguration(
        is_client=False, alpn_protocols=["h3"], supported_versions=[QuicProtocolVersion.VERSION_1]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "both.pem"
        path.write_bytes(pem(certificate) + key_pem(key))
        configuration.load_cert_chain(path, path)
    peer = (CLIENT, talk.ends[0][1])
    retried: bytes | None = None
    theirs: QuicConnection | None = None
    now = talk.capture.now
    ours.connect((talk.ends[1][0], PORT), now=now)
    for _ in range(8):
        wait = 0.0004
        for data, _ in ours.datagrams_to_send(now=now):
            talk.send(0, data, wait)
            if theirs is None:
                header = pull_quic_header(Buffer(data=data), host_cid_length=8)
                if header.version not in configuration.supported_versions:
                    refused = encode_quic_version_negotiation(
                        source_cid=header.destination_cid, destination_cid=header.source_cid,
                        supported_versions=configuration.supported_versions,
                    )  # fmt: skip
                    truth.update(version_negotiation_frame=talk.send(1, refused, 0.03), versions_offered=["0x00000001"])
                    ours.receive_datagram(refused, talk.ends[1], now=talk.capture.now)
                    continue
                original = header.destination_cid
                if retry and retried is None:
                    retried = original
                    again = encode_quic_retry(
                        version=header.version, source_cid=b"kzpcap01", destination_cid=header.source_cid,
                        original_destination_cid=original, retry_token=b"a token of the LAB",
                    )  # fmt: skip
                    truth["retry_frame"] = talk.send(1, again, 0.03)
                    ours.receive_datagram(again, talk.ends[1], now=talk.capture.now)
                    continue
                theirs = QuicConnection(
                    configuration=configuration, original_destination_connection_id=retried or original,
                    retry_source_connection_id=original if retried else None,
                )  # fmt: skip
            theirs.receive_datagram(data, peer, now=talk.capture.now)
        now = talk.capture.now
        if theirs is not None:
            for data, _ in theirs.datagrams_to_send(now=now):
                talk.send(1, data, 0.03)
                ours.receive_datagram(data, talk.ends[1], now=talk.capture.now)
        now = talk.capture.now
    return truth


def quic_then_tcp() -> Built:
    at = SPRING_2026
    public, box = Authority.make("LAB public root", at), Authority.make("LAB interception CA", at)
    capture = Capture(at)
    v12 = ssl.TLSVersion.TLSv1_2
    forged = server_context(*box.issue(["vk.com"], at, strong=True), v12)
    key, leaf = public.issue(["www.example.org"], at)
    unanswered(Datagrams(capture, 57_001, SERVER), "vk.com", 3)
    openssl(Connection(capture, 57_002), "vk.com", forged, client_context(), answer_ttl=61)
    plain = answered(Datagrams(capture, 57_003, OTHER), client("www.example.org"), key, leaf)
    openssl(Connection(capture, 57_004, OTHER), "www.example.org", server_context(key, leaf, v12), client_context())
    retried = answered(Datagrams(capture, 57_005, OTHER), client("www.example.org"), key, leaf, retry=True)
    newer = client("www.example.org", QuicProtocolVersion.VERSION_2)
    negotiated = answered(Datagrams(capture, 57_006, OTHER), newer, key, leaf)
    options, files = supplied(public, ("interception.pem", box))
    encrypted = {"server_name": "www.example.org", "state": "undetermined", "rule_id": "certificate-encrypted",
                 "certificate_absent": "ENCRYPTED", "transport": "quic"}  # fmt: skip
    return Built(
        capture,
        "QUIC before TCP: blocked QUIC, then intercepted TCP; a control whose QUIC works, with Retry and another version",
        "A browser tries QUIC first. To the listed name nobody answers, and the TCP connection that follows is intercepted:\n"
        "silence is not blocking, but the report tells the one beside the other. The control's QUIC is answered; once\n"
        "behind a Retry, once after a Version Negotiation (both can be sent by anyone on the path). The certificate of\n"
        "QUIC is always encrypted. aioquic and OpenSSL under throw-away CAs.",
        [
            {"server_name": "vk.com", "state": "undetermined", "rule_id": "no-answer", "transport": "quic",
             "certificate_absent": "NOT_REACHED"},
            {"server_name": "vk.com", "state": "intercepted", "rule_id": "signed-by-supplied-interception-ca",
             "remark": "QUIC to this name was tried once in the ten minutes before, and not answered"},
            encrypted | {"quic": plain},
            {"server_name": "www.example.org", "state": "genuine", "rule_id": "trusted-by-supplied-anchor",
             "remark": "QUIC to this name was tried once in the ten minutes before, and answered"},
            encrypted | {"quic": retried, "remark": "answered with a Retry before the handshake"},
            encrypted | {"quic": negotiated, "remark": "answered with Version Negotiation (0x00000001), which is not protected"},
        ],
        options,
        files,
    )  # fmt: skip


def quic_with_keys() -> Built:
    at = SPRING_2026
    public, box = Authority.make("LAB public root", at), Authority.make("LAB interception CA", at)
    capture, keys = Capture(at), io.StringIO()
    expected: list[dict[str, Any]] = []
    suites = (CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384, CipherSuite.CHACHA20_POLY1305_SHA256)
    for number, suite in enumerate(suites):
        key, leaf = public.issue(["www.example.org"], at, strong=number == 1)
        answered(
            Datagrams(capture, 57_101 + number, OTHER), client("www.example.org", suite=suite, keys=keys), key, leaf
        )
        expected.append(
            {"server_name": "www.example.org", "state": "genuine", "rule_id": "trusted-by-supplied-anchor",
             "possession": "proved", "finished_verified": True, "cipher_suite": f"0x{suite:04x}"}
        )  # fmt: skip
    key, leaf = box.issue(["vk.com"], at)
    answered(Datagrams(capture, 57_104, SERVER), client("vk.com", keys=keys), key, leaf)
    expected.append(
        {"server_name": "vk.com", "state": "intercepted", "rule_id": "signed-by-supplied-interception-ca",
         "identity": "supplied_ca", "possession": "proved"}
    )  # fmt: skip
    answered(Datagrams(capture, 57_105, SERVER), client("vk.com"), key, leaf)
    expected.append({"server_name": "vk.com", "state": "undetermined", "certificate_absent": "ENCRYPTED"})
    options, files = supplied(public, ("interception.pem", box))
    options["keylog"] = ["keys.log"]
    files["keys.log"] = keys.getvalue().encode()
    return Built(
        capture,
        "QUIC opened by a key log: each cipher suite, an interceptor that speaks QUIC, and one connection without keys",
        "With the client's key log the certificate of QUIC can be read: CertificateVerify shows that whoever answered holds\n"
        "its key, Finished that the handshake was captured as the server saw it. Nobody has seen Kazakhstan's system speak\n"
        "QUIC; the forged one here is of a laboratory. The last connection's keys are not in the log.",
        expected,
        options,
        files,
    )
