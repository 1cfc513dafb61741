"""The command line: parse, call, print, exit status; nothing else.

Heavy imports happen inside the commands, so that --help answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from kzpcap import (
    __version__,
    cli_analyze,
    cli_case_reports,
    cli_cases,
    cli_readings,
    cli_scrub,
    cli_serve,
)

app = typer.Typer(
    name="kzpcap",
    help="Tells HTTPS interception from everything that only looks like it, in packet captures.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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


app.command(short_help="Say of each TLS connection whether it was intercepted.")(cli_analyze.analyze)
app.command(short_help="Print the TLS handshakes of captures, as JSON Lines.")(cli_readings.handshakes)
app.command(short_help="Print every certificate of a capture, once.")(cli_readings.certificates)
app.command(short_help="Compare our reading with another program's.")(cli_readings.corroborate)
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
