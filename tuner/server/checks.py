"""Refuse, before anything else looks at it, what no sound client sends: ASGI middleware."""

import asyncio
import contextlib
import logging

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuner.loopback import is_own_name
from tuner.server.auth import PRINCIPAL
from tuner.server.origins import METHODS, is_plain_path
from tuner.server.problems import problem, refuse
from tuner.server.settings import ServerSettings
from tuner.server.shares import Shares, TooMuchError

logger = logging.getLogger(__name__)

_LARGEST_COOKIE_BYTES = 8192  # of all cookies of the host together; proxies take no more either
# Of those who are let in; of strangers, who have nothing to send but the form to sign in.
_LARGEST_BODY_BYTES, _BODY_SECONDS = 1024 * 1024, 20.0
_LARGEST_FORM_BYTES, _FORM_SECONDS = 8192, 5.0
# What bodies may take in memory: of one, and all together.
_BODIES_OF_ONE_BYTES, _BODIES_BYTES = 16 * 1024 * 1024, 64 * 1024 * 1024
_TWO_LENGTHS = "A body has one length: Content-Length or Transfer-Encoding, not both"
_UNKNOWN_PROXY = (
    "Requests say X-Forwarded-For, and nobody is trusted to: if a proxy sends them, name its "
    "address in --trusted-proxy, or all of its clients count as one"
)
_WRONG_HOST = (
    "This service answers to this machine's own names only, not to {host}: behind a proxy, start "
    "it with --trusted-proxy and the proxy's address, 127.0.0.1 if it is on this machine"
)


class Checks:
    """Refuses odd methods and paths, foreign Host headers on loopback, and sockets."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        # A proxy on this machine passes on the name by which the world knows us.
        self._has_to_know_host = settings.is_loopback and not settings.trusted_proxies
        self._host = settings.host
        self._warns_of_proxy = not settings.trusted_proxies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is sound."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and (refusal := self._find_refusal(scope)) is not None:
            status, reason, headers = refusal
            await refuse(scope, status, reason, headers)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _find_refusal(self, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        headers = Headers(scope=scope)
        if self._warns_of_proxy and "x-forwarded-for" in headers:
            self._warns_of_proxy = False
            logger.warning(_UNKNOWN_PROXY)
        if "content-length" in headers and "transfer-encoding" in headers:
            return 400, _TWO_LENGTHS, {"Connection": "close"}  # or a part would be a request
        if scope["method"] not in METHODS:
            return 405, "There is no such method here", {"Allow": ", ".join(METHODS)}
        if not is_plain_path(scope["path"]):
            return 400, "The path is not written plainly", {}
        if sum(map(len, headers.getlist("cookie"))) > _LARGEST_COOKIE_BYTES:
            return 431, f"The cookies have over {_LARGEST_COOKIE_BYTES} bytes: delete them", {}
        if self._has_to_know_host and not self._is_own_host(scope):
            return 403, _WRONG_HOST.format(host=headers.get("host", "none")), {}
        return None

    def _is_own_host(self, scope: Scope) -> bool:
        hosts = Headers(scope=scope).getlist("host")
        return len(hosts) == 1 and is_own_name(hosts[0], self._host)


class BodyLimit:
    """Reads a request's body before any thread is busy with it, up to a size and a time.

    Behind the gate: what strangers send is not read, but for the form to sign in.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._bodies = Shares(_BODIES_OF_ONE_BYTES, _BODIES_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on the request with its whole body, and a Content-Length that is right."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        principal = scope.get(PRINCIPAL)
        is_stranger = principal is None
        largest = _LARGEST_FORM_BYTES if is_stranger else _LARGEST_BODY_BYTES
        seconds = _FORM_SECONDS if is_stranger else _BODY_SECONDS
        headers = Headers(scope=scope)
        length = headers.get("content-length", "0")
        announced = largest if "transfer-encoding" in headers else int(length)
        refusal = (413, f"The body is larger than {largest} bytes")
        with contextlib.ExitStack() as stack:
            if announced <= largest:
                try:
                    who = "strangers" if principal is None else principal.actor
                    stack.enter_context(self._bodies.taking(who, announced))
                    async with asyncio.timeout(seconds):
                        body = await _read(receive, largest)
                except TooMuchError:
                    refusal = (503, "Too many bodies at once: try again")
                except TimeoutError:
                    refusal = (408, f"The body did not arrive within {seconds:g} s")
                except ClientDisconnect:
                    return
                else:
                    if body is not None:
                        scope = _with_length(scope, len(body))
                        await self._app(scope, _replay(body, receive), send)
                        return
            answer = problem(*refusal, {"Connection": "close"})
            await answer(scope, receive, send)


async def _read(receive: Receive, largest_bytes: int) -> bytes | None:
    """Return the whole body, None if it is too large; raises ClientDisconnect."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > largest_bytes:
            return None
        if not message.get("more_body", False):
            return bytes(body)


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
