"""Who is asking: a person with a session cookie, a program with a bearer token, or nobody.

Routes say what they need by ``require(role)``; ``tuner.server.gate`` has asked before them, so a
route that says nothing is still closed to strangers.
"""

import asyncio
import functools
import re
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Engine
from starlette.datastructures import Headers
from starlette.types import Scope

from storage import Bearer, Role, find_sessions, find_tokens, has_accounts, note_use
from tuner.server.gathering import Gathered
from tuner.server.origins import find_proxy
from tuner.server.root import root_path

PRINCIPAL = "tuner.principal"  # where the gate leaves it in the ASGI scope
SUBJECT = "tuner.subject"  # where a write leaves the name of what it is about, for the audit
AUTHENTICATOR = "tuner.authenticator"  # and whom to ask again

SESSION, DEVICE = "tuner_session", "tuner_device"
# Ours are letters like these: whatever else stands in a cookie is not looked at.
_COOKIE_VALUE = re.compile(r"[A-Za-z0-9_-]{43,64}")

_ASK_AGAIN_SECONDS = 2.0


@dataclass(frozen=True)
class Principal:
    """Who is asking, as what, and with which role."""

    name: str
    role: Role
    via: Literal["user", "token", "anybody"]

    @property
    def actor(self) -> str:
        """The name as the audit has it."""
        return f"{self.via}:{self.name}" if self.name else self.via


_ANYBODY = Principal("", Role.VIEWER, "anybody")


class BadCredentialsError(Exception):
    """Credentials were sent that are not, or no longer, good."""


class NotThisMachineError(Exception):
    """Nobody has an account, and the request may come from elsewhere."""


class Authenticator:
    """Finds out who is asking; one for a process, and its event loop.

    Asks the database at each request, so that what is revoked has ended at once; but those who
    come at the same time share a statement.

    ``is_open``: as long as nobody has an account, anybody on this machine may read. This ends for
    good with the first account, so that removing the last one opens nothing.
    """

    def __init__(self, engine: Engine, *, is_open: bool) -> None:
        self._engine = engine
        self._is_open = is_open
        self._asked_at = time.monotonic()
        self._lock = threading.Lock()
        self._tokens = Gathered[str, Bearer](functools.partial(find_tokens, engine))
        self._sessions = Gathered[str, Bearer](functools.partial(find_sessions, engine))
        self._used: set[int] = set()
        self._noting: asyncio.Task[None] | None = None

    async def identify(self, scope: Scope) -> Principal | None:
        """Return who is asking, or None; raises BadCredentialsError or NotThisMachineError.

        A request with an Authorization header is a program's: its cookies count for nothing.
        """
        headers = Headers(scope=scope)
        if given := headers.getlist("authorization"):
            return await self._identify_program(given)
        if (secret := read_cookie(scope, SESSION)) is not None:
            bearer = await self._sessions.find(secret)
            if bearer is not None:
                return Principal(bearer.name, bearer.role, "user")
        if not self._is_open or not await run_in_threadpool(self._is_still_open):
            return None
        if (shown_by := find_proxy(scope)) is not None:
            raise NotThisMachineError(
                f"Nobody has an account, so the service is for this machine only, and {shown_by} "
                "says that this comes through a proxy: first `tuner user add NAME --role admin`"
            )
        return _ANYBODY

    async def _identify_program(self, given: list[str]) -> Principal:
        scheme, _, secret = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer":
            raise BadCredentialsError("Send one header `Authorization: Bearer TOKEN`")
        bearer = await self._tokens.find(secret.strip())
        if bearer is None:
            raise BadCredentialsError("The token is unknown, expired or revoked")
        if bearer.use_to_note is not None:
            self._note_use(bearer.use_to_note)
        return Principal(bearer.name, bearer.role, "token")

    def _note_use(self, token_id: int) -> None:
        """Have it noted meanwhile: a write may wait for other writers, who reads need not."""
        self._used.add(token_id)
        if self._noting is None or self._noting.done():
            self._noting = asyncio.create_task(self._note_uses())

    async def _note_uses(self) -> None:
        while self._used:
            used, self._used = self._used, set()
            await run_in_threadpool(note_use, self._engine, used)

    def _is_still_open(self) -> bool:
        """Tell whether anybody may read, as nobody has an account yet."""
        with self._lock:
            now = time.monotonic()
            if self._is_open and now - self._asked_at >= _ASK_AGAIN_SECONDS:
                self._asked_at = now
                self._is_open = not has_accounts(self._engine)
            return self._is_open


def is_tls(scope: Scope) -> bool:
    """Tell whether the browser speaks TLS, to us or to a proxy that we trust."""
    return scope.get("scheme") == "https"


def cookie_name(scope: Scope, cookie: str) -> str:
    """Return a cookie's name, which is another one behind TLS.

    There the browser itself keeps it from being set by other hosts, or without TLS. Below a path,
    which ``__Host-`` forbids, other services of the host are not sent it.
    """
    if not is_tls(scope):
        return cookie
    return f"__Secure-{cookie}" if root_path(scope) else f"__Host-{cookie}"


def read_cookie(scope: Scope, cookie: str) -> str | None:
    """Return a cookie of ours; None if there is none, more than one, or it cannot be ours."""
    pairs = ";".join(Headers(scope=scope).getlist("cookie")).split(";")
    split = [pair.strip().partition("=") for pair in pairs]
    found = [value for key, _, value in split if key == cookie_name(scope, cookie)]
    return found[0] if len(found) == 1 and _COOKIE_VALUE.fullmatch(found[0]) else None


def get_principal(request: Request) -> Principal:
    """Return who is asking; on a public path, where nobody was asked, raises HTTPException 401."""
    principal = request.scope.get(PRINCIPAL)
    if not isinstance(principal, Principal):
        raise HTTPException(401, "Sign in, or send a token", {"WWW-Authenticate": "Bearer"})
    return principal


async def is_still_let_in(request: Request) -> bool:
    """Tell whether who asked may go on listening, as nothing has changed about them."""
    try:
        now = await request.scope[AUTHENTICATOR].identify(request.scope)
    except (BadCredentialsError, NotThisMachineError):
        return False
    return bool(now == get_principal(request))


def require(role: Role) -> Callable[[Request], Awaitable[Principal]]:
    """Return a dependency that lets a role pass, and those above it; else 403."""

    async def check(request: Request) -> Principal:  # as a plain function it would take a thread
        principal = get_principal(request)
        if not principal.role.includes(role):
            raise HTTPException(403, explain_role(principal, role))
        return principal

    return check


def explain_role(principal: Principal, role: Role) -> str:
    """Say what is missing."""
    if principal.via == "anybody":
        return "Read-only, as nobody has an account: see `tuner user add`"
    return f"This needs the role {role}; {principal.actor} is {principal.role}"
