"""Address to AS by a dated table, with the operator's name, and what was published of single addresses at its time.

Border routers, MPLS and NAT make the AS of a hop uncertain: an edge is told by both its ends, and each answer
carries its table's date.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kzpcap.errors import ReferenceDataError


@dataclass(frozen=True, slots=True)
class Network:
    """The AS of an address by one table; `operator` where several AS are one."""

    asn: int
    name: str
    operator: str | None
    source: str

    @property
    def text(self) -> str:
        """As a reader is told: AS9198 Kazakhtelecom."""
        return f"AS{self.asn} {self.operator or self.name}".strip()


@dataclass(frozen=True)
class Networks:
    """The table and the operators of a reference folder; opened on the first question."""

    folder: Path

    @cached_property
    def _operators(self) -> dict[str, Any]:
        path = self.folder / "operators.toml"
        try:
            return tomllib.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ReferenceDataError(f"{path}: {error}") from error

    @cached_property
    def _table(self) -> Any:
        import maxminddb

        path = self.folder / self._operators["table"]
        try:
            return maxminddb.open_database(str(path))
        except (OSError, ValueError) as error:  # InvalidDatabaseError is no ValueError in every version
            raise ReferenceDataError(f"{path}: {error}") from error

    @cached_property
    def _names(self) -> dict[int, str]:
        return {asn: entry["name"] for entry in self._operators.get("operator", ()) for asn in entry["asns"]}

    @property
    def source(self) -> str:
        """The table's name and date."""
        return f"iptoasn {self._operators['date']}"

    def of(self, address: str) -> Network | None:
        """The AS of an address; None where the table has none (private addresses, holes)."""
        try:
            found = self._table.get(address)
        except ValueError:
            return None
        if not found or not found.get("autonomous_system_number"):
            return None
        asn = int(found["autonomous_system_number"])
        return Network(asn, str(found.get("autonomous_system_organization", "")), self._names.get(asn), self.source)

    def published(self, address: str) -> str | None:
        """What was published of this very address, with the year."""
        for entry in self._operators.get("published", ()):
            if address in entry["addresses"]:
                return f"AS{entry['asn']} as published {entry['year']}"
        return None
