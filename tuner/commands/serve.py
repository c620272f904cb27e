"""The commands that serve pages: `tuner dashboard` for one person, `tuner serve` for many."""

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from tuner.allowed import AllowedObjectives
from tuner.commands import options, service_options
from tuner.errors import UsageError
from tuner.plain import show

if TYPE_CHECKING:
    from tuner.server.app import Service


@options.with_storage
def dashboard(
    storage: str,
    host: service_options.Host = "127.0.0.1",
    port: service_options.Port = 8080,
    writable: service_options.Writable = False,
) -> None:
    """Serve the Optuna dashboard on this storage: on loopback and read-only unless asked."""
    from tuner.dashboard import serve as serve_dashboard

    mode = "writable" if writable else "read-only"
    with contextlib.suppress(KeyboardInterrupt):
        serve_dashboard(
            storage,
            host,
            port,
            is_writable=writable,
            on_start=lambda url: show(
                f"Dashboard: {url} ({mode}); Ctrl-C ends it", file=sys.stderr
            ),
        )


@options.with_storage
def serve(
    storage: str,
    host: service_options.Host = "127.0.0.1",
    port: service_options.Port = 8080,
    trusted_proxy: service_options.TrustedProxies = None,
    root_path: service_options.RootPath = "",
    allow_objective: service_options.AllowObjectives = None,
    log_format: options.LogFormat = "text",
) -> None:
    """Serve dashboard and API behind a login; without any account, read-only on loopback.

    `tuner user add` and `tuner token create` make accounts. Put a proxy with TLS before it.
    """
    check_extra()
    from tuner.server.run import serve as serve_all
    from tuner.server.settings import ServerSettings

    allowed = AllowedObjectives(frozenset(allow_objective or ()))
    root_path = root_path.rstrip("/")
    proxies = tuple(trusted_proxy or ())
    serve_all(ServerSettings(storage, host, port, proxies, root_path, allowed), _tell)
    # All is said and written. Python would wait for threads that wait for the database, and take
    # seconds on a busy machine to tidy up what the system tidies up anyway.
    sys.stderr.flush()
    os._exit(0)


def _tell(service: "Service", url: str) -> None:
    mode = (
        "read-only for everybody on this machine, as nobody has an account: see `tuner user add`"
        if service.is_open
        else "sign in, or send a token"
    )
    show(f"Service: {url}/dashboard ({mode}); Ctrl-C ends it", file=sys.stderr, flush=True)


def check_extra() -> None:
    """Raise UsageError, which says what to install, unless the service's packages are there."""
    from importlib.util import find_spec

    for package in ("fastapi", "uvicorn", "a2wsgi", "argon2"):
        if find_spec(package) is None:
            raise UsageError(f"{package} is not installed: pip install 'lambda-tuner[serve]'")
