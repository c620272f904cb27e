"""Serve the Optuna dashboard on a storage: read-only unless asked, for this machine unless asked.

The dashboard itself knows no read-only mode and no login; every write is a request other than
GET, so a layer in front of it refuses those.
"""

import logging
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import optuna_dashboard

from storage import open_storage
from tuner.curves import FewerCurves
from tuner.errors import TunerError, UsageError
from tuner.loopback import is_loopback, is_own_name
from tuner.renaming import Renames
from tuner.shown import CurrentStudies, ShownStorage

logger = logging.getLogger(__name__)

_READING = ("GET", "HEAD", "OPTIONS")


def build_app(storage_url: str, *, is_writable: bool) -> WSGIApplication:
    """Return the dashboard as a WSGI app; raises StorageError.

    The storage is cached: given a URL, the dashboard would read every trial at every refresh.
    """
    storage = open_storage(storage_url, read_only=not is_writable)
    shown = ShownStorage(storage)
    dashboard = optuna_dashboard.wsgi(shown)
    dashboard.install(FewerCurves())
    dashboard.install(Renames(storage))
    dashboard.install(CurrentStudies(shown, dashboard._inmemory_cache))
    app: WSGIApplication = dashboard
    return app if is_writable else _allow(app, _reads, "405 Method Not Allowed", _READ_ONLY)


_READ_ONLY = "This dashboard is read-only; start it with --writable to change studies."
_FOREIGN = "A write must come from a page of this dashboard."
_WRONG_HOST = "This dashboard answers to this machine's own names only."


def serve(
    storage_url: str, host: str, port: int, *, is_writable: bool, on_start: Callable[[str], None]
) -> None:
    """Serve until interrupted; ``on_start`` gets the address once the port is open."""
    if not host:
        raise UsageError("--host is empty: give an address, e.g. 127.0.0.1")
    app = build_app(storage_url, is_writable=is_writable)
    if is_loopback(host):
        app = _allow(
            app,
            lambda environ: is_own_name(environ.get("HTTP_HOST", ""), host),
            "403 Forbidden",
            _WRONG_HOST,
        )
    app = _allow(app, _is_own_page, "403 Forbidden", _FOREIGN)
    try:
        server = make_server(
            host, port, app, server_class=_ThreadingServer, handler_class=_QuietHandler
        )
    except OSError as error:
        raise TunerError(
            f"Cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
        ) from error
    with server:
        on_start(f"http://{host}:{server.server_port}/dashboard")
        server.serve_forever()


def _is_own_page(environ: WSGIEnvironment) -> bool:
    """Tell whether a write is not of another site's page, as far as a browser says."""
    if environ["REQUEST_METHOD"] in _READING:
        return True
    site, origin = environ.get("HTTP_SEC_FETCH_SITE"), environ.get("HTTP_ORIGIN")
    if site is not None:
        return bool(site == "same-origin")
    return origin is None or origin.partition("://")[2] == environ.get("HTTP_HOST")


def _reads(environ: WSGIEnvironment) -> bool:
    return environ["REQUEST_METHOD"] in _READING


def _allow(
    app: WSGIApplication, test: Callable[[WSGIEnvironment], bool], status: str, reason: str
) -> WSGIApplication:
    """Return the app behind a test of its requests."""

    def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if test(environ):
            return app(environ, _without_frames(start_response))
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{reason}\n".encode()]

    return guarded


def _without_frames(start_response: StartResponse) -> StartResponse:
    """Let no other page show this one within itself, where a click is not what it seems."""

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        own = [("Content-Security-Policy", "frame-ancestors 'self'")]
        return start_response(status, [*headers, *own], *more)

    return start


class _ThreadingServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _QuietHandler(WSGIRequestHandler):
    """Log requests for those who debug, instead of printing each."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        logger.debug(format, *args)
