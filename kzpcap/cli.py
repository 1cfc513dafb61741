"""The command line: parse, call, print, exit status; nothing else.

Heavy imports happen inside the commands, so that --help answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kzpcap import __version__, cli_case_reports, cli_cases, cli_scrub, cli_serve
from kzpcap.cli_common import (
    EXIT_FAILED,
    EXIT_INTERCEPTED,
    EXIT_MISSING,
    EXIT_NOT_A_CAPTURE,
    EXIT_REFERENCE_DATA,
    Asn,
    Genuine,
    InterceptionCAs,
    KeyLogFile,
    ReferenceDir,
    Targets,
    TrustedRoots,
    need_tshark,
    new_file,
    secrets_of,
)
from kzpcap.errors import CaptureError, ReferenceDataError, WitnessMissing

if TYPE_CHECKING:
    from kzpcap.analysis import Report
    from kzpcap.capture.health import Notes
    from kzpcap.capture.unpack import Source
    from kzpcap.reference import Reference
    from kzpcap.report.summary import Summary

MAX_DIFFERENCES = 100

app = typer.Typer(
    name="kzpcap",
    help="Tells HTTPS interception from everything that only looks like it, in packet captures.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help='Captures; "-" is standard input.')]


At = Annotated[
    str | None,
    typer.Option(
        "--at", metavar="DATE", help="Judge certificates and lists by this day (YYYY-MM-DD), not the capture's."
    ),
]


Together = Annotated[
    bool,
    typer.Option(
        "--together", help="The files are one recording (a ring buffer's, or target and control): read as one."
    ),
]


def _day(text: str | None) -> int | None:
    """Noon of a day, in nanoseconds UTC."""
    from kzpcap.reference.targets import DAY_NS, day

    try:
        return day(text) + DAY_NS // 2 if text else None
    except ValueError as error:
        raise typer.BadParameter("a day is written YYYY-MM-DD", param_hint="--at") from error


def _version(wanted: bool) -> None:
    if wanted:
        from kzpcap.capture import scan

        form = "interpreted" if (scan.__file__ or "").endswith(".py") else "compiled"
        typer.echo(f"kzpcap {__version__} ({form})")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Tells HTTPS interception from everything that only looks like it, in packet captures."""
    del version


def _reference(
    folder: Path | None,
    targets: list[str] | None,
    roots: list[Path] | None,
    cas: list[Path] | None,
    genuine: list[Path] | None = None,
    asn: Path | None = None,
) -> Reference:
    from kzpcap import reference

    return reference.load(folder, targets, roots, cas, genuine, asn)


def _name(path: str) -> str:
    return "standard input" if path == "-" else path


def _captures(
    files: list[str], want_digest: bool, together: bool = False
) -> Iterator[tuple[str, Source | CaptureError, Notes]]:
    """Every capture of the inputs: archives give several; with `together`, one of all."""
    from kzpcap.capture.source import open_all
    from kzpcap.capture.together import open_together

    if together:
        yield from open_together(files, want_digest)
        return
    for path in files:
        yield from open_all(path, want_digest)


def _complain(path: str, error: CaptureError) -> None:
    from kzpcap.report.text import safe

    where = f" (offset {error.offset})" if error.offset is not None else ""
    typer.echo(f"kzpcap: {safe(_name(path))}: {safe(str(error))}{where}", err=True)


@dataclass
class Tally:
    """How many inputs were no captures."""

    bad: int = 0


def _analyses(
    files: list[str],
    reference: Reference,
    keys: bytes,
    want_digest: bool,
    tally: Tally,
    witness: bool = False,
    at: int | None = None,
    together: bool = False,
) -> Iterator[tuple[str, Report]]:
    """The report of every capture of the inputs, closed once it was used; what is none is told and counted."""
    from kzpcap import analysis

    for name, source, notes in _captures(files, want_digest, together):
        try:
            if isinstance(source, CaptureError):
                raise source
            again = source.again() if witness else None
            try:
                report = analysis.analyze(source, reference, _progress(name), want_digest, keys, notes, at)
                if again is not None:
                    from kzpcap.corroborate import corroborate_report

                    corroborate_report(report, again)
            finally:
                if again is not None:
                    again.close()
        except CaptureError as error:
            _complain(name, error)
            tally.bad += 1
            continue
        try:
            yield name, report
        finally:
            report.close()


def _progress(path: str) -> Callable[[int, int], None] | None:
    """A bar on the terminal for what takes over a second."""
    if not sys.stderr.isatty():
        return None
    import time

    from kzpcap.report.text import safe

    started = time.monotonic()
    label = safe(Path(path).name)[:30]

    def show(done: int, total: int) -> None:
        spent = time.monotonic() - started
        if spent < 1 or not total:
            return
        share = min(1.0, done / total)
        left = spent / share - spent if share else 0
        filled = int(share * 24)
        end = "\r\x1b[K" if done >= total else ""
        bar = "#" * filled + "." * (24 - filled)
        sys.stderr.write(f"\r{label} [{bar}] {share:4.0%} {left:4.0f} s left{end}")
        sys.stderr.flush()

    return show


@app.command(short_help="Say of each TLS connection whether it was intercepted.")
def analyze(
    files: Files,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report: one JSON document a capture.")] = False,
    all_lines: Annotated[bool, typer.Option("--all", help="Print a line for every connection.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print the evidence of every connection.")] = False,
    targets: Targets = None,
    trusted_root: TrustedRoots = None,
    interception_ca: InterceptionCAs = None,
    reference_dir: ReferenceDir = None,
    keylog: KeyLogFile = None,
    genuine: Genuine = None,
    asn: Asn = None,
    at: At = None,
    together: Together = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write the report as one HTML file, of one capture (-: print it)."),
    ] = None,
    ooni: Annotated[
        Path | None,
        typer.Option("--ooni", metavar="FILE", help="Write OONI measurements, a JSON object a line: hours, no leaf."),
    ] = None,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="With --ooni: exact times, addresses, every name and certificate.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 10 where any connection is intercepted.")
    ] = False,
    no_digest: Annotated[bool, typer.Option("--no-digest", help="Leave out the capture's SHA-256.")] = False,
    witness: Annotated[
        bool, typer.Option("--corroborate", help="Have tshark read each handshake too, and say where it differs.")
    ] = False,
) -> None:
    """Say of each TLS connection whether it was intercepted, by whom and where, with the frames that show it."""
    from kzpcap.report import json as report_json
    from kzpcap.report import terminal
    from kzpcap.report.text import safe

    tally = Tally()
    intercepted = shown = 0
    for option, path in (("--html", html), ("--ooni", ooni)):
        if path is not None and str(path) != "-" and path.exists():
            raise typer.BadParameter(f"{path} exists already", param_hint=option)
        if as_json and str(path) == "-":
            raise typer.BadParameter("--json writes to standard output", param_hint=option)
    if html is not None and ooni is not None:
        raise typer.BadParameter("one of --html and --ooni", param_hint="--ooni")
    if as_json and ooni is not None:
        raise typer.BadParameter("one of --json and --ooni", param_hint="--ooni")
    if evidence and ooni is None:
        raise typer.BadParameter("it says what --ooni writes", param_hint="--evidence")
    if html is not None and len(files) > 1 and not together:
        raise typer.BadParameter("one capture only (or --together)", param_hint="--html")
    try:
        reference = _reference(reference_dir, targets, trusted_root, interception_ca, genuine, asn)
        keys = secrets_of(keylog)
        if witness:
            need_tshark()
        for name, report in _analyses(files, reference, keys, not no_digest, tally, witness, _day(at), together):
            if html is not None:
                if shown:  # an archive of several: no page of the first of them stays
                    if str(html) != "-":
                        html.unlink(missing_ok=True)
                    raise typer.BadParameter("one capture only (or --together)", param_hint="--html")
                shown += 1
                summary = _html(report, name, html, sys.stdout.write if as_json else None)
            elif ooni is not None:
                summary = _ooni(report, ooni, evidence)
            elif as_json:
                summary = report_json.write(report, sys.stdout.write)
            else:
                if shown:
                    typer.echo("\n" + "=" * 80)
                shown += 1
                colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
                options = terminal.Options(_name(name), all_lines, explain, colour)
                summary = terminal.write(report, options, sys.stdout.write)
            intercepted += summary.intercepted
    except ReferenceDataError as error:
        typer.echo(f"kzpcap: reference data: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_REFERENCE_DATA) from None
    except WitnessMissing as error:
        typer.echo(f"kzpcap: {error}", err=True)
        raise typer.Exit(EXIT_MISSING) from None
    if tally.bad:
        raise typer.Exit(EXIT_NOT_A_CAPTURE)
    if exit_code and intercepted:
        raise typer.Exit(EXIT_INTERCEPTED)


def _html(report: Report, name: str, path: Path, out: Callable[[str], object] | None) -> Summary:
    """Write the page of a report into a new file, and its JSON to `out` where that is asked for too."""
    from kzpcap.report.html import write

    try:
        page, summary = write(report, Path(_name(name)).name, out)
        if str(path) == "-":
            sys.stdout.write(page)
            return summary
        with new_file(path) as file:
            file.write(page)
    except ImportError as error:
        typer.echo(f"kzpcap: --html needs {error.name}: pip install 'kzpcap[html]'", err=True)
        raise typer.Exit(EXIT_MISSING) from None
    return summary


def _ooni(report: Report, path: Path, evidence: bool) -> Summary:
    """Add the measurements of a report to a file."""
    import json

    from kzpcap.report.document import written
    from kzpcap.report.ooni import measurements

    certificates = report.surroundings.certificates
    known = frozenset(ca.certificate.spki_sha256 for ca in report.reference.interception_cas if ca.generation)

    def der(digest: str) -> bytes | None:
        return certificates[digest].der if digest in certificates else None

    with written(report) as (document, summary):
        lines = (
            json.dumps(found, ensure_ascii=True, separators=(",", ":")) + "\n"
            for found in measurements(document, der, evidence, known)
        )
        if str(path) == "-":
            sys.stdout.writelines(lines)
        else:
            with new_file(path, "a") as file:
                file.writelines(lines)
    return summary


@app.command(short_help="Print the TLS handshakes of captures, as JSON Lines.")
def handshakes(files: Files, keylog: KeyLogFile = None) -> None:
    """Print JSON Lines: each TLS connection, each ICMP Time Exceeded, then a line for the file.

    `file` is the file's name, `path` how it was given.
    """
    from kzpcap.analysis import Reading
    from kzpcap.report.handshakes import Lines, row, time_exceeded
    from kzpcap.report.json import text
    from kzpcap.report.text import decode, safe

    try:
        bad, keys = 0, secrets_of(keylog)
    except ReferenceDataError as error:
        typer.echo(f"kzpcap: reference data: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_REFERENCE_DATA) from None
    for path, source, notes in _captures(files, False):
        where = decode(os.fsencode(path))
        file = where if path == "-" else decode(os.fsencode(Path(path).name))
        try:
            if isinstance(source, CaptureError):
                raise source
            reading = Reading(source, keylog=keys, notes=notes)
        except CaptureError as error:
            _complain(path, error)
            bad += 1
            sys.stdout.write(text({**_failed_row(file, error), "path": where}) + "\n")
            continue
        try:
            with Lines() as lines:
                for flow, handshake in reading.flows(_progress(path)):
                    if handshake is not None:
                        lines.add(flow.first_frame, text({**row(file, flow, handshake), "path": where}))
                sys.stdout.writelines(lines.in_order())
            errors = time_exceeded(file, reading.icmp_errors())
            sys.stdout.writelines(text({**line, "path": where}) + "\n" for line in errors)
            sys.stdout.write(text({**_file_row(file, reading), "path": where}) + "\n")
        except CaptureError as error:
            _complain(path, error)
            bad += 1
            sys.stdout.write(text({**_failed_row(file, error), "path": where}) + "\n")
        finally:
            reading.close()
    if bad:
        raise typer.Exit(EXIT_NOT_A_CAPTURE)


def _failed_row(file: str, error: CaptureError) -> dict[str, Any]:
    return {
        "record": "file", "file": file, "packets": 0, "given_up": 0, "error": str(error), "offset": error.offset,
    }  # fmt: skip


def _file_row(file: str, reading: Any) -> dict[str, Any]:
    damage = [note for note in reading.notes.kept if note.kind in ("damaged", "cut-short")]
    return {
        "record": "file",
        "file": file,
        "packets": reading.scanner.packets,
        "given_up": reading.scanner.given_up_packets,
        "error": damage[0].text if damage else None,
        "offset": damage[0].offset if damage else None,
    }


@app.command(short_help="Print every certificate of a capture, once.")
def certificates(
    files: Files,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines, one a certificate.")] = False,
    save: Annotated[Path | None, typer.Option("--save", metavar="DIR", help="Write each as PEM into a folder.")] = None,
    trusted_root: TrustedRoots = None,
    interception_ca: InterceptionCAs = None,
    reference_dir: ReferenceDir = None,
    keylog: KeyLogFile = None,
    genuine: Genuine = None,
    at: At = None,
    together: Together = False,
) -> None:
    """Print every certificate of a capture, once: where it was seen, who signed it, its standing on that day."""
    from kzpcap.report import certificates as listing
    from kzpcap.report.json import text
    from kzpcap.report.text import safe

    tally = Tally()
    try:
        reference = _reference(reference_dir, None, trusted_root, interception_ca, genuine)
        several = False
        for name, report in _analyses(
            files, reference, secrets_of(keylog), False, tally, at=_day(at), together=together
        ):
            if as_json:
                where = {"file": _name(name), "path": name}
                sys.stdout.writelines(text({**where, **listing.document(row)}) + "\n" for row in listing.rows(report))
            else:
                typer.echo(("\n" if several else "") + safe(_name(name)))
                several = True
                listing.show(report, sys.stdout.write)
            if save is not None:
                typer.echo(f"{listing.save(report, save)} certificates written to {safe(str(save))}", err=True)
    except ReferenceDataError as error:
        typer.echo(f"kzpcap: reference data: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_REFERENCE_DATA) from None
    if tally.bad:
        raise typer.Exit(EXIT_NOT_A_CAPTURE)


@app.command(short_help="Compare our reading with another program's.")
def corroborate(
    files: Files,
    witness: Annotated[str, typer.Option("--witness", metavar="NAME", help="tshark, dpkt or scapy.")] = "tshark",
) -> None:
    """Compare our reading with a program that shares none of our code: frame, field, both values."""
    from kzpcap import corroborate as comparison
    from kzpcap.report.text import safe

    if witness not in comparison.WITNESSES:
        raise typer.BadParameter(f"one of {', '.join(comparison.WITNESSES)}", param_hint="--witness")
    bad = differing = 0
    total = comparison.Corroboration(witness)
    compared_files = 0
    unit = "connections" if witness == "tshark" else "packets"
    for path, source, _ in _captures(files, False):
        try:
            if isinstance(source, CaptureError):
                raise source
            result = comparison.corroborate(source, witness)
        except CaptureError as error:
            _complain(path, error)
            bad += 1
            continue
        except WitnessMissing as error:
            typer.echo(f"kzpcap: {error}", err=True)
            raise typer.Exit(EXIT_MISSING) from None
        for found in result.differences[:MAX_DIFFERENCES]:
            what = f"frame {found.frame}  {found.field}  ours {found.ours!r}  {witness} {found.theirs!r}  {found.what}"
            typer.echo(safe(what))
        typer.echo(f"{safe(_name(path))}: {result.sentence(unit)}")
        total.add(result)
        compared_files += 1
        differing += bool(result.differences)
    if compared_files > 1:
        typer.echo(f"{compared_files:,} captures: {total.sentence(unit)}")
    if bad:
        raise typer.Exit(EXIT_NOT_A_CAPTURE)
    if differing:
        raise typer.Exit(EXIT_FAILED)


app.command(short_help="Judge every capture of folders, into a case.")(cli_cases.batch)
app.command(short_help="Write a capture with all but the evidence taken out.")(cli_scrub.scrub)
app.command(short_help="Scrub a capture, and send it to a service.")(cli_scrub.upload)
app.command(short_help="Tell what to record, how, and at what risk.")(cli_scrub.guide)
app.command(short_help="Take captures from volunteers over the web.")(cli_serve.serve)
app.command(short_help="Give a researcher access, or take it back.")(cli_serve.token)
cli_case_reports.add()
app.add_typer(cli_cases.cases, name="case")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the report."""
    import json

    from kzpcap.report.json import schema as document

    typer.echo(json.dumps(document(), indent=2))
