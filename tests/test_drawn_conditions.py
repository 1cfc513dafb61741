"""What is said of a judged ladder, in words and in the drawing: each condition by itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kzpcap.observations import Absent
from kzpcap.paths.networks import Networks
from kzpcap.reference import DATA
from kzpcap.report.ladders import document, draw, sentences
from kzpcap.report.probing import UNANSWERED, standing_alone
from kzpcap.report.summary import Summary
from kzpcap.verdict.ladders import Ladder
from kzpcap.verdict.routers import Hop
from kzpcap.verdict.rules import State
from kzpcap.verdict.steps import StepOutcome

NETWORKS = Networks(DATA / "asn")
KAZAKHTELECOM, PRIVATE = "88.204.195.89", "10.0.0.4"


def router(address, back=(), changed=(), mpls=()):
    labels = [{"label": label, "ttl": 1} for label in mpls]
    return {"address": address, "return_hops": list(back), "changed": list(changed), "mpls": labels}


def side(answer="silence", *routers):
    return {"time_exceeded": list(routers), "answer": answer, "answers": {}}


def step(ttl, target=None, control=None):
    return StepOutcome(ttl, target, control)


EDGE = Ladder(
    "192.0.2.1", "203.0.113.1", 443, "vk.com", "b.example", "connection_per_ttl", 5, "certificate", 8, "exact",
    Hop(4, PRIVATE, "target"), Hop(5, KAZAKHTELECOM, "control"), Hop(4, PRIVATE, "target"), "in_path", 5, 5, False,
    None, None, (), (step(4, side("time_exceeded", router(PRIVATE)), side()),), (5, 5),
)  # fmt: skip
UNSEEN = Hop(4, None)


def words(**changes):
    return " | ".join(sentences(EDGE._replace(**changes), NETWORKS))


def drawn(*steps, **changes):
    lines = []
    draw(EDGE._replace(steps=steps, **changes), NETWORKS, lines.append)
    return "".join(lines).splitlines()


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({}, f"between hop 4 ({PRIVATE}) and hop 5 ({KAZAKHTELECOM})"),
        ({"last_clean_hop": None, "interceptor_ttl": 1, "first_intercepted_hop": Hop(1, None)},
         "between the capture point and hop 1 (not seen on this path)"),
        ({"last_clean_hop": None, "interceptor_ttl": 2}, "between hop 1 and hop 5"),
        ({"last_clean_hop": None}, f"between hop 4 and hop 5 ({KAZAKHTELECOM})"),
        ({"last_clean_hop": Hop(3, None, "target", ("a", "b", "c", "d")), "bound": "at_or_before"},
         f"between hop 3 (a or b or c) and hop 5 ({KAZAKHTELECOM})"),
        ({"last_clean_hop": None, "bound": "at_or_before"}, f"at hop 5 ({KAZAKHTELECOM}) or nearer"),
        ({"bound": None}, f"near hop 5 ({KAZAKHTELECOM}): at it, nearer or beyond"),
        ({"bound": "at_or_beyond"}, f"at hop 5 ({KAZAKHTELECOM}) or beyond it, not nearer"),
        ({"interceptor_ttl": None}, "no answer to the target on this ladder shows an interceptor or a blocker"),
    ],
)  # fmt: skip
def test_each_bound_has_its_words(changes, begins):
    assert words(**changes).startswith(begins)


def test_a_ladder_that_met_nothing_tells_where_its_control_was_answered():
    said = "the control got a trusted certificate from TTL 8 on"
    assert said in words(interceptor_ttl=None)
    assert "trusted certificate" not in words(interceptor_ttl=None, control_terminating_ttl=None)
    assert words(interceptor_ttl=None, notes=("a note",)).endswith("| a note")


@pytest.mark.parametrize(
    ("ttl", "bound", "said"),
    [(8, "exact", "went 3 hops further, to TTL 8"), (6, "exact", "went 1 hop further, to TTL 6"),
     (7, "exact", "went 2 hops further, to TTL 7"), (None, "exact", None), (8, "at_or_beyond", None)],
)  # fmt: skip
def test_how_much_further_the_control_went_is_told_of_an_edge(ttl, bound, said):
    found = words(control_terminating_ttl=ttl, bound=bound)
    assert (said in found) if said else ("further, to" not in found)


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"last_clean_hop": UNSEEN}, True), ({}, False), ({"last_clean_hop": None}, False),
     ({"last_clean_hop": UNSEEN, "last_answering_hop": None}, False)],
)  # fmt: skip
def test_the_nearest_router_is_told_where_the_clean_hop_was_not_seen(changes, told):
    found = words(**changes)
    assert (f"hop 4 was not seen; the nearest router that answered is hop 4 ({PRIVATE})" in found) is told
    assert ("was not seen;" in found) is told


def test_the_runs_that_differ_are_told():
    assert "first at hop 5 in 2 of 2 runs |" in words()
    assert "first at hop 5 in 2 of 4 runs; in others first at hop 6 |" in words(runs=(5, 6, 5, None))
    assert "of 1 runs" not in words(runs=(5,))
    assert "runs" not in words(runs=(None, None))
    assert "mixed: 3 of 5 answers" in words(mixed=True, met=3, answers=5)
    assert "mixed" not in words()


def test_the_network_of_each_router_is_told():
    assert f"{KAZAKHTELECOM}: AS9198" in words()
    assert f"{PRIVATE}: no AS in the table" in words()
    assert "no AS in the table" not in words(last_clean_hop=UNSEEN, last_answering_hop=None)
    told = document(EDGE, NETWORKS)
    assert (told["first_intercepted_hop"]["asn"], told["last_clean_hop"]["asn"]) == (9198, None)
    assert told["first_intercepted_hop"]["network"] == "Kazakhtelecom"
    assert document(EDGE._replace(last_clean_hop=None), NETWORKS)["last_clean_hop"] is None
    unseen = document(EDGE._replace(first_intercepted_hop=UNSEEN), NETWORKS)["first_intercepted_hop"]
    assert (unseen["address"], unseen["asn"], unseen["network"], unseen["published"]) == (None, None, None, None)
    published = Hop(4, "92.47.151.210", "target")
    assert "as published 2019" in words(last_clean_hop=published)
    assert document(EDGE._replace(last_clean_hop=published), NETWORKS)["last_clean_hop"]["published"]
    (one,) = document(EDGE._replace(steps=(step(4, side("x", router(KAZAKHTELECOM), router(PRIVATE))),)), NETWORKS)[
        "steps"
    ]
    routers = [(each["asn"], each["network"]) for each in one["target"]["time_exceeded"]]
    assert routers == [(9198, "Kazakhtelecom"), (None, None)]
    assert one["control"] is None


def test_a_ladder_without_a_time_has_none():
    assert (document(EDGE, NETWORKS)["first_time"], document(EDGE, NETWORKS)["last_time"]) == (None, None)
    timed = document(EDGE._replace(first_ns=10**9, last_ns=2 * 10**9), NETWORKS)
    assert (timed["first_time"], timed["last_time"]) == ("1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z")
    assert document(EDGE._replace(runs=()), NETWORKS)["support"]["runs_at_modal_ttl"] == 0


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, None),
        ({"steps": (step(4, side(), side()),)}, "no router's ICMP"),
        ({"steps": (step(4, side()), step(5, side("x", router("r"))))}, None),
        ({"control_server_name": None, "steps": (step(4, side("x", router("r"))),)}, "a name on no list too"),
        ({"control_server_name": None}, None),
        ({"control_server_name": None, "steps": (*EDGE.steps, step(5, side()))}, None),
        ({"shape": "one_connection", "runs": (), "bound": None}, "one connection for each TTL"),
        ({"shape": "one_connection", "runs": ()}, None),
        ({"last_clean_hop": UNSEEN}, "run a traceroute"),
        ({"last_clean_hop": UNSEEN, "bound": "at_or_beyond"}, None),
        ({"last_clean_hop": None}, None),
        ({"last_clean_hop": Hop(4, None, "target", ("a", "b"))}, None),
        ({"runs": (5,)}, "several times"),
        ({"runs": (5,), "bound": "at_or_beyond"}, None),
        ({"runs": (5,), "bound": "at_or_before", "inferred_hop": 3}, None),
    ],
)
def test_only_what_would_have_made_it_surer_is_advised(changes, advice):
    found = words(**changes)
    assert ("surer: " in found) is (advice is not None)
    assert advice is None or advice in found


@pytest.mark.parametrize(
    ("back", "told"),
    [((), None), ((3,), None), ((5,), "over 5 routers, not 3"), ((9, 4), None), ((1, 6), "over 1 or 6")],
)
def test_another_way_back_is_one_by_every_initial_ttl(back, told):
    found = words(steps=(step(4, side("x", router(PRIVATE, back))), step(5)))
    assert (f"hop 4's answer came back {told}" in found) if told else ("by their TTLs" not in found)


@pytest.mark.parametrize(("count", "more"), [(3, None), (4, "(and 1 more)"), (6, "(and 3 more)")])
def test_three_ways_back_are_told(count, more):
    found = words(steps=tuple(step(ttl, side("x", router("r", (30,)))) for ttl in range(1, count + 1)))
    assert (more in found) if more else ("more)" not in found)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({2, 3, 4}, "from hop 2 on the quoted"),
        ({3, 4}, "from hop 3 on the quoted"),
        ({2, 4}, "at hop 2, 4 the quoted"),
        ({4}, "at hop 4 the quoted"),
        ({1, 2, 3, 4}, "from hop 1 on the quoted"),
        ((), None),
    ],
)
def test_a_change_from_a_hop_on_is_one_that_lasts(changed, said):
    steps = tuple(step(ttl, side("x", router("r", changed=["X"] if ttl in changed else ()))) for ttl in range(1, 5))
    found = words(steps=steps)
    assert (f"{said} probes differ from what was sent: X" in found) if said else ("quoted probes" not in found)


def test_labels_are_told_where_there_are_any():
    found = words(steps=(step(4, side("x", router("r", mpls=(7, 8, 9, 10)))),))
    assert "MPLS at hop 4 (r, label 7, 8, 9): routers" in found
    assert "MPLS at" not in words()


def test_the_drawing_shows_each_cell_and_where_it_begins():
    lines = drawn(
        step(3, side("time_exceeded", router(KAZAKHTELECOM)), side("time_exceeded", router("r"), router("s"))),
        step(5, side("intercepted", router("r")), side()),
        step(6, side("silence"), None),
        step(7, None, side("trusted")),
    )
    assert [line.split("  ")[0] for line in lines[:2]] == ["", "PATH to 203.0.113.1, counted from the capture point"]
    assert lines[2].split() == ["TTL", "vk.com", "b.example", "(control)"]
    assert lines[3].split() == ["3", KAZAKHTELECOM, "AS9198", "r", "..."]
    assert lines[4].strip("= ") == "from here on the target got the forged certificate"
    assert "  forged certificate + ICMP  " in lines[5]
    assert lines[5].endswith("(no answer)")
    assert lines[6].split() == ["6", "(no", "answer)"]
    assert lines[7].split() == ["7", "trusted", "certificate"]


def test_the_drawing_of_nothing_met_has_no_line_across():
    lines = drawn(step(5, side("answered")), interceptor_ttl=None, effect=None, server_name=None)
    assert lines[2].split() == ["TTL", "(no", "name)"]
    assert not any("from here on" in line for line in lines)
    assert "the target was answered" in "".join(drawn(step(5, side("answered")), effect=None))
    nameless = drawn(step(5, side(), side()), control_server_name=None)
    assert nameless[2].endswith("(no name) (control)")


# probes of ladders, and counts

LADDER = {"client": "c", "server": {"address": "s", "port": 443}}


@pytest.mark.parametrize(
    ("ttl", "server", "rule", "alone"),
    [(None, "s", "x", True), (None, "s", UNANSWERED, True), (5, "s", "x", False), (5, "t", "x", True),
     (5, "t", UNANSWERED, False)],
)  # fmt: skip
def test_a_probe_of_a_ladder_or_that_nobody_answered_is_not_one_of_its_own(ttl, server, rule, alone):
    one = {"probe_ttl": ttl, "client": {"address": "c"}, "server": {"address": server, "port": 443}, "rule_id": rule}
    assert standing_alone([LADDER])(one) is alone


def counted(**changes):
    target = SimpleNamespace(exact=True, in_force=True, list_id="a")
    seen = {"absent": None, "chain": (), "target": target, **changes}
    found = Summary()
    interceptor = seen.pop("interceptor", None)
    verdict = SimpleNamespace(state=State.INTERCEPTED, rule=SimpleNamespace(id="r"), interceptor=interceptor)
    found.add(SimpleNamespace(**seen), verdict)
    return found


def test_each_count_is_of_its_own():
    one = counted()
    assert (one.document(3)["others"], one.intercepted, one.document(3)["certificates"]) == (0, 1, 3)
    assert one.document(0)["targets"]["lists"]["a"] == {"connections": 1, "in_force": 1, "states": {"intercepted": 1}}
    assert (one.absent, one.identities) == ({}, {})
    assert counted(interceptor=SimpleNamespace(identity="unknown")).identities == {"unknown": 1}
    assert counted(absent=Absent.TRUNCATED).absent == {Absent.TRUNCATED.value: 1}
    assert counted(absent=Absent.TRUNCATED, chain=("x",)).absent == {}


@pytest.mark.parametrize(("in_force", "counts"), [(True, (1, 0)), (False, (0, 1)), (None, (0, 0))])
def test_a_list_whose_day_is_unknown_is_neither_in_force_nor_out_of_it(in_force, counts):
    found = counted(target=SimpleNamespace(exact=True, in_force=in_force, list_id="a"))
    assert (found.in_force["a"], found.out_of_force["a"]) == counts


def test_names_below_a_listed_one_are_no_targets():
    below = counted(target=SimpleNamespace(exact=False, in_force=True, list_id="a"))
    none = counted(target=None)
    assert (below.subdomains, below.document(0)["others"], none.subdomains, none.document(0)["others"]) == (1, 1, 0, 1)
    assert not below.target_states
    assert not below.lists
