"""The Optuna dashboard within the service: each of its routes behind a role.

The role is asked for where the dashboard's router has chosen the route, so there is no second
reading of methods and paths that could differ from the first.
"""

import asyncio
import functools
import gzip
import hashlib
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

import optuna_dashboard
from a2wsgi import WSGIMiddleware
from bottle import Bottle, HTTPError, HTTPResponse, Route, request
from optuna.artifacts._protocol import ArtifactStore
from optuna.storages import RDBStorage
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

from storage import Role, only_reading
from tuner.curves import FewerCurves
from tuner.renaming import Renames
from tuner.server.auth import PRINCIPAL, SUBJECT, Principal, explain_role
from tuner.server.metering import note_route
from tuner.server.pages import dashboard_page
from tuner.server.problems import problem
from tuner.server.root import root_path
from tuner.shown import CurrentStudies, ShownStorage

# A page is drawn from few requests at a time; each may hold a database connection.
_N_THREADS = 6
# Of these, for one principal; the others wait for so long.
_N_THREADS_OF_ONE = 4
_TURN_SECONDS = 30.0
# Higher takes several times as long, and saves little.
_COMPRESSION = 4

_PAGE = "/dashboard<:re:(/.*)?>"
_STATIC = "/static/<filename:path>"
# What only reads. Whatever else the dashboard has, or gets with its next version, is for admins.
READING_RULES = frozenset(
    {
        "/",
        _PAGE,
        "/api/meta",
        "/api/studies",
        "/api/studies/<study_id:int>",
        "/api/studies/<study_id:int>/param_importances",
        "/api/studies/<study_id:int>/plot/<plot_type>",
        "/artifacts/<study_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
        "/artifacts/<study_id:int>/<trial_id:int>/<artifact_id:re:[0-9a-fA-F-]+>",
        "/csv/<study_id:int>",
        "/favicon.ico",
        "/incompatible-rdb-schema",
        _STATIC,
    }
)


def required_role(route: Route) -> Role:
    """Return who may use a route of the dashboard."""
    is_reading = route.method == "GET" and route.rule in READING_RULES
    return Role.VIEWER if is_reading else Role.ADMIN


class Dashboard:
    """The dashboard as an ASGI app that trusts the gate before it to know who asks."""

    def __init__(
        self,
        storage: RDBStorage,
        artifact_store: ArtifactStore | None = None,
    ) -> None:
        # Cached: given a bare storage, the dashboard would read every trial at every refresh.
        self.shown = ShownStorage(storage)
        app = optuna_dashboard.wsgi(self.shown, artifact_store)
        assert isinstance(app, Bottle)
        app.install(FewerCurves())
        app.install(_RoleGuard(self.shown))
        app.install(Renames(storage))  # behind the guard: the last that is installed is innermost
        app.install(CurrentStudies(self.shown, app._inmemory_cache))
        self.bottle = app
        # Its types are a2wsgi's own.
        wsgi: Any = WSGIMiddleware(cast(Any, _with_usual_environment(app)), _N_THREADS)
        # A long study takes megabytes, a tenth of that compressed.
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(_N_THREADS_OF_ONE)
        )
        self._asgi = GZipMiddleware(wsgi, compresslevel=_COMPRESSION)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is a route of the dashboard's."""
        # As the dashboard itself reads it.
        place = {"REQUEST_METHOD": scope["method"], "PATH_INFO": scope["path"].rstrip("/")}
        try:
            note_route(scope, self.bottle.router.match(place)[0].rule)
        except HTTPError as error:
            answer = "There is no such page" if error.status_code == 404 else "Not so"
            methods = error.get_header("Allow")  # with 405
            headers = {"Allow": methods} if methods else None
            await problem(error.status_code, answer, headers)(scope, receive, send)
            return
        # Those who do not take what they have asked for leave threads to others.
        turns = self._turns[scope[PRINCIPAL].actor]
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await turns.acquire()
        except TimeoutError:
            busy = problem(503, "Your other requests are not done", {"Retry-After": "5"})
            await busy(scope, receive, send)
            return
        try:
            await self._asgi(scope, receive, send)
        finally:
            turns.release()


class _RoleGuard:
    """Bottle's way to wrap each route, the ones added later too."""

    name = "tuner-roles"
    api = 2

    def __init__(self, shown: ShownStorage) -> None:
        self._shown = shown

    def apply(self, callback: Callable[..., Any], route: Route) -> Callable[..., Any]:
        """Return the route's function behind its role."""
        role = required_role(route)
        ours = {"/": _lead_to_page, _PAGE: _show_page, _STATIC: _moved_script(callback)}
        answer = ours.get(route.rule, callback)

        @functools.wraps(callback)
        def guarded(**arguments: Any) -> Any:
            scope = request.environ["asgi.scope"]
            principal = scope[PRINCIPAL]
            if not principal.role.includes(role):
                return HTTPResponse({"reason": explain_role(principal, role)}, 403)
            if role is not Role.VIEWER:
                if "study_id" in arguments:  # which is another's once it is deleted
                    scope[SUBJECT] += self._shown.find_names(arguments["study_id"])
                return answer(**arguments)
            with only_reading():
                return answer(**arguments)

        return guarded


# As the dashboard's script reads it.
_STUDY_PAGE = re.compile(r"/dashboard/studies/(\d+)(?:/|$)")


def _read(name: str) -> str:
    return (Path(optuna_dashboard.__file__).parent / name).read_text(encoding="utf-8")


@functools.cache
def _index(root: str) -> str:
    return _read("index.html").replace('src="/static/', f'src="{root}/static/')


@functools.cache
def _script(root: str) -> tuple[bytes, str]:
    """Return the dashboard's script for pages below a path, compressed, and its tag.

    What it asks for, and its pages, are absolute paths in string literals.
    """
    script = re.sub(
        r"""(?<=["'`(])(?:\$\{this\.baseURL\})?(?=/(?:api|artifacts|csv|dashboard|static)\b)""",
        root,
        _read("public/bundle.js"),
    )
    compressed = gzip.compress(script.encode(), _COMPRESSION, mtime=0)
    return compressed, f'"{hashlib.sha256(compressed).hexdigest()[:32]}"'


def _moved_script(send_static: Callable[..., Any]) -> Callable[..., Any]:
    def send(filename: str) -> Any:
        root = root_path(request.environ["asgi.scope"])
        if not root or filename != "bundle.js":
            return send_static(filename=filename)  # as routes are called
        script, tag = _script(root)
        headers = {"Content-Type": "text/javascript; charset=UTF-8", "ETag": tag}
        headers["Vary"] = "Accept-Encoding"
        if tag in request.get_header("If-None-Match", ""):
            return HTTPResponse("", 304, headers)
        if "gzip" not in request.get_header("Accept-Encoding", ""):
            return HTTPResponse(gzip.decompress(script), 200, headers)
        return HTTPResponse(script, 200, headers | {"Content-Encoding": "gzip"})

    return send


def _lead_to_page() -> HTTPResponse:
    """By a path: the dashboard itself would name the host, which a proxy may have changed."""
    root = root_path(request.environ["asgi.scope"])
    return HTTPResponse("", 302, {"Location": f"{root}/dashboard"})


def _show_page(**_: Any) -> HTTPResponse:
    scope = request.environ["asgi.scope"]
    principal: Principal = scope[PRINCIPAL]
    root = root_path(scope)
    shown = _STUDY_PAGE.match(request.path)
    # What the page's script will ask for first, asked for while the script is still being loaded.
    first = f"/api/studies/{shown[1]}?after=0" if shown else None
    page = dashboard_page(_index(root), principal, root, first)
    return HTTPResponse(page, 200, {"Content-Type": "text/html; charset=UTF-8"})


def _with_usual_environment(
    app: Bottle,
) -> Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]:
    def adapted(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # static files fail without
        environ["wsgi.errors"] = sys.stderr
        answer: Iterable[bytes] = app(environ, start_response)
        return answer

    return adapted
