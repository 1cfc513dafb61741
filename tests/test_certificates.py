"""Certificates: what they say, who signed them, whether they were public that day, and who is never named."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import ocsp
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import reference
from kzpcap.certificates import names, staple
from kzpcap.certificates.certificate import parse
from kzpcap.certificates.chains import ChainJudge, unfit
from kzpcap.certificates.linkage import Path, Pool, paths_to, signed_by
from kzpcap.certificates.possession import Possession, server_key_exchange
from kzpcap.certificates.public_trust import PublicTrust
from kzpcap.certificates.resigned import compare
from kzpcap.reference.targets import day

REFERENCE = reference.load()
TRUST = PublicTrust(REFERENCE.folder / "public_trust")
JULY = day("2019-07-20")
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def published(name):
    return parse(reference.read_pem(next(REFERENCE.folder.rglob(name)))[0])


LEAF = published("kz2019_injected_leaf_rcku.kz.pem")
INTERMEDIATE = published("kz2019_intermediate_Security_Certificate.pem")
GENUINE = published("rcku.kz_genuine_leaf_thawte.pem")
THAWTE = published("thawte_ev_rsa_ca_2018.pem")


def judge(*chain, time=JULY, data=REFERENCE):
    return ChainJudge(data, TRUST).judge(chain, time)


def make(subject, issuer=None, key=None, signer=None, ca=False, **extra):
    """A throw-away certificate and its key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = lambda text: x509.Name.from_rfc4514_string(text)  # noqa: E731
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer or subject))
        .public_key(key.public_key())
        .serial_number(extra.get("serial", 7))
        .not_valid_before(NOW)
        .not_valid_after(NOW + datetime.timedelta(days=90))
    )
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=extra.get("length")), critical=True)
    for value in extra.get("extensions", ()):
        builder = builder.add_extension(value, critical=False)
    der = builder.sign(signer or key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return parse(der), key


def test_the_published_pair_field_by_field():
    """FACTS 1.7, as measured on the two published leaves."""
    assert (LEAF.key, LEAF.exponent) == ("RSA-2048", 3)
    assert GENUINE.exponent == 65537
    assert LEAF.subject_der == GENUINE.subject_der
    assert LEAF.dns_names == GENUINE.dns_names
    assert GENUINE.not_before - LEAF.not_before == GENUINE.not_after - LEAF.not_after == 21_600 * 10**9
    assert int(LEAF.serial, 16) - int(GENUINE.serial, 16) == 0xADB3AE52
    assert [oid for oid, _ in LEAF.extensions] == [
        "2.5.29.14",
        "2.5.29.35",
        "2.5.29.19",
        "2.5.29.15",
        "2.5.29.37",
        "2.5.29.17",
    ]
    assert LEAF.authority_has_issuer
    assert not GENUINE.authority_has_issuer
    assert GENUINE.has_scts
    assert not LEAF.has_scts


def test_the_published_pair_is_a_copy_and_every_difference_is_told():
    found = compare(LEAF, GENUINE)
    assert found.is_copy(False)
    assert found.sentences() == [
        "same subject and names, another key",
        "both dates 6:00:00 earlier",
        "serial + 0xadb3ae52",
        "gone: CRL distribution points, certificate policies, authority information access, SCT list",
        "other criticality: key usage",
        "key RSA-2048 e=3 instead of RSA-2048 e=65537",
    ]
    assert not compare(GENUINE, GENUINE).is_copy(True)
    assert not compare(INTERMEDIATE, GENUINE).is_copy(True)


def test_the_injected_chain_leads_to_the_known_key():
    facts = judge(LEAF, INTERMEDIATE)
    assert facts.interception_ca.generation.id == "kz-2019-qaznet"
    assert facts.interception.certificates == (LEAF, INTERMEDIATE)
    assert not facts.trusted


def test_the_leaf_alone_is_enough():
    assert judge(LEAF).interception_ca.generation.id == "kz-2019-qaznet"


def test_the_genuine_leaf_by_the_trust_of_its_day():
    facts = judge(GENUINE, THAWTE)
    assert facts.trusted
    assert facts.standing.release == "2019.6.16"
    assert facts.interception is None
    assert not judge(GENUINE, THAWTE, time=day("2026-11-01")).trusted, "the root has since been removed"


def test_the_intermediate_may_be_missing_on_the_wire():
    assert judge(GENUINE).trusted


def test_a_surplus_known_certificate_signs_nothing():
    facts = judge(GENUINE, THAWTE, INTERMEDIATE)
    assert facts.trusted
    assert facts.interception is None
    stranger, _ = make("CN=stranger")
    facts = judge(stranger, INTERMEDIATE)
    assert facts.interception is None
    assert facts.imitation is None


@pytest.mark.parametrize("names_only", [False, True])
def test_names_and_key_ids_without_the_key_name_nobody(names_only):
    extensions = (
        [] if names_only else [x509.AuthorityKeyIdentifier(bytes.fromhex(INTERMEDIATE.subject_key_id), None, None)]
    )
    _, key = make("CN=box", ca=True)
    leaf, _ = make("CN=vk.com", "CN=Security Certificate,C=KZ", signer=key, extensions=extensions)
    facts = judge(leaf)
    assert facts.interception is None
    assert facts.imitation.fails


def test_every_certificate_of_the_reference_is_known_for_what_it_is():
    for ca in REFERENCE.interception_cas:
        assert judge(ca.certificate).interception_ca.generation == ca.generation, ca.certificate.subject
    for ca in REFERENCE.national_cas:
        if ca.certificate is None:
            continue
        facts = judge(ca.certificate, time=day("2023-01-01"))
        assert facts.national is not None
        assert facts.interception is None


def test_an_end_entity_cannot_sign_another():
    root, root_key = make("CN=root", ca=True)
    middle, middle_key = make("CN=middle", "CN=root", signer=root_key)
    leaf, _ = make("CN=leaf", "CN=middle", signer=middle_key)
    anchors = Pool.of([root])
    assert not paths_to(leaf, (Pool.of([middle]),), anchors.named)
    good, good_key = make("CN=middle", "CN=root", signer=root_key, ca=True)
    leaf, _ = make("CN=leaf", "CN=middle", signer=good_key)
    assert [c.common_name for c in paths_to(leaf, (Pool.of([good]),), anchors.named)[0].certificates] == [
        "leaf",
        "middle",
        "root",
    ]


def test_a_path_length_is_kept():
    root, root_key = make("CN=root", ca=True)
    one, one_key = make("CN=one", "CN=root", signer=root_key, ca=True, length=0)
    two, two_key = make("CN=two", "CN=one", signer=one_key, ca=True)
    leaf, _ = make("CN=leaf", "CN=two", signer=two_key)
    assert not paths_to(leaf, (Pool.of([one, two]),), Pool.of([root]).named)


def test_a_same_named_ca_did_not_sign():
    real, real_key = make("CN=CA", ca=True)
    other, _ = make("CN=CA", ca=True, serial=8)
    leaf, _ = make("CN=leaf", "CN=CA", signer=real_key)
    assert signed_by(leaf, real) is True
    assert signed_by(leaf, other) is False


def test_a_hundred_cross_signs_are_bounded():
    key = ec.generate_private_key(ec.SECP256R1())
    pool = Pool.of(make("CN=loop", key=key, ca=True, serial=i + 1)[0] for i in range(100))
    leaf, _ = make("CN=leaf", "CN=loop", signer=key)
    assert paths_to(leaf, (pool,), lambda name: ()) == []


@pytest.mark.parametrize("key", ["rsa", "ec"])
@pytest.mark.parametrize("version", [0x0301, 0x0303])
def test_possession(key, version):
    private = rsa.generate_private_key(65537, 2048) if key == "rsa" else ec.generate_private_key(ec.SECP256R1())
    leaf, _ = make("CN=leaf", key=private)
    params = b"\x03\x00\x17\x05point"
    signed = b"c" * 32 + b"s" * 32 + params
    body = params + exchange(private, signed, version)
    assert server_key_exchange(leaf, b"c" * 32, b"s" * 32, body, version, "ecdhe") is Possession.PROVED
    assert server_key_exchange(leaf, b"c" * 32, b"x" * 32, body, version, "ecdhe") is Possession.REFUTED
    other, _ = make(
        "CN=leaf",
        key=rsa.generate_private_key(65537, 2048) if key == "rsa" else ec.generate_private_key(ec.SECP256R1()),
    )
    assert server_key_exchange(other, b"c" * 32, b"s" * 32, body, version, "ecdhe") is Possession.REFUTED
    assert server_key_exchange(leaf, b"c" * 32, b"s" * 32, params, version, "ecdhe") is Possession.REFUTED


def exchange(private, signed, version):
    import hashlib

    from cryptography.hazmat.primitives.asymmetric import padding

    if version == 0x0303:
        if isinstance(private, rsa.RSAPrivateKey):
            signature, scheme = private.sign(signed, padding.PKCS1v15(), hashes.SHA256()), b"\x04\x01"
        else:
            signature, scheme = private.sign(signed, ec.ECDSA(hashes.SHA256())), b"\x04\x03"
        return scheme + len(signature).to_bytes(2, "big") + signature
    if isinstance(private, rsa.RSAPrivateKey):  # MD5 and SHA-1 together, without DigestInfo: raw RSA
        digest = hashlib.md5(signed).digest() + hashlib.sha1(signed).digest()
        numbers = private.private_numbers()
        size = private.key_size // 8
        padded = b"\0\1" + b"\xff" * (size - 3 - len(digest)) + b"\0" + digest
        signature = pow(int.from_bytes(padded, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")
    else:
        signature = private.sign(signed, ec.ECDSA(hashes.SHA1()))
    return len(signature).to_bytes(2, "big") + signature


@pytest.mark.parametrize(
    ("san", "name", "matches"),
    [
        ("vk.com", "vk.com", True),
        ("*.vk.com", "m.vk.com", True),
        ("*.vk.com", "vk.com", False),
        ("*.vk.com", "a.b.vk.com", False),
        ("*.com", "vk.com", False),
        ("m*.vk.com", "m1.vk.com", False),
        ("vk.com", "notvk.com", False),
    ],
)
def test_names(san, name, matches):
    leaf, _ = make("CN=other", extensions=[x509.SubjectAlternativeName([x509.DNSName(san)])])
    assert names.carries(leaf, name) is matches


def test_the_common_name_counts_only_without_a_san():
    assert names.carries(make("CN=vk.com")[0], "vk.com")
    assert not names.carries(
        make("CN=vk.com", extensions=[x509.SubjectAlternativeName([x509.DNSName("a.b")])])[0], "vk.com"
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_a_certificate_with_a_problem(raw):
    assert parse(raw).problem


@given(st.integers(0, len(LEAF.der) - 1), st.integers(0, 255))
def test_a_flipped_byte_never_keeps_the_verdict_by_accident(at, value):
    changed = bytearray(LEAF.der)
    if changed[at] == value:
        return
    changed[at] = value
    facts = judge(parse(bytes(changed)), INTERMEDIATE)
    assert facts.interception is None


def authority(name, extensions=(), issuer=None, subject_names=None):
    """A certificate with a key; a CA unless it has names."""
    key = ec.generate_private_key(ec.SECP256R1())
    by = issuer or (None, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .issuer_name(by[0].subject if by[0] else x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=30))
        .not_valid_after(NOW + datetime.timedelta(days=30))
    )
    if subject_names:
        extensions = [*extensions, (x509.SubjectAlternativeName([x509.DNSName(n) for n in subject_names]), False)]
    else:
        extensions = [*extensions, (x509.BasicConstraints(True, None), True)]
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(by[1], hashes.SHA256()), key


def path(*certificates):
    return Path(tuple(parse(c.public_bytes(serialization.Encoding.DER)) for c in certificates))


def test_name_constraints_bind_what_a_ca_may_sign():
    root = authority("root")
    permitted = x509.NameConstraints([x509.DNSName("example.com")], None)
    excluded = x509.NameConstraints(None, [x509.DNSName("secret.example.com")])
    for constraint, name, reason in (
        (permitted, "www.example.com", ""),
        (permitted, "example.com", ""),
        (permitted, "*.example.com", ""),
        (permitted, "badexample.com", "may not sign for badexample.com"),
        (permitted, "vk.com", "may not sign for vk.com"),
        (excluded, "www.example.com", ""),
        (excluded, "a.secret.example.com", "may not sign for a.secret.example.com"),
    ):
        middle = authority("middle", [(constraint, True)], root)
        leaf = authority("leaf", (), middle, [name])
        found = unfit(path(leaf[0], middle[0], root[0]))
        assert (reason in found) if reason else not found, (name, found)


def test_critical_extensions_that_are_not_known_and_precertificates_are_unfit():
    root = authority("root")
    odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    leaf = authority("leaf", [(odd, True)], root, ["vk.com"])
    assert "critical extension that is not known (1.2.3.4)" in unfit(path(leaf[0], root[0]))
    leaf = authority("leaf", [(odd, False)], root, ["vk.com"])
    assert not unfit(path(leaf[0], root[0]))
    leaf = authority("leaf", [(x509.PrecertPoison(), True)], root, ["vk.com"])
    assert "is a precertificate" in unfit(path(leaf[0], root[0]))


def test_a_certificate_for_signing_mail_serves_no_tls():
    mail = x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.EMAIL_PROTECTION])
    root = authority("root")
    leaf = authority("leaf", [(mail, False)], root, ["vk.com"])
    assert "not for TLS servers" in unfit(path(leaf[0], root[0]))


def test_short_serials_are_near_by_chance():
    """Two unrelated leaves of one subject with serials of three bytes are no copy of each other."""
    first = GENUINE._replace(serial="0e1a2b", spki_sha256="0" * 64, not_before=GENUINE.not_before - 42 * 10**15)
    assert not compare(first, GENUINE._replace(serial="71ffff")).is_copy(True)
    near = first._replace(serial=GENUINE.serial[:-2] + "00", issuer_key="another", extensions=LEAF.extensions)
    assert compare(near, GENUINE).is_copy(False)
    assert not compare(near._replace(extensions=GENUINE.extensions), GENUINE).is_copy(False), "one CA's two in a row"


def test_a_stapled_response_counts_only_for_the_issuer_that_signed_the_leaf():
    real, other = authority("real"), authority("other")
    leaf = authority("leaf", (), real, ["vk.com"])
    der = [certificate[0].public_bytes(serialization.Encoding.DER) for certificate in (leaf, real, other)]

    def response(issuer):
        now = NOW.replace(tzinfo=None)
        builder = ocsp.OCSPResponseBuilder().add_response(
            leaf[0], issuer[0], hashes.SHA1(), ocsp.OCSPCertStatus.GOOD, now, now, None, None
        )
        signed = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, issuer[0]).sign(issuer[1], hashes.SHA256())
        raw = signed.public_bytes(serialization.Encoding.DER)
        return b"\x01" + len(raw).to_bytes(3, "big") + raw

    assert staple.read(response(real), der[0], der[1]).verified
    assert staple.read(response(other), der[0], der[2]).verified is None, "the other CA did not sign the leaf"
    assert not staple.read(response(other), der[0], der[1]).verified
    assert staple.read(response(real), der[1], der[2]) is None, "it is for another serial"


@pytest.mark.parametrize("second", [0, 54_000, 43_380, 17])
@pytest.mark.parametrize(
    ("seconds", "issuer_seen", "copy"),
    [(0, True, True), (-21_600, True, True), (86_400, True, True), (0, False, False), (259_317, True, False),
     (8 * 86_400, True, False)],
)  # fmt: skip
def test_dates_shifted_by_whole_hours_speak_only_to_the_second_and_where_the_issuer_was_seen(
    seconds, issuer_seen, copy, second
):
    """Two honest certificates of one name and lifetime are shifted by a constant too, by whole hours, where their dates
    were chosen: from midnight (in UTC, or a time zone of 9 hours) to midnight, or by one timetable."""
    assert GENUINE.not_before % (86_400 * 10**9) == 0
    begun = [GENUINE.not_before + second * 10**9, GENUINE.not_after + second * 10**9]
    genuine = GENUINE._replace(not_before=begun[0], not_after=begun[1])
    shift = seconds * 10**9
    other = GENUINE._replace(
        spki_sha256="0" * 64, serial="f" * 32, not_before=begun[0] + shift, not_after=begun[1] + shift
    )
    assert compare(other, genuine).is_copy(issuer_seen) is (copy and second == 17)


def test_a_known_key_is_found_among_any_number_of_one_name():
    """A pool that keeps few certificates of a name must not drop what the reference data or the user gave."""
    subject = "CN=Information Security Certification Authority,O=ISCA,C=KZ"
    given = [make(subject, ca=True, serial=number + 1) for number in range(70)]
    last, key = given[-1]
    middle, middle_key = make("CN=Issuing", subject, signer=key, ca=True)
    leaf, _ = make("CN=vk.com", "CN=Issuing", signer=middle_key)
    data = replace(REFERENCE, supplied_interception=tuple(ca.der for ca, _ in given))
    facts = judge(leaf, middle, data=data)
    assert facts.interception is not None
    assert facts.interception.anchor.sha256 == last.sha256
    anchored = judge(leaf, middle, data=replace(REFERENCE, supplied_roots=tuple(ca.der for ca, _ in given)))
    assert anchored.supplied is not None
    assert anchored.supplied.anchor.sha256 == last.sha256
