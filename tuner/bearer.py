"""Send a token over HTTP to the address that was named, and to nobody else.

For the client of the API and for `load_best`, which need the standard library alone. What is said
here of an address shows neither credentials nor query.
"""

import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from tuner.errors import UsageError
from tuner.loopback import is_loopback

_PORTS = {"http": 80, "https": 443}


def show_address(url: str) -> str:
    """Return an address without what may be secret in it."""
    return re.sub(r"//.*@", "//***@", re.split("[?#]", url, maxsplit=1)[0], flags=re.DOTALL)


def find_problem(url: str, token: str | None, *, is_insecure: bool) -> str | None:
    """Return why an address cannot be asked, or not with this token; None if it can."""
    shown = show_address(url)
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return f"{shown}: that is no address"
    if parts.scheme not in _PORTS or not host:
        return f"{shown}: write https://HOST or http://127.0.0.1:PORT"
    if "@" in parts.netloc:
        return f"{shown}: leave out user and password; TUNER_TOKEN is for a token"
    return None if token is None else _find_risk(shown, parts, token, is_insecure=is_insecure)


def _find_risk(shown: str, parts: SplitResult, token: str, *, is_insecure: bool) -> str | None:
    if not (token.isascii() and token.isprintable()):
        return f"{shown}: the token is not one: `tuner token create` prints it"
    is_plain = parts.scheme == "http" and not is_loopback(parts.hostname or "")
    if is_plain and not is_insecure:
        return (
            f"{shown}: without TLS anybody on the way could read the token; use https, or "
            "--insecure (TUNER_INSECURE=1) where you trust the network"
        )
    return None


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port of an address that can be asked."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def read_token_file(path: Path) -> str:
    """Return the token that stands in a file; raises UsageError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"--token-file {path}: {reason}") from None  # it may hold the token


def build_opener(url: str, *handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return what opens an address with a token: without TLS no proxy, which would read it."""
    if urlsplit(url).scheme == "http":
        handlers = (*handlers, urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def read_detail(error: urllib.error.HTTPError) -> str:
    """Return what a problem document says, on one line; else the status."""
    try:
        detail = json.loads(error.read(65536))["detail"]
    except (ValueError, KeyError, TypeError, OSError, RecursionError, http.client.HTTPException):
        detail = error.reason
    return " ".join(str(detail).split())


def explain_failure(error: object) -> str:
    """Return why an address could not be read, on one line."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({reason.verify_message}); SSL_CERT_FILE names an "
            "authority of your own"
        )
    if isinstance(reason, ssl.SSLError):
        return f"TLS failed ({reason.reason}); is it a TLS address?"
    if isinstance(reason, http.client.InvalidURL):
        return "that is no address"  # it says which, with all that is in it
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(text).split())
