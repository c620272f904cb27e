"""This machine's own names: what only it can reach, and which Host headers mean it."""

import ipaddress
from urllib.parse import urlsplit

_NAMES = ("127.0.0.1", "localhost", "::1")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens on this address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def is_own_name(host_header: str, bound_to: str) -> bool:
    """Tell whether a Host header names this machine.

    A page elsewhere can point a name of its own at 127.0.0.1 (DNS rebinding), and would read here.
    """
    try:
        parts = urlsplit(f"//{host_header}")
        _ = parts.port
    except ValueError:
        return False
    is_bare = parts.username is None and not (parts.path or parts.query or parts.fragment)
    return is_bare and parts.hostname in (*_NAMES, bound_to.strip("[]"))
