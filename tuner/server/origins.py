"""Where a request comes from: which page sent it, which address, and whether its form is sound."""

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

from tuner.loopback import is_loopback

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
READING = ("GET", "HEAD")
_FORWARDED = frozenset({"forwarded", "via", "x-real-ip", "x-client-ip", "cf-connecting-ip"})


def explain_foreign(scope: Scope, otherwise: str) -> str | None:
    """Say why a write is refused that no page of our own sent, as the browser says; None for ours.

    A browser says so at every write (Fetch standard): by Sec-Fetch-Site, which no page can set and
    no proxy changes, or, where it knows that not or speaks without TLS, by Origin. Who says nothing
    is no browser, has no business with cookies, and is refused. A proxy may have changed Host.
    """
    headers = Headers(scope=scope)
    origin, host = headers.get("origin", "null"), headers.get("host")
    if (site := headers.get("sec-fetch-site")) is not None or origin == "null":
        return None if site == "same-origin" else otherwise
    if host is not None and _is_of_host(origin, host):
        return None
    return (
        f"The page is of {origin}, while Host says {host}; other sites' pages may not do this. "
        "If a proxy changes Host, tell nginx: proxy_set_header Host $http_host;"
    )


def _is_of_host(origin: str, host: str) -> bool:
    """Tell whether an origin is of a host, with or without the port that goes without saying."""
    scheme, _, named = origin.partition("://")
    port = {"http": 80, "https": 443}.get(scheme)
    if port is None or {"@", "/", "?", "#"} & set(named + host):
        return False
    try:
        one, other = urlsplit(f"//{named}"), urlsplit(f"//{host}")
        return bool(one.hostname) and (
            (one.hostname, one.port or port) == (other.hostname, other.port or port)
        )
    except ValueError:
        return False


def find_proxy(scope: Scope) -> str | None:
    """Return what shows that somebody else may be behind this request; None for this machine.

    Told or not: by its default nginx speaks HTTP/1.0 and changes Host, which the page's address
    then contradicts.
    """
    headers = Headers(scope=scope)
    for name in headers:
        if name.startswith("x-forwarded-") or name in _FORWARDED:
            return f"the header {name}"
    address = client_network(scope)
    if address != "unknown" and not is_loopback(address):
        return f"the address {address}"
    if scope.get("http_version") == "1.0":
        return "HTTP/1.0"
    page = headers.get("origin") or headers.get("referer")
    is_own_page = headers.get("sec-fetch-site") in (None, "same-origin")
    if page and is_own_page:
        origin = "/".join(page.split("/", 3)[:3])
        return None if _is_of_host(origin, headers.get("host", "")) else "a page of another host"
    return None


def client_address(scope: Scope) -> str:
    """Return the address of the client, as a trusted proxy says where there is one."""
    client = scope.get("client")
    try:
        return str(ipaddress.ip_address(client[0])) if client else "unknown"
    except ValueError:
        return "unknown"


def client_network(scope: Scope) -> str:
    """Return what one client may have to itself: an IPv4 address, or 56 bits of an IPv6 one."""
    address = client_address(scope)
    if ":" not in address:
        return address
    mapped = ipaddress.IPv6Address(address).ipv4_mapped
    return str(mapped or ipaddress.ip_network(f"{address}/56", strict=False))


def is_plain_path(path: str) -> bool:
    """Tell whether a decoded path means the same to everybody who reads it."""
    is_odd = re.search(r"//|[\x00-\x1f\x7f\\\ufffd]", path) or {".", ".."} & set(path.split("/"))
    return path.startswith("/") and not is_odd


def safe_next(target: str) -> str:
    """Return where to go after signing in: a path of ours, or the dashboard."""
    # Browsers read more addresses than one would think as another host's, e.g. ///host and /\host.
    path = re.split("[?#]", target, maxsplit=1)[0]
    is_ours = is_plain_path(path) and path not in ("/login", "/logout")
    return target if is_ours and re.fullmatch("[!-~]+", target) else "/dashboard"
