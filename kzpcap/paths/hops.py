"""Hop counts from TTL: return path, inferred, counted from the capture point to the sender of that packet.

Senders start at 32, 64, 128 or 255 (the families in use); which one is a guess, so every family that fits is listed,
and counts of different families are never subtracted from each other.
"""

from __future__ import annotations

FAMILIES = (32, 64, 128, 255)
MAX_HOPS = 40
FRESH_TTLS = frozenset({64, 128, 255})
"""Initial TTLs in use today: a packet that still has one was sent on the capture's own link."""

KM_PER_MS = 150
"""Light goes there and back over 150 km a millisecond in vacuum, and over less in fibre: an upper bound on distance."""


def candidates(ttl: int) -> tuple[tuple[int, int], ...]:
    """(initial TTL, hops) for each family that fits a received TTL."""
    return tuple((family, family - ttl) for family in FAMILIES if 0 <= family - ttl <= MAX_HOPS)


_SMALLEST = tuple(next(family for family in FAMILIES if family >= ttl) for ttl in range(256))


def family(ttl: int) -> int:
    """The smallest initial TTL that can have become this one."""
    return _SMALLEST[ttl]


def differ(first: int, second: int) -> bool | None:
    """Do two TTLs of one direction of a connection show two senders?

    In one family a difference of two hops or more does: in over 95 % of untampered connections it is one at most
    (SIGCOMM 2023, section 4, doi 10.1145/3603269.3604875), so what is said of it says that it is rare. In two families
    unequal hop counts do; equal ones may be one machine with two initial TTLs: None. On a long way the lower family may
    be the wrong one: any pair counts.
    """
    one, other = family(first), family(second)
    if one == other:
        return abs(first - second) >= 2
    near = any(abs(hops - others) <= 1 for _, hops in candidates(first) for _, others in candidates(second))
    return None if near or abs(first - second) <= 1 else True
