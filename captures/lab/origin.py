"""The servers: OpenSSL behind plain sockets, one thread a connection, virtual hosts with versions of their own.

    python -m lab.origin SPEC.json

SPEC holds `address`, `port` and `sites`; a site has `names`, `pem`, `chain`, and may have `highest` (a TLS version),
`alpn`. Of the whole server: `refuse` (`alert` or `close` for names that no site has), `reset_every` (an overloaded
one resets every nth connection), `replay` (the chain of `pem` is shown, byte by byte as recorded, without its key),
`splice` (name -> address: it speaks no TLS, but passes each connection on).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import ssl
import struct
import sys
import threading
from pathlib import Path
from typing import Any

from lab import hello as hellos
from lab import journal

VERSIONS = {"TLSv1.2": (ssl.TLSVersion.TLSv1_2, 0x0303), "TLSv1.3": (ssl.TLSVersion.TLSv1_3, 0x0304)}
PAGE = b"<!doctype html><title>lab</title><p>A page of the laboratory.</p>"
UNRECOGNIZED_NAME = bytes.fromhex("15030300020270")  # alert 112, fatal (RFC 6066 section 3)


class Site:
    """A virtual host."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.names: list[str] = spec["names"]
        self.chain: list[str] = spec["chain"]
        self.version, self.highest = VERSIONS[spec.get("highest", "TLSv1.3")]
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.maximum_version = self.version
        self.context.load_cert_chain(spec["pem"])
        self.context.set_alpn_protocols(spec.get("alpn", ["http/1.1"]))


def peek(connection: socket.socket, seconds: float = 5.0) -> bytes:
    """The first flight of the client, left in the socket; what came when it is no ClientHello."""
    connection.settimeout(seconds)
    seen = 0
    while True:
        data = connection.recv(16_384, socket.MSG_PEEK)
        if not data or hellos.complete(data) is not False:
            return data
        if len(data) == seen:
            threading.Event().wait(0.01)
        seen = len(data)


def page(body: bytes = PAGE, status: str = "200 OK", head: str = "") -> bytes:
    lines = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{head}\r\n"
    return lines.encode() + body


def recorded_flight(site: Site) -> bytes:
    """The first flight of a server that has the key, as somebody without it may have recorded it."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(ssl.MemoryBIO(), to_server, server_hostname=site.names[0])
    theirs = site.context.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return to_client.read()


def splice(connection: socket.socket, address: str) -> None:
    """Pass the bytes on, both ways, until a side ends."""
    with socket.create_connection((address, 443), 5) as up:
        while ready := select.select([connection, up], [], [], 5)[0]:
            for source in ready:
                data = source.recv(16_384)
                if not data:
                    return
                (up if source is connection else connection).sendall(data)


COUNT = itertools.count(1)


def serve(connection: socket.socket, peer: tuple[str, int], spec: dict[str, Any], sites: list[Site]) -> None:
    local = connection.getsockname()
    data = peek(connection)
    if not hellos.complete(data):
        if data[:4] in (b"GET ", b"HEAD"):
            connection.sendall(page(**spec.get("plain", {})))
        return
    hello = hellos.parse(data)
    if spec.get("reset_every") and next(COUNT) % spec["reset_every"] == 0:
        journal.note("origin", "refused", peer, local, server_name=hello.server_name, how="reset")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
        return
    if spec.get("replay"):
        connection.recv(16_384)
        connection.sendall(recorded_flight(sites[0]))
        with contextlib.suppress(OSError):
            connection.recv(4096)
        more = {"server_name": hello.server_name, "chain": sites[0].chain, "version": "TLSv1.2", "finished": False}
        journal.note("origin", "answered", peer, local, **more)
        return
    if spec.get("splice"):
        splice(connection, spec["splice"][(hello.server_name or "").lower()])
        return
    wanted = (hello.server_name or "").lower()
    site = next((site for site in sites if wanted in site.names), None)
    if site is None and spec.get("refuse") and wanted:
        journal.note("origin", "refused", peer, local, server_name=hello.server_name, how=spec["refuse"])
        connection.recv(16_384)  # a socket that is closed with data in it sends a reset
        if spec["refuse"] == "alert":
            connection.sendall(UNRECOGNIZED_NAME)
        return
    site = site or sites[0]
    more = {"server_name": hello.server_name, "chain": site.chain, "version": hello.common(site.highest)}
    journal.note("origin", "answered", peer, local, **more)
    after: dict[str, Any] = {"finished": False}
    try:
        with site.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls:
            try:
                tls.do_handshake()
                after = {"resumed": bool(tls.session_reused), "finished": True}
                with contextlib.suppress(OSError):
                    if tls.recv(4096):
                        tls.sendall(page(PAGE * spec.get("pages", 1)))
                    tls.unwrap()
            except (ssl.SSLError, OSError) as error:
                after["error"] = str(error)
    finally:
        journal.note("origin", "finished", peer, local, **after)


def listen(spec: dict[str, Any]) -> None:
    family = socket.AF_INET6 if ":" in spec["address"] else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((spec["address"], spec.get("port", 443)))
    server.listen(spec.get("backlog", 128))
    sites = [Site(site) for site in spec["sites"]]
    print("ready", flush=True)
    while True:
        connection, peer = server.accept()

        def work(connection: socket.socket = connection, peer: Any = peer) -> None:
            with contextlib.suppress(OSError), connection:
                serve(connection, peer[:2], spec, sites)

        threading.Thread(target=work, daemon=True).start()


if __name__ == "__main__":
    listen(json.loads(Path(sys.argv[1]).read_text()))
