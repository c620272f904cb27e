"""Every error that a driver can raise has a cause, and real servers raise what the tables say."""

import contextlib
import inspect
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import psycopg
import pymysql
import pytest
import sqlalchemy
import sqlalchemy.exc
import sqlalchemy.orm.exc
from pymysql.constants import CR, ER
from sqlalchemy import Engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from storage import EmptyStorageError, UnreachableError, create_storage
from storage.causes import Cause, classify, driver_message, find_cause
from tests import servers

# Of the module sqlite3: limits, settings, and codes of `set_authorizer`. No result codes.
_OTHER_SQLITE_NAMES = re.compile(
    r"SQLITE_((LIMIT|DBCONFIG|CREATE|DROP)_\w+|ALTER_TABLE|ANALYZE|ATTACH|DELETE|DENY|DETACH"
    r"|FUNCTION|IGNORE|INSERT|PRAGMA|READ|RECURSIVE|REINDEX|SAVEPOINT|SELECT|TRANSACTION|UPDATE)"
)
# What sounds in a MySQL error's name as if it might pass.
_SOUNDS_TRANSIENT = re.compile(
    "LOCK_|LOCKED|READLOCK|CONNECTION|CON_COUNT|TIMEOUT|INTERRUPTED|SHUTDOWN|DISK|NET_|READ_ONLY"
    "|RESOURCES|MEMORY|BAD_HOST|ABORTING|DENIED"
)


def _classes(*modules: Any) -> list[type[Exception]]:
    """Return the exception classes of modules, without the warnings."""
    members = (cls for module in modules for _, cls in inspect.getmembers(module, inspect.isclass))
    return sorted(
        {c for c in members if issubclass(c, Exception) and not issubclass(c, Warning)},
        key=lambda c: c.__qualname__,
    )


def _numbers(constants: Any) -> dict[str, int]:
    return {name: number for name, number in vars(constants).items() if name.isupper()}


SQLALCHEMY_CLASSES = [
    cls
    for cls in _classes(sqlalchemy.exc, sqlalchemy.orm.exc)
    if issubclass(cls, sqlalchemy.exc.SQLAlchemyError)
]
POSTGRES_CLASSES = _classes(psycopg.errors)
SQLITE_CODES = {
    name: number
    for name, number in vars(sqlite3).items()
    if name.startswith("SQLITE_") and not _OTHER_SQLITE_NAMES.fullmatch(name)
}


def _sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.DatabaseError("from a test")
    error.sqlite_errorcode = code
    return error


def _mysql_error(number: int) -> Exception:
    """Return what the driver makes of an error packet with this number."""
    packet = b"\xff" + number.to_bytes(2, "little") + b"#HY000from a test"
    try:
        pymysql.err.raise_mysql_exception(packet)
    except pymysql.err.Error as error:
        return error
    raise AssertionError("the driver took it for no error")


@pytest.mark.parametrize("cls", SQLALCHEMY_CLASSES, ids=lambda cls: cls.__name__)
def test_every_sqlalchemy_error_class_stands_in_the_table(cls: type[Exception]) -> None:
    """A class that a new version adds is noticed here, not guessed from its parent."""
    alone = type(cls.__name__, (Exception,), {"__module__": "sqlalchemy.exc"})
    assert find_cause(alone("from a test")) is not None


@pytest.mark.parametrize("cls", POSTGRES_CLASSES, ids=lambda cls: cls.__name__)
def test_every_psycopg_error_has_a_cause(cls: type[Exception]) -> None:
    """All SQLSTATEs that psycopg knows, and its classes without one."""
    assert find_cause(cls("from a test")) is not None


@pytest.mark.parametrize("cls", _classes(sqlite3), ids=lambda cls: cls.__name__)
def test_every_sqlite_class_without_a_code_has_a_cause(cls: type[Exception]) -> None:
    """What the module raises without asking SQLite."""
    assert find_cause(cls("from a test")) is not None


@pytest.mark.parametrize("code", SQLITE_CODES.values(), ids=list(SQLITE_CODES))
def test_every_sqlite_result_code_has_a_cause(code: int) -> None:
    """All result codes that the module sqlite3 names."""
    assert len(SQLITE_CODES) > 80
    assert find_cause(_sqlite_error(code)) is not None


@pytest.mark.parametrize(
    "number",
    [
        *_numbers(CR).values(),
        *pymysql.err.error_map,
        *(number for name, number in _numbers(ER).items() if _SOUNDS_TRANSIENT.search(name)),
    ],
)
def test_every_mysql_number_that_may_pass_has_a_cause(number: int) -> None:
    """All errors of the client, those that have a class, and those that sound transient."""
    assert find_cause(_mysql_error(number)) is not None


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (psycopg.errors.DiskFull("x"), Cause.FULL),
        (psycopg.errors.ReadOnlySqlTransaction("x"), Cause.OUTAGE),
        (psycopg.errors.TooManyConnections("x"), Cause.OUTAGE),
        (psycopg.errors.CannotConnectNow("x"), Cause.OUTAGE),
        (psycopg.errors.SerializationFailure("x"), Cause.CONTENTION),
        (psycopg.errors.DatabaseDropped("x"), Cause.PERMANENT),
        (psycopg.errors.UniqueViolation("x"), Cause.PERMANENT),
        (_mysql_error(1040), Cause.OUTAGE),
        (_mysql_error(1205), Cause.CONTENTION),
        (_mysql_error(1021), Cause.FULL),
        (_mysql_error(1045), Cause.PERMANENT),
        (
            pymysql.err.OperationalError(2003, "[SSL: CERTIFICATE_VERIFY_FAILED] x"),
            Cause.PERMANENT,
        ),
        (pymysql.err.InterfaceError(0, ""), Cause.OUTAGE),
        (pymysql.err.InternalError("Packet sequence number wrong"), Cause.OUTAGE),
        (_sqlite_error(sqlite3.SQLITE_IOERR_WRITE), Cause.OUTAGE),
        (_sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), Cause.CONTENTION),
        (_sqlite_error(sqlite3.SQLITE_CORRUPT_INDEX), Cause.PERMANENT),
        (sqlalchemy.exc.TimeoutError("x"), Cause.OUTAGE),
        (OSError(28, "No space left on device"), Cause.FULL),
        (EmptyStorageError("x"), Cause.PERMANENT),
        (KeyboardInterrupt(), Cause.PERMANENT),
    ],
    ids=lambda value: value.name if isinstance(value, Cause) else repr(value)[:40],
)
def test_classify_tells_what_may_pass_from_what_will_not(
    error: BaseException, cause: Cause
) -> None:
    """The errors that are hard to provoke on a real server."""
    assert classify(error) is cause


def test_classify_looks_through_the_wrapping_of_optuna_and_sqlalchemy() -> None:
    """Optuna's text blames invalid data for a lost connection; its cause tells."""
    lost = sqlalchemy.exc.OperationalError("SELECT 1", {}, psycopg.errors.AdminShutdown("gone"))
    wrapped = optuna.exceptions.StorageInternalError("invalid data in the commit")
    wrapped.__cause__ = lost
    assert classify(wrapped) is Cause.OUTAGE
    assert driver_message(wrapped) == "gone"


def test_classify_does_not_look_through_the_errors_of_others() -> None:
    """A user's error that was caused by a database of theirs is not our database's."""
    error = ValueError("theirs")
    error.__cause__ = psycopg.errors.AdminShutdown("their database")
    assert classify(error) is Cause.PERMANENT


def _failure(function: Callable[[], object]) -> Exception:
    """Return the error that a call ends in."""
    with pytest.raises(sqlalchemy.exc.SQLAlchemyError) as raised:
        function()
    return raised.value


def _connect(url: URL) -> None:
    sqlalchemy.create_engine(url, poolclass=NullPool).connect().close()


@pytest.mark.parametrize(
    "wrong",
    [{"password": "wr0ng"}, {"password": ""}, {"username": "nobody"}, {"database": "missing"}],
    ids=["password", "no password", "user", "database"],
)
def test_postgres_refusal_is_permanent(
    private_postgres: servers.PrivatePostgres, wrong: dict[str, str]
) -> None:
    """What no waiting mends is known by psycopg's words: there is no SQLSTATE yet."""
    error = _failure(lambda: _connect(private_postgres.url.set(**wrong)))  # type: ignore[arg-type]
    assert classify(error) is Cause.PERMANENT


@pytest.mark.parametrize("wrong", [{"username": "nobody"}, {"database": "missing"}])
def test_mysql_refusal_is_permanent(mysql_server: URL, wrong: dict[str, str]) -> None:
    """An unknown user or database is not waited for."""
    assert classify(_failure(lambda: _connect(mysql_server.set(**wrong)))) is Cause.PERMANENT  # type: ignore[arg-type]


@pytest.mark.parametrize("driver", ["postgresql+psycopg", "mysql+pymysql"])
@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_server_that_is_not_there_is_an_outage(driver: str, host: str) -> None:
    """Refused connections and names that do not resolve may pass."""
    url = URL.create(driver, "u", "p", host, 9, "d")
    assert classify(_failure(lambda: _connect(url))) is Cause.OUTAGE


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgres_stopped_in_mid_transaction_is_an_outage_until_it_is_back(
    private_postgres: servers.PrivatePostgres, mode: str
) -> None:
    """In the transaction, on its broken connection, and for new ones; then all is well."""
    engine = sqlalchemy.create_engine(private_postgres.url, pool_pre_ping=True)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        private_postgres.stop(mode)
        for _ in range(2):
            error = _failure(lambda: connection.execute(text("SELECT 1")))
            assert classify(error) is Cause.OUTAGE
    assert classify(_failure(engine.connect)) is Cause.OUTAGE
    private_postgres.start()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1


def test_create_storage_on_a_stopped_server_is_an_outage(
    private_postgres: servers.PrivatePostgres,
) -> None:
    """The translated error still tells its cause, for those who wait for a server to come."""
    private_postgres.stop()
    url = private_postgres.url.render_as_string(hide_password=False)
    with pytest.raises(UnreachableError) as raised:
        create_storage(url)
    assert classify(raised.value) is Cause.OUTAGE


_KILL = {
    "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
    "mysql": ("SELECT CONNECTION_ID()", "KILL {}"),
}


@pytest.fixture(params=["postgres_server", "mysql_server"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Return an engine on an empty database of each kind of server."""
    server = request.getfixturevalue(request.param)
    with servers.new_database(server) as url:
        yield sqlalchemy.create_engine(make_url(url).set(drivername=server.drivername))


def test_killed_connection_is_an_outage(engine: Engine) -> None:
    """An administrator who ends a connection costs a repetition, not a worker."""
    find_id, kill = _KILL[engine.dialect.name]
    with engine.connect() as connection:
        number = connection.execute(text(find_id)).scalar()
        with engine.connect() as other:
            other.execute(text(kill.format(number)))
        assert classify(_failure(lambda: connection.execute(text("SELECT 1")))) is Cause.OUTAGE


def test_deadlock_is_contention(engine: Engine) -> None:
    """Two transactions that lock two rows crosswise: the one that is ended may try again."""
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)"))
        connection.execute(text("INSERT INTO t VALUES (1, 0), (2, 0)"))
    both_hold_one = threading.Barrier(2, timeout=200)
    errors: list[Exception] = []

    def lock(first: int, second: int) -> None:
        with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError), engine.begin() as connection:
            connection.execute(text(f"UPDATE t SET n = n + 1 WHERE id = {first}"))
            both_hold_one.wait()
            try:
                connection.execute(text(f"UPDATE t SET n = n + 1 WHERE id = {second}"))
            except sqlalchemy.exc.SQLAlchemyError as error:
                errors.append(error)
                raise

    threads = [threading.Thread(target=lock, args=pair) for pair in [(1, 2), (2, 1)]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=200)
    assert [classify(error) for error in errors] == [Cause.CONTENTION]


def test_missing_table_is_permanent(engine: Engine) -> None:
    """A mistake of ours is not waited for."""
    with engine.connect() as connection:
        error = _failure(lambda: connection.execute(text("SELECT * FROM missing")))
    assert classify(error) is Cause.PERMANENT


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Engine:
    """Return an engine on an SQLite file with a table, which waits for no lock."""
    engine = sqlalchemy.create_engine(
        f"sqlite:///{tmp_path / 'a.db'}", connect_args={"timeout": 0}, poolclass=NullPool
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x BLOB)")
    return engine


def _insert(engine: Engine, *pragmas: str) -> None:
    with engine.begin() as connection:
        for pragma in pragmas:
            connection.exec_driver_sql(pragma)
        connection.exec_driver_sql("INSERT INTO t VALUES (randomblob(100000))")


def test_sqlite_locked_by_another_connection_is_contention(sqlite_engine: Engine) -> None:
    """ "database is locked" passes when the other is done."""
    with sqlite_engine.connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        assert classify(_failure(lambda: _insert(sqlite_engine))) is Cause.CONTENTION
    _insert(sqlite_engine)


def test_sqlite_on_a_full_disk_is_full(sqlite_engine: Engine) -> None:
    """A file that may not grow says what a full disk says; with room again all is well."""
    error = _failure(lambda: _insert(sqlite_engine, "PRAGMA max_page_count = 3"))
    assert classify(error) is Cause.FULL
    _insert(sqlite_engine)


def test_sqlite_file_that_is_read_only_is_permanent(sqlite_engine: Engine) -> None:
    """Rights do not change by themselves."""
    url = f"sqlite:///file:{sqlite_engine.url.database}?mode=ro&uri=true"
    read_only = sqlalchemy.create_engine(url, poolclass=NullPool)
    assert classify(_failure(lambda: _insert(read_only))) is Cause.PERMANENT
