"""Scrubbing, part by part: hellos, messages, options and addresses keep their shape and lose what tells of somebody."""

from __future__ import annotations

import ipaddress
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import analyze, reference
from kzpcap.reference.targets import Match
from kzpcap.scrub import choose
from kzpcap.scrub import mask as masks
from kzpcap.scrub.addresses import Addresses, kind_of
from kzpcap.scrub.apply import DAY_NS, Clock, Turn, tcp_options
from kzpcap.scrub.choose import Choices, Chosen
from kzpcap.scrub.mask import Policy
from kzpcap.tls.fingerprints import ja3, ja4
from kzpcap.tls.messages import client_hello
from kzpcap.verdict.rules import State
from tests.build import client_hello_body, extension, message, record, vector
from tests.conftest import CAPTURES

sys.path.insert(0, str(CAPTURES))

NAME = b"www.example.org"
POLICY = Policy(frozenset({b"vk.com"}), False, "all", b"k" * 32)


def changed(body, changes):
    out = bytearray(body)
    for change in changes:
        out[change.begin : change.end] = change.value if change.value is not None else bytes(change.end - change.begin)
    return bytes(out)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", [b"vk.com", b"www.example.org", b"a.kz", b"WWW.EXAMPLE.ORG", b"x" * 200])
def test_a_hello_keeps_its_length_its_fingerprint_and_only_a_given_name(name, exact):
    extra = extension(51, vector(b"\0\x1d" + vector(b"\x41" * 32, 2), 2)) + extension(35, b"ticket" * 9)
    body = client_hello_body(name, extra, session=b"\x33" * 32)
    policy = Policy(frozenset({b"vk.com"}), exact, "all", b"k" * 32)
    out = changed(body, masks.client_hello(body, policy))
    before, after = client_hello(body, True), client_hello(out, True)
    assert len(out) == len(body)
    assert (ja3(before), ja4(before, "tcp")) == (ja3(after), ja4(after, "tcp"))
    if name == b"vk.com":
        assert after.server_name == name
    else:
        assert after.server_name != name
        assert len(after.server_name) == len(name)
        assert name.lower() not in out.lower()
        assert after.server_name.islower()
    assert (after.random == before.random) is exact
    assert (after.session_ticket == before.session_ticket) is exact


def test_pseudonyms_are_equal_where_names_are_and_differ_by_the_key():
    assert POLICY.name(b"a.example") == POLICY.name(b"a.example") != POLICY.name(b"b.example")
    other = Policy(frozenset(), False, "all", b"j" * 32)
    assert other.name(b"a.example") != POLICY.name(b"a.example")
    assert POLICY.name(b"mail.example.org").endswith(b".invalid")
    assert POLICY.name(b"VK.com") == b"VK.com", "what stays, stays as it was sent"


@given(st.binary(max_size=400), st.booleans(), st.sampled_from([1, 2, 4, 11, 12, 14, 16, 22, 77]))
def test_any_message_is_changed_within_itself(body, from_client, kind):
    for policy in (POLICY, Policy(frozenset(), True, "none", b"k"), Policy(frozenset(), False, "issuers", b"k")):
        for change in masks._changes(kind, body, from_client, policy):
            assert 0 <= change.begin <= change.end <= len(body)
            assert change.value is None or len(change.value) == change.end - change.begin


@given(st.integers(0, 60), st.integers(1, 70))
def test_a_cut_hello_shows_no_part_of_another_name(cut, size):
    body = client_hello_body(NAME, b"", session=b"")
    at = body.index(NAME)
    piece = body[: at + min(cut, len(NAME))]
    out = changed(piece, masks.client_hello(piece, POLICY))
    assert NAME[: min(cut, len(NAME))] not in out or cut < 3
    assert size


def test_a_hello_over_several_records_and_segments_is_masked_all_through():
    from tests.build import streams

    body = message(1, client_hello_body(NAME))
    pieces = b"".join(record(22, body[at : at + 7]) for at in range(0, len(body), 7))
    stream, _ = streams(pieces, b"", size=11)
    made = masks.mask(stream, True, POLICY, 0)
    kept, put = made.within(0, len(pieces))
    out = bytearray(len(pieces))
    for begin, end in kept:
        out[begin:end] = pieces[begin:end]
    for begin, value in put:
        out[begin : begin + len(value)] = value
    whole = b"".join(bytes(out[at + 5 : at + 12]) for at in range(0, len(out), 12))
    after = client_hello(whole[4:], True)
    assert after.server_name == POLICY.name(NAME)


def test_options_of_tcp_lose_what_tells_of_a_client():
    raw = bytes.fromhex("020405b40402080a000003e8000000072206c0ffee001e08a1a2a3a4a5a603030701")
    out = tcp_options(raw, Turn(1, 2, stamp=5, echo=9, ack=0))
    assert out.startswith(bytes.fromhex("020405b40402080a000003ed00000010"))
    assert b"\xc0\xff\xee" not in out
    assert b"\xa1\xa2" not in out
    assert len(out) % 4 == 0


@given(st.binary(max_size=40))
def test_any_options(raw):
    out = tcp_options(raw, Turn(1, 2, 3, 4, 5, 6))
    assert len(out) == len(raw) + (-len(raw) & 3)


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("192.168.1.7", "private"), ("10.9.8.7", "private"), ("172.20.0.1", "private"), ("100.64.3.4", "carrier NAT"),
        ("169.254.9.9", "link-local"), ("127.0.0.1", "loopback"), ("92.46.1.2", None), ("2a00:5da3::1", None),
        ("fe80::1234", "link-local"), ("fd12::1", "private"),
    ],
)  # fmt: skip
def test_addresses_keep_their_kind(address, kind):
    raw = ipaddress.ip_address(address).packed
    new = Addresses().client(raw)
    assert new != raw
    found = kind_of(ipaddress.ip_address(new))
    assert (found[0] if found else None) == kind
    if kind is None:
        documentation = ("192.0.2.0/24", "2001:db8::/32")
        assert any(
            ipaddress.ip_address(new) in ipaddress.ip_network(one)
            for one in documentation
            if ipaddress.ip_network(one).version == ipaddress.ip_address(new).version
        )


def test_routers_near_the_client_are_coarsened_and_others_stay():
    addresses = Addresses()
    addresses.client(ipaddress.ip_address("92.46.1.2").packed)
    for address, stays in (
        ("92.46.1.1", False),
        ("192.168.0.1", False),
        ("100.64.0.1", False),
        ("92.47.151.210", True),
    ):
        raw = ipaddress.ip_address(address).packed
        assert (addresses.router(raw) == raw) is stays, address


def test_an_address_that_stays_stands_for_nothing_else():
    addresses = Addresses(taken={ipaddress.ip_address(f"192.0.2.{n}").packed for n in range(1, 9)})
    assert addresses.client(ipaddress.ip_address("92.46.1.2").packed) == ipaddress.ip_address("192.0.2.9").packed


def test_a_clock_that_was_set_tells_no_time_of_day():
    """Each run begins with its day; within a run nothing moves."""
    clock, second = Clock(), 1_000_000_000
    noon = 18_097 * DAY_NS + 12 * 3_600 * second
    times = {3: 5 * second, 9: noon + 7, 12: noon + 9 * second, 20: noon - 7_200 * second, 30: noon + 5 * DAY_NS + 4}
    for frame, time_ns in times.items():
        clock.keep(frame, time_ns)
    shifted = {frame: time_ns + clock.shift(frame) for frame, time_ns in times.items()}
    assert shifted == {
        3: 0, 9: 18_097 * DAY_NS, 12: 18_097 * DAY_NS + 9 * second - 7, 20: 18_097 * DAY_NS, 30: 18_102 * DAY_NS,
    }  # fmt: skip
    assert Clock().shift(5) == 0


STAPLE = b"\x01" + vector(b"an answer of OCSP", 3)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (STAPLE, True),
        (b"\x02" + STAPLE[1:], False),
        (STAPLE + b"1", False),
        (STAPLE[:-1], False),
    ],
    ids=["a staple", "another kind", "longer", "shorter"],
)
def test_behind_a_gap_a_staple_stays_where_it_can_be_one(body, kept):
    policy = Policy()
    found = masks._changes(masks.CERTIFICATE_STATUS, body, from_client=False, policy=policy, sound=False)
    assert (found == []) is kept


@pytest.mark.parametrize(
    ("other_names", "name", "kept"),
    [((), "rcku.kz", True), (("hidden.example",), "rcku.kz", False), ((), "decoy.example", False)],
    ids=["alone", "with another", "as a second name"],
)
def test_behind_a_listed_decoy_stays_only_the_listed_names_own_certificate(other_names, name, kept):
    report = analyze(str(CAPTURES / "kz-2019-rcku" / "capture.pcapng"), reference.load(), want_digest=False)
    try:
        seen = next(iter(report.connections())).observation
        one = seen._replace(
            server_name=name, other_names=other_names, chain=(), target=Match("rcku.kz", "a-list", True, True)
        )
        role = choose._by_itself(one, State.UNDETERMINED, Choices(), Chosen(), {})
        assert (role is not None and role.why == "target") is kept
        shown = one._replace(chain=seen.chain)
        role = choose._by_itself(shown, State.UNDETERMINED, Choices(), Chosen(), report.surroundings.certificates)
        assert role is not None
        assert role.why == "target", "the certificate names it"
    finally:
        report.close()
