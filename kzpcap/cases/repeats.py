"""Connections that are in several captures of a case: copied, in another format, scrubbed, or cut from a longer one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kzpcap.errors import CaseError
from kzpcap.report.document import Document

STRENGTH = {"intercepted": 4, "suspected": 3, "interfered": 2, "genuine": 1, "undetermined": 0}
MICROSECONDS = len("2019-07-20T09:14:02.123456")


@contextmanager
def sound(capture: str) -> Iterator[None]:
    """What is said of one report; CaseError names it where it cannot be read, or says what none says."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CaseError(f"results/{capture}: its report cannot be read ({type(error).__name__}: {error})") from error


class Repeats:
    """Which connections another capture has too, and says more of: with what else it holds, or by the larger of two.

    What was recorded twice, by two machines, has two times, and is not known by this (crossings.py, claims.py). A
    number, and its place in a set, are kept of each connection.
    """

    def __init__(self, reports: Callable[[], Iterator[tuple[str, Document]]]) -> None:
        seen, self._several = set[int](), set[int]()
        sizes: dict[str, int] = {}
        for name, report in reports():
            with sound(name):
                own = {key for one in report.connections() if (key := _same(one)) is not None}
            sizes[name] = len(own)
            self._several |= seen & own
            seen |= own
        seen.clear()
        best: dict[int, tuple[int, int]] = {}
        self._home: dict[int, str] = {}
        for name, report in reports() if self._several else ():
            for one in report.connections():
                key = _same(one)
                if key is not None and key in self._several:
                    rank = STRENGTH.get(one["state"], 0), sizes[name]
                    if key not in best or rank > best[key]:
                        best[key], self._home[key] = rank, name

    def of(self, name: str, report: Document) -> frozenset[int]:
        """The first frames of the connections of a report that count in another capture."""
        if not self._several:
            return frozenset()
        return frozenset(one["frame"] for one in report.connections() if self._home.get(_same(one) or 0, name) != name)


def _same(one: dict[str, Any]) -> int | None:
    """What the same packets have in every capture of them; None where they have no time, and nothing tells them apart.

    Not the client's address: a copy may tell another, or none.
    """
    if one["time"] is None:
        return None
    leaf = one["certificates"][0] if one["certificates"] else ""
    server = one["server"]["address"], one["server"]["port"]
    what = one["time"].rstrip("Z")[:MICROSECONDS], one["client"]["port"], *server, one["server_name"], one["ja3"], leaf
    return hash((*what, one["probe_ttl"]))
