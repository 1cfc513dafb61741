"""Scrubbing against what an attacker, or chance, may put where something stays: one hiding place each."""

from __future__ import annotations

import datetime
import errno
import io
import ipaddress
import json
import os
import random
import socket
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from kzpcap import analyze, cli_scrub, reference
from kzpcap.scrub.choose import Choices
from kzpcap.scrub.prove import Proof, look_for_leaks
from kzpcap.scrub.work import doubtful_issuers, scrub, words
from tests.build import certificate_body, client_hello_body, extension, message, record, server_hello_body, vector
from tests.conftest import CAPTURES, run

sys.path.insert(0, str(CAPTURES))
from recipes.built import qaznet_chain
from recipes.packets import ACK, OTHER, PSH, SPRING_2026, Capture, Connection
from recipes.tls import Authority, client_hello, rsa_handshake, server_flight

SHIPPED = reference.load()


class Wire:
    """A capture of TCP connections from one client, as scapy writes them."""

    def __init__(self, path):
        self.path, self.packets, self.now = path, [], 1_563_613_942.0

    def add(self, packet):
        self.now += 0.01
        packet.time = self.now
        self.packets.append(packet)

    def tcp(self, *sent, port=50001, server="87.240.190.67", to=443, options=b"", client="192.168.1.77"):
        from scapy.layers.inet import IP, TCP

        ends, numbers = ((client, port), (server, to)), [1000 + port, 9000 + port]

        def packet(who, flags, data=b"", raw=b""):
            (source, sport), (target, dport) = ends[who], ends[1 - who]
            head = TCP(
                sport=sport,
                dport=dport,
                seq=numbers[who],
                ack=numbers[1 - who] if "A" in flags else 0,
                flags=flags,
                dataofs=(20 + len(raw)) // 4,
            )
            wire = bytes(head)[:20] + raw + data
            self.add(IP(src=source, dst=target, ttl=(64, 57)[who], proto=6) / wire)
            numbers[who] += len(data) + ("S" in flags or "F" in flags)

        packet(0, "S", raw=options)
        packet(1, "SA")
        packet(0, "A")
        for who, data in sent:
            for at in range(0, len(data), 1400):
                packet(who, "PA", data[at : at + 1400])
            packet(1 - who, "A")
        packet(0, "FA")
        packet(1, "FA")
        packet(0, "A")

    def write(self):
        from scapy.utils import PcapWriter

        with PcapWriter(str(self.path), linktype=101) as out:
            for packet in self.packets:
                out.write(packet)

    def scrub(self, profile="evidence", keep=(), roots=()):
        self.write()
        known = reference.load(None, None, list(roots)) if roots else SHIPPED
        scrubbed = scrub(str(self.path), known, Choices(profile, frozenset(keep)))
        with scrubbed.output:
            return scrubbed, scrubbed.output.read()


def hello(name=b"vk.com"):
    return record(22, message(1, client_hello_body(name)))


@pytest.fixture
def wire(tmp_path):
    pytest.importorskip("scapy", reason="scapy is not installed (pip install kzpcap[witnesses])")
    return Wire(tmp_path / "made.pcap")


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 403 Denied-for-203.0.113.77-acct-77015550000",
        b"HTTP/1.1 302 u=c0a8014d",
        b"HTTP/1.1 302 \xc0\xa8\x01M",
    ],
)
def test_a_plain_answer_keeps_its_code_and_no_word_of_it(wire, line):
    wire.tcp((0, hello()), (1, line + b"\r\nX-User: somebody\r\n\r\n"))
    scrubbed, out = wire.scrub()
    assert scrubbed.proof.compared == 1
    assert line[:12] in out
    assert line[12:20] not in out
    assert b"somebody" not in out


@pytest.mark.parametrize(
    "line",
    [b"CONNECT vk.com:443@user:s3cret HTTP/1.1", b"CONNECT vk.com:443?t=s3cret HTTP/1.1", b"CONNECT vk.com:443 s3cret"],
)
def test_a_proxys_request_keeps_no_password(wire, line):
    wire.tcp((0, line + b"\r\n\r\n"), (1, b"HTTP/1.1 200 OK\r\n\r\n"), (0, hello()), to=8080)
    scrubbed, out = wire.scrub()
    assert scrubbed.proof.compared == 1
    assert b"s3cret" not in out


def answer(*names, authority=None):
    """A server's flight of TLS 1.2 with a certificate for these names."""
    _, certificate = (authority or Authority.make("Some CA", SPRING_2026)).issue(list(names), SPRING_2026)
    der = certificate.public_bytes(Encoding.DER)
    flight = message(2, server_hello_body()) + message(11, certificate_body(der)) + message(14, b"")
    return record(22, flight), der


def nameless():
    """A ClientHello without server_name."""
    body = client_hello_body(b"")
    return record(22, message(1, body[: 2 + 32 + 1 + 2 + 4 + 2]))


@pytest.mark.parametrize(("proxied", "trusted"), [(True, True), (False, True), (False, False)])
def test_a_certificate_without_a_name_asked_stays_only_where_everyone_gets_it(wire, proxied, trusted):
    """At a server's address the answer to no name is the server's own; at a proxy's it is that of any site, and of a CA
    that nobody knows it may be the volunteer's own."""
    authority = Authority.make("Some CA", SPRING_2026)
    flight, der = answer("private-clinic.example", authority=authority)
    root = wire.path.parent / "root.pem"
    root.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    ahead = ((0, b"CONNECT vk.com:443 HTTP/1.1\r\n\r\n"), (1, b"HTTP/1.1 200 OK\r\n\r\n")) if proxied else ()
    other = ((0, b"CONNECT private-clinic.example:443 HTTP/1.1\r\n\r\n"), ahead[1]) if proxied else ()
    wire.tcp(*ahead, (0, hello()), (1, answer("vk.com")[0]), to=8080 if proxied else 443)
    wire.tcp(*other, (0, nameless()), (1, flight), port=50002, to=8080 if proxied else 443)
    scrubbed, out = wire.scrub(roots=[root] if trusted else [])
    assert scrubbed.proof.compared >= 1
    assert (b"private-clinic" in out) == (trusted and not proxied)
    assert (der in out) == (trusted and not proxied)


def test_an_address_of_the_users_own_in_a_kept_certificate_is_told_and_asked(wire):
    """A certificate's bytes stay as they are, or its signature is worth nothing: so it is said what it holds."""
    flight, _ = answer("vk.com", "192.168.1.77")
    wire.tcp((0, hello()), (1, flight))
    scrubbed, out = wire.scrub()
    assert b"192.168.1.77" in out
    assert not scrubbed.proof.leaks
    (loss,) = [one for one in scrubbed.proof.losses if one.name == "a certificate"]
    assert not loss.expected
    assert loss in scrubbed.proof.unexpected
    assert "holds an address" in loss.what


@pytest.mark.parametrize("raw", [b"\x02\x14", b"\x08\x0e", b"\x04\x10", b"\x03\x10", b"\x05\x0e"])
def test_an_option_longer_than_its_kind_allows_hides_nothing(wire, raw):
    options = (raw + b"s3cret-of-client-1")[: raw[1]].ljust(20, b"\0")
    wire.tcp((0, hello()), options=options)
    for profile in ("evidence", "public"):
        scrubbed, out = wire.scrub(profile)
        assert scrubbed.proof.compared == 1
        assert b"s3c" not in out


def test_a_second_hello_with_a_private_name_gives_nothing_away(wire):
    wire.tcp((0, hello(b"private-clinic.example") + hello()))
    scrubbed, out = wire.scrub()
    told = json.dumps(scrubbed.manifest) + repr(scrubbed.proof.losses)
    assert b"private-clinic" not in out
    assert "private-clinic" not in told


def test_more_clients_than_a_documentation_network_has_addresses(wire):
    for number in range(300):
        client = f"92.46.{number // 200}.{number % 200 + 1}"
        wire.tcp((0, hello()), client=client)
    scrubbed, _ = wire.scrub()
    assert scrubbed.proof.compared == 300
    assert scrubbed.manifest["changed"]["addresses"]["clients"] == 300
    assert scrubbed.proof.unexpected == []


def test_the_public_profile_keeps_no_byte_of_a_servers_random_but_the_sentinel(wire):
    built, tls = pytest.importorskip("recipes.built"), pytest.importorskip("recipes.tls")
    flight = tls.server_flight(built.genuine_chain(), 0x009C, random.Random(1))
    shown = flight[11:43]
    wire.tcp((0, hello()), (1, flight))
    _, exact = wire.scrub("evidence")
    assert shown in exact
    scrubbed, out = wire.scrub("public")
    assert scrubbed.proof.compared == 1
    assert not [at for at in range(29) if shown[at : at + 4] in out]


@pytest.mark.parametrize(
    "order", [("clinic.kz", "www.facebook.com"), ("www.facebook.com", "clinic.kz", "www.facebook.com")]
)
def test_two_quic_connections_on_one_socket_are_two(tmp_path, order):
    """The key of an Initial is in the Initial: whoever has the datagram reads the name in it."""
    quic, made = pytest.importorskip("recipes.quic"), pytest.importorskip("recipes.packets")
    capture = made.Capture(made.JULY_2019)
    talk = quic.Datagrams(capture, 50001, "87.240.190.67")
    for name in order:
        quic.unanswered(talk, name, 1)
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    capture.write(path)
    scrubbed = scrub(str(path), SHIPPED, Choices("evidence"))
    with scrubbed.output:
        out.write_bytes(scrubbed.output.read())
    report = analyze(str(out), SHIPPED)
    names = {
        name for one in report.connections() for name in (one.observation.server_name, *one.observation.other_names)
    }
    report.close()
    assert "clinic.kz" not in names
    assert names == {"www.facebook.com"} or not scrubbed.written.frames


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_place_without_hard_links(tmp_path, monkeypatch, number):
    """FAT on a stick, a phone's shared storage: it is written there too, and never over what is there."""

    def link(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(cli_scrub.os, "link", link)
    path = tmp_path / "out.pcapng"
    cli_scrub._write(path, io.BytesIO(b"new"), [])
    assert path.read_bytes() == b"new"
    with pytest.raises(FileExistsError):
        cli_scrub._write(path, io.BytesIO(b"newer"), [])
    assert path.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["out.pcapng"]


@pytest.mark.parametrize("profile", ["evidence", "public"])
@pytest.mark.parametrize(
    ("client", "server", "proxied"),
    [
        ("95.56.10.20", "95.56.10.99", True),
        ("95.56.10.20", "203.0.112.99", True),
        ("95.56.10.20", "95.56.10.99", False),
        ("192.168.1.77", "87.240.190.67", True),
    ],
    ids=["proxy beside", "proxy elsewhere", "server beside", "proxy of one behind NAT"],
)
def test_a_proxy_and_a_neighbour_do_not_stay(client, server, proxied, profile, wire):
    """The proxy is the employer's, or a machine that the volunteer rents; a server in one's own /24 tells the /24."""
    ahead = ((0, b"CONNECT vk.com:443 HTTP/1.1\r\n\r\n"), (1, b"HTTP/1.1 200 OK\r\n\r\n")) if proxied else ()
    wire.tcp(*ahead, (0, hello()), (1, answer("vk.com")[0]), client=client, server=server, to=8080 if proxied else 443)
    scrubbed, out = wire.scrub(profile)
    assert scrubbed.proof.compared == 1
    assert bytes(map(int, server.split("."))) not in out
    assert server.rsplit(".", 1)[0].encode() not in json.dumps(scrubbed.manifest).encode()


@pytest.mark.parametrize("profile", ["evidence", "public"])
def test_the_address_of_a_nat_does_not_stay_in_an_answer_that_came_before_it_was_known(profile, wire):
    """A name may point home, taken over or the volunteer's own; only an ICMP error tells whose it is."""
    from scapy.layers.dns import DNS, DNSQR, DNSRR
    from scapy.layers.inet import ICMP, IP, TCP, UDP

    home = "95.56.10.20"
    reply = DNS(id=7, qr=1, qd=DNSQR(qname="vk.com"), an=DNSRR(rrname="vk.com", rdata=home, ttl=60))
    wire.add(IP(src="8.8.8.8", dst="192.168.1.77", ttl=57) / UDP(sport=53, dport=40_001) / reply)
    wire.tcp((0, hello()), (1, answer("vk.com")[0]))
    quoted = bytes(IP(src=home, dst="87.240.190.67", ttl=1) / TCP(sport=50_001, dport=443, seq=51_002))[:28]
    wire.add(IP(src="92.47.1.1", dst="192.168.1.77", ttl=60) / ICMP(type=11) / quoted)
    scrubbed, out = wire.scrub(profile)
    assert scrubbed.manifest["kept"]["packets"].get("DNS answers") == 1
    assert bytes(map(int, home.split("."))) not in out


def test_a_public_capture_holds_no_ca_that_nobody_knows(wire):
    """The CA of a product that re-signs connections is made on one machine, and bears its name."""
    authority = Authority.make("Root of IVANOV-PC", SPRING_2026)
    _, leaf = authority.issue(["vk.com"], SPRING_2026)
    ders = [one.public_bytes(Encoding.DER) for one in (leaf, authority.certificate)]
    chain = b"".join(len(der).to_bytes(3, "big") + der for der in ders)
    flight = message(2, server_hello_body()) + message(11, len(chain).to_bytes(3, "big") + chain) + message(14, b"")
    wire.tcp((0, hello()), (1, record(22, flight)))
    scrubbed, out = wire.scrub("public")
    assert scrubbed.proof.compared == 1
    assert b"IVANOV" not in out
    assert not any(der[40:] in out for der in ders)
    _, whole = wire.scrub("evidence")
    assert all(der in whole for der in ders)


def test_a_public_capture_holds_the_ca_that_all_the_world_knows():
    scrubbed = scrub(str(CAPTURES / "kz-2019-rcku" / "capture.pcapng"), SHIPPED, Choices("public"))
    with scrubbed.output:
        out = scrubbed.output.read()
    assert b"Qaznet" in out


def test_many_clients_and_many_routers_cost_no_product():
    from kzpcap.scrub.addresses import Addresses

    began = time.process_time()
    addresses = Addresses()
    for number in range(20_000):
        addresses.client(bytes([95, 56 + (number >> 16), number >> 8 & 255, number & 255]))
    for number in range(20_000):
        addresses.router(bytes([92, 47, number >> 8, number & 255]))
    assert addresses.router(bytes([95, 56, 1, 250])) != bytes([95, 56, 1, 250])
    assert time.process_time() - began < 3


@pytest.mark.parametrize("profile", ["evidence", "public"])
@pytest.mark.parametrize("kind", [1, 18, 21, 22, 23, 28, 49, 17_513, 17_613, 13_172, 65_281])
def test_an_extension_that_has_no_room_for_words_holds_none(kind, profile, wire):
    body = b"ivanov-at-home"
    held = vector(vector(body, 1), 2) if kind in (17_513, 17_613) else body
    wire.tcp((0, record(22, message(1, client_hello_body(b"vk.com", extension(kind, held))))), (1, answer("vk.com")[0]))
    scrubbed, out = wire.scrub(profile)
    assert scrubbed.proof.compared == 1
    assert b"ivanov" not in out
    assert kind.to_bytes(2, "big") + len(held).to_bytes(2, "big") in out, "that it was there is what a program can do"


def test_what_is_of_its_size_stays(wire):
    kept = extension(23, b"") + extension(28, b"\x40\x01") + extension(17_513, vector(vector(b"h2", 1), 2))
    wire.tcp((0, record(22, message(1, client_hello_body(b"vk.com", kept)))), (1, answer("vk.com")[0]))
    _, out = wire.scrub()
    assert kept in out


@pytest.mark.parametrize(
    ("line", "stays"), [(b"HTTP/1.1 403", True), (b"HTTP/ivanov7", False), (b"HTTP/1.1 4037", False)]
)
def test_of_a_plain_answer_only_a_status_stays(line, stays, wire):
    wire.tcp((0, hello()), (1, line + b" Blocked for ivanov7\r\n\r\n"))
    _, out = wire.scrub()
    assert (line in out) == stays
    assert b"ivanov" not in out


def test_a_router_whose_address_holds_its_hardware_address_does_not_stay():
    import ipaddress

    from kzpcap.scrub.addresses import Addresses

    addresses = Addresses()
    addresses.client(ipaddress.ip_address("2a02:6b8:1::9").packed)
    own = ipaddress.ip_address("2a02:6b8:77:1:21b:21ff:fe3c:9d0a").packed
    other = ipaddress.ip_address("2a02:6b8:77:1::1").packed
    assert addresses.router(own) != own
    assert addresses.router(other) == other


def test_that_the_clock_loses_its_anchors_is_told(wire):
    """Four time servers say when it was; no word of theirs stays, and with it goes what a claim may rest on."""
    from scapy.layers.inet import IP, UDP

    wire.tcp((0, hello()), (1, answer("vk.com")[0]))
    for number in range(4):
        stamp = int((wire.now + 2_208_988_800) * (1 << 32)).to_bytes(8, "big")
        said = bytes([0x24, 1, 6, 0xEC]) + bytes(20) + stamp * 3
        wire.add(IP(src=f"185.125.190.{number + 1}", dst="192.168.1.77") / UDP(sport=123, dport=123) / said)
    scrubbed, _ = wire.scrub()
    told = [loss for loss in scrubbed.proof.losses if loss.name == "the capture"]
    assert [loss.what for loss in told] == ["its clock was anchored, and is unanchored"]
    assert told[0] not in scrubbed.proof.unexpected
    assert "its clock was anchored" in json.dumps(scrubbed.manifest)


@pytest.mark.parametrize("order", [(0, 1), (0, 0, 1), (1, 0)], ids=["leaf first", "twice", "last"])
def test_a_forged_leaf_does_not_stay_wherever_it_stands(wire, order):
    chain = qaznet_chain()
    flight = message(2, server_hello_body()) + message(11, certificate_body(*[chain[at] for at in order]))
    wire.tcp((0, hello(b"www.facebook.com")), (1, record(22, flight + message(14, b""))))
    _, out = wire.scrub("public")
    leaf, authority = (sum(der[at : at + 24] in out for at in range(0, len(der) - 24, 24)) for der in chain[:2])
    assert leaf <= 2, "the issuer's names, which the CA has as well"
    assert (authority > 40) == (order[0] == 0)


def test_a_server_beside_the_volunteers_nat_is_replaced(wire):
    """Only an error tells the address of the NAT, long after the server was met."""
    from scapy.layers.inet import ICMP, IP, TCP

    server, nat = "87.240.190.67", "87.240.190.12"
    wire.tcp((0, hello()), (1, answer("vk.com")[0]), server=server)
    quoted = bytes(IP(src=nat, dst=server, ttl=1) / TCP(sport=50_001, dport=443, seq=51_002))[:28]
    wire.add(IP(src="10.0.0.1", dst="192.168.1.77", ttl=60) / ICMP(type=11) / quoted)
    for profile in ("evidence", "public"):
        scrubbed, out = wire.scrub(profile)
        assert scrubbed.made.kept["ICMP errors about kept connections"] == 1
        for address in (server, nat):
            assert ipaddress.ip_address(address).packed not in out


@pytest.mark.parametrize("kind", [0, 1, 5, 10, 11, 13, 16, 17, 23, 27, 34, 43, 45, 50, 17_513, 65_281])
def test_an_extension_with_words_in_it_does_not_stay(wire, kind):
    words = extension(kind, b"CANARY-IVANOV-77015550000")
    answered = record(22, message(2, server_hello_body(extensions=words)) + message(14, b""))
    asked = record(22, message(1, client_hello_body(b"vk.com", extensions=words if kind else b"")))
    wire.tcp((0, asked), (1, answered))
    assert b"CANARY" not in wire.scrub("public")[1]
    wire.packets = []
    wire.tcp((0, asked), (1, record(22, message(2, server_hello_body()) + message(14, b""))))
    assert b"CANARY" not in wire.scrub("evidence")[1]


@pytest.mark.parametrize("shape", ["ports used again", "clients"])
def test_many_connections_are_scrubbed_in_time(wire, shape):
    from scapy.layers.inet import ICMP, IP, TCP

    for number in range(1_200):
        client = f"10.0.{number >> 8}.{number & 255}" if shape == "clients" else "192.168.1.77"
        port = 40_000 + number if shape == "clients" else 50_001
        wire.tcp((0, hello()), port=port, client=client)
        quoted = bytes(IP(src="87.1.2.3", dst="87.240.190.67", ttl=1) / TCP(sport=port, dport=443, seq=1))[:28]
        wire.add(IP(src="8.8.4.4", dst=client, ttl=60) / ICMP(type=11) / quoted)
    wire.write()
    began = time.process_time()
    scrub(str(wire.path), SHIPPED, Choices("public")).output.close()
    assert time.process_time() - began < 8


def test_whom_a_proxy_was_asked_for_stays_only_where_that_name_may(wire):
    ahead = ((0, b"CONNECT private-clinic.example:443 HTTP/1.1\r\n\r\n"), (1, b"HTTP/1.1 200 OK\r\n\r\n"))
    wire.tcp(*ahead, (0, hello()), (1, answer("vk.com")[0]), to=8080)
    _, out = wire.scrub()
    assert b"private-clinic" not in out
    assert b"vk.com" in out


def test_of_quic_neither_token_nor_private_protocol_stays(tmp_path, monkeypatch):
    """Servers write the client's address into their tokens; what anyone can open is masked as over TCP."""
    pytest.importorskip("aioquic")
    quic, made = pytest.importorskip("recipes.quic"), pytest.importorskip("recipes.packets")
    token, app = b"quiche" + socket.inet_aton("95.56.77.88"), "anna-private-app"
    real = quic.encode_quic_retry
    monkeypatch.setattr(quic, "encode_quic_retry", lambda **told: real(**{**told, "retry_token": token}))
    capture = made.Capture(made.SPRING_2026)
    key, leaf = Authority.make("LAB public root", made.SPRING_2026).issue(["vk.com"], made.SPRING_2026, strong=True)
    client = quic.client("vk.com")
    client._configuration.alpn_protocols = ["h3", app]
    quic.answered(quic.Datagrams(capture, 50_001, "87.240.190.67"), client, key, leaf, retry=True)
    capture.write(tmp_path / "quic.pcapng")
    before = (tmp_path / "quic.pcapng").read_bytes()
    assert token in before
    done = run("scrub", tmp_path / "quic.pcapng", "-o", tmp_path / "out.pcapng")
    assert done.returncode == 0, done.stderr
    assert token not in (tmp_path / "out.pcapng").read_bytes()
    hellos = [analyzed(tmp_path / name)["connections"][0] for name in ("quic.pcapng", "out.pcapng")]
    assert [one["server_name"] for one in hellos] == ["vk.com", "vk.com"]
    assert [one["ja4"] for one in hellos] == [hellos[0]["ja4"]] * 2
    assert [app in json.dumps(one) for one in hellos] == [True, False]
    assert len(hellos[1]["alpn_offered"]) == 2


def analyzed(path):
    return json.loads(run("analyze", "--json", path).stdout)


def test_a_carriers_page_that_lies_in_a_certificates_place_does_not_stay(tmp_path):
    """Its pieces and the server's, one after the other: read in turns, the page is in the middle of the handshake."""
    root = Authority.make("LAB public root", SPRING_2026)
    (tmp_path / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    _, leaf = root.issue(["vk.com"], SPRING_2026, strong=True)
    chain = [one.public_bytes(Encoding.DER) for one in (leaf, *[root.certificate] * 5)]
    flight = server_flight(chain, 0x009C, random.Random(4))
    page = b"HTTP/1.1 403 Forbidden\r\n\r\n".ljust(1_400, b".") + b"<p>Subscriber IVANOVA, contract 87011234567</p>"
    for order in ("page page server", "page server page", "server page page", "page2 server page"):
        capture = Capture(SPRING_2026)
        link = Connection(capture, 50_001)
        link.open()
        link.send(0, client_hello("vk.com", random.Random(1)))
        start, pieces = link.seq[1], [(0, page[:1_400]), (1_400, page[1_400:])]
        for what in order.split():
            if what == "server":
                parts, ttl = [(at, flight[at : at + 1_400]) for at in range(0, len(flight), 1_400)], 57
            else:
                parts, ttl = [pieces.pop(-1 if what == "page2" else 0)], 60
            for at, body in parts:
                link.seq[1] = start + at
                link.packet(1, PSH | ACK, body, wait=0.004, ttl=ttl)
        capture.write(tmp_path / "page.pcapng")
        for profile in ("evidence", "public"):
            data = reference.load(None, None, [tmp_path / "root.pem"])
            scrubbed = scrub(str(tmp_path / "page.pcapng"), data, Choices(profile))
            with scrubbed.output:
                out = scrubbed.output.read()
            assert (b"IVANOVA" in out, scrubbed.proof.leaks, scrubbed.proof.wrong) == (False, [], []), order


def test_what_would_show_more_than_it_does_is_left_out_and_the_rest_stays(tmp_path):
    """Two copies of encrypted bytes that differ: with zeros in place of both, nothing is in dispute any more."""
    capture = Capture(SPRING_2026)
    rsa_handshake(Connection(capture, 50_001, OTHER), "www.facebook.com", qaznet_chain(), random.Random(5))
    rsa_handshake(Connection(capture, 50_003), "secret-clinic.kz", qaznet_chain(), random.Random(7))
    link = Connection(capture, 50_002)
    link.open()
    link.send(0, client_hello("vk.com", random.Random(6)))
    root = Authority.make("LAB public root", SPRING_2026)
    (tmp_path / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    leaf = root.issue(["vk.com"], SPRING_2026, strong=True)[1].public_bytes(Encoding.DER)
    link.send(1, server_flight([leaf], 0x009C, random.Random(6)), wait=0.03)
    link.send(0, record(22, message(16, bytes(258))) + record(20, b"\1") + record(22, bytes(40)))
    start = link.seq[1]
    for byte in (b"\1", b"\2"):
        link.seq[1] = start
        link.send(1, record(20, b"\1") + record(22, byte * 40), wait=0.03)
    link.send(0, record(23, bytes(200)))
    link.close()
    capture.write(tmp_path / "two.pcapng")
    data = reference.load(None, None, [tmp_path / "root.pem"])
    before = analyze(str(tmp_path / "two.pcapng"), data)
    states = [one.verdict.state.value for one in before.connections()]
    before.close()
    scrubbed = scrub(str(tmp_path / "two.pcapng"), data, Choices("evidence"))
    scrubbed.output.close()
    assert states == ["intercepted", "intercepted", "undetermined"]
    assert not scrubbed.chosen.servers & {(link.ends[1][0], 443)}, "nor does its server's address, for others"
    assert (scrubbed.chosen.stronger, scrubbed.proof.wrong, scrubbed.made.names) == (1, [], {"www.facebook.com"})
    assert scrubbed.manifest["dropped"]["stronger"] == 1
    assert any("would show more than it does" in line for line in words(scrubbed))


@pytest.mark.parametrize("authority", ["Root of ANNA-LAPTOP", "Company CA"])
def test_whoever_issued_what_stays_is_told_whatever_the_state(authority, tmp_path):
    """A personal CA over every name is the usual case, and its state is undetermined."""
    own = Authority.make(authority, SPRING_2026)
    chain = [one.public_bytes(Encoding.DER) for one in (own.issue(["vk.com"], SPRING_2026)[1], own.certificate)]
    capture = Capture(SPRING_2026)
    rsa_handshake(Connection(capture, 50_001), "vk.com", chain, random.Random(5))
    capture.write(tmp_path / "own.pcapng")
    scrubbed = scrub(str(tmp_path / "own.pcapng"), SHIPPED, Choices("evidence"))
    scrubbed.output.close()
    assert [state.value for state in scrubbed.chosen.states.values()] == ["undetermined"]
    assert doubtful_issuers(scrubbed) == [f"CN={authority}"]


def test_a_genuine_name_stays_beside_a_copy_that_bears_it_and_not_by_a_wildcard(tmp_path):
    root, box = (Authority.make(name, SPRING_2026) for name in ("LAB public root", "LAB box"))
    (tmp_path / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    box_der = box.certificate.public_bytes(Encoding.DER)
    private, key, hours = "anna.mail.ru", rsa.generate_private_key(3, 2_048), datetime.timedelta(hours=6)
    for names, stays in ((["mail.ru", "*.mail.ru"], False), (["mail.ru", private], True)):
        genuine = root.issue(names, SPRING_2026 - datetime.timedelta(minutes=42), strong=True)[1]
        begins, ends = genuine.not_valid_before_utc - hours, genuine.not_valid_after_utc - hours
        builder = x509.CertificateBuilder(box.name, genuine.subject, key.public_key(), genuine.serial_number + 0xADB3)
        builder = builder.not_valid_before(begins).not_valid_after(ends)
        held = genuine.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        forged = builder.add_extension(held, critical=False).sign(box.key, hashes.SHA256())
        capture = Capture(SPRING_2026)
        for number, (name, leaf) in enumerate(((private, genuine), ("mail.ru", forged))):
            link = Connection(capture, 50_001 + number, f"203.0.113.{80 + number}")
            rsa_handshake(link, name, [leaf.public_bytes(Encoding.DER), box_der], random.Random(number))
        capture.write(tmp_path / "twin.pcapng")
        data = reference.load(None, None, [tmp_path / "root.pem"])
        scrubbed = scrub(str(tmp_path / "twin.pcapng"), data, Choices("evidence"))
        scrubbed.output.close()
        assert "intercepted" in [state.value for state in scrubbed.chosen.states.values()]
        assert scrubbed.made.names == ({"mail.ru", private} if stays else {"mail.ru"})
        assert scrubbed.chosen.undecided == ({} if stays else {private: 1})


def test_the_public_manifest_has_no_digest_of_a_forged_leaf(tmp_path):
    path = CAPTURES / "kz-2019-rcku" / "capture.pcapng"
    scrubbed = scrub(str(path), SHIPPED, Choices("public"))
    scrubbed.output.close()
    (told,) = (one["forged_leaf"] for one in scrubbed.manifest["judged"] if one["forged_leaf"])
    assert set(told) == {"issuer", "key", "exponent"}


@pytest.mark.parametrize(
    ("address", "told"), [("95.56.77.88", 1), ("2a01:5f0::77", 1), ("192.168.0.1", 0), ("fd00::7", 0)]
)
def test_an_address_for_which_a_certificate_was_issued_is_told_and_asked(address, told):
    """A subjectAltName holds its octets (RFC 5280 section 4.2.1.6)."""
    raw = ipaddress.ip_address(address).packed
    proof = Proof()
    look_for_leaks(b"der " + raw, b"", (), [raw], b"", proof, frozenset({raw}))
    assert (len(proof.unexpected), proof.leaks) == (told, [])
    look_for_leaks(address.encode(), b"", (), [raw], b"", proof, frozenset({raw}))
    assert proof.leaks == [f"the address {address}"]
