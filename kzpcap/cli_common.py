"""What the command lines share: exit statuses, options, and how an error is told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from kzpcap.errors import CaseError, ReferenceDataError, WitnessMissing

EXIT_FAILED = 1
"""A capture of a run failed, or a file that was named is none; two readers differ."""
EXIT_USAGE = 2
EXIT_NOT_A_CAPTURE = 3
EXIT_REFERENCE_DATA = 4
EXIT_MISSING = 5
"""Something that the command needs is not installed."""
EXIT_NO_CASE = 6
"""No case, or it cannot be read or written, or a wrong query."""
EXIT_FAULTS = 7
EXIT_OPEN = 8
EXIT_NOT_WRITTEN = 9
EXIT_INTERCEPTED = 10
EXIT_INTERRUPTED = 130
EXIT_PIPE = 141
"""The reader of a pipe has gone."""

Targets = Annotated[
    list[str] | None, typer.Option("--targets", metavar="NAME|FILE", help="Target lists (default: all shipped).")
]
TrustedRoots = Annotated[
    list[Path] | None, typer.Option("--trusted-root", metavar="PEM", help="Further trust anchors (laboratories).")
]
InterceptionCAs = Annotated[
    list[Path] | None,
    typer.Option("--interception-ca", metavar="PEM", help="Further interception CAs (laboratories)."),
]
Genuine = Annotated[
    list[Path] | None,
    typer.Option("--genuine", metavar="FILE|DIR", help="Genuine certificates to lay beside those of the capture."),
]
ReferenceDir = Annotated[
    Path | None, typer.Option("--reference", metavar="DIR", help="Reference data in place of the shipped.")
]
Asn = Annotated[
    Path | None,
    typer.Option("--asn", metavar="FILE", help="AS numbers of the capture's time: MMDB, iptoasn TSV or prefix2as."),
]
KeyLogFile = Annotated[
    Path | None, typer.Option("--keylog", metavar="FILE", help="An SSLKEYLOGFILE: opens TLS 1.3 certificates.")
]
Retry = Annotated[bool, typer.Option("--retry", help="Try captures again that failed before.")]
Corroborate = Annotated[
    bool, typer.Option("--corroborate", help="Have tshark read each capture too (slow); claims rest on it.")
]


def secrets_of(path: Path | None) -> bytes:
    """The lines of an SSLKEYLOGFILE; one that opens nothing is told, ReferenceDataError where it cannot be read."""
    if path is None:
        return b""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ReferenceDataError(f"{path}: {error.strerror}") from error
    from kzpcap.tls.keylog import SERVER_HANDSHAKE, KeyLog

    if not KeyLog().add(text):
        from kzpcap.report.text import safe

        typer.echo(
            f"kzpcap: {safe(str(path))}: no line of it has a {SERVER_HANDSHAKE.decode()}: it opens nothing", err=True
        )
    return text


class NotWritten(OSError):
    """What was to be written is not: no fault of what was read. It has the file's name."""


@contextmanager
def new_file(path: Path, mode: str = "x") -> Iterator[IO[Any]]:
    """A file to write: `x` where none may be there (FileExistsError), `a` to add to one; `b` for bytes.

    Where it cannot be written whole, nothing that is new of it stays, and NotWritten says so.
    """
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "errors": "backslashreplace"}
    before = path.stat().st_size if path.exists() else None
    try:
        with path.open(mode, **text) as file:
            yield file
    except FileExistsError:
        raise
    except BaseException as error:
        with suppress(OSError):
            if before is not None:
                os.truncate(path, before)
            elif not path.is_symlink():
                path.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(path)):
            raise NotWritten(error.errno, error.strerror, str(path)) from None
        raise


DAMAGED = (CaseError, OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What a damaged case may come to, wherever it is read."""


def told(where: Path | str, error: Exception) -> str:
    """One line for what went wrong with a file or folder: the file that the system names, or `where`."""
    from kzpcap.report.text import safe

    named = error.filename if isinstance(error, OSError) and error.filename else where
    says = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"kzpcap: {safe(str(named))}: {safe(str(says))}"


def refused(case: Path, error: Exception) -> typer.Exit:
    """Tell why a case gives no answer; the exit to raise."""
    typer.echo(told(case, error), err=True)
    return typer.Exit(EXIT_NO_CASE)


@contextmanager
def needs() -> Iterator[None]:
    """Within it: where what a command needs beside captures is wrong or missing, that is told, and ends the command."""
    try:
        yield
    except ReferenceDataError as error:
        from kzpcap.report.text import safe

        typer.echo(f"kzpcap: reference data: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_REFERENCE_DATA) from None
    except WitnessMissing as missing:
        typer.echo(f"kzpcap: {missing}", err=True)
        raise typer.Exit(EXIT_MISSING) from None


def need_tshark() -> None:
    """End here where tshark is wanted and not installed."""
    from kzpcap.capture.witnesses import with_tshark

    with needs():
        with_tshark.program()
