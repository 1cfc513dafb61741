"""HTTP/3 of aioquic: a server, and one request.

python -m lab.quic serve ADDRESS PEM SHA256... | ask SERVER NAME SPORT
"""

from __future__ import annotations

import asyncio
import ssl
import sys

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import HandshakeCompleted, ProtocolNegotiated, QuicEvent

from lab import journal


class Server(QuicConnectionProtocol):
    """Answers every request with an empty page."""

    http: H3Connection | None = None
    chain: tuple[str, ...] = ()
    local = ("", 443)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            peer = self._quic._network_paths[0].addr
            name = self._quic.tls._server_name
            more = {"server_name": name, "chain": list(self.chain), "version": "TLSv1.3"}
            journal.note("origin", "answered", peer[:2], self.local, **more)
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        if self.http:
            for found in self.http.handle_event(event):
                if isinstance(found, HeadersReceived):
                    self.http.send_headers(found.stream_id, [(b":status", b"200")], end_stream=True)
                    self.transmit()


async def server(address: str, pem: str, *chain: str) -> None:
    Server.chain, Server.local = chain, (address, 443)
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"])
    configuration.load_cert_chain(pem, pem)
    await serve(address, 443, configuration=configuration, create_protocol=Server)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def ask(address: str, name: str, sport: int) -> None:
    configuration = QuicConfiguration(alpn_protocols=["h3"], server_name=name, verify_mode=ssl.CERT_NONE)
    async with connect(address, 443, configuration=configuration, local_port=sport) as client:
        await client.ping()
    journal.note("client", "tried", ("client", sport), (address, 443), server_name=name, tool="quic")


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(server(*sys.argv[2:]))
    else:
        asyncio.run(ask(sys.argv[2], sys.argv[3], int(sys.argv[4])))
