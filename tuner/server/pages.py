"""What people see besides the dashboard: the page to sign in, and who is signed in. No scripts."""

from collections.abc import Callable
from html import escape
from urllib.parse import parse_qs

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Engine

from storage import Role, end_session
from tuner.server.auth import DEVICE, SESSION, Principal, cookie_name, is_tls, read_cookie
from tuner.server.login import Attempt, LoginRefusedError, look_at, sign_in, sign_out
from tuner.server.origins import client_address, client_network, explain_foreign, safe_next
from tuner.server.problems import fill_in, problem, read_part, refuse
from tuner.server.root import root_path
from tuner.server.shares import Shares, TooMuchError

# Each check takes 64 MiB and a core: two at a time, and a queue that is a few seconds long, a
# share of it for each network, and each device.
_MOST_CHECKS = 2
_LONGEST_QUEUE = 40
_MOST_OF_ONE = 8
_DEVICE_SECONDS = 180 * 24 * 3600
_FOREIGN = "This form must be sent from a page of this service, by a browser"
# The second hides from people the buttons of the dashboard that they may not press.
_PARTS = (
    ("/server.css", "style.css", "text/css"),
    ("/readers.css", "readers.css", "text/css"),
    ("/server.svg", "icon.svg", "image/svg+xml"),
)


def build_pages(engine: Engine) -> APIRouter:
    """Return the routes for signing in and out."""
    router = APIRouter(include_in_schema=False)
    desk = _Desk(engine)
    router.add_api_route("/login", show_login, methods=["GET", "HEAD"])
    router.add_api_route("/login", desk.sign_in, methods=["POST"])
    router.add_api_route("/logout", desk.sign_out, methods=["POST"])
    for path, name, media_type in _PARTS:
        router.add_api_route(path, _part(name, media_type), methods=["GET", "HEAD"])
    return router


def show_login(request: Request, next: str = "") -> Response:  # noqa: A002 (the query's name)
    """Return the page to sign in."""
    return _login_page(request, next)


def _part(name: str, media_type: str) -> Callable[[], Response]:
    return lambda: Response(read_part(name), media_type=media_type)


def _login_page(
    request: Request, target: str, *, name: str = "", alert: str = "", status: int = 200
) -> Response:
    page = fill_in(
        "login.html",
        root=root_path(request.scope),
        next=escape(safe_next(target)),
        name=escape(name),
        alert=f'<p class="alert" role="alert">{escape(alert)}</p>' if alert else "",
        focus_name="" if name else "autofocus",
        focus_password="autofocus" if name else "",
    )
    return HTMLResponse(page, status)


class _Desk:
    """Where people sign in and out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._checks: anyio.CapacityLimiter | None = None  # belongs to a running loop
        self._queue = Shares(_MOST_OF_ONE, _LONGEST_QUEUE)

    async def sign_in(self, request: Request) -> Response:
        """Begin a session, always a new one; else show the page again."""
        if (foreign := explain_foreign(request.scope, _FOREIGN)) is not None:
            return refuse(request.scope, 403, foreign)
        body = await request.body()
        try:
            form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
        except ValueError:
            return problem(400, "This is not the form to sign in")
        name, password, target = (form.get(key, [""])[0] for key in ("name", "password", "next"))
        try:
            attempt = await run_in_threadpool(self._look, request, name.strip().lower())
            secret, device = await self._check(attempt, password)
        except LoginRefusedError as refusal:
            return _refuse(request, target, name, refusal.wait_seconds)
        except TooMuchError:
            alert = "Too busy: try again soon."
            return _login_page(request, target, name=name, alert=alert, status=503)
        if (old := read_cookie(request.scope, SESSION)) is not None:
            await run_in_threadpool(end_session, self._engine, old)
        response = RedirectResponse(root_path(request.scope) + safe_next(target), 303)
        _set_cookie(request, response, SESSION, secret)
        _set_cookie(request, response, DEVICE, device, _DEVICE_SECONDS)
        return response

    def _look(self, request: Request, name: str) -> Attempt:
        return look_at(
            self._engine,
            name,
            network=client_network(request.scope),
            address=client_address(request.scope),
            device_cookie=read_cookie(request.scope, DEVICE),
        )

    async def _check(self, attempt: Attempt, password: str) -> tuple[str, str]:
        """Wait for one's turn, and sign in."""
        who = max(attempt.paces)  # the network; a device has a share of its own
        with self._queue.taking(who):
            return await run_sync(sign_in, self._engine, attempt, password, limiter=self._limiter)

    def sign_out(self, request: Request) -> Response:
        """End the session."""
        if (foreign := explain_foreign(request.scope, _FOREIGN)) is not None:
            return refuse(request.scope, 403, foreign)
        if (secret := read_cookie(request.scope, SESSION)) is not None:
            sign_out(self._engine, secret, client_address(request.scope))
        response = RedirectResponse(f"{root_path(request.scope)}/login", 303)
        _set_cookie(request, response, SESSION, "", 0)
        return response

    @property
    def _limiter(self) -> anyio.CapacityLimiter:
        if self._checks is None:
            self._checks = anyio.CapacityLimiter(_MOST_CHECKS)
        return self._checks


def _refuse(request: Request, target: str, name: str, wait_seconds: int) -> Response:
    if wait_seconds:
        alert = f"Too many attempts: try again in {wait_seconds} s."
        response = _login_page(request, target, name=name, alert=alert, status=429)
        response.headers["Retry-After"] = str(wait_seconds)
        return response
    alert = "Wrong name or password."
    return _login_page(request, target, name=name, alert=alert, status=401)


def _set_cookie(
    request: Request, response: Response, cookie: str, value: str, max_age: int | None = None
) -> None:
    """Set a cookie for so many seconds, or for as long as the browser is open; 0 deletes it."""
    response.set_cookie(
        cookie_name(request.scope, cookie),
        value,
        max_age=max_age,
        path=root_path(request.scope) or "/",
        secure=is_tls(request.scope),
        httponly=True,
        samesite="lax",
    )


def dashboard_page(
    index: str, principal: Principal, root: str = "", first: str | None = None
) -> str:
    """Return the dashboard's page with a corner that says who is signed in, and signs out.

    For all but admins without the buttons that change something. ``root`` is the path below which
    all stands, ``first`` the address that its script will fetch before it can draw.
    """
    if principal.via == "anybody":
        who = '<p id="tuner-who" class="open">Read-only: nobody has an account yet</p>'
    else:
        who = (
            f'<form id="tuner-who" method="post" action="{root}/logout">'
            f"<span>{escape(principal.name)} · {escape(principal.role)}</span>"
            '<button type="submit">Sign out</button></form>'
        )
    styles = ["/server.css"] if principal.role is Role.ADMIN else ["/server.css", "/readers.css"]
    links = f'<link rel="icon" href="{root}/favicon.ico">'  # or browsers ask for the host's
    links += "".join(f'<link rel="stylesheet" href="{root}{style}">' for style in styles)
    if first is not None:
        links += f'<link rel="preload" as="fetch" crossorigin href="{root}{first}">'
    return index.replace("</head>", f"{links}</head>").replace("</body>", f"{who}</body>")
