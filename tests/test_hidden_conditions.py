"""What counts as an unusual answer whose certificate is hidden: each condition by itself."""

from __future__ import annotations

import pytest

from kzpcap.observations import Reaction
from kzpcap.surroundings.profiles import ALERT_RECORD, Profile, differences, odd_ones, shape
from tests.test_conditions import first_of

ODD = Profile(1, "203.0.113.1", "a", "other", True, 3_000, True, False, True)
USUAL = Profile(2, "203.0.113.1", "a", "s", True, 3_000, False, False, True)


@pytest.mark.parametrize(
    ("change", "odd"),
    [
        ({}, True),
        ({"tls13": False}, False),
        ({"refused": True}, False),
        ({"ja3": "b"}, False),
        ({"server": "203.0.113.2"}, False),
        ({"ja3s": "other"}, False),
    ],
    ids=["usual", "of TLS 1.2", "that the client left too", "of another client", "of another server", "the same hello"],
)
def test_what_an_answer_is_compared_with(change, odd):
    """Virtual hosts, nodes and programs differ by nature: fewer than two answers of this very kind make no suspect."""
    assert bool(differences(ODD, [USUAL, USUAL._replace(**change)])) is odd
    assert not differences(ODD, [USUAL])


@pytest.mark.parametrize(
    ("mine", "theirs", "far"),
    [(400, 800, False), (400, 801, True), (3_000, 4_000, False), (3_000, 4_001, True), (4_001, 3_000, True),
     (0, 4_000, False), (4_000, 0, False)],
)  # fmt: skip
def test_how_far_the_sizes_of_two_flights_are_apart(mine, theirs, far):
    """Tickets and padding differ by less; a size that was not seen differs from none."""
    mine = ODD._replace(ja3s="s", flight=mine)
    assert bool(differences(mine, [USUAL._replace(flight=theirs)] * 2)) is far


def test_an_answer_is_laid_beside_the_others_and_not_beside_itself():
    assert [mine for mine, _ in odd_ones([ODD, USUAL, USUAL._replace(frame=3)])] == [ODD]
    assert odd_ones([ODD, USUAL]) == []


SHOWN = {
    "possession": None,
    "other_names": (),
    "server_name": "vk.com",
    "resumed": False,
    "version": 0x0304,
    "client_record": 53,
    "reaction": Reaction.WENT_ON,
    "offers_tls13": True,
    "sentinel": False,
}


@pytest.mark.parametrize("change", [{"other_names": ("a.example",)}, {"server_name": None}, {"server_hello": None},
                                    {"resumed": True}])  # fmt: skip
def test_only_full_handshakes_with_a_name_that_is_known_are_compared(change):
    """A resumed session has no certificate's flight, and of a decoy it is not known which name was answered."""
    seen = first_of("kz-2019-rcku").observation._replace(**SHOWN)
    assert shape(seen) is not None
    assert shape(seen._replace(**change)) is None


@pytest.mark.parametrize(
    ("change", "refused", "fell"),
    [
        ({}, False, False),
        ({"reaction": Reaction.REFUSED}, True, False),
        ({"client_record": ALERT_RECORD}, True, False),
        ({"client_record": ALERT_RECORD + 1}, False, False),
        ({"client_record": None}, False, False),
        ({"version": 0x0303, "client_record": ALERT_RECORD}, False, True),
        ({"version": 0x0303, "sentinel": True}, False, False),
        ({"version": 0x0303, "offers_tls13": False}, False, False),
        ({"version": None}, False, True),
    ],
)
def test_what_an_answer_shows_without_its_certificate(change, refused, fell):
    """A record of an alert's size is one in TLS 1.3 alone; the sentinel of RFC 8446 4.1.3 explains an older version."""
    seen = first_of("kz-2019-rcku").observation._replace(**{**SHOWN, **change})
    found = shape(seen)
    assert (found.refused, found.fell) == (refused, fell)


def test_a_difference_has_a_direction():
    """Nodes of one site differ in hello and flight: without a client that broke off, or an older version, it is one."""
    other = ODD._replace(refused=False, flight=9_000)
    assert differences(other, [USUAL] * 2) == frozenset()
    assert len(differences(other._replace(refused=True), [USUAL] * 2)) == 3


def test_a_version_that_fell_is_a_difference_of_its_own():
    fell = ODD._replace(refused=False, fell=True, tls13=False)
    assert differences(fell, [USUAL] * 2) == {"an older version without the sentinel", "another ServerHello"}


def test_the_size_of_a_flight_is_unlike_each_of_the_usual_ones():
    mine = ODD._replace(ja3s="s", flight=9_000)
    assert differences(mine, [USUAL, USUAL])
    assert not differences(mine, [USUAL, USUAL._replace(flight=9_000)])
