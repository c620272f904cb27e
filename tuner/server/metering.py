"""Count the requests and their latency, by route: ASGI middleware, the outermost layer.

By the route's template, never by the path that was asked for: there are as many of those as
somebody cares to send.
"""

import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuner.server.origins import METHODS

# Where the layers within leave the template, once it is known.
_ROUTE = "tuner.route"
# Of what was refused before its route was looked for, or has none.
_NO_ROUTE = "none"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def note_route(scope: Scope, template: str) -> None:
    """Say by which route a request is answered."""
    scope.get(_ROUTE, {})["template"] = template


class RouteNotes:
    """Notes the routes of a FastAPI app, whose scope knows them once they are chosen."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""

        async def noting(message: Message) -> None:
            if (route := scope.get("route")) is not None:
                note_route(scope, route.path)
            await send(message)

        await self._app(scope, receive, noting)


class Meter:
    """Counts each answer when it begins: those that go on and on, too."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "tuner_http_requests",
            "Requests by method, template of the route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "tuner_http_request_seconds",
            "Time until the answer began, by method and template of the route.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        note: dict[str, Any] = {"template": _NO_ROUTE}

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in METHODS else "other"
                route = note["template"]
                self._requests.labels(method, route, message["status"]).inc()
                self._seconds.labels(method, route).observe(time.perf_counter() - started)
            await send(message)

        await self._app({**scope, _ROUTE: note}, receive, counting)
