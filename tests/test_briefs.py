"""What is asked across the connections of a capture, held against plain loops over all of them; and what it takes."""

from __future__ import annotations

import tracemalloc
from array import array
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kzpcap import analyze, reference
from kzpcap.observations import Reaction
from kzpcap.spill import Spill
from kzpcap.surroundings import Surroundings, briefs
from kzpcap.surroundings.attempts import CONTROL_WINDOW
from kzpcap.surroundings.briefs import Groups
from kzpcap.surroundings.signers import NOT_TOLD
from tests.conftest import CAPTURES

MINUTE = 60_000_000_000
PLACES = st.sampled_from(["192.0.2.1", "192.0.2.2", "198.51.100.1"])
NAMES = st.sampled_from([None, "a.example", "b.example", "c.example"])


@given(
    st.lists(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-2, 2), max_size=60),
    st.sampled_from([0, 1, 3, 65_536]),
)
def test_groups_hold_the_rows_of_each_key_in_order(keys, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(briefs, "PIECE", piece)
        groups = Groups(range(len(keys)), keys)
    wanted = {}
    for row, one in enumerate(keys):
        wanted.setdefault(one, []).append(row)
    assert {one: list(groups.of(one)) for one in wanted} == wanted
    assert sorted(list(rows) for rows in groups) == sorted(wanted.values())
    assert list(groups.firsts()) == sorted(rows[0] for rows in wanted.values())
    assert list(groups.of(77, 3)) == wanted.get(77, [])
    assert groups.find(78) == -1 or 78 in wanted
    assert all(list(groups.of(one, 1)) == rows[:1] for one, rows in wanted.items())


@pytest.mark.parametrize("names", [1, 3, 200_000])
def test_grouping_takes_little_beside_the_groups(names):
    """A million connections to one server took a hundred megabytes more while they were sorted."""
    keys = array("q", (hash(str(number % names)) for number in range(200_000)))
    tracemalloc.start()
    groups = Groups(range(200_000), keys)
    kept, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(groups.keys) == names
    assert kept / 200_000 < 18
    assert (most - kept) / 200_000 < 18


@cache
def known():
    """A connection of a real capture, with its SYN, its SYN-ACK and a hidden certificate."""
    report = analyze(str(CAPTURES / "lab-tls13" / "capture.pcap"), reference.load(), want_digest=False)
    try:
        return next(one for one in report.spill if one.syn and one.syn_ack and one.server_hello and not one.chain)
    finally:
        report.close()


@st.composite
def connections(draw):
    """Connections at few times, of few clients to few servers; hidden, failed, QUIC or untouched."""
    found = []
    for number in range(1, draw(st.integers(1, 30)) + 1):
        at = draw(st.integers(0, 25)) * MINUTE + 1
        kind = draw(st.sampled_from(["through", "silent", "reset", "quic", "refused"]))
        one = known()._replace(
            number=number,
            first_frame=draw(st.integers(1, 9)) * 100 + number,
            time_ns=at,
            client=(draw(PLACES), 50_000 + number),
            server=(draw(PLACES), draw(st.sampled_from([443, 8443]))),
            server_name=draw(NAMES),
            target=None,
            hello_sent=True,
            probes=(),
            reaction=Reaction.REFUSED if kind == "refused" else Reaction.WENT_ON,
            syn=known().syn._replace(time_ns=at),
            syn_ack=known().syn_ack._replace(time_ns=at + draw(st.integers(-2, 40))),
            transport="quic" if kind == "quic" else "tcp",
            server_packets=draw(st.integers(0, 1)),
        )
        if kind in ("silent", "reset"):
            resets = (known().syn_ack,) if kind == "reset" else ()
            one = one._replace(server_hello=None, resets=resets, server_bytes=0, waited=True, alerts=())
        found.append(one)
    return found


def surroundings_of(observations):
    spill = Spill()
    for observation in observations:
        spill.append(observation)
    around = Surroundings(spill, {}, None, {})
    for observation in spill:
        around.add(observation)
    return around, list(spill)


def through(one):
    return one.server_hello is not None and one.reaction is Reaction.WENT_ON and one.server_name is not None


@given(connections())
def test_what_lies_around_is_what_plain_loops_find(observations):
    around, everyone = surroundings_of(observations)
    for mine in everyone:
        low, high = mine.time_ns - 2 * CONTROL_WINDOW, mine.time_ns + 2 * CONTROL_WINDOW
        beside = {
            one.first_frame
            for one in everyone
            if through(one)
            and one.server_name != mine.server_name
            and low <= one.time_ns <= high
            and one.transport == mine.transport
            if one.server[0] == mine.server[0]
            or (one.client[0] == mine.client[0] and abs(one.time_ns - mine.time_ns) <= CONTROL_WINDOW)
        }
        found = around.attempts.controls(mine, low, high)
        assert {one.frame for one in found} == beside
        assert [one.time_ns for one in found] == sorted(one.time_ns for one in found)
        same = [
            one
            for one in everyone
            if (one.client[0], one.server[0], one.server_name) == (mine.client[0], mine.server[0], mine.server_name)
            and one.server_name is not None
            and one.transport == mine.transport
        ]
        failed = sorted((one for one in same if one.failed in ("silent", "reset")), key=lambda one: one.time_ns)
        failures = around.attempts.failures(mine)
        assert failures.attempts == len(failed)
        assert [one.frame for one in failures.some] == [one.first_frame for one in failed[:8]]
        assert failures.last_ns == (failed[-1].time_ns if failed else 0)
        spells, last = 0, None
        for time in sorted(one.time_ns for one in failed):
            if last is None or any(last < control.time_ns < time for control in found):
                spells, last = spells + 1, time
        assert around.attempts.apart(mine, low, high, 3) == min(spells, 3)
        anywhere = (one for one in everyone if one.transport == mine.transport and one.server_name is not None)
        passed = {
            one.first_frame
            for one in anywhere
            if (one.client[0], one.server_name) == (mine.client[0], mine.server_name)
            and through(one)
            and low < one.time_ns < high
        }
        got = around.attempts.successes(mine, low, high)
        assert got.attempts == len(passed)
        assert len(got.some) == min(len(passed), 8)
        assert {one.frame for one in got.some} <= passed
        quic = {
            one.first_frame: one.server_packets > 0
            for one in everyone
            if one.transport == "quic"
            and (one.client[0], one.server_name) == (mine.client[0], mine.server_name)
            and one.server_name is not None
        }
        assert around.attempts.tried_quic(mine) == (bool(quic) and mine.server_name is not None)
        before = {one.frame: one.answered for one in around.attempts.quic_before(mine)}
        assert before.items() <= quic.items()
        took = [
            one.syn_ack.time_ns - one.syn.time_ns
            for one in everyone
            if one.server[0] == mine.server[0] and one.syn_ack.time_ns > one.syn.time_ns
        ]
        assert around.briefs.shortest_syn(mine.server[0]) == (min(took) if took else None)
        waits = [
            one.syn_ack.time_ns - one.syn.time_ns
            for one in everyone
            if one.client[0] == mine.client[0] and one.transport == "tcp"
        ]
        coarse = 0 in waits or 2 * sum(wait < 0 for wait in waits) > len(waits)
        assert around.signers.of(mine.client[0]).slowest == (NOT_TOLD if coarse else max([0, *waits]))


def test_a_connection_takes_less_than_200_bytes():
    """Each with another name, at another server: nothing to share. What the spill keeps has a bound of its own."""
    one = known()
    spill = Spill()
    for number in range(1, 16_385):
        spill.append(one._replace(number=number, first_frame=number))
    around = Surroundings(spill, {}, None, {})
    tracemalloc.start()
    for number in range(1, 16_385):
        server = (f"198.18.{number >> 8}.{number & 255}", 443)
        around.add(one._replace(number=number, first_frame=number, server=server, server_name=f"{number}.example"))
    mine = one._replace(number=1, server=("198.18.0.1", 443), server_name="1.example")
    around.attempts.controls(mine, 0, mine.time_ns + 1)
    around.attempts.failures(mine), around.attempts.successes(mine, 0, 1), around.signers.of(mine.client[0])
    around.briefs.shortest_syn(mine.server[0])
    around.responders.is_compared(mine), around.odd_answers("1.example"), around.attempts.tried_quic(mine)
    around.is_genuine(mine.server[0]), around.trusted_frame("1.example"), around.genuine_here("x", "y")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    spill.close()
    assert taken / 16_384 < 200
