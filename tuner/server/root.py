"""Below which path of its host the service stands, for those who share a host: ASGI middleware.

Within, paths are those of a service that has a host of its own; what is sent to browsers asks here.
Not ASGI's ``root_path``: routers would strip that a second time, from paths that the gate has seen.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

_ROOT = "tuner.root"


class Root:
    """Takes the path below which we stand from requests, where the proxy has not done so."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a path of ours."""
        if scope["type"] == "http" and self._path:
            scope = {**scope, "path": self._strip(scope["path"]), _ROOT: self._path}
        await self._app(scope, receive, send)

    def _strip(self, path: str) -> str:
        if path == self._path:
            return "/"
        return path.removeprefix(self._path) if path.startswith(f"{self._path}/") else path


def root_path(scope: Scope) -> str:
    """Return what stands before each of our paths in a browser: empty, or e.g. ``/tuner``."""
    root: str = scope.get(_ROOT, "")
    return root
