"""Target lists: names that were seen to trigger interception, with the time in which they did."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from kzpcap.errors import ReferenceDataError

NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\Z")
DAY_NS = 86_400 * 1_000_000_000


class TargetList(NamedTuple):
    """One list; `first` and `last` (nanoseconds, None where unknown) bound the time it was in force."""

    id: str
    title: str
    source: str
    names: frozenset[str]
    first: int | None
    last: int | None

    def in_force(self, time_ns: int) -> bool | None:
        """Was the list in force at that time? None where the list does not say."""
        if self.first is None or self.last is None:
            return None
        return self.first <= time_ns < self.last + DAY_NS


class Match(NamedTuple):
    """A name on a list: `exact`, or a subdomain of one that is."""

    name: str
    list_id: str
    exact: bool
    in_force: bool | None


def day(text: str) -> int:
    """Nanoseconds at the start of a day written YYYY-MM-DD."""
    return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def read_target_list(path: Path) -> TargetList:
    """Read a list: one name a line, what follows a tab is a remark, `# key: value` lines on top."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReferenceDataError(f"{path}: {error}") from error
    head: dict[str, str] = {}
    names: set[str] = set()
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            key, colon, value = line[1:].partition(":")
            if colon:
                head.setdefault(key.strip(), value.strip())
            continue
        name = line.split("\t")[0].strip().lower().rstrip(".")
        if not name:
            continue
        if not NAME.match(name):
            raise ReferenceDataError(f"{path}:{number}: {name[:80]!r} is not a host name (one name a line)")
        names.add(name)
    if not names:
        raise ReferenceDataError(f"{path}: no names in it")
    first = last = None
    if "in force" in head:
        try:
            begin, end = head["in force"].split(" to ")
            first, last = day(begin.strip()), day(end.strip())
        except ValueError as error:
            raise ReferenceDataError(f"{path}: 'in force' wants two dates: {error}") from error
        if last < first:
            raise ReferenceDataError(f"{path}: 'in force' ends before it begins")
    for key, value in head.items():
        if not value.isprintable():  # lists are passed from hand to hand, and what is in them is shown
            raise ReferenceDataError(f"{path}: {key[:40]!r} has characters that cannot be shown")
    return TargetList(
        head.get("id", path.stem), head.get("title", path.stem), head.get("source", "given by the user"),
        frozenset(names), first, last,
    )  # fmt: skip


class Targets:
    """The names of all lists, to be asked for each connection: a look-up for each label of a name."""

    def __init__(self, lists: tuple[TargetList, ...]) -> None:
        self.lists = lists
        self.places: dict[str, list[int]] = {}
        """Name to the places of the lists that it is on."""
        for place, target in enumerate(lists):
            for name in target.names:
                self.places.setdefault(name, []).append(place)
        self.longest = max(map(len, self.places), default=0)

    def match(self, name: str, time_ns: int) -> Match | None:
        """The best match of a normalised name: exact before subdomain, a list in force before one that is not."""
        exact = self.places.get(name)
        if exact is not None:
            return self._best(dict.fromkeys(exact, name), True, time_ns)
        found: dict[int, str] = {}
        parent = name[-self.longest - 1 :]  # a hostile name has thousands of labels: none above is on a list
        while "." in parent:
            parent = parent.partition(".")[2]
            for place in self.places.get(parent, ()):
                found.setdefault(place, parent)
        return self._best(found, False, time_ns) if found else None

    def _best(self, found: dict[int, str], exact: bool, time_ns: int) -> Match:
        """The match on the first list in force; on the first of all where none is."""
        matches = [
            Match(found[place], self.lists[place].id, exact, self.lists[place].in_force(time_ns))
            for place in sorted(found)
        ]
        return next((one for one in matches if one.in_force), matches[0])
