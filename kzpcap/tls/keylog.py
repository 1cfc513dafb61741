"""SSLKEYLOGFILE and pcapng secrets: the TLS 1.3 server flight in clear, as far as its Certificate, and no further.

RFC 8446 sections 4.4, 5.2 and 7.1, RFC 9001 section 5 for QUIC; RFC 8879 for compressed certificates. Where the keys
allow, CertificateVerify and Finished are checked: then whoever answered holds the leaf's key, and the transcript is the
one that was captured.
"""

from __future__ import annotations

import hmac
import re
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from kzpcap.capture.flow import Flow
from kzpcap.capture.packet import Packet
from kzpcap.flows import Stream
from kzpcap.tls import codes, quic
from kzpcap.tls.compressed import unpack
from kzpcap.tls.messages import (
    HELLO_RETRY_RANDOM,
    RAW_KEY_SAYS,
    certificate_list,
    delegated_credential,
    is_raw_key_chosen,
)
from kzpcap.tls.records import Message, Side
from kzpcap.tls.secrets import aead, expand_label, transcript

LINE = re.compile(
    rb"^([A-Z0-9_]{4,48}) ([0-9a-fA-F]{64}) ([0-9a-fA-F]{96}|[0-9a-fA-F]{64})(?![0-9a-fA-F])", re.MULTILINE
)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_SECRETS = 1 << 18
MAX_FLIGHT = 1 << 18
"""Bytes of a flight in clear: OpenSSL takes chains of 100 kB unless it is told to take more."""
SERVER_HANDSHAKE = b"SERVER_HANDSHAKE_TRAFFIC_SECRET"

SUITES = {  # cipher suite: (AEAD, key length, hash), RFC 8446 appendix B.4
    0x1301: ("gcm", 16, "sha256"),
    0x1302: ("gcm", 32, "sha384"),
    0x1303: ("chacha", 32, "sha256"),
    0x1304: ("ccm", 16, "sha256"),
    0x1305: ("ccm8", 16, "sha256"),
}


@dataclass
class KeyLog:
    """Server handshake secrets by client random."""

    secrets: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict)
    read: int = 0
    """How many secrets blocks of the capture were read so far."""
    left_out: int = 0
    """How many of the oldest were let go."""

    def add(self, text: bytes) -> int:
        """Take the lines of a key log; gives how many were of use."""
        found = 0
        text = text.removeprefix(BYTE_ORDER_MARK)  # editors of Windows begin a file with it
        for label, random, secret in LINE.findall(text):
            if label == SERVER_HANDSHAKE:
                key = bytes.fromhex(random.decode())
                if key not in self.secrets and len(self.secrets) >= MAX_SECRETS:  # the newest are the capture's
                    self.secrets.popitem(last=False)
                    self.left_out += 1
                self.secrets[key] = bytes.fromhex(secret.decode())
                found += 1
        return found


class Opened(NamedTuple):
    """What the server's encrypted flight holds."""

    certificates: tuple[bytes, ...] | None
    complete: bool
    certificate_packet: Packet | None
    signature: tuple[int, bytes, bytes] | None
    """CertificateVerify: (scheme, signature, the bytes it signs)."""
    verify_packet: Packet | None
    finished_ok: bool | None
    finished_packet: Packet | None
    problem: str | None = None
    """Why what was sent cannot be read as a certificate: compressed in a way that fails, or a raw key."""
    delegated: bytes | None = None
    """The delegated credential beside the leaf."""


def open_flight(client: Side, server: Side, secret: bytes, suite: int) -> Opened | None:
    """Decrypt the server's flight over TCP; None where the keys do not fit the records."""
    if not _fits(secret, suite):
        return None
    flight, places = _plaintext(server, secret, suite)
    return _read(flight, places, client, server, secret, SUITES[suite][2]) if flight else None


def open_quic(flow: Flow, direction: int, client: Side, server: Side, secret: bytes, suite: int) -> Opened | None:
    """Decrypt the server's Handshake packets; `direction` is the client's. None where the keys do not fit them."""
    if not _fits(secret, suite):
        return None
    kind, size, digest = SUITES[suite]
    crypto = quic.handshake_crypto(flow, direction, secret, kind, size, digest)
    runs = crypto.assemble()
    if not runs or runs[0][0] != 0:
        return None
    _, flight, owners = runs[0]
    return _read(flight, owners, client, server, secret, digest)


def _fits(secret: bytes, suite: int) -> bool:
    return suite in SUITES and len(secret) == (48 if SUITES[suite][2] == "sha384" else 32)


def _read(
    flight: bytes, places: list[tuple[int, Packet]], client: Side, server: Side, secret: bytes, digest: str
) -> Opened:
    """The messages of a flight in clear; `places` are (offset, the packet that brought the bytes from there on)."""
    before = _hellos(client, server, digest)
    starts = [start for start, _ in places]
    certificates: tuple[bytes, ...] | None = None
    whole = False
    packet = verify_packet = finished_packet = None
    signature: tuple[int, bytes, bytes] | None = None
    finished: bool | None = None
    problem: str | None = None
    delegated: bytes | None = None
    raw_key = False
    at = 0
    while len(flight) - at >= 4:
        length = int.from_bytes(flight[at + 1 : at + 4], "big")
        body = flight[at + 4 : at + 4 + length]
        complete = len(body) == length
        kind = flight[at]
        here = places[bisect_right(starts, at + 3 + len(body)) - 1][1]
        if kind == 8 and not at:
            raw_key = is_raw_key_chosen(body)
        elif kind in (11, 25) and packet is None:
            unpacked, problem = (body, None) if kind == 11 else unpack(body)
            if raw_key:
                problem = RAW_KEY_SAYS
            elif unpacked is not None:
                certificates, whole = certificate_list(unpacked, 0x0304)
                whole = whole and complete
                delegated = delegated_credential(unpacked)
            packet = here
        elif kind == 15 and complete and before is not None and len(body) > 4 and signature is None:
            signed = b" " * 64 + b"TLS 1.3, server CertificateVerify\0" + transcript(digest, *before, flight[:at])
            signature = (int.from_bytes(body[:2], "big"), body[4:], signed)
            verify_packet = here
        elif kind == 20 and complete and before is not None:
            key = expand_label(secret, "finished", len(secret), digest)
            expected = hmac.new(key, transcript(digest, *before, flight[:at]), digest).digest()
            finished, finished_packet = hmac.compare_digest(expected, body), here
            break
        if not complete:
            break
        at += 4 + length
    return Opened(certificates, whole, packet, signature, verify_packet, finished, finished_packet, problem, delegated)


def _plaintext(server: Side, secret: bytes, suite: int) -> tuple[bytes, list[tuple[int, Packet]]]:
    """The handshake bytes of the records that open with the handshake keys, in order."""
    kind, size, digest = SUITES[suite]
    opener = aead(kind, expand_label(secret, "key", size, digest))
    iv = int.from_bytes(expand_label(secret, "iv", 12, digest), "big")
    flight = bytearray()
    places: list[tuple[int, Packet]] = []
    for number, record in enumerate(r for r in server.encrypted if r.kind == codes.APPLICATION_DATA):
        raw = _bytes(server.stream, record.offset, 5 + record.length)
        if raw is None or len(flight) > MAX_FLIGHT:
            break
        try:
            plain = opener.decrypt((iv ^ number).to_bytes(12, "big"), raw[5:], raw[:5])
        except Exception:  # InvalidTag, or a record too short for a tag: the handshake keys end here
            break
        content = plain.rstrip(b"\0")
        if not content or content[-1] != 22:
            break
        places.append((len(flight), record.packet))
        flight += content[:-1]
    return bytes(flight), places


def _bytes(stream: Stream, offset: int, length: int) -> bytes | None:
    """A piece of the stream; None where part of it is missing."""
    for run in stream.runs:
        if run.offset <= offset and offset + length <= run.offset + len(run.data):
            return run.data[offset - run.offset : offset - run.offset + length]
    return None


def _raw(message: Message) -> bytes:
    return bytes([message.kind]) + len(message.body).to_bytes(3, "big") + message.body


def _hellos(client: Side, server: Side, digest: str) -> tuple[bytes, ...] | None:
    """The transcript up to the ServerHello (RFC 8446 section 4.4.1: a first hello is replaced by its hash)."""
    hellos = [_raw(message) for message in client.messages if message.kind == 1 and message.complete]
    answers = [message for message in server.messages if message.kind == 2 and message.complete]
    retried = [message for message in answers if message.body[2:34] == HELLO_RETRY_RANDOM]
    final = [message for message in answers if message not in retried]
    if not hellos or not final:
        return None
    if not retried:
        return hellos[0], _raw(final[0])
    if len(hellos) < 2:
        return None
    hashed = transcript(digest, hellos[0])
    return b"\xfe\0\0" + bytes([len(hashed)]) + hashed, _raw(retried[0]), hellos[1], _raw(final[0])
