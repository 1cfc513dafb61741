"""Deadlines for the head of a request, and for a body that nobody waits for: a silent or a slow connection holds none
of the file descriptors for long.

Bodies that are read have their own (receive.py).
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def within(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP/1.1, which waits so long for the whole head of a request, or for the rest of an answered one."""

    class Prompt(H11Protocol):
        late: asyncio.TimerHandle | None = None
        """Set while the head of a request is waited for."""
        rest: asyncio.TimerHandle | None = None
        """Set while the rest of a body comes whose request is answered already."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.late = self.loop.call_later(seconds, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._in_time()
            elif self.late is None:  # a further request has begun; until then, timeout_keep_alive runs
                self.late = self.loop.call_later(seconds, self.transport.abort)

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.conn.their_state is h11.SEND_BODY and self.rest is None:
                self.rest = self.loop.call_later(seconds, self._cut, self.cycle)

        def _cut(self, answered: object) -> None:
            """End the connection, unless the rest came and another request goes on."""
            self.rest = None
            if self.cycle is answered and self.conn.their_state is h11.SEND_BODY:
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            if self.rest is not None:
                self.rest.cancel()
            super().connection_lost(exc)

        def _in_time(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return Prompt
