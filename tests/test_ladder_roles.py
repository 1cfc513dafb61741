"""Who is a target and who a control: by the list, by what was met, and by when it was sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kzpcap.paths.ladders import Route
from kzpcap.verdict.ladders import judge_ladders
from tests.test_ladder_words import said
from tests.test_place import GENUINE, SILENT, forged_from, genuine_from, judged, routers, sent_again, series

DAY = 86_400 * 1_000_000_000
UNLISTED = "www.unlisted.example"


def ladders(*built, routes=None, listed=("vk.com", "mail.ru")):
    outcomes = {key: value for _, found in built for key, value in found.items()}
    found = judge_ladders([entry for entry, _ in built], outcomes.get, set(listed).__contains__, routes or {})
    return {(one.server_name, one.control_server_name): one for one in found}


def later(entry, outcomes, by=DAY):
    """The same another day: other connections."""
    entry.sent[:] = [replace(sent, index=(*sent.index, by), time_ns=sent.time_ns + by) for sent in entry.sent]
    for step in entry.steps.values():
        step.connections[:] = [(*index, by) for index in step.connections]
        step.expired = {(*index, by) for index in step.expired}
    return entry, {(*index, by): outcome for index, outcome in outcomes.items()}


def forged(name, k=4):
    return series(name, forged_from(k), routers(1, k))


def clean(name):
    return series(name, genuine_from(8), routers(1, 8))


def test_what_met_a_box_is_a_target_though_only_its_control_is_listed():
    found = ladders(forged(UNLISTED), clean("vk.com"))
    ladder = found[UNLISTED, "vk.com"]
    assert (ladder.interceptor_ttl, ladder.bound) == (4, "exact")
    assert found["vk.com", None].interceptor_ttl is None, "what met a box shows nothing for a name that met none"


def test_of_several_controls_one_that_met_nothing_is_taken():
    found = ladders(forged("vk.com"), forged(UNLISTED), clean("www.example.org"))
    assert set(found) == {("vk.com", "www.example.org"), (UNLISTED, "www.example.org")}
    assert {one.bound for one in found.values()} == {"exact"}


def test_a_control_on_no_list_goes_before_one_that_is_listed():
    found = ladders(forged("vk.com"), clean("mail.ru"), clean("www.example.org"))
    assert ("vk.com", "www.example.org") in found


def test_where_every_name_met_it_the_others_show_no_edge():
    found = ladders(forged("vk.com"), forged(UNLISTED))
    assert set(found) == {("vk.com", UNLISTED), (UNLISTED, "vk.com")}
    assert {one.bound for one in found.values()} == {"at_or_beyond"}
    assert "the control met it too, from TTL 4 on" in said(found["vk.com", UNLISTED])


@pytest.mark.parametrize("name", [UNLISTED, None])
def test_each_day_of_a_name_on_no_list_has_its_ladder(name):
    built = [forged(name, 5), later(*forged(name, 3))]
    outcomes = {key: value for _, found in built for key, value in found.items()}
    found = judge_ladders([entry for entry, _ in built], outcomes.get, lambda _: False, {})
    assert sorted(one.interceptor_ttl for one in found) == [3, 5]
    assert {one.control_server_name for one in found} == {None}


def test_nothing_met_and_nothing_listed_is_one_ladder():
    (one,) = ladders(clean("a.example"), clean(None), clean("b.example"), listed=())
    assert one == ("a.example", None) or one[1] in ("b.example", None)


def test_a_server_that_the_control_passed_by_is_at_no_such_hop():
    """A box that refuses UDP in the server's name ends a traceroute there; the control went on, though not beside."""
    route = Route("203.0.113.1", {ttl: {f"10.0.0.{ttl}": ttl} for ttl in range(1, 5)}, destination_ttl=5)
    routes = {"203.0.113.1": route}
    control = series(None, genuine_from(8), {1: ["10.0.0.1"], **routers(6, 8)})
    ladder = judged(series("vk.com", forged_from(5), routers(1, 5)), control, routes=routes)
    assert (ladder.bound, ladder.placement) == ("at_or_beyond", "unknown")
    only_later = series(None, genuine_from(8), {1: ["10.0.0.1"]})
    ladder = judged(series("vk.com", forged_from(5), routers(1, 5)), only_later, routes=routes)
    assert ladder.placement != "at_destination"
    near = series(None, genuine_from(5), {1: ["10.0.0.1"]})
    assert judged(series("vk.com", forged_from(5), routers(1, 5)), near, routes=routes).placement == "at_destination"


def test_a_drop_below_which_a_ttl_was_not_asked_may_be_nearer():
    answers = dict.fromkeys((1, 2, *range(4, 11)), SILENT)
    target = sent_again(series("vk.com", answers, routers(1, 3)), [0, 1, 2, 3])
    control = series(
        None, {**dict.fromkeys(range(1, 8), SILENT), **dict.fromkeys(range(8, 11), GENUINE)}, routers(1, 8)
    )
    ladder = judged(target, control)
    assert (ladder.effect, ladder.interceptor_ttl) == ("silence", 4)
    assert ladder.bound in ("at_or_before", None)
    assert ladder.last_clean_hop.ttl == 2


def test_a_control_in_one_connection_that_was_answered_is_not_told_as_unanswered():
    target = series("vk.com", {4: forged_from(4)[4]}, routers(1, 4), "one_connection")
    control = series(None, {8: GENUINE}, routers(1, 4), "one_connection")
    words = said(judged(target, control))
    assert "answered nowhere" not in words
    assert "was answered from TTL 8 on" in words


def test_a_control_goes_further_only_where_it_did():
    route = Route("203.0.113.1", {ttl: {f"10.0.0.{ttl}": ttl} for ttl in range(1, 8)}, destination_ttl=8)
    built = series("vk.com", forged_from(8), routers(1, 8)), series(None, genuine_from(8), routers(1, 8))
    ladder = judged(*built, routes={"203.0.113.1": route})
    assert (ladder.bound, ladder.control_terminating_ttl) == ("exact", 8)
    assert "further" not in said(ladder)
