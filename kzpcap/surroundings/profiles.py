"""What an answer shows without its certificate, and whether it is as usual for the name (TLS 1.3 hides the rest)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

from kzpcap.iana import is_tls13
from kzpcap.observations import Observation, Reaction

ALERT_RECORD = 24
"""An alert under TLS 1.3 takes 19 bytes (2, its type, a tag of 16), a Finished 53 at least (RFC 8446 4.4.4, 5.2)."""
FLIGHT_BYTES, FLIGHT_SHARE = 400, 4
"""Flights differ by more than this, and by more than this part of the larger one: tickets and padding are less."""
NEEDED = 2


class Profile(NamedTuple):
    """One full handshake with a name; `flight` in bytes. Server and fingerprints are only compared."""

    frame: int
    server: Hashable
    ja3: Hashable
    ja3s: Hashable
    tls13: bool
    flight: int
    refused: bool
    """The client broke off: a certificate alert in clear, or a record of an alert's size in its Finished's place."""
    fell: bool
    listed: bool


class Shape(NamedTuple):
    """What of a profile takes looking at several fields."""

    tls13: bool
    refused: bool
    fell: bool


def shape(observation: Observation) -> Shape | None:
    """Of a full handshake with a name; None for resumed and unanswered ones, and those whose name is not known."""
    if (
        observation.name_open
        or observation.server_name is None
        or observation.server_hello is None
        or observation.resumed
    ):
        return None
    tls13 = observation.version is not None and is_tls13(observation.version)
    size = observation.client_record
    refused = observation.reaction is Reaction.REFUSED or (tls13 and size is not None and size <= ALERT_RECORD)
    return Shape(tls13, refused, not tls13 and observation.offers_tls13 and not observation.sentinel)


def differences(mine: Profile, others: Iterable[Profile]) -> frozenset[str]:
    """At least two kinds of difference from the usual answers to this name, one of them with a direction; else none.

    Usual is what at least two other connections to the same address, with the same ClientHello fingerprint, got that
    went on at TLS 1.3.
    """
    if not (mine.refused or mine.fell):
        return frozenset()
    usual = [
        other
        for other in others
        if other.tls13 and not other.refused and (other.ja3, other.server) == (mine.ja3, mine.server)
    ]
    if len(usual) < NEEDED:
        return frozenset()
    kinds = {"the client broke off"} if mine.refused else {"an older version without the sentinel"}
    if all(other.ja3s != mine.ja3s for other in usual):
        kinds.add("another ServerHello")
    if mine.tls13 and all(_far(mine.flight, other.flight) for other in usual):
        kinds.add("an encrypted flight of another size")
    return frozenset(kinds) if len(kinds) >= NEEDED else frozenset()


def _far(ours: int, theirs: int) -> bool:
    return bool(ours and theirs) and abs(ours - theirs) > max(FLIGHT_BYTES, max(ours, theirs) // FLIGHT_SHARE)


def odd_ones(profiles: list[Profile]) -> list[tuple[Profile, frozenset[str]]]:
    """Those of one name that were answered otherwise than usual."""
    found = []
    for mine in profiles:
        kinds = differences(mine, (other for other in profiles if other is not mine))
        if kinds:
            found.append((mine, kinds))
    return found
