"""What the captures of a case show together: edges, explanations, on and off; and the record of 2019, rebuilt."""

from __future__ import annotations

import itertools
import json
import random
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kzpcap.cases import crossings as crossings_of
from kzpcap.cases import edges, timeline, tomography
from kzpcap.cases.across import Across
from kzpcap.cases.crossings import (
    NOT_KNOWN,
    START,
    Crossing,
    Edge,
    edges_of,
    network_of,
    path_of,
    router_name,
    scope,
    seconds,
    settled,
    vantages,
)
from kzpcap.cases.store import Case
from kzpcap.cases.summary import total
from tests.conftest import CAPTURES, judged, run

sys.path.insert(0, str(CAPTURES))
from recipes.built import genuine_chain, qaznet_chain
from recipes.ladders import probe_each_ttl
from recipes.packets import HOPS, Capture, Connection
from recipes.tls import rsa_handshake

GUILTY, OTHER = Edge("m", "g"), Edge("n", "h")


def crossing(path, hit, time=0.0, where=None, **more):
    outcome = "intercepted" if hit else "clean"
    values = {"capture": "c", "frame": 1, "network": "10.0.0.0/16", "name": "vk.com", "server": "s", "why": ""}
    found = tuple(where if where is not None else path) if hit else ()
    return Crossing(time=time, outcome=outcome, path=tuple(path), where=found, **{**values, **more})


def world(seed, share=0.6, guilty=(GUILTY,), flows=10):
    """Flows from eight networks to four servers; a box on some edges acts on a part of what crosses it."""
    rng = random.Random(seed)
    found = []
    for network in range(8):
        for server in range(4):
            core = rng.choice([["m", "g"], ["m", "g"], ["m", "h"], ["n", "h"], ["n", "g"]])
            nodes = [START, f"a{network}", f"b{network % 3}", *core, f"z{server}", f"{server} (server)"]
            path = [Edge(before, after) for before, after in itertools.pairwise(nodes)]
            for _ in range(flows):
                hit = any(edge in path and rng.random() < share for edge in guilty)
                found.append(crossing(path, hit, rng.random() * 3600, network=f"n{network}", server=str(server)))
    return found


def named(found):
    return [[group.edges for group in one.groups] for one in found.explanations]


@pytest.mark.parametrize("seed", range(12))
def test_a_box_that_acts_on_a_part_is_found_and_no_innocent_edge_is_named(seed):
    found = tomography.explain(world(seed))
    assert named(found) == [[(GUILTY,)]]
    assert found.explanations[0].groups[0].miss_rate == pytest.approx(0.4, abs=0.12)


@pytest.mark.parametrize("seed", range(6))
def test_two_boxes_are_found(seed):
    found = tomography.explain(world(seed, guilty=(GUILTY, OTHER), flows=20))
    assert [(GUILTY,), (OTHER,)] in named(found)


def test_edges_that_always_occur_together_are_never_split():
    path = [Edge(START, "a"), Edge("a", "b"), Edge("b", "s (server)")]
    found = tomography.explain([crossing(path, True), crossing(path, False)])
    assert named(found) == [[tuple(sorted(path))]]
    exact = tomography.explain([crossing(path, True, where=path[1:2]), crossing(path, True)])
    assert (path[1],) in [group for one in named(exact) for group in one]


def test_a_clean_connection_counts_only_while_its_edge_is_on():
    path, aside = [Edge(START, "a"), Edge("a", "b")], [Edge(START, "a"), Edge("a", "c")]
    late = tomography.WINDOW + 1
    found = tomography.explain([crossing(path, True), crossing(path, False, late), crossing(aside, False, -late)])
    assert found.clean == 0
    assert dict(found.neutral) == {"clean, and nothing on its way was intercepted within ten minutes": 2}
    near = tomography.explain([crossing(path, True), crossing(path, False, late - 1), crossing(aside, False, 1)])
    assert near.clean == 2
    assert named(near)[0] == [(path[1],)]
    assert named(near)[-1] == [(path[0],)]


def test_the_guilty_edge_is_not_cleared_by_what_it_let_pass():
    path = [Edge("a", "b"), Edge("b", "c")]
    found = tomography.explain([crossing(path, True), *(crossing(path, False) for _ in range(99))])
    assert named(found) == [[tuple(path)]]
    assert any("let 99 of 100 pass" in said for said in found.contradictions)


def test_interceptions_that_no_few_edges_explain_are_said_to_be():
    apart = [crossing([Edge(f"a{number}", f"b{number}")], True) for number in range(5)]
    found = tomography.explain(apart)
    assert found.explanations == ()
    assert any("no 3 edges explain" in said for said in found.contradictions)
    assert tomography.explain([]).intercepted == 0


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 6), min_size=2, max_size=5, unique=True), st.booleans(), st.integers(0, 2000)
        ),
        max_size=25,
    )
)
def test_every_explanation_explains_every_interception(flows):
    every = []
    for nodes, hit, time in flows:
        path = [Edge(str(one), str(two)) for one, two in itertools.pairwise(nodes)]
        every.append(crossing(path, hit, float(time)))
    found = tomography.explain(every)
    for one in found.explanations:
        guilty = {edge for group in one.groups for edge in group.edges}
        assert all(guilty & set(flow.where) for flow in every if flow.where)
        assert all(0 <= group.miss_rate <= 1 for group in one.groups)
    assert tomography.explain(list(reversed(every))).explanations == found.explanations


def test_the_edge_table_has_support_and_counter_examples():
    path = [Edge(START, "a"), Edge("a", "b"), Edge("b", "c")]
    ladder = replace(crossing(path, True, where=path[1:2]), bound="exact", effect="certificate", runs=3)
    every = [ladder, crossing(path, True, 60), crossing(path, False, 120, frame=9), crossing(path, False, 9000)]
    (row,) = edges.table(every)
    assert (row.edge, row.runs, row.intercepted, row.clean, row.out_of_time) == (path[1], 3, 2, 1, 1)
    assert row.counter == [("c", 9)]
    assert edges.mostly([row]) is None


def test_the_sentence_of_2019_comes_out_by_itself():
    """FACTS 1.5: "95 % of the time the last hop before injection is A or B, the hop after is C or D"."""
    pairs = [("A", "C")] * 60 + [("B", "D")] * 30 + [("A", "D")] * 6 + [("X", "Y")] * 4
    every = [
        replace(crossing([Edge(*pair)], True, network=f"n{number}"), bound="exact", effect="certificate", runs=1)
        for number, pair in enumerate(pairs)
    ]
    found = edges.mostly(edges.table(every))
    assert (found.before, found.after, found.count, found.of) == (("A", "B"), ("C", "D"), 96, 100)
    assert found.sentence() == (
        "In 96 of 100 ladders with an exact edge (96 %), the last hop before injection is A or B, and the hop after is"
        " C or D."
    )
    assert edges.disagreements(every) == []
    reversed_pair = replace(crossing([Edge("C", "A")], True, network="abroad"), bound="exact", effect="certificate")
    found = edges.mostly(edges.table([*every, reversed_pair]))
    assert (found.before, found.after, found.of, found.other_side) == (("A", "B"), ("C", "D"), 100, 1)
    assert found.sentence().endswith("1 more ladder names the same routers from the other side.")


def test_routers_of_private_addresses_are_told_apart_by_network():
    assert router_name("192.168.1.1", "95.56.0.0/16") != router_name("192.168.1.1", "2.132.0.0/16")
    assert router_name("92.47.151.210", "95.56.0.0/16") == "92.47.151.210"
    assert network_of("95.56.7.8") == network_of("95.56.0.0/16") == "95.56.0.0/16"
    assert network_of("2a02:6b8:1::9") == "2a02:6b8::/32"


@pytest.mark.parametrize(
    "address",
    [
        "192.168.1.77",
        "10.3.0.0/16",
        "100.64.7.7",
        "192.0.2.1",
        "192.0.0.0/16",
        "198.18.4.4",
        "2001:db8::1",
        "fd00::1",
        "169.254.1.1",
    ],
)
def test_an_address_that_many_have_tells_no_network(address):
    """Private ranges, a carrier's NAT, and what stands for clients in scrubbed captures."""
    assert network_of(address) == NOT_KNOWN


def test_who_may_be_anywhere_is_no_further_network():
    assert vantages([]) == 0
    assert vantages([NOT_KNOWN]) == vantages(["95.56.0.0/16"]) == vantages([NOT_KNOWN, "95.56.0.0/16"]) == 1
    assert vantages(["95.56.0.0/16", "2.133.0.0/16", NOT_KNOWN]) == 2
    assert scope([NOT_KNOWN]) == "networks that are not known"
    assert scope(["95.56.0.0/16"]) == "one network"
    assert scope(["95.56.0.0/16", "2.133.0.0/16", NOT_KNOWN]) == "2 networks and others that are not known"


def step(ttl, target, control):
    side = lambda routers: {"time_exceeded": [{"address": one, "asn": None} for one in routers]}  # noqa: E731
    return {"ttl": ttl, "target": side(target), "control": side(control)}


def test_a_path_with_two_ways_or_silent_routers_is_not_made_up():
    ladder = {
        "interceptor_ttl": 3,
        "steps": [step(1, ["1.1.1.1"], ["1.1.1.1"]), step(2, [], []), step(3, [], ["9.9.9.9"])],
    }
    path = path_of(ladder, "2.132.0.0/16")
    assert [router for _, router in path.hops] == ["1.1.1.1", None, "9.9.9.9"]
    assert edges_of(path, "8.8.8.8")[1] == (3, Edge("1.1.1.1", "9.9.9.9", 1))
    ladder["steps"][1] = step(2, ["2.2.2.2"], ["3.3.3.3"])  # the control goes another way
    assert [router for _, router in path_of(ladder, "2.132.0.0/16").hops] == ["1.1.1.1", "2.2.2.2", None]
    ladder["steps"][0] = step(1, ["1.1.1.1", "1.1.1.2"], [])
    assert path_of(ladder, "2.132.0.0/16").hops[0] == (1, None)


ALMATY = timedelta(hours=6)


def local(month, day, hour=0, minute=0):
    """Seconds since 1970 of a time in Almaty, 2019."""
    return (datetime(2019, month, day, hour, minute, tzinfo=UTC) - ALMATY).timestamp()


def was_on(time):
    """FACTS 1.1, as far as hours are published; the others are set here."""
    return (
        local(7, 17, 12) <= time < local(7, 22, 1)
        or local(7, 22, 10) <= time < local(7, 26, 17, 20)
        or local(7, 30, 9) <= time < local(8, 7, 1)
    )


OFF = [(local(7, 22, 1), local(7, 22, 10)), (local(7, 26, 17, 20), local(7, 30, 9)), (local(8, 7, 1), None)]


@pytest.mark.parametrize("seed", range(5))
def test_the_record_of_2019(seed):
    rng = random.Random(seed)
    every, time = [], local(7, 17, 12)
    while time < local(8, 9):
        if not local(8, 2, 3) < time < local(8, 2, 11):  # nobody looked
            for server in range(3):  # the third is not behind the box
                hit = was_on(time) and server < 2 and rng.random() < 0.6
                every.append(crossing((), hit, time, server=str(server)))
        time += 600
    rng.shuffle(every)
    found = timeline.timeline(every)
    off = [one for one in found.periods if one.kind == "off"]
    assert len(off) == 3
    for one, (begins, ends) in zip(off, OFF, strict=True):
        assert one.before < begins <= one.first < begins + 7200
        assert (one.after is None) if ends is None else (ends - 7200 < one.last <= ends <= one.after)
    assert found.gaps == ((local(8, 2, 3), local(8, 2, 11)),)
    assert found.share == pytest.approx(0.6, abs=0.03)
    assert all(one.kind in ("on", "off") for one in found.periods)


def test_silence_is_not_off_and_few_clean_ones_are_unclear():
    day = 24 * 3600.0
    hits = [crossing((), True, float(minute * 60)) for minute in range(20)]
    misses = [crossing((), False, minute * 60 + 1200.0) for minute in range(3)]
    few = [crossing((), False, 3 * day), crossing((), False, 3 * day + 60)]
    later = [crossing((), True, 6 * day)]
    found = timeline.timeline([*hits, *misses, *few, *later])
    assert [one.kind for one in found.periods] == ["on", "unclear", "on"]
    assert len(found.gaps) == 2
    elsewhere = [crossing((), False, 3 * day + number, network="another") for number in range(50)]
    assert timeline.timeline([*hits, *misses, *elsewhere]).eligible == 23  # none was ever intercepted from there
    assert timeline.timeline(elsewhere).periods == ()


def volunteer(number, start, on, rng):
    """A volunteer's capture: eight connections to listed names, of which the box takes a part while it is on."""
    capture = Capture(start)
    for flow in range(8):
        chain = qaznet_chain() if on and rng.random() < 0.7 else genuine_chain()
        rsa_handshake(Connection(capture, 50_000 + flow), "www.facebook.com", chain, rng)
        capture.now += 20 + number % 7
    return capture


def test_the_record_of_2019_from_captures(tmp_path):
    """The days of July and August 2019 as captures, judged into a case: its summary tells on, off and where."""
    rng = random.Random(2019)
    disk = tmp_path / "disk"
    disk.mkdir()
    changes = [change for pair in OFF for change in pair if change]
    times = {local(7, 17, 12) + hour * 3600 for hour in range(0, 22 * 24, 8)}
    times |= {change + hour * 3600 for change in changes for hour in (-2, -1, 0, 1, 2)}
    for number, time in enumerate(sorted(times)):
        start = datetime.fromtimestamp(time, UTC)
        volunteer(number, start, was_on(time), rng).write(disk / f"{number}.pcapng")
    for ladder in range(3):
        capture, _ = probe_each_ttl(77 + ladder, HOPS, 5)
        capture.packets = [(when + 3600 * ladder, frame) for when, frame in capture.packets]
        capture.write(disk / f"ladder{ladder}.pcapng")
    done = judged(tmp_path / "case", disk)
    assert (done.failed, done.outcomes["analysed"]) == (0, len(times) + 3)
    found = total(Case.open(tmp_path / "case")).document()["across"]
    off = [one for one in found["timeline"]["periods"] if one["is"] == "off"]
    assert len(off) == 3
    for one, (begins, ends) in zip(off, OFF, strict=True):
        assert seconds(one["last_intercepted_before"]) < begins <= seconds(one["first"])
        assert ends is None or seconds(one["last"]) <= ends <= seconds(one["first_intercepted_after"])
    assert found["mostly"]["says"].startswith("In 3 of 3 ladders with an exact edge (100 %), the last hop before")
    (edge,) = found["edges"]
    assert (edge["before"], edge["after"]) == ("92.47.151.210", "95.56.243.92")
    assert edge["before_network"].startswith("AS50482")
    (key,) = found["issuer_keys"]
    assert key["subjects"] == ["CN=Security Certificate,C=KZ"]
    assert seconds(key["first"]) < local(7, 17, 13)
    shown = run("case", "summary", str(tmp_path / "case")).stdout.decode()
    assert max(map(len, shown.splitlines())) <= 80
    assert "went off between 2019-07-26" in " ".join(shown.split())


def test_a_name_that_was_intercepted_is_listed_then(disk, tmp_path):
    """A list's dates are context: where its name is intercepted in this case, clean connections to it count."""
    across = Across()
    outdated = "the list was not in force on that day"
    across.crossings = [crossing((), True), replace(crossing((), False), outcome="neutral", why=outdated)]
    assert [one.outcome for one in settled(across.crossings)] == ["intercepted", "clean"]
    across.crossings = across.crossings[1:]
    assert [one.outcome for one in settled(across.crossings)] == ["neutral"]


def test_the_document_is_json_and_the_same_each_time(disk, tmp_path):
    judged(tmp_path / "case", disk)
    first, second = (json.dumps(total(Case.open(tmp_path / "case")).document()) for _ in range(2))
    assert first == second
    across = json.loads(first)["across"]
    (path,) = across["paths"]
    assert [hop["address"] for hop in path["hops"]][:5] == HOPS[:5]
    assert path["edges"] == [{"before": HOPS[3], "after": HOPS[4], "routers_not_seen_between": 0}]
    assert across["how_sure"]["ladders_with_an_exact_edge"] == 1
    assert {row["listed"] for row in across["servers"]} == {True, False}
    assert across["forged_minus_genuine"][0]["dates"] == "-21600 s"


def test_most_edges_are_found_without_going_through_all_for_each():
    """The same as by definition, and linear in the edges."""

    def rows(count, seed):
        rng = random.Random(seed)
        made = {}
        for _ in range(count):
            edge = Edge(f"10.0.{rng.randrange(count // 3 + 1)}.1", f"10.1.{rng.randrange(count // 3 + 1)}.1")
            made[edge] = edges.Row(edge, ladders=Counter({edges.EXACT: rng.randrange(1, 5)}))
        return list(made.values())

    for seed in range(40):
        some = rows(12, seed)
        found = edges.mostly(some)
        if found is not None:
            by_edge = {row.edge: row.ladders[edges.EXACT] for row in some}
            covered = [
                number for edge, number in by_edge.items() if edge.before in found.before and edge.after in found.after
            ]
            assert found.count == sum(covered)
    begun = process_time()
    edges.mostly(rows(20_000, 1))
    assert process_time() - begun < 2


@pytest.mark.parametrize(
    ("bound", "clean", "inferred", "found"),
    [
        ("exact", 3, None, [4]),
        ("at_or_before", 2, None, [3, 4]),
        ("at_or_before", None, 2, [1, 2, 3, 4]),
        ("at_or_beyond", 3, None, [4, 5]),
        (None, 2, None, [3, 4, 5]),
        (None, None, None, [1, 2, 3, 4, 5]),
    ],
    ids=["exact", "between two", "it copies TTLs", "a bound", "near, behind a clean hop", "near"],
)
def test_where_a_ladders_box_may_be(bound, clean, inferred, found):
    along = [(ttl, Edge(f"r{ttl - 1}", f"r{ttl}")) for ttl in range(1, 6)]
    ladder = {
        "interceptor_ttl": 4, "bound": bound, "inferred_hop": inferred,
        "last_clean_hop": None if clean is None else {"ttl": clean},
    }  # fmt: skip
    assert [int(edge.after[1:]) for edge in crossings_of._where(ladder, along)] == found
