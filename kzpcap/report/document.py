"""A report as it was written: its JSON document, of which no more is in memory than is asked for.

A small one is read at once. Of one that may be larger than memory each part is read from the file when it is asked
for, connections and certificates one after the other, and again each time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

from kzpcap.report.json import write
from kzpcap.report.summary import Summary

if TYPE_CHECKING:
    from kzpcap.analysis import Report

WHOLE = 8 << 20
"""Bytes up to which a document is read at once; in memory it takes five to ten times as much."""


class Document:
    """The document of one report, from a file that stays open meanwhile, or at hand already.

    ValueError where the file is no such JSON, KeyError where a part is not there; both may come while it is gone
    through.
    """

    def __init__(self, source: BinaryIO | dict[str, Any]) -> None:
        self._source = source
        self.without: frozenset[int] = frozenset()
        """First frames of connections that are left out."""
        self._parts: dict[str, Any] = {}

    def __getitem__(self, part: str) -> Any:
        """One part: `capture`, `reference`, `ladders`, `summary` ...; not those that grow with the connections."""
        if part in ("connections", "certificates"):
            raise KeyError(f"{part} are gone through, not held")
        if self._at_hand is not None:
            return self._at_hand[part]
        if part not in self._parts:
            for value in self._read("items", part, use_float=True):
                self._parts[part] = value
                break
        return self._parts[part]

    def connections(self) -> Iterator[dict[str, Any]]:
        """Every connection that is not left out, in order."""
        if self._at_hand is not None:
            every = iter(self._at_hand["connections"])
        else:
            every = self._read("items", "connections.item", use_float=True)
        return (one for one in every if one["frame"] not in self.without) if self.without else every

    def certificates(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(SHA-256, what it says) of every certificate."""
        if self._at_hand is not None:
            return iter(self._at_hand["certificates"].items())
        return self._read("kvitems", "certificates")  # with floats, ijson takes no integer of more than 64 bits

    def chosen(self, wanted: Collection[str]) -> dict[str, dict[str, Any]]:
        """Those of the certificates that are wanted."""
        if self._at_hand is not None:
            there = self._at_hand["certificates"]
            return {digest: there[digest] for digest in wanted if digest in there}
        return {digest: one for digest, one in self.certificates() if digest in wanted} if wanted else {}

    @cached_property
    def _at_hand(self) -> dict[str, Any] | None:
        if isinstance(self._source, dict):
            return self._source
        if os.fstat(self._source.fileno()).st_size > WHOLE:
            return None
        found = json.loads(_Cursor(self._source).read(WHOLE))
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        return found

    def _read(self, how: str, prefix: str, **options: bool) -> Iterator[Any]:
        import ijson

        try:
            yield from getattr(ijson, how)(_Cursor(self._source), prefix, **options)
        except ijson.JSONError as error:
            raise ValueError(str(error).partition("\n")[0]) from None


class _Cursor:
    """Reads a file from its beginning, whoever else reads it meanwhile."""

    def __init__(self, file: Any) -> None:
        self._file, self._at = file.fileno(), 0

    def read(self, size: int) -> bytes:
        """The next bytes, empty at the end."""
        found = os.pread(self._file, size, self._at)
        self._at += len(found)
        return found


@contextmanager
def written(report: Report, also: Callable[[str], object] | None = None) -> Iterator[tuple[Document, Summary]]:
    """The document of a report in a file without a name, and its counts; `also` is given the JSON."""
    with tempfile.TemporaryFile() as file:

        def out(text: str) -> None:
            file.write(text.encode("utf-8", "surrogatepass"))
            if also is not None:
                also(text)

        summary = write(report, out)
        file.flush()
        yield Document(file), summary
