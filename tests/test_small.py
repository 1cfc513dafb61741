"""Small rooms: three-valued logic, targets, text, ICMP quotes, hop counts, reference data, rules as data."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import reference
from kzpcap.capture.codes import ICMP, ICMPV6
from kzpcap.capture.packet import Packet
from kzpcap.errors import ReferenceDataError
from kzpcap.paths import hops, icmp
from kzpcap.paths.ladders import Sent, changed
from kzpcap.reference import targets
from kzpcap.report.text import decode, rfc3339, safe
from kzpcap.verdict.logic import Finding, all_of, any_of, none_of, not_shown
from kzpcap.verdict.rules import RULES, State
from tests.conftest import CAPTURES

KLEENE = st.lists(st.sampled_from([True, False, None]), min_size=1, max_size=5)


def asked(operator, values):
    facts = [lambda o, s, v=value: Finding(v, str(v)) for value in values]
    return operator(*facts)(None, SimpleNamespace(answers_for=object(), answers={}, settled={})).value


@given(KLEENE)
def test_kleene(values):
    assert asked(all_of, values) is (False if False in values else None if None in values else True)
    assert asked(any_of, values) is (True if True in values else None if None in values else False)
    opposite = asked(any_of, values)
    assert asked(none_of, values) is (None if opposite is None else not opposite)
    assert asked(not_shown, values) is (True not in values)


@given(KLEENE)
def test_knowing_more_never_turns_an_answer_round(values):
    for operator in (all_of, any_of, none_of):
        before = asked(operator, values)
        for known in (True, False):
            after = asked(operator, [known if value is None else value for value in values])
            assert before is None or before is after


def test_rule_ids_are_unique_and_well_formed():
    ids = [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in ids)


def test_every_sentence_is_one_and_names_no_state():
    for rule in RULES:
        assert rule.says.endswith(".")
        assert not re.search(r"Kazakh|government|Russia|China", rule.says + rule.because)
        assert len(rule.because) <= 34


def test_every_example_is_a_capture():
    for rule in RULES:
        assert not rule.example or (CAPTURES / rule.example / "truth.json").exists(), rule.id


def test_stronger_states_stand_first():
    first_genuine = next(i for i, rule in enumerate(RULES) if rule.state is State.GENUINE)
    accusing = [
        i for i, rule in enumerate(RULES) if rule.state in (State.INTERCEPTED, State.SUSPECTED, State.INTERFERED)
    ]
    assert max(accusing) < first_genuine


# targets

LISTS = reference.load().target_lists
JULY = targets.day("2019-07-20")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("www.facebook.com", ("www.facebook.com", "kz-2019", True, True)),
        ("m.vk.com", ("vk.com", "kz-2019", False, True)),
        ("static.xx.fbcdn.net", None),
        ("notvk.com", None),
        ("rutracker.org", ("rutracker.org", "kz-2024", True, False)),
        ("m.reactor.cc", ("m.reactor.cc", "kz-2024-reports", True, False)),
    ],
)
def test_matching(name, expected):
    found = targets.Targets(LISTS).match(name, JULY)
    assert (found and (found.name, found.list_id, found.exact, found.in_force)) == expected


@given(
    st.lists(st.sampled_from(["a", "b.a", "c.b.a", "d.c.b.a", "bb.a", "x"]), min_size=1, max_size=9), st.integers(0, 2)
)
def test_every_name_is_matched_as_if_each_list_were_searched(names, now):
    """Against the definition, word for word: exact before subdomain, in force before not, the first list else."""
    lists = tuple(
        targets.TargetList(
            f"list {n}", "", "", frozenset(names[n::3]), *[(0, 1), (9 * targets.DAY_NS,) * 2, (None, None)][n]
        )
        for n in range(3)
    )
    index = targets.Targets(lists)
    for name in ("a", "b.a", "c.b.a", "e.d.c.b.a", "aa", "ab.a", "z.x", "x", "", ".", "..a", "x."):
        wanted = []
        for entry in lists:
            ends = [name] if name in entry.names else [one for one in entry.names if name.endswith("." + one)]
            if ends:
                best = max(ends, key=len)
                wanted.append(targets.Match(best, entry.id, best == name, entry.in_force(now)))
        wanted.sort(key=lambda match: (not match.exact, not match.in_force))
        assert index.match(name, now) == (wanted[0] if wanted else None)


def test_a_name_of_many_labels_costs_no_more_than_its_end():
    name = "a." * 30_000 + "vk.com"
    index = targets.Targets(LISTS)
    began = time.process_time()
    for _ in range(100):
        found = index.match(name, JULY)
    assert found == targets.Match("vk.com", "kz-2019", False, True)
    assert time.process_time() - began < 1


def test_the_list_of_2019_has_37_names():
    shipped = {entry.id: len(entry.names) for entry in LISTS}
    assert shipped.items() >= {"kz-2019": 37, "kz-2024": 14, "kz-2024-reports": 1}.items()


def test_in_force_ends_with_its_last_day():
    (listed,) = [entry for entry in LISTS if entry.id == "kz-2019"]
    assert listed.in_force(targets.day("2019-08-07") + targets.DAY_NS - 1) is True
    assert listed.in_force(targets.day("2019-08-08")) is False


@pytest.mark.parametrize(
    "text",
    ["", "# only a comment\n", "two words\n", "bad\x07name\n", "*.facebook.com\n", "# in force: yesterday\nvk.com\n"],
)
def test_a_bad_list_is_named(text, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ReferenceDataError, match=r"list\.txt"):
        targets.read_target_list(path)


# reference


def test_missing_reference_data_is_named(tmp_path):
    with pytest.raises(ReferenceDataError, match="no such folder"):
        reference.load(tmp_path / "none")
    with pytest.raises(ReferenceDataError, match="no such target list"):
        reference.load(targets=["nothing"])
    (tmp_path / "x.pem").write_text("no certificate")
    with pytest.raises(ReferenceDataError, match=r"x\.pem"):
        reference.load(trusted_roots=[tmp_path / "x.pem"])


def test_every_data_file_says_where_it_is_from():
    for path in (reference.DATA / "targets").glob("*.txt"):
        assert "# source:" in path.read_text()
    for generation in reference.load().generations.values():
        assert generation.source


# text


@given(st.binary(max_size=60))
def test_nothing_from_a_capture_reaches_the_terminal_unseen(raw):
    shown = safe(decode(raw))
    assert shown.isprintable() or not shown
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


def test_text():
    assert decode(b"caf\xc3\xa9 \xff") == "café \\xff"
    assert safe("\x1b[31mred\u202e") == "\\x1b[31mred\\u202e"
    assert rfc3339(1_563_613_200_000_000_000) == "2019-07-20T09:00:00Z"
    assert rfc3339(1_563_613_200_000_001_000).endswith("00.000001Z")
    assert rfc3339(1_563_613_200_000_000_001).endswith("00.000000001Z")


# paths


def test_hop_candidates():
    assert hops.candidates(57) == ((64, 7),)
    assert hops.candidates(30) == ((32, 2), (64, 34))
    assert hops.candidates(248) == ((255, 7),)
    assert hops.differ(57, 61)
    assert hops.differ(57, 125) is True
    assert hops.differ(57, 248) is None, "seven hops from 64 and from 255"
    assert not hops.differ(57, 58)


def quoted(protocol, kind, body, version=4):
    packet = Packet()
    packet.frame, packet.protocol, packet.ttl = 3, protocol, 250
    packet.src, packet.dst = (
        (b"\x0a\0\0\1", b"\x0a\0\0\2") if version == 4 else (b"\xfd" + b"\0" * 15, b"\xfd" + b"\0" * 14 + b"\1")
    )
    packet.payload = bytes([kind, 0]) + b"\0" * 6 + body
    return icmp.read(packet)


def test_an_rfc_792_quote():
    header = bytes.fromhex("4500003c30390000010600000a0000020a000009") + bytes.fromhex("9c4001bb00000007")
    found = quoted(ICMP, 11, header)
    assert found.time_exceeded
    assert (found.q_src, found.q_dst, found.q_ttl, found.q_id) == ("10.0.0.2", "10.0.0.9", 1, 0x3039)
    assert (found.q_sport, found.q_dport, found.q_seq) == (40_000, 443, 7)


def test_a_quote_without_ports_has_none():
    header = bytes.fromhex("4500001c000000000101000000000000") + b"\x0a\0\0\x09"
    found = quoted(ICMP, 11, header + b"\x08\0\0\0")
    assert (found.q_sport, found.q_dport) == (None, None)


QUOTE = bytes.fromhex("4500003c30390000010600000a0000020a000009") + bytes.fromhex("9c4001bb00000007")
STACK = bytes.fromhex("2000") + b"CK" + bytes.fromhex("000c0101 05dc1001 05dc2101".replace(" ", ""))


def with_checksum(structure):
    total = icmp._sum(structure.replace(b"CK", b"\0\0"))
    return structure.replace(b"CK", (0xFFFF - total).to_bytes(2, "big"))


@pytest.mark.parametrize("stated", [32, 0])
def test_mpls_labels_behind_a_quote(stated):
    """RFC 4884 with its length, and as older routers sent extensions: at a fixed place, with a checksum that fits."""
    packet = Packet()
    packet.frame, packet.protocol, packet.ttl, packet.src, packet.dst = 3, ICMP, 250, b"\x0a\0\0\1", b"\x0a\0\0\2"
    packet.payload = bytes([11, 0, 0, 0, 0, stated, 0, 0]) + QUOTE.ljust(128, b"\0") + with_checksum(STACK)
    found = icmp.read(packet)
    assert [(entry.label, entry.bottom, entry.ttl) for entry in found.labels] == [(24_001, False, 1), (24_002, True, 1)]
    assert (found.q_dport, found.q_df) == (443, False)
    packet.payload = packet.payload[:-1] + b"\x09"
    assert bool(icmp.read(packet).labels) is bool(stated), "without a stated length a wrong checksum is no extension"


def test_what_a_quote_shows_was_changed():
    error = quoted(ICMP, 11, QUOTE)
    sent = Sent(1, 3, 1, 0, 0x3039, "10.0.0.2", 40_000, "10.0.0.9", 443, None, 7, 0, False)
    assert changed(sent, error) == ()
    other = replace(sent, tos=0x28, seq=8, ip_id=1, dont_fragment=True)
    assert changed(other, error._replace(q_ttl=4)) == (
        "TOS 0x28 became 0x00",
        "DF was cleared",
        "IP ID 1 became 12345",
        "another TCP sequence number",
        "TTL 4 was left",
    )


def test_an_ipv6_quote():
    header = (
        bytes.fromhex("6000000000140601")
        + b"\xfd"
        + b"\0" * 15
        + b"\xfd"
        + b"\0" * 15
        + bytes.fromhex("9c4001bb00000007")
    )
    found = quoted(ICMPV6, 3, header, 6)
    assert found.time_exceeded
    assert found.q_dport == 443


@given(st.binary(max_size=80), st.sampled_from([ICMP, ICMPV6]), st.integers(0, 255))
def test_any_bytes_are_an_error_or_none(body, protocol, kind):
    quoted(protocol, kind, body, 4 if protocol == ICMP else 6)
