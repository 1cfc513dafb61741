"""TLS of the service's own, and who opened it: the arriving ClientHello beside what the browser says that it is.

Whoever intercepts ends the volunteer's TLS and opens one of their own to the server; its ClientHello is theirs. The
door takes each connection, reads the ClientHello, and hands every byte on to the server behind it, which ends TLS. Of
the hello it keeps four facts as long as the connection lasts, and writes nothing down.

Only two things are told: the published fingerprint of the box of 2019, and a hello that a browser of the family and age
that the request claims does not send. Both are one-sided: a box that copies browsers passes (Durumeric et al., NDSS
2017), and a program without a browser's name is not judged. An antivirus that opens TLS on the volunteer's own device
fails as well, and rightly: it can read the upload.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass

from kzpcap.iana import GREASE
from kzpcap.tls.fingerprints import tlsfingerprint_id
from kzpcap.tls.messages import client_hello

BOXES = frozenset({"f09427b5aaf9304b"})
"""tlsfingerprint.io ids of interceptors' own hellos: the box of 2019, seen at a server of Censored Planet's."""
MAX_HELLO = 16_384
MAX_RECORDS = 64
"""A hello fits in one or two; each further byte that comes has the ones before it looked at again."""
HELLO_SECONDS = 15
MAX_OPEN = 4_096
PIECE = 65_536
HANDSHAKE, CLIENT_HELLO = 22, 1

# TLS 1.3 is on by default since Firefox 63, Chrome 70 and Safari 12.1, HTTP/2 is offered by all of them, and GREASE
# (RFC 8701) is sent by BoringSSL's browsers and by Safari since 14. The ages asked for are later ones, to be sure.
FIREFOX = re.compile(r"\bFirefox/(\d{1,4})")
CHROME = re.compile(r"Chrome/(\d{1,4})")
SAFARI = re.compile(r"\bVersion/(\d{1,4})\S* (?:Mobile/\S+ )?Safari/")


@dataclass(frozen=True, slots=True)
class Hello:
    """What is kept of a ClientHello while its connection lasts."""

    id: str | None
    tls13: bool
    h2: bool
    grease: bool


def read_hello(data: bytes) -> Hello | None:
    """The ClientHello at the beginning of a connection (RFC 8446 section 5.1); None where it is not whole, or none."""
    message, at, version, records = b"", 0, 0, 0
    while at + 5 <= len(data) and data[at] == HANDSHAKE and records < MAX_RECORDS:
        records += 1
        version = version or int.from_bytes(data[at + 1 : at + 3])
        length = int.from_bytes(data[at + 3 : at + 5])
        message += data[at + 5 : at + 5 + length]
        at += 5 + length
        if len(message) >= 4 and len(message) >= 4 + int.from_bytes(message[1:4]):
            break
    if len(message) < 4 or message[0] != CLIENT_HELLO or len(message) < 4 + int.from_bytes(message[1:4]):
        return None
    hello = client_hello(message[4 : 4 + int.from_bytes(message[1:4])], True)
    if hello is None:
        return None
    return Hello(
        tlsfingerprint_id(hello, version),
        0x0304 in hello.supported_versions,
        b"h2" in (hello.alpn_protocols or ()),
        not GREASE.isdisjoint(hello.cipher_suites),
    )


def contradicts(hello: Hello, agent: str) -> bool:
    """Is this hello a known box's, or one that the browser named by `agent` does not send?"""
    if hello.id in BOXES:
        return True
    agent = agent[:1_000]
    chrome, safari, firefox = CHROME.search(agent), SAFARI.search(agent), FIREFOX.search(agent)
    modern = hello.tls13 and hello.h2
    if chrome:
        return int(chrome[1]) >= 80 and not (modern and hello.grease)
    if firefox:
        return int(firefox[1]) >= 70 and not modern
    if safari:
        return int(safari[1]) >= 15 and not (modern and hello.grease)
    return False


class Door:
    """Takes connections on one address and hands them on to a server on this machine."""

    def __init__(self, host: str, port: int, inner: int) -> None:
        self.host = host
        self.port = port
        self.inner = inner
        self.open = 0
        self.hellos: dict[int, Hello] = {}
        """By the port from which the door speaks to the server: what the server sees as its client's."""
        self.server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to listen."""
        self.server = await asyncio.start_server(self._one, self.host, self.port, limit=PIECE)

    def stop(self) -> None:
        """Take no more."""
        if self.server is not None:
            self.server.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.open >= MAX_OPEN:
            writer.close()
            return
        self.open += 1
        try:
            begun = b""
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HELLO_SECONDS):
                    begun = await _beginning(reader)
            hello = read_hello(begun)
            if hello is not None:  # what is no TLS is nobody's business here
                await self._hand_on(begun, hello, reader, writer)
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _hand_on(
        self, begun: bytes, hello: Hello, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.inner, limit=PIECE)
        port = inner_writer.get_extra_info("sockname")[1]
        self.hellos[port] = hello
        try:
            inner_writer.write(begun)
            there = asyncio.create_task(_pump(reader, inner_writer))
            back = asyncio.create_task(_pump(inner_reader, writer))
            try:
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait((there, back), timeout=HELLO_SECONDS)
            finally:
                for task in (there, back):
                    task.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        finally:
            del self.hellos[port]
            inner_writer.close()


async def _beginning(reader: asyncio.StreamReader) -> bytes:
    """Bytes until there is a whole ClientHello, or there cannot be one."""
    begun = b""
    while len(begun) < MAX_HELLO and (not begun or begun[0] == HANDSHAKE) and read_hello(begun) is None:
        piece = await reader.read(PIECE)
        if not piece:
            break
        begun += piece
    return begun


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, to its end; a side that is gone ends it."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
