"""What a judged ladder says, beyond where its box sits: each condition by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kzpcap.paths.ladders import HOUR_NS, Route, Sent, Series, Step
from kzpcap.verdict.ladders import judge_ladders
from kzpcap.verdict.outcomes import Outcome
from kzpcap.verdict.rules import State

SECOND = 1_000_000_000
CLIENT, SERVER = "192.0.2.1", "203.0.113.1"
FORGED = Outcome(State.INTERCEPTED, "x", False, True, 100_000, None, identity="unknown", signer="key 1")
SUSPECT = FORGED._replace(state=State.SUSPECTED)
GENUINE = Outcome(State.GENUINE, "x", True, True, 100_000, None)
RESET = Outcome(State.INTERFERED, "x", False, False, 100_000, "reset")
SILENT = Outcome(State.UNDETERMINED, "x", False, False, None, "silent")
LOST = SILENT._replace(lost=True)
ALERT = Outcome(State.UNDETERMINED, "x", False, False, 100_000, "alert")
UNTRUSTED = Outcome(State.UNDETERMINED, "x", False, True, 100_000, None)


def climbed(name, *answers, hops=(), begins=0):
    """A ladder gone up as often as there are answers by TTL; routers answer its last run at `hops`."""
    entry = Series(CLIENT, SERVER, 443, name, "connection_per_ttl")
    outcomes = {}
    for run, found in enumerate(answers):
        for ttl, outcome in sorted(found.items()):
            index, frame = (name, begins, run, ttl), run * 1_000 + ttl * 10
            step = entry.steps.setdefault(ttl, Step(ttl))
            step.frames.append(frame)
            step.connections.append(index)
            if ttl in hops and run == len(answers) - 1:
                step.hops[f"10.0.0.{ttl}"] = frame + 1
                step.expired.add(index)
            time_ns = begins + (run * 1_000 + ttl * 10 + (name is None) * 5) * SECOND
            entry.sent.append(Sent(index, ttl, frame, time_ns, ttl, CLIENT, 1, SERVER, 443, name))
            outcomes[index] = outcome
    return entry, outcomes


def from_ttl(k, outcome, to=10):
    return {ttl: SILENT if ttl < k else outcome for ttl in range(1, to)}


def all_judged(*built, targets=("vk.com",), route=None):
    outcomes = {key: value for _, found in built for key, value in found.items()}
    routes = {SERVER: route} if route is not None else {}
    return judge_ladders([entry for entry, _ in built], outcomes.get, set(targets).__contains__, routes)


def judged(*built, targets=("vk.com",), route=None):
    (ladder,) = all_judged(*built, targets=targets, route=route)
    return ladder


def control(k=8, hops=None, to=10):
    return climbed(None, from_ttl(k, GENUINE, to), hops=range(1, k) if hops is None else hops)


def noted(ladder, part):
    return any(part in note for note in ladder.notes)


# who is the target


def test_of_names_on_no_list_each_that_met_something_is_a_target():
    """One hit is enough, at whatever TTL, and whoever met nothing is the control of each."""
    once = {**from_ttl(9, SILENT), 7: RESET}
    found = all_judged(
        climbed("b", from_ttl(8, GENUINE), hops=range(1, 8)),
        climbed("a", once, hops=range(1, 5)),
        climbed("c", from_ttl(4, FORGED), hops=range(1, 4)),
        targets=(),
    )
    assert [(one.server_name, one.control_server_name, one.interceptor_ttl) for one in found] == [
        ("a", "b", 7), ("c", "b", 4),
    ]  # fmt: skip


def test_of_names_that_all_met_nothing_the_first_with_a_name_is_the_target():
    clean = from_ttl(8, GENUINE)
    found = all_judged(climbed(None, clean), climbed("a", clean), climbed("b", {**clean, 10: GENUINE}), targets=())
    assert [(one.server_name, one.control_server_name) for one in found] == [("a", "b")]


@pytest.mark.parametrize("name", ["a", None])
def test_one_series_alone_is_a_target_with_no_control(name):
    (one,) = all_judged(climbed(name, from_ttl(4, FORGED), hops=range(1, 4)), targets=())
    assert (one.server_name, one.control_server_name, one.interceptor_ttl) == (name, None, 4)
    assert noted(one, "no control series to compare with")


@pytest.mark.parametrize(("after", "compared"), [(HOUR_NS, "www.example.org"), (HOUR_NS + 1, None)])
def test_a_control_speaks_for_an_hour(after, compared):
    target = climbed("vk.com", from_ttl(4, FORGED), hops=range(1, 4))
    last = target[0].times[1]
    other = climbed("www.example.org", from_ttl(8, GENUINE), hops=range(1, 8), begins=last + after - 10 * SECOND)
    assert judged(target, other).control_server_name == compared


# what met nothing


def test_a_server_that_says_nothing_to_a_name_is_told():
    """From the control's own TTL on: then the server may refuse it. One TTL earlier something else is the matter."""
    for silent_from, told in ((8, True), (9, False)):
        target = climbed("vk.com", from_ttl(10, SILENT), hops=range(1, silent_from))
        ladder = judged(target, control(8, to=12))
        assert (ladder.interceptor_ttl, noted(ladder, "the server may refuse this name")) == (None, told)
    answered = climbed("vk.com", from_ttl(8, UNTRUSTED), hops=range(1, 8))
    assert not judged(answered, control(8)).notes
    for late in (UNTRUSTED, LOST):
        heard = climbed("vk.com", {**from_ttl(10, SILENT), 9: late, 10: SILENT}, hops=range(1, 8))
        assert not noted(judged(heard, control(8)), "refuse"), "an answer came, if late"
    twice = climbed("vk.com", {**from_ttl(9, SILENT), 8: UNTRUSTED}, from_ttl(10, SILENT), hops=range(1, 8))
    assert not noted(judged(twice, control(8)), "refuse"), "one of two was answered"


def test_what_met_nothing_still_tells_where_the_control_was_answered():
    target = climbed("vk.com", from_ttl(8, GENUINE), hops=range(1, 7))
    route = Route(SERVER, {}, destination_ttl=8)
    ladder = judged(target, climbed("b", from_ttl(7, GENUINE), hops=range(1, 7)), route=route)
    assert (ladder.control_server_name, ladder.control_terminating_ttl, ladder.destination_ttl) == ("b", 7, 8)
    assert (ladder.hits, ladder.tries, ladder.last_answering_hop.ttl) == (0, 9, 6)
    assert judged(target).control_server_name is None


def test_a_target_that_was_blocked_before_is_refused_by_no_server():
    answers = {ttl: SILENT if ttl < 4 or ttl > 7 else RESET for ttl in range(1, 10)}
    ladder = judged(climbed("vk.com", answers, hops=range(1, 4)), control(8))
    assert (ladder.interceptor_ttl, noted(ladder, "refuse")) == (4, False)


# counts


def test_the_ttls_with_the_effect_are_counted_from_the_first_on():
    answers = {**from_ttl(4, FORGED), 6: SILENT, 9: GENUINE}
    ladder = judged(climbed("vk.com", answers, hops=range(1, 4)), control())
    assert (ladder.hits, ladder.tries, ladder.mixed) == (4, 6, True)
    at_the_first = climbed("vk.com", from_ttl(4, FORGED), {4: GENUINE}, hops=range(1, 4))
    assert judged(at_the_first, control()).mixed
    silent = judged(climbed("vk.com", from_ttl(10, SILENT), hops=range(1, 4)), control())
    assert (silent.effect, silent.interceptor_ttl, silent.hits, silent.tries) == ("silence", 4, 6, 6)


def test_the_modal_ttl_is_of_runs_that_met_something():
    clean = from_ttl(9, SILENT)
    runs = [clean, clean, clean, from_ttl(6, FORGED), from_ttl(5, FORGED)]
    ladder = judged(climbed("vk.com", *runs, hops=range(1, 5)), control())
    assert (ladder.runs, ladder.modal_ttl) == ((None, None, None, 6, 5), 5)


def test_signers_are_those_of_what_showed_an_interceptor():
    answers = {**from_ttl(4, FORGED), 5: SUSPECT._replace(signer="key 0"), 6: GENUINE._replace(identity="x")}
    answers |= {7: RESET, 8: FORGED._replace(identity="", signer="key 3")}
    ladder = judged(climbed("vk.com", answers, hops=range(1, 4)), control())
    assert ladder.signers == (("unknown", "key 0"), ("unknown", "key 1"))


# blocking that goes on


@pytest.mark.parametrize(
    ("outcome", "first", "hops", "told"),
    [
        (RESET, 7, range(1, 9), True),
        (FORGED, 7, range(1, 9), False),
        (RESET, 5, range(1, 9), False),
        (RESET, 7, range(1, 4), False),
    ],
    ids=["later first", "a certificate", "the same first", "no router answered there"],
)
def test_blocking_that_goes_on_is_met_at_any_ttl(outcome, first, hops, told):
    """The first run met it at TTL 7, and all that came after it met it from 5 on."""
    target = climbed("vk.com", from_ttl(first, outcome), from_ttl(5, outcome), hops=[])
    for ttl in hops:
        target[0].steps[ttl].hops[f"10.0.0.{ttl}"] = 1
        if told and ttl < 7:
            target[0].steps[ttl].expired.add(("vk.com", 0, 0, ttl))
    ladder = judged(target, control())
    assert ladder.interceptor_ttl == 5
    assert noted(ladder, "had met it first at TTL 7 before") is told
    if told:
        assert (ladder.bound, ladder.placement) == ("at_or_beyond", "unknown")
        assert not noted(ladder, "went on and met nothing"), "it had not been drawn yet"


def test_an_earlier_run_that_was_not_asked_there_shows_no_blocking_that_goes_on():
    first = {ttl: outcome for ttl, outcome in from_ttl(7, RESET).items() if ttl != 5}
    ladder = judged(climbed("vk.com", first, from_ttl(5, RESET), hops=range(1, 9)), control())
    assert not noted(ladder, "had met it first")
    clean_before = climbed("vk.com", from_ttl(10, SILENT), from_ttl(7, RESET), from_ttl(5, RESET), hops=range(1, 9))
    assert noted(judged(clean_before, control()), "had met it first at TTL 7 before")
    at_once = climbed("vk.com", from_ttl(5, RESET), from_ttl(7, RESET), from_ttl(5, RESET), hops=range(1, 9))
    assert not noted(judged(at_once, control()), "had met it first")


# why no edge


def test_a_traceroute_that_ends_here_by_another_way_is_told():
    """Where it ends is the server's hop only for probes that go its way."""
    target = climbed("vk.com", from_ttl(5, FORGED), hops=range(1, 5))
    hops = {ttl: {f"10.0.0.{ttl}": 1} for ttl in range(1, 5)}
    for route, told, placement in (
        (Route(SERVER, hops, 5), False, "at_destination"),
        (Route(SERVER, {4: {"10.9.9.9": 1}}, 5), True, "unknown"),
        (Route(SERVER, {4: {"10.9.9.9": 1}}, 6), False, "unknown"),
        (Route(SERVER, hops, 6), False, "unknown"),
    ):
        ladder = judged(target, route=route)
        assert (noted(ladder, "nothing shows that it went the probes' way"), ladder.placement) == (told, placement)


def test_a_control_that_was_answered_nowhere_is_told():
    target = climbed("vk.com", from_ttl(5, FORGED), hops=range(1, 5))
    ladder = judged(target, climbed(None, from_ttl(10, SILENT), hops=range(1, 5)))
    assert ladder.bound == "at_or_beyond"
    assert noted(ladder, "the control was answered nowhere")


def test_a_control_without_a_common_router_speaks_for_nothing_but_is_no_other_path():
    target = climbed("vk.com", from_ttl(6, FORGED), hops=range(1, 6))
    apart = judged(target, climbed(None, from_ttl(8, GENUINE), hops=(1, 6, 7)))
    assert not noted(apart, "load balancing")
    assert (apart.bound, apart.first_intercepted_hop.address) == ("at_or_beyond", None)


def test_ways_that_met_again_make_an_edge_and_name_no_hop():
    entry, outcomes = control()
    entry.steps[2].hops = {"10.9.9.9": 1}
    ladder = judged(climbed("vk.com", from_ttl(4, FORGED), hops=range(1, 4)), (entry, outcomes))
    assert (ladder.bound, ladder.first_intercepted_hop.address) == ("exact", None)
    assert noted(ladder, "load balancing")
    assert not noted(judged(climbed("vk.com", from_ttl(4, FORGED), hops=range(1, 4))), "load balancing")


@pytest.mark.parametrize("seen", [range(1, 4), (2, 3)], ids=["one way", "silent before"])
def test_no_hop_is_said_to_be_named_by_a_traceroute_that_was_named_by_probes(seen):
    target = climbed("vk.com", from_ttl(4, FORGED), hops=seen)
    route = Route(SERVER, {ttl: {f"10.0.0.{ttl}": 1} for ttl in range(1, 4)})
    ladder = judged(target, control(), route=route)
    assert not noted(ladder, "named by a traceroute")
    beyond = Route(SERVER, {ttl: {f"10.0.0.{ttl}": 1} for ttl in range(1, 5)})
    one_of_two = judged(climbed("vk.com", from_ttl(4, FORGED), hops=range(1, 4)), route=beyond)
    assert noted(one_of_two, "named by a traceroute")


def test_a_first_hop_that_is_near_enough_has_none_nearer():
    ladder = judged(climbed("vk.com", from_ttl(1, FORGED)), control())
    assert (ladder.interceptor_ttl, ladder.last_clean_hop) == (1, None)
    assert not noted(ladder, "the box may sit as near")
    second = judged(climbed("vk.com", from_ttl(2, FORGED)), control())
    assert noted(second, "from TTL 1 to 1 the target drew nothing")


@pytest.mark.parametrize(
    ("heard", "answered", "near"),
    [((), 9, 6), ((5,), 9, 5), ((), 5, 5)],
    ids=["silent for both", "a router answered the control", "the control was answered"],
)
def test_a_hop_that_was_silent_twice_is_clean_only_if_it_was_silent_for_the_control(heard, answered, near):
    again = {ttl: outcome for ttl, outcome in from_ttl(6, FORGED).items() if ttl > 4}
    target = climbed("vk.com", from_ttl(6, FORGED), again)
    for ttl in range(1, 5):
        target[0].steps[ttl].hops[f"10.0.0.{ttl}"] = 1
    ladder = judged(target, climbed(None, from_ttl(answered, GENUINE), hops=(*range(1, 5), *heard)))
    assert ladder.interceptor_ttl == 6
    assert noted(ladder, "the box may sit as near as hop 5") is (near == 5)
    assert ladder.last_clean_hop.ttl == near - 1


def test_where_no_edge_is_named_none_is_nearer():
    """Boxes that copy the TTL, and flows that went by, are told for what they are."""
    copied = {ttl: SILENT if ttl < 6 else RESET._replace(answer_ttl=ttl - 5) for ttl in range(1, 10)}
    ladder = judged(climbed("vk.com", copied, hops=range(1, 3)), control())
    assert (ladder.inferred_hop, ladder.bound) == (3, "at_or_before")
    passed = climbed("vk.com", {**from_ttl(6, FORGED), 8: GENUINE}, hops=range(1, 4))
    assert judged(passed, control(9)).bound is None
    for one in (ladder, judged(passed, control(9))):
        assert not noted(one, "the box may sit as near")


@pytest.mark.parametrize(("seen", "placement"), [(range(1, 5), "on_path"), (range(1, 4), "in_path")])
def test_an_answer_at_the_very_ttl_is_beside_the_path_if_the_probe_went_on(seen, placement):
    assert judged(climbed("vk.com", from_ttl(4, FORGED), hops=seen), control()).placement == placement


# one connection


def one_connection(outcome, to=9, hops=range(1, 4), without=(), gap=SECOND):
    """All TTLs in one connection; routers answer at `hops`, and some probes are not in the capture."""
    entry = Series(CLIENT, SERVER, 443, "vk.com", "one_connection")
    for ttl in range(1, to):
        if ttl in without:
            continue
        entry.steps[ttl] = Step(ttl, [ttl * 10], ["one"])
        if ttl in hops:
            entry.steps[ttl].hops[f"10.0.0.{ttl}"] = ttl * 10 + 1
            entry.steps[ttl].expired.add("one")
        entry.sent.append(Sent("one", ttl, ttl * 10, ttl * gap, ttl, CLIENT, 1, SERVER, 443, "vk.com"))
    return entry, {"one": outcome}


def test_one_connection_that_met_nothing_is_no_hit():
    ladder = judged(one_connection(GENUINE._replace(answer_frame=85), hops=range(1, 8)), control())
    assert (ladder.interceptor_ttl, ladder.effect) == (None, None)


def test_one_connection_is_no_run():
    """Which of its probes was answered is what is asked: it tells no TTL by itself."""
    ladder = judged(one_connection(FORGED._replace(answer_frame=45, answer_ns=5 * SECOND)), control())
    assert (ladder.interceptor_ttl, ladder.runs, ladder.bound) == (4, (), "exact")


def test_a_reset_beside_one_connections_path_lets_probes_go_on():
    """Each probe sent within three round trips may have drawn it, and routers behind the box answer all the same."""
    late = RESET._replace(answer_frame=65, answer_ns=6 * SECOND + 1, round_trip_ns=SECOND // 3)
    ladder = judged(one_connection(late, hops=range(1, 7)), control())
    assert (ladder.interceptor_ttl, ladder.bound, ladder.placement) == (6, "exact", "on_path")
    soon = late._replace(answer_ns=6 * SECOND // 4 + 1)
    several = judged(one_connection(soon, hops=range(1, 7), gap=SECOND // 4), control())
    assert noted(several, "it belongs to a TTL from 3 to 6")
    assert (several.interceptor_ttl, several.bound, several.placement) == (3, "at_or_beyond", "on_path")
    assert not noted(several, "went on and met nothing")


def test_the_probe_that_was_answered_is_not_in_the_capture():
    """TTL 4 is lost, and 3 expired: neither the control nor a traceroute shows an edge or a hop then."""
    built = one_connection(FORGED._replace(answer_frame=35, answer_ns=4 * SECOND), without=range(4, 9))
    route = Route(SERVER, {ttl: {f"10.0.0.{ttl}": 1} for ttl in range(1, 4)}, destination_ttl=4)
    for ladder in (judged(built, control()), judged(built, route=route)):
        assert (ladder.interceptor_ttl, ladder.bound, ladder.placement) == (4, "at_or_beyond", "unknown")
        assert ladder.first_intercepted_hop.address is None
        assert noted(ladder, "the last one before it, with TTL 3, expired on the way")
        assert len([note for note in ladder.notes if "control" in note]) == 0


def test_a_blocked_connection_without_an_answer_has_no_late_one():
    ladder = judged(one_connection(RESET._replace(answer_frame=None, failed="silent")), control())
    assert (ladder.interceptor_ttl, ladder.effect) == (4, "silence")
    assert not noted(ladder, "answer came late")


# the table


@pytest.mark.parametrize(
    ("outcomes", "hops", "answer", "frame"),
    [
        ([FORGED], (), "intercepted", 100_000),
        ([SUSPECT], (), "suspected", 100_000),
        ([RESET], (4,), "interfered", 100_000),
        ([GENUINE], (), "genuine", 100_000),
        ([UNTRUSTED], (), "answered", 100_000),
        ([UNTRUSTED._replace(trusted=True)], (4,), "trusted", 100_000),
        ([LOST], (4,), "answered", None),
        ([ALERT], (4,), "alert", 100_000),
        ([SILENT], (4,), "time_exceeded", None),
        ([SILENT], (), "silence", None),
        ([GENUINE, ALERT], (), "genuine", 100_000),
        ([ALERT, ALERT._replace(failed="reset")], (), "alert", 100_000),
        ([ALERT, GENUINE], (), "genuine", 100_000),
    ],
    ids=lambda one: " ".join(each.failed or each.state.value for each in one) if isinstance(one, list) else None,
)
def test_what_each_ttl_drew_is_told(outcomes, hops, answer, frame):
    """Of several connections at one TTL, what shows nobody gives way to what was heard."""
    runs = [{3: SILENT, 4: one, 5: SILENT} for one in outcomes]
    (step,) = [one for one in judged(climbed("vk.com", *runs, hops=hops)).steps if one.ttl == 4]
    assert (step.target["answer"], step.target["answer_frame"], step.control) == (answer, frame, None)


def test_an_answer_of_another_ttl_is_not_told_at_this_one():
    entry, outcomes = climbed("vk.com", from_ttl(4, FORGED), hops=range(1, 4))
    index = entry.steps[4].connections[0]
    entry.sent.append(replace(entry.sent[4], index=index, ttl=5, frame=45))
    entry.sent.sort(key=lambda one: one.frame)
    entry.steps[5].connections = [index]
    answers = {step.ttl: step.target["answer"] for step in judged((entry, outcomes), control()).steps if step.target}
    assert (answers[4], answers[5]) == ("silence", "intercepted")


def test_ttls_that_only_the_control_was_asked_at_are_in_the_table():
    few = {ttl: answer for ttl, answer in from_ttl(4, FORGED).items() if ttl < 6}
    ladder = judged(climbed("vk.com", few, hops=range(1, 4)), control())
    assert [step.ttl for step in ladder.steps] == list(range(1, 10))
    assert [step.target is None for step in ladder.steps] == [False] * 5 + [True] * 4
    assert all(step.control for step in ladder.steps)
