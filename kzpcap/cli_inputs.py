"""The captures that a command line names: opened, judged, with a bar for what takes long; what is none is told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kzpcap.errors import CaptureError

if TYPE_CHECKING:
    from kzpcap.analysis import Report
    from kzpcap.capture.health import Notes
    from kzpcap.capture.unpack import Source
    from kzpcap.reference import Reference

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


def noon(text: str | None) -> int | None:
    """Noon of a day, in nanoseconds UTC."""
    from kzpcap.reference.targets import DAY_NS, day

    try:
        return day(text) + DAY_NS // 2 if text else None
    except ValueError as error:
        raise typer.BadParameter("a day is written YYYY-MM-DD", param_hint="--at") from error


def load_reference(
    folder: Path | None,
    targets: list[str] | None,
    roots: list[Path] | None,
    cas: list[Path] | None,
    genuine: list[Path] | None = None,
    asn: Path | None = None,
) -> Reference:
    """The reference data, with what the command line adds to it; ReferenceDataError where that cannot be read."""
    from kzpcap import reference

    return reference.load(folder, targets, roots, cas, genuine, asn)


def shown(path: str) -> str:
    """An input's name, as it is told."""
    return "standard input" if path == "-" else path


def captures(
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


def complain(path: str, error: CaptureError) -> None:
    """Tell why an input, or what is left of it, is no capture, and where in it."""
    from kzpcap.report.text import safe

    where = f" (offset {error.offset})" if error.offset is not None else ""
    typer.echo(f"kzpcap: {safe(shown(path))}: {safe(str(error))}{where}", err=True)


@dataclass
class Tally:
    """How many inputs were no captures."""

    bad: int = 0


def analyses(
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

    for name, source, notes in captures(files, want_digest, together):
        try:
            if isinstance(source, CaptureError):
                raise source
            again = source.again() if witness else None
            try:
                report = analysis.analyze(source, reference, progress(name), want_digest, keys, notes, at)
                if again is not None:
                    from kzpcap.corroborate import corroborate_report

                    corroborate_report(report, again)
            finally:
                if again is not None:
                    again.close()
        except CaptureError as error:
            complain(name, error)
            tally.bad += 1
            continue
        try:
            yield name, report
        finally:
            report.close()


def progress(path: str) -> Callable[[int, int], None] | None:
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
