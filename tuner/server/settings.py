"""What `tuner serve` is told, checked when it is built."""

import ipaddress
import re
from dataclasses import dataclass, field

from tuner.allowed import AllowedObjectives
from tuner.errors import UsageError
from tuner.loopback import is_loopback

_ROOT_PATH = re.compile(r"(/\w[\w.~-]*)+", re.ASCII)
# How paths of ours begin: below one of these, theirs and ours could not be told apart.
_OWN_PATHS = (
    *("api", "artifacts", "csv", "dashboard", "favicon.ico", "healthz", "incompatible-rdb-schema"),
    *("login", "logout", "metrics", "readers.css", "readyz", "server.css", "server.svg"),
    *("static", "v1"),
)


@dataclass(frozen=True)
class ServerSettings:
    """Where to listen, on which storage, and whose X-Forwarded headers to believe, below which path
    of its host a proxy shows the service, which code studies may name.
    """

    storage_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    trusted_proxies: tuple[str, ...] = ()
    root_path: str = ""
    allowed: AllowedObjectives = field(default_factory=AllowedObjectives)

    def __post_init__(self) -> None:
        if self.root_path:
            _check_root_path(self.root_path)
        if not self.host:
            raise UsageError("--host is empty: give an address, e.g. 127.0.0.1")
        for proxy in self.trusted_proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise UsageError(
                    f"--trusted-proxy {proxy!r} is neither an address nor a network: "
                    "write 10.0.0.7 or 10.0.0.0/24"
                ) from None

    @property
    def is_loopback(self) -> bool:
        """Tell whether only this machine can reach the service."""
        return is_loopback(self.host)


def _check_root_path(path: str) -> None:
    if not _ROOT_PATH.fullmatch(path):
        raise UsageError(f"--root-path {path!r} is no plain path: write e.g. /tuner")
    first = path.split("/")[1]
    if first in _OWN_PATHS:
        raise UsageError(
            f"--root-path {path!r} begins as the service's own /{first} does: write e.g. /tuner"
        )
