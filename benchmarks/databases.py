"""Database servers to measure and test on, and databases of our own on them."""

import contextlib
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, OperationalError

from storage import parse_url

# Servers that let this machine's administrator in without a password, as Debian's can be set to.
USUAL_SERVERS = ("postgresql://postgres@127.0.0.1/postgres", "mysql://root@127.0.0.1/mysql")

_CREATE = {
    "postgresql": 'CREATE DATABASE "{}"',
    "mysql": "CREATE DATABASE `{}`",
}
_DROP = {
    "postgresql": 'DROP DATABASE IF EXISTS "{}" WITH (FORCE)',
    "mysql": "DROP DATABASE IF EXISTS `{}`",
}
_NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}


def find_usual_servers() -> list[str]:
    """Return the URLs of those usual local servers that answer."""
    return [url for url in USUAL_SERVERS if answers(parse_url(url))]


def answers(url: URL) -> bool:
    """Tell whether a server takes a connection; asks for a few seconds at most."""
    engine = sqlalchemy.create_engine(url, connect_args={"connect_timeout": 3})
    try:
        engine.connect().close()
    except OperationalError:
        return False
    finally:
        engine.dispose()
    return True


@contextlib.contextmanager
def new_database(server: URL, prefix: str) -> Iterator[str]:
    """Create an empty database, yield its URL as a user would write it, and drop it."""
    dialect = server.get_backend_name()
    name = f"{prefix}_{uuid.uuid4().hex[:12]}"
    execute(server, _CREATE[dialect].format(name))
    try:
        yield server.set(drivername=dialect, database=name).render_as_string(hide_password=False)
    finally:
        execute(server, _DROP[dialect].format(name))


@contextlib.contextmanager
def database_on(server: str | None, folder: Path) -> Iterator[str]:
    """Yield the URL of an empty database: on this server, or without one a new SQLite file."""
    if server is None:
        yield f"sqlite:///{folder / uuid.uuid4().hex}.db"
        return
    with new_database(parse_url(server), "tuner_benchmark") as url:
        yield url


def execute(server: URL, *statements: str) -> None:
    """Run statements outside a transaction, as the server's administrator."""
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))
    engine.dispose()


def product(server: str | None) -> tuple[str, str]:
    """Return what a database calls itself and its version; without a server, SQLite's."""
    if server is None:
        return _NAMES["sqlite"], sqlite3.sqlite_version
    engine = sqlalchemy.create_engine(parse_url(server))
    try:
        with engine.connect() as connection:
            dialect = engine.dialect
            is_mariadb = getattr(dialect, "is_mariadb", False)
            name = _NAMES["mariadb" if is_mariadb else dialect.name]
            text = str(connection.exec_driver_sql("SELECT version()").scalar())
    finally:
        engine.dispose()
    # PostgreSQL puts its name and compiler around the number.
    return name, next(word for word in text.split() if word[0].isdigit()).partition("-")[0]


def check_server(url: str) -> None:
    """Raise ValueError, in one line without the password, if no database can be made there."""
    try:
        with new_database(parse_url(url), "tuner_benchmark"):
            pass
    except DBAPIError as error:
        raise ValueError(f"no database can be created there: {error.orig}") from error
