"""Tables of addresses and AS numbers in the formats that are in use: MMDB, iptoasn's TSV, CAIDA's prefix2as.

A table is read whole and checked; a bad line is named. Multi-origin prefixes of prefix2as keep all their origins.
"""

from __future__ import annotations

import gzip
import ipaddress
import re
import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from kzpcap.errors import ReferenceDataError

MMDB_MARKER = b"\xab\xcd\xefMaxMind.com"
MAX_ROWS = 2_000_000
MAX_SIZE = 256 << 20
LAST_AS = (1 << 32) - 1
"""RFC 6793."""
ORIGINS = re.compile(r"[0-9]{1,10}(_[0-9]{1,10})*")


class Table(Protocol):
    """A table that was opened: its date where it has one, and a look-up."""

    date: str

    def get(self, address: str) -> tuple[int, str] | None:
        """(AS number, holder's name or further origins) of an address; None where the table has none."""


@dataclass
class Mmdb:
    """A MaxMind database with AS numbers."""

    reader: Any
    date: str

    def get(self, address: str) -> tuple[int, str] | None:
        """See Table."""
        import maxminddb

        try:
            found = self.reader.get(address)
        except maxminddb.InvalidDatabaseError:
            return None
        if not isinstance(found, dict):
            return None
        number = found.get("autonomous_system_number") or found.get("asn")
        name = found.get("autonomous_system_organization") or found.get("name") or ""
        if isinstance(number, str):
            number = number.upper().removeprefix("AS")
        number = int(str(number)) if str(number).isdecimal() and len(str(number)) <= 10 else 0
        return (number, str(name)) if 0 < number <= LAST_AS else None


@dataclass
class Ranges:
    """Ranges of addresses, sorted; IPv4 and IPv6 apart."""

    date: str = ""
    starts: dict[int, list[int]] = field(default_factory=lambda: {4: [], 6: []})
    rows: dict[int, list[tuple[int, int, str]]] = field(default_factory=lambda: {4: [], 6: []})

    def get(self, address: str) -> tuple[int, str] | None:
        """See Table."""
        parsed = ipaddress.ip_address(address)
        at = bisect_right(self.starts[parsed.version], int(parsed)) - 1
        if at < 0:
            return None
        end, number, name = self.rows[parsed.version][at]
        return (number, name) if int(parsed) <= end and number else None


@dataclass
class Prefixes:
    """Prefixes by length; the longest that fits counts."""

    date: str = ""
    by_length: dict[tuple[int, int], dict[int, str]] = field(default_factory=dict)

    def get(self, address: str) -> tuple[int, str] | None:
        """See Table."""
        parsed = ipaddress.ip_address(address)
        bits = parsed.max_prefixlen
        for version, length in sorted(self.by_length, reverse=True):
            if version == parsed.version:
                origins = self.by_length[version, length].get(int(parsed) >> (bits - length))
                if origins:
                    first, _, others = origins.partition("_")
                    return int(first), f"(also AS{others.replace('_', ', AS')})" if others else ""
        return None


def open_shipped(path: Path) -> Table:
    """The MMDB that comes with the reference data, mapped and not read whole."""
    import maxminddb

    return _checked(path, lambda: maxminddb.open_database(str(path)))


def open_table(path: Path) -> Table:
    """The table in a file, by its content; ReferenceDataError where it is none of the known formats.

    An MMDB that somebody gave is read whole, by the reader that is written in Python: it may be damaged, or change.
    """
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            raw = file.read(MAX_SIZE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ReferenceDataError(f"{path}: {error}") from error
    if len(raw) > MAX_SIZE:
        raise ReferenceDataError(f"{path}: more than {MAX_SIZE >> 20} MiB: no table of addresses and AS numbers")
    if MMDB_MARKER in raw[-131_072:]:
        return _mmdb(path, raw)
    try:
        lines = raw.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ReferenceDataError(f"{path}: neither an MMDB nor text: {error}") from error
    rows = [(number, line.split("\t")) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    if not rows or len(rows) > MAX_ROWS:
        raise ReferenceDataError(f"{path}: {len(rows):,} rows: no table of addresses and AS numbers")
    first = rows[0][1]
    if len(first) == 1 and len(first[0].split()) == 3:
        rows = [(number, columns[0].split()) for number, columns in rows]
        first = rows[0][1]
    if len(first) >= 3 and "/" not in first[0] and len(first) != 3:
        return _ranges(path, rows)
    if len(first) == 3:
        return _prefixes(path, rows)
    raise ReferenceDataError(f"{path}: line {rows[0][0]} is neither iptoasn's (5 columns) nor prefix2as's (3)")


def _mmdb(path: Path, raw: bytes) -> Mmdb:
    import io

    import maxminddb

    return _checked(path, lambda: maxminddb.Reader(io.BytesIO(raw), maxminddb.MODE_FD))


def _checked(path: Path, open_reader: Callable[[], Any]) -> Mmdb:
    import maxminddb

    try:
        reader = open_reader()
        built = datetime.fromtimestamp(reader.metadata().build_epoch, UTC).strftime("%Y-%m-%d")
        reader.get("192.0.2.1")
    except (maxminddb.InvalidDatabaseError, ValueError, TypeError, KeyError, OSError, OverflowError) as error:
        raise ReferenceDataError(f"{path}: {type(error).__name__}: {error}") from error
    return Mmdb(reader, built)


def _ranges(path: Path, rows: list[tuple[int, list[str]]]) -> Ranges:
    table = Ranges()
    found: dict[int, list[tuple[int, int, int, str]]] = {4: [], 6: []}
    for number, columns in rows:
        try:
            start, end = ipaddress.ip_address(columns[0]), ipaddress.ip_address(columns[1])
            name = columns[4] if len(columns) > 4 else ""
            system = int(columns[2])
            if not 0 <= system <= LAST_AS:
                raise ValueError(f"{columns[2]} is no AS number")
            found[start.version].append((int(start), int(end), system, name))
        except (ValueError, IndexError) as error:
            raise ReferenceDataError(f"{path}:{number}: {error}") from error
    for version, entries in found.items():
        entries.sort()
        table.starts[version] = [entry[0] for entry in entries]
        table.rows[version] = [entry[1:] for entry in entries]
    return table


def _prefixes(path: Path, rows: list[tuple[int, list[str]]]) -> Prefixes:
    table = Prefixes()
    for number, columns in rows:
        try:
            network = ipaddress.ip_address(columns[0])
            length = int(columns[1])
            origins = columns[2].replace(",", "_").strip()
            if not 0 <= length <= network.max_prefixlen or not ORIGINS.fullmatch(origins):
                raise ValueError(f"{columns[1:]} is no prefix length and origin")
        except (ValueError, IndexError) as error:
            raise ReferenceDataError(f"{path}:{number}: {error}") from error
        shifted = int(network) >> (network.max_prefixlen - length)
        table.by_length.setdefault((network.version, length), {})[shifted] = origins
    return table
