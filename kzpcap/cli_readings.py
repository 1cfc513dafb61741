"""What is in captures, without a verdict: handshakes, certificates, and our reading beside another program's."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kzpcap.cli_common import (
    EXIT_FAILED,
    EXIT_NOT_A_CAPTURE,
    Genuine,
    InterceptionCAs,
    KeyLogFile,
    ReferenceDir,
    TrustedRoots,
    needs,
    secrets_of,
)
from kzpcap.cli_inputs import (
    At,
    Files,
    Tally,
    Together,
    analyses,
    captures,
    complain,
    load_reference,
    noon,
    progress,
    shown,
)
from kzpcap.errors import CaptureError

MAX_DIFFERENCES = 100


def handshakes(files: Files, keylog: KeyLogFile = None) -> None:
    """Print JSON Lines: each TLS connection, each ICMP Time Exceeded, then a line for the file.

    `file` is the file's name, `path` how it was given.
    """
    from kzpcap.analysis import Reading
    from kzpcap.report.handshakes import Lines, row, time_exceeded
    from kzpcap.report.json import text
    from kzpcap.report.text import decode

    with needs():
        bad, keys = 0, secrets_of(keylog)
    for path, source, notes in captures(files, False):
        where = decode(os.fsencode(path))
        file = where if path == "-" else decode(os.fsencode(Path(path).name))
        try:
            if isinstance(source, CaptureError):
                raise source
            reading = Reading(source, keylog=keys, notes=notes)
        except CaptureError as error:
            complain(path, error)
            bad += 1
            sys.stdout.write(text({**_failed_row(file, error), "path": where}) + "\n")
            continue
        try:
            with Lines() as lines:
                for flow, handshake in reading.flows(progress(path)):
                    if handshake is not None:
                        lines.add(flow.first_frame, text({**row(file, flow, handshake), "path": where}))
                sys.stdout.writelines(lines.in_order())
            errors = time_exceeded(file, reading.icmp_errors())
            sys.stdout.writelines(text({**line, "path": where}) + "\n" for line in errors)
            sys.stdout.write(text({**_file_row(file, reading), "path": where}) + "\n")
        except CaptureError as error:
            complain(path, error)
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
    with needs():
        reference = load_reference(reference_dir, None, trusted_root, interception_ca, genuine)
        several = False
        for name, report in analyses(
            files, reference, secrets_of(keylog), False, tally, at=noon(at), together=together
        ):
            if as_json:
                where = {"file": shown(name), "path": name}
                sys.stdout.writelines(text({**where, **listing.document(row)}) + "\n" for row in listing.rows(report))
            else:
                typer.echo(("\n" if several else "") + safe(shown(name)))
                several = True
                listing.show(report, sys.stdout.write)
            if save is not None:
                typer.echo(f"{listing.save(report, save)} certificates written to {safe(str(save))}", err=True)
    if tally.bad:
        raise typer.Exit(EXIT_NOT_A_CAPTURE)


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
    for path, source, _ in captures(files, False):
        try:
            if isinstance(source, CaptureError):
                raise source
            with needs():
                result = comparison.corroborate(source, witness)
        except CaptureError as error:
            complain(path, error)
            bad += 1
            continue
        for found in result.differences[:MAX_DIFFERENCES]:
            what = f"frame {found.frame}  {found.field}  ours {found.ours!r}  {witness} {found.theirs!r}  {found.what}"
            typer.echo(safe(what))
        typer.echo(f"{safe(shown(path))}: {result.sentence(unit)}")
        total.add(result)
        compared_files += 1
        differing += bool(result.differences)
    if compared_files > 1:
        typer.echo(f"{compared_files:,} captures: {total.sentence(unit)}")
    if bad:
        raise typer.Exit(EXIT_NOT_A_CAPTURE)
    if differing:
        raise typer.Exit(EXIT_FAILED)
