"""The command line of the service: `kzpcap serve` and `kzpcap token`; parse, call, print, exit status."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kzpcap.cli_common import EXIT_MISSING, EXIT_USAGE

if TYPE_CHECKING:
    from kzpcap.upload.config import Config

Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="The data folder; made if it is not there.")]


def _config(path: Path | None) -> Config:
    from kzpcap.report.text import safe
    from kzpcap.upload.config import ConfigError, load

    try:
        return load(path)
    except ConfigError as error:
        typer.echo(f"kzpcap: {safe(str(error))}", err=True)
        raise typer.Exit(EXIT_USAGE) from None


def serve(
    data: Data,
    listen: Annotated[
        str | None, typer.Option("--listen", metavar="HOST:PORT", help="Default 127.0.0.1:8317, behind a proxy.")
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings in TOML.")] = None,
) -> None:
    """Take captures from volunteers over the web: scrub what comes, keep the evidence, destroy the rest.

    No log of requests, no address, no cookie but the researcher's. Put it behind an onion service, or a reverse proxy
    that logs nothing: addresses and receipts would stand in its log.
    """
    settings = _config(config)
    if listen:
        host, _, port = listen.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65_536:
            raise typer.BadParameter("HOST:PORT, as in 127.0.0.1:8317", param_hint="--listen")
        settings = replace(settings, host=host.strip("[]"), port=int(port))
    try:
        import uvicorn

        from kzpcap.upload.cage import SCOPE_VERSION, landlock, with_own_files, without_network
        from kzpcap.upload.deadline import within
        from kzpcap.upload.door import Door
        from kzpcap.upload.store import Store
        from kzpcap.upload.web import Service
    except ImportError as error:
        typer.echo(f"kzpcap: serve needs {error.name}: pip install 'kzpcap[server]'", err=True)
        raise typer.Exit(EXIT_MISSING) from None
    _more_files()
    # It tells bytes of what it cannot parse, and a journal adds when.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL + 1)
    logging.getLogger("uvicorn.error").addFilter(_says_no_moment)
    os.umask(0o077)
    try:
        store = Store(data)
    except OSError as error:
        typer.echo(f"kzpcap: {data}: {error.strerror}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    if not store.hold():
        typer.echo(f"kzpcap: {data}: another service has this folder", err=True)
        raise typer.Exit(EXIT_USAGE)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    scheme = "https" if settings.tls_certificate else "http"
    _free(settings.host, settings.port)
    typer.echo(f"{scheme}://{host}:{settings.port}/  for volunteers; /review for researchers")
    if not without_network():
        typer.echo("kzpcap: this system lets no child go without a network: captures are scrubbed with one", err=True)
    if not with_own_files(data):
        typer.echo("kzpcap: this system has no Landlock: what scrubs a capture can read the service's files", err=True)
    elif landlock() < SCOPE_VERSION:
        typer.echo("kzpcap: this system's Landlock cannot keep what scrubs a capture from signalling others", err=True)
    if not store.tokens():
        typer.echo(f"the first access token, shown only now: {store.new_token('first', 'manage')}")
    # With TLS of its own the server listens on this machine alone, and the door in front of it on the address.
    door, sockets = None, None
    if settings.tls_certificate:
        inner = socket.create_server(("127.0.0.1", 0), backlog=1_024)
        door, sockets = Door(settings.host, settings.port, inner.getsockname()[1]), [inner]
    options = uvicorn.Config(
        Service(store, settings, door).app(),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
        access_log=False,
        log_level="error",  # a warning tells that somebody was there, and a journal adds when
        http=within(settings.head_seconds),
        server_header=False,
        date_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
        h11_max_incomplete_event_size=32_768,
        proxy_headers=False,
    )
    try:
        options.load()
    except OSError as error:  # ssl.SSLError is one
        typer.echo(f"kzpcap: tls_certificate, tls_key: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    server = uvicorn.Server(options)
    server.run(sockets)
    if not server.started:
        raise typer.Exit(EXIT_USAGE)


def _says_no_moment(record: logging.LogRecord) -> bool:
    """Of what broke off its kind is told, of what the end cut off nothing: no log says who was there when."""
    if record.exc_info and record.exc_info[0] is not None:
        if record.exc_info[0].__name__ != "CancelledError":
            typer.echo(f"kzpcap: an answer broke off: {record.exc_info[0].__name__}", err=True)
        return False
    return "Cancel" not in record.getMessage()


def _free(host: str, port: int) -> None:
    """Nothing is promised, and no token shown, where somebody listens already."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        typer.echo(f"kzpcap: {host}:{port}: {error.strerror}", err=True)
        raise typer.Exit(EXIT_USAGE) from None


def token(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The data folder of the service.")],
    label: Annotated[str, typer.Option("--label", help="For whom a new token is.")] = "",
    role: Annotated[
        str, typer.Option("--role", metavar="read|manage", help="What the token is good for; manage may delete.")
    ] = "read",
    revoke: Annotated[str, typer.Option("--revoke", metavar="ID", help="Revoke the token with this id.")] = "",
) -> None:
    """Give a researcher access, take it back, or list who has it."""
    from kzpcap.report.text import safe
    from kzpcap.upload.store import DATABASE, Store

    if role not in ("read", "manage"):
        raise typer.BadParameter("read or manage", param_hint="--role")
    if not (data / DATABASE).is_file():
        raise typer.BadParameter("no data folder of a service: `kzpcap serve` makes one", param_hint="--data")
    if role != "read" and not label:
        raise typer.BadParameter("goes with --label: for whom it is", param_hint="--role")
    os.umask(0o077)
    store = Store(data)
    if revoke:
        if not store.revoke(revoke):
            raise typer.BadParameter("no token with this id", param_hint="--revoke")
        typer.echo("revoked")
        return
    if label:
        typer.echo(f"shown only now: {store.new_token(label, role)}")
        return
    for one in store.tokens():
        typer.echo(f"{one['id']}  {one['day']}  {one['role']:<6}  {safe(one['label'])}{'  revoked' * one['revoked']}")


def _more_files() -> None:
    """A thousand slow connections need a thousand file descriptors."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65_536)), hard))
