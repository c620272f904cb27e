"""What people see besides the dashboard: the page to sign in, and who is signed in. No scripts."""

import functools
import string
from html import escape
from importlib import resources
from urllib.parse import parse_qs

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Engine

from storage import Role, end_session
from tuner.server.auth import Principal, is_tls, read_session_cookie, session_cookie_name
from tuner.server.login import LoginRefusedError, sign_in
from tuner.server.origins import client_address, client_network, is_same_origin, safe_next
from tuner.server.problems import problem

# Each check takes 64 MiB and a core: two at a time, and a queue that is a few seconds long.
_MOST_CHECKS = 2
_LONGEST_QUEUE = 40
_LARGEST_FORM_BYTES = 8192
_FOREIGN = "This form must be sent from a page of this service, by a browser"


@functools.cache
def _read(name: str) -> str:
    return resources.files("tuner.server").joinpath(name).read_text(encoding="utf-8")


def build_pages(engine: Engine) -> APIRouter:
    """Return the routes for signing in and out."""
    router = APIRouter(include_in_schema=False)
    desk = _Desk(engine)
    router.add_api_route("/login", show_login, methods=["GET", "HEAD"])
    router.add_api_route("/login", desk.sign_in, methods=["POST"])
    router.add_api_route("/logout", desk.sign_out, methods=["POST"])
    router.add_api_route("/server.css", show_style, methods=["GET", "HEAD"])
    router.add_api_route("/readers.css", show_style_for_readers, methods=["GET", "HEAD"])
    router.add_api_route("/server.svg", show_icon, methods=["GET", "HEAD"])
    return router


def show_login(next: str = "") -> Response:  # noqa: A002 (the query's name)
    """Return the page to sign in."""
    return _login_page(next)


def show_style() -> Response:
    """Return the style of our pages."""
    return Response(_read("style.css"), media_type="text/css")


def show_style_for_readers() -> Response:
    """Return what hides from people the buttons of the dashboard that they may not press."""
    return Response(_read("readers.css"), media_type="text/css")


def show_icon() -> Response:
    """Return the icon of our pages."""
    return Response(_read("icon.svg"), media_type="image/svg+xml")


def _login_page(target: str, *, name: str = "", alert: str = "", status: int = 200) -> Response:
    page = string.Template(_read("login.html")).substitute(
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

    async def sign_in(self, request: Request) -> Response:
        """Begin a session, always a new one; else show the page again."""
        if not is_same_origin(request.scope):
            return problem(403, _FOREIGN)
        body = await request.body()
        if len(body) > _LARGEST_FORM_BYTES:
            return problem(413, "The form is too large")
        try:
            form = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
        except ValueError:
            return problem(400, "This is not the form to sign in")
        name, password, target = (form.get(key, [""])[0] for key in ("name", "password", "next"))
        if self._limiter.statistics().tasks_waiting >= _LONGEST_QUEUE:
            return _login_page(target, name=name, alert="Too busy: try again soon.", status=503)
        try:
            secret = await run_sync(
                self._check, request, name.strip().lower(), password, limiter=self._limiter
            )
        except LoginRefusedError as refusal:
            return _refuse(target, name, refusal.wait_seconds)
        response = RedirectResponse(safe_next(target), 303)
        _set_cookie(request, response, secret)
        return response

    def _check(self, request: Request, name: str, password: str) -> str:
        scope = request.scope
        secret = sign_in(
            self._engine,
            name,
            password,
            network=client_network(scope),
            address=client_address(scope),
        )
        if (old := read_session_cookie(scope)) is not None:
            end_session(self._engine, old)
        return secret

    def sign_out(self, request: Request) -> Response:
        """End the session."""
        if not is_same_origin(request.scope):
            return problem(403, _FOREIGN)
        if (secret := read_session_cookie(request.scope)) is not None:
            end_session(self._engine, secret)
        response = RedirectResponse("/login", 303)
        _set_cookie(request, response, "")
        return response

    @property
    def _limiter(self) -> anyio.CapacityLimiter:
        if self._checks is None:
            self._checks = anyio.CapacityLimiter(_MOST_CHECKS)
        return self._checks


def _refuse(target: str, name: str, wait_seconds: int) -> Response:
    if wait_seconds:
        alert = f"Too many attempts: try again in {wait_seconds} s."
        response = _login_page(target, name=name, alert=alert, status=429)
        response.headers["Retry-After"] = str(wait_seconds)
        return response
    return _login_page(target, name=name, alert="Wrong name or password.", status=401)


def _set_cookie(request: Request, response: Response, secret: str) -> None:
    """Set the session's cookie, for as long as the browser is open; without a secret, delete it."""
    response.set_cookie(
        session_cookie_name(request.scope),
        secret,
        max_age=None if secret else 0,
        path="/",
        secure=is_tls(request.scope),
        httponly=True,
        samesite="lax",
    )


def dashboard_page(index: str, principal: Principal, first: str | None = None) -> str:
    """Return the dashboard's page with a corner that says who is signed in, and signs out.

    For all but admins without the buttons that change something. ``first`` is the address that its
    script will fetch before it can draw.
    """
    if principal.via == "open":
        who = '<p id="tuner-who" class="open">Read-only: nobody has an account yet</p>'
    else:
        who = (
            '<form id="tuner-who" method="post" action="/logout">'
            f"<span>{escape(principal.name)} · {escape(principal.role)}</span>"
            '<button type="submit">Sign out</button></form>'
        )
    styles = ["/server.css"] if principal.role is Role.ADMIN else ["/server.css", "/readers.css"]
    links = "".join(f'<link rel="stylesheet" href="{style}">' for style in styles)
    if first is not None:
        links += f'<link rel="preload" as="fetch" crossorigin href="{first}">'
    return index.replace("</head>", f"{links}</head>").replace("</body>", f"{who}</body>")
