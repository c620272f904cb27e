"""Fixtures: real data, real databases, and the command line as a user runs it."""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL

from benchmarks.pooler import PgBouncer
from objectives.datasets import load_training_data
from tests import servers
from tests.forked import Tuner
from tests.poolers import require_pgbouncer
from tuner import cli as command
from tuner.workers import nursery

ROOT = Path(__file__).resolve().parent.parent
DATABASES = ["sqlite", "postgresql", "mysql"]

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest tests begin first: none is left alone at the end with one core."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    marks = {mark.name for mark in item.iter_markers()}
    return 0 if "chaos" in marks else 1 if "slow" in marks else 2


@pytest.fixture(autouse=True)
def _closed_connections() -> Iterator[None]:
    """Close what a test's engines hold open, as the end of a process does."""
    engines: set[Engine] = set()

    def remember(connection: Connection) -> None:
        engines.add(connection.engine)

    event.listen(Engine, "engine_connect", remember)
    yield
    event.remove(Engine, "engine_connect", remember)
    for engine in engines:
        engine.dispose()


@pytest.fixture(scope="session", autouse=True)
def _revisions_read_once() -> Iterator[None]:
    """Let Alembic read each folder of revisions once, not three times a storage.

    A third of what it costs to make a database, and tests make hundreds in one process.
    """
    read, known = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def from_config(config: Config) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        if folder not in known:
            known[folder] = read(config)
        return known[folder]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@pytest.fixture(scope="session", autouse=True)
def _trainers_forked_from_one_server() -> Iterator[None]:
    """Let all workers of this process have one server, which has imported torch once."""
    with nursery.abandoning():
        yield


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """Return a data directory that holds MNIST, fetched as a user's would be."""
    folder = Path(os.environ.get("TUNER_DATA_DIR", ROOT / "data"))
    load_training_data("mnist", seed=0, data_dir=folder)
    return folder


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> URL:
    """Return a PostgreSQL server on which databases can be created."""
    server = servers.find_postgres(tmp_path_factory.mktemp("pg"))
    if server is None:
        servers.skip_or_fail("postgresql", "no PostgreSQL: set TUNER_TEST_POSTGRES_URL")
    return server


@pytest.fixture(scope="session")
def mysql_server() -> URL:
    """Return a MySQL or MariaDB server on which databases can be created."""
    server = servers.find_mysql()
    if server is None:
        servers.skip_or_fail("mysql", "no MySQL or MariaDB: set TUNER_TEST_MYSQL_URL")
    return server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """Return the URL of a new SQLite file."""
    return f"sqlite:///{tmp_path / 'tuner.db'}"


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """Return the URL of an empty PostgreSQL database of our own."""
    with servers.new_database(postgres_server) as url:
        yield url


@pytest.fixture(scope="session")
def _private_postgres() -> Iterator[servers.PrivatePostgres]:
    if servers.find_postgres_programs() is None:
        servers.skip_or_fail("postgresql", "no PostgreSQL that can be started here")
    with servers.PrivatePostgres(password="s3cret") as server:
        yield server


@pytest.fixture
def private_postgres(_private_postgres: servers.PrivatePostgres) -> servers.PrivatePostgres:
    """Return a running PostgreSQL server that the test may stop, kill and restart."""
    _private_postgres.start()
    return _private_postgres


@contextlib.contextmanager
def _database(kind: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'tuner.db'}"
        return
    if kind == "pgbouncer":
        require_pgbouncer()
    server = "mysql_server" if kind == "mysql" else "postgres_server"
    with servers.new_database(request.getfixturevalue(server)) as url:
        pooler = PgBouncer(url) if kind == "pgbouncer" else contextlib.nullcontext()
        with pooler as pooled:
            yield url if pooled is None else pooled.url


@pytest.fixture(params=DATABASES)
def storage_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of an empty database of each kind."""
    with _database(request.param, request, tmp_path) as url:
        yield url


def pytest_itemcollected(item: pytest.Item) -> None:
    """Leave the third database of tests marked `heavy` to `make test-long`."""
    if item.get_closest_marker("heavy") and "mysql" in item.name:
        item.add_marker("long")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let the promises of a database be kept behind a pooler, too, by tests marked `pooled`."""
    if "shared_url" in metafunc.fixturenames:
        pooled = ["pgbouncer"] if metafunc.definition.get_closest_marker("pooled") else []
        metafunc.parametrize("shared_url", DATABASES + pooled, indirect=True, scope="session")


@pytest.fixture(scope="session")
def shared_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Return the URL of one database of each kind, for tests that make studies of their own."""
    with _database(request.param, request, tmp_path_factory.mktemp("shared")) as url:
        yield url


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Return a function that runs `tuner` as a user would, in an empty directory."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tuner", *arguments],
            cwd=tmp_path,
            env=clean_environment(**environment),
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    return run


@pytest.fixture
def fork(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Return a function that does what `cli` does, without the start of a Python.

    For what must not stay in this process, such as a user's module: it is of another text the next
    time. What begins before `tuner` is imported, and how a Python ends, only `cli` sees.
    """

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        logs = tmp_path_factory.mktemp("logs")
        stdout, stderr = logs / "stdout", logs / "stderr"
        process = Tuner(arguments, tmp_path, clean_environment(**environment), stdout, stderr)
        try:
            status = process.wait(500)
        finally:
            process.kill()
        return subprocess.CompletedProcess(
            arguments, status, stdout.read_text(), stderr.read_text()
        )

    return run


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Return a function that does what `cli` does, within this process.

    The same code from the options to the exit status, without the seconds that a new Python takes
    to import it all. Trainers are processes here too; what they log is not in what is returned.
    """

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch, _logging_as_before():
            patch.chdir(tmp_path)
            for name in set(os.environ) - set(clean_environment()):
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["tuner", *arguments])
            patch.setattr(sys, "stdout", sys.stdout)  # a failed command takes it away
            capfd.readouterr()
            with pytest.raises(SystemExit) as end:
                command.main()
        stdout, stderr = capfd.readouterr()
        status = end.value.code or 0
        assert isinstance(status, int)
        return subprocess.CompletedProcess(arguments, status, stdout, stderr)

    return run


@contextlib.contextmanager
def _logging_as_before() -> Iterator[None]:
    """Take back what a command sets up: a process of its own would end with it."""
    root = logging.getLogger()
    names = ("tuner", "objectives", "storage")
    handlers, level = root.handlers[:], root.level
    levels = [logging.getLogger(name).level for name in names]
    root.handlers.clear()  # or they would be closed
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, before in zip(names, levels, strict=True):
            logging.getLogger(name).setLevel(before)


def clean_environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without the tuner's own variables."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("TUNER_")}
    return {**kept, "PYTHONPATH": str(ROOT), **changes}
