"""Places are concluded from ladders only as far as the packets go: built series, every trap of FACTS section 5."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kzpcap.paths.ladders import Exceeded, Route, Sent, Series, Step
from kzpcap.paths.networks import Networks
from kzpcap.reference import DATA
from kzpcap.report.ladders import document, sentences
from kzpcap.verdict.ladders import judge_ladders
from kzpcap.verdict.outcomes import Outcome
from kzpcap.verdict.place import describe
from kzpcap.verdict.routers import Hop
from kzpcap.verdict.rules import State

FORGED = Outcome(State.INTERCEPTED, "x", False, True, 10_000, None)
GENUINE = Outcome(State.GENUINE, "x", True, True, 10_000, None)
RESET = Outcome(State.INTERFERED, "x", False, False, 10_000, "reset")
SILENT = Outcome(State.UNDETERMINED, "x", False, False, None, "silent")


def series(name, answers, hops, shape="connection_per_ttl"):
    """`answers` and `hops` by TTL; the connection index is name and TTL."""
    entry = Series("192.0.2.1", "203.0.113.1", 443, name, shape)
    for ttl in sorted(set(answers) | set(hops)):
        step = Step(ttl, [ttl * 10], [(name, ttl)])
        for address in hops.get(ttl, ()):
            step.hops[address] = ttl * 10 + 1
            step.expired.add((name, ttl))
        entry.steps[ttl] = step
        time_ns = ttl * 10 * SECOND + (5 * SECOND if name is None else 0)
        entry.sent.append(Sent((name, ttl), ttl, ttl * 10, time_ns, ttl, "192.0.2.1", 1, "203.0.113.1", 443, name))
    return entry, {(name, ttl): answer for ttl, answer in answers.items()}


def judged(*built, routes=None, targets=("vk.com",)):
    outcomes = {key: value for _, found in built for key, value in found.items()}
    ladders = judge_ladders([entry for entry, _ in built], outcomes.get, set(targets).__contains__, routes or {})
    assert len(ladders) == 1
    return ladders[0]


def routers(low, high, network=0):
    return {ttl: [f"10.{network}.0.{ttl}"] for ttl in range(low, high)}


def forged_from(k, to=10):
    return {ttl: SILENT if ttl < k else FORGED for ttl in range(1, to)}


def genuine_from(k, to=10):
    return {ttl: SILENT if ttl < k else GENUINE for ttl in range(1, to)}


def test_an_exact_edge_in_the_path():
    ladder = judged(series("vk.com", forged_from(4), routers(1, 4)), series(None, genuine_from(8), routers(1, 8)))
    assert (ladder.interceptor_ttl, ladder.bound, ladder.placement) == (4, "exact", "in_path")
    assert (ladder.last_clean_hop.address, ladder.first_intercepted_hop.address) == ("10.0.0.3", "10.0.0.4")
    assert ladder.control_terminating_ttl == 8


def test_a_tcp_terminator_gives_a_bound_only():
    ladder = judged(series("vk.com", forged_from(3), routers(1, 3)), series(None, genuine_from(3), routers(1, 3)))
    assert (ladder.interceptor_ttl, ladder.bound, ladder.placement) == (3, "at_or_beyond", "unknown")
    assert ladder.first_intercepted_hop.address is None
    assert "TCP terminator" in ladder.notes[0]


def test_no_control_gives_a_bound_only():
    ladder = judged(series("vk.com", forged_from(4), routers(1, 4)))
    assert ladder.bound == "at_or_beyond"


def test_a_merely_earlier_tls_answer_is_nothing():
    ladder = judged(series("vk.com", genuine_from(3), routers(1, 3)), series(None, genuine_from(8), routers(1, 8)))
    assert ladder.interceptor_ttl is None
    assert ladder.bound is None
    assert ladder.last_clean_hop is None


def test_other_paths_name_no_hop_by_the_control():
    ladder = judged(
        series("vk.com", forged_from(4), routers(1, 4)), series(None, genuine_from(8), routers(1, 8, network=9))
    )
    assert ladder.first_intercepted_hop.address is None
    assert ladder.last_clean_hop.address == "10.0.0.3", "the target's own Time Exceeded names it"
    assert any("load balancing" in note for note in ladder.notes)


def test_several_routers_at_one_ttl_are_listed_and_none_chosen():
    hops = routers(1, 4)
    hops[3] = ["10.0.0.3", "10.7.7.3"]
    ladder = judged(series("vk.com", forged_from(4), hops), series(None, genuine_from(8), routers(1, 8)))
    assert ladder.last_clean_hop.address is None
    assert ladder.last_clean_hop.others == ("10.0.0.3", "10.7.7.3")


def test_icmp_beside_the_answer_is_on_path():
    ladder = judged(series("vk.com", forged_from(4), routers(1, 8)), series(None, genuine_from(8), routers(1, 8)))
    assert ladder.placement == "on_path"


def test_a_reset_is_an_effect_of_its_own():
    answers = {ttl: SILENT if ttl < 5 else RESET for ttl in range(1, 10)}
    ladder = judged(series("vk.com", answers, routers(1, 5)), series(None, genuine_from(8), routers(1, 8)))
    assert (ladder.interceptor_ttl, ladder.effect) == (5, "reset")


SECOND = 1_000_000_000


def sent_again(built, times):
    """Each probe of a series sent so often, these seconds after the first."""
    entry, outcomes = built
    first = list(entry.sent)
    entry.sent = [
        replace(one, frame=one.frame + number, time_ns=one.ttl * 10 * SECOND + round(after * SECOND))
        for one in first
        for number, after in enumerate(times)
    ]
    for step in entry.steps.values():
        step.frames = [step.ttl * 10 + number for number in range(len(times))]
    return entry, outcomes


def test_a_drop_needs_a_control_that_goes_on():
    silent = dict.fromkeys(range(1, 10), SILENT)
    control = sent_again(series(None, genuine_from(8), routers(1, 8)), [5])
    ladder = judged(sent_again(series("vk.com", silent, routers(1, 4)), [0, 1]), control)
    assert (ladder.interceptor_ttl, ladder.effect, ladder.bound) == (4, "silence", "exact")
    assert ladder.placement == "in_path"
    alone = judged(series("vk.com", silent, routers(1, 4)))
    assert alone.interceptor_ttl is None, "silence is not blocking"


MOMENTS = {"once": [0], "behind the control": [5.1, 5.3, 5.7], "in one moment": [0, 0.001, 0.002]}


@pytest.mark.parametrize("times", MOMENTS.values(), ids=MOMENTS)
def test_a_router_that_answers_once_a_second_is_no_edge(times):
    silent = dict.fromkeys(range(1, 10), SILENT)
    control = sent_again(series(None, genuine_from(8), routers(1, 8)), [5])
    ladder = judged(sent_again(series("vk.com", silent, routers(1, 4)), times), control)
    assert (ladder.interceptor_ttl, ladder.effect, ladder.bound) == (4, "silence", "at_or_beyond")
    assert ladder.placement == "unknown"
    assert any("limit of answers" in note for note in ladder.notes)


def test_a_control_on_a_longer_way_shows_no_edge():
    ladder = judged(
        series("vk.com", forged_from(6), routers(1, 6)), series(None, genuine_from(8), routers(1, 3) | routers(3, 8, 9))
    )
    assert (ladder.interceptor_ttl, ladder.bound, ladder.placement) == (6, "at_or_beyond", "unknown")
    assert any("nothing shows the control on the target's way" in note for note in ladder.notes)
    ends = judged(
        series("vk.com", forged_from(6), routers(1, 6)), series(None, genuine_from(6), routers(1, 3) | routers(3, 6, 9))
    )
    assert ends.bound == "at_or_beyond"
    assert any("TCP terminator" in note for note in ends.notes)


def test_ways_that_part_and_meet_again_before_the_box_show_it():
    parted = routers(1, 3) | routers(3, 5, 9) | routers(5, 8)
    ladder = judged(series("vk.com", forged_from(6), routers(1, 6)), series(None, genuine_from(8), parted))
    assert (ladder.interceptor_ttl, ladder.bound, ladder.placement) == (6, "exact", "in_path")


def test_a_control_of_another_day_shows_no_edge():
    control, outcomes = series(None, genuine_from(8), routers(1, 8))
    control.sent = [replace(one, time_ns=one.time_ns + 30 * 86_400 * SECOND) for one in control.sent]
    ladder = judged(series("vk.com", forged_from(5), routers(1, 5)), (control, outcomes))
    assert (ladder.bound, ladder.control_server_name, ladder.first_intercepted_hop.address) == (
        "at_or_beyond", None, None,
    )  # fmt: skip


def test_whoever_answers_pings_is_not_the_server_where_the_control_goes_on():
    route = Route("203.0.113.1", {ttl: {f"10.0.0.{ttl}": ttl} for ttl in range(1, 5)}, destination_ttl=5)
    ladder = judged(
        series("vk.com", forged_from(5), routers(1, 5)),
        series(None, genuine_from(8), routers(1, 8)),
        routes={"203.0.113.1": route},
    )
    assert (ladder.placement, ladder.bound) == ("in_path", "exact")


def test_one_silence_is_loss():
    answers = genuine_from(8)
    hops = routers(1, 8)
    del hops[7]
    ladder = judged(series("vk.com", answers, hops), series(None, genuine_from(8), routers(1, 8)))
    assert ladder.interceptor_ttl is None


def test_at_the_destination_by_an_independent_traceroute():
    route = Route("203.0.113.1", {ttl: {f"10.0.0.{ttl}": ttl} for ttl in range(1, 8)}, destination_ttl=8)
    ladder = judged(
        series("vk.com", forged_from(8), routers(1, 8)),
        series(None, genuine_from(8), routers(1, 8)),
        routes={"203.0.113.1": route},
    )
    assert (ladder.placement, ladder.bound) == ("at_destination", "exact")


def test_a_traceroute_names_a_hop_that_probes_did_not():
    route = Route("203.0.113.1", {2: {"10.0.0.2": 4}, 3: {"10.0.0.3": 5}, 4: {"10.0.0.4": 6}})
    target = sent_again(series("vk.com", forged_from(4), routers(1, 3)), [0, 1])
    built = (target, series(None, genuine_from(4), routers(1, 3)))
    ladder = judged(*built, routes={"203.0.113.1": route})
    assert (ladder.last_clean_hop.address, ladder.last_clean_hop.seen_by) == ("10.0.0.3", "traceroute")
    assert ladder.first_intercepted_hop.address == "10.0.0.4"
    assert any("named by a traceroute to this address" in note for note in ladder.notes)
    elsewhere_before = Route("203.0.113.1", {1: {"10.0.0.1": 3}, 3: {"10.0.0.3": 5}, 4: {"10.0.0.4": 6}})
    assert judged(*built, routes={"203.0.113.1": elsewhere_before}).last_clean_hop.address is None
    contradicting = Route("203.0.113.1", {2: {"10.9.9.9": 4}, 3: {"10.0.0.3": 5}})
    assert judged(*built, routes={"203.0.113.1": contradicting}).last_clean_hop.address is None


def test_the_series_that_differs_is_the_target_though_on_no_list():
    ladder = judged(
        series("a.example", forged_from(4), routers(1, 4)),
        series("b.example", genuine_from(8), routers(1, 8)),
        targets=(),
    )
    assert (ladder.server_name, ladder.control_server_name) == ("a.example", "b.example")


def test_mixed_answers_are_told():
    answers = forged_from(4)
    answers[6] = GENUINE
    ladder = judged(series("vk.com", answers, routers(1, 4)), series(None, genuine_from(8), routers(1, 8)))
    assert ladder.mixed


def test_a_box_that_copies_the_ttl_is_not_where_it_is_first_seen():
    """FACTS S6: the reply's TTL at the client is 1 when it is first seen, at twice the hop distance."""
    answers = {ttl: SILENT if ttl < 8 else RESET._replace(answer_ttl=ttl - 7) for ttl in range(1, 13)}
    ladder = judged(series("vk.com", answers, routers(1, 10)), series(None, genuine_from(11, 13), routers(1, 11)))
    assert (ladder.interceptor_ttl, ladder.inferred_hop, ladder.bound) == (8, 4, "at_or_before")
    assert any("copies" in note for note in ladder.notes)
    constant = {ttl: SILENT if ttl < 8 else RESET._replace(answer_ttl=57) for ttl in range(1, 13)}
    ladder = judged(series("vk.com", constant, routers(1, 8)), series(None, genuine_from(11, 13), routers(1, 11)))
    assert (ladder.inferred_hop, ladder.bound) == (None, "exact")


def one_connection(answer_frame, answers_with, last=9, exceeded=4):
    entry = Series("192.0.2.1", "203.0.113.1", 443, "vk.com", "one_connection")
    for ttl in range(1, last):
        step = Step(ttl, [ttl * 10], ["one"])
        if ttl < exceeded:
            step.hops[f"10.0.0.{ttl}"] = ttl * 10 + 1
        entry.steps[ttl] = step
        entry.sent.append(Sent("one", ttl, ttl * 10, 0, ttl, "192.0.2.1", 1, "203.0.113.1", 443, "vk.com"))
    outcome = Outcome(answers_with.state, "x", answers_with.trusted, True, answer_frame, None)
    return entry, {"one": outcome}


def test_one_connection_where_the_bounds_meet():
    ladder = judged(one_connection(45, FORGED), series(None, genuine_from(8), routers(1, 8)))
    assert (ladder.interceptor_ttl, ladder.bound) == (4, "exact")
    assert ladder.first_intercepted_hop.address == "10.0.0.4"


def test_a_late_answer_claims_no_single_hop():
    ladder = judged(one_connection(75, FORGED), series(None, genuine_from(8), routers(1, 8)))
    assert (ladder.interceptor_ttl, ladder.bound) == (4, "at_or_beyond")
    assert any("from 4 to 7" in note for note in ladder.notes)


def test_answers_that_fit_several_probes_leave_a_bound():
    built = series("vk.com", forged_from(4), routers(1, 4)), series(None, genuine_from(8), routers(1, 8))
    for entry, _ in built:
        entry.unclear = 1
        ladder = judged(*built)
        assert (ladder.interceptor_ttl, ladder.bound) == (4, "at_or_beyond")
        assert any("fit probes of several TTLs" in note for note in ladder.notes)
        entry.unclear = 0
    assert judged(*built).bound == "exact"


@pytest.mark.parametrize(("shared", "placement"), [({1: 0}, False), ({3: 0}, True), ({4: 0}, True), ({4: 9}, False)])
def test_a_traceroute_ends_where_it_does_for_probes_that_go_its_way(shared, placement):
    route = Route("203.0.113.1", {ttl: {f"10.{net}.0.{ttl}": 1} for ttl, net in shared.items()}, 5)
    hops = routers(1, 5) if 4 in shared else {1: ["10.0.0.1"], 3: ["10.0.0.3"]}
    ladder = judged(series("vk.com", forged_from(5), hops), routes={"203.0.113.1": route})
    assert (ladder.placement == "at_destination") is placement


def repeated(firsts, to=8):
    """A ladder gone up several times; `firsts` is where each run is first intercepted, None for a clean one."""
    entry = Series("192.0.2.1", "203.0.113.1", 443, "vk.com", "connection_per_ttl")
    outcomes = {}
    for run, first in enumerate(firsts):
        for ttl in range(1, to):
            index, frame = (run, ttl), run * 1_000 + ttl * 10
            step = entry.steps.setdefault(ttl, Step(ttl))
            step.frames.append(frame)
            step.connections.append(index)
            entry.sent.append(Sent(index, ttl, frame, 0, ttl, "192.0.2.1", 1, "203.0.113.1", 443, "vk.com"))
            outcomes[index] = FORGED if first is not None and ttl >= first else SILENT
    return entry, outcomes


def test_repeated_runs_give_the_modal_hop_and_its_support():
    ladder = judged(repeated([5] * 9 + [4, None]), series(None, genuine_from(8), routers(1, 8)))
    assert ladder.runs == (5,) * 9 + (4, None)
    assert ladder.modal_ttl == 5
    assert ladder.interceptor_ttl == 4
    text = " ".join(sentences(ladder, Networks(DATA / "asn")))
    assert "first at hop 5 in 9 of 11 runs; in others first at hop 4" in text
    support = document(ladder, Networks(DATA / "asn"))["support"]
    assert (support["runs"], support["runs_with_effect"], support["runs_at_modal_ttl"]) == (11, 10, 9)


def test_a_single_run_says_nothing_of_runs():
    ladder = judged(repeated([5]), series(None, genuine_from(8), routers(1, 8)))
    assert ladder.runs == (5,)
    assert "runs" not in " ".join(sentences(ladder, Networks(DATA / "asn")))


def elsewhere(hops, address="198.51.100.9"):
    return {address: Route(address, {ttl: dict.fromkeys(found, 5) for ttl, found in hops.items()})}


def with_a_silent_hop(at=5, server=9):
    """Target and control over one way; the router at `at` never answers."""
    seen = {ttl: found for ttl, found in routers(1, server).items() if ttl != at}
    below = {ttl: found for ttl, found in seen.items() if ttl < 5}
    return series("vk.com", forged_from(5), below), series(None, genuine_from(server, 12), seen)


def test_a_traceroute_to_another_address_counts_where_it_goes_the_same_way_before_and_after():
    ladder = judged(*with_a_silent_hop(), routes=elsewhere(routers(1, 9)))
    assert ladder.first_intercepted_hop.address == "10.0.0.5"
    assert ladder.first_intercepted_hop.seen_by == "traceroute to 198.51.100.9"
    assert any("a traceroute to another address, 198.51.100.9" in note for note in ladder.notes)


@pytest.mark.parametrize(
    "hops",
    [
        {**routers(1, 9), 2: ["10.9.9.2"]},
        {**routers(1, 9), 4: ["10.0.0.4", "10.0.0.44"]},
        {ttl: found for ttl, found in routers(1, 9).items() if ttl != 3},
        {**routers(1, 6), 6: ["10.9.9.6"], 7: ["10.9.9.7"], 8: ["10.9.9.8"]},
        routers(1, 6),
        {**routers(1, 9), 5: ["10.0.0.5", "10.0.0.55"]},
    ],
    ids=["another router", "two routers", "a silent one", "another way beyond", "nothing beyond", "two here"],
)
def test_a_traceroute_to_another_address_that_may_go_another_way_names_nothing(hops):
    ladder = judged(*with_a_silent_hop(), routes=elsewhere(hops))
    assert ladder.first_intercepted_hop.address is None
    assert not any("another address" in note for note in ladder.notes)


def test_ways_that_share_their_first_hops_name_nothing_far_behind():
    """Probes answered at TTLs 1 to 3 only, forged from 9: a traceroute elsewhere shares those three with everything."""
    target = sent_again(series("vk.com", forged_from(9, 12), routers(1, 4)), [0, 1])
    ladder = judged(target, series(None, genuine_from(11, 13), routers(1, 4)), routes=elsewhere(routers(1, 11)))
    assert (ladder.last_clean_hop.address, ladder.first_intercepted_hop.address) == (None, None)


@pytest.mark.parametrize(("at", "named"), [(3, None), (4, "10.0.0.4")])
def test_three_routers_must_agree_before_a_traceroute_elsewhere_names_the_next(at, named):
    seen = {ttl: found for ttl, found in routers(1, 9).items() if ttl != at}
    built = series("vk.com", forged_from(at), {ttl: found for ttl, found in seen.items() if ttl < at})
    ladder = judged(built, series(None, genuine_from(9, 12), seen), routes=elsewhere(routers(1, 9)))
    assert (ladder.interceptor_ttl, ladder.first_intercepted_hop.address) == (at, named)


def test_a_router_that_had_used_up_its_answers_shows_nothing_in_the_path():
    """Control and target ask the router of the box's hop within one second: it may have had none left."""
    built = series("vk.com", forged_from(4), routers(1, 4)), series(None, genuine_from(8), routers(1, 8))
    asked_before = [replace(one, time_ns=one.ttl * 10 * SECOND - SECOND // 10) for one in built[1][0].sent]
    assert judged(*built).placement == "in_path"
    built[1][0].sent = asked_before
    ladder = judged(*built)
    assert (ladder.interceptor_ttl, ladder.bound, ladder.placement) == (4, "exact", "unknown")


def test_the_probes_own_hops_come_before_any_traceroute():
    built = (series("vk.com", forged_from(5), routers(1, 5)), series(None, genuine_from(8), routers(1, 8)))
    routes = elsewhere({**routers(1, 5), 5: ["10.8.8.8"]})
    assert judged(*built, routes=routes).first_intercepted_hop.address == "10.0.0.5"


def without(answers, *ttls):
    return {ttl: SILENT if ttl in ttls else answer for ttl, answer in answers.items()}


def test_one_lost_answer_of_the_control_shows_no_way_beyond():
    """Server and box at one hop: the control's answers tell; one that is missing does not."""
    target = series("vk.com", forged_from(5), routers(1, 5))
    assert judged(target, series(None, without(genuine_from(5), 5), routers(1, 5))).bound == "at_or_beyond"
    silent = judged(target, series(None, genuine_from(7), routers(1, 5)))
    assert (silent.bound, silent.interceptor_ttl) == ("exact", 5), "twice nobody answered"


def test_a_control_that_was_not_asked_there_shows_no_way_beyond():
    answers = {ttl: answer for ttl, answer in genuine_from(8).items() if ttl not in (5, 6, 7)}
    ladder = judged(series("vk.com", forged_from(5), routers(1, 5)), series(None, answers, routers(1, 5)))
    assert ladder.bound == "at_or_beyond"
    assert any("too little of it was sent" in note for note in ladder.notes)


def test_one_lost_answer_of_the_box_moves_no_edge():
    """The box sits at hop 5, and its answer to TTL 5 was lost: the target drew nothing there, the control did."""
    target = series("vk.com", forged_from(6), routers(1, 5))
    ladder = judged(target, series(None, genuine_from(9), routers(1, 9)))
    assert (ladder.interceptor_ttl, ladder.bound, ladder.last_clean_hop.ttl) == (6, "at_or_before", 4)
    assert "between hop 4 (10.0.0.4) and hop 6 (10.0.0.6)" in words(ladder)
    assert "as near as hop 5" in words(ladder)
    assert "go up the ladder several times" in words(ladder)
    assert describe(ladder) == "TTL ladder: between hop 4 (10.0.0.4) and hop 6 (10.0.0.6)"
    hidden = judged(target, series(None, {**without(genuine_from(6)), 5: SILENT}, routers(1, 6)))
    assert (hidden.bound, hidden.last_clean_hop.ttl) == (None, 4), "nor does a terminator bound it on the near side"
    assert "at it, nearer or beyond" in words(hidden)
    assert describe(hidden) == "TTL ladder: at hop 6 or nearer, or beyond it"


def test_a_hop_that_the_target_was_not_asked_at_is_no_clean_one():
    answers = {ttl: answer for ttl, answer in forged_from(6).items() if ttl != 5}
    ladder = judged(series("vk.com", answers, routers(1, 5)), series(None, genuine_from(9), routers(1, 9)))
    assert (ladder.bound, ladder.last_clean_hop.ttl) == ("at_or_before", 4)


def test_a_router_that_never_answers_is_no_lost_answer():
    hops = {ttl: found for ttl, found in routers(1, 9).items() if ttl != 5}
    target = series("vk.com", forged_from(6), {ttl: found for ttl, found in hops.items() if ttl < 5})
    control = series(None, genuine_from(9), hops)
    assert judged(target, control).bound == "at_or_before", "asked once: the box's own answer may have been lost"
    in_one_moment = judged(sent_again(target, [0, 0.01]), control)
    assert in_one_moment.bound == "at_or_before"
    ladder = judged(sent_again(target, [0, 1]), control)
    assert (ladder.bound, ladder.last_clean_hop) == ("exact", Hop(5, None))


def ecmp(passed_at, outcome=SILENT):
    """A ladder that is met from TTL 5 on, but for one flow that goes another way."""
    answers = {**forged_from(5), passed_at: outcome}
    hops = routers(1, 5) if outcome is GENUINE else routers(1, 5) | {passed_at: [f"10.7.0.{passed_at}"]}
    return series("vk.com", answers, hops)


@pytest.mark.parametrize(("passed_at", "outcome"), [(5, SILENT), (7, SILENT), (8, GENUINE)])
def test_a_flow_that_went_on_leaves_no_edge(passed_at, outcome):
    """Ways of equal cost: the box is on some of them, and the TTLs at which it is met are of different flows."""
    target = ecmp(passed_at, outcome)
    if passed_at == 5:
        target[0].steps[5].connections.append("another run")
        target[0].sent.append(replace(target[0].sent[4], index="another run"))
        target[1]["another run"] = FORGED
    ladder = judged(target, series(None, genuine_from(8), routers(1, 8)))
    assert (ladder.interceptor_ttl, ladder.bound, ladder.placement) == (5, None, "unknown")
    assert (ladder.last_clean_hop, ladder.first_intercepted_hop.address) == (None, None)
    assert any("went on and met nothing" in note for note in ladder.notes)


def test_an_answer_and_a_time_exceeded_on_one_connection_are_beside_the_path():
    hops = routers(1, 8)
    ladder = judged(series("vk.com", forged_from(4), hops), series(None, genuine_from(8), hops))
    assert (ladder.bound, ladder.placement) == ("exact", "on_path")


@pytest.mark.parametrize("hops", [{}, {1: ["10.0.0.1"]}], ids=["no router at all", "the first one, as everybody's"])
def test_a_control_that_no_router_shows_on_the_targets_way_makes_no_edge(hops):
    """The capture filter left ICMP out, or the control's ways were never seen beside the target's."""
    target = sent_again(series("vk.com", forged_from(5), routers(1, 5) if hops else {}), [0, 1])
    ladder = judged(target, sent_again(series(None, genuine_from(8), hops), [5, 6]))
    assert (ladder.interceptor_ttl, ladder.bound, ladder.placement) == (5, "at_or_beyond", "unknown")


def test_of_two_ttls_in_one_connection_the_higher_one_drew_the_answer():
    """Each connection sends its hello with TTL t, then with t + 1: the box at hop 5 answers the second copies first."""
    entry, outcomes = series("vk.com", forged_from(4), routers(1, 5))
    for ttl in range(1, 9):
        later = replace(entry.sent[ttl - 1], ttl=ttl + 1, frame=ttl * 10 + 2, time_ns=ttl * 10 * SECOND + 1)
        entry.sent.append(later)
        entry.steps[ttl + 1].connections.append((entry.name, ttl))
        if ttl >= 4:
            outcomes["vk.com", ttl] = FORGED._replace(answer_frame=ttl * 10 + 3, answer_ns=ttl * 10 * SECOND + 2)
    entry.sent.sort(key=lambda one: one.frame)
    entry.steps[5].connections.remove(("vk.com", 5))
    ladder = judged((entry, outcomes), series(None, genuine_from(9), routers(1, 9)))
    assert (ladder.interceptor_ttl, ladder.last_clean_hop.address) == (5, "10.0.0.4")


def words(ladder):
    return " | ".join(sentences(ladder, Networks(DATA / "asn")))


def test_what_would_have_made_it_surer():
    once = judged(repeated([5]), series(None, genuine_from(8), routers(1, 8)))
    assert "go up the ladder several times" in words(once)
    often = judged(repeated([5] * 3), series(None, genuine_from(8), routers(1, 8)))
    assert "go up the ladder several times" not in words(often)
    alone = judged(series("vk.com", forged_from(4), {}))
    assert "no router's ICMP is in the capture: record without a port filter" in words(alone)
    assert "ask the same server for a name on no list too" in words(alone)
    late = judged(one_connection(75, FORGED), series(None, genuine_from(8), routers(1, 8)))
    assert "use one connection for each TTL" in words(late)


@pytest.mark.parametrize(("ttl", "told"), [(252, False), (251, False), (250, True), (60, False), (57, True)])
def test_another_way_back_is_told(ttl, told):
    """Hop 4's Time Exceeded comes back over three routers, or four where it counts itself in, if the ways are one."""
    target, outcomes = series("vk.com", forged_from(6), routers(1, 6))
    target.steps[4].exceeded["10.0.0.4"] = Exceeded(41, ttl, 1_000_000, (), ())
    ladder = judged((target, outcomes), series(None, genuine_from(8), routers(1, 8)))
    said = "by their TTLs, over another way back or through MPLS: hop 4's answer came back over"
    assert (said in words(ladder)) is told
