"""Who answered the SYNs of a capture: which answers are compared, condition by condition."""

from __future__ import annotations

import pytest

from kzpcap.reference.targets import Match
from kzpcap.surroundings import responders
from kzpcap.surroundings.responders import CLOCK_SPAN_NS, MAX_ANSWERS, WINDOW_NS, Alike
from tests.test_brief_conditions import chain, rows_of
from tests.test_briefs import known, surroundings_of

MINUTES = WINDOW_NS
LISTED = Match("vk.com", "a-list", exact=True, in_force=False)
FAILED = {"server_hello": None, "absent": None}


def stamped(value):
    return b"\x02\x04\x05\xb4\x01\x01\x08\x0a" + value.to_bytes(4, "big") + bytes(4)


def control(**changes):
    """A connection with a name on no list that went on; `ttl`, `hello_ttl` and `window` are the server's."""
    ttl, hello_ttl, window = (
        changes.pop(name, value) for name, value in (("ttl", 60), ("hello_ttl", 60), ("window", 9))
    )
    one = known()._replace(
        target=None, server_name="a.example", time_ns=MINUTES,
        syn_ack=known().syn_ack._replace(ttl=ttl, window=window),
        server_hello=known().server_hello._replace(ttl=hello_ttl),
    )  # fmt: skip
    return one._replace(**changes)


def target(**changes):
    return control(**{"server_name": "vk.com", "target": LISTED, **changes})


def responding(*observations, facts=None):
    """What is known of who answered; `facts` are those of every chain."""
    if facts is None:
        around, everyone = surroundings_of(
            one._replace(number=number, first_frame=number) for number, one in enumerate(observations, 1)
        )
        return around.responders, everyone
    rows, found = rows_of(*observations, facts=facts)
    return found, list(rows.observations)


# which are compared


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"syn": None}, False),
        ({"syn_ack": None}, False),
        ({"transport": "quic"}, False),
        ({"tunnels": 1}, False),
        ({"hello_sent": False}, False),
        ({"proxied": True}, False),
        ({"probes": (known().probes[0]._replace(ttl=5),)}, False),
    ],
)
def test_whose_syn_ack_is_compared(changes, counts):
    found, (one,) = responding(control(**changes))
    assert (found.of(one) is not None) is counts
    assert found.briefs.stacks[0] == (1 if counts else 0)


def test_equal_answers_have_one_number():
    found, _ = responding(control(), control(window=10), control(), control(ttl=61))
    assert list(found.briefs.stacks) == [1, 2, 1, 3]


def test_of_one_endpoint_few_stacks_are_kept_and_other_endpoints_lose_nothing(monkeypatch):
    """A server that answers each SYN otherwise fills no numbers; what it answered before is known all the same."""
    monkeypatch.setattr(responders, "MAX_ANSWERS", 2)
    other = {"server": ("157.240.205.35", 8443)}
    found, _ = responding(
        *(control(window=10 + one) for one in range(4)), control(window=10), control(**other, window=77)
    )
    assert list(found.briefs.stacks) == [1, 2, 0, 0, 1, 3]


def test_stacks_are_bounded(monkeypatch):
    monkeypatch.setattr(responders, "MAX_STACKS", 3)
    found, _ = responding(*(control(window=10 + one) for one in range(4)))
    assert list(found.briefs.stacks) == [1, 2, 0, 0]


# controls


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"server_name": "vk.com"}, False),
        ({"server_name": None}, False),
        ({"target": LISTED}, False),
        (FAILED, False),
        ({"client": ("192.0.2.99", 40_002)}, False),
        ({"server": ("157.240.205.35", 8443)}, False),
        ({"server": ("157.240.205.36", 443)}, False),
        ({"syn": None}, False),
        ({"time_ns": 2 * MINUTES}, True),
        ({"time_ns": 2 * MINUTES + 1}, False),
        ({"time_ns": 0}, True),
        ({"time_ns": -1}, False),
    ],
)
def test_what_an_answer_is_compared_with(changes, counts):
    found, (mine, _) = responding(target(), control(**changes))
    assert [one.row for one in found.controls(mine)] == ([1] if counts else [])


@pytest.mark.parametrize(("hello_ttl", "told"), [(0, 0), (60, 60), (None, None)])
def test_a_control_s_answer_has_a_distance_where_it_came(hello_ttl, told):
    """A disputed chain may have come without a ServerHello that is in the capture."""
    one = control(server_hello=None) if hello_ttl is None else control(hello_ttl=hello_ttl)
    found, (mine, _) = responding(target(), one, facts=chain(True))
    (answer,) = found.controls(mine)
    assert answer.hello_ttl == told
    assert found.frames([answer]) == (known().syn_ack.frame,)


@pytest.mark.parametrize(
    ("others", "compared"),
    [
        ([{}, {}], True),
        ([{}], False),
        ([{}, {"server_name": None}], False),
        ([{}, {"target": LISTED}], False),
        ([{}, FAILED], False),
        ([{}, {"server": ("157.240.205.35", 8443)}], False),
        ([{"client": ("192.0.2.99", 9)}, {"time_ns": 9 * MINUTES}], True),
    ],
)
def test_two_controls_are_needed_to_compare_with(others, compared):
    found, (mine, *_) = responding(target(), *(control(**changes) for changes in others))
    assert found.is_compared(mine) is compared


def test_what_is_beyond_the_first_answers_is_not_compared():
    many = [target() for _ in range(MAX_ANSWERS - 1)]
    found, (mine, *_) = responding(*many, control(), control())
    assert not found.is_compared(mine)
    assert [one.row for one in found.controls(mine)] == [MAX_ANSWERS - 1]
    found, (mine, *_) = responding(*many[1:], control(), control())
    assert found.is_compared(mine)


def test_an_endpoint_that_answered_nobody_is_not_compared():
    found, (mine,) = responding(target(syn_ack=None))
    assert not found.is_compared(mine)
    assert found.answers_so(mine, 57) is None


# a device that answers SYNs in a server's place


@pytest.mark.parametrize(
    ("changes", "ttl", "counts"),
    [
        ({}, 57, True),
        ({"server_name": None}, 57, True),
        ({"target": LISTED}, 57, False),
        (FAILED, 57, False),
        ({"syn": None}, 57, False),
        ({"hello_ttl": 59}, 59, False),
        ({"hello_ttl": 58}, 58, True),
        ({"ttl": 61}, 57, True),
        ({"ttl": 62}, 57, False),
        ({"ttl": 124}, 57, False),
        ({}, 58, True),
        ({}, 59, False),
        ({}, 121, False),
        ({"server": ("157.240.205.35", 8443)}, 57, False),
    ],
)
def test_a_device_that_answers_syns_is_shown_by_a_control_whose_answers_lie_as_far_apart(changes, ttl, counts):
    mine = target(**FAILED)
    found, (mine, *_) = responding(mine, control(**{"hello_ttl": 57, **changes}))
    assert found.answers_so(mine, ttl) == (1 if counts else None)
    assert found.answers_so(mine._replace(syn_ack=None), ttl) is None


@pytest.mark.parametrize(("trusted", "counts"), [(True, True), (False, False)])
def test_or_by_a_trusted_chain_for_any_name(trusted, counts):
    found, (mine, *_) = responding(target(**FAILED), target(hello_ttl=57), facts=chain(trusted))
    found.briefs.flags[0] = 0
    assert found.answers_so(mine, 57) == (1 if counts else None)


def test_a_handshake_without_its_server_hello_shows_no_distance():
    found, (mine, *_) = responding(target(**FAILED), target(server_hello=None), facts=chain(True))
    assert found.answers_so(mine, 255) is None


# many servers


def to_many(*stacks):
    """A connection to one server after another, with these windows each."""
    return [
        control(server=(f"198.51.100.{server}", 443), window=window, syn_ack=mark(server, window))
        for server, windows in enumerate(stacks, 1)
        for window in windows
    ]


def mark(server, window):
    return known().syn_ack._replace(ttl=60, window=window, frame=100 + server)


@pytest.mark.parametrize(
    ("stacks", "alike"),
    [
        ([(1,)] * 4, [4]),
        ([(1,)] * 3, []),
        ([(1,)] * 4 + [(2,)] * 2, [4]),
        ([(1,)] * 4 + [(2,)] * 3, []),
        ([(1, 1)] * 3 + [(2,)], []),
        ([(1, 2)] * 4, [4, 4]),
    ],
    ids=["four", "three", "two thirds", "fewer", "servers not connections", "two each"],
)
def test_most_servers_that_answered_alike(stacks, alike):
    found, (first, *_) = responding(*to_many(*stacks))
    assert sorted(one.servers for one in found.alike.values()) == alike
    shown = {f"198.51.100.{server}": 100 + server for server in range(1, 5)}
    assert found.same_stack(first) == (Alike(4, shown) if alike else None)
    assert found.same_stack(first._replace(syn_ack=None)) is None
    assert found.same_stack(first._replace(syn_ack=mark(1, 99))) is None


def test_of_many_servers_some_are_shown(monkeypatch):
    monkeypatch.setattr(responders, "MAX_SHOWN", 2)
    found, (first, *_) = responding(*to_many(*[(1,)] * 5))
    assert found.same_stack(first) == Alike(5, {"198.51.100.1": 101, "198.51.100.2": 102})


# one clock


def ticking(servers, span=CLOCK_SPAN_NS, **changes):
    """SYN-ACKs of servers in turn, the first and last this long apart, with timestamps of one millisecond clock."""
    times = [2_000_000_000 + number * span // (len(servers) - 1) for number in range(len(servers))]
    return [
        control(
            server=(f"198.51.100.{server}", 443),
            syn_ack=known().syn_ack._replace(
                frame=100 + number, time_ns=time, options=stamped(5_000 + time // 1_000_000), **changes
            ),
        )
        for number, (server, time) in enumerate(zip(servers, times, strict=True))
    ]


@pytest.mark.parametrize(
    ("servers", "span", "shared"),
    [
        ([1, 2, 3], CLOCK_SPAN_NS, True),
        ([1, 2, 3], CLOCK_SPAN_NS - 2_000_000, False),
        ([1, 2, 1], CLOCK_SPAN_NS, False),
    ],
    ids=["three", "less than a second", "two"],
)
def test_three_servers_share_a_clock_over_a_second(servers, span, shared):
    found, everyone = responding(*ticking(servers, span))
    expected = {f"198.51.100.{server}": 100 + number for number, server in enumerate(servers)} if shared else {}
    assert [found.same_clock(one) for one in everyone] == [expected] * 3
    assert found.same_clock(everyone[0]._replace(syn_ack=None)) == {}


def test_each_server_of_one_clock_is_shown_with_its_first_frame():
    found, (first, *_) = responding(*ticking([1, 2, 3, 1, 2]))
    assert found.same_clock(first) == {"198.51.100.1": 100, "198.51.100.2": 101, "198.51.100.3": 102}


def test_syn_acks_without_time_or_timestamps_show_no_clock(monkeypatch):
    found, _ = responding(control(syn_ack=mark(1, 1)._replace(time_ns=0, options=stamped(7))))
    assert found.clocks == []
    stampless = mark(1, 1)._replace(options=b"")
    found, _ = responding(control(syn_ack=stampless))
    assert found.clocks == []
    monkeypatch.setattr(responders, "MAX_CLOCKS", 2)
    found, _ = responding(*ticking([1, 2, 3]))
    assert len(found.clocks) == 2
