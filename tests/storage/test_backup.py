"""Copies of SQLite databases hold all that was committed, and are put back whole or not at all."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from storage import (
    BadUrlError,
    CopyError,
    back_up,
    check_storage,
    create_budget,
    create_storage,
    open_storage,
    register_worker,
    restore,
)

# Commits, and ends as by kill -9: what it has written stands in the log alone.
_KILLED = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("CREATE TABLE late (x)")
connection.executemany("INSERT INTO late VALUES (?)", [(i,) for i in range(500)])
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the file of a study that nobody has open."""
    file = tmp_path / "tuner.db"
    storage = create_storage(_url(file))
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], "s")
    create_budget(storage.engine, study_id, 3)
    storage.engine.dispose()
    return file


def _url(file: Path) -> str:
    return f"sqlite:///{file}"


def _count(file: Path, table: str) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{file}?immutable=1", uri=True)) as connection:
        (n,) = connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    return int(n)


def _commit_and_die(file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, file], check=False)
    assert done.returncode == -9


def test_copy_holds_what_stands_in_the_log_alone(file: Path) -> None:
    """Where a copy of the file lacks it; the copy is one file, with the first one's permissions."""
    _commit_and_die(file)
    shutil.copy(file, file.with_name("by-cp.db"))
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        _count(file.with_name("by-cp.db"), "late")
    file.chmod(0o600)
    copy = file.with_name("copy.db")
    back_up(_url(file), copy)
    assert _count(copy, "late") == 500
    assert copy.stat().st_mode & 0o777 == 0o600
    names = {each.name for each in file.parent.iterdir()}
    assert {name for name in names if "copy.db" in name} == {"copy.db"}


def test_copy_overwrites_nothing(file: Path) -> None:
    """Neither a file nor a link that leads nowhere."""
    link = file.with_name("link.db")
    link.symlink_to("nowhere.db")
    for taken in (file, link):
        with pytest.raises(CopyError, match=r"is there already: name another --file"):
            back_up(_url(file), taken)
    assert os.readlink(link) == "nowhere.db"


def test_copy_that_fails_leaves_nothing(file: Path) -> None:
    """A damaged database is said to be so."""
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\0" * 4096)
    before = set(file.parent.iterdir())
    with pytest.raises(CopyError, match=r"damaged|malformed"):
        back_up(_url(file), file.with_name("copy.db"))
    assert set(file.parent.iterdir()) == before


def test_copy_is_put_back_where_a_log_of_another_lies(file: Path) -> None:
    """What was there is kept with its log, and can be looked at."""
    copy = file.with_name("copy.db")
    back_up(_url(file), copy)
    _commit_and_die(file)
    kept = restore(_url(file), copy)
    assert kept is not None
    assert _count(kept, "late") == 500
    assert check_storage(_url(file)).problems == []
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        _count(file, "late")


def test_copy_is_put_where_a_database_is_damaged_or_gone(file: Path) -> None:
    """That is why somebody puts it back."""
    copy = file.with_name("copy.db")
    back_up(_url(file), copy)
    file.write_bytes(b"no database" * 1000)
    kept = restore(_url(file), copy)
    assert kept is not None
    assert kept.read_bytes().startswith(b"no database")
    file.unlink()
    assert restore(_url(file), copy) is None
    assert check_storage(_url(file)).problems == []


def test_database_in_use_is_not_replaced(file: Path) -> None:
    """By whoever has it open, if only to look, and by a worker that was there a moment ago."""
    copy = file.with_name("copy.db")
    back_up(_url(file), copy)
    identity = file.stat().st_ino
    with contextlib.closing(sqlite3.connect(file)) as reader:
        reader.execute("SELECT COUNT(*) FROM trials").fetchone()
        with pytest.raises(CopyError, match=r"is in use: stop its workers, `tuner serve`"):
            restore(_url(file), copy)
    engine = open_storage(_url(file)).engine
    register_worker(engine, 1, "host", 1)
    engine.dispose()
    with pytest.raises(CopyError, match="1 workers are training studies in storage"):
        restore(_url(file), copy)
    assert file.stat().st_ino == identity


def test_what_is_no_copy_is_not_put_back(file: Path) -> None:
    """A file that is not there, no database, or one of another program."""
    words = file.with_name("words")
    words.write_text("words " * 1000)
    other = file.with_name("other.db")
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
    for wrong in (file.with_name("missing"), words, other):
        with pytest.raises(CopyError):
            restore(_url(file), wrong)
    assert check_storage(_url(file)).problems == []


@pytest.mark.parametrize(
    ("url", "program"),
    [("postgresql://u:secret@h/d", "pg_dump"), ("mysql://u:secret@h/d", "mariadb-dump")],
)
def test_servers_have_programs_of_their_own(url: str, program: str, tmp_path: Path) -> None:
    """One line names them, without the password."""
    with pytest.raises(BadUrlError, match=rf"is a server's: `{program} ") as refused:
        back_up(url, tmp_path / "copy.db")
    assert "secret" not in str(refused.value)
    with pytest.raises(BadUrlError, match=r"stop workers and `tuner serve`, then"):
        restore(url, tmp_path / "copy.db")
