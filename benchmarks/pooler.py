"""A PgBouncer of one's own, in front of a database."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from sqlalchemy.engine import make_url

from benchmarks.postgres import free_port, unprivileged

# The least with which tables can be created: one holds the lock, Optuna takes two at a time.
_POOL_SIZE = 3
_START_SECONDS = 300

_CONFIG = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = {pool_mode}
default_pool_size = {pool_size}
query_wait_timeout = 30
max_client_conn = {max_clients}
"""


def find_pgbouncer() -> str | None:
    """Return the program, if it is installed; Debian puts it where a user's PATH has nothing."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class PgBouncer:
    """Takes connections and gives each transaction one of a few to the server; a context manager.

    ``url`` is the database as its clients name it.
    """

    def __init__(
        self,
        url: str,
        pool_mode: str = "transaction",
        *,
        pool_size: int = _POOL_SIZE,
        max_clients: int = 100,
    ) -> None:
        self._behind = make_url(url)
        # Not pytest's folder: that one is closed to other users.
        self._folder = Path(tempfile.mkdtemp(prefix="tuner_pgbouncer_"))
        self._port = free_port()
        host = self._behind.host or self._behind.query.get("host")
        config = _CONFIG.format(
            host=host,
            port=self._behind.port or 5432,
            user=self._behind.username,
            password=self._behind.password or "unused",
            listen_port=self._port,
            pool_mode=pool_mode,
            pool_size=pool_size,
            max_clients=max_clients,
        )
        (self._folder / "pgbouncer.ini").write_text(config)
        for path in (self._folder, self._folder / "pgbouncer.ini"):
            path.chmod(0o755)

    @property
    def url(self) -> str:
        """The database behind it, as a user writes it."""
        return (
            f"postgresql://{self._behind.username}@127.0.0.1:{self._port}/{self._behind.database}"
        )

    def __enter__(self) -> "PgBouncer":
        program = find_pgbouncer()
        assert program is not None
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [program, str(self._folder / "pgbouncer.ini")],
                stdout=log,
                stderr=log,
                start_new_session=True,
                **unprivileged(),
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                log_text = (self._folder / "log").read_text(errors="replace")
                self.__exit__()
                raise TimeoutError(f"PgBouncer did not start: {log_text}")
            time.sleep(0.05)
        return self

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port)):
            return True
        return False

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(timeout=_START_SECONDS)
        shutil.rmtree(self._folder)
