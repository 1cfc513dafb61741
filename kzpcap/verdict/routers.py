"""Which router stands at a TTL: named by the probes themselves, or by what goes their way.

Hops below k are named by the target's own Time Exceeded; hop k by the control only where both series agree at every TTL
below k at which both were answered. A traceroute to the same address may fill in what neither showed; one to another
address only if it goes the probes' way before and after the hop, and that is said.
"""

# Annotations are not postponed: NamedTuple would compile each of them at every start.
from typing import NamedTuple

from kzpcap.paths.ladders import Route, Series

MIN_AGREEING = 3


class Hop(NamedTuple):
    """A router on the path; `address` None where it was not seen."""

    ttl: int
    address: str | None
    seen_by: str | None = None
    """target, control or traceroute."""
    others: tuple[str, ...] = ()
    """Further addresses that answered at this TTL: the paths differ."""

    @property
    def known(self) -> bool:
        """Was any router seen here?"""
        return bool(self.address or self.others)


def agree(target: Series, control: Series | None, k: int) -> bool:
    """Do both series name the same routers at every TTL below k at which both were answered?"""
    if control is None:
        return False
    for ttl in range(1, k):
        ours, theirs = set(target.hops_at(ttl)), set(control.hops_at(ttl))
        if ours and theirs and ours != theirs:
            return False
    return True


def together(target: Series, control: Series, k: int) -> bool:
    """Do the two go one way right before k: one router at the last TTL below k at which both were answered, which is
    one of the last two at which the target was?

    Ways that part may meet again, and are as long then; ways that have not met yet need not be. The first hops are
    everybody's, so where the target was answered behind them and the control was not, nothing shows its way.
    """
    heard = [ttl for ttl in range(k - 1, 0, -1) if target.hops_at(ttl)][:2]
    for ttl in heard:
        theirs = set(control.hops_at(ttl))
        if theirs:
            return bool(theirs & set(target.hops_at(ttl)))
    return k == 1


def name_hop(
    ttl: int, series: tuple[tuple[str, Series | None], ...], route: Route | None, target: Series
) -> Hop | None:
    """The router at a TTL: by the target's own probes, the control's where they may speak for it, a traceroute."""
    if ttl < 1:
        return None
    for who, entry in series:
        seen = entry.hops_at(ttl) if entry else ()
        if seen:
            return Hop(ttl, seen[0] if len(seen) == 1 else None, who, seen if len(seen) > 1 else ())
    if route is not None and _route_agrees(route, target):
        found = tuple(route.hops.get(ttl, ()))
        if len(found) == 1:
            return Hop(ttl, found[0], "traceroute")
        if found:
            return Hop(ttl, None, "traceroute", found)
    return Hop(ttl, None)


def same_way(route: Route, target: Series, k: int) -> bool:
    """Does a traceroute to the same address go the probes' way: the same router right before k, or one before that?

    The first hops are everybody's.
    """
    for ttl in (k - 1, k - 2):
        ours, theirs = set(target.hops_at(ttl)), set(route.hops.get(ttl, ()))
        if ours and theirs:
            return bool(ours & theirs) and _route_agrees(route, target)
    return False


def _route_agrees(route: Route, target: Series) -> bool:
    """A traceroute to the same address counts unless it contradicts the probes somewhere."""
    return all(
        not target.hops_at(ttl) or not seen or set(target.hops_at(ttl)) & set(seen) for ttl, seen in route.hops.items()
    )


def from_elsewhere(
    hop: Hop | None, routes: dict[str, Route], target: Series, control: Series | None, k: int, notes: list[str]
) -> Hop | None:
    """A hop that the probes do not show, by a traceroute to another address that goes their way before it and after it.

    Ways to different addresses share their first hops and part somewhere: so the routers are the same at every TTL
    below the hop, three at least and none silent, and the control's own probes meet the traceroute again beyond. Of
    several such the one to the lowest address, so that runs agree.
    """
    if hop is None or hop.known or control is None or hop.ttl <= MIN_AGREEING:
        return hop
    below = range(1, hop.ttl)
    for destination in sorted(routes):
        route = routes[destination]
        seen = tuple(route.hops.get(hop.ttl, ()))
        if destination == target.server or len(seen) != 1:
            continue
        before = all(target.hops_at(ttl) and set(target.hops_at(ttl)) == set(route.hops.get(ttl, ())) for ttl in below)
        after = any(
            control.hops_at(ttl) and set(control.hops_at(ttl)) == set(route.hops.get(ttl, ()))
            for ttl in control.steps
            if ttl > hop.ttl and ttl >= k
        )
        if before and after:
            notes.append(
                f"hop {hop.ttl} is named by a traceroute to another address, {destination}, which goes the probes' way"
                " before and after it"
            )
            return Hop(hop.ttl, seen[0], f"traceroute to {destination}")
    return hop


def last_answering(target: Series, k: int | None) -> Hop | None:
    """The farthest router that answered the target below TTL k, or at any TTL."""
    below = [ttl for ttl, step in target.steps.items() if step.hops and (k is None or ttl < k)]
    if not below:
        return None
    seen = target.hops_at(max(below))
    return Hop(max(below), seen[0] if len(seen) == 1 else None, "target", seen if len(seen) > 1 else ())
