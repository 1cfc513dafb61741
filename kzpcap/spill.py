"""Observations while a capture is read: in memory up to a bound, then in a temporary file of our own."""

from __future__ import annotations

import copyreg
import pickle
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import fields
from operator import attrgetter
from typing import IO, Any

from kzpcap.certificates.staple import Staple
from kzpcap.observations import Mark, Observation, Probe
from kzpcap.reference.targets import Match
from kzpcap.tls.handshake import AlertSeen, Seen
from kzpcap.tls.quic import Turns

SPILL_AFTER = 4_096


def _by_fields(kind: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """How to pickle a frozen record: its class and values (what dataclasses do themselves takes thrice as long)."""
    if issubclass(kind, tuple):
        return lambda record: (kind, tuple(record))
    values = attrgetter(*(entry.name for entry in fields(kind)))
    return lambda record: (kind, values(record))


REDUCERS = {kind: _by_fields(kind) for kind in (Observation, Mark, Probe, Match, AlertSeen, Seen, Staple, Turns)}
DISPATCH = copyreg.dispatch_table | REDUCERS


class Spill:
    """Observations in memory up to a bound, then in a temporary file; read back in the order of their first frames."""

    def __init__(self) -> None:
        self.memory: list[Observation] = []
        self.file: IO[bytes] | None = None
        self.places: list[tuple[int, int]] = []

    def append(self, observation: Observation) -> None:
        """Add one."""
        self.memory.append(observation)
        if len(self.memory) >= SPILL_AFTER:
            if self.file is None:
                self.file = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115 - closed by close()
            for entry in self.memory:
                self.places.append((entry.first_frame, self.file.tell()))
                pickler = pickle.Pickler(self.file, pickle.HIGHEST_PROTOCOL)
                pickler.dispatch_table = DISPATCH
                pickler.dump(entry)
            self.memory.clear()

    def __iter__(self) -> Iterator[Observation]:
        """All of them, by first frame."""
        order = [(frame, place, None) for frame, place in self.places]
        merged: list[tuple[int, int, Observation | None]] = [*order]
        merged += [(entry.first_frame, -1, entry) for entry in self.memory]
        merged.sort(key=lambda item: item[0])
        for _, place, entry in merged:
            if entry is not None:
                yield entry
            elif self.file is not None:
                self.file.seek(place)
                loaded: Observation = pickle.load(self.file)  # our own temporary file, unlinked at birth
                yield loaded

    def __len__(self) -> int:
        return len(self.places) + len(self.memory)

    def close(self) -> None:
        """Drop the temporary file."""
        if self.file is not None:
            self.file.close()
