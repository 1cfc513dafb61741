"""The command line of cases: `kzpcap batch` and `kzpcap case ...`; parse, call, print, exit status."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kzpcap.errors import CaseError, ReferenceDataError, WitnessMissing

if TYPE_CHECKING:
    from kzpcap.cases.bring import Brought
    from kzpcap.cases.runner import Tally
    from kzpcap.cases.store import Case
    from kzpcap.cases.work import Settings

EXIT_FAILED = 1
EXIT_MISSING = 5
EXIT_NO_CASE = 6
EXIT_FAULTS = 7
EXIT_INTERRUPTED = 130
EXIT_OPEN = 8
MAX_LINES = 50
PUBLIC = "The public profile: hours, networks, listed names; what was left out is counted at the end."
EVIDENCE = "The evidence profile: exact times, addresses and keys. It can lead to a volunteer: keep it in the house."
MAX_ROWS = 10_000

cases = typer.Typer(
    help="Fill and ask a case: import, summary, sql, verify.", no_args_is_help=True, rich_markup_mode=None
)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a case.")]
TrustedRoots = Annotated[
    list[str] | None, typer.Option("--trusted-root", metavar="PEM", help="Further trust anchors (laboratories).")
]
InterceptionCAs = Annotated[
    list[str] | None, typer.Option("--interception-ca", metavar="PEM", help="Further interception CAs.")
]
Into = Annotated[Path, typer.Option("--case", metavar="DIR", help="The folder of the case; made if it is not there.")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, metavar="N", help="Worker processes (0: one a core).")]


def _open(folder: Path) -> Case:
    from kzpcap.cases.store import Case

    try:
        return Case.open(folder)
    except CaseError as error:
        from kzpcap.report.text import safe

        typer.echo(f"kzpcap: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_NO_CASE) from None


def batch(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Captures, and folders to search for them.")],
    case: Into,
    jobs: Jobs = 0,
    targets: Annotated[
        list[str] | None, typer.Option("--targets", metavar="NAME|FILE", help="Target lists (default: all shipped).")
    ] = None,
    trusted_root: TrustedRoots = None,
    interception_ca: InterceptionCAs = None,
    genuine: Annotated[
        list[str] | None, typer.Option("--genuine", metavar="FILE|DIR", help="Genuine certificates to lay beside.")
    ] = None,
    asn: Annotated[str | None, typer.Option("--asn", metavar="FILE", help="AS numbers of the captures' time.")] = None,
    keylog: Annotated[str | None, typer.Option("--keylog", metavar="FILE", help="An SSLKEYLOGFILE.")] = None,
    keep_addresses: Annotated[
        bool, typer.Option("--keep-addresses", help="Keep the clients' whole addresses, not their networks alone.")
    ] = False,
    seconds: Annotated[float, typer.Option("--time-limit", metavar="SECONDS", help="For one capture.")] = 3600.0,
    megabytes: Annotated[int, typer.Option("--memory-limit", metavar="MB", help="For one worker.")] = 2048,
    retry: Annotated[bool, typer.Option("--retry", help="Try captures again that failed before.")] = False,
) -> None:
    """Judge every capture below some paths into a case: resumable, with a chain of custody.

    Captures are found by content, also inside archives. What was judged before under the same version, data and options
    is not judged again.
    """
    from kzpcap.cases.work import Settings

    settings = Settings(
        tuple(targets or ()),
        tuple(trusted_root or ()),
        tuple(interception_ca or ()),
        tuple(genuine or ()),
        asn,
        keylog,
        None,
        keep_addresses,
    )
    _run(case, settings, jobs, seconds, megabytes, retry, lambda _: (paths, None))


def _run(
    case: Path,
    settings: Settings,
    jobs: int,
    seconds: float,
    megabytes: int,
    retry: bool,
    what: Callable[[Case], tuple[list[str], Brought | None]],
) -> None:
    """A run over what `what` gives, told on the terminal; ends with the exit status where something failed."""
    from kzpcap.cases.pool import Limits
    from kzpcap.cases.runner import batch as run
    from kzpcap.cases.store import Case
    from kzpcap.report.text import safe

    began = time.monotonic()
    try:
        opened = Case.create(case)
        paths, brought = what(opened)
        limits = Limits(seconds, megabytes << 20)
        tally = run(opened, paths, settings, jobs or os.cpu_count() or 1, limits, _progress(began), retry, brought)
    except CaseError as error:
        typer.echo(f"kzpcap: {error}", err=True)
        raise typer.Exit(EXIT_NO_CASE) from None
    except ReferenceDataError as error:
        typer.echo(f"kzpcap: reference data: {safe(str(error))}", err=True)
        raise typer.Exit(4) from None
    except OSError as error:
        typer.echo(f"kzpcap: {safe(str(case))}: {error.strerror}", err=True)
        raise typer.Exit(EXIT_NO_CASE) from None
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
    for name, why in tally.failures[:MAX_LINES]:
        typer.echo(f"kzpcap: {safe(name)}: {safe(why)}", err=True)
    if len(tally.failures) > MAX_LINES:
        typer.echo(
            f"kzpcap: (+{len(tally.failures) - MAX_LINES} more: `kzpcap case summary --json` has them)", err=True
        )
    for line in _account(tally, time.monotonic() - began):
        typer.echo(line)
    if tally.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if tally.failures:
        raise typer.Exit(EXIT_FAILED)


def _account(tally: Tally, spent: float) -> list[str]:
    kinds = ("analysed", "already there", "failed", "failed before", "changed while it was read", "unreadable")
    counts = [f"{tally.outcomes[kind]:,} {kind}" for kind in kinds if tally.outcomes[kind]]
    lines = [f"{tally.files:,} files: {', '.join(counts) or 'no capture'}"]
    if tally.outcomes["not a capture"]:
        lines[0] += f"; {tally.outcomes['not a capture']:,} are no captures"
    lines.append(f"  {tally.bytes / 1e6:,.1f} MB in {spent:,.1f} s; {tally.intercepted:,} new intercepted connections")
    lines.append(f"  run      {tally.run}{' (interrupted: run it again, it goes on)' if tally.interrupted else ''}")
    lines.append(f"  analysis {tally.analysis}")
    lines.append(f"  custody  {tally.head}")
    lines.append("  Write the custody digest down: it vouches for everything before it.")
    return lines


def _progress(began: float) -> Callable[[Tally], Any] | None:
    """A line on the terminal: how many, how fast."""
    if not sys.stderr.isatty():
        return None
    shown = [0.0]

    def show(tally: Tally) -> None:
        now = time.monotonic()
        if now - shown[0] < 0.2:
            return
        shown[0] = now
        done = sum(tally.outcomes.values())
        rate = tally.bytes / 1e6 / max(now - began, 1e-6)
        text = f"{done:,} done, {tally.files:,} found, {tally.failed:,} failed, {rate:,.1f} MB/s"
        sys.stderr.write(f"\r{text:<79.79}")
        sys.stderr.flush()

    return show


@cases.command("import")
def bring(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Sealed files (age), captures, folders of them, a service's export."),
    ],
    case: Into,
    identity: Annotated[
        Path | None, typer.Option("--identity", "-i", metavar="FILE", help="The age identity that opens sealed files.")
    ] = None,
    jobs: Jobs = 0,
    trusted_root: TrustedRoots = None,
    interception_ca: InterceptionCAs = None,
) -> None:
    """Take what volunteers sent into a case: open what is sealed, keep the captures in the case, and judge them.

    Custody tells of each where it came from, the digest of the sealed file, and what the volunteer told.
    """
    from kzpcap.cases.bring import bring as take
    from kzpcap.cases.work import Settings
    from kzpcap.report.text import safe
    from kzpcap.sealing import SealError, identities

    keys: list[object] = []
    if identity is not None:
        try:
            keys = identities(identity)
        except WitnessMissing as missing:
            typer.echo(f"kzpcap: --identity: {missing}", err=True)
            raise typer.Exit(EXIT_MISSING) from None
        except SealError as error:
            raise typer.BadParameter(safe(str(error)), param_hint="--identity") from None

    def opened(into: Case) -> tuple[list[str], Brought]:
        brought = take(into, paths, keys)
        return brought.captures, brought

    settings = Settings(trusted_roots=tuple(trusted_root or ()), interception_cas=tuple(interception_ca or ()))
    _run(case, settings, jobs, 3600.0, 2048, False, opened)


@cases.command()
def summary(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    analysis: Annotated[str | None, typer.Option("--analysis", metavar="ID", help="Of another analysis.")] = None,
) -> None:
    """Print what a case comes to: states, interceptors, targets, days, edges, and what was not judged and why."""
    import json

    from kzpcap.cases import summary as counting
    from kzpcap.report.text import safe

    try:
        total = counting.total(_open(folder), analysis)
    except (CaseError, OSError, ValueError, KeyError) as error:
        typer.echo(f"kzpcap: {safe(str(folder))}: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_NO_CASE) from None
    if as_json:
        typer.echo(json.dumps(total.document(), ensure_ascii=True, indent=1))
        return
    for line in counting.lines(total):
        typer.echo(safe(line))


@cases.command()
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
    from kzpcap.cases.public import public
    from kzpcap.cases.summary import total
    from kzpcap.report.text import safe
    from kzpcap.verdict.rules import RULES

    if output.exists():
        raise typer.BadParameter("it exists already", param_hint="--output")
    try:
        from kzpcap.report.case_page import render

        case = _open(folder)
        found = total(case, analysis)
        document = found.document()
        shown, suppressed = (document, dict[str, int]()) if evidence else public(document)
        loaded = reference.load()
        made = {
            "profile": EVIDENCE if evidence else PUBLIC,
            "heads": {log.run: log.head for log in custody.logs(case) if log.head},
            "reference": custody.reference_of(case, found.analysis),
            "suppressed": suppressed,
        }
        titles = {key: generation.title for key, generation in loaded.generations.items()}
        page = render(shown, titles, {rule.id: rule.says for rule in RULES}, made)
        output.write_text(page, "utf-8")
    except ImportError as missing:
        typer.echo(f"kzpcap: this needs {missing.name}: pip install 'kzpcap[cases]'", err=True)
        raise typer.Exit(EXIT_MISSING) from None
    except (CaseError, OSError, ValueError, KeyError) as error:
        typer.echo(f"kzpcap: {safe(str(folder))}: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_NO_CASE) from None
    typer.echo(f"{safe(str(output))}: {found.captures:,} captures, {output.stat().st_size:,} bytes. {made['profile']}")


@cases.command()
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
    from kzpcap.cases.summary import reports
    from kzpcap.report.ooni import measurements
    from kzpcap.report.text import safe

    case = _open(folder)

    def der(digest: str) -> bytes | None:
        try:
            return (case.certificates / f"{digest}.der").read_bytes()
        except OSError:
            return None

    count = 0
    try:
        with output.open("x", encoding="utf-8") as file:
            for _, document in reports(case, latest(case) or ""):
                for found in measurements(document, der, evidence):
                    file.write(json.dumps(found, ensure_ascii=True, separators=(",", ":")) + "\n")
                    count += 1
    except FileExistsError:
        raise typer.BadParameter("it exists already", param_hint="--output") from None
    except (CaseError, OSError, ValueError, KeyError) as error:
        typer.echo(f"kzpcap: {safe(str(folder))}: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_NO_CASE) from None
    typer.echo(f"{safe(str(output))}: {count:,} measurements. {EVIDENCE if evidence else PUBLIC}")


@cases.command()
def sql(
    folder: Folder,
    select: Annotated[str | None, typer.Argument(metavar="SELECT", help="One SELECT; none lists the tables.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines.")] = False,
) -> None:
    """Ask the tables of a case (DuckDB, locked to this case): captures, connections, certificates, edges, probes."""
    import csv
    import json

    from kzpcap.cases.tables import TABLES, query
    from kzpcap.report.text import safe

    if select is None:
        for table, columns in TABLES.items():
            typer.echo(table)
            for name, kind, says in columns:
                typer.echo(f"  {name:<24}{kind:<11}{says}")
        return
    try:
        names, rows = query(_open(folder), select)
        if as_csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(names)
            writer.writerows(rows)
        elif as_json:
            if len(set(names)) < len(names):
                raise CaseError("two columns have one name: give them names of their own with AS")
            for row in rows:
                values = (None if isinstance(one, float) and one != one else one for one in row)
                typer.echo(json.dumps(dict(zip(names, values, strict=True)), default=str))
        else:
            shown = [[safe(str(value)) for value in row] for row in itertools.islice(rows, MAX_ROWS + 1)]
            _table([safe(name) for name in names], shown[:MAX_ROWS])
            if len(shown) > MAX_ROWS:
                typer.echo(f"kzpcap: only the first {MAX_ROWS:,} rows are shown: --csv or --json gives all", err=True)
    except CaseError as error:
        typer.echo(f"kzpcap: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_NO_CASE) from None


def _table(names: list[str], rows: list[list[str]]) -> None:
    """Aligned columns; nothing is cut."""
    widths = [max([len(name), *(len(row[at]) for row in rows)]) for at, name in enumerate(names)]
    for row in (names, *rows):
        cells = (f"{cell[:width]:<{width}}" for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
    typer.echo(f"({len(rows):,} row{'' if len(rows) == 1 else 's'})", err=True)


@cases.command()
def verify(
    folder: Folder,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read the originals again, too.")] = False,
    head: Annotated[
        list[str] | None, typer.Option("--head", metavar="DIGEST", help="A custody digest that was written down.")
    ] = None,
) -> None:
    """Check a case against its custody: every line, every result, every certificate."""
    from kzpcap.cases.verify import verify as check
    from kzpcap.report.text import safe

    try:
        found = check(_open(folder), rehash, head or ())
    except OSError as error:
        typer.echo(f"kzpcap: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_NO_CASE) from None
    for fault in found.faults:
        typer.echo(f"WRONG  {safe(fault.path)}: {safe(fault.says)}")
    for fault in found.open:
        typer.echo(f"OPEN   {safe(fault.path)}: {safe(fault.says)}")
    counts = (
        f"{found.runs:,} runs, {found.lines:,} lines, {found.results:,} results, {found.certificates:,} certificates"
    )
    if rehash:
        counts += f", {found.originals:,} originals"
    said = f"{len(found.faults):,} WRONG, {len(found.open):,} OPEN"
    typer.echo(f"{counts}: {said if found.faults or found.open else 'all as custody says'}")
    for run, last in sorted(found.heads.items()):
        typer.echo(f"  {run}  {last}")
    if found.faults:
        raise typer.Exit(EXIT_FAULTS)
    if found.open:
        raise typer.Exit(EXIT_OPEN)
