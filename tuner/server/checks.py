"""Refuse, before anything else looks at it, what no sound client sends: ASGI middleware."""

import asyncio

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuner.loopback import is_own_name
from tuner.server.origins import METHODS, is_plain_path
from tuner.server.problems import problem
from tuner.server.settings import ServerSettings

_LARGEST_BODY_BYTES = 1024 * 1024
_BODY_SECONDS = 20.0


class Checks:
    """Refuses odd methods and paths, foreign Host headers on loopback, and sockets."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        # A proxy on this machine passes on the name by which the world knows us.
        self._has_to_know_host = settings.is_loopback and not settings.trusted_proxies
        self._host = settings.host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is sound."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and (refusal := self._find_refusal(scope)) is not None:
            status, reason = refusal
            headers = {"Allow": ", ".join(METHODS)} if status == 405 else None
            await problem(status, reason, headers)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _find_refusal(self, scope: Scope) -> tuple[int, str] | None:
        if scope["method"] not in METHODS:
            return 405, "There is no such method here"
        if not is_plain_path(scope["path"]):
            return 400, "The path is not written plainly"
        if self._has_to_know_host and not self._is_own_host(scope):
            return 403, "This service answers to this machine's own names only"
        return None

    def _is_own_host(self, scope: Scope) -> bool:
        hosts = Headers(scope=scope).getlist("host")
        return len(hosts) == 1 and is_own_name(hosts[0], self._host)


class BodyLimit:
    """Reads a request's body before any thread is busy with it, up to a size and a time."""

    def __init__(
        self,
        app: ASGIApp,
        largest_bytes: int = _LARGEST_BODY_BYTES,
        seconds: float = _BODY_SECONDS,
    ) -> None:
        self._app = app
        self._largest_bytes = largest_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request with its whole body, and a Content-Length that is right."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                status = await self._read(scope, receive, body)
        except TimeoutError:
            status = 408
        if status is None:
            scope = _with_length(scope, len(body))
            await self._app(scope, _replay(bytes(body), receive), send)
        elif status:
            reason = {
                408: f"The body did not arrive within {self._seconds:g} s",
                413: f"The body is larger than {self._largest_bytes} bytes",
            }[status]
            await problem(status, reason, {"Connection": "close"})(scope, receive, send)

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> int | None:
        """Fill ``body``; return the status to refuse with, 0 if the client has gone."""
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > self._largest_bytes:
            return 413
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return 0
            body += message.get("body", b"")
            if len(body) > self._largest_bytes:
                return 413
            if not message.get("more_body", False):
                return None


def _with_length(scope: Scope, n_bytes: int) -> Scope:
    headers = MutableHeaders(raw=list(scope["headers"]))
    if n_bytes or "content-length" in headers or "transfer-encoding" in headers:
        # The server has undone the chunks; the dashboard would try to do so again.
        del headers["transfer-encoding"]
        headers["content-length"] = str(n_bytes)
    return {**scope, "headers": headers.raw}


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
