"""Names in certificates as browsers take them and strict parsers do not; signatures are over the original bytes."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import reference
from kzpcap.certificates.certificate import load, parse, signed_bytes
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
