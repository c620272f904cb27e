"""What `tuner serve` is told, checked when it is built."""

import ipaddress
from dataclasses import dataclass

from tuner.errors import UsageError
from tuner.loopback import is_loopback


@dataclass(frozen=True)
class ServerSettings:
    """Where to listen, on which storage, and whose X-Forwarded headers to believe."""

    storage_url: str
    host: str = "127.0.0.1"
    port: int = 8080
    trusted_proxies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
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
