"""How much of the service one may take, and all together: ASGI middleware, and counters.

What is refused is refused at once, with the advice to try again.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from tuner.server.problems import problem

MOST_REQUESTS = 900  # fewer than connections: whoever looks after us finds one that is free
MOST_OF_ONE = 250
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
_SOON = {"Retry-After": "5"}


class TooMuchError(Exception):
    """A share is used up."""


class Shares:
    """Counts what each has at the moment; belongs to one event loop."""

    def __init__(self, most_of_one: int, most: int | None = None) -> None:
        self._most_of_one = most_of_one
        self._most = most
        self._taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def taking(self, who: str, n: int = 1) -> Iterator[None]:
        """Take ``n`` for as long as the context lasts; raises TooMuchError."""
        is_full = self._most is not None and self._taken.total() + n > self._most
        if is_full or self._taken[who] + n > self._most_of_one:
            raise TooMuchError
        self._taken[who] += n
        try:
            yield
        finally:
            self._taken[who] -= n
            if not self._taken[who]:
                del self._taken[who]


class Crowd:
    """Refuses requests while very many are under way, but never to say whether we are well."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._all = Shares(MOST_REQUESTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, if there is room."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._all.taking("all"))
            except TooMuchError:
                await problem(503, "Too many requests at once", _SOON)(scope, receive, send)
                return
            await self._app(scope, receive, send)
