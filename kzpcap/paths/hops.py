"""Hop counts from TTL: return path, inferred, counted from the capture point to the sender of that packet.

Senders start at 32, 64, 128 or 255 (the families in use); which one is a guess, so every family that fits is listed,
and counts of different families are never subtracted from each other.
"""

from __future__ import annotations

FAMILIES = (32, 64, 128, 255)
MAX_HOPS = 40


def candidates(ttl: int) -> tuple[tuple[int, int], ...]:
    """(initial TTL, hops) for each family that fits a received TTL."""
    return tuple((family, family - ttl) for family in FAMILIES if 0 <= family - ttl <= MAX_HOPS)


def family(ttl: int) -> int:
    """The smallest initial TTL that can have become this one."""
    return next((family for family in FAMILIES if family >= ttl), 255)


def differ(first: int, second: int) -> bool:
    """Do two TTLs of one direction of a connection show two senders? One hop of difference may be a route change.

    Two packets of one sender can lie in different families only where the path crosses a family's edge, so a
    difference of one is excused there too.
    """
    return abs(first - second) >= 2
