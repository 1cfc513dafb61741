"""What a row of the briefs says of its connection, and which rows each question is asked of: condition by condition."""

from __future__ import annotations

from array import array
from types import SimpleNamespace

import pytest

from kzpcap.observations import Absent, Reaction
from kzpcap.reference.targets import Match
from kzpcap.spill import Spill
from kzpcap.surroundings import briefs
from kzpcap.surroundings.briefs import Briefs, Groups, flags_of
from kzpcap.surroundings.responders import Responders
from tests.test_briefs import known

LISTED = Match("vk.com", "a-list", exact=True, in_force=False)


def untouched(**changes):
    """A connection of TLS 1.3 with a name on no list, that went on."""
    return known()._replace(**{"target": None, **changes})


FLAGS = (
    "ATTEMPT", "THROUGH", "TRUSTED", "LISTED", "FAILED", "NAMED", "QUIC", "ANSWERED", "PROFILED", "TLS13", "REFUSED",
    "FELL", "CARRIED", "TCP", "LOWERED", "FRESH_GENUINE", "LONG", "SIGNED",
)  # fmt: skip


def told(observation, facts=None):
    """The names of the flags of a row."""
    flags = flags_of(observation, facts)
    return {name for name in FLAGS if flags & getattr(briefs, name)}


ORDINARY = {"TCP", "LOWERED", "SIGNED", "NAMED", "PROFILED", "TLS13", "ATTEMPT", "ANSWERED", "THROUGH"}
OF_ATTEMPTS = {"ATTEMPT", "ANSWERED", "THROUGH"}


def fresh(mark):
    return getattr(known(), mark)._replace(ttl=64)


@pytest.mark.parametrize(
    ("changes", "more", "less"),
    [
        ({}, set(), set()),
        ({"target": LISTED}, {"LISTED"}, set()),
        ({"transport": "quic"}, {"QUIC"}, {"TCP"}),
        ({"syn": None}, set(), {"LOWERED"}),
        ({"syn_ack": None}, set(), {"LOWERED"}),
        ({"syn_ack": known().syn_ack._replace(ttl=64)}, set(), {"LOWERED"}),
        ({"server_name": None}, set(), {"NAMED", "PROFILED", "TLS13"}),
        ({"other_names": ("a.example",)}, set(), {"PROFILED", "TLS13"}),
        ({"resumed": "psk"}, set(), {"PROFILED", "TLS13"}),
        ({"version": 0x0303}, {"FELL"}, {"TLS13"}),
        ({"version": 0x0303, "sentinel": True}, set(), {"TLS13"}),
        ({"version": 0x0303, "offers_tls13": False}, set(), {"TLS13"}),
        ({"client_record": 24}, {"REFUSED"}, set()),
        ({"client_record": 24, "version": 0x0303}, {"FELL"}, {"TLS13"}),
        ({"reaction": Reaction.REFUSED}, {"REFUSED"}, {"THROUGH"}),
        ({"reaction": Reaction.NOT_SEEN}, set(), {"THROUGH"}),
        ({"hello_sent": False}, set(), OF_ATTEMPTS),
        ({"proxied": True}, set(), OF_ATTEMPTS),
        ({"probes": (known().probes[0]._replace(ttl=5),)}, set(), OF_ATTEMPTS),
        ({"hello_sent": False, "long_hello": True, "transport": "quic"}, set(), {*OF_ATTEMPTS, "TCP"}),
        ({"long_hello": True}, {"LONG"}, set()),
        ({"server_packets": 0}, set(), {"ANSWERED"}),
        ({"server_packets": 1}, set(), set()),
        ({"server_hello": None, "absent": Absent.NOT_CAPTURED}, set(), {"SIGNED", "PROFILED", "TLS13", "THROUGH"}),
        ({"server_hello": None, "absent": None}, {"FAILED"}, {"SIGNED", "PROFILED", "TLS13", "THROUGH"}),
    ],
)
def test_what_a_row_says(changes, more, less):
    assert told(untouched(**changes)) == (ORDINARY | more) - less


def chain(trusted, disputed=False):
    return SimpleNamespace(trusted=trusted, disputed=disputed, leaf=SimpleNamespace(dns_names=("a.example",)))


@pytest.mark.parametrize(
    ("facts", "changes", "carried", "more", "less"),
    [
        (chain(True), {}, True, {"TRUSTED", "CARRIED"}, set()),
        (chain(True), {}, False, {"TRUSTED"}, set()),
        (chain(True), {"server_name": None}, True, {"TRUSTED"}, {"NAMED", "PROFILED", "TLS13"}),
        (chain(True), {"server_hello": fresh("server_hello")}, False, {"TRUSTED", "FRESH_GENUINE"}, set()),
        (chain(False), {"server_hello": fresh("server_hello")}, True, set(), {"THROUGH"}),
        (chain(False), {}, True, set(), {"THROUGH"}),
        (chain(False, disputed=True), {}, True, set(), set()),
    ],
    ids=["carries the name", "another name", "no name", "fresh", "fresh and not trusted", "not trusted", "disputed"],
)
def test_what_a_row_says_of_a_chain(monkeypatch, facts, changes, carried, more, less):
    """An untrusted chain is no success, though the handshake went on: so it does behind an interceptor."""
    monkeypatch.setattr(briefs, "carries", lambda leaf, name: carried)
    assert told(untouched(**changes), facts) == (ORDINARY | more) - less


def rows_of(*observations, facts=None):
    spill = Spill()
    for number, one in enumerate(observations, 1):
        spill.append(one._replace(number=number, first_frame=number))
    found = Briefs(spill)
    responders = Responders(found)
    for one in spill:
        found.add(one, flags_of(one, facts), responders.add(one), 0)
    return found, responders


def everyone(groups):
    return sorted(row for rows in groups for row in rows)


QUIC = {"transport": "quic"}
PROBE = {"probes": (known().probes[0]._replace(ttl=5),)}
FAILED = {"server_hello": None, "absent": None}


@pytest.mark.parametrize(
    ("question", "asked", "left_out"),
    [
        ("controls_by_server", {}, [PROBE, FAILED, {"server_name": None}, {"target": LISTED}]),
        ("controls_by_client", QUIC, [PROBE, FAILED, {"server_name": None}, {"target": LISTED}]),
        ("failures", {**FAILED, "target": LISTED}, [{}, {**FAILED, **PROBE}, {**FAILED, "server_name": None}]),
        ("successes", {"target": LISTED}, [PROBE, FAILED, {"server_name": None}]),
        ("quic", {**QUIC, "target": LISTED}, [{}, {**QUIC, **PROBE}, {**QUIC, "server_name": None}]),
        ("quic_servers", {**QUIC, "server_name": None}, [{}, {**QUIC, "server_packets": 0}]),
        ("profiles", {"target": LISTED}, [FAILED, {"resumed": "psk"}]),
        ("by_client", {**PROBE, "server_name": None}, [QUIC]),
        ("endpoints", {"server_name": None}, [PROBE, QUIC, {"syn_ack": None}, {"syn": None}, {"tunnels": 1}]),
    ],
)
def test_of_which_connections_each_question_is_asked(question, asked, left_out):
    found, _ = rows_of(untouched(**asked), *(untouched(**changes) for changes in left_out))
    assert everyone(getattr(found, question)) == [0]


@pytest.mark.parametrize(
    ("question", "trusted", "carried", "left_out"),
    [
        ("genuine", True, False, [PROBE, {"server_name": None}]),
        ("examples", True, False, [PROBE, {"server_name": None}]),
        ("carried", True, True, [PROBE, {"server_name": None}]),
        ("genuine", False, True, [{}]),
        ("carried", True, False, [{}]),
        ("carried", False, True, [{}]),
    ],
)
def test_of_which_connections_with_a_chain_each_question_is_asked(monkeypatch, question, trusted, carried, left_out):
    monkeypatch.setattr(briefs, "carries", lambda leaf, name: carried)
    expected = [0] if len(left_out) > 1 else []
    asked = [untouched()] if expected else []
    found, _ = rows_of(*asked, *(untouched(**changes) for changes in left_out), facts=chain(trusted))
    assert everyone(getattr(found, question)) == expected


def test_one_of_each_name_at_each_server_is_an_example():
    """Of many connections with one name the first is shown, and every name has its own."""
    servers = [("192.0.2.1", 443), ("192.0.2.2", 443)]
    seen = [
        untouched(server=one, server_name=name) for name in ("a.example", "b.example", "a.example") for one in servers
    ]
    spill = Spill()
    found = Briefs(spill)
    for number, one in enumerate(seen, 1):
        found.add(one._replace(number=number), briefs.ATTEMPT | briefs.TRUSTED | briefs.NAMED, 0, 0)
    assert [list(found.examples.of(hash(server[0]))) for server in servers] == [[0, 2], [1, 3]]


@pytest.mark.parametrize("times", [[1, 2, 2, 3], [3, 1, 2, 1], [2, 1], [1, 1]])
def test_rows_by_time_keep_their_order_where_times_are_equal(times):
    found = Briefs()
    found.times = array("q", times)
    rows = array("I", range(len(times)))
    assert list(found.by_time(rows)) == sorted(rows, key=lambda row: (times[row], row))


def test_rows_between_two_times_include_both():
    found = Briefs()
    found.times = array("q", [10, 20, 30, 40])
    groups = Groups(range(4), array("q", [7, 7, 7, 7]))
    assert found.between(groups, 7, 20, 30) == (1, 3)
    assert found.between(groups, 7, 21, 29) == (2, 2)
    assert found.between(groups, 8, 0, 99) == (0, 0)


NEVER = briefs.LARGEST
HELLO = known().client_hello


@pytest.mark.parametrize(
    ("changes", "waited"),
    [
        ({"client_hello": HELLO._replace(time_ns=1_000)}, 4),
        ({"client_hello": HELLO._replace(time_ns=5_000)}, 0),
        ({"client_hello": HELLO._replace(time_ns=6_000)}, NEVER),
        ({"client_hello": None}, NEVER),
        ({"server_hello": None}, NEVER),
        ({"server_hello": HELLO._replace(time_ns=1 << 62), "client_hello": HELLO._replace(time_ns=0)}, NEVER),
    ],
)
def test_how_long_the_answer_took(changes, waited):
    """What was recorded in another order, or not at all, took no time that could be compared."""
    found, _ = rows_of(untouched(**{"server_hello": known().server_hello._replace(time_ns=5_000), **changes}))
    assert list(found.answer_took) == [waited]


@pytest.mark.parametrize(
    ("took", "kept"),
    [(31, 31), (1, 1), (0, 0), (-5, -1), (None, -1), ((1 << 63) - 1, (1 << 63) - 1), (1 << 63, (1 << 63) - 1)],
)
def test_how_long_the_syn_ack_took(took, kept):
    opened = known().syn._replace(time_ns=0)
    one = untouched(syn=opened, syn_ack=None if took is None else known().syn_ack._replace(time_ns=took))
    found = Briefs()
    found.add(one, 0, 0, 0)
    assert list(found.took) == [kept]
    assert found.shortest_syn(one.server[0]) == (kept if kept > 0 else None)


def test_the_shortest_of_all_that_a_server_took():
    opened = known().syn._replace(time_ns=0)
    found = Briefs()
    for took in (40, 31, 50, 0):
        found.add(untouched(syn=opened, syn_ack=known().syn_ack._replace(time_ns=took)), 0, 0, 0)
    found.add(untouched(server=("192.0.2.7", 443), syn=opened, syn_ack=known().syn_ack._replace(time_ns=7)), 0, 0, 0)
    assert [found.shortest_syn(one) for one in (known().server[0], "192.0.2.7", "192.0.2.8")] == [31, 7, None]


def test_columns_of_what_was_not_seen():
    found = Briefs()
    found.add(untouched(server_hello=None, server_name=None, flight=1 << 40), 0, 0, 0)
    assert (found.hello_ttls[0], found.names[0], found.flights[0]) == (-1, 0, briefs.LARGEST)


def test_a_profile_and_an_attempt_have_their_own_flags():
    """Each of them from its own bit: a listed name is none that was refused."""
    for name in ("TLS13", "REFUSED", "FELL", "LISTED"):
        found, _ = rows_of(untouched())
        found.flags[0] = vars(briefs)[name]
        told_of = found.profile(0)
        assert [field.upper() for field in ("tls13", "refused", "fell", "listed") if getattr(told_of, field)] == [name]
    for name in ("TRUSTED", "LONG"):
        found.flags[0] = vars(briefs)[name]
        attempt = found.attempt(0)
        assert [field.upper() for field in ("trusted", "long") if getattr(attempt, field)] == [name]
