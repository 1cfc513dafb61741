"""Connections that a case has more than once: copied, in another format, scrubbed, cut from a longer capture."""

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
    """Which connections are told elsewhere too, and more of: with what else a capture holds, or by the larger of two.

    So are those that one capture has twice: files that were laid together may be the same.

    What was recorded twice, by two machines, has two times, and is not known by this (crossings.py, claims.py). A
    number, and its place in a set, are kept of each connection.
    """

    def __init__(self, reports: Callable[[], Iterator[tuple[str, Document]]]) -> None:
        seen, self._several = set[int](), set[int]()
        sizes: dict[str, int] = {}
        for name, report in reports():
            with sound(name):
                own, within = set[int](), set[int]()
                for one in report.connections():
                    key = _same(one)
                    if key is not None:
                        of = hash((key, one["client"]["address"]))
                        self._several |= {key} if of in within else set()
                        own.add(key)
                        within.add(of)
            sizes[name] = len(own)
            self._several |= seen & own
            seen |= own
        seen.clear()
        best: dict[int, tuple[int, int]] = {}
        self._home: dict[int, tuple[str, int, str]] = {}
        """Of each that is told more than once, where it counts: the capture, the first frame, and the client."""
        for name, report in reports() if self._several else ():
            for one in report.connections():
                key = _same(one)
                if key is not None and key in self._several:
                    rank = STRENGTH.get(one["state"], 0), sizes[name]
                    if key not in best or rank > best[key]:
                        best[key], self._home[key] = rank, (name, one["frame"], one["client"]["address"])

    def of(self, name: str, report: Document) -> frozenset[int]:
        """The first frames of the connections of a report that count elsewhere."""
        if not self._several:
            return frozenset()
        return frozenset(one["frame"] for one in report.connections() if self._elsewhere(name, one))

    def _elsewhere(self, name: str, one: dict[str, Any]) -> bool:
        """Does it count in another capture, or at another frame of this one, where its packets are twice?"""
        home = self._home.get(_same(one) or 0)
        if home is None:
            return False
        return home[0] != name or (home[1] != one["frame"] and home[2] == one["client"]["address"])


def _same(one: dict[str, Any]) -> int | None:
    """What the same packets have in every capture of them; None where they have no time, and nothing tells them apart.

    The ClientHello's time, where there is one: a part of a recording may begin behind the SYN.
    Not the client's address: a copy may tell another, or none. Nor the certificate: a copy may end before it.
    """
    if one["time"] is None:
        return None
    server = one["server"]["address"], one["server"]["port"]
    what = (
        (one.get("client_hello_time") or one["time"]).rstrip("Z")[:MICROSECONDS],
        one["client"]["port"],
        *server,
        one["server_name"],
        one["ja3"],
    )
    return hash((*what, one["probe_ttl"]))
