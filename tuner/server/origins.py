"""Where a request comes from: which page sent it, which address, and whether its form is sound."""

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
READING = ("GET", "HEAD")


def is_same_origin(scope: Scope) -> bool:
    """Tell whether a page of our own sent this, as the browser says.

    A browser says so at every write (Fetch standard, Origin and Sec-Fetch-Site); who says nothing
    is no browser, has no business with cookies, and is refused.
    """
    headers = Headers(scope=scope)
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    if site is None and origin is None:
        return False
    is_own_site = site in (None, "same-origin")
    is_own_origin = origin is None or urlsplit(origin).netloc == headers.get("host")
    return is_own_site and is_own_origin


def client_address(scope: Scope) -> str:
    """Return the address of the client, as a trusted proxy says where there is one."""
    client = scope.get("client")
    try:
        return str(ipaddress.ip_address(client[0])) if client else "unknown"
    except ValueError:
        return "unknown"


def client_network(scope: Scope) -> str:
    """Return what one client has to itself: an IPv4 address, or 64 bits of an IPv6 one."""
    address = client_address(scope)
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network(f"{address}/64", strict=False))


def is_plain_path(path: str) -> bool:
    """Tell whether a decoded path means the same to everybody who reads it."""
    if not path.startswith("/") or "//" in path or "\\" in path or "\ufffd" in path:
        return False
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        return False
    return not {".", ".."} & set(path.split("/"))


def safe_next(target: str) -> str:
    """Return where to go after signing in: a path of ours, or the dashboard."""
    fallback = "/dashboard"
    if any(ord(character) < 33 or ord(character) > 126 for character in target):
        return fallback
    # Browsers read more addresses than one would think as another host's, e.g. ///host and /\host.
    path = re.split("[?#]", target, maxsplit=1)[0]
    if not is_plain_path(path) or path in ("/login", "/logout"):
        return fallback
    return target
