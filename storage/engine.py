"""Open a database as an Optuna storage, with the engine settings its dialect needs.

Creates Optuna's tables and ours, one process at a time; translates the errors of opening.
"""

import contextlib
import errno
import functools
import logging
import math
import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
import sqlalchemy
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy import event, text
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import InvalidatePoolError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from storage import schema
from storage.causes import classify, driver_message
from storage.errors import BadUrlError, EmptyStorageError, ReplacedError, UnreachableError
from storage.sqlite_files import warn_of_network, watch_file
from storage.url import mask_password, mask_url, parse_url, sqlite_file
from storage.versions import (
    NEWEST_VERSION,
    check_optuna_version,
    check_version,
    find_version,
    has_budgets,
)

logger = logging.getLogger(__name__)

_DATABASE_ERRORS = (SQLAlchemyError, optuna.exceptions.StorageInternalError)

_CONNECT_TIMEOUT_SECONDS = 10
# Eight workers queue for one write lock; a transaction takes milliseconds.
_SQLITE_BUSY_SECONDS = 60
_CREATION_TIMEOUT_SECONDS = 60
# A connection that was idle for longer is asked whether it still works; asking always is a third
# of what a worker says. Others that have broken are found by `storage.resilience`.
_IDLE_SECONDS = 2.0
# How often a statement is run before PostgreSQL is told to keep it: psycopg's own default.
_PREPARE_AFTER = 5
_READS_ONLY = "tuner_reads_only"
_only_reads: ContextVar[bool] = ContextVar("only_reads", default=False)
# A worker uses two: one for the trials, one in the writer's thread. A service's threads need more,
# and keep them, for opening one costs more than what is asked; the last used is used again.
_POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 0, "pool_use_lifo": True}
# Any constant will do; it must not be used by another program in the same database.
_TRY_POSTGRES_LOCK = text(f"SELECT pg_try_advisory_xact_lock({0x74756E6572})")  # "tuner"
# How often who waits for it asks: what is done under it takes tenths of a second.
_LOCK_POLL_SECONDS = 0.1


def create_storage(url: str) -> RDBStorage:
    """Open the database for a worker, creating Optuna's tables and ours where they are missing.

    Safe when many processes start at once on an empty database. A study that an older version
    made is not touched: workers of that version may be at it. Raises StorageError.
    """
    parsed = parse_url(url)
    with creation_lock(url), translated_errors(parsed):
        storage = _open(parsed, skip_table_creation=False)
        engine = storage.engine
        if (file := sqlite_file(parsed)) is not None:
            warn_of_network(file)
        if find_version(engine) < NEWEST_VERSION and not has_budgets(engine):
            from storage.migrations import migrate

            with engine.begin() as connection:
                migrate(connection)
        check_version(engine, url)
    return storage


def open_storage(url: str, *, read_only: bool = False, any_version: bool = False) -> RDBStorage:
    """Open a database that has been created before; raises StorageError.

    ``read_only`` is for those who only look (dashboard, status): on SQLite their transactions
    do not take the write lock, so that they never delay a worker. ``any_version`` is for those
    who look at the versions of its tables, or change them.
    """
    parsed = parse_url(url)
    file = sqlite_file(parsed)
    if file is not None and not file.exists():
        raise EmptyStorageError(f"There is no database {file}: `tuner run` creates it")
    with translated_errors(parsed):
        _check_is_initialised(parsed)
        storage = _open(
            parsed, skip_table_creation=True, read_only=read_only, any_version=any_version
        )
        if not any_version:
            check_version(storage.engine, url)
    return storage


def _open(
    url: URL, *, skip_table_creation: bool, read_only: bool = False, any_version: bool = False
) -> RDBStorage:
    storage = RDBStorage(
        url.render_as_string(hide_password=False),
        engine_kwargs=_engine_options(url),
        skip_table_creation=skip_table_creation,
        skip_compatibility_check=True,
    )
    if not any_version:
        check_optuna_version(storage, mask_url(url))
    if url.drivername == "sqlite":
        _set_up_sqlite(storage.engine, begin="BEGIN" if read_only else "BEGIN IMMEDIATE")
        if (file := sqlite_file(url)) is not None:
            watch_file(storage.engine, file)
    else:
        _ping_idle(storage.engine)
    return storage


def _engine_options(url: URL) -> dict[str, Any]:
    if (file := sqlite_file(url)) is not None:
        if _is_frozen(file):
            # SQLite cannot even read a write-ahead log's database where it may write no file.
            name = f"file:{quote(str(file.resolve()))}?immutable=1"
            return {"creator": lambda: sqlite3.connect(name, uri=True, check_same_thread=False)}
        return {**_POOL, "connect_args": {"timeout": _SQLITE_BUSY_SECONDS}}
    options: dict[str, Any] = {**_POOL, "pool_pre_ping": False}
    options["connect_args"] = {"connect_timeout": _CONNECT_TIMEOUT_SECONDS}
    if url.drivername.startswith("mysql"):
        # As on PostgreSQL; the default, REPEATABLE READ, locks gaps and so deadlocks for nothing.
        options["isolation_level"] = "READ COMMITTED"
    else:
        options["connect_args"]["prepare_threshold"] = None
        options["pool_events"] = [(_prepare_if_direct, "connect")]
    return options


def _prepare_if_direct(connection: Any, _record: Any) -> None:
    """Let statements be prepared where no pooler may hand each transaction to another session.

    A pooler tells a process id of its own. Without them a no-op trial costs the server 1.9 ms of
    processor, with them 1.4 (300 trials, counted in /proc).
    """
    connection.autocommit = True  # no transaction for this: set by the driver, costs no statement
    (backend_pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.autocommit = False
    if backend_pid == connection.info.backend_pid:
        connection.prepare_threshold = _PREPARE_AFTER


def _is_frozen(file: Path) -> bool:
    """Tell whether neither we can write to an SQLite database, nor anybody does now."""
    may_write = functools.partial(os.access, mode=os.W_OK, effective_ids=True)
    is_open = Path(f"{file}-wal").exists()
    return file.exists() and not (is_open or may_write(file) or may_write(file.parent))


def _set_up_sqlite(engine: Engine, *, begin: str) -> None:
    """Let SQLAlchemy, not the driver, begin transactions, and let writers begin with the lock.

    With the driver's default, a transaction that reads and then writes takes the lock only at
    the write: two workers can both claim one trial, and one may fail with "database is locked"
    at once, whatever the timeout (SQLAlchemy's manual, "SQLite Transactions").
    """

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        # Write-ahead log: readers do not block writers. NORMAL survives a killed process;
        # only a power cut may lose the last transactions, never the database.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _(connection: sqlalchemy.Connection) -> None:
        is_read = _only_reads.get() or connection.get_execution_options().get(_READS_ONLY, False)
        connection.exec_driver_sql("BEGIN" if is_read else begin)

    engine.dispose()  # connections opened before these settings


def _ping_idle(engine: Engine) -> None:
    """Replace connections that have broken while nobody used them, as `pool_pre_ping` does."""

    @event.listens_for(engine, "checkin")
    def _(_connection: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _(connection: Any, record: Any, _proxy: Any) -> None:
        is_fresh = time.monotonic() - record.info.get("idle_since", math.inf) < _IDLE_SECONDS
        if is_fresh:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError("The connection broke while it was idle") from error


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[sqlalchemy.Connection]:
    """Open a connection that only reads: without SQLite's write lock, without round trips to
    begin and end a transaction on PostgreSQL.

    Each statement may see newer rows than the one before.
    """
    option: dict[str, Any] = {_READS_ONLY: True}
    if engine.dialect.name == "postgresql":
        option["isolation_level"] = "AUTOCOMMIT"  # set by the driver, costs no statement
    with engine.connect() as connection:
        yield connection.execution_options(**option)


@contextlib.contextmanager
def only_reading() -> Iterator[None]:
    """Promise that this thread only reads meanwhile: SQLite's write lock is left to others.

    For a storage that writes too, and whose callers do not open its connections themselves.
    """
    reset = _only_reads.set(True)
    try:
        yield
    finally:
        _only_reads.reset(reset)


@contextlib.contextmanager
def creation_lock(url: str) -> Iterator[None]:
    """Let one process at a time create tables or studies: simultaneous first starts collide.

    Ends with the process, also when it is killed. Not reentrant. Raises StorageError.
    """
    parsed = parse_url(url)
    with contextlib.ExitStack() as stack:
        with translated_errors(parsed):
            stack.enter_context(_lock(parsed))
        yield


@contextlib.contextmanager
def _lock(url: URL) -> Iterator[None]:
    file = sqlite_file(url)
    if file is not None:
        # Neither a missing nor an unwritable directory is worth waiting for.
        file.parent.stat()
        if not os.access(file.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "directory is not writable", str(file.parent))
        with FileLock(f"{file}.lock", timeout=_CREATION_TIMEOUT_SECONDS):
            yield
        return
    take = _take_postgres_lock if url.drivername.startswith("postgresql") else _take_mysql_lock
    with _bare_engine(url).connect() as connection:  # closing it releases the lock
        if not take(connection):
            raise UnreachableError(
                f"Another process has been creating tables in storage {mask_url(url)} for "
                f"{_CREATION_TIMEOUT_SECONDS} s: try again"
            )
        yield


def _take_postgres_lock(connection: sqlalchemy.Connection) -> bool:
    """Take the lock for one transaction, which stays open: a pooler keeps a session for longer.

    Who waits leaves the server between two tries: a pooler may have few connections to give, and
    who has the lock needs another one.
    """
    give_up_at = time.monotonic() + _CREATION_TIMEOUT_SECONDS
    while not connection.execute(_TRY_POSTGRES_LOCK).scalar_one():
        connection.rollback()
        if time.monotonic() > give_up_at:
            return False
        time.sleep(random.uniform(0.5, 1.0) * _LOCK_POLL_SECONDS)
    return True


def _take_mysql_lock(connection: sqlalchemy.Connection) -> bool:
    name = f"tuner/{connection.engine.url.database}"[:64]  # the server's, not the database's
    seconds = {"name": name, "seconds": _CREATION_TIMEOUT_SECONDS}
    return connection.execute(text("SELECT GET_LOCK(:name, :seconds)"), seconds).scalar() == 1


def _check_is_initialised(url: URL) -> None:
    tables = set(sqlalchemy.inspect(_bare_engine(url)).get_table_names())
    if {"studies", "version_info"} <= tables and schema.budgets.name not in tables:
        where = mask_url(url)
        raise EmptyStorageError(
            f"Storage {where} was made by another program, and has none of our tables: "
            f"`tuner storage upgrade --storage {where}` adds them"
        )
    if not {schema.budgets.name, "studies", "version_info"} <= tables:
        raise EmptyStorageError(f"Storage {mask_url(url)} holds no study: `tuner run` creates one")


def _bare_engine(url: URL) -> Engine:
    """Return an engine without a pool: each connection is closed, not kept."""
    options = _engine_options(url)
    kept = {name: options[name] for name in ("connect_args", "creator") if name in options}
    return sqlalchemy.create_engine(url, poolclass=NullPool, **kept)


@contextlib.contextmanager
def translated_errors(url: URL) -> Iterator[None]:
    """Raise what goes wrong in opening or changing a database as a StorageError."""
    where = f"storage {mask_url(url)}"
    try:
        yield
    except _DATABASE_ERRORS as error:
        message = mask_password(driver_message(error), url)
        if "statement pooling mode" in message:
            message += "; set the pooler's pool_mode to transaction or session"
        raise UnreachableError(f"Cannot open {where}: {message}") from error
    except OSError as error:  # the directory of an SQLite database, and the lock file in it
        raise UnreachableError(f"Cannot open {where}: {error}") from error
    except ImportError as error:
        extra = "postgres" if url.drivername.startswith("postgresql") else "mysql"
        raise BadUrlError(
            f"The driver for {where} is not installed: pip install 'lambda-tuner[{extra}]'"
        ) from error


def explain_database_error(error: BaseException) -> str | None:
    """Return one line for a database error met after opening; None for any other error."""
    if isinstance(error, ReplacedError):
        return str(error)
    if not isinstance(error, _DATABASE_ERRORS):
        return None
    return (
        f"The database {classify(error).complaint}: {driver_message(error)}; "
        "finished trials are kept"
    )
