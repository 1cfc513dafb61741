"""The command line of cases: `kzpcap batch` and `kzpcap case ...`; parse, call, print, exit status."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kzpcap.cli_common import (
    EXIT_FAILED,
    EXIT_FAULTS,
    EXIT_INTERRUPTED,
    EXIT_MISSING,
    EXIT_NO_CASE,
    EXIT_OPEN,
    Asn,
    Corroborate,
    Genuine,
    InterceptionCAs,
    KeyLogFile,
    NotWritten,
    ReferenceDir,
    Retry,
    Targets,
    TrustedRoots,
    need_tshark,
    needs,
    new_file,
    refused,
    secrets_of,
)
from kzpcap.errors import CaseError, ReferenceDataError, WitnessMissing

if TYPE_CHECKING:
    from kzpcap.cases.bring import Brought
    from kzpcap.cases.runner import Tally
    from kzpcap.cases.store import Case
    from kzpcap.cases.work import Settings

MAX_LINES = 50

cases = typer.Typer(
    help="Fill a case and ask it: what it comes to, what may be said of it, what may be published.",
    short_help="Fill a case, ask it, and write what may be published.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a case.")]
Into = Annotated[Path, typer.Option("--case", metavar="DIR", help="The folder of the case; made if it is not there.")]
Jobs = Annotated[int, typer.Option("--jobs", min=0, metavar="N", help="Worker processes (0: one a core).")]
Seconds = Annotated[float, typer.Option("--time-limit", metavar="SECONDS", help="For one capture.")]
Megabytes = Annotated[int, typer.Option("--memory-limit", min=256, metavar="MB", help="For one worker.")]


def opened(folder: Path) -> Case:
    """The case in a folder; where there is none, that is told and the command ends."""
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
    targets: Targets = None,
    trusted_root: TrustedRoots = None,
    interception_ca: InterceptionCAs = None,
    reference_dir: ReferenceDir = None,
    genuine: Genuine = None,
    asn: Asn = None,
    keylog: KeyLogFile = None,
    keep_addresses: Annotated[
        bool, typer.Option("--keep-addresses", help="Keep the clients' whole addresses, not their networks alone.")
    ] = False,
    seconds: Seconds = 3600.0,
    megabytes: Megabytes = 2048,
    retry: Retry = False,
    witness: Corroborate = False,
    dask: Annotated[
        str | None, typer.Option("--dask", metavar="ADDRESS", help="Work on the Dask cluster of this scheduler.")
    ] = None,
) -> None:
    """Judge every capture below some paths into a case: resumable, with a chain of custody.

    Captures are found by content, also inside archives. What was judged before under the same version, data and options
    is not judged again.
    """
    _there(paths)
    given = _settings(targets, trusted_root, interception_ca, reference_dir, genuine, asn, keylog, witness)
    settings = replace(given, keep_addresses=keep_addresses)
    _run(case, settings, jobs, seconds, megabytes, retry, lambda _: (paths, None), dask)


def _settings(
    targets: list[str] | None,
    trusted_roots: list[Path] | None,
    interception_cas: list[Path] | None,
    folder: Path | None,
    genuine: list[Path] | None,
    asn: Path | None,
    keylog: Path | None,
    witness: bool,
) -> Settings:
    """What decides the reports of a run; ends here where the witness is not installed or the key log cannot be read."""
    from kzpcap.cases.work import Settings

    if witness:
        need_tshark()
    with needs():
        secrets_of(keylog)

    def names(paths: list[Path] | None) -> tuple[str, ...]:
        return tuple(map(str, paths or ()))

    return Settings(
        targets=tuple(targets or ()),
        trusted_roots=names(trusted_roots),
        interception_cas=names(interception_cas),
        genuine=names(genuine),
        asn=str(asn) if asn else None,
        keylog=str(keylog) if keylog else None,
        reference=str(folder) if folder else None,
        witness=witness,
    )


def _there(paths: Sequence[str | Path]) -> None:
    """A name that was mistyped makes no case."""
    if not any(os.path.lexists(path) for path in paths):
        from kzpcap.report.text import safe

        raise typer.BadParameter(f"{safe(str(paths[0]))}: no such file or folder", param_hint="PATH")


def _run(
    case: Path,
    settings: Settings,
    jobs: int,
    seconds: float,
    megabytes: int,
    retry: bool,
    what: Callable[[Case], tuple[list[str], Brought | None]],
    dask: str | None = None,
) -> None:
    """A run over what `what` gives, told on the terminal; ends with the exit status where something failed."""
    from kzpcap.cases.pool import Limits
    from kzpcap.cases.runner import batch as run
    from kzpcap.cases.store import Case
    from kzpcap.report.text import safe

    if not 0 < seconds < 1e9:
        raise typer.BadParameter("some seconds, more than none", param_hint="--time-limit")
    began = time.monotonic()
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        opened = Case.create(case)
        paths, brought = what(opened)
        limits = Limits(seconds, megabytes << 20)
        with needs():
            tally = run(
                opened, paths, settings, jobs or os.cpu_count() or 1, limits, _progress(began), retry, brought, dask
            )
    except CaseError as error:
        typer.echo(f"kzpcap: {error}", err=True)
        raise typer.Exit(EXIT_NO_CASE) from None
    except OSError as error:
        raise refused(case, error) from None
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
    _warn_of_others(opened, tally.analysis)
    if tally.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if tally.failures:
        raise typer.Exit(EXIT_FAILED)


def _interrupted(*_: object) -> None:
    """A run that is told to end does so as with Ctrl-C: workers stopped, custody closed."""
    raise KeyboardInterrupt


def _account(tally: Tally, spent: float) -> list[str]:
    from kzpcap.report.text import safe
    from kzpcap.report.words import count

    kinds = (
        "analysed", "already there", "failed", "failed before", "changed while it was read", "unreadable", "skipped",
        "came again",
    )  # fmt: skip
    counts = [f"{tally.outcomes[kind]:,} {kind}" for kind in kinds if tally.outcomes[kind]]
    of_archives = f" ({tally.members:,} more in archives)" if tally.members else ""
    begun = "interrupted; of those begun, " if tally.interrupted else ""
    lines = [f"{begun}{count(tally.files, 'file')}{of_archives}: {', '.join(counts) or 'no capture'}"]
    none = tally.outcomes["not a capture"]
    if none and counts:
        lines[0] += f"; {none:,} {'is no capture' if none == 1 else 'are no captures'}"
    if tally.replaced:
        lines.append(f"  {count(len(tally.replaced), 'file')} held other bytes when an earlier run read them:")
        lines += [f"    {safe(path)}" for path in tally.replaced[:MAX_LINES]]
        lines += [f"    (+{len(tally.replaced) - MAX_LINES} more)"] if len(tally.replaced) > MAX_LINES else []
    new = count(tally.intercepted, "new intercepted connection")
    lines.append(f"  {tally.bytes / 1e6:,.1f} MB in {spent:,.1f} s; {new}")
    lines.append(f"  run      {tally.run}{' (interrupted: run it again, it goes on)' if tally.interrupted else ''}")
    lines.append(f"  analysis {tally.analysis}")
    lines.append(f"  custody  {tally.head}")
    lines.append("  Write the custody digest down: it vouches for everything before it.")
    return lines


def _warn_of_others(case: Case, analysis: str) -> None:
    """Say what this run leaves out of every report of the case, by its options."""
    from kzpcap.cases.summary import judged_otherwise
    from kzpcap.report.text import wrap
    from kzpcap.report.words import judged_otherwise as words

    left = judged_otherwise(case, analysis)
    if left:
        typer.echo(wrap(f"{words(left)}.", 2))


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
        of = "" if tally.total is None else f" of {tally.total:,} files"
        text = f"{done:,} done, {tally.files:,}{of} begun, {tally.failed:,} failed, {rate:,.1f} MB/s"
        if tally.total and tally.files:
            left = (now - began) * (tally.total - tally.files) / tally.files
            text += f", about {_span(left)} left"
        sys.stderr.write(f"\r{text:<79.79}")
        sys.stderr.flush()

    return show


def _span(seconds: float) -> str:
    """A time to wait, roughly."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@cases.command("import", short_help="Take what volunteers sent into a case, and judge it.")
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
    targets: Targets = None,
    trusted_root: TrustedRoots = None,
    interception_ca: InterceptionCAs = None,
    reference_dir: ReferenceDir = None,
    genuine: Genuine = None,
    asn: Asn = None,
    keylog: KeyLogFile = None,
    seconds: Seconds = 3600.0,
    megabytes: Megabytes = 2048,
    retry: Retry = False,
    witness: Corroborate = False,
) -> None:
    """Take what volunteers sent into a case: open what is sealed, keep the captures in the case, and judge them.

    Custody tells of each where it came from, the digest of the sealed file, and what the volunteer told.
    """
    from kzpcap.cases.bring import bring as take
    from kzpcap.report.text import safe
    from kzpcap.sealing import SealError, identities

    _there(paths)
    keys: list[object] = []
    if identity is not None:
        try:
            keys = identities(identity)
        except WitnessMissing as missing:
            typer.echo(f"kzpcap: --identity: {missing}", err=True)
            raise typer.Exit(EXIT_MISSING) from None
        except SealError as error:
            raise typer.BadParameter(safe(str(error)), param_hint="--identity") from None

    def brought_in(into: Case) -> tuple[list[str], Brought]:
        brought = take(into, paths, keys)
        return brought.captures, brought

    settings = _settings(targets, trusted_root, interception_ca, reference_dir, genuine, asn, keylog, witness)
    _run(case, settings, jobs, seconds, megabytes, retry, brought_in)


@cases.command(short_help="Have the custody digest time-stamped (RFC 3161).")
def stamp(
    folder: Folder,
    request: Annotated[
        Path | None, typer.Option("--request", metavar="FILE", help="Write a request over the newest custody digest.")
    ] = None,
    token: Annotated[
        Path | None, typer.Option("--token", metavar="FILE", help="Keep the authority's answer in the case.")
    ] = None,
) -> None:
    """Have the custody digest time-stamped (RFC 3161): write a request, send it yourself, and take the answer in.

    kzpcap sends nothing. `case verify --tsa PEM` checks the answers with the authority's certificate.
    """
    from kzpcap.cases import custody, stamps
    from kzpcap.report.text import safe

    if (request is None) == (token is None):
        raise typer.BadParameter("one of --request and --token", param_hint="--request")
    case = opened(folder)
    known = custody.logs(case)
    try:
        if request is not None:
            newest = next((log for log in reversed(known) if log.lines), None)
            if newest is None or not newest.head:
                raise CaseError("no run has left a digest yet")
            with new_file(request, "xb") as file:
                file.write(stamps.request(newest.head))
            typer.echo(f"{safe(str(request))}: a request for {newest.head}")
            typer.echo("  curl -H 'Content-Type: application/timestamp-query' --data-binary @FILE AUTHORITY > ANSWER")
            return
        assert token is not None
        found = stamps.take(case, token, known)
        typer.echo(f"{found.digest}\n  was there at {found.time} UTC, says the authority")
    except WitnessMissing as missing:
        typer.echo(f"kzpcap: {missing}", err=True)
        raise typer.Exit(EXIT_MISSING) from None
    except NotWritten:
        raise
    except FileExistsError:
        raise typer.BadParameter(f"{request} exists already", param_hint="--request") from None
    except (CaseError, OSError) as error:
        raise refused(folder, error) from None


@cases.command(short_help="Check a case against its custody.")
def verify(
    folder: Folder,
    rehash: Annotated[bool, typer.Option("--rehash", help="Read the originals again, too.")] = False,
    head: Annotated[
        list[str] | None, typer.Option("--head", metavar="DIGEST", help="A custody digest that was written down.")
    ] = None,
    tsa: Annotated[
        list[Path] | None, typer.Option("--tsa", metavar="PEM", help="A time-stamp authority's root certificate.")
    ] = None,
) -> None:
    """Check a case against its custody: every line, every result, every certificate."""
    from kzpcap.cases.verify import verify as check
    from kzpcap.reference import read_pem
    from kzpcap.report.text import safe
    from kzpcap.report.words import count

    for digest in head or ():
        if re.fullmatch("[0-9a-f]{64}", digest) is None:
            raise typer.BadParameter("a custody digest has 64 digits, 0-9 and a-f", param_hint="--head")
    try:
        authorities = tuple(der for path in tsa or () for der in read_pem(path))
        found = check(opened(folder), rehash, head or (), authorities)
    except ReferenceDataError as error:
        raise typer.BadParameter(safe(str(error)), param_hint="--tsa") from None
    except OSError as error:
        raise refused(folder, error) from None
    for fault in found.faults:
        typer.echo(f"WRONG  {safe(fault.path)}: {safe(fault.says)}")
    for fault in found.open:
        typer.echo(f"OPEN   {safe(fault.path)}: {safe(fault.says)}")
    numbers = {"run": found.runs, "line": found.lines, "result": found.results, "certificate": found.certificates}
    if rehash:
        numbers["original"] = found.originals
    counts = ", ".join(count(number, what) for what, number in numbers.items())
    said = f"{len(found.faults):,} WRONG, {len(found.open):,} OPEN"
    typer.echo(f"{counts}: {said if found.faults or found.open else 'all as custody says'}")
    for run, last in sorted(found.heads.items()):
        typer.echo(f"  {run}  {last}")
    for one in found.stamps:
        how = "signature checked" if one.verified else "signature not checked: --tsa"
        typer.echo(f"  {one.digest}")
        typer.echo(f"    was there at {one.time} UTC by a time-stamp ({how})")
    if found.faults:
        raise typer.Exit(EXIT_FAULTS)
    if found.open:
        raise typer.Exit(EXIT_OPEN)
