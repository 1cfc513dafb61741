"""What is not there, addresses, times, QUIC and other connections: each condition by what differs without it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kzpcap.observations import Absent, Mark
from kzpcap.reference.targets import Match
from kzpcap.tls.quic import Turns
from kzpcap.verdict.facts import across, addresses, missing, quic, timing
from tests.test_conditions import first_of

SEEN = SimpleNamespace


def mark(frame, what="data"):
    return Mark(what, frame, 0, 57, 0, True)


def around(**more):
    """Surroundings of which nothing was asked yet."""
    return SEEN(answers_for=None, answers={}, settled={}, **more)


def kept():
    return first_of("kz-2019-rcku").observation


# what is missing


@pytest.mark.parametrize(
    ("change", "frame"),
    [
        ({}, 7),
        ({"chain_seen": None}, 6),
        ({"chain_seen": None, "server_hello": None}, 5),
        ({"chain_seen": None, "server_hello": None, "server_marks": (mark(3, "syn_ack"),)}, 4),
        ({"chain_seen": None, "server_hello": None, "absent": Absent.ONE_SIDED}, 4),
        ({"chain_seen": None, "server_hello": None, "server_marks": (), "client_hello": None}, 1),
    ],
    ids=["a part of it", "the answer", "what else came", "a SYN-ACK is no answer", "one side", "nothing"],
)
def test_the_frame_that_shows_why_there_is_no_certificate(change, frame):
    told = {
        "chain_seen": SEEN(frame=7), "server_hello": SEEN(frame=6), "client_hello": SEEN(frame=4), "first_frame": 1,
        "server_marks": (mark(3, "syn_ack"), mark(5)), "absent": Absent.TRUNCATED, "chain_problem": None,
    }  # fmt: skip
    observation = SEEN(**(told | change))
    found = missing.absent(observation.absent)(observation, SEEN())
    assert (found.says, found.frames) == (missing.ABSENT_SAYS[observation.absent], (frame,))
    assert missing.absent(Absent.LIMIT)(observation, SEEN()).value is False


def test_a_problem_of_the_certificate_is_told_in_its_own_words():
    observation = SEEN(absent=Absent.MALFORMED, chain_problem="a raw key", chain_seen=SEEN(frame=7), server_hello=None)
    assert missing.absent(Absent.MALFORMED)(observation, SEEN()).says == "a raw key"


@pytest.mark.parametrize(
    "change",
    [
        {}, {"probe_ttl": None}, {"server_hello": 1}, {"version": 0x0304}, {"reset_taken": True},
        {"alerts": (SEEN(from_client=False),)},
        {"plain_frame": 5}, {"server_closed": mark(5)}, {"server_bytes": 1}, {"absent": Absent.NOT_CAPTURED},
    ],
    ids=["by nothing", "no probe", "a hello", "a version", "a reset", "an alert", "a page", "an end", "bytes",
         "a part"],
)  # fmt: skip
def test_a_probe_was_answered_by_anything_that_came(change):
    """A HelloRetryRequest has a version, and of an answer a part may be all there is."""
    told = {
        "probe_ttl": 5, "server_hello": None, "version": None, "reset_taken": False, "alerts": (), "plain_frame": None,
        "server_closed": None, "server_bytes": 0, "absent": Absent.NOT_REACHED, "probes": (SEEN(frame=4),),
    }  # fmt: skip
    found = missing.probe_unanswered(SEEN(**(told | change)), SEEN())
    assert (found.value, found.frames) == ((False, ()) if change else (True, (4,)))


@pytest.mark.parametrize(
    ("failed", "resets", "closed", "frame"),
    [
        ("reset", (mark(6, "reset"), mark(7, "reset")), None, 6),
        ("reset", (mark(6, "reset"),), mark(8, "fin"), 6),
        ("closed", (), mark(5, "fin"), 5),
        ("silent", (), None, 1),
    ],
)
def test_the_frame_in_which_a_connection_ended(failed, resets, closed, frame):
    observation = SEEN(failed=failed, resets=resets, server_closed=closed, first_frame=1)
    found = missing.failed_with(failed)(observation, SEEN())
    assert (found.value, found.frames) == (True, (frame,))
    assert missing.failed_with("alert")(observation, SEEN()).value is False


@pytest.mark.parametrize(("at", "time_ns", "value"), [(None, 0, True), (None, 5, False), (7, 0, False)])
def test_packets_without_a_time_are_judged_by_a_time_that_is_given(at, time_ns, value):
    assert missing.no_clock(kept()._replace(time_ns=time_ns), SEEN(at=at)).value is value
    assert missing.no_clock(kept()._replace(time_ns=0, chain=()), SEEN(at=None)).value is False


@pytest.mark.parametrize(("at", "contradicted", "value"), [(None, True, True), (None, False, False), (7, True, False)])
def test_a_clock_that_is_contradicted_does_not_matter_where_a_time_is_given(at, contradicted, value):
    clock = SEEN(contradicted=contradicted, reasons=(SEEN(says="a staple of tomorrow", frames=(9,)),))
    found = missing.clock_contradicted(kept(), SEEN(at=at, clock=clock))
    assert found.value is value
    assert [child.frames for child in found.children] == ([(9,)] if value else [])
    assert missing.clock_contradicted(kept()._replace(chain=()), SEEN(at=None, clock=clock)).value is not True


@pytest.mark.parametrize(
    ("tls", "absent", "value"),
    [(False, Absent.TRUNCATED, True), (True, Absent.TRUNCATED, False), (False, Absent.NOT_REACHED, False)],
)
def test_a_first_segment_that_was_cut_may_have_been_tls(tls, absent, value):
    assert missing.payload_cut(kept()._replace(tls=tls, absent=absent), SEEN()).value is value
    assert missing.no_tls(kept()._replace(tls=tls), SEEN()).value is not tls


@pytest.mark.parametrize(
    ("status", "absent", "uncaptured"),
    [("absent", True, False), ("cut", False, True), ("no_hello", False, True), ("seen", False, False)],
)
def test_a_name_was_not_asked_or_not_captured(status, absent, uncaptured):
    seen = kept()._replace(name_status=status)
    found = missing.no_name_sent(seen, SEEN())
    assert (found.value, found.frames) == (absent, (seen.client_hello.frame,) if absent else ())
    assert missing.no_name_sent(seen._replace(client_hello=None), SEEN()).frames == ()
    assert missing.name_not_captured(seen, SEEN()).value is uncaptured


def test_a_name_in_the_encrypted_hello_was_not_captured():
    seen = kept()._replace(ech_inner_unknown=True)
    for fact in (missing.name_not_captured, missing.inner_name_encrypted):
        found = fact(seen, SEEN())
        assert (found.value, found.frames) == (True, (seen.client_hello.frame,))
        assert "is the public name of ECH" in found.says
        assert fact(seen._replace(client_hello=None), SEEN()).value is False
        assert fact(kept(), SEEN()).value is False


@pytest.mark.parametrize(
    ("status", "exact", "readable", "value"),
    [
        ("no_hello", True, True, True),
        ("cut", True, True, True),
        ("seen", True, True, False),
        ("no_hello", False, True, False),
        ("no_hello", True, False, False),
    ],
)
def test_a_certificate_speaks_for_a_listed_name_where_no_name_was_captured(status, exact, readable, value):
    facts = SEEN(leaf=SEEN(dns_names=("other.example", "VK.com"))) if readable else None
    asked = []

    def match(name, moment):
        asked.append(moment)
        return Match("vk.com", "a-list", exact=exact, in_force=True) if name == "vk.com" else None

    surroundings = SEEN(chain_facts=lambda _: facts, moment=lambda ns: ns + 1, targets=SEEN(match=match))
    seen = kept()._replace(name_status=status)
    found = missing.certificate_for_listed_name(seen, surroundings)
    assert found.value is value
    assert set(asked) <= {seen.time_ns + 1}


@pytest.mark.parametrize(
    ("version", "offered", "value"),
    [(0x0303, True, True), (0x0303, False, False), (0x0304, True, False), (None, True, False)],
)
def test_an_older_version_was_chosen_although_the_newest_was_offered(version, offered, value):
    seen = kept()._replace(version=version, offers_tls13=offered)
    found = missing.tls13_not_kept(seen, SEEN())
    frames = (seen.client_hello.frame, seen.server_hello.frame)
    assert (found.value, found.frames) == (value, frames if value else ())
    if value:
        assert missing.tls13_not_kept(seen._replace(client_hello=None), SEEN()).frames == frames[1:]


# addresses

SERVER, NAME = "203.0.113.80", "vk.com"


@pytest.mark.parametrize(
    ("answers", "change", "given", "other"),
    [
        ({SERVER: 9}, {}, True, False),
        ({SERVER: 10}, {}, True, False),
        ({SERVER: 11}, {}, None, None),
        ({"198.51.100.1": 9}, {}, False, True),
        ({"198.51.100.1": 11}, {}, None, None),
        ({"2001:db8::1": 9}, {}, None, None),
        ({"198.51.100.1": 9}, {"names_left_out": 1}, None, None),
        ({SERVER: 9}, {"names_left_out": 1}, True, False),
        ({"198.51.100.1": 9}, {"proxied": True}, None, None),
        ({SERVER: 9}, {"tunnels": 1}, None, None),
        (None, {}, None, None),
    ],
    ids=[
        "given", "at its time", "afterwards", "others", "others afterwards", "of the other version", "some left out",
        "given, some left out", "a proxy", "a tunnel", "not asked",
    ],
)  # fmt: skip
def test_dns_gave_this_address_or_others_before_the_connection(answers, change, given, other):
    names = {} if answers is None else {NAME: answers}
    seen = kept()._replace(
        server=(SERVER, 443), server_name=NAME, time_ns=10,
        proxied=change.get("proxied", False), tunnels=change.get("tunnels", 0),
    )  # fmt: skip
    told = around(addresses_of_names=names, names_left_out=change.get("names_left_out", 0))
    assert addresses.address_given_by_dns(seen, told).value is given
    found = addresses.address_not_given_by_dns(seen, told)
    assert found.value is other
    assert not other or f"gave 198.51.100.1 for {NAME}, not {SERVER}" in found.says


@pytest.mark.parametrize(
    ("change", "owned", "foreign"),
    [
        ({}, True, False),
        ({"asn": 2}, False, True),
        ({"asn": None}, None, None),
        ({"asn": 2, "service": None}, None, None),
        ({"asn": 2, "networks": False}, None, None),
        ({"asn": 2, "proxied": True}, None, None),
        ({"asn": 2, "tunnels": 1}, None, None),
        ({"asn": 2, "name": None}, None, None),
    ],
    ids=["theirs", "another's", "of nobody", "unknown owner", "no table", "a proxy", "a tunnel", "no name"],
)
def test_the_address_is_in_a_network_of_the_names_owner_or_in_none(change, owned, foreign):
    asn = change.get("asn", 1)
    service = change.get("service", SEEN(asns={1}, owner="VK"))
    found = None if asn is None else SEEN(asn=asn, text=f"AS{asn}", source="a table")
    networks = SEEN(service_of=lambda name: service if name else None, of=lambda _: found)
    seen = kept()._replace(
        server=(SERVER, 443), server_name=change.get("name", NAME),
        proxied=change.get("proxied", False), tunnels=change.get("tunnels", 0),
    )  # fmt: skip
    told = around(networks=networks if change.get("networks", True) else None)
    assert addresses.address_of_the_names_owner(seen, told).value is owned
    assert addresses.address_of_another_owner(seen, told).value is foreign


# time

MS = 1_000_000


@pytest.mark.parametrize(
    ("took", "shortest", "value"),
    [
        (14 * MS, 31 * MS, True),
        (15 * MS, 30 * MS, False),
        (15 * MS - 1, 30 * MS, True),
        (2 * MS, 5 * MS, True),
        (2 * MS, 5 * MS - 1, None),
        (2 * MS, None, None),
    ],
    ids=["sooner", "half", "less than half", "far", "near", "no SYN-ACK"],
)
def test_an_answer_in_less_than_half_the_shortest_time_is_told(took, shortest, value):
    seen = kept()._replace(syn=None)
    seen = seen._replace(server_hello=seen.server_hello._replace(time_ns=seen.client_hello.time_ns + took))
    found = timing.answered_sooner_than_the_syn(seen, SEEN(briefs=SEEN(shortest_syn=lambda _: shortest)))
    assert found.value is value
    if value:
        assert f"after {took / 1e6:.1f} ms, no SYN-ACK of this address in under {shortest / 1e6:.1f} ms" in found.says
        assert found.frames == (seen.client_hello.frame, seen.server_hello.frame)
    earlier = seen.server_hello._replace(time_ns=seen.client_hello.time_ns - 1)
    for other in ({"client_hello": None}, {"server_hello": None}, {"proxied": True}, {"server_hello": earlier}):
        found = timing.answered_sooner_than_the_syn(
            seen._replace(**other), SEEN(briefs=SEEN(shortest_syn=lambda _: 31 * MS))
        )
        assert found.value is False


@pytest.mark.parametrize(("took", "reach"), [(2 * MS, "300"), (2 * MS + 1, "301"), (10 * MS, "1,500")])
def test_light_goes_no_farther(took, reach):
    """There and back over 150 km a millisecond: an upper bound, so it is rounded up."""
    seen = kept()._replace(syn=None)
    seen = seen._replace(server_hello=seen.server_hello._replace(time_ns=seen.client_hello.time_ns + took))
    found = timing.answered_sooner_than_the_syn(seen, SEEN(briefs=SEEN(shortest_syn=lambda _: 31 * MS)))
    assert f"within {reach} km" in found.says


# QUIC


@pytest.mark.parametrize(
    ("negotiation", "retry", "value", "frames"),
    [(5, None, True, (5,)), (None, 6, True, (6,)), (5, 6, True, (5,)), (None, None, False, ())],
)
def test_quic_was_turned_back_by_a_retry_or_a_negotiation(negotiation, retry, value, frames):
    turns = SEEN(negotiation_frame=negotiation, retry_frame=retry, offered=tuple(range(1, 9)))
    found = quic.quic_turned_back(kept()._replace(quic=turns), SEEN())
    assert (found.value, found.frames) == (value, frames)
    assert ("0x00000006)" in found.says) is bool(negotiation)
    assert {"negotiation_frame", "retry_frame", "offered"} <= set(Turns._fields)
    assert quic.quic_turned_back(kept()._replace(quic=None), SEEN()).value is False


@pytest.mark.parametrize(
    ("answered", "says"),
    [
        ([True], "tried once in the ten minutes before, and answered"),
        ([False], "tried once in the ten minutes before, and not answered"),
        ([False, False], "tried 2 times in the ten minutes before, and not answered"),
        ([True, False, False], "tried 3 times in the ten minutes before, and 2 times not answered"),
        ([True] * 8, "tried 8 times in the ten minutes before, and answered"),
    ],
)
def test_quic_that_was_tried_before_is_told_with_its_answers(answered, says):
    before = [SEEN(answered=one, frame=number) for number, one in enumerate(answered, 1)]
    told = SEEN(attempts=SEEN(quic_before=lambda _: before))
    found = quic.quic_tried_before(kept(), told)
    assert found.says.endswith(says)
    assert found.frames == tuple(range(1, len(answered) + 1))[-6:]
    for other in ({"transport": "quic"}, {"server_name": None}):
        assert quic.quic_tried_before(kept()._replace(**other), told).value is False


# across connections


@pytest.mark.parametrize(("names", "says"), [("abc", "3 names (a, b, c)"), ("abcd", "4 names (a, b, c, and 1 more)")])
def test_one_key_for_several_names_is_told_with_some_of_them(names, says):
    seen = kept()
    leaf = SEEN(spki_sha256="k")
    use = SEEN(shared_key=True, names=set(names), leaves={1, 2}, frames=list(range(9)))
    told = SEEN(certificates={seen.chain[0]: leaf}, keys={"k": use})
    found = across.one_key_for_several_names(seen, told)
    assert (found.value, found.frames) == (True, tuple(range(6)))
    assert found.says == f"one key in 2 certificates for {says}"
    assert across.one_key_for_several_names(seen._replace(chain=()), told).value is None
    use.shared_key = False
    assert across.one_key_for_several_names(seen, told).value is False
    assert across.one_key_for_several_names(seen, SEEN(certificates=told.certificates, keys={})).value is False


@pytest.mark.parametrize(("verified", "what"), [(True, "one private issuer, "), (False, "issuers of one name")])
def test_an_issuer_that_was_not_verified_is_one_by_name_alone(verified, what):
    use = SEEN(shared_issuer=True, verified=verified, title="t", names={"a", "b"}, servers={1, 2, 3}, frames=[1])
    found = across.one_issuer_for_several_servers(kept(), SEEN(issuer_of=lambda _: use))
    assert (found.value, found.says.startswith(what)) == (True, True)
    assert found.says.endswith("for 2 names at 3 servers")
    use.shared_issuer = False
    assert across.one_issuer_for_several_servers(kept(), SEEN(issuer_of=lambda _: use)).value is False
    assert across.one_issuer_for_several_servers(kept(), SEEN(issuer_of=lambda _: None)).value is False


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ({}, True),
        ({"use": None}, False),
        ({"private": True}, False),
        ({"exact": False}, False),
        ({"others": {"x"}}, False),
        ({"target_names": {"a"}}, False),
        ({"trusted": [4]}, None),
        ({"trusted": [4, 5]}, True),
    ],
    ids=["targets only", "no issuer", "private network", "below a listed name", "others too", "one", "one control",
         "two controls"],
)  # fmt: skip
def test_an_issuer_for_targets_only_signs_for_two_and_nothing_else(change, value):
    server = ("192.168.1.20" if change.get("private") else SERVER, 443)
    target = Match("rcku.kz", "a-list", exact=change.get("exact", True), in_force=True)
    seen = kept()._replace(target=target, server=server, chain_complete=True)
    use = SEEN(
        verified=True, others=change.get("others", set()), target_names=change.get("target_names", {"a", "b"}),
        frames=[1, 2, 3, 9], title="t",
    )  # fmt: skip
    trusted = SEEN(trusted_others=lambda _: change.get("trusted", [4, 5, 6, 7]))
    told = SEEN(issuer_of=lambda _: change.get("use", use), attempts=trusted)
    found = across.issuer_for_targets_only(seen, told)
    assert found.value is value
    if value and not change:
        assert found.frames == (1, 2, 3, 4, 5, 6)
    assert across.issuer_for_targets_only(seen._replace(target=None), told).value is False


@pytest.mark.parametrize(
    ("trusted", "disputed", "frame", "value"),
    [(False, False, 9, True), (True, False, 9, False), (False, True, 9, False), (False, False, None, False)],
)
def test_a_certificate_changed_for_a_name_that_got_a_public_one(trusted, disputed, frame, value):
    facts = SEEN(trusted=trusted, disputed=disputed)
    told = SEEN(chain_facts=lambda _: facts, trusted_frame=lambda _: frame)
    found = across.certificate_changes_for_name(kept(), told)
    assert (found.value, found.frames) == (value, (kept().chain_seen.frame, 9) if value else ())
    told.chain_facts = lambda _: None
    assert across.certificate_changes_for_name(kept(), told).value is None
