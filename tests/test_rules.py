"""Every rule fires: on its example in captures/, or in a test of its name below."""

from __future__ import annotations

import datetime
import hashlib
import json
import random
import shutil
import sys
from functools import cache

import dpkt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kzpcap import analyze, reference
from kzpcap.certificates import chains
from kzpcap.observations import Absent
from kzpcap.reference import targets
from kzpcap.verdict.judge import Place, judge
from kzpcap.verdict.place import placed
from kzpcap.verdict.rules import RULES
from tests import test_injected as injected
from tests.conftest import CAPTURES

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain, qaznet_chain
from recipes.packets import ACK, JULY_2019, OTHER, RST, SERVER, SPRING_2026, Capture, Connection
from recipes.tls import Authority, client_hello, der, message, pem, record, rsa_handshake, server_flight


@cache
def decided(name, folder=None, extra=True):
    """The rules that decide the connections of a capture, with the options of its truth."""
    options = json.loads((CAPTURES / name / "truth.json").read_text())["options"] if extra else {}
    files = {key: [CAPTURES / name / file for file in values] for key, values in options.items()}
    data = reference.load(folder, None, files.get("trusted_root"), files.get("interception_ca"))
    report = analyze(str(CAPTURES / name / "capture.pcapng"), data)
    try:
        return [connection.verdict.rule.id for connection in report.connections()]
    finally:
        report.close()


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.example], ids=lambda rule: rule.id)
def test_a_rule_decides_in_its_example(rule):
    assert rule.id in decided(rule.example)


def test_interception_chain_in_dispute(tmp_path):
    """The published chain of rcku.kz, with another TTL, in the place of a genuine one."""
    capture = injected.replay_under(genuine_chain(), lambda frame: injected.flipped(frame, 14 + 8))
    (connection,) = injected.judged(capture, tmp_path)
    assert connection.verdict.rule.id == "interception-chain-in-dispute"
    assert "two versions" in connection.verdict.interceptor.basis


def test_a_rule_without_an_example_has_a_test_here():
    for rule in RULES:
        assert rule.example or f"test_{rule.id.replace('-', '_')}" in globals(), rule.id


def data_with(tmp_path, text):
    """The shipped data with one more interception CA: that of the laboratory's capture."""
    folder = tmp_path / "data"
    shutil.copytree(reference.DATA, folder)
    lab = (CAPTURES / "lab-interception" / "interception.pem").read_bytes()
    (folder / "interception_cas" / "lab.pem").write_bytes(lab)
    with (folder / "interception_cas" / "signatures.toml").open("a") as file:
        file.write(text)
    return folder


GENERATION = """
[[generation]]
id = "lab"
title = "a laboratory"
by = "a laboratory"
seen_intercepting = false
source = "tests/test_rules.py"
"""


def test_signed_by_block_listed_ca(tmp_path):
    folder = data_with(tmp_path, GENERATION + '[[ca]]\nfile = "lab.pem"\ngeneration = "lab"\nrole = "root"\n')
    assert "signed-by-block-listed-ca" in decided("lab-interception", folder, False)


@pytest.mark.parametrize(("site", "own"), [("vk.com", True), ("com", True), ("m.vk.com", False), ("k.com", False)])
def test_site_of_the_ca_itself(site, own, tmp_path):
    """A known CA signs for vk.com: that is no interception where vk.com is its own site, or below one."""
    entry = GENERATION + f'own_sites = ["{site}"]\n'
    folder = data_with(tmp_path, entry + '[[ca]]\nfile = "lab.pem"\ngeneration = "lab"\nrole = "root"\n')
    report = analyze(str(CAPTURES / "lab-interception" / "capture.pcapng"), reference.load(folder))
    found = {c.verdict.rule.id for c in report.connections() if c.observation.server_name == "vk.com"}
    report.close()
    assert found == {"site-of-the-ca-itself" if own else "signed-by-block-listed-ca"}


@pytest.mark.parametrize("name", ["isca.gov.kz", "www.isca.gov.kz", "qca.kz", "isca.gov.kz.example"])
def test_names_of_a_ca_on_its_own_site_are_no_imitation(name, tmp_path):
    """Its name in the issuer, and another key: suspected for any site but the authority's."""
    rng = random.Random(name)
    authority = Authority.make(
        "Information Security Certification Authority", SPRING_2026, country="KZ", organization="ISCA"
    )
    _, leaf = authority.issue([name], SPRING_2026)
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 40_000)
    connection.open()
    connection.send(0, client_hello(name, rng))
    connection.send(1, server_flight([der(leaf), der(authority.certificate)], 0x9C, rng))
    (found,) = injected.judged(capture, tmp_path)
    of_it = {"isca.gov.kz", "www.isca.gov.kz"}
    assert (found.verdict.rule.id == "site-of-the-ca-itself") == (name in of_it)
    assert (found.verdict.rule.state == "suspected") == (name not in of_it)


def test_a_published_leaf_of_another_site_is_no_site_of_the_cas_own(tmp_path):
    """Whoever asks for the authority's own site and gets the forged leaf of rcku.kz was intercepted."""
    rng = random.Random(1)
    capture = Capture(JULY_2019)
    connection = Connection(capture, 40_000)
    connection.open()
    connection.send(0, client_hello("qca.kz", rng))
    connection.send(1, server_flight(qaznet_chain(), 0x9C, rng))
    (found,) = injected.judged(capture, tmp_path)
    assert found.verdict.rule.id == "signed-by-known-interception-ca"


def test_signed_by_known_intermediate(tmp_path):
    """The laboratory's CA, sent along and listed by its SHA-1 alone."""
    folder = data_with(
        tmp_path, GENERATION + '[[fingerprints]]\nfile = "lab.json"\ngeneration = "lab"\nsubject = "CN=nobody"\n'
    )
    lab = x509.load_pem_x509_certificate((CAPTURES / "lab-interception" / "interception.pem").read_bytes())
    sha1 = hashlib.sha1(lab.public_bytes(Encoding.DER)).hexdigest()
    (folder / "interception_cas" / "lab.json").write_text(json.dumps({"intermediates": [{"sha1": sha1}]}))
    from kzpcap.certificates.certificate import parse
    from kzpcap.certificates.chains import ChainJudge
    from kzpcap.certificates.public_trust import PublicTrust

    data = reference.load(folder)
    report = analyze(str(CAPTURES / "lab-interception" / "capture.pcapng"), data)
    leaf = next(c for c in report.surroundings.certificates.values() if c.common_name == "vk.com")
    facts = ChainJudge(data, PublicTrust(folder / "public_trust")).judge(
        (leaf, parse(lab.public_bytes(Encoding.DER))), 0
    )
    report.close()
    assert facts.sha1_generation.id == "lab"


def test_known_interception_leaf(tmp_path):
    """A leaf whose key is listed, and whose possession the handshake proves."""
    report = analyze(str(CAPTURES / "lab-interception" / "capture.pcapng"), reference.load())
    leaf = next(c for c in report.surroundings.certificates.values() if c.common_name == "vk.com")
    report.close()
    entry = f'[[leaf]]\nspki_sha256 = "{leaf.spki_sha256}"\ngeneration = "lab"\nsource = "a test"\n'
    folder = data_with(tmp_path, GENERATION + entry)
    report = analyze(str(CAPTURES / "lab-interception" / "capture.pcapng"), reference.load(folder))
    verdicts = [c.verdict for c in report.connections() if c.observation.server_name == "vk.com"]
    report.close()
    assert {verdict.rule.id for verdict in verdicts} == {"known-interception-leaf"}
    assert {verdict.interceptor.identity for verdict in verdicts} == {"known_generation:lab"}


def test_what_a_ladder_puts_on_the_path_is_no_product_of_the_user():
    report = analyze(str(CAPTURES / "products-and-strangers" / "capture.pcapng"), reference.load())
    verdict = next(c.verdict for c in report.connections() if c.observation.server_name == "mail.example")
    report.close()
    assert verdict.interceptor.identity == "product:eset"
    found = placed(verdict, Place("edge", "exact", "between two hops"))
    assert found.interceptor.identity == "unknown"
    assert found.interceptor.basis.endswith("and a ladder puts it on the path")
    assert placed(verdict, Place("volunteer_side", None, "")).interceptor.identity == "product:eset"


@pytest.mark.parametrize(
    "text", ['[[ca]]\nfile = "lab.pem"\n', '[[ca]]\nfile = "lab.pem"\ngeneration = "none"\nrole = "root"\n', "[[ca]\n"]
)
def test_bad_signatures_are_named(tmp_path, text):
    from kzpcap.errors import ReferenceDataError

    with pytest.raises(ReferenceDataError, match=r"signatures\.toml"):
        _ = reference.load(data_with(tmp_path, text)).interception_cas


def test_no_clock(tmp_path):
    """Simple Packet Blocks have no time: nothing may be judged as if it were 1970."""
    import struct

    from kzpcap.capture.container import open_records
    from kzpcap.capture.health import Notes

    raw = (CAPTURES / "kz-2019-rcku" / "capture.pcapng").read_bytes()
    records = open_records(raw, Notes())
    out = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    out += struct.pack("<IIHHII", 1, 20, 1, 0, 0, 20)
    while records.advance():
        data = raw[records.offset : records.offset + records.captured]
        size = 16 + len(data) + (-len(data) & 3)
        out += struct.pack("<III", 3, size, len(data)) + data + b"\0" * (-len(data) & 3) + struct.pack("<I", size)
    path = tmp_path / "no-clock.pcapng"
    path.write_bytes(out)
    report = analyze(str(path), reference.load())
    rules = [connection.verdict.rule.id for connection in report.connections()]
    report.close()
    assert rules == ["no-clock", "signed-by-known-interception-ca", "no-clock"]


def judged_at(day):
    report = analyze(str(CAPTURES / "kz-2019-rcku" / "capture.pcapng"), reference.load(), at=targets.day(day))
    rules = [connection.verdict.rule.id for connection in report.connections()]
    health = report.capture
    report.close()
    assert health["judged_at"].startswith(day)
    return rules


def test_root_public_at_another_time():
    """rcku.kz's root left the bundles in 2026: over a year later it is none of that day."""
    assert judged_at("2029-01-01")[0] == "root-public-at-another-time"
    assert judged_at("2026-07-01")[0] == "trust-disputed"
    assert judged_at("2019-07-20")[0] == "publicly-trusted"
    assert judged_at("2019-07-20")[1] == "signed-by-known-interception-ca"


def test_clock_contradicted(tmp_path):
    """The reconstruction of 2019 with the clock of 2015: its genuine leaf was made four years later."""
    path = tmp_path / "capture.pcap"
    with path.open("wb") as file, (CAPTURES / "kz-2019-rcku" / "capture.pcapng").open("rb") as original:
        writer = dpkt.pcap.Writer(file)
        for when, packet in dpkt.pcapng.Reader(original):
            writer.writepkt(packet, ts=when - 4 * 365 * 86_400)
    report = analyze(str(path), reference.load())
    connections = list(report.connections())
    clock, means = report.capture["clock"], " ".join(report.capture["means"])
    report.close()
    assert [c.verdict.rule.id for c in connections] == [
        "clock-contradicted",
        "signed-by-known-interception-ca",
        "clock-contradicted",
    ]
    assert clock["status"] == "contradicted"
    assert any('an SCT for "rcku.kz" by' in reason["says"] for reason in clock["reasons"])
    assert "THE CLOCK IS WRONG" in means
    report = analyze(str(path), reference.load(), at=targets.day("2019-07-20"))
    assert next(c.verdict.rule.id for c in report.connections()) == "publicly-trusted"
    report.close()


def test_path_unfit_for_tls(monkeypatch):
    """The genuine chain of rcku.kz, were it not for TLS."""
    monkeypatch.setattr(chains, "unfit", lambda path: '"x" is not for TLS servers (extendedKeyUsage)')
    assert decided.__wrapped__("kz-2019-rcku-genuine", None, False) == ["path-unfit-for-tls"]


@pytest.mark.parametrize("reason", [Absent.MALFORMED, Absent.LIMIT])
def test_certificate_message_unreadable(reason):
    """What cannot be read was not cut short, and is not said to be."""
    report = analyze(str(CAPTURES / "tls13-encrypted" / "capture.pcapng"), reference.load())
    observation = next(iter(report.connections())).observation
    odd = observation._replace(absent=reason, chain_problem="a certificate compressed with algorithm 9")
    verdict = judge(odd, report.surroundings)
    report.close()
    assert verdict.rule.id == "certificate-message-unreadable"
    assert "algorithm 9" in verdict.evidence.children[0].says


def test_a_known_ca_that_was_sent_and_signed_nothing_has_no_marks():
    """Somebody's own page with the published CA behind it in the list."""
    report = analyze(str(CAPTURES / "other-authorities" / "capture.pcapng"), reference.load())
    verdicts = [c.verdict for c in report.connections()]
    report.close()
    assert all("structural-marks" not in (verdict.rule.id, *verdict.also) for verdict in verdicts)


def built(tmp_path, *connections):
    """A capture of RSA handshakes: (server, name, chain) each."""
    capture = Capture(SPRING_2026)
    for number, (server, name, chain) in enumerate(connections):
        rsa_handshake(Connection(capture, 50_001 + number, server), name, [der(one) for one in chain], random.Random(1))
    capture.write(tmp_path / "capture.pcapng")
    return str(tmp_path / "capture.pcapng")


def rules_of(path, root, tmp_path):
    (tmp_path / "root.pem").write_bytes(pem(root.certificate))
    report = analyze(path, reference.load(trusted_roots=[tmp_path / "root.pem"]))
    found = [connection.verdict.rule.id for connection in report.connections()]
    report.close()
    return found


def test_an_honest_renewal_whose_intermediate_is_missing_is_no_copy(tmp_path):
    """Two nodes of one site, certificates of one lifetime three days and some minutes apart; one forgets its issuer."""
    root, other = Authority.make("LAB root", SPRING_2026), Authority.make("LAB forgotten", SPRING_2026)
    _, first = root.issue(["vk.com"], SPRING_2026, strong=True)
    for apart in (datetime.timedelta(days=3, seconds=1), datetime.timedelta(days=3, minutes=7)):
        _, second = other.issue(["vk.com"], SPRING_2026 + apart, strong=True)
        path = built(tmp_path, (SERVER, "vk.com", [first]), (SERVER, "vk.com", [second]))
        assert rules_of(path, root, tmp_path) == ["trusted-by-supplied-anchor", "issuer-missing"]


def test_targets_whose_issuer_was_cut_off_are_not_said_to_share_a_private_one(tmp_path):
    root, missing = Authority.make("LAB root", SPRING_2026), Authority.make("LAB public, cut off", SPRING_2026)
    listed = [missing.issue([name], SPRING_2026, strong=True)[1] for name in ("vk.com", "www.youtube.com")]
    others = [root.issue([name], SPRING_2026, strong=True)[1] for name in ("a.example", "b.example")]
    path = built(
        tmp_path,
        (SERVER, "vk.com", listed[:1]),
        (OTHER, "www.youtube.com", listed[1:]),
        (OTHER, "a.example", others[:1]),
        (OTHER, "b.example", others[1:]),
    )
    assert rules_of(path, root, tmp_path)[:2] == ["issuer-missing", "issuer-missing"]


def test_an_appliances_own_page_is_no_interception(tmp_path):
    box = Authority.make("FortiGate CA", SPRING_2026, organization="Fortinet")
    page = [box.issue(["fw.office.lan"], SPRING_2026, strong=True)[1], box.certificate]
    root = Authority.make("LAB root", SPRING_2026)
    assert rules_of(built(tmp_path, ("192.168.1.99", "fw.office.lan", page)), root, tmp_path) == ["private-root"]
    assert rules_of(built(tmp_path, (SERVER, "fw.office.lan", page)), root, tmp_path) == ["product-by-issuer-names"]


@pytest.mark.parametrize(("hours", "rule"), [(6, "may-be-resigned-copy"), (6.1, "issuer-missing")])
def test_may_be_resigned_copy(hours, rule, tmp_path):
    """Dates shifted by whole hours under an issuer that nobody saw: that fits, and settles nothing."""
    root, box = Authority.make("LAB root", SPRING_2026), Authority.make("LAB unseen", SPRING_2026)
    _, genuine = root.issue(["vk.com"], SPRING_2026, strong=True)
    _, other = box.issue(["vk.com"], SPRING_2026 - datetime.timedelta(hours=hours), strong=True)
    path = built(tmp_path, (SERVER, "vk.com", [genuine]), (SERVER, "vk.com", [other]))
    assert rules_of(path, root, tmp_path) == ["trusted-by-supplied-anchor", rule]


@pytest.mark.parametrize(
    ("serial", "rule"),
    [
        ("05e2e6a4cd09ea54d665b075fe22a256", "misissued-certificate"),
        ("05e2e6a4cd09ea54d665b075fe22a257", "trusted-by-supplied-anchor"),
    ],
)
def test_misissued_certificate(serial, rule, tmp_path, monkeypatch):
    """Even by a CA that is trusted: serial and issuer are those of DigiNotar's."""
    monkeypatch.setattr(x509, "random_serial_number", lambda: int(serial, 16))
    authority = Authority.make("DigiNotar Public CA 2025", SPRING_2026)
    _, leaf = authority.issue(["www.google.com"], SPRING_2026, strong=True)
    assert rules_of(built(tmp_path, (SERVER, "www.google.com", [leaf])), authority, tmp_path) == [rule]


def test_certificate_scrubbed(tmp_path):
    """A control's certificate after a scrub; a server that sends zeros of its own accord is told the same, no more."""
    from kzpcap.scrub.choose import Choices
    from kzpcap.scrub.work import scrub

    scrubbed = scrub(str(CAPTURES / "kz-2019-rcku" / "capture.pcapng"), reference.load(), Choices())
    path = tmp_path / "scrubbed.pcapng"
    with scrubbed.output:
        path.write_bytes(scrubbed.output.read())
    report = analyze(str(path), reference.load())
    found = {c.observation.server_name: (c.verdict.rule.id, c.observation.absent) for c in report.connections()}
    report.close()
    (control,) = (name for name in found if name not in ("rcku.kz", "www.facebook.com"))
    assert found[control] == ("certificate-scrubbed", Absent.SCRUBBED)
    assert len(control) == len("rcku.kz")


@pytest.mark.parametrize(
    ("ttl", "hello_ttl", "goes_on", "rule"),
    [
        (61, 57, False, "handshake-reset-by-another-sender"),
        (57, 57, False, "publicly-trusted"),
        (52, 52, False, "publicly-trusted"),
        (61, 57, True, "publicly-trusted"),
    ],
    ids=["another", "the server", "the server behind a box that answers SYNs", "ignored"],
)
def test_handshake_reset_by_another_sender(ttl, hello_ttl, goes_on, rule, tmp_path):
    """A reset behind the server's hello: the client falls silent, or goes on."""
    capture = Capture(JULY_2019)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, client_hello("rcku.kz", random.Random(5)))
    connection.send(1, server_flight(genuine_chain(), 0x009C, random.Random(5)), 0.03, ttl=hello_ttl)
    connection.packet(1, RST | ACK, b"", 0.0005, ttl=ttl)
    if goes_on:
        connection.send(0, record(22, message(16, b"\0\x80" + bytes(128))) + record(20, b"\1"))
    (found,) = injected.judged(capture, tmp_path)
    assert found.verdict.rule.id == rule


@pytest.mark.parametrize(
    ("body", "snaplen", "rule"),
    [
        (b"", 54, "payload-cut"),
        (b"", 55, "payload-cut"),
        (b"", 56, "payload-cut"),
        (b"GET / HTTP/1.1\r\n\r\n", 54, "payload-cut"),
        (b"GET / HTTP/1.1\r\n\r\n", 56, "no-tls"),
        (b"GET / HTTP/1.1\r\n\r\n", 10_000, "no-tls"),
    ],
)
def test_payload_cut(body, snaplen, rule, tmp_path):
    """Packets cut behind their headers: nothing is said of what was in them."""
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.send(0, body or client_hello("vk.com", random.Random(7)))
    connection.send(
        1, server_flight(genuine_chain(), 0x009C, random.Random(5)) if not body else b"HTTP/1.1 400\r\n\r\n"
    )
    with (tmp_path / "cut.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file, snaplen=snaplen)
        for when, frame in capture.packets:
            kept = frame[:snaplen]
            header = dpkt.pcap.LEPktHdr(tv_sec=int(when), tv_usec=0, caplen=len(kept), len=len(frame))
            file.write(bytes(header) + kept)
        writer.close()
    report = analyze(str(tmp_path / "cut.pcap"), reference.load())
    (found,) = report.connections()
    report.close()
    assert found.verdict.rule.id == rule
    assert found.observation.absent is (Absent.TRUNCATED if rule == "payload-cut" else Absent.NOT_CAPTURED)


@pytest.mark.parametrize(
    ("name", "home", "rule"),
    [
        ("www.facebook.com", '[".kz"]', "signed-abroad-by-national-ca"),
        ("www.facebook.com", "[]", "signed-by-national-ca"),
        ("www.facebook.com", '[".com"]', "signed-by-national-ca"),
        ("www.example.org", '[".kz"]', "signed-by-national-ca"),
    ],
    ids=["abroad", "no country told", "at home", "not listed"],
)
def test_signed_abroad_by_national_ca(name, home, rule, tmp_path):
    national = Authority.make("LAB national CA", SPRING_2026)
    public = national.key.public_key()
    spki = hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    told = f'id = "lab"\ntitle = "LAB national CA"\nsource = "a test"\nhome = {home}\n'
    folder = data_with(tmp_path, f'[[national_key]]\nspki_sha256 = "{spki}"\n{told}')
    capture = Capture(SPRING_2026)
    chain = [der(national.issue([name], SPRING_2026)[1]), der(national.certificate)]
    rsa_handshake(Connection(capture, 50_001), name, chain, random.Random(5))
    capture.write(tmp_path / "capture.pcapng")
    report = analyze(str(tmp_path / "capture.pcapng"), reference.load(folder))
    (found,) = report.connections()
    report.close()
    assert found.verdict.rule.id == rule
    assert (found.verdict.interceptor is None) == (rule == "signed-by-national-ca")
