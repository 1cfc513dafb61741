"""What one connection may say of another: links of its chain, and the session that it resumes; and what not."""

from __future__ import annotations

import datetime
import random
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from tests.build import certificate_body, client_hello, extension, message, record, server_hello_body
from tests.conftest import CAPTURES
from tests.test_overstated import judged, rules

sys.path.insert(0, str(CAPTURES))
from recipes.packets import OTHER, SPRING_2026, Capture, Connection
from recipes.tls import Authority, der, rsa_handshake, vector

QAZNET = x509.Name(
    [x509.NameAttribute(NameOID.COUNTRY_NAME, "KZ"), x509.NameAttribute(NameOID.COMMON_NAME, "Qaznet Trust Network")]
)
AVAST = x509.Name(
    [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "avast! Web/Mail Shield"),
        x509.NameAttribute(NameOID.COMMON_NAME, "avast! Web/Mail Shield Root"),
    ]
)


def ca(subject, issuer, key, signer, path_length=None):
    """A CA's certificate for a public key, signed by whoever."""
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(SPRING_2026 - 400 * day)
    builder = builder.not_valid_after(SPRING_2026 + 4_000 * day)
    return builder.add_extension(x509.BasicConstraints(True, path_length), critical=True).sign(signer, hashes.SHA256())


def leaf_of(authority, name):
    return authority.issue([name], SPRING_2026)[1]


def shown(*chains):
    """A capture of one connection for each (name, chain), each to a server of its own."""
    capture = Capture(SPRING_2026)
    for number, (name, chain) in enumerate(chains):
        rsa_handshake(
            Connection(capture, 50_001 + number, f"203.0.113.{80 + number}"),
            name,
            [der(one) for one in chain],
            random.Random(number),
        )
    return capture


@pytest.mark.parametrize("names", [QAZNET, AVAST], ids=["interception", "product"])
def test_names_on_links_from_another_connection_are_not_the_servers(names, tmp_path):
    """A stranger's certificate for the CA of others: their key and name, and above it whatever name it likes."""
    company, stranger = Authority.make("Company CA", SPRING_2026), Authority.make("evil.example", SPRING_2026)
    forged = ca(company.name, names, company.key.public_key(), ec.generate_private_key(ec.SECP256R1()))
    ours = leaf_of(company, "shop.example")
    capture = shown(("evil.example", [leaf_of(stranger, "evil.example"), forged]), ("shop.example", [ours]))
    _, shop = judged(tmp_path, capture)
    assert shop.verdict.rule.id == "issuer-missing"
    assert '"Company CA" was not sent; another connection shows it' in str(shop.verdict.evidence)
    assert "Qaznet" not in str(shop.verdict)
    (own,) = judged(tmp_path, shown(("shop.example", [ours, forged])))  # whoever sends it itself bears the names
    assert own.verdict.rule.id == ("imitates-known-interception-ca" if names is QAZNET else "product-by-issuer-names")


@pytest.mark.parametrize("same", [False, True], ids=["of its own name", "of the root's name"])
@pytest.mark.parametrize("known", ["intercepting", "trusted"])
def test_a_ca_may_sign_its_own_next_key(known, same, tmp_path):
    """Self-issued is not self-signed (RFC 5280 section 6.1), and does not count for pathLen (section 4.2.1.9)."""
    root = Authority.make("Box Root", SPRING_2026, country="KZ")
    name = root.name if same else x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Box CA")])
    old, new = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    first = ca(name, root.name, old.public_key(), root.key, 0)
    second = ca(name, name, new.public_key(), old)
    leaf = leaf_of(Authority(name, new, second), "vk.com")
    (found,) = judged(tmp_path, shown(("vk.com", [leaf, second, first])), **{known: [root]})
    assert found.verdict.rule.id == (
        "signed-by-supplied-interception-ca" if known == "intercepting" else "trusted-by-supplied-anchor"
    )


def test_a_ca_too_many_is_no_path_and_is_told_so(tmp_path):
    root = Authority.make("Box Root", SPRING_2026)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Leaf that signs")])
    key = ec.generate_private_key(ec.SECP256R1())
    between = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(root.name)
        .public_key(key.public_key())
        .serial_number(5)
        .not_valid_before(SPRING_2026 - datetime.timedelta(days=3))
        .not_valid_after(SPRING_2026 + datetime.timedelta(days=3))
        .sign(root.key, hashes.SHA256())
    )
    leaf = leaf_of(Authority(name, key, between), "vk.com")
    (found,) = judged(tmp_path, shown(("vk.com", [leaf, between])), [root])
    assert found.verdict.rule.id == "issuer-missing"
    assert '"Box Root" signed it, by a path that RFC 5280 refuses' in str(found.verdict.evidence)


def test_a_signature_that_cannot_be_checked_is_not_one_that_is_missing(tmp_path, monkeypatch):
    root = Authority.make("NCA GOST", SPRING_2026)
    monkeypatch.setattr("kzpcap.certificates.linkage.affordable", lambda key: False)
    capture = shown(("vk.com", [leaf_of(root, "vk.com"), root.certificate]))
    (found,) = judged(tmp_path, capture)
    assert found.verdict.rule.id == "issuer-missing"
    assert 'whether "NCA GOST" signed it cannot be checked' in str(found.verdict.evidence)


def test_a_certificate_without_names_signed_itself(tmp_path):
    nobody, key = x509.Name([]), ec.generate_private_key(ec.SECP256R1())
    (found,) = judged(tmp_path, shown(("router.home", [ca(nobody, nobody, key.public_key(), key)])))
    assert found.verdict.rule.id == "self-signed"
    assert "(no name)" in str(found.verdict.evidence)


# sessions


def begin(connection, chain, ticket):
    """A whole handshake over TLS 1.2 that ends with a ticket."""
    connection.open()
    connection.send(0, client_hello(b"vk.com", extensions=extension(35, b"")))
    answer = message(2, server_hello_body(extensions=extension(35, b""))) + certificate_message(chain)
    connection.send(1, record(22, answer + message(14, b"")), wait=0.03)
    connection.send(0, record(22, message(16, vector(bytes(256), 2))) + record(20, b"\1") + record(22, bytes(40)))
    connection.send(1, renewed(ticket) + record(20, b"\1") + record(22, bytes(40)), wait=0.03)
    connection.close()


def resume(connection, ticket, new=None):
    connection.open()
    session = bytes([len(connection.capture.packets) % 256]) * 32
    connection.send(0, client_hello(b"vk.com", extensions=extension(35, ticket), session=session))
    hello = record(22, message(2, server_hello_body(session=session, extensions=extension(35, b"") if new else b"")))
    connection.send(1, hello + (renewed(new) if new else b"") + record(20, b"\1") + record(22, bytes(40)), wait=0.03)
    connection.send(0, record(20, b"\1") + record(22, bytes(40)))
    connection.close()


def certificate_message(chain):
    return message(11, certificate_body(*map(der, chain)))


def renewed(ticket):
    return record(22, message(4, bytes(4) + vector(ticket, 2)))


def copied(genuine, authority):
    """The same certificate under another issuer and key."""
    names = genuine.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    builder = x509.CertificateBuilder().subject_name(genuine.subject).issuer_name(authority.name)
    builder = builder.public_key(ec.generate_private_key(ec.SECP256R1()).public_key()).serial_number(9)
    builder = builder.not_valid_before(genuine.not_valid_before_utc).not_valid_after(genuine.not_valid_after_utc)
    return builder.add_extension(names.value, critical=False).sign(authority.key, hashes.SHA256())


def test_a_renewed_ticket_leads_back_to_the_first_handshake(tmp_path):
    box = Authority.make("LAB box", SPRING_2026)
    capture, tickets = Capture(SPRING_2026), [bytes([number]) * 160 for number in range(4)]
    begin(Connection(capture, 50_001), [leaf_of(box, "vk.com")], tickets[0])
    for number in range(3):
        resume(Connection(capture, 50_002 + number), tickets[number], tickets[number + 1])
    resume(Connection(capture, 50_009), b"another" * 20)
    found = judged(tmp_path, capture, (), [box])
    assert rules(found) == [
        "signed-by-supplied-interception-ca",
        *["resumes-intercepted-session"] * 3,
        "session-resumed",
    ]


def test_who_resumes_a_session_of_a_products_is_that_product(tmp_path):
    public, product = Authority.make("LAB public root", SPRING_2026), Authority(AVAST, None, None)
    product.key = ec.generate_private_key(ec.SECP256R1())
    genuine = leaf_of(public, "vk.com")
    capture = Capture(SPRING_2026)
    rsa_handshake(Connection(capture, 50_001, OTHER), "vk.com", [der(genuine)], random.Random(1))
    begin(Connection(capture, 50_002), [copied(genuine, product)], bytes(160))
    resume(Connection(capture, 50_003), bytes(160))
    _, full, resumed = judged(tmp_path, capture, [public])
    assert (full.verdict.rule.id, resumed.verdict.rule.id) == ("resigned-by-product", "resumes-intercepted-session")
    assert full.verdict.interceptor.identity == "product:avast"
    assert resumed.verdict.interceptor == full.verdict.interceptor
