"""What came back on a ladder, read step by step: each condition by itself."""

from __future__ import annotations

import pytest

from kzpcap.paths.ladders import Sent, Series
from kzpcap.verdict.outcomes import (
    APART_NS,
    LIMIT_NS,
    SILENCES,
    answered_at,
    bounds_of_answer,
    copies_ttl,
    dropped_at,
    effect_of,
    hit_at,
    outlives,
    reached,
    silences,
    surely_silent,
    unspent,
    went_past,
)
from kzpcap.verdict.rules import State
from tests.test_ladder_conditions import (
    CLIENT,
    FORGED,
    GENUINE,
    LOST,
    RESET,
    SERVER,
    SILENT,
    SUSPECT,
    UNTRUSTED,
    climbed,
    from_ttl,
)


def sent(*times, ttl=5):
    """A series whose probes with one TTL went out at these times."""
    entry = Series(CLIENT, SERVER, 443, "vk.com", "connection_per_ttl")
    entry.sent = [Sent(at, ttl, at + 1, time, at, CLIENT, 1, SERVER, 443, "vk.com") for at, time in enumerate(times)]
    return entry


def outcomes(built):
    entry, found = built
    return entry, found.get


@pytest.mark.parametrize(
    ("outcome", "hit", "heard", "harmless"),
    [
        (FORGED, True, True, "answered"),
        (SUSPECT, True, True, "answered"),
        (RESET, True, False, "answered"),
        (GENUINE, False, True, "genuine"),
        (GENUINE._replace(state=State.UNDETERMINED), False, True, "trusted"),
        (UNTRUSTED, False, True, "answered"),
        (LOST, False, True, "answered"),
        (SILENT, False, False, "answered"),
    ],
)
def test_what_an_outcome_is_called(outcome, hit, heard, harmless):
    assert (outcome.hit, outcome.heard, outcome.harmless) == (hit, heard, harmless)


@pytest.mark.parametrize(
    ("times", "count"),
    [
        ([], 0),
        ([0], 1),
        ([0, APART_NS - 1], 1),
        ([0, APART_NS], 2),
        ([APART_NS, 0], 2),
        ([0, APART_NS - 1, 2 * APART_NS - 2], 2),
    ],
    ids=["none", "one", "one moment's", "apart", "in another order", "from the first of a moment"],
)
def test_silences_are_counted_by_moments(times, count):
    """Of equal ones the first counts: TCP sends again after 200 ms at the earliest."""
    entry = sent(*times)
    assert (silences(entry, 5), silences(entry, 4)) == (count, 0)
    assert unspent(entry, None, 5) == count
    assert surely_silent(entry, None, 5) is (count >= SILENCES)


@pytest.mark.parametrize(
    ("used", "ttl", "count"),
    [
        (LIMIT_NS, 5, 1),
        (LIMIT_NS + 1, 5, 0),
        (2 * LIMIT_NS, 5, 0),
        (2 * LIMIT_NS + 1, 5, 1),
        (2 * LIMIT_NS, 4, 1),
    ],
    ids=["a second before", "just less", "at once", "later", "another hop"],
)
def test_a_router_had_no_answer_in_the_second_after_a_control_s(used, ttl, count):
    assert unspent(sent(2 * LIMIT_NS), sent(used, ttl=ttl), 5) == count


@pytest.mark.parametrize(("router", "count"), [("10.0.0.5", 0), ("10.0.0.4", 1)])
def test_nor_in_the_second_after_anybody_s(router, count):
    target = sent(10**12)
    target.spoke = {router: [10**12 - 1]}
    control, _ = climbed(None, from_ttl(8, GENUINE), hops=range(1, 8))
    assert unspent(target, control, 5) == count


@pytest.mark.parametrize(
    ("pairs", "copied"),
    [
        ({5: 3, 6: 4, 7: 5}, True),
        ({5: 3, 6: 4}, False),
        ({5: 3, 6: 4, 7: 4}, False),
        ({5: 3, 6: 4, 7: None}, False),
        ({5: 3, 6: 4, 7: None, 8: 6}, True),
    ],
)
def test_a_box_copies_ttls_where_three_steps_show_it(pairs, copied):
    entry, of = outcomes(climbed("vk.com", {ttl: FORGED._replace(answer_ttl=answer) for ttl, answer in pairs.items()}))
    assert copies_ttl(entry, set(pairs), of) is copied
    assert not copies_ttl(entry, set(pairs), lambda _: None)
    entry, of = outcomes(climbed("vk.com", {ttl: GENUINE._replace(answer_ttl=answer) for ttl, answer in pairs.items()}))
    assert not copies_ttl(entry, set(pairs), of)


@pytest.mark.parametrize(
    ("outcome", "effect"),
    [
        (FORGED, "certificate"),
        (SUSPECT, "suspected_certificate"),
        (RESET, "reset"),
        (RESET._replace(failed="alert"), "alert"),
        (RESET._replace(failed="plain"), "plain_answer"),
        (RESET._replace(failed="closed"), "closed"),
        (RESET._replace(failed="silent"), "silence"),
        (RESET._replace(failed=None), "reset"),
        (GENUINE, None),
        (None, None),
    ],
)
def test_the_effect_is_that_of_the_smallest_ttl(outcome, effect):
    entry, of = outcomes(climbed("vk.com", {5: outcome, 6: FORGED._replace(state=State.SUSPECTED)}))
    assert effect_of(entry, {5}, of) == effect
    assert effect_of(entry, {6, 5}, of) == effect or effect is None
    assert effect_of(entry, set(), of) is None


def test_an_answer_belongs_to_the_highest_ttl_sent_before_it():
    entry, of = outcomes(climbed("vk.com", {5: FORGED, 6: FORGED}))
    (five,), (six,) = (entry.steps[ttl].connections for ttl in (5, 6))
    assert hit_at(entry, of) == {5, 6}
    assert hit_at(entry, {five: None, six: GENUINE}.get) == set()
    assert reached(entry, 5, five, FORGED)
    assert not reached(entry, 6, five, FORGED)
    assert reached(entry, 6, five, FORGED._replace(answer_frame=None))
    unsent = FORGED._replace(answer_frame=1)
    assert reached(entry, 6, five, unsent)
    entry.shape = "one_connection"
    assert not reached(entry, 6, five, unsent)


@pytest.mark.parametrize(
    ("k", "answers", "hops", "past"),
    [
        (5, {5: FORGED, 6: FORGED}, (), None),
        (5, {5: FORGED, 6: SILENT}, (6,), 6),
        (5, {5: FORGED, 6: GENUINE}, (), 6),
        (5, {5: FORGED, 6: UNTRUSTED}, (), None),
        (5, {5: FORGED, 6: None}, (6,), 6),
        (5, {5: FORGED, 6: None}, (), None),
        (5, {4: SILENT, 5: FORGED}, (4,), None),
        (5, {5: SILENT, 6: FORGED}, (5,), 5),
        (5, {5: FORGED, 6: FORGED}, (6,), None),
    ],
)
def test_which_probe_went_by_where_others_met_the_box(k, answers, hops, past):
    entry, of = outcomes(climbed("vk.com", answers, hops=hops))
    assert went_past(entry, k, of) == past


@pytest.mark.parametrize(
    ("outcome", "expired", "past"), [(GENUINE, False, 6), (FORGED, True, 5), (FORGED, False, None)]
)
def test_a_connection_with_several_ttls_went_by_at_the_one_that_counts(outcome, expired, past):
    """A trusted chain is an answer to the highest; a router's answer shows that a lower one had met nothing."""
    entry, _ = climbed("vk.com", {5: SILENT, 6: SILENT})
    (six,) = entry.steps[6].connections
    entry.steps[5].connections[:] = [six]
    entry.steps[5].expired = {six} if expired else set()
    assert went_past(entry, 5, {six: outcome}.get) == past


@pytest.mark.parametrize(
    ("answered", "k", "hops", "further"),
    [
        ([8], 8, (8, 9), False),
        ([8], 5, (5,), True),
        ([8], 5, (7,), True),
        ([], 5, (5,), True),
        ([], 5, (), False),
        ([8], 5, (4,), True),
        ([8], 7, (6,), False),
        ([8], 6, (5,), True),
    ],
    ids=["not later", "a router there", "beyond", "no answer", "nothing", "three silences", "one", "two"],
)
def test_a_control_outlives_its_target(answered, k, hops, further):
    control, _ = climbed(None, from_ttl(8, GENUINE), hops=hops)
    assert outlives(control, answered, k) is further
    assert not outlives(None, answered, k)
    control.shape = "one_connection"
    assert outlives(control, answered, k) is (further and any(k <= hop for hop in hops))


def test_where_a_series_was_answered():
    answers = {4: None, 5: SILENT, 6: LOST, 7: UNTRUSTED, 8: GENUINE, 9: RESET}
    entry, of = outcomes(climbed(None, answers, answers))
    assert answered_at(entry, of) == [6, 7, 8]
    assert answered_at(entry, of, trusted=True) == [8]
    assert answered_at(None, of) == []


@pytest.mark.parametrize(
    ("silent_from", "to", "hops", "dropped"),
    [
        (5, 10, range(1, 8), 5),
        (5, 10, (1, 2, 3, 4, 6, 7), None),
        (5, 10, (1, 2, 3, 4, 5), 5),
        (6, 10, range(1, 8), 6),
        (5, 8, range(1, 8), None),
        (5, 9, range(1, 8), 5),
        (8, 10, range(1, 8), None),
        (5, 9, (1, 2, 3, 4, 5), None),
    ],
    ids=["from 5", "no router at 5", "answers too", "from 6", "never so far", "as far", "the server", "two compared"],
)
def test_from_where_on_a_target_draws_nothing(silent_from, to, hops, dropped):
    target = climbed("vk.com", dict.fromkeys(range(1, to), SILENT), hops=range(1, silent_from))
    control = climbed(None, from_ttl(8, GENUINE), hops=hops)
    found = {**target[1], **control[1]}
    assert dropped_at(target[0], control[0], found.get) == dropped
    assert dropped_at(target[0], None, found.get) is None
    heard = {**found, **dict.fromkeys(target[0].steps[to - 1].connections, LOST)}
    assert dropped_at(target[0], control[0], heard.get) is None


def in_one(*probes, frame=100, time=2 * LIMIT_NS, hops=(), **more):
    """One connection that sent (TTL, time) and drew a reset."""
    entry, _ = climbed("vk.com", dict.fromkeys(hops, SILENT), hops=hops)
    entry.shape = "one_connection"
    entry.sent = [
        Sent(7, ttl, 10 + at, sent, at, CLIENT, 1, SERVER, 443, "vk.com") for at, (ttl, sent) in enumerate(probes)
    ]
    return entry, {7: RESET._replace(answer_frame=frame, answer_ns=time, **more)}.get


@pytest.mark.parametrize(
    ("built", "beside", "bounds"),
    [
        (in_one((4, 0), (5, 0), hops=(3, 4)), False, (5, 5)),
        (in_one((4, 0), (5, 0), hops=(3, 5, 6)), False, (5, 6)),
        (in_one((4, 0), (5, 0)), False, (5, 1)),
        (in_one((4, 0), (5, 0), frame=5, time=0), False, (None, 1)),
        (in_one((4, LIMIT_NS), (5, LIMIT_NS + 1)), True, (5, 4)),
        (in_one((4, LIMIT_NS - 1), (5, LIMIT_NS + 1)), True, (5, 5)),
        (in_one((4, 0), (5, 0)), True, (5, 5)),
        (in_one((4, 2 * LIMIT_NS - 30), (5, 2 * LIMIT_NS - 1), round_trip_ns=10), True, (5, 4)),
        (in_one((4, 2 * LIMIT_NS - 31), (5, 2 * LIMIT_NS - 1), round_trip_ns=10), True, (5, 5)),
        (in_one((4, LIMIT_NS - 1), (5, LIMIT_NS), round_trip_ns=LIMIT_NS), True, (5, 5)),
    ],
)
def test_which_ttl_an_answer_in_one_connection_belongs_to(built, beside, bounds):
    entry, of = built
    assert bounds_of_answer(entry, of, beside) == bounds
    assert bounds_of_answer(entry, lambda _: None, beside)[0] is None
    assert bounds_of_answer(entry, lambda index: of(index)._replace(state=State.GENUINE), beside)[0] is None
    assert bounds_of_answer(entry, lambda index: of(index)._replace(answer_frame=None), beside)[0] is None


def test_of_several_connections_the_first_ttl_that_drew_something_counts():
    """What one of them sent says nothing of what another's answer belongs to, nor what was sent behind it."""
    entry, of = in_one((4, 2 * LIMIT_NS - 9), (6, 2 * LIMIT_NS - 8), round_trip_ns=10)
    probes = [(2, 5, 2 * LIMIT_NS - 9), (3, 500, 3 * LIMIT_NS), (5, 8, 2 * LIMIT_NS - 8)]
    entry.sent += [Sent(8, ttl, frame, time, ttl, CLIENT, 1, SERVER, 443, "vk.com") for ttl, frame, time in probes]
    entry.sent.sort(key=lambda one: one.frame)
    both = {7: of(7), 8: of(7)}.get
    assert bounds_of_answer(entry, of, True) == (6, 4)
    assert bounds_of_answer(entry, both, True) == (5, 2)
    entry.sent.append(Sent(7, 1, 900, 3 * LIMIT_NS, 1, CLIENT, 1, SERVER, 443, "vk.com"))
    assert bounds_of_answer(entry, of, True) == (6, 4)


def test_what_draws_nothing_is_not_dropped_where_the_server_says_nothing_or_something_came():
    control = climbed(None, from_ttl(8, GENUINE, 12), hops=range(1, 8))
    for target, dropped in (
        (climbed("vk.com", dict.fromkeys(range(1, 12), SILENT), hops=range(1, 8)), None),
        (climbed("vk.com", dict.fromkeys(range(1, 12), SILENT), hops=range(1, 7)), 7),
        (climbed("vk.com", {**dict.fromkeys(range(1, 11), SILENT), 11: RESET}, hops=range(1, 7)), None),
        (climbed("vk.com", {11: LOST}, dict.fromkeys(range(1, 12), SILENT), hops=range(1, 7)), None),
    ):
        found = {**target[1], **control[1]}
        assert dropped_at(target[0], control[0], found.get) == dropped
        mute = dict.fromkeys(control[1], SILENT)
        assert dropped_at(target[0], control[0], {**found, **mute}.get) is None
