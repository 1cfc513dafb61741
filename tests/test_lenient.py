"""Certificates as OpenSSL and browsers take them and strict parsers do not; signatures are over the original bytes."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import reference
from kzpcap.certificates.certificate import load, parse
from kzpcap.certificates.der import signed_bytes
from kzpcap.certificates.linkage import MAX_DEPTH, Pool, paths_to, signed_by
from kzpcap.certificates.transparency import CERTIFICATE, PRECERTIFICATE, _signed_entry

UTF8, PRINTABLE, TELETEX = 0x0C, 0x13, 0x14


def element(tag, body):
    size = len(body)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + body


def resigned(certificate, key, old, new):
    """The certificate with some bytes of its body exchanged for as many others, signed anew."""
    body = certificate.tbs_certificate_bytes
    assert body.count(old) == 1
    assert len(old) == len(new)
    body = body.replace(old, new)
    signature = key.sign(body, padding.PKCS1v15(), hashes.SHA256())
    algorithm = bytes.fromhex("300d06092a864886f70d01010b0500")
    return element(0x30, body + algorithm + element(3, b"\0" + signature))


@pytest.fixture(scope="module")
def made():
    key = rsa.generate_private_key(65537, 2048)
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a box")])
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().issuer_name(named).public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=90))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "*.facebook.com")])
    authority = builder.subject_name(named).add_extension(x509.BasicConstraints(True, None), True)
    return (
        key,
        parse(authority.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)),
        builder.subject_name(subject).sign(key, hashes.SHA256()),
    )


@pytest.mark.parametrize(
    ("tag", "text", "read"),
    [
        (PRINTABLE, b"*.facebook.com", "*.facebook.com"),
        (PRINTABLE, b"a@b_c&d.com.kz", "a@b_c&d.com.kz"),
        (TELETEX, b"caf\xe9.facebook.co"[:14], "caf?.facebook."),
    ],
)
def test_a_leaf_with_a_name_that_is_no_printable_string_is_read_and_verified(made, tag, text, read):
    key, authority, leaf = made
    name = b"*.facebook.com"
    der = resigned(leaf, key, element(UTF8, name), element(tag, text))
    found = parse(der)
    assert found.problem is None
    assert (found.common_name, found.der) == (read, der)
    assert signed_by(found, authority) is True
    assert signed_bytes(der) in der
    other = parse(resigned(leaf, rsa.generate_private_key(65537, 2048), element(UTF8, name), element(tag, text)))
    assert signed_by(other, authority) is False, "a name that was repaired proves nothing"


ALGORITHM = bytes.fromhex("300d06092a864886f70d01010b0500")
V3 = bytes.fromhex("a003020102")
NAMED = element(0x30, bytes.fromhex("0603551d11") + element(4, element(0x30, element(0x82, b"www.facebook.com"))))
BEGIN = element(0x17, b"260101000000Z")


def of_parts(made, version=V3, begin=BEGIN, extensions=(NAMED,), ids=b"", wrapped=None, signer=None):
    """A leaf put together by hand, as it was signed: each part may be what no strict parser takes."""
    key, authority, leaf = made
    subject = leaf.subject.public_bytes()
    public = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    lifetime = element(0x30, begin + element(0x17, b"270101000000Z"))
    listed = element(0xA3, element(0x30, b"".join(extensions))) if extensions else b""
    body = version + b"\2\1\5" + ALGORITHM + authority.subject_der + lifetime + subject + public + ids + listed
    tbs = element(0x30, body) if wrapped is None else wrapped(body)
    signature = (signer or key).sign(tbs, padding.PKCS1v15(), hashes.SHA256())
    return element(0x30, tbs + ALGORITHM + element(3, b"\0" + signature))


NOT_CRITICAL = element(0x30, bytes.fromhex("0603551d11") + b"\1\1\0" + NAMED[NAMED.index(b"\4") :])


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"extensions": (NOT_CRITICAL,)},
        {"version": bytes.fromhex("a003020103")},
        {"version": bytes.fromhex("a003020100")},
        {"version": bytes.fromhex("a003020101"), "ids": element(0x81, b"\0id")},
        {"begin": element(0x17, b"260101060000+0600")},
        {"begin": element(0x17, b"2601010000Z")},
        {"begin": element(0x18, b"20260101000000.75Z")},
        {"begin": element(0x18, b"20251231190000-0500")},
        {"wrapped": lambda body: b"\x30\x83\0" + len(body).to_bytes(2, "big") + body},
    ],
    ids=["plain", "critical false", "v4", "v1 told", "unique id", "offset", "no seconds", "fraction", "west", "length"],
)
def test_what_strict_parsers_refuse_is_read_and_verified(parts, made):
    """OpenSSL reads and verifies each of these: whoever signed one with a known key intercepts with it."""
    der = of_parts(made, **parts)
    found = parse(der)
    assert found.problem is None
    assert (found.der, found.common_name, found.dns_names) == (der, "*.facebook.com", ("www.facebook.com",))
    assert found.not_before == 1_767_225_600 * 10**9
    assert found.extensions == (("2.5.29.17", False),)
    assert signed_by(found, made[1]) is True
    other = rsa.generate_private_key(65537, 2048)
    assert signed_by(parse(of_parts(made, **parts, signer=other)), made[1]) is False


@pytest.mark.parametrize("time", [b"", b"261332000000Z", b"never", b"26010100000Z", b"260101000000+9999Z"])
def test_what_is_no_time_is_told(time, made):
    assert parse(of_parts(made, begin=element(0x17, time))).problem


def test_what_no_signature_covers_is_not_repaired(made):
    """The algorithm outside of what was signed is another, or it has no signature: such a leaf says nothing."""
    der = of_parts(made, version=bytes.fromhex("a003020103"))
    for old, new in ((ALGORITHM, ALGORITHM.replace(b"\x0b\5", b"\x0c\5")), (b"\3\x82\1\1\0", b"\4\x82\1\1\0")):
        at = der.rindex(old)
        assert parse(der[:at] + new + der[at + len(old) :]).problem


@given(st.integers(0, 900), st.binary(min_size=1, max_size=6))
def test_whatever_the_bytes_it_is_a_record(at, body):
    der = bytearray(reference.load().interception_cas[0].certificate.der)
    der[at : at + len(body)] = body
    found = parse(bytes(der))
    assert found.der == bytes(der)


@pytest.mark.parametrize("between", [1, 8, MAX_DEPTH - 2])
def test_a_long_chain_is_followed_to_its_end(between):
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(between + 2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"M{number}")]) for number in range(between + 2)]
    chain = []
    for number, name in enumerate(names):
        above = min(number + 1, between + 1)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(names[above]).serial_number(number + 1)
        builder = builder.public_key(keys[number].public_key()).not_valid_before(begin)
        builder = builder.not_valid_after(begin + datetime.timedelta(days=9))
        if number:
            builder = builder.add_extension(x509.BasicConstraints(True, None), True)
        chain.append(parse(builder.sign(keys[above], hashes.SHA256()).public_bytes(Encoding.DER)))
    root = chain[-1]
    (path,) = paths_to(chain[0], (Pool.of(chain[1:-1]),), lambda key: [root] if key == root.subject_key else [])
    assert len(path.certificates) == between + 2


def test_the_bytes_that_were_signed_are_those_of_the_original():
    for ca in reference.load().interception_cas:
        assert signed_bytes(ca.certificate.der) == load(ca.certificate.der).tbs_certificate_bytes
    assert signed_bytes(b"") == b""


def test_what_a_log_signed_is_not_built_from_names_that_were_read_otherwise(made):
    key, authority, leaf = made
    name = b"*.facebook.com"
    odd = resigned(leaf, key, element(UTF8, name), element(PRINTABLE, name))

    assert _signed_entry(odd, authority.der, PRECERTIFICATE) is None
    assert _signed_entry(odd, authority.der, CERTIFICATE) is not None
