"""What a ladder says where its answers differ at one TTL, or show no certificate."""

from __future__ import annotations

from kzpcap.analysis import analyze
from kzpcap.paths.networks import Networks
from kzpcap.reference import DATA, load
from kzpcap.report.ladders import _cell, document, draw, sentences
from kzpcap.verdict.ladders import judge_ladders
from kzpcap.verdict.outcomes import Outcome
from kzpcap.verdict.rules import State
from tests.conftest import CAPTURES, ROOT
from tests.test_place import FORGED, GENUINE, SILENT, forged_from, genuine_from, judged, routers, series

HIDDEN = Outcome(State.UNDETERMINED, "x", False, True, 10_000, None)
NETWORKS = Networks(DATA / "asn")


def hidden_from(k, to=10):
    return {ttl: SILENT if ttl < k else HIDDEN for ttl in range(1, to)}


def with_more(entry, outcomes, ttl, answers):
    """Further connections with this TTL."""
    for number, answer in enumerate(answers):
        entry.steps[ttl].connections.append((entry.name, ttl, number))
        outcomes[entry.name, ttl, number] = answer
    return entry, outcomes


def said(ladder):
    return " ".join(sentences(ladder, NETWORKS))


def drawn(ladder):
    out = []
    draw(ladder, NETWORKS, out.append)
    return "".join(out)


def test_a_hidden_answer_is_not_told_as_a_clean_one():
    control = series(None, genuine_from(8), routers(1, 8))
    hidden = said(judged(series("vk.com", hidden_from(8), routers(1, 8)), control))
    assert "shows an interceptor or a blocker" not in hidden
    assert "answered in TLS from TTL 8 on, and by no certificate that could be judged" in hidden
    clean = said(judged(series("vk.com", genuine_from(8), routers(1, 8)), control))
    assert "no answer to the target on this ladder shows an interceptor or a blocker" in clean
    silent = said(judged(series("vk.com", dict.fromkeys(range(1, 8), SILENT), routers(1, 8)), control))
    assert "no answer to the target on this ladder shows an interceptor or a blocker" in silent


def test_a_target_that_is_answered_nearer_than_its_control_is_told():
    near = judged(series("vk.com", hidden_from(5), routers(1, 5)), series(None, hidden_from(8), routers(1, 8)))
    assert "answered from TTL 5 on, the control from TTL 8 on" in said(near)
    assert "routers answered the control's probes with TTL 5, 6, 7" in said(near)
    silent = {ttl: hops for ttl, hops in routers(1, 8).items() if ttl != 6}
    holed = judged(series("vk.com", hidden_from(5), routers(1, 5)), series(None, hidden_from(8), silent))
    assert "routers answered the control's probes with TTL 5, 7" in said(holed), "none with TTL 6 did"
    one = judged(series("vk.com", hidden_from(7), routers(1, 7)), series(None, hidden_from(8), routers(1, 8)))
    assert "routers answered the control's probes with TTL 7" in said(one)


def test_no_nearer_answer_where_no_router_shows_it():
    """A control that was silent there may have lost its answers; one that was answered as near is no other."""
    for control in (hidden_from(5), hidden_from(4), hidden_from(8)):
        ladder = judged(series("vk.com", hidden_from(5), routers(1, 5)), series(None, control, routers(1, 5)))
        assert "something nearer answered" not in said(ladder)


def test_answers_that_differ_at_one_ttl_are_counted_and_drawn():
    entry, outcomes = series("vk.com", forged_from(4), routers(1, 4))
    for ttl in (6, 7):
        with_more(entry, outcomes, ttl, (GENUINE, FORGED, SILENT))
    ladder = judged((entry, outcomes), series(None, genuine_from(8), routers(1, 8)))
    assert (ladder.mixed, ladder.met, ladder.answers) == (True, 8, 10)
    assert "mixed: 8 of 10 answers from there on had the effect" in said(ladder)
    assert "1 genuine, 2 forged" in drawn(ladder)
    told = document(ladder, NETWORKS)
    (step,) = [step for step in told["steps"] if step["ttl"] == 6]
    assert step["target"]["answer"] == "intercepted"
    assert step["target"]["answers"] == {"intercepted": 2, "genuine": 1}
    assert (told["support"]["answers_with_effect"], told["support"]["answers_from_there"]) == (8, 10)


def test_icmp_beside_answers_that_differ_is_drawn_too():
    counts = {"genuine": 12, "intercepted": 4, "interfered": 3, "suspected": 1}
    for answers, cell in (
        ({"genuine": 1, "intercepted": 1}, "1 genuine, 1 forged + ICMP"),
        (counts, "12 genuine, 4 forged, 3 bl~ + ICMP"),
    ):
        side = {"time_exceeded": [{"address": "10.0.0.6"}], "answer": "intercepted", "answers": answers}
        assert _cell(side, NETWORKS) == cell


def test_a_control_that_met_it_too_is_no_terminator():
    built = series("vk.com", forged_from(4), routers(1, 4)), series(None, forged_from(5), routers(1, 5))
    outcomes = {key: value for _, found in built for key, value in found.items()}
    found = judge_ladders([entry for entry, _ in built], outcomes.get, {"vk.com"}.__contains__, {})
    words = said(next(one for one in found if one.server_name == "vk.com"))
    assert "the control met it too, from TTL 5 on: it shows no edge" in words
    assert "terminator" not in words
    assert "ask the same server for a name that it lets by too" in words


def test_a_clean_answer_at_the_very_ttl_of_the_box_is_mixed_too():
    entry, outcomes = series("vk.com", forged_from(4), routers(1, 4))
    with_more(entry, outcomes, 4, (GENUINE,))
    assert judged((entry, outcomes), series(None, genuine_from(8), routers(1, 8))).mixed
    assert not judged(series("vk.com", forged_from(4), routers(1, 4))).mixed


def test_the_ladder_in_the_readme_is_what_is_printed():
    text = (ROOT / "README.md").read_text()
    shown = text[text.index("    PATH to 203.0.113.80") :].split("\n\n")[0]
    report = analyze(str(CAPTURES / "kz-2019-ladder" / "capture.pcapng"), load())
    out = []
    (ladder,) = report.ladders
    draw(ladder, report.networks, out.append)
    report.close()
    assert "".join(out).strip("\n") == "\n".join(line[4:] for line in shown.split("\n"))
