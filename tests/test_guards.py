"""Guards that alone stand before a false answer: each of these fails where its condition is left out."""

from __future__ import annotations

import random
import struct
import sys
from collections import Counter
from types import SimpleNamespace

import dpkt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kzpcap import analyze, reference
from kzpcap.cases.claims import Gathered
from kzpcap.cases.public import _keys
from kzpcap.cases.tomography import near
from kzpcap.certificates.names import carries
from kzpcap.certificates.public_trust import Partial
from kzpcap.observations import Absent, Mark
from kzpcap.scrub.mask import MAX_LISTED, Policy, _is_list, certificate_list
from kzpcap.scrub.mask import client_hello as masked_hello
from kzpcap.scrub.prove import Proof, look_for_leaks
from kzpcap.surroundings.profiles import Profile, differences
from kzpcap.verdict.facts.interception import _was_intercepted
from kzpcap.verdict.facts.marks import _private
from kzpcap.verdict.facts.senders import _another_sender, _same, other_chain_by_interception_key
from kzpcap.verdict.judge import Interceptor
from kzpcap.verdict.place import _same_effect
from kzpcap.verdict.rules import State
from tests.build import client_hello_body, extension
from tests.conftest import CAPTURES
from tests.test_local_network import put
from tests.test_overstated import DAY, judged, judged_file, rules, states
from tests.test_place import SILENT, forged_from, genuine_from, routers, series
from tests.test_place import judged as ladder_of

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain
from recipes.packets import ACK, FIN, PSH, RST, SPRING_2026, SYN, Capture, Connection
from recipes.tls import Authority, client_hello, der, message, record, rsa_handshake, server_flight, vector

RANDOM = random.Random(4)
FOREIGN = 250


def written(tmp_path, capture, time=lambda number, when: when, keep=lambda frame: True, snaplen=65_535):
    """A pcap of nanoseconds with these times, of the frames that are kept."""
    with (tmp_path / "written.pcap").open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65_535, 1))
        for number, (when, frame) in enumerate(capture.packets):
            if keep(frame):
                at, short = time(number, when), frame[: snaplen if len(frame) > 800 else len(frame)]
                file.write(struct.pack("<IIII", int(at), int(at % 1 * 1e9), len(short), len(frame)) + short)
    return "written.pcap"


# who else may have sent it


def asked(name="shop.example"):
    capture = Capture(SPRING_2026)
    connection = Connection(capture, 50_001)
    connection.open()
    connection.packet(0, PSH | ACK, client_hello(name, RANDOM))
    return capture, connection


@pytest.mark.parametrize(
    ("time", "rule"),
    [
        (lambda number, when: when, "reset-by-another-sender"),
        (lambda number, when: 0, "reset-once"),
        (lambda number, when: when - 3_600 * (number == 4), "reset-once"),
        (lambda number, when: when - 0.06 * (number == 4), "reset-by-another-sender"),
    ],
    ids=["soon", "without times", "a clock that was set back", "recorded out of order"],
)
def test_a_reset_without_a_time_is_not_prompt(time, rule, tmp_path):
    capture, connection = asked()
    connection.packet(1, RST | ACK, wait=0.03, ttl=FOREIGN)
    assert rules(judged_file(tmp_path, written(tmp_path, capture, time))) == [rule]


@pytest.mark.parametrize(("cut", "absent"), [(False, Absent.NOT_CAPTURED), (True, Absent.TRUNCATED)])
def test_an_answer_that_came_before_the_reset_makes_it_no_answer(cut, absent, tmp_path):
    """Lost by the capture, as the client's acknowledgment shows, or cut by its snapshot length."""
    capture, connection = asked("vk.com")
    connection.packet(1, PSH | ACK, record(22, b"\2" * 900), wait=0.03)
    if not cut:
        connection.packet(1, PSH | ACK, b"\2" * 300)
        del capture.packets[-2]
        connection.packet(0, ACK)
    connection.packet(1, RST | ACK, wait=0.05, ttl=FOREIGN)
    (found,) = judged_file(tmp_path, written(tmp_path, capture, snaplen=57 if cut else 65_535))
    assert found.observation.absent is absent
    assert found.verdict.state is State.UNDETERMINED


def test_only_the_very_same_syn_ack_was_recorded_twice():
    one = Mark("syn_ack", 2, 0, 57, 0x1234, True, True, 64_240, b"\2\4\5\xb4")
    assert _same(one._replace(ttl=FOREIGN, frame=3), one)
    for name, value in (("ip_id", 9), ("window", 1), ("options", b""), ("dont_fragment", False)):
        assert not _same(one._replace(**{name: value}), one), name


def test_a_published_ca_that_is_shown_signed_nothing():
    def ask(length):
        path = SimpleNamespace(certificates=(1,) * length, anchor=SimpleNamespace(common_name="Qaznet"))
        facts = SimpleNamespace(interception=path)
        observation = SimpleNamespace(other_chain=("a",), time_ns=1, other_chain_frame=7)
        return other_chain_by_interception_key(observation, SimpleNamespace(facts_of=lambda *_: facts)).value

    assert (ask(2), ask(1)) == (True, False)


def test_a_box_that_forged_one_handshake_is_no_known_responder(tmp_path):
    box = Authority.make("Some Box", SPRING_2026)
    _, leaf = box.issue(["vk.com"], SPRING_2026, strong=True)
    capture, connection = asked("vk.com")
    flight = server_flight([der(leaf), der(box.certificate)], 0x9C, RANDOM)
    connection.send(1, flight, wait=0.03, ttl=62)
    connection.close()
    second = Connection(capture, 50_002)
    second.open()
    second.send(0, client_hello("www.facebook.com", RANDOM))
    second.packet(1, RST | ACK, wait=0.01, ttl=62)
    assert states(judged(tmp_path, capture))[1] == "interfered"


# what a resumed session rests on


@pytest.mark.parametrize(
    ("facts", "intercepted"),
    [
        ({"interception": SimpleNamespace(certificates=(1, 2))}, True),
        ({"interception": SimpleNamespace(certificates=(1,))}, False),
        ({"twin": True}, True),
        ({"twin": True, "public": object()}, False),
        ({"twin": True, "supplied": object()}, False),
        ({"product": object()}, True),
        ({"product": object(), "private": True}, False),
        ({"product": object(), "complete": False}, False),
    ],
)
def test_what_a_full_handshake_shows_of_those_that_resume_it(facts, intercepted):
    told = {"sha1_generation": None, "interception": None, "public": None, "supplied": None, "product": None} | facts
    of = SimpleNamespace(leaf=SimpleNamespace(spki_sha256="key"), **told)
    full = SimpleNamespace(
        chain=("leaf",), time_ns=1, possession=None,
        chain_complete=facts.get("complete", True), on_private_network=facts.get("private", False),
    )  # fmt: skip
    surroundings = SimpleNamespace(
        facts_of=lambda *_: of,
        interception_leaves={},
        twin=lambda _: facts.get("twin"),
        likeness=lambda _: facts.get("product"),
    )
    assert _was_intercepted(full, surroundings) is intercepted


# chains


def between(root, ends, can_sign=None):
    """An intermediate CA under a root."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "LAB intermediate")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(root.name).public_key(key.public_key())
    builder = builder.serial_number(77).not_valid_before(SPRING_2026 - 300 * DAY).not_valid_after(ends)
    builder = builder.add_extension(x509.BasicConstraints(True, None), critical=True)
    if can_sign is not None:
        usage = x509.KeyUsage(True, False, False, False, False, can_sign, False, False, False)
        builder = builder.add_extension(usage, critical=True)
    return Authority(name, key, builder.sign(root.key, hashes.SHA256()))


@pytest.mark.parametrize(
    ("days", "can_sign", "rule"),
    [
        (300, None, "trusted-by-supplied-anchor"),
        (300, True, "trusted-by-supplied-anchor"),
        (-5, None, "outside-its-dates"),
        (300, False, "issuer-missing"),
    ],
)
def test_an_intermediate_must_be_within_its_dates_and_may_sign(days, can_sign, rule, tmp_path):
    root = Authority.make("LAB root", SPRING_2026)
    middle = between(root, SPRING_2026 + days * DAY, can_sign)
    _, leaf = middle.issue(["www.example.org"], SPRING_2026)
    capture = Capture(SPRING_2026)
    rsa_handshake(Connection(capture, 50_001), "www.example.org", [der(leaf), der(middle.certificate)], RANDOM)
    assert rules(judged(tmp_path, capture, [root])) == [rule]


def test_a_common_name_beside_other_names_is_none():
    leaf = {"dns_names": (), "common_name": "www.example.org", "ip_addresses": ("192.0.2.1",)}
    assert carries(SimpleNamespace(has_san=False, **leaf), "www.example.org")
    assert not carries(SimpleNamespace(has_san=True, **leaf), "www.example.org")


def test_a_routers_own_page_bears_no_marks():
    leaf = SimpleNamespace(problem=None)
    facts = SimpleNamespace(public=None, supplied=None, leaf=leaf, national=None, self_signed=False)
    surroundings = SimpleNamespace(chain_facts=lambda _: facts)
    assert _private(SimpleNamespace(on_private_network=False), surroundings) is facts
    assert _private(SimpleNamespace(on_private_network=True), surroundings) is None


def test_what_another_server_answers_is_not_what_is_usual():
    mine = Profile(1, 1, 7, 9, True, 3_000, True, False, True)
    same = [Profile(number, 1, 7, 8, True, 5_000, False, False, True) for number in (2, 3)]
    assert differences(mine, same)
    assert not differences(mine, [profile._replace(server=2) for profile in same])


# places


def test_rebuilt_headers_or_two_names_put_nobody_on_the_volunteers_side():
    report = analyze(str(CAPTURES / "lab-squid" / "capture.pcap"), reference.load())
    try:
        assert put(report) == "volunteer_side"
        report.surroundings.rebuilt = "an app made the headers"
        assert put(report) == "unknown"
        report.surroundings.rebuilt = ""
        signing = report.surroundings.signers.of(next(iter(report.spill)).client[0])
        signing.names, signing.listed = set(list(signing.names)[:2]), set()
        assert put(report) == "unknown"
    finally:
        report.close()


def gateway():
    """A box over one router that signs every name at once, as a gateway of the house would."""
    authority = Authority.make("FGT60E", SPRING_2026, organization="Fortinet")
    capture = Capture(SPRING_2026)
    for number, name in enumerate(("www.facebook.com", "vk.com", "shop.example", "mail.example")):
        _, leaf = authority.issue([name], SPRING_2026, strong=True)
        connection = Connection(capture, 40_000 + number, f"203.0.113.{80 + number}")
        connection.ttl = [64, 63]
        connection.packet(0, SYN)
        connection.packet(1, SYN | ACK, wait=0.000_4)
        connection.packet(0, ACK)
        connection.send(0, client_hello(name, RANDOM))
        flight = server_flight([der(leaf), der(authority.certificate)], 0x9C, RANDOM)
        connection.send(1, flight, wait=0.000_4)
        finished = record(22, RANDOM.randbytes(40))
        connection.send(0, record(22, message(16, vector(RANDOM.randbytes(256), 2))) + record(20, b"\1") + finished)
        connection.send(1, record(20, b"\1") + finished, wait=0.000_4)
        connection.packet(0, FIN | ACK)
    return capture


@pytest.mark.parametrize(
    ("how", "where"),
    [
        ({}, "volunteer_side"),
        ({"keep": lambda frame: not dpkt.ethernet.Ethernet(frame).data.data.flags & SYN}, "unknown"),
        ({"time": lambda number, when: int(when)}, "unknown"),
        ({"time": lambda number, when: 0}, "unknown"),
    ],
    ids=["at once", "no SYN in it", "whole seconds", "no times"],
)
def test_what_is_not_in_the_capture_was_not_answered_at_once(how, where, tmp_path):
    found = judged_file(tmp_path, written(tmp_path, gateway(), **how))
    assert {one.verdict.place.where for one in found if one.verdict.state is not State.UNDETERMINED} == {where}


@pytest.mark.parametrize(
    ("failed", "effect", "same"),
    [
        (None, "reset", True),
        (None, "silence", False),
        (None, "plain", False),
        ("silent", "silence", True),
        ("reset", "silence", False),
    ],
)
def test_a_reset_behind_the_servers_hello_is_placed_by_ladders_of_resets_alone(failed, effect, same):
    verdict = SimpleNamespace(state=State.INTERFERED, interceptor=None)
    assert _same_effect(verdict, SimpleNamespace(failed=failed), None, SimpleNamespace(effect=effect)) is same


def test_who_signed_itself_is_told_from_nobody():
    verdict = SimpleNamespace(state=State.INTERCEPTED, interceptor=Interceptor("unknown", ""))
    surroundings = SimpleNamespace(signer_of=lambda _: "key a")
    for signer, same in (("", True), ("key a", True), ("key b", False)):
        ladder = SimpleNamespace(effect="certificate", signers=(("unknown", signer),))
        assert _same_effect(verdict, None, surroundings, ladder) is same


def test_ways_that_share_a_router_and_differ_are_two():
    hops = routers(1, 8)
    hops[2] = ["10.0.0.2", "10.9.9.2"]
    ladder = ladder_of(series("vk.com", forged_from(4), routers(1, 4)), series(None, genuine_from(8), hops))
    assert any("load balancing" in note for note in ladder.notes)
    assert ladder.first_intercepted_hop.address is None


def test_silence_begins_where_the_control_was_heard():
    hops = routers(1, 10)
    del hops[4]
    silent = series("vk.com", dict.fromkeys(range(1, 12), SILENT), routers(1, 4))
    assert ladder_of(silent, series(None, genuine_from(9, 12), hops)).interceptor_ttl is None


# claims and what is published


def test_two_networks_that_are_known_are_two():
    def connection(network):
        ends = {"client": {"address": network, "port": 5}, "server": {"address": "203.0.113.1", "port": 443}}
        return {**ends, "certificates": ["a"], "server_name": "vk.com", "ja3": "x", "time": "2019-07-20T09:00:00Z"}

    gathered = Gathered()
    again = [gathered._again(connection(one)) for one in ("5.1.0.0/16", "95.56.0.0/16", "5.1.0.0/16", "10.0.0.1")]
    assert again == [False, False, True, True]


def test_ten_minutes_and_no_more_are_the_same_time():
    assert near([1_000.0], 1_600.0)
    assert not near([1_000.0], 1_601.0)


@pytest.mark.parametrize(
    ("identities", "told"), [(["known_generation:x"], True), (["known_generation:x", "unknown"], False)]
)
def test_a_subject_is_told_where_every_identity_is_known(identities, told):
    key = {
        "spki_sha256": "k", "vantage_networks": 3, "server_names": ["vk.com"], "certificates": ["c"],
        "identities": identities, "subjects": ["CN=Home of Aigul"], "first": "2019-07-20T01", "last": "2019-07-20T02",
    }  # fmt: skip
    across = {"issuer_keys": [key], "leaf_keys_seen_again": [], "leaf_keys": 1}
    _keys(across, {"vk.com"}, frozenset(), Counter())
    assert (across["issuer_keys"][0]["subjects"] == ["CN=Home of Aigul"]) is told


# the scrubber


def test_what_is_no_list_of_a_hello_does_not_stay():
    private = b"subscriber-7701"
    behind = client_hello_body(b"vk.com") + private
    grease = client_hello_body(b"vk.com", extension(0x3A3A, private))
    for body in (behind, grease):
        at = body.index(private)
        gone = masked_hello(body, Policy(frozenset({b"vk.com"}), False, "all", b"k" * 32))
        assert any(one.begin <= at and at + len(private) <= one.end for one in gone)
    assert [(one.begin, one.end) for one in certificate_list(b"\0\1\0" + b"\0\0\xff" + b"\x30" * 40, Policy())] == [
        (6, 46)
    ]


def test_a_list_longer_than_any_is_none():
    def body(count):
        return struct.pack(">H", 2 * count) + b"\0\x1d" * count

    assert _is_list(10, body(MAX_LISTED))
    assert not _is_list(10, body(MAX_LISTED + 1))


# more of the same, by the function alone


def test_headers_that_were_rebuilt_show_no_second_sender():
    syn_ack, reset = (Mark("x", frame, 1, ttl, 0, True) for frame, ttl in ((2, 57), (5, 250)))
    observation = SimpleNamespace(syn_ack=syn_ack)
    found = _another_sender(observation, SimpleNamespace(rebuilt="an app made the headers"), reset, "reset")
    assert (found.value, found.says) == (None, "an app made the headers")


@pytest.mark.parametrize(("seconds", "rule"), [(0.03, "handshake-reset-by-another-sender"), (60, None)])
def test_a_reset_long_behind_the_servers_hello_is_a_balancers(seconds, rule, tmp_path):
    capture, connection = asked("rcku.kz")
    connection.send(1, server_flight(genuine_chain(), 0x009C, RANDOM), 0.03)
    connection.packet(1, RST | ACK, b"", seconds, ttl=FOREIGN)
    (found,) = judged(tmp_path, capture)
    assert (found.verdict.rule.id == "handshake-reset-by-another-sender") is (rule is not None)


def test_a_private_ca_that_signs_a_name_on_no_list_signs_not_for_targets_only(tmp_path):
    company, public = (Authority.make(name, SPRING_2026) for name in ("Company CA", "LAB public root"))
    for extra, expected in ((), True), (("shop.example",), False):
        capture = Capture(SPRING_2026)
        names = ("vk.com", "www.facebook.com", "www.youtube.com", *extra)
        served = [(name, company) for name in names] + [(f"{word}.example", public) for word in ("a", "b", "c")]
        for number, (name, authority) in enumerate(served):
            _, leaf = authority.issue([name], SPRING_2026, strong=True)
            chain = [der(leaf), der(authority.certificate)]
            rsa_handshake(Connection(capture, 50_001 + number, f"203.0.113.{80 + number}"), name, chain, RANDOM)
        found = judged(tmp_path, capture, [public])
        assert ("private-issuer-for-targets-only" in rules(found)) is expected


def test_a_disputed_root_stays_trusted_below_an_excepted_issuer():
    one = Partial("x", frozenset({"root"}), 0, None, None, frozenset({"Good CA"}), "disputed", "a test")
    root, leaf = SimpleNamespace(sha256="root", common_name="Root"), SimpleNamespace(not_before=1, common_name="leaf")
    for name, applies in (("Good CA", False), ("Other CA", True)):
        middle = SimpleNamespace(common_name=name)
        assert one.applies((leaf, middle, root), 1) is applies


def test_what_the_manifest_says_is_searched_for_names():
    proof = Proof()
    look_for_leaks(b"", b'{"names": ["private-clinic.example"]}', {"private-clinic.example"}, [], b"", proof)
    assert proof.leaks == ["the name private-clinic.example"]
