"""Address to AS by a dated table, with the operator's name, and what was published of single addresses at its time.

Border routers, MPLS and NAT make the AS of a hop uncertain: an edge is told by both its ends, and each answer
carries its table's date.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from kzpcap.errors import ReferenceDataError
from kzpcap.paths.asn_table import Table, open_shipped, open_table
from kzpcap.paths.local import is_local


class Network(NamedTuple):
    """The AS of an address by one table; `operator` where several AS are one."""

    asn: int
    name: str
    operator: str | None
    source: str

    @property
    def text(self) -> str:
        """As a reader is told: AS9198 Kazakhtelecom."""
        return f"AS{self.asn} {self.operator or self.name}".strip()


class Service(NamedTuple):
    """Whose some names are, and the AS that are theirs."""

    owner: str
    asns: frozenset[int]


@dataclass(frozen=True)
class Networks:
    """The table and the operators of a reference folder, and a table that was given; opened on the first question."""

    folder: Path
    given: Path | None = None

    @cached_property
    def _operators(self) -> dict[str, Any]:
        path = self.folder / "operators.toml"
        try:
            return tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ReferenceDataError(f"{path}: {error}") from error

    @cached_property
    def _tables(self) -> tuple[tuple[str, Table], ...]:
        """(how a table is called, the table): the one that was given first."""
        shipped = (f"iptoasn {self._operators['date']}", open_shipped(self.folder / self._operators["table"]))
        if self.given is None:
            return (shipped,)
        table = open_table(self.given)
        return (f"{self.given.name}{' of ' + table.date if table.date else ''}", table), shipped

    def check(self) -> None:
        """Open the tables now; ReferenceDataError where one is none."""
        _ = self._tables

    @cached_property
    def _names(self) -> dict[int, str]:
        return {asn: entry["name"] for entry in self._operators.get("operator", ()) for asn in entry["asns"]}

    @cached_property
    def _services(self) -> dict[str, Service]:
        found = {}
        for entry in self._operators.get("service", ()):
            service = Service(entry["owner"], frozenset(entry["asns"]))
            found.update(dict.fromkeys(entry["names"], service))
        return found

    @cached_property
    def _countries(self) -> dict[int, str]:
        return {asn: entry["code"] for entry in self._operators.get("country", ()) for asn in entry["asns"]}

    def country(self, asn: int) -> str | None:
        """The country code of an AS, for the countries that the reference data lists; None for others."""
        return self._countries.get(asn)

    def service_of(self, name: str) -> Service | None:
        """Whose a name is, by itself or a name that it is below; None where the reference data does not say."""
        found = self._services.get(name)
        parent = name[-self._longest_service - 1 :]  # a hostile name has thousands of labels: none above is on the list
        while found is None and "." in parent:
            parent = parent.partition(".")[2]
            found = self._services.get(parent)
        return found

    @cached_property
    def _longest_service(self) -> int:
        return max(map(len, self._services), default=0)

    @property
    def source(self) -> str:
        """The first table's name and date."""
        return self._tables[0][0]

    def of(self, address: str) -> Network | None:
        """The AS of an address by the first table; None where it has none (private addresses, holes)."""
        try:
            if self.given is None and is_local(address):
                return None  # the shipped table has none of them, and need not be opened for it
        except ValueError:
            return None
        return self._look_up(address, *self._tables[0])

    def by_each_table(self, address: str) -> list[Network]:
        """The AS of an address by every table that has it."""
        return [network for entry in self._tables if (network := self._look_up(address, *entry)) is not None]

    def _look_up(self, address: str, source: str, table: Table) -> Network | None:
        try:
            found = table.get(address)
        except (ValueError, TypeError, KeyError):  # not an address; or a table that is damaged just there
            return None
        return Network(found[0], found[1], self._names.get(found[0]), source) if found else None

    def published(self, address: str) -> str | None:
        """What was published of this very address, with the year."""
        for entry in self._operators.get("published", ()):
            if address in entry["addresses"]:
                return f"AS{entry['asn']} as published {entry['year']}"
        return None
