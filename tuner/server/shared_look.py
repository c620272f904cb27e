"""What many want to know of the database, looked up once for all, and never waited for long."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
from anyio.to_thread import run_sync

from storage import explain_database_error

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = 2.0
_FRESH_SECONDS = 1.0
# What takes long is kept longer, so that looking takes a twentieth of the database's time at most.
_FRESH_PER_SECOND = 20.0


class SharedLook(Generic[T]):
    """Looks at the database for all who ask; belongs to one event loop.

    However many ask, and however long the database hangs, one thread at most is busy with it.
    What was seen is kept for a second, or up to ``longest_seconds`` where looking takes long.
    """

    def __init__(self, look: Callable[[], T], longest_seconds: float = _FRESH_SECONDS) -> None:
        self._look = look
        self._longest_seconds = longest_seconds
        self._seen: T | None = None
        self._fresh_until = 0.0
        self._running: asyncio.Future[None] | None = None

    async def get(self) -> T | None:
        """Return what was seen a moment ago; None if the database does not answer in time."""
        if time.monotonic() < self._fresh_until:
            return self._seen
        if self._running is None or self._running.done():
            self._running = asyncio.ensure_future(
                run_sync(self._look_now, limiter=anyio.CapacityLimiter(1))  # whatever others do
            )
        done, _ = await asyncio.wait([self._running], timeout=PATIENCE_SECONDS)
        return self._seen if done else None

    def _look_now(self) -> None:
        started = time.monotonic()
        seen, seconds = None, _FRESH_SECONDS
        try:
            seen = self._look()
            seconds = max(seconds, _FRESH_PER_SECOND * (time.monotonic() - started))
        except Exception as error:
            if (explanation := explain_database_error(error)) is None:
                logger.exception("Could not look at the database")
            else:
                logger.error("%s", explanation)
        self._seen = seen
        self._fresh_until = time.monotonic() + min(seconds, self._longest_seconds)
