"""Which router is named at a TTL, and which is not: each condition by itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kzpcap.verdict.routers import Hop, agree, from_elsewhere, last_answering, name_hop, same_way


def series(hops, server="203.0.113.80"):
    """A ladder to a server: TTL -> the routers that answered there."""
    return SimpleNamespace(
        server=server,
        steps={ttl: SimpleNamespace(hops=seen) for ttl, seen in hops.items()},
        hops_at=lambda ttl: tuple(hops.get(ttl, ())),
    )


def route(hops):
    return SimpleNamespace(hops=hops)


WAY = {1: ("a",), 2: ("b",), 3: ("c",), 4: ("d",)}


@pytest.mark.parametrize(
    ("change", "same"),
    [({}, True), ({1: ("x",)}, False), ({4: ()}, True), ({4: ("x",)}, False), ({4: (), 3: ("x",)}, False)],
    ids=["one way", "another beginning", "silent before the box", "another before it", "another before the silent one"],
)
def test_a_traceroute_that_contradicts_the_probes_anywhere_goes_another_way(change, same):
    """Ways that part may meet again: a router is named by a traceroute only if nothing speaks against it."""
    assert same_way(route({**WAY, **change, 5: ("e",)}), series(WAY), 5) is same


@pytest.mark.parametrize(("theirs", "same"), [({2: ("b",)}, True), ({2: ()}, True), ({2: ("x",)}, False)])
def test_a_silent_hop_is_no_other_way(theirs, same):
    """Routers limit their answers: that the control was not answered at a hop shows no load balancing."""
    assert agree(series(WAY), series({**WAY, **theirs}), 5) is same


def test_no_router_stands_before_the_first():
    """A box at the first hop has none in front of it: no "hop 0" is told."""
    assert name_hop(0, (("target", series(WAY)),), None, series(WAY)) is None


def test_several_routers_of_a_traceroute_are_told_and_none_is_named():
    found = name_hop(5, (), route({**WAY, 5: ("e", "f")}), series(WAY))
    assert found == Hop(5, None, "traceroute", ("e", "f"))
    assert name_hop(5, (), route({**WAY, 5: ("e",)}), series(WAY)) == Hop(5, "e", "traceroute")


ALONG = {**WAY, 5: ("e",), 6: ("f",)}


@pytest.mark.parametrize(
    ("destination", "change", "control", "named"),
    [
        ("198.51.100.1", {}, {6: ("f",)}, True),
        ("203.0.113.80", {}, {6: ("f",)}, False),
        ("198.51.100.1", {5: ("e", "x")}, {6: ("f",)}, False),
        ("198.51.100.1", {1: ("x",)}, {6: ("f",)}, False),
        ("198.51.100.1", {}, {6: ("x",)}, False),
        ("198.51.100.1", {}, {}, False),
        ("198.51.100.1", {}, None, False),
    ],
    ids=["goes along", "to this very address", "two routers", "another beginning", "never met again",
         "not asked beyond", "no control"],
)  # fmt: skip
def test_a_traceroute_to_another_address_names_a_hop_only_where_it_goes_along(destination, change, control, named):
    """An edge that is named by somebody else's way has to be on the probes' own before it and after it."""
    hop, notes = Hop(5, None), []
    beside = None if control is None else series({**WAY, **control})
    found = from_elsewhere(hop, {destination: route({**ALONG, **change})}, series(WAY), beside, 5, notes)
    assert (found != hop, bool(notes)) == (named, named)
    if named:
        assert found == Hop(5, "e", "traceroute to 198.51.100.1")


@pytest.mark.parametrize(("k", "hop"), [(None, Hop(6, "f", "target")), (5, Hop(3, "c", "target")), (1, None)])
def test_the_last_answering_hop_is_one_that_answered(k, hop):
    """Where the way ends as far as it was seen: a TTL at which nobody answered is no hop of it."""
    seen = series({1: ("a",), 2: ("b",), 3: ("c",), 4: (), 6: ("f",), 7: ()})
    assert last_answering(seen, k) == hop
