"""Connections that are in several captures of a case: copied, in another format, scrubbed, or cut from a longer one."""

from __future__ import annotations

from typing import Any

from kzpcap.cases.crossings import NOT_KNOWN, network_of
from kzpcap.report.document import Document


class Repeats:
    """Which connections were in a report before; two numbers and their places in a set are kept of each.

    What was recorded twice, by two machines, has two times, and is not known by this (crossings.py, claims.py).
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def of(self, report: Document) -> frozenset[int]:
        """The first frames of the connections of a report that one before it had; then they are known themselves.

        A copy may tell another client's address, or none: two networks that are both known are two clients.
        """
        again, new = set[int](), set[int]()
        for one in report.connections():
            what, network = _same(one), network_of(one["client"]["address"])
            asked = (NOT_KNOWN, network) if network != NOT_KNOWN else (None,)
            if any(hash((*what, by)) in self._seen for by in asked):
                again.add(one["frame"])
            new |= {hash((*what, network)), hash((*what, None))}
        self._seen |= new
        return frozenset(again)


def _same(one: dict[str, Any]) -> tuple[Any, ...]:
    leaf = one["certificates"][0] if one["certificates"] else ""
    server = one["server"]["address"], one["server"]["port"]
    return one["time"], one["client"]["port"], *server, one["server_name"], one["ja3"], leaf, one["probe_ttl"]
