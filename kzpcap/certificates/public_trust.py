"""Was a chain trusted by the public on a day: against the certifi bundle of that time, derived from Mozilla's.

"Not in it" does not mean "trusted nowhere": other stores keep roots of their own. The bundle is the latest release
not after the day, or the earliest there is; which one, the answer says.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kzpcap.certificates.certificate import Certificate, name_key, parse
from kzpcap.errors import ReferenceDataError
from kzpcap.reference.targets import day

PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s*(.*?)-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Standing:
    """A root's place in the bundles: in it on the day asked, and when it was at all."""

    release: str
    trusted: bool
    first: str
    last: str | None
    """The last release it was in; None while it still is."""


class PublicTrust:
    """The history of the bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            document = json.loads((folder / "releases.json").read_text("utf-8"))
            self.releases: list[dict[str, str]] = document["releases"]
            self.roots: list[dict[str, Any]] = document["roots"]
            self.days = [day(release["date"]) for release in self.releases]
        except (OSError, ValueError, KeyError) as error:
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

    def standing(self, root: Certificate, time_ns: int) -> Standing | None:
        """A root's standing at a time; a root with the same name and key counts as the same."""
        entry = self.index.get(root.sha256) or next(
            (e for e in self.by_spki.get(root.spki_sha256, ()) if e["subject"] == root.subject), None
        )
        if entry is None:
            return None
        at = self.release_at(time_ns)
        runs = entry["in"]
        last = runs[-1][1]
        return Standing(
            self.releases[at]["release"],
            any(begin <= at <= end for begin, end in runs),
            self.releases[runs[0][0]]["date"],
            None if last == len(self.releases) - 1 else self.releases[last]["date"],
        )
