"""The command line of volunteers: `kzpcap scrub`, `kzpcap upload`, `kzpcap guide`; parse, ask, print, exit status."""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, NoReturn

import typer

from kzpcap.cli_common import (
    EXIT_MISSING,
    EXIT_NOT_A_CAPTURE,
    EXIT_NOT_WRITTEN,
    InterceptionCAs,
    Targets,
    TrustedRoots,
    needs,
)
from kzpcap.errors import CaptureError, SeveralCaptures, WitnessMissing

if TYPE_CHECKING:
    from kzpcap.reference import Reference
    from kzpcap.scrub.choose import Choices
    from kzpcap.scrub.work import Scrubbed

MAX_SHOWN = 40


def scrub(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A capture.")],
    out: Annotated[
        Path,
        typer.Option("--output", "--out", "-o", metavar="OUT", help="The new capture (pcapng); it must not exist."),
    ],
    profile: Annotated[
        str,
        typer.Option("--profile", help="evidence: exact, for one reader. public: nothing that tells of one client."),
    ] = "evidence",
    keep: Annotated[
        list[str] | None, typer.Option("--keep", metavar="NAME", help="Hand on this name too, though it is on no list.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", metavar="NAME", help="Leave this name out, whatever it shows.")
    ] = None,
    encrypt_to: Annotated[
        list[str] | None, typer.Option("--encrypt-to", metavar="AGE", help="Write for these age recipients alone.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept-losses", help="Write even where some answer differs from the original's.")
    ] = False,
    targets: Targets = None,
    trusted_root: TrustedRoots = None,
    interception_ca: InterceptionCAs = None,
) -> None:
    """Write a capture with everything but the evidence taken out, and prove that it gives the same answers.

    What stays: connections to listed names, those that are not in order under names that you give, the controls beside
    them, and the ICMP, DNS answers and traceroutes about them. Client addresses become documentation addresses; link
    layers, application data, comments and secrets are not in the new file at all.
    """
    from kzpcap import reference
    from kzpcap.report.text import safe
    from kzpcap.scrub.choose import Choices
    from kzpcap.scrub.work import PROFILES

    if profile not in PROFILES:
        raise typer.BadParameter(f"one of {', '.join(PROFILES)}", param_hint="--profile")
    manifest_path = out.with_name(out.name + ".manifest.json")
    for path in (out, manifest_path):
        if path.exists():
            _fail(f"{safe(str(path))} exists already, and nothing is ever overwritten")
    recipients = _recipients(encrypt_to or [])
    choices = Choices(profile, _names(keep), _names(drop))
    with needs():
        known = reference.load(None, targets, trusted_root, interception_ca)
    scrubbed = _scrubbed(file, known, choices)
    try:
        _finish(scrubbed, out, manifest_path, recipients, accept)
    finally:
        scrubbed.output.close()


def upload(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A capture; it is scrubbed here first.")],
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The service: an onion address, or https with --pin.")],
    encrypt_to: Annotated[
        list[str] | None, typer.Option("--encrypt-to", metavar="AGE", help="The researcher's age key, as published.")
    ] = None,
    pin: Annotated[str, typer.Option("--pin", metavar="SHA256", help="Of the server's public key, as published.")] = "",
    socks: Annotated[str, typer.Option("--socks", metavar="HOST:PORT", help="A SOCKS 5 proxy: Tor's.")] = "",
    keep: Annotated[list[str] | None, typer.Option("--keep", metavar="NAME", help="As in scrub.")] = None,
    drop: Annotated[list[str] | None, typer.Option("--drop", metavar="NAME", help="As in scrub.")] = None,
    accept: Annotated[bool, typer.Option("--accept-losses", help="As in scrub.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Send without asking.")] = False,
) -> None:
    """Scrub a capture, show what would be handed on, and send it, encrypted, to a service; prints the receipt.

    Over the open Internet it must be encrypted (--encrypt-to) and the server's key pinned (--pin): whoever had their
    root installed passes every other check. Take both from where the address was published, not from the service.
    """
    import tempfile

    from kzpcap import reference
    from kzpcap.report.text import safe
    from kzpcap.scrub.choose import Choices
    from kzpcap.upload.client import UploadError, send, service

    recipients = _recipients(encrypt_to or [])
    try:
        place = service(to, pin, socks)
    except UploadError as error:
        _fail(safe(str(error)))
    if not recipients and not place.inside:
        _fail("give --encrypt-to, the researcher's age key: without it whoever is in between could read it")
    scrubbed = _scrubbed(file, reference.load(), Choices("evidence", _names(keep), _names(drop)))
    with scrubbed.output, tempfile.TemporaryFile(prefix="kzpcap-") as sealed:
        _told(scrubbed, accept)
        if not yes and not (sys.stdin.isatty() and typer.confirm(f"Send it to {safe(place.host)}?", err=True)):
            _fail("nothing was sent (--yes sends without asking)")
        body: IO[bytes] = scrubbed.output
        if recipients:
            from kzpcap.sealing import seal

            seal(scrubbed.output, sealed, recipients)
            body = sealed
        size = body.seek(0, os.SEEK_END)
        try:
            receipt = send(place, body, size)
        except UploadError as error:
            _fail(safe(str(error)))
    typer.echo(f"sent: {size:,} bytes{', encrypted' if recipients else ''}")
    typer.echo(f"your receipt, to write down: {safe(receipt)}")
    typer.echo("with it you can see what became of it, and delete it, at the service's page")


def guide(
    platform: Annotated[
        str | None, typer.Argument(metavar="[SYSTEM]", help="android, windows, macos, linux or router; all without.")
    ] = None,
    language: Annotated[str, typer.Option("--lang", metavar="en|ru|kk", help="English, Russian or Kazakh.")] = "en",
) -> None:
    """Tell what to record and how, what each choice can show, and what not to do: before any risk is taken."""
    from kzpcap.guide import LANGUAGES, PLATFORMS
    from kzpcap.guide import guide as text

    if language not in LANGUAGES:
        raise typer.BadParameter(f"one of {', '.join(LANGUAGES)}", param_hint="--lang")
    if platform is not None and platform.lower() not in PLATFORMS:
        raise typer.BadParameter(f"one of {', '.join(PLATFORMS)}", param_hint="SYSTEM")
    typer.echo(text(language, platform.lower() if platform else None), nl=False)


def _scrubbed(file: str, known: Reference, choices: Choices) -> Scrubbed:
    """The scrubbed capture, or the word why there is none."""
    from kzpcap.report.text import safe

    if choices.keep & choices.drop:
        raise typer.BadParameter(f"{safe(min(choices.keep & choices.drop))} is kept as well", param_hint="--drop")
    try:
        with needs():
            scrubbed = _decided(file, known, choices)
    except CaptureError as error:
        where = f" (offset {error.offset})" if error.offset is not None else ""
        one = " (one capture at a time: unpack it first)" if isinstance(error, SeveralCaptures) else ""
        typer.echo(f"kzpcap: {safe(file)}: {safe(str(error))}{where}{one}", err=True)
        raise typer.Exit(EXIT_NOT_A_CAPTURE) from None
    for name in sorted((choices.keep | choices.drop) - scrubbed.chosen.met):
        scrubbed.output.close()
        near = scrubbed.chosen.near.get(name)
        but = f", but one is to {safe(near)}: names are taken whole" if near else ""
        _fail(f"nothing was written: no connection is to {safe(name)}{but}")
    return scrubbed


def _names(given: list[str] | None) -> frozenset[str]:
    return frozenset(name.strip().lower().rstrip(".") for name in given or ())


def _fail(text: str) -> NoReturn:
    typer.echo(f"kzpcap: {text}", err=True)
    raise typer.Exit(EXIT_NOT_WRITTEN)


def _recipients(given: list[str]) -> list[object]:
    if not given:
        return []
    from kzpcap.sealing import SealError, recipients

    try:
        return recipients(given)
    except WitnessMissing as missing:
        typer.echo(f"kzpcap: --encrypt-to: {missing}", err=True)
        raise typer.Exit(EXIT_MISSING) from None
    except SealError as error:
        raise typer.BadParameter(str(error), param_hint="--encrypt-to") from None


def _decided(file: str, known: Reference, choices: Choices) -> Scrubbed:
    """Scrub; where a person is there to answer, ask about names on no list, and scrub again with the answers."""
    from kzpcap.report.text import safe
    from kzpcap.scrub.work import scrub as run

    scrubbed = run(file, known, choices)
    undecided = scrubbed.chosen.undecided
    if not undecided:
        return scrubbed
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        typer.echo("not in order, on no list, and left out (--keep NAME hands one on):", err=True)
        for name, count in sorted(undecided.items())[:MAX_SHOWN]:
            typer.echo(f"  {safe(name)}: {count:,} connection{'' if count == 1 else 's'}", err=True)
        return scrubbed
    given = set(choices.keep)
    for name, count in sorted(undecided.items())[:MAX_SHOWN]:
        some = "one of its connections is" if count == 1 else f"{count:,} of its connections are"
        question = f"{safe(name)} is on no list, and {some} not in order. Hand it on?"
        if typer.confirm(question, default=False, err=True):
            given.add(name)
    refused = set(undecided) - given
    scrubbed.output.close()
    return run(file, known, replace(choices, keep=frozenset(given), drop=choices.drop | refused))


def _told(scrubbed: Scrubbed, accept: bool) -> None:
    """Tell what would be handed on; ends here unless it is the same evidence, or its losses are accepted."""
    from kzpcap.report.text import safe, wrap
    from kzpcap.scrub.work import words

    for line in words(scrubbed):
        typer.echo(wrap(safe(line), 2 if line.startswith("  ") else 0, 4))
    proof = scrubbed.proof
    for leak in proof.leaks[:MAX_SHOWN]:
        typer.echo(f"kzpcap: {safe(leak)} is still in the new capture", err=True)
    for loss in proof.wrong[:MAX_SHOWN]:
        typer.echo(
            f"kzpcap: frame {loss.frame}, {safe(loss.name)}: {loss.what}, more than the original shows", err=True
        )
    if proof.leaks or proof.wrong:
        _fail("nothing was written: this is an error of kzpcap's, please report it (without the capture)")
    if not scrubbed.written.frames:
        undecided = len(scrubbed.chosen.undecided)
        why = (
            f"--keep NAME hands on one of {undecided} names on no list"
            if undecided
            else "evidence over QUIC stays in --profile evidence alone"
            if scrubbed.chosen.over_quic
            else "none is evidence of anything"
        )
        _fail(f"nothing was written: no connection in this capture stays: {why}")
    if proof.unexpected and not accept:
        asked = sys.stdin.isatty() and sys.stderr.isatty()
        if not asked or not typer.confirm("Some answers differ. Write it all the same?", default=False, err=True):
            _fail(
                "nothing was written: --accept-losses writes it all the same; --keep NAME keeps a control's certificate"
            )


def _finish(scrubbed: Scrubbed, out: Path, manifest_path: Path, recipients: list[object], accept: bool) -> None:
    """Write the new capture and its manifest, after all was told."""
    from kzpcap.report.text import safe

    _told(scrubbed, accept)
    manifest = json.dumps(scrubbed.manifest, ensure_ascii=False, indent=2).encode() + b"\n"
    try:
        _write(out, scrubbed.output, recipients)
        _write(manifest_path, io.BytesIO(manifest), recipients)
    except OSError as error:
        _fail(f"{safe(str(out))}: {error.strerror or error}")
    share = 100 * scrubbed.size / max(1, scrubbed.original_size)
    sealed = " for the age recipients alone" if recipients else ""
    typer.echo(f"written{sealed}: {safe(str(out))}, {scrubbed.size:,} bytes, {share:.1f} % of the original")
    typer.echo(f"manifest: {safe(str(manifest_path))}")


def _write(path: Path, body: IO[bytes], recipients: list[object]) -> None:
    """Write a new file for its owner alone, whole or not at all; sealed where there are recipients."""
    body.seek(0)
    part = path.with_name(path.name + ".part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            if recipients:
                from kzpcap.sealing import seal

                seal(body, file, recipients)
            else:
                while block := body.read(1 << 20):
                    file.write(block)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:  # no hard links there: a stick, a phone
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # the name is ours, or it fails
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)
