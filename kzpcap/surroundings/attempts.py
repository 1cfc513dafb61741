"""What a client tried beside a connection, and what came of it: controls, failures, successes, QUIC before TCP.

Asked by connection, once the capture was surveyed; every answer is found by index.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from kzpcap.observations import Observation
from kzpcap.surroundings.briefs import ANSWERED, Attempt, Briefs, Groups, key

CONTROL_WINDOW = 600 * 1_000_000_000
MAX_CONTROLS = 256
MAX_EXAMPLES = 8


class QuicAttempt(NamedTuple):
    """A QUIC connection in brief, for the TCP connections after it."""

    time_ns: int
    frame: int
    answered: bool


class Tries(NamedTuple):
    """Attempts of one client with one name."""

    attempts: int
    some: list[Attempt]
    """The first few, by time."""
    last_ns: int


class Attempts:
    """The attempts of a capture, by who made them, where, and under which name."""

    def __init__(self, briefs: Briefs) -> None:
        self.briefs = briefs

    def controls(self, observation: Observation, low: int, high: int) -> list[Attempt]:
        """Connections that got through between two times, over this transport, with another name than this one: to the
        same server with a name on no list, or of the same client within ten minutes to any name on no list. Bounded."""
        found: dict[int, Attempt] = {}
        rows, name = self.briefs, key(observation.server_name)
        for groups, wanted, begin, end in self._control_groups(observation, low, high):
            at, stop = rows.between(groups, wanted, begin, end)
            for row in groups.rows[at : min(stop, at + MAX_CONTROLS)]:
                if rows.names[row] != name:
                    attempt = rows.attempt(row)
                    found.setdefault(attempt.frame, attempt)
        return sorted(found.values(), key=_time)

    def trusted_others(self, observation: Observation) -> list[int]:
        """Frames of public chains that this client got, within ten minutes, for names on no list; one for each name."""
        found = self.controls(observation, observation.time_ns - CONTROL_WINDOW, observation.time_ns + CONTROL_WINDOW)
        client, frames = hash(observation.client[0]), dict[int, int]()
        for attempt in found:
            if attempt.trusted and attempt.client == client:
                frames.setdefault(attempt.name, attempt.frame)
        return list(frames.values())

    def tried_quic(self, observation: Observation) -> bool:
        """Is there any QUIC connection of this client to this name?"""
        tried = self.briefs.quic
        return bool(tried.keys) and hash((hash(observation.client[0]), key(observation.server_name))) in tried

    def speaks_quic(self, server: str) -> bool:
        """Did anything come back over QUIC from this address, whatever name was asked for?"""
        return hash(server) in self.briefs.quic_servers

    def quic_before(self, observation: Observation) -> list[QuicAttempt]:
        """QUIC connections of this client to this name, begun in the ten minutes before this connection."""
        rows, time_ns = self.briefs, observation.time_ns
        wanted = hash((hash(observation.client[0]), key(observation.server_name)))
        at, stop = rows.between(rows.quic, wanted, time_ns - CONTROL_WINDOW, time_ns)
        return [
            QuicAttempt(rows.times[row], rows.frame(row), bool(rows.flags[row] & ANSWERED))
            for row in rows.quic.rows[max(at, stop - MAX_CONTROLS) : stop]
        ]

    def failures(self, observation: Observation) -> Tries:
        """All attempts of this client at this server and name, over this transport, that were reset or fell silent."""
        rows = self.briefs
        low, high = rows.failures.span(_triple(observation))
        some = [rows.attempt(row) for row in rows.failures.rows[low : min(high, low + MAX_EXAMPLES)]]
        return Tries(high - low, some, rows.times[rows.failures.rows[high - 1]] if high > low else 0)

    def apart(self, observation: Observation, low: int, high: int, enough: int) -> int:
        """How many of these failures have a control between each and the next: what fails at one time, fails once."""
        rows = self.briefs
        at, end = rows.failures.span(_triple(observation))
        count = 0
        while at < end and count < enough:
            count += 1
            control = self._control_after(observation, max(low, rows.times[rows.failures.rows[at]]), high)
            if control is None:
                break
            at = bisect_right(rows.failures.rows, control, at, end, key=rows.times.__getitem__)
        return count

    def _control_after(self, observation: Observation, after: int, high: int) -> int | None:
        """When the first of its controls behind a time began."""
        found = []
        for groups, wanted, begin, end in self._control_groups(observation, after + 1, high):
            at, stop = self.briefs.between(groups, wanted, begin, end)
            for row in groups.rows[at : min(stop, at + MAX_CONTROLS)]:
                if self.briefs.names[row] != key(observation.server_name):
                    found.append(self.briefs.times[row])
                    break
        return min(found, default=None)

    def _control_groups(self, observation: Observation, low: int, high: int) -> Iterator[tuple[Groups, int, int, int]]:
        """Where a connection's controls are, and from when to when: to its server, of its client within ten minutes."""
        rows, over_quic = self.briefs, int(observation.transport == "quic")
        first = max(low, observation.time_ns - CONTROL_WINDOW)
        last = min(high, observation.time_ns + CONTROL_WINDOW)
        yield rows.controls_by_server, hash((hash(observation.server[0]), over_quic)), low, high
        yield rows.controls_by_client, hash((hash(observation.client[0]), over_quic)), first, last

    def successes(self, observation: Observation, low: int, high: int) -> Tries:
        """Attempts of this client with this name that got through, at any server, after one time and before another."""
        rows = self.briefs
        over_quic = int(observation.transport == "quic")
        wanted = hash((hash(observation.client[0]), key(observation.server_name), over_quic))
        at, stop = rows.between(rows.successes, wanted, low + 1, high - 1)
        some = [rows.attempt(row) for row in rows.successes.rows[at : min(stop, at + MAX_EXAMPLES)]]
        return Tries(stop - at, some, rows.times[rows.successes.rows[stop - 1]] if stop > at else 0)


def _time(attempt: Attempt) -> int:
    return attempt.time_ns


def _triple(observation: Observation) -> int:
    over_quic = int(observation.transport == "quic")
    return hash((hash(observation.client[0]), hash(observation.server[0]), key(observation.server_name), over_quic))
