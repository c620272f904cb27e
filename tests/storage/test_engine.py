"""Opening a database fails in one clear line that names what was tried, and no password."""

import uuid
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy.engine import URL, make_url

from storage import (
    EmptyStorageError,
    SchemaError,
    UnreachableError,
    create_storage,
    explain_database_error,
    open_storage,
)
from tests import servers


def test_create_storage_with_unwritable_directory_names_the_database(tmp_path: Path) -> None:
    """A directory that does not take the file gives an error that names the URL."""
    (tmp_path / "file").write_text("")
    url = f"sqlite:///{tmp_path / 'file' / 'tuner.db'}"
    with pytest.raises(UnreachableError, match="Cannot open storage sqlite"):
        create_storage(url)


def test_create_storage_on_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    """Somebody's text file is neither overwritten nor taken for a database."""
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but longer than an SQLite header is" * 10)
    with pytest.raises(UnreachableError, match="not a database"):
        create_storage(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database")


def test_create_storage_with_no_server_there_says_so() -> None:
    """A server that does not answer gives an error with the driver's reason."""
    with pytest.raises(UnreachableError, match=r"postgresql.*127.0.0.1:9"):
        create_storage("postgresql://user:s3cret@127.0.0.1:9/tuner")


def test_create_storage_with_wrong_password_never_shows_it(mysql_server: URL) -> None:
    """The server's refusal is passed on; the password is not."""
    user = f"t_{uuid.uuid4().hex[:8]}"
    servers.execute(mysql_server, f"CREATE USER '{user}'@'%' IDENTIFIED BY 'right'")
    try:
        url = mysql_server.set(username=user, password="wr0ng", database="test")
        with pytest.raises(UnreachableError, match="Access denied") as raised:
            create_storage(url.render_as_string(hide_password=False))
    finally:
        servers.execute(mysql_server, f"DROP USER '{user}'@'%'")
    assert "wr0ng" not in str(raised.value)


def test_create_storage_refused_by_postgres_never_shows_the_password(postgres_server: URL) -> None:
    """PostgreSQL's reason is passed on; the password is not."""
    database = f"missing_{uuid.uuid4().hex[:8]}"
    url = postgres_server.set(drivername="postgresql", password="wr0ng", database=database)
    with pytest.raises(UnreachableError, match=database) as raised:
        create_storage(url.render_as_string(hide_password=False))
    assert "wr0ng" not in str(raised.value)


def test_create_storage_of_newer_optuna_schema_says_which_is_older(storage_url: str) -> None:
    """Tables of an Optuna that this one does not know are refused, not guessed at."""
    engine = create_storage(storage_url).engine
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'v9.0.0.a'"))
    engine.dispose()
    with pytest.raises(SchemaError, match=r"v9.0.0.a, this Optuna knows v\d.*update optuna"):
        create_storage(storage_url)


def test_explanation_of_a_database_error_tells_an_outage_from_a_mistake(sqlite_url: str) -> None:
    """One line with what the driver said; other errors are not explained."""
    away = sqlalchemy.create_engine("mysql+pymysql://u:p@127.0.0.1:9/d")
    with pytest.raises(sqlalchemy.exc.OperationalError) as outage:
        away.connect()
    engine = create_storage(sqlite_url).engine
    with engine.connect() as connection, pytest.raises(sqlalchemy.exc.OperationalError) as mistake:
        connection.execute(sqlalchemy.text("SELECT * FROM missing"))
    assert "does not answer: " in str(explain_database_error(outage.value))
    assert "failed: no such table: missing" in str(explain_database_error(mistake.value))
    assert explain_database_error(ValueError("other")) is None


def test_open_storage_without_file_creates_none(tmp_path: Path) -> None:
    """Looking at a database that does not exist leaves nothing behind."""
    with pytest.raises(EmptyStorageError, match="tuner run"):
        open_storage(f"sqlite:///{tmp_path / 'tuner.db'}")
    assert list(tmp_path.iterdir()) == []


def test_open_storage_on_empty_database_says_how_to_begin(postgres_url: str) -> None:
    """A database without a study is told apart from one that cannot be reached."""
    with pytest.raises(EmptyStorageError, match="holds no study"):
        open_storage(postgres_url)


def test_open_storage_read_only_does_not_wait_for_a_writer(sqlite_url: str) -> None:
    """Whoever only looks reads on while a worker holds SQLite's write lock."""
    writer = create_storage(sqlite_url)
    reader = open_storage(sqlite_url, read_only=True)
    with writer.engine.begin():
        assert reader.get_all_studies() == []


def test_sqlite_transaction_begins_with_the_write_lock(sqlite_url: str) -> None:
    """A worker's transaction that begins with a read is already exclusive."""
    first = create_storage(sqlite_url).engine
    second = sqlalchemy.create_engine(make_url(sqlite_url), connect_args={"timeout": 0})
    with first.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
        with second.connect() as other, pytest.raises(sqlalchemy.exc.OperationalError):
            other.exec_driver_sql("BEGIN IMMEDIATE")
    second.dispose()
