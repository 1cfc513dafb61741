"""Hidden certificates: two kinds of difference for the same name, one with a direction, or nothing is said."""

from __future__ import annotations

from kzpcap.surroundings.profiles import Profile, differences, odd_ones

USUAL = Profile(1, "203.0.113.1", "a", "s", True, 3_000, False, False, True)


def others(count=3):
    return [USUAL._replace(frame=10 + number) for number in range(count)]


def test_what_is_as_usual_differs_in_nothing():
    assert differences(USUAL, others()) == frozenset()
    assert odd_ones(others(8)) == []


def test_two_kinds_of_which_one_has_a_direction():
    assert differences(USUAL._replace(refused=True, flight=900), others()) == {
        "the client broke off",
        "an encrypted flight of another size",
    }
    assert differences(USUAL._replace(fell=True, tls13=False, ja3s="t"), others()) == {
        "an older version without the sentinel",
        "another ServerHello",
    }


def test_one_kind_or_none_with_a_direction_is_nothing():
    for odd in (
        USUAL._replace(refused=True),
        USUAL._replace(flight=900),
        USUAL._replace(ja3s="t", flight=900),
        USUAL._replace(refused=True, flight=2_700),
    ):
        assert differences(odd, others()) == frozenset()


def test_another_client_is_not_compared():
    odd = USUAL._replace(refused=True, flight=900, ja3="another browser")
    assert differences(odd, others()) == frozenset()
    assert differences(USUAL._replace(refused=True, flight=900), others(1)) == frozenset()


def test_a_network_with_nodes_of_several_kinds_is_not_odd():
    """Flights of many sizes, some refused: no one usual answer that all the others share."""
    nodes = [USUAL._replace(frame=n, flight=800 + 700 * n, refused=n == 3) for n in range(6)]
    assert odd_ones([*nodes, USUAL._replace(frame=9, flight=800 + 700 * 3)]) == []


def test_another_address_is_not_compared():
    """A network's nodes have certificates of their own, and one of them may be expired."""
    node = USUAL._replace(refused=True, flight=900, server="203.0.113.2")
    assert differences(node, others()) == frozenset()
