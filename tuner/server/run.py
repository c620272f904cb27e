"""Run the service until SIGTERM or Ctrl-C, and end it within three seconds."""

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from tuner.errors import TunerError
from tuner.server.app import Service, create_service
from tuner.server.settings import ServerSettings
from tuner.server.sockets import BoundedProtocol

# Requests have this long to end.
_GRACE_SECONDS = 2


def serve(settings: ServerSettings, on_start: Callable[[Service, str], None]) -> None:
    """Serve until told to end; ``on_start`` gets the address once the port is open.

    Threads that answer requests may still wait for the database afterwards. Raises UsageError,
    StorageError, or TunerError where the port cannot be had.
    """
    service = create_service(settings)
    with _listen(settings) as listener:
        port = listener.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host.strip("[]") else settings.host
        on_start(service, f"http://{host}:{port}{settings.root_path}")
        _Server(_uvicorn_config(service, settings), service.leaving).run(sockets=[listener])
    service.storage.engine.dispose()


def _uvicorn_config(service: Service, settings: ServerSettings) -> uvicorn.Config:
    # It tells where it listens and when it ends, which we do, and warns of what strangers send.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    return uvicorn.Config(
        service.asgi,
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,  # its lines hold whole queries
        server_header=False,
        # Left to itself it would believe whatever comes from this machine.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


class _Server(uvicorn.Server):
    """Ends quietly: uvicorn's own would raise the signal once more when all is done."""

    def __init__(self, config: uvicorn.Config, leaving: threading.Event) -> None:
        super().__init__(config)
        self._leaving = leaving

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals as a request to end."""
        kept = {
            number: signal.signal(number, self._leave) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def _leave(self, _number: int, _frame: FrameType | None) -> None:
        self.should_exit = True
        self._leaving.set()
        # It would show a traceback for each request that is cut off when the grace is over.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


def _listen(settings: ServerSettings) -> socket.socket:
    """Open the port now, so that a taken one is known before anything is said."""
    host = settings.host.strip("[]")
    try:
        family = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, settings.port), family=family, backlog=512)
    except (OSError, UnicodeError) as error:
        # Python adds the address again, in brackets.
        reason = str(getattr(error, "strerror", None) or error).partition(" (")[0]
        raise TunerError(
            f"Cannot listen on {settings.host}:{settings.port}: {reason}; "
            "choose another --host or --port"
        ) from error
