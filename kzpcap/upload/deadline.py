"""A deadline for the head of a request: a connection that says nothing, or little by little, holds no file descriptor.

Bodies have their own (receive.py), and answers that nobody fetches hold nothing but their connection.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def within(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's HTTP/1.1, which ends a connection whose next request has not come whole after so long."""

    class Prompt(H11Protocol):
        late: asyncio.TimerHandle | None = None
        """Set while the head of a request is waited for."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.late = self.loop.call_later(seconds, transport.abort)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state is not h11.IDLE:
                self._in_time()
            elif self.late is None:  # a further request has begun; until then, timeout_keep_alive runs
                self.late = self.loop.call_later(seconds, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._in_time()
            super().connection_lost(exc)

        def _in_time(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return Prompt
