"""What a connection may cost before it is known who has opened it.

Uvicorn waits for ever for a request's head, and for a client that does not read its answer; here
both have a time. Where there are too many connections, those without a request make room.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# For the whole head, however slowly it comes; a browser sends it at once.
HEAD_SECONDS = 10.0
# For the next 48 KiB of an answer to be taken: 13 kbit/s.
STALL_SECONDS = 30.0
MOST_CONNECTIONS = 1000


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, which closes what does not go on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_deadline: asyncio.TimerHandle | None = None
        self._stall_deadline: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Tell whether no request of this connection is under way."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection in, if need be in place of the one that has been idle for longest."""
        super().connection_made(transport)
        self._idle_since = self.loop.time()
        if len(self.connections) > MOST_CONNECTIONS:
            ours = [one for one in self.connections if isinstance(one, BoundedProtocol)]
            idle = [one for one in ours if one.is_idle]
            min(idle, key=lambda one: one._idle_since).close_now()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Read on; a head that has begun has no more time because a byte of it has come."""
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._forget_head()
        self._forget_stall()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not for ever."""
        super().pause_writing()
        self._stall_deadline = self.loop.call_later(STALL_SECONDS, self.close_now)

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        self._forget_stall()

    def close_now(self) -> None:
        """Close the connection, whatever is still to be sent."""
        self.connections.discard(self)
        self.transport.abort()

    def _watch_head(self) -> None:
        if not self.is_idle:
            self._forget_head()
        elif self._head_deadline is None:
            self._head_deadline = self.loop.call_later(HEAD_SECONDS, self._close_idle)

    def _forget_head(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _forget_stall(self) -> None:
        if self._stall_deadline is not None:
            self._stall_deadline.cancel()

    def _close_idle(self) -> None:
        if self.is_idle:
            self.close_now()
