"""Was a chain trusted by the public on a day: against the certifi bundle of that time, derived from Mozilla's.

"Not in it" does not mean "trusted nowhere": other stores keep roots of their own. The bundle is the latest release
not after the day, or the earliest there is; which one, the answer says. Where a bundle does not settle it (a root that
left or came within a year of the day, or part of whose certificates were distrusted while it was in), trust is
disputed.
"""

from __future__ import annotations

import base64
import json
import re
import tomllib
from bisect import bisect_right
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from kzpcap.certificates.certificate import Certificate, name_key, parse
from kzpcap.errors import ReferenceDataError
from kzpcap.reference.targets import DAY_NS, day

YEAR_NS = 365 * DAY_NS
PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s*(.*?)-----END CERTIFICATE-----", re.DOTALL)


class Standing(NamedTuple):
    """A root's place in the bundles: in it on the day asked, and when it was at all."""

    release: str
    trusted: bool
    first: str
    last: str | None
    """The last release it was in; None while it still is."""
    disputed: str = ""
    """Why the bundle does not settle it, in words; `trusted` is then false."""
    unfit: str = ""
    """Why the path may not serve TLS, in words; `trusted` is then false."""


class Partial(NamedTuple):
    """Distrust of part of what a root signed, while the root was in the bundles; times in nanoseconds."""

    id: str
    roots: frozenset[str]
    since: int
    after: int | None
    before: int | None
    except_issuers: frozenset[str]
    says: str
    source: str

    def applies(self, path: tuple[Certificate, ...], time_ns: int) -> bool:
        """Does it touch this path (leaf first, root last) at this time?"""
        leaf, root = path[0], path[-1]
        if root.sha256 not in self.roots or time_ns < self.since:
            return False
        if any(certificate.common_name in self.except_issuers for certificate in path[1:-1]):
            return False
        late = self.after is not None and leaf.not_before >= self.after + DAY_NS
        early = self.before is not None and leaf.not_before < self.before
        return late or early or (self.after is None and self.before is None)


class PublicTrust:
    """The history of the bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            document = json.loads((folder / "releases.json").read_text("utf-8"))
            self.releases: list[dict[str, str]] = document["releases"]
            self.roots: list[dict[str, Any]] = document["roots"]
            self.days = [day(release["date"]) for release in self.releases]
            self.partial = _partial(folder / "trust_exceptions.toml")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReferenceDataError(f"{folder}: {error}") from error
        self.index = {root["sha256"]: root for root in self.roots}
        self._parsed: dict[int, Certificate] = {}
        self.by_spki: dict[str, list[dict[str, Any]]] = {}
        for root in self.roots:
            self.by_spki.setdefault(root["spki_sha256"], []).append(root)

    @cached_property
    def _pems(self) -> list[str]:
        try:
            found = PEM.findall((self.folder / "roots.pem").read_text("ascii"))
        except (OSError, ValueError) as error:
            raise ReferenceDataError(f"{self.folder}: {error}") from error
        if len(found) != len(self.roots):
            raise ReferenceDataError(f"{self.folder}: roots.pem and releases.json differ")
        return found

    @cached_property
    def _positions(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for position, root in enumerate(self.roots):
            found.setdefault(name_key(root["subject"]), []).append(position)
        return found

    def roots_named(self, subject_key: str) -> tuple[Certificate, ...]:
        """Every root of any release with this subject; only these are decoded."""
        positions = self._positions.get(subject_key, ())
        return tuple(self._root(position) for position in positions)

    def _root(self, position: int) -> Certificate:
        found = self._parsed.get(position)
        if found is None:
            found = self._parsed[position] = parse(base64.b64decode(self._pems[position]))
        return found

    def release_at(self, time_ns: int) -> int:
        """The index of the latest release not after a time, else of the earliest."""
        return max(0, bisect_right(self.days, time_ns) - 1)

    def standing(self, path: tuple[Certificate, ...], time_ns: int) -> Standing | None:
        """The standing at a time of the root at the end of a verified path (leaf first).

        A root with the same name and key as one in a bundle counts as that.
        """
        root = path[-1]
        entry = self.index.get(root.sha256) or next(
            (e for e in self.by_spki.get(root.spki_sha256, ()) if e["subject"] == root.subject), None
        )
        if entry is None:
            return None
        at = self.release_at(time_ns)
        runs = entry["in"]
        last = runs[-1][1]
        listed = any(begin <= at <= end for begin, end in runs)
        disputed = next((part.says for part in self.partial if listed and part.applies(path, time_ns)), "")
        if not listed:
            disputed = self._near(runs, time_ns)
        return Standing(
            self.releases[at]["release"],
            listed and not disputed,
            self.releases[runs[0][0]]["date"],
            None if last == len(self.releases) - 1 else self.releases[last]["date"],
            disputed,
        )

    def _near(self, runs: list[list[int]], time_ns: int) -> str:
        """In words, that a root left, or came, within a year of the day; empty where it did not."""
        for begin, end in runs:
            gone = self.days[end + 1] if end + 1 < len(self.days) else None
            if gone is not None and 0 <= time_ns - gone < YEAR_NS:
                return (
                    f"it left the bundle with the release of {self.releases[end + 1]['date']}, less than a year before"
                )
            if 0 < self.days[begin] - time_ns < YEAR_NS:
                return (
                    f"it came into the bundle with the release of {self.releases[begin]['date']}, within a year after"
                )
        return ""


def _partial(path: Path) -> tuple[Partial, ...]:
    """The dated exceptions; none where the file is absent."""
    if not path.is_file():
        return ()
    found = []
    for entry in tomllib.loads(path.read_text("utf-8")).get("partial", ()):
        after, before = entry.get("distrust_after"), entry.get("distrust_before")
        found.append(
            Partial(
                entry["id"],
                frozenset(entry["roots"]),
                day(entry["since"]),
                day(after) if after else None,
                day(before) if before else None,
                frozenset(entry.get("except_issuers", ())),
                entry["says"],
                entry["source"],
            )
        )
    return tuple(found)
