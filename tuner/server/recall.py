"""Who was let in lately: for what has to answer while the database, which knows them, is away."""

import asyncio
import functools
import hashlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Scope

from storage import UnreachableError
from tuner.server.auth import BadCredentialsError, Principal
from tuner.server.shared_look import PATIENCE_SECONDS

# What shows nothing of the database while that is away.
RECALLING_PATHS = frozenset({"/metrics"})

# One that is revoked meanwhile is refused as soon as the database answers again.
_SECONDS = 3600.0
_MOST = 64


class Recall:
    """Programs whose tokens were good within an hour, by digest; belongs to one event loop."""

    def __init__(
        self,
        identify: Callable[[Scope], Coroutine[Any, Any, Principal | None]],
        clock: Callable[[], float] = time.monotonic,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._identify = identify
        self._clock = clock
        self._patience_seconds = patience_seconds
        self._known: dict[bytes, tuple[Principal, float]] = {}

    async def identify(self, scope: Scope) -> Principal | None:
        """Return who is asking by the database or, if that is away, by memory.

        Raises BadCredentialsError, and the database's error where memory does not help.
        """
        token = Headers(scope=scope).get("authorization", "").encode()
        key = hashlib.sha256(token).digest()
        asking = asyncio.create_task(self._identify(scope))
        asking.add_done_callback(functools.partial(self._hear, key))
        done, _ = await asyncio.wait([asking], timeout=self._patience_seconds)
        if not done:
            if key not in self._known:
                asking.cancel()  # or strangers would fill the memory as long as a database hangs
            return self._find(key, UnreachableError("The database does not answer"))
        error = asking.exception()
        if error is None:
            return asking.result()
        if isinstance(error, BadCredentialsError):
            raise error
        return self._find(key, error)

    def _hear(self, key: bytes, asking: asyncio.Future[Principal | None]) -> None:
        """Keep what the database says, also where it says so too late for an answer."""
        if asking.cancelled():
            return
        error = asking.exception()
        if error is None:
            self._note(key, asking.result())
        elif isinstance(error, BadCredentialsError):
            self._known.pop(key, None)

    def _note(self, key: bytes, principal: Principal | None) -> None:
        if principal is not None and principal.via == "token":
            self._known.pop(key, None)
            self._known[key] = principal, self._clock() + _SECONDS
            if len(self._known) > _MOST:
                del self._known[next(iter(self._known))]

    def _find(self, key: bytes, error: BaseException) -> Principal:
        principal, until = self._known.get(key, (None, 0.0))
        if principal is None or until <= self._clock():
            raise error
        return principal
