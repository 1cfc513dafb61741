"""Observations while a capture is read: in memory up to a bound, beyond it in temporary files."""

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
SPILL_ALL = 65_536
"""With more than so many, these go to a file too: keeping them would save little time, and memory grows short."""
MAX_WEIGHT = 8 << 20
PIECE = 4_096
RECORD = 200
"""Bytes of an alert, a probe or a session's digest."""
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
SELDOM = tuple(_AT[name] for name in ("target", "alerts", "quic", "staple", "server_closed"))


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
    weight += RECORD * (len(observation.alerts) + len(observation.probes) + len(observation.issued_session))
    return weight + len(observation.requested_name or b"") + len(observation.chain_problem or "")


class Packed:
    """Observations in a temporary file, by position from 0."""

    def __init__(self) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile(prefix="kzpcap-")  # noqa: SIM115 - closed by close()
        self.places = array("Q", [0])
        """Where each begins, and where the last ends."""

    def append(self, observation: Observation) -> None:
        """Add one."""
        self.places.append(self.places[-1] + self.file.write(pack(observation)))

    def get(self, position: int) -> Observation:
        """One of them; IndexError beyond the last."""
        begin, end = self.places[position], self.places[position + 1]
        if self.file.tell() != begin:
            self.file.seek(begin)
        return unpack(self.file.read(end - begin))

    def close(self) -> None:
        """Drop the file."""
        self.file.close()


class Spill:
    """The first observations in memory, the others in a file of our own; read back in the order of first frames.

    Of a large capture the first are moved to a file as well.
    """

    def __init__(self) -> None:
        self.memory: list[Observation] = []
        self.weight = 0
        """Bytes, about, of what a peer may make long in those in memory."""
        self.first: Packed | None = None
        """Those that were in memory before."""
        self.others: Packed | None = None
        self.kept = 0
        """How many are or were in memory."""
        self.frames = array("Q")
        """The first frame of each observation, in the order in which they came."""
        self.order = array("I")
        """Positions by first frame, once they were asked for."""

    def append(self, observation: Observation) -> None:
        """Add one."""
        self.frames.append(observation.first_frame)
        if self.others is None:
            self.weight += weight_of(observation)
            if self.kept < SPILL_AFTER and self.weight <= MAX_WEIGHT:
                self.memory.append(observation)
                self.kept += 1
                return
            self.others = Packed()
        elif self.first is None and len(self.frames) > SPILL_ALL:
            self.first = Packed()
            for one in self.memory:
                self.first.append(one)
            self.memory.clear()
        self.others.append(observation)

    def get(self, number: int) -> Observation:
        """The observation that was added as the `number`th, from 1; IndexError beyond."""
        if number > self.kept and self.others is not None:
            return self.others.get(number - 1 - self.kept)
        return self.first.get(number - 1) if self.first is not None else self.memory[number - 1]

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
        """Drop the temporary files."""
        for packed in (self.first, self.others):
            if packed is not None:
                packed.close()


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
