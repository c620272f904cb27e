"""The only way in: nothing but the few public paths answers before it is known who asks.

ASGI middleware. Deny by default: a route that says nothing about roles is for those who may read,
and its writes are for operators. Every write is in the audit before its answer is sent.
"""

import re
from urllib.parse import quote

from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import Engine
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from storage import Role, record_action
from tuner.server.auth import (
    AUTHENTICATOR,
    PRINCIPAL,
    SUBJECT,
    Authenticator,
    BadCredentialsError,
    NotThisMachineError,
    Principal,
    explain_role,
)
from tuner.server.origins import READING, client_address, explain_foreign
from tuner.server.problems import answer_error, problem, refuse
from tuner.server.recall import RECALLING_PATHS, Recall
from tuner.server.root import root_path
from tuner.server.shares import MOST_OF_ONE, Shares, TooMuchError

# What answers to anybody, and looks after itself.
_PAGES = frozenset({"/login", "/logout", "/server.css", "/readers.css", "/server.svg"})
_FOREIGN = "A write must come from a page of this service; programs send a token"
_NOT_JSON = "The body is taken as JSON only: send Content-Type: application/json"
PUBLIC_PATHS = _PAGES | {"/healthz", "/readyz"}


class Gate:
    """Asks who it is, refuses writes by those who may only read, and records the others."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, engine: Engine) -> None:
        self._app = app
        self._authenticator = authenticator
        self._recall = Recall(authenticator.identify)
        self._engine = engine
        self._shares = Shares(MOST_OF_ONE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what is allowed, with the principal in the scope."""
        if scope["type"] != "http" or scope["path"] in PUBLIC_PATHS:
            await self._app(scope, receive, send)
            return
        try:
            principal = await self._identify(scope)
        except BadCredentialsError as error:
            await _unauthorized(str(error))(scope, receive, send)
            return
        except NotThisMachineError as error:
            await refuse(scope, 403, str(error))(scope, receive, send)
            return
        except Exception as error:  # noqa: BLE001 (translated; a stranger's request ends nothing)
            await answer_error(error)(scope, receive, send)
            return
        if principal is None:
            await _ask_to_sign_in(scope)(scope, receive, send)
            return
        scope = {**scope, PRINCIPAL: principal, AUTHENTICATOR: self._authenticator, SUBJECT: []}
        try:
            with self._shares.taking(principal.actor):
                await self._let_in(scope, principal, receive, send)
        except TooMuchError:
            answer = problem(429, "Too many requests at once: wait for some", {"Retry-After": "5"})
            await answer(scope, receive, send)

    async def _let_in(
        self, scope: Scope, principal: Principal, receive: Receive, send: Send
    ) -> None:
        if scope["method"] in READING:
            await self._app(scope, receive, send)
        elif (refusal := _find_refusal(scope, principal)) is not None:
            await refuse(scope, 403, refusal)(scope, receive, send)
        else:
            app = self._app if _can_be_read(scope) else problem(415, _NOT_JSON)
            await app(scope, receive, self._recording(scope, principal, send))

    async def _identify(self, scope: Scope) -> Principal | None:
        if scope["path"] in RECALLING_PATHS and scope["method"] in READING:
            return await self._recall.identify(scope)
        return await self._authenticator.identify(scope)

    def _recording(self, scope: Scope, principal: Principal, send: Send) -> Send:
        is_lost = False

        async def recorded(message: Message) -> None:
            nonlocal is_lost
            if is_lost:
                return
            if message["type"] == "http.response.start":
                action = f"{message['status']} {scope['method']} {scope['path']}"
                action += "".join(f" of {name!r}" for name in scope[SUBJECT])
                try:
                    await run_in_threadpool(
                        record_action, self._engine, principal.actor, action, client_address(scope)
                    )
                except Exception as error:  # noqa: BLE001 (translated, as above)
                    is_lost = True
                    await answer_error(error)(scope, _no_body, send)
                    return
            await send(message)

        return recorded


async def _no_body() -> Message:
    return {"type": "http.disconnect"}


def _find_refusal(scope: Scope, principal: Principal) -> str | None:
    if not principal.role.includes(Role.OPERATOR):
        return explain_role(principal, Role.OPERATOR)
    return explain_foreign(scope, _FOREIGN) if principal.via == "user" else None


def _can_be_read(scope: Scope) -> bool:
    """Tell whether a write's body, if it has one, says that it is JSON."""
    headers = Headers(scope=scope)
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or re.fullmatch(r"application/[^/]+\+json", kind)
    return bool(is_json) or headers.get("content-length", "0") == "0"


def _ask_to_sign_in(scope: Scope) -> Response:
    wants_page = "text/html" in Headers(scope=scope).get("accept", "")
    if scope["method"] not in READING or not wants_page:
        return _unauthorized("Sign in, or send a token")
    target = scope["path"]
    if scope["query_string"]:
        target += "?" + scope["query_string"].decode("latin-1")
    return RedirectResponse(f"{root_path(scope)}/login?next={quote(target, safe='/')}", 303)


def _unauthorized(detail: str) -> Response:
    return problem(401, detail, {"WWW-Authenticate": 'Bearer realm="tuner"'})
