"""Observations while a capture is read: the first in memory up to a bound, the others in a temporary file."""

from __future__ import annotations

import marshal
import pickle
import tempfile
from array import array
from collections.abc import Iterator
from typing import IO, Any

from kzpcap.certificates.possession import Possession
from kzpcap.observations import Absent, Mark, Observation, Probe, Reaction
from kzpcap.tls.seen import Seen

SPILL_AFTER = 8_192
"""Observations in memory, some 3 kB each."""
MAX_WEIGHT = 8 << 20
PIECE = 4_096
DIGEST = 120
"""Bytes of a certificate's digest as text."""
_AT = {name: place for place, name in enumerate(Observation._fields)}
RECORDS: dict[int, Any] = {
    _AT[name]: Mark if name.startswith("syn") else Seen
    for name in ("syn", "syn_ack", "client_hello", "server_hello", "chain_seen")
}
LISTS: dict[int, Any] = {
    _AT[name]: Probe if name == "probes" else Mark for name in ("server_marks", "resets", "client_resets", "probes")
}
WORDS: dict[int, Any] = {_AT["absent"]: Absent, _AT["possession"]: Possession, _AT["reaction"]: Reaction}
SELDOM = tuple(_AT[name] for name in ("target", "alerts", "quic", "staple"))


def pack(observation: Observation) -> bytes:
    """An observation as bytes, for this process only: plain values, which marshal writes ten times faster than pickle.

    What few connections have is pickled inside.
    """
    values: list[Any] = list(observation)
    for at in RECORDS:
        if values[at] is not None:
            values[at] = tuple(values[at])
    for at in LISTS:
        if values[at]:
            values[at] = [tuple(record) for record in values[at]]
    for at in WORDS:
        if values[at] is not None:
            values[at] = values[at].value
    for at in SELDOM:
        if values[at]:
            values[at] = pickle.dumps(values[at], pickle.HIGHEST_PROTOCOL)
    return marshal.dumps(values)


def unpack(packed: bytes) -> Observation:
    """The observation of `pack`."""
    values = marshal.loads(packed)  # from our own temporary file, unlinked at birth
    for at, kind in RECORDS.items():
        if values[at] is not None:
            values[at] = tuple.__new__(kind, values[at])
    for at, kind in LISTS.items():
        if values[at]:
            values[at] = tuple([tuple.__new__(kind, record) for record in values[at]])
    for at, kind in WORDS.items():
        if values[at] is not None:
            values[at] = kind(values[at])
    for at in SELDOM:
        if values[at]:
            values[at] = pickle.loads(values[at])  # as above
    return tuple.__new__(Observation, values)


def weight_of(observation: Observation) -> int:
    """About how many bytes an observation takes beyond those of every other."""
    chains = len(observation.chain) + len(observation.client_chain) + len(observation.other_chain)
    weight = DIGEST * chains + len(observation.timestamps)
    if observation.server_name_raw is not None:
        weight += 3 * len(observation.server_name_raw)
    if observation.alpn_offered is not None:
        weight += sum(map(len, observation.alpn_offered))
    if observation.other_names:
        weight += sum(map(len, observation.other_names))
    return weight + len(observation.requested_name or b"") + len(observation.chain_problem or "")


class Spill:
    """The first observations in memory, the others in a file of our own; read back in the order of first frames."""

    def __init__(self) -> None:
        self.memory: list[Observation] = []
        self.weight = 0
        """Bytes, about, of what a peer may make long in those in memory."""
        self.file: IO[bytes] | None = None
        self.frames = array("Q")
        """The first frame of each observation, in the order in which they came."""
        self.places = array("Q")
        """Where each of those in the file begins; its end at last."""
        self.order = array("I")
        """Positions by first frame, once they were asked for."""

    def append(self, observation: Observation) -> None:
        """Add one."""
        self.frames.append(observation.first_frame)
        if self.file is None:
            self.weight += weight_of(observation)
            if len(self.memory) < SPILL_AFTER and self.weight <= MAX_WEIGHT:
                self.memory.append(observation)
                return
            self.file = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115 - closed by close()
            self.places.append(0)
        self.places.append(self.places[-1] + self.file.write(pack(observation)))

    def get(self, number: int) -> Observation:
        """The observation that was added as the `number`th, from 1; IndexError beyond."""
        spilled = number - 1 - len(self.memory)
        if spilled < 0 or self.file is None:
            return self.memory[number - 1]
        begin, end = self.places[spilled], self.places[spilled + 1]
        if self.file.tell() != begin:
            self.file.seek(begin)
        return unpack(self.file.read(end - begin))

    def first_frame(self, number: int) -> int:
        """The first frame of the observation that was added as the `number`th."""
        return self.frames[number - 1]

    def __iter__(self) -> Iterator[Observation]:
        """All of them, by first frame."""
        if len(self.order) != len(self):
            self.order = _by_frame(self.frames)
        for index in self.order:
            yield self.get(index + 1)

    def __len__(self) -> int:
        return len(self.frames)

    def close(self) -> None:
        """Drop the temporary file."""
        if self.file is not None:
            self.file.close()


def _by_frame(frames: array[int]) -> array[int]:
    """Positions in the order of their frames; sorted piece by piece, for sorting takes memory of its own."""
    count = len(frames) // PIECE + 1
    beyond = max(frames, default=0) + 1
    pieces = [array("I") for _ in range(count)]
    for index, frame in enumerate(frames):
        pieces[frame * count // beyond].append(index)
    order = array("I")
    for number in range(count):
        order.extend(sorted(pieces[number], key=frames.__getitem__))
        pieces[number] = array("I")
    return order
