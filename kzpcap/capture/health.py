"""What a capture could not give: notes, each with the frame or the offset where it was seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

KEPT_PER_KIND = 8


@dataclass(frozen=True, slots=True)
class Note:
    """One thing that could not be read or used: bad input is data."""

    kind: str
    text: str
    frame: int | None = None
    offset: int | None = None


class Notes:
    """All notes counted by kind, the first few of each kind kept: a hostile capture cannot grow this without bound."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.kept: list[Note] = []

    def add(self, kind: str, text: str, frame: int | None = None, offset: int | None = None, count: int = 1) -> None:
        """Count a note, and keep it if it is among the first of its kind."""
        if self.counts[kind] < KEPT_PER_KIND:
            self.kept.append(Note(kind, text, frame, offset))
        self.counts[kind] += count
