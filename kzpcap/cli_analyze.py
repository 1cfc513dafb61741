"""`kzpcap analyze`: the verdict of every connection, in the form that is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kzpcap.cli_common import (
    EXIT_INTERCEPTED,
    EXIT_MISSING,
    EXIT_NOT_A_CAPTURE,
    Asn,
    Genuine,
    InterceptionCAs,
    KeyLogFile,
    ReferenceDir,
    Targets,
    TrustedRoots,
    need_tshark,
    needs,
    new_file,
    secrets_of,
)
from kzpcap.cli_inputs import (
    At,
    Files,
    Tally,
    Together,
    analyses,
    load_reference,
    noon,
    shown,
)

if TYPE_CHECKING:
    from kzpcap.analysis import Report
    from kzpcap.report.summary import Summary


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

    tally = Tally()
    intercepted = several = 0
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
    with needs():
        reference = load_reference(reference_dir, targets, trusted_root, interception_ca, genuine, asn)
        keys = secrets_of(keylog)
        if witness:
            need_tshark()
        for name, report in analyses(files, reference, keys, not no_digest, tally, witness, noon(at), together):
            if html is not None:
                if several:  # an archive of several: no page of the first of them stays
                    if str(html) != "-":
                        html.unlink(missing_ok=True)
                    raise typer.BadParameter("one capture only (or --together)", param_hint="--html")
                several += 1
                summary = _html(report, name, html, sys.stdout.write if as_json else None)
            elif ooni is not None:
                summary = _ooni(report, ooni, evidence)
            elif as_json:
                summary = report_json.write(report, sys.stdout.write)
            else:
                if several:
                    typer.echo("\n" + "=" * 80)
                several += 1
                colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
                options = terminal.Options(shown(name), all_lines, explain, colour)
                summary = terminal.write(report, options, sys.stdout.write)
            intercepted += summary.intercepted
    if tally.bad:
        raise typer.Exit(EXIT_NOT_A_CAPTURE)
    if exit_code and intercepted:
        raise typer.Exit(EXIT_INTERCEPTED)


def _html(report: Report, name: str, path: Path, out: Callable[[str], object] | None) -> Summary:
    """Write the page of a report into a new file, and its JSON to `out` where that is asked for too."""
    from kzpcap.report.html import write

    try:
        page, summary = write(report, Path(shown(name)).name, out)
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
