"""The laboratory forges a leaf as the box of July 2019 did: compared with the published pair, field by field."""

from __future__ import annotations

import datetime
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.conftest import CAPTURES, ROOT

sys.path.insert(0, str(CAPTURES))

from lab.forge import GENERATIONS, Forger

SPECIMENS = ROOT / "kzpcap" / "reference" / "data" / "specimens"
AUTHORITIES = ROOT / "kzpcap" / "reference" / "data" / "interception_cas"


def load(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.fixture(scope="module")
def forger():
    return Forger.make("late-july-2019")


@pytest.fixture(scope="module")
def genuine():
    return load(SPECIMENS / "rcku.kz_genuine_leaf_thawte.pem")


@pytest.fixture(scope="module")
def published():
    return load(SPECIMENS / "kz2019_injected_leaf_rcku.kz.pem")


@pytest.fixture(scope="module")
def forged(forger, genuine):
    return forger.forge(genuine)[1]


def test_names_and_dates(forged, published):
    assert forged.version is published.version
    assert forged.subject.public_bytes() == published.subject.public_bytes()
    assert forged.not_valid_before_utc == published.not_valid_before_utc
    assert forged.not_valid_after_utc == published.not_valid_after_utc


def test_serial(forged, published, genuine):
    for leaf in (forged, published):
        assert 0 <= leaf.serial_number - genuine.serial_number < 1 << 32
        assert (leaf.serial_number.bit_length() + 7) // 8 == (genuine.serial_number.bit_length() + 7) // 8


def test_key_and_signature(forged, published):
    ours, theirs = forged.public_key().public_numbers(), published.public_key().public_numbers()
    assert ours.e == theirs.e == 3
    assert forged.public_key().key_size == published.public_key().key_size
    assert forged.signature_algorithm_oid == published.signature_algorithm_oid
    assert len(forged.signature) == len(published.signature)


def test_extensions(forged, published):
    """The same ones in the same order with the same criticality, byte for byte but for the key identifiers."""
    assert [(e.oid, e.critical) for e in forged.extensions] == [(e.oid, e.critical) for e in published.extensions]
    for ours, theirs in zip(forged.extensions, published.extensions, strict=True):
        if isinstance(ours.value, x509.SubjectKeyIdentifier):
            assert ours.value == x509.SubjectKeyIdentifier.from_public_key(forged.public_key())
            assert theirs.value == x509.SubjectKeyIdentifier.from_public_key(published.public_key())
        elif isinstance(ours.value, x509.AuthorityKeyIdentifier):
            assert bool(ours.value.key_identifier and theirs.value.key_identifier)
            assert [type(name) for name in ours.value.authority_cert_issuer] == [
                type(name) for name in theirs.value.authority_cert_issuer
            ]
            # The published one repeats the intermediate's key identifier as its serial: so does ours.
            for value in (ours.value, theirs.value):
                number = int.from_bytes(value.key_identifier, "big")
                assert value.authority_cert_serial_number == number & ((1 << 159) - 1)
        else:
            assert ours.value.public_bytes() == theirs.value.public_bytes()


def shape(certificate):
    """What does not depend on the keys or the names."""
    key = certificate.public_key()
    return (
        key.key_size,
        key.public_numbers().e,
        certificate.signature_algorithm_oid,
        [(extension.oid, extension.critical) for extension in certificate.extensions],
        [attribute.oid for attribute in certificate.subject],
        certificate.extensions.get_extension_for_class(x509.KeyUsage).value,
        certificate.extensions.get_extension_for_class(x509.BasicConstraints).value,
    )


def test_the_authorities_have_the_shape_of_the_real_ones(forger):
    assert shape(forger.root) == shape(load(AUTHORITIES / "kz2016_root_Qaznet_Trust_Network.pem"))
    real = load(AUTHORITIES / "kz2019_intermediate_Security_Certificate.pem")
    assert shape(forger.intermediate) == shape(real)
    for certificate in (forger.intermediate, real):
        key_id = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert certificate.serial_number == int.from_bytes(key_id, "big") & ((1 << 159) - 1)


def test_the_authorities_of_2021_have_the_shape_of_the_roots_of_2020():
    made = Forger.make("isca-2021-2024")
    real = load(AUTHORITIES / "kz2020_root_ISCA_1df696f0.pem")
    for certificate in (made.root, real):
        key_id = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert certificate.serial_number == int.from_bytes(key_id, "big") & ((1 << 159) - 1)
        assert certificate.issuer == certificate.subject
    assert shape(made.root)[:4] == shape(real)[:4]
    assert shape(made.root)[5:] == shape(real)[5:]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_nobody_can_take_it_for_the_real_one(generation):
    made = Forger.make(generation)
    for certificate in (made.root, made.intermediate):
        (common_name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        assert str(common_name.value).startswith("LAB ")
    assert made.intermediate.issuer == made.root.subject


def test_generations(genuine):
    early = Forger.make("early-july-2019").forge(genuine)[1]
    assert isinstance(early.public_key(), rsa.RSAPublicKey)
    assert early.public_key().key_size == 1024
    assert early.not_valid_after_utc - early.not_valid_before_utc == datetime.timedelta(days=365)
    unshifted = Forger.make("isca-2021-2024").forge(genuine)[1]
    assert unshifted.not_valid_before_utc == genuine.not_valid_before_utc
    expired = Forger.make("isca-2021-2024-expired").intermediate
    assert expired.not_valid_after_utc < datetime.datetime.now(datetime.UTC)
    assert expired.not_valid_after_utc - expired.not_valid_before_utc == datetime.timedelta(days=75)
