"""Sending to a service from the volunteer's machine: resumable, over a SOCKS proxy too, to a pinned key alone.

Whoever intercepts with a root that was installed passes every check of certificates; a pinned key they do not have.
Standard library only: a connection is made, its key is looked at, and only then is anything said on it.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO
from urllib.parse import urlsplit

from kzpcap.certificates.certificate import parse
from kzpcap.errors import KzpcapError

PIECE = 1 << 20
SECONDS = 120
TRIES = 10
"""Over two minutes: as long as a service may hold an upload for a writer that it does not know to be gone."""
TUS = {"Tus-Resumable": "1.0.0"}
SOCKS_ERRORS = {1: "failure", 2: "not allowed", 3: "network unreachable", 4: "host unreachable", 5: "refused"}


class UploadError(KzpcapError):
    """Nothing more is sent: the address, the proxy, the key or the server's answer is not as it must be."""


@dataclass(frozen=True, slots=True)
class Service:
    """Where to send: http only to an onion service or this machine, else https to a pinned key."""

    host: str
    port: int
    tls: bool
    path: str
    pin: str = ""
    """SHA-256 of the SubjectPublicKeyInfo of the server's certificate, in hex."""
    proxy: tuple[str, int] | None = None

    @property
    def inside(self) -> bool:
        """Is the way there its own protection: an onion service, or this very machine?"""
        return self.host.endswith(".onion") or self.host in ("127.0.0.1", "::1", "localhost")


def service(address: str, pin: str = "", proxy: str = "") -> Service:
    """The service at an address; UploadError where sending there would not be safe."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UploadError(f"{address}: not an address of a service (https://... or http://....onion)")
    pin = pin.replace(":", "").lower()
    if pin and (len(pin) != 64 or any(char not in "0123456789abcdef" for char in pin)):
        raise UploadError("the pin is the SHA-256 of the server's public key, 64 hex digits")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host, _, number = proxy.rpartition(":")
        through = (host.strip("[]"), int(number)) if proxy else None
    except ValueError as error:
        raise UploadError(f"not a port: {error}") from error
    found = Service(parts.hostname, port, parts.scheme == "https", parts.path.rstrip("/"), pin, through)
    if not found.tls and not found.inside:
        raise UploadError("http would show everything to anyone on the way: use the onion address, or https with a pin")
    if found.tls and not found.inside and not pin:
        raise UploadError("https without --pin can be read by whoever had their root installed: give the server's pin")
    if found.host.endswith(".onion") and through is None:
        raise UploadError("an onion service needs Tor's proxy: --socks 127.0.0.1:9050 (Tor Browser: 9150)")
    return found


def connect(place: Service) -> http.client.HTTPConnection:
    """A connection on which nothing was said yet, its key checked."""
    if place.proxy is not None:
        link = _through_socks(place.proxy, place.host, place.port)
    else:
        link = socket.create_connection((place.host, place.port), SECONDS)
    try:
        if place.tls:
            link = _secured(link, place)
        found = http.client.HTTPConnection(place.host, place.port, timeout=SECONDS)
        found.sock = link
    except BaseException:
        link.close()
        raise
    return found


def _secured(link: socket.socket, place: Service) -> socket.socket:
    context = ssl.create_default_context()
    if place.pin:
        context.check_hostname = False  # the pin is the check: one key, whoever signed for it
        context.verify_mode = ssl.CERT_NONE
    secured = context.wrap_socket(link, server_hostname=place.host)
    der = secured.getpeercert(True) or b""
    if place.pin and parse(der).spki_sha256 != place.pin:
        secured.close()
        raise UploadError("THE SERVER'S KEY IS NOT THE PINNED ONE: somebody is in between, and nothing was sent")
    return secured


def _through_socks(proxy: tuple[str, int], host: str, port: int) -> socket.socket:
    """A connection through a SOCKS 5 proxy that resolves the name itself (RFC 1928), without authentication."""
    link = socket.create_connection(proxy, SECONDS)
    try:
        link.sendall(b"\x05\x01\x00")
        if _exactly(link, 2) != b"\x05\x00":
            raise UploadError("the proxy wants to know who asks, or is no SOCKS 5 proxy")
        name = host.encode("idna")
        link.sendall(b"\x05\x01\x00\x03" + bytes((len(name),)) + name + port.to_bytes(2, "big"))
        answer = _exactly(link, 4)
        if answer[1]:
            raise UploadError(f"the proxy cannot reach the service: {SOCKS_ERRORS.get(answer[1], answer[1])}")
        size = {1: 4, 4: 16}.get(answer[3])
        _exactly(link, (size if size is not None else _exactly(link, 1)[0]) + 2)
    except BaseException:
        link.close()
        raise
    return link


def _exactly(link: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        piece = link.recv(count - len(got))
        if not piece:
            raise UploadError("the proxy hung up")
        got += piece
    return got


def send(
    place: Service,
    body: IO[bytes],
    size: int,
    progress: Callable[[int, int], None] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Send `size` bytes by tus 1.0.0, going on after breaks; gives the receipt."""
    location = _created(place, size)
    offset = sent = tries = 0
    while offset < size:
        body.seek(offset)
        headers = {**TUS, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        piece = body.read(min(PIECE, size - offset))
        sent = max(sent, offset + len(piece))
        try:
            status, answer = _ask(place, "PATCH", location, headers, piece)
            if status == 204:
                offset, tries = _offset(place, answer, offset + 1, offset + len(piece)), 0
                if progress:
                    progress(offset, size)
                continue
            if status in (404, 410, 413, 507):
                raise UploadError(f"the service does not take it ({status})")
        except (OSError, http.client.HTTPException, KeyError, ValueError):
            pass  # broken off: ask how far it got
        tries += 1
        if tries > TRIES:
            raise UploadError(f"the connection broke {TRIES} times in a row: {offset:,} of {size:,} bytes are there")
        pause(min(30.0, 2.0**tries / 2))
        try:
            status, answer = _ask(place, "HEAD", location, TUS, b"")
            offset = _offset(place, answer, 0, sent) if status == 200 else offset
        except (OSError, http.client.HTTPException, KeyError, ValueError):
            continue
    return location.rsplit("/", 1)[1]


def _offset(place: Service, answer: dict[str, str], least: int, most: int) -> int:
    """How much is there, as the service tells it; UploadError where it can be no more than so many bytes, or less."""
    told = answer["upload-offset"]
    if not told.isascii() or not told.isdigit() or len(told) > 15 or not least <= int(told) <= most:
        raise UploadError(f"{place.host}: the service counts bytes that were not sent, or none")
    return int(told)


def _created(place: Service, size: int) -> str:
    try:
        status, answer = _ask(place, "POST", "/files", {**TUS, "Upload-Length": str(size)}, b"")
    except ConnectionRefusedError as error:
        proxy = ":".join(map(str, place.proxy or ()))
        through = f"no proxy answers at {proxy}: is Tor running?" if proxy else "nobody answers there"
        raise UploadError(f"{place.host}: {through}") from error
    except (OSError, http.client.HTTPException) as error:
        raise UploadError(f"{place.host}: {error}") from error
    if status == 413:
        raise UploadError("the file is larger than this service takes")
    if status in (503, 507):
        raise UploadError("the service has no room at the moment: try again later")
    location = answer.get("location", "")
    if status != 201 or not location.startswith("/files/") or len(location) > 100:
        raise UploadError(f"{place.host}: not a service of kzpcap's ({status})")
    return location


def _ask(place: Service, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
    """One request on a connection of its own; headers of the answer in lower case."""
    link = connect(place)
    try:
        link.request(method, place.path + path, body=body or None, headers=headers)
        answer = link.getresponse()
        answer.read(65_536)
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        link.close()
