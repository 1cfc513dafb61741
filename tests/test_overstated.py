"""What packets seem to show and do not: damage, downloads, honest twins, one lost answer, a client that went away."""

from __future__ import annotations

import datetime
import random
import ssl
import sys

import dpkt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from kzpcap import analyze, reference
from kzpcap.certificates.certificate import parse
from kzpcap.certificates.chains import ChainJudge
from kzpcap.certificates.public_trust import PublicTrust
from kzpcap.certificates.resigned import compare
from kzpcap.report.summary import Summary
from kzpcap.verdict.facts.interception import resumes_intercepted_session
from kzpcap.verdict.shapes import shaped_issuer
from tests.conftest import CAPTURES

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain, qaznet_chain
from recipes.packets import ACK, FIN, JULY_2019, OTHER, PSH, RST, SPRING_2026, SYN, Capture, Connection
from recipes.tls import (
    Authority,
    client_context,
    client_hello,
    der,
    message,
    openssl,
    pem,
    record,
    rsa_handshake,
    server_context,
    server_flight,
    vector,
)

V12 = ssl.TLSVersion.TLSv1_2
DAY = datetime.timedelta(days=1)


def judged(tmp_path, capture, trusted=(), intercepting=(), keylog=b""):
    """Each connection of a capture with its verdict, and the summary."""
    capture.write(tmp_path / "capture.pcapng")
    return judged_file(tmp_path, "capture.pcapng", trusted, intercepting, keylog)


def judged_file(tmp_path, name, trusted=(), intercepting=(), keylog=b""):
    files = {}
    for kind, authorities in (("trusted", trusted), ("intercepting", intercepting)):
        files[kind] = [tmp_path / f"{kind}{number}.pem" for number, _ in enumerate(authorities)]
        for path, authority in zip(files[kind], authorities, strict=True):
            path.write_bytes(pem(authority.certificate))
    report = analyze(
        str(tmp_path / name), reference.load(None, None, files["trusted"], files["intercepting"]), keylog=keylog
    )
    found = list(report.connections())
    report.close()
    return found


def rules(found):
    return [connection.verdict.rule.id for connection in found]


def states(found):
    return [connection.verdict.state.value for connection in found]


def damaged(capture, part):
    """One bit flipped in the last frame that holds these bytes: its checksum is wrong then."""
    at = max(number for number, (_, frame) in enumerate(capture.packets) if part in frame)
    when, frame = capture.packets[at]
    place = frame.find(part) + 20
    capture.packets[at] = when, frame[:place] + bytes([frame[place] ^ 4]) + frame[place + 1 :]


# damage


def test_a_damaged_frame_makes_no_copy_of_a_genuine_certificate(tmp_path):
    capture = Capture(JULY_2019)
    for port in (50_001, 50_002):
        rsa_handshake(Connection(capture, port), "rcku.kz", genuine_chain(), random.Random(1))
    leaf = x509.load_der_x509_certificate(genuine_chain()[0])
    damaged(capture, leaf.public_key().public_numbers().n.to_bytes(256, "big")[:40])
    found = judged(tmp_path, capture)
    assert states(found) == ["genuine", "undetermined"]
    assert not any("copy" in remark.says for remark in found[1].verdict.remarks)


@pytest.mark.parametrize("what", ["leaf", "signature"])
def test_a_damaged_frame_is_no_replay(what, tmp_path):
    public = Authority.make("LAB public root", SPRING_2026)
    key, leaf = public.issue(["www.example.org"], SPRING_2026, strong=True)
    capture = Capture(SPRING_2026)
    openssl(Connection(capture, 50_001), "www.example.org", server_context(key, leaf, V12), client_context())
    number = leaf.public_key().public_numbers().n.to_bytes(256, "big")
    exchange = next(frame for _, frame in capture.packets if b"\x03\x00\x1d\x20" in frame)
    damaged(capture, number[:40] if what == "leaf" else exchange[exchange.find(b"\x03\x00\x1d\x20") :][:30])
    (one,) = judged(tmp_path, capture, [public])
    assert one.verdict.rule.id != "replayed-without-its-key"
    assert one.observation.possession.value == "not_captured"


# honest twins


def issued(authority, names, begins, days, serial=None, key=None):
    key = key or rsa.generate_private_key(65537, 2048)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .issuer_name(authority.name)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=days, seconds=-1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
    )
    return builder.sign(authority.key, hashes.SHA256())


@pytest.mark.parametrize(("apart", "state"), [(3 * DAY, "undetermined"), (0 * DAY, "suspected")])
def test_a_second_certificate_by_a_private_ca_is_no_copy_for_its_midnights(apart, state, tmp_path):
    """Whole days apart is what any two CAs are that begin at midnight; the very same day fits a copy, and no more."""
    public, company = Authority.make("LAB public root", SPRING_2026), Authority.make("Company CA", SPRING_2026)
    midnight = datetime.datetime(2026, 3, 2, tzinfo=datetime.UTC)
    first = issued(public, ["www.bank.example"], midnight, 365)
    second = issued(company, ["www.bank.example"], midnight + apart, 365)
    capture = Capture(SPRING_2026)
    rsa_handshake(Connection(capture, 50_001), "www.bank.example", [der(first)], random.Random(2))
    chain = [der(second), der(company.certificate)]
    rsa_handshake(Connection(capture, 50_002, OTHER), "www.bank.example", chain, random.Random(2))
    assert states(judged(tmp_path, capture, [public])) == ["genuine", state]


def test_serials_one_after_the_other_are_no_copy_where_nobody_saw_who_signed(tmp_path):
    public, sister = Authority.make("LAB public RSA CA", SPRING_2026), Authority.make("LAB public ECC CA", SPRING_2026)
    serial = 0x2D00084DDE61A2B3C4D5000000084DDE
    begins = SPRING_2026 - 5 * DAY
    first = issued(public, ["shop.example"], begins, 300, serial)
    second = issued(sister, ["shop.example"], begins, 300, serial + 1, ec.generate_private_key(ec.SECP256R1()))
    capture = Capture(SPRING_2026)
    for port, leaf in ((50_001, first), (50_002, second)):
        rsa_handshake(Connection(capture, port), "shop.example", [der(leaf)], random.Random(1))
    assert states(judged(tmp_path, capture, [public])) == ["genuine", "suspected"]


def test_what_the_same_issuers_name_stands_on_is_a_copy_only_with_another_signer():
    leaf, genuine = parse(qaznet_chain()[0]), parse(genuine_chain()[0])
    same = leaf._replace(issuer_key=genuine.issuer_key)
    assert compare(leaf, genuine).is_copy(False)
    assert not compare(same, genuine).is_copy(False)
    assert compare(same, genuine).is_copy(True)


def test_a_portals_own_certificate_signs_for_no_name_that_was_asked(tmp_path):
    """Whatever is asked before login, one leaf of the hotel's answers; later the names get public chains."""
    public, hotel = Authority.make("LAB public root", SPRING_2026), Authority.make("Hotel CA", SPRING_2026)
    portal = [der(hotel.issue(["portal.hotel.example"], SPRING_2026, strong=True)[1]), der(hotel.certificate)]
    capture = Capture(SPRING_2026)
    for port, name in ((50_001, "www.facebook.com"), (50_002, "vk.com")):
        rsa_handshake(Connection(capture, port, f"203.0.113.{port - 50_000}"), name, portal, random.Random(port))
    for port, name in ((50_011, "shop.example"), (50_012, "news.example"), (50_013, "bank.example")):
        context = server_context(*public.issue([name], SPRING_2026), ssl.TLSVersion.TLSv1_2)
        openssl(Connection(capture, port, f"198.51.100.{port - 50_000}"), name, context, client_context())
    found = judged(tmp_path, capture, [public])
    assert states(found)[:2] == ["undetermined", "undetermined"]
    assert "private-issuer-for-targets-only" not in {rule for one in found for rule in one.verdict.also}


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old"), ("old",), ()])
def test_an_intermediates_expired_certificate_hides_no_current_one(order, tmp_path):
    """One key with two certificates: clients take any path that serves, in whatever order they come."""
    root = Authority.make("LAB public root", SPRING_2026)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "LAB R3")])

    def intermediate(begins, ends):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(root.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(ends)
        return builder.add_extension(x509.BasicConstraints(True, 0), True).sign(root.key, hashes.SHA256())

    made = {
        "old": intermediate(SPRING_2026 - 390 * DAY, SPRING_2026 - 20 * DAY),
        "new": intermediate(SPRING_2026 - 100 * DAY, SPRING_2026 + 900 * DAY),
    }
    _, leaf = Authority(name, key, made["new"]).issue(["www.example.org"], SPRING_2026, strong=True)
    capture = Capture(SPRING_2026)
    for port, sent in ((50_001, order), (50_002, ("old", "new"))):
        chain = [der(leaf), *(der(made[one]) for one in sent)]
        rsa_handshake(Connection(capture, port), "www.example.org", chain, random.Random(1))
    assert states(judged(tmp_path, capture, [root])) == ["genuine", "genuine"]


# no handshake


def blob():
    return server_flight(qaznet_chain(), 0x009C, random.Random(1))


def downloads(capture):
    """The published chain, fetched: over a connection whose client says nothing, over HTTP from its middle on, over
    HTTP whole, and over HTTP whose request was not captured."""
    silent = Connection(capture, 50_001, server_port=30_021)
    silent.open()
    silent.send(1, blob())
    silent.close()
    middle = Connection(capture, 50_002, server_port=80)
    middle.packet(0, ACK)
    middle.send(1, blob())
    middle.close()
    for port, lost in ((50_003, False), (50_004, True)):
        whole = Connection(capture, port, server_port=80)
        whole.open()
        begin = len(capture.packets)
        whole.send(0, b"GET /qaznet.bin HTTP/1.1\r\nHost: example.org\r\n\r\n")
        if lost:
            del capture.packets[begin]
        whole.send(1, b"HTTP/1.1 200 OK\r\n\r\n")
        whole.send(1, blob())
        whole.close()


def test_a_download_of_a_published_chain_is_no_handshake(tmp_path):
    capture = Capture(JULY_2019)
    downloads(capture)
    found = judged(tmp_path, capture)
    assert [one.observation.chain for one in found] == [()] * len(found)
    assert "intercepted" not in states(found)


def test_a_handshake_whose_hello_was_lost_is_still_one(tmp_path):
    """The server acknowledges more than the SYN: something was said that was not captured."""
    capture = Capture(JULY_2019)
    rsa_handshake(Connection(capture, 50_001), "www.facebook.com", qaznet_chain(), random.Random(1))
    del capture.packets[3]
    assert rules(judged(tmp_path, capture)) == ["signed-by-known-interception-ca"]


def test_a_clients_certificate_is_not_the_servers(tmp_path):
    """Both SYNs are there, both hellos are not: who began the connection is the client."""
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.seq = [connection.seq[0] + 300, connection.seq[1] + 3_000]
    shown = b"".join(vector(one, 3) for one in qaznet_chain())
    connection.send(0, record(22, message(11, vector(shown, 3))))
    connection.send(1, record(20, b"\1") + record(22, bytes(range(40))))
    connection.send(0, record(23, b"x" * 100))
    connection.send(1, record(23, b"x" * 100))
    (one,) = judged(tmp_path, capture)
    assert one.verdict.state.value == "undetermined"
    assert one.observation.server[1] == 443
    assert len(one.observation.client_chain) == 2


def test_a_servers_side_alone_tells_for_which_listed_name_its_certificate_is(tmp_path):
    """The hello was not captured: what was asked is open, and no target is counted."""
    key, leaf = Authority.make("LAB box", JULY_2019).issue(["www.facebook.com"], JULY_2019, strong=True)
    del key
    capture = Capture(JULY_2019)
    rsa_handshake(Connection(capture, 50_001), "www.facebook.com", [der(leaf)], random.Random(1))
    capture.packets = [one for one in capture.packets if one[1][:6] == b"\x02\x00\x5e\x00\x53\x00"]
    (one,) = judged(tmp_path, capture)
    assert one.observation.target is None
    (told,) = (remark for remark in one.verdict.remarks if "which is on the list" in remark.says)
    assert told.says.startswith("the certificate is for www.facebook.com, which is on the list kz-2019")


# both legs in one file


def both_legs(tmp_path, shift):
    """What a box has with the client and with the server, between the same ports; `shift`: when the server's begins."""
    public, box = Authority.make("LAB public root", SPRING_2026), Authority.make("LAB box", SPRING_2026)
    genuine = server_context(*public.issue(["vk.com"], SPRING_2026, strong=True), V12)
    forged = server_context(*box.issue(["vk.com"], SPRING_2026, strong=True), V12)
    near, far = Capture(SPRING_2026), Capture(SPRING_2026)
    openssl(Connection(near, 50_001), "vk.com", forged, client_context(), answer_ttl=61)
    far.now += shift
    leg = Connection(far, 50_001)
    leg.ttl, leg.seq = [60, 60], [77_000_000, 3_000_000_000]
    openssl(leg, "vk.com", genuine, client_context())
    late = [(when + (0.25 if number >= 5 else 0), frame) for number, (when, frame) in enumerate(near.packets)]
    merged = Capture(SPRING_2026)
    merged.packets = sorted(late + far.packets)
    return judged(tmp_path, merged, [public], [box])


@pytest.mark.parametrize("shift", [-0.002, 0.01, 0.0605, 2])
def test_both_legs_of_a_box_are_two_connections_in_any_order(shift, tmp_path):
    found = both_legs(tmp_path, shift)
    assert sorted(rules(found)) == ["signed-by-supplied-interception-ca", "trusted-by-supplied-anchor"]
    assert all(one.observation.chain_complete for one in found)


def test_a_syn_that_somebody_forged_splits_no_connection(tmp_path):
    """In the client's name, with another number, in the middle of a handshake."""
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("www.facebook.com", random.Random(1)))
    forger = Connection(capture, 50_001)
    forger.seq[0] = 3_333_333_333
    forger.packet(0, SYN, ttl=55)
    connection.send(1, blob(), 0.03)
    connection.close()
    found = judged(tmp_path, capture)
    assert "signed-by-known-interception-ca" in rules(found)
    assert max(one.observation.last_frame for one in found) == len(capture.packets)


# resumption


class Raced(Connection):
    """A connection into which somebody writes a chain before the server's own, with the same sequence numbers."""

    forged = None

    def send(self, who, data, wait=0.0005, ttl=None):
        if who == 1 and self.forged is not None and data[5:6] == b"\x02":
            kept, self.forged, forged = list(self.seq), None, self.forged(data)
            for at in range(0, len(forged), 1_400):
                self.packet(1, PSH | ACK, forged[at : at + 1_400], 0.001, ttl=59)
            self.seq = kept
        return super().send(who, data, wait, ttl)


def over(data):
    """The published chain in a Certificate message as long as the server's own."""
    end = 5 + int.from_bytes(data[3:5], "big")
    size = int.from_bytes(data[end + 3 : end + 5], "big")
    shown = b"".join(vector(one, 3) for one in qaznet_chain())
    shown += vector(b"\x30" * (size - 4 - 3 - len(shown) - 3), 3)
    return data[:end] + record(22, message(11, vector(shown, 3)))


def test_a_resumption_is_no_surer_than_the_handshake_that_it_resumes(tmp_path):
    public = Authority.make("LAB public root", JULY_2019)
    names = ["vk.com", *(f"h{number:03}.vk.example" for number in range(200))]
    context, client = server_context(*public.issue(names, JULY_2019), V12), client_context()
    capture = Capture(JULY_2019)
    first = Raced(capture, 50_001)
    first.forged = over
    session = openssl(first, "vk.com", context, client)
    openssl(Connection(capture, 50_002), "vk.com", context, client, session)
    capture.write(tmp_path / "capture.pcapng")
    report = analyze(str(tmp_path / "capture.pcapng"), reference.load())
    full, resumed = report.connections()
    assert full.verdict.rule.id == "interception-chain-in-dispute"
    assert resumed.verdict.rule.id == "session-resumed"
    assert "resumes-intercepted-session" in resumed.verdict.unsettled
    assert resumes_intercepted_session(resumed.observation, report.surroundings).value is None
    report.close()


# resets


@pytest.mark.parametrize(
    ("closing", "state"), [(FIN | ACK, "undetermined"), (RST | ACK, "undetermined"), (0, "interfered")]
)
def test_a_reset_after_the_client_went_away_is_nobodys_interference(closing, state, tmp_path):
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("www.facebook.com", random.Random(5)))
    if closing:
        connection.packet(0, closing, wait=0.4)
    connection.packet(1, RST, b"", 0.03, ttl=50)
    assert states(judged(tmp_path, capture)) == [state]


# the clock


def test_a_clock_that_is_wrong_tells_of_no_list_whether_it_was_in_force(tmp_path):
    """Certificates made in 2026 in a capture that says 2019."""
    public = Authority.make("LAB public root", SPRING_2026)
    capture = Capture(JULY_2019)
    for port, name, server in ((50_001, "www.facebook.com", OTHER), (50_002, "www.example.org", "198.51.100.9")):
        context = server_context(*public.issue([name], SPRING_2026), V12)
        openssl(Connection(capture, port, server), name, context, client_context())
    found = judged(tmp_path, capture, [public])
    summary = Summary()
    for one in found:
        summary.add(one.observation, one.verdict)
    assert [one.observation.target and one.observation.target.in_force for one in found] == [None, None]
    assert summary.lists["kz-2019"]
    assert (summary.in_force["kz-2019"], summary.out_of_force["kz-2019"]) == (0, 0)


# the national authority


def lawful(name, at=SPRING_2026):
    """An authority with the marks that Kazakhstan's own has, as measured on its keys, and a leaf for a name."""
    key = rsa.generate_private_key(65537, 2048)
    named = x509.Name(
        [x509.NameAttribute(NameOID.COUNTRY_NAME, "KZ"), x509.NameAttribute(NameOID.COMMON_NAME, "CA of a state")]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    serial = int.from_bytes(identifier.digest, "big") & ((1 << 159) - 1)
    authority_key = x509.AuthorityKeyIdentifier(identifier.digest, [x509.DirectoryName(named)], serial)
    builder = x509.CertificateBuilder().subject_name(named).issuer_name(named).public_key(key.public_key())
    builder = builder.serial_number(serial).not_valid_before(at - 900 * DAY).not_valid_after(at + 1_500 * DAY)
    builder = builder.add_extension(x509.BasicConstraints(True, None), True).add_extension(identifier, False)
    authority = Authority(named, key, builder.add_extension(authority_key, False).sign(key, hashes.SHA256()))
    _, leaf = authority.issue([name], at, days=300, strong=True)
    return parse(der(leaf)), parse(der(authority.certificate))


@pytest.mark.parametrize(("name", "marked"), [("portal.gov.kz", False), ("www.facebook.com", True)])
def test_the_marks_of_an_authority_of_the_country_say_nothing_of_its_own_sites(name, marked):
    data = reference.load()
    chain = lawful(name)
    facts = ChainJudge(data, PublicTrust(reference.DATA / "public_trust")).judge(chain, 0)
    assert (shaped_issuer(facts) is not None) == marked


def test_a_national_authority_is_known_by_its_key_alone():
    data = reference.load()
    leaf, authority = lawful("www.facebook.com")
    assert {"kz-nca"} < {ca.id for ca in data.national_cas}
    known = data.national_cas[-1]._replace(spki_sha256=authority.spki_sha256)
    data.__dict__["national_cas"] = (known,)
    facts = ChainJudge(data, PublicTrust(reference.DATA / "public_trust")).judge((leaf, authority), 0)
    assert facts.national == known


# the volunteer's side


@pytest.mark.parametrize(("ttl", "where"), [(64, "unknown"), (57, "volunteer_side")])
def test_a_product_is_put_on_the_volunteers_side_only_where_ttls_mean_something(ttl, where, tmp_path):
    """An app that writes packets anew gives each of them the same TTL."""
    public = Authority.make("LAB public root", SPRING_2026)
    product = Authority.make("ESET SSL Filter CA", SPRING_2026, organization="ESET, spol. s r. o.", country="SK")
    capture = Capture(SPRING_2026)
    for port, name, authority, seen in (
        (50_001, "www.example.org", public, ttl),
        (50_002, "shop.example", product, 64),
        (50_003, "vk.com", product, 64),
    ):
        connection = Connection(capture, port, OTHER)
        connection.ttl = [64, seen]
        _, leaf = authority.issue([name], SPRING_2026, strong=True)
        rsa_handshake(connection, name, [der(leaf), der(authority.certificate)], random.Random(1))
    with (tmp_path / "capture.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=101)
        for when, frame in capture.packets:
            writer.writepkt(frame[14:], ts=when)
    *_, last = judged_file(tmp_path, "capture.pcap", [public])
    assert last.verdict.place.where == where
