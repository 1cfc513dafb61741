"""Compressed certificates (RFC 8879): every algorithm, bounded, and inside an opened TLS 1.3 flight."""

from __future__ import annotations

import zlib

import brotli
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from kzpcap.observations import Absent
from kzpcap.observer import absent_reason
from kzpcap.tls import handshake, keylog
from kzpcap.tls.compressed import MAX_UNPACKED, RATIO_AFTER, unpack
from kzpcap.tls.keylog import KeyLog
from kzpcap.tls.secrets import expand_label
from tests.build import client_hello, extension, message, record, server_hello_body, streams, vector

try:
    from compression import zstd
except ImportError:
    from backports import zstd

PACKERS = {1: zlib.compress, 2: brotli.compress, 3: zstd.compress}
LIST = b"\0" + vector(vector(b"the leaf" * 100, 3) + b"\0\0", 3)


def packed(algorithm, plain, length=None):
    body = PACKERS[algorithm](plain)
    return (
        algorithm.to_bytes(2, "big") + (len(plain) if length is None else length).to_bytes(3, "big") + vector(body, 3)
    )


@pytest.mark.parametrize("algorithm", PACKERS)
def test_each_algorithm(algorithm):
    assert unpack(packed(algorithm, LIST)) == (LIST, None)


@pytest.mark.parametrize("algorithm", PACKERS)
@pytest.mark.parametrize("claimed", [len(LIST) - 1, len(LIST) + 1])
def test_another_length_than_claimed_is_told(algorithm, claimed):
    plain, problem = unpack(packed(algorithm, LIST, claimed))
    assert plain is None
    assert f"claims {claimed} bytes and holds" in problem


@pytest.mark.parametrize("algorithm", PACKERS)
def test_a_bomb_is_never_unpacked_whole(algorithm):
    plain, problem = unpack(packed(algorithm, b"\0" * 15_000_000, 1_000))
    assert plain is None
    assert "claims 1,000 bytes and holds more" in problem
    for claimed in (MAX_UNPACKED + 1, RATIO_AFTER + 1):
        bomb = unpack(packed(algorithm, b"\0" * claimed, claimed))
        assert bomb == (None, f"a compressed certificate that claims {claimed:,} bytes")


@pytest.mark.parametrize("algorithm", PACKERS)
def test_what_does_not_unpack_is_named(algorithm):
    raw = bytearray(packed(algorithm, LIST))
    raw[8:12] = b"\xff" * 4
    plain, problem = unpack(bytes(raw))
    assert plain is None
    assert problem.startswith(("a certificate compressed with", "a compressed certificate that claims"))


def test_unknown_and_cut():
    assert unpack(b"\0\x07\0\0\1\0\0\1x")[1] == "a certificate compressed with algorithm 7, which is not known"
    assert unpack(packed(1, LIST)[:-1])[1] == "a compressed certificate that is cut"


@given(st.binary(max_size=200), st.sampled_from(sorted(PACKERS)))
def test_any_bytes(raw, algorithm):
    for body in (raw, algorithm.to_bytes(2, "big") + b"\0\4\0" + vector(raw, 3)):
        plain, problem = unpack(body)
        assert (plain is None) != (problem is None)
        assert plain is None or len(plain) <= MAX_UNPACKED


SECRET = bytes(range(32))


def flight(certificates, size=1 << 14, extended=b"\0\0"):
    """The server's side: a ServerHello, then EncryptedExtensions and what follows under SECRET, `size` bytes each."""
    sent = record(22, message(2, server_hello_body(suite=0x1301, extensions=extension(43, b"\x03\x04"))))
    opener, iv = AESGCM(expand_label(SECRET, "key", 16)), int.from_bytes(expand_label(SECRET, "iv", 12), "big")
    clear = message(8, extended) + certificates
    for number, at in enumerate(range(0, len(clear), size)):
        inner = clear[at : at + size] + b"\x16"
        head = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        sent += head + opener.encrypt((iv ^ number).to_bytes(12, "big"), inner, head)
    return sent


def opened(certificates, *how, mark=b""):
    keys = KeyLog()
    keys.add(mark + b"SERVER_HANDSHAKE_TRAFFIC_SECRET " + b"07" * 32 + b" " + SECRET.hex().encode())
    return handshake.read_streams(streams(client_hello(), flight(certificates, *how)), keys)


@pytest.mark.parametrize("algorithm", PACKERS)
def test_a_key_log_opens_a_compressed_certificate(algorithm):
    found = opened(message(25, packed(algorithm, LIST)))
    assert found.keys == "opened"
    assert found.chains[0].certificates == (b"the leaf" * 100,)
    assert found.chains[0].complete


def test_a_certificate_that_does_not_unpack_is_malformed_and_says_why():
    found = opened(message(25, packed(2, LIST, 5)))
    assert not found.chains
    assert found.chain_problem == "a compressed certificate that claims 5 bytes and holds more than 5"
    assert absent_reason(found, None) is Absent.MALFORMED


def test_a_raw_public_key_is_no_certificate():
    chosen = extension(20, b"\x02")
    found = opened(message(11, LIST), 1 << 14, len(chosen).to_bytes(2, "big") + chosen)
    assert (found.chains, found.chain_problem) == ((), "a raw public key (RFC 7250), and no certificate")
    assert opened(message(11, LIST), 1 << 14, b"\0").chains[0].complete, "EncryptedExtensions that are cut"


def test_a_key_log_may_begin_with_a_byte_order_mark():
    assert opened(message(11, LIST), mark=b"\xef\xbb\xbf").keys == "opened"


@pytest.mark.parametrize(
    ("lost", "keys", "reason"),
    [(False, "wrong", "UNDECRYPTABLE"), (True, "wrong", "NOT_CAPTURED"), (True, None, "ENCRYPTED")],
)
def test_keys_that_open_nothing_where_bytes_are_missing(lost, keys, reason):
    found = handshake.read_streams(streams(client_hello(), flight(message(11, LIST))))
    found.lost, found.keys = lost, keys
    assert absent_reason(found, None) == reason


def test_of_many_certificate_messages_only_the_first_is_unpacked(monkeypatch):
    """A flight of a thousand bombs costs what one does."""
    asked = []
    monkeypatch.setattr(keylog, "unpack", lambda body: asked.append(body) or (None, "a bomb"))
    assert opened(message(25, b"x" * 10) * 500).chain_problem == "a bomb"
    assert len(asked) == 1


@pytest.mark.parametrize("size", [1, 13, 100])
def test_a_flight_in_any_number_of_records(size):
    """OpenSSL's client takes a record for each byte."""
    found = opened(message(11, LIST), size)
    assert found.keys == "opened"
    assert found.chains[0].certificates == (b"the leaf" * 100,)
    assert found.chains[0].complete
