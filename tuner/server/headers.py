"""The headers that tell browsers what a page may do: ASGI middleware, the outermost layer."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FRAME = "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"

# Our own pages: no script at all.
_OWN = f"default-src 'none'; style-src 'self'; img-src 'self'; {_FRAME}"

# The dashboard's bundle: Material UI writes <style> elements, regl compiles the parallel
# coordinates' WebGL by `new Function` (without it, the plot says "WebGL is not supported"), plots
# test the browser by an image given as data, and are saved as a picture by way of a blob.
_DASHBOARD = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    f"img-src 'self' data: blob:; connect-src 'self'; {_FRAME}"
)

# Whatever somebody uploads: neither shown nor run on our origin.
_ARTIFACT = "default-src 'none'; sandbox; frame-ancestors 'none'"

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With "no-referrer", browsers would hide the Origin of our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class SecurityHeaders:
    """Sets the headers on every answer, in place of what the dashboard says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and set the headers of its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                _set_headers(headers, scope["path"])
                if scope["scheme"] == "https":
                    headers["Strict-Transport-Security"] = "max-age=31536000"
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _set_headers(headers: MutableHeaders, path: str) -> None:
    for name, value in _ALWAYS.items():
        headers[name] = value
    headers["Content-Security-Policy"] = _policy(path)
    del headers["Access-Control-Allow-Origin"]  # the dashboard offers artifacts to all sites
    # The bundle may be kept, asked for each time; what belongs to a person may not.
    headers.setdefault("Cache-Control", "no-cache" if path.startswith("/static/") else "no-store")
    if is_artifact(path):
        headers["Content-Type"] = "application/octet-stream"
        headers["Content-Disposition"] = "attachment"


def _policy(path: str) -> str:
    if is_artifact(path):
        return _ARTIFACT
    is_dashboard = path == "/dashboard" or path.startswith("/dashboard/")
    return _DASHBOARD if is_dashboard else _OWN


def is_artifact(path: str) -> bool:
    """Tell whether this is a file that somebody has uploaded."""
    return path.startswith("/artifacts/")
