"""The command line of what a case comes to: `kzpcap case summary`, `report`, `claims`, `ooni`, `sql`."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kzpcap.cli_cases import Folder, cases, opened
from kzpcap.cli_common import DAMAGED, EXIT_FAULTS, EXIT_MISSING, EXIT_NO_CASE, NotWritten, new_file, refused
from kzpcap.errors import CaseError, WitnessMissing

if TYPE_CHECKING:
    from kzpcap.cases.store import Case

MAX_ROWS = 10_000
PUBLIC_LINES = "The public profile: hours, listed names, no addresses, no forged leaf."
EVIDENCE = "The evidence profile: exact times, addresses and keys. It can lead to a volunteer: keep it in the house."


def summary(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    analysis: Annotated[str | None, typer.Option("--analysis", metavar="ID", help="Of another analysis.")] = None,
) -> None:
    """Print what a case comes to: states, interceptors, targets, days, edges, and what was not judged and why."""
    import json

    from kzpcap.cases import summary as counting
    from kzpcap.report.text import safe

    case = opened(folder)
    try:
        total = counting.total(case, analysis)
        total.altered = _sound(case, total.analysis)
    except DAMAGED as error:
        raise refused(folder, error) from None
    if as_json:
        typer.echo(json.dumps(total.document(), ensure_ascii=True, indent=1))
        return
    for line in counting.lines(total):
        typer.echo(safe(line))


def report(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The HTML file to write.")],
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Tell all: exact times, addresses, keys. Not for others' eyes.")
    ] = False,
    analysis: Annotated[str | None, typer.Option("--analysis", metavar="ID", help="Of another analysis.")] = None,
) -> None:
    """Write what a case comes to as one HTML file: when, where, what, how sure; no script, printable.

    What could lead an operator to a subscriber is left out, and counted, unless --evidence is given.
    """
    from kzpcap import reference
    from kzpcap.cases import custody
    from kzpcap.cases.public import TOLD, public, published_keys
    from kzpcap.cases.summary import total
    from kzpcap.report.text import safe, wrap
    from kzpcap.verdict.rules import RULES

    _new(output, folder)
    try:
        from kzpcap.report.case_page import render

        case = opened(folder)
        found = total(case, analysis)
        found.altered = _sound(case, found.analysis)
        document = found.document()
        shown, suppressed = (document, dict[str, int]()) if evidence else public(document, published_keys())
        loaded = reference.load()
        made = {
            "profile": EVIDENCE if evidence else TOLD,
            "heads": {log.run: log.head for log in custody.logs(case) if log.head},
            "reference": custody.reference_of(case, found.analysis),
            "suppressed": suppressed,
        }
        titles = loaded.titles
        page = render(shown, titles, {rule.id: rule.says for rule in RULES}, made)
    except ImportError as missing:
        typer.echo(f"kzpcap: this needs {missing.name}: pip install 'kzpcap[cases]'", err=True)
        raise typer.Exit(EXIT_MISSING) from None
    except DAMAGED as error:
        raise refused(folder, error) from None
    with new_file(output) as file:
        file.write(page)
    typer.echo(f"{safe(str(output))}: {found.captures:,} captures, {output.stat().st_size:,} bytes")
    typer.echo(wrap(str(made["profile"]), 2))


def judge(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Judge again what captures alone left open, by the others of the case; keep it in the case, and print it.

    Made of stored reports and certificates; the captures' own states stay as they are.
    """
    import json

    from kzpcap.cases.second import keep
    from kzpcap.cases.summary import total
    from kzpcap.report.text import safe
    from kzpcap.report.words import second_lines

    try:
        case = opened(folder)
        found = total(case)
        _sound(case, found.analysis)
        path = keep(case, found.analysis, found.second)
    except DAMAGED as error:
        raise refused(folder, error) from None
    if as_json:
        typer.echo(json.dumps(found.second, ensure_ascii=True, indent=1))
        return
    for line in second_lines(found.second):
        typer.echo(safe(line))
    typer.echo("kept as")
    typer.echo(path.name)
    typer.echo(f"  in {safe(str(path.parent))}")


def claims(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Print what may be said of a case, how well it is supported, and every alternative with what excludes it."""
    import json

    from kzpcap import reference
    from kzpcap.cases import claims as claiming
    from kzpcap.cases.crossings import settled
    from kzpcap.cases.custody import latest
    from kzpcap.cases.repeats import sound
    from kzpcap.cases.summary import judged_otherwise, reports
    from kzpcap.cases.tomography import explain
    from kzpcap.report.text import safe
    from kzpcap.report.words import claim_lines

    case = opened(folder)
    found = claiming.Gathered()
    try:
        analysis = latest(case) or ""
        found.altered = len(_sound(case, analysis))
        found.otherwise = judged_otherwise(case, analysis)
        for capture, report in reports(case, analysis):
            with sound(capture):
                found.add(capture, report)
    except DAMAGED as error:
        raise refused(folder, error) from None
    titles = reference.load().titles
    document = claiming.document(found, claiming.claims(found, titles, explain(settled(found.crossings))))
    if as_json:
        typer.echo(json.dumps(document, ensure_ascii=True, indent=1))
        return
    for line in claim_lines(document):
        typer.echo(safe(line))


def release(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="The folder to write; a new one.")],
) -> None:
    """Write what may be published of a case: report, tables, OONI measurements, and a list of what was left out."""
    from kzpcap.cases.custody import latest
    from kzpcap.cases.release import release as write
    from kzpcap.report.text import safe

    _new(output, folder)
    case = opened(folder)
    try:
        if _sound(case, latest(case) or "") or _exchanged(case):
            raise typer.Exit(EXIT_FAULTS)
        left = write(case, output)
    except ImportError as missing:
        typer.echo(f"kzpcap: this needs {missing.name}: pip install 'kzpcap[cases]'", err=True)
        raise typer.Exit(EXIT_MISSING) from None
    except DAMAGED as error:
        if isinstance(error, OSError):
            at_fault = Path(error.filename or output).resolve()
            if not at_fault.is_relative_to(folder.resolve()):  # the release cannot be written: no fault of the case
                raise NotWritten(error.errno, error.strerror, str(output)) from None
        raise refused(folder, error) from None
    for path in sorted(output.iterdir()):
        typer.echo(f"{path.stat().st_size:>12,}  {safe(path.name)}")
    typer.echo("left out:" if left else "nothing was left out")
    for what, count in left.items():
        typer.echo(f"{count:>12,}  {what}")


def ooni(
    folder: Folder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file of JSON lines to write.")],
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Exact times, addresses, every name and certificate.")
    ] = False,
) -> None:
    """Write a case as OONI measurements: handshakes (df-006) of each capture, and its ladders (tlsmiddlebox)."""
    import json

    from kzpcap.cases.custody import latest
    from kzpcap.cases.public import published_keys
    from kzpcap.cases.repeats import sound
    from kzpcap.cases.summary import reports
    from kzpcap.report.ooni import measurements
    from kzpcap.report.text import safe, wrap

    _outside(output, folder)
    case = opened(folder)
    count, known = 0, published_keys()
    try:
        if _sound(case, latest(case) or "") or _exchanged(case):
            raise typer.Exit(EXIT_FAULTS)
        with new_file(output) as file:
            for capture, document in reports(case, latest(case) or ""):
                with sound(capture):
                    for found in measurements(document, case.certificate, evidence, known):
                        file.write(json.dumps(found, ensure_ascii=True, separators=(",", ":")) + "\n")
                        count += 1
    except NotWritten:
        raise
    except FileExistsError:
        raise typer.BadParameter(f"{output} exists already", param_hint="--output") from None
    except DAMAGED as error:
        raise refused(folder, error) from None
    typer.echo(f"{safe(str(output))}: {count:,} measurements")
    typer.echo(wrap(EVIDENCE if evidence else PUBLIC_LINES, 2))


def _stamped(value: object) -> object:
    """A time as everywhere outside: RFC 3339, in UTC; also within lists and structs."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
        return f"{moment.isoformat()}Z"
    return _within(value, _stamped)


def _plain(value: object) -> object:
    """What JSON has a word for: no infinity, and no number that is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _within(value, _plain) if isinstance(value, list | tuple | dict) else _stamped(value)


def _within(value: object, change: Callable[[object], object]) -> object:
    if isinstance(value, list | tuple):
        return [change(one) for one in value]
    return {key: change(one) for key, one in value.items()} if isinstance(value, dict) else value


def sql(
    folder: Folder,
    select: Annotated[str | None, typer.Argument(metavar="SELECT", help="One SELECT; none lists the tables.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Ask the tables of a case (DuckDB, locked to this case): captures, connections, certificates, edges, probes."""
    import csv
    import json

    from kzpcap.cases.custody import latest
    from kzpcap.cases.tables import TABLES, query
    from kzpcap.report.text import cell, safe

    case = opened(folder)
    if select is None:
        for table, columns in TABLES.items():
            typer.echo(table)
            for name, kind, says in columns:
                typer.echo(f"  {name:<24}{kind:<11}{says}")
        return
    try:
        _sound(case, latest(case) or "")
        names, rows = query(case, select)
        if as_csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(map(cell, names))
            writer.writerows(map(cell, map(_stamped, row)) for row in rows)
        elif as_json:
            if len(set(names)) < len(names):
                raise CaseError("two columns have one name: give them names of their own with AS")
            for row in rows:
                typer.echo(json.dumps(dict(zip(names, map(_plain, row), strict=True)), default=str))
        else:
            shown = [[safe(str(value)) for value in row] for row in itertools.islice(rows, MAX_ROWS + 1)]
            _table([safe(name) for name in names], shown[:MAX_ROWS])
            if len(shown) > MAX_ROWS:
                typer.echo(f"kzpcap: only the first {MAX_ROWS:,} rows are shown: --csv or --json gives all", err=True)
    except WitnessMissing as missing:
        typer.echo(f"kzpcap: {missing}", err=True)
        raise typer.Exit(EXIT_MISSING) from None
    except CaseError as error:
        for line in str(error).split("\n"):  # DuckDB points into the statement
            typer.echo(f"kzpcap: {safe(line)}".rstrip(), err=True)
        raise typer.Exit(EXIT_NO_CASE) from None
    except OSError as error:
        if error.filename is None:  # of standard output
            raise
        raise refused(folder, error) from None


def _table(names: list[str], rows: list[list[str]]) -> None:
    """Aligned columns; nothing is cut."""
    widths = [max([len(name), *(len(row[at]) for row in rows)]) for at, name in enumerate(names)]
    for row in (names, *rows):
        cells = (f"{cell[:width]:<{width}}" for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
    typer.echo(f"({len(rows):,} row{'' if len(rows) == 1 else 's'})", err=True)


def _sound(case: Case, analysis: str) -> list[str]:
    """The results that are not as custody says; they are told, for what is made of them is vouched for by nothing."""
    from kzpcap.cases.verify import altered
    from kzpcap.report.text import safe

    found = altered(case, analysis)
    if found:
        more = f" and {len(found) - 1:,} more are" if len(found) > 1 else " is"
        typer.echo(f"kzpcap: {safe(found[0])}{more} not as custody says, or in none: see `case verify`", err=True)
    return found


def _exchanged(case: Case) -> list[str]:
    """The certificates that are not what their names say; they are told."""
    from kzpcap.cases.verify import exchanged
    from kzpcap.report.text import safe

    found = exchanged(case)
    for path in found[:1]:
        typer.echo(f"kzpcap: {safe(path)} is not what its name says: see `case verify`", err=True)
    return found


def _outside(path: Path, case: Path) -> None:
    if str(path) == "-":
        raise typer.BadParameter("a file is wanted: this is not written to standard output", param_hint="--output")
    if case.resolve() in (path.resolve(), *path.resolve().parents):
        raise typer.BadParameter(f"{path} would be in the case, where nothing else belongs", param_hint="--output")


def _new(path: Path, case: Path) -> None:
    """A place where something new can be written, outside of the case; BadParameter where it is none."""
    _outside(path, case)
    if path.exists():
        raise typer.BadParameter(f"{path} exists already", param_hint="--output")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {path.absolute().parent}", param_hint="--output")


def add() -> None:
    """Put these commands beside those that fill a case."""
    cases.command(short_help="Print what a case comes to.")(summary)
    cases.command(short_help="Write what a case comes to as one HTML file.")(report)
    cases.command(short_help="Judge again, by the others, what one capture left open.")(judge)
    cases.command(short_help="Print what may be said, and every alternative.")(claims)
    cases.command(short_help="Write what may be published, as a folder.")(release)
    cases.command(short_help="Write a case as OONI measurements.")(ooni)
    cases.command(short_help="Ask the tables of a case (DuckDB).")(sql)
