"""Copy an SQLite database while others are at it, and put a copy back; servers have programs of
their own for that.

By SQLite's online backup. A copy of the file alone lacks what stands in its write-ahead log
(`-wal`), and what is put beside the log of another file is destroyed by it.
"""

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL

from storage.engine import creation_lock
from storage.errors import BadUrlError, CopyError, EmptyStorageError
from storage.leases import LEASE_SECONDS
from storage.schema import budgets
from storage.url import mask_url, parse_url, sqlite_file

_PROGRAMS = {
    "postgresql": (
        "`pg_dump --format=custom --file=FILE` copies it",
        "stop workers and `tuner serve`, then `pg_restore --clean --if-exists` puts FILE back",
    ),
    "mysql": (
        "`mariadb-dump --single-transaction --result-file=FILE` copies it",
        "stop workers and `tuner serve`, then `mariadb DATABASE < FILE` puts it back",
    ),
}


def back_up(url: str, file: Path) -> None:
    """Copy a database as it is at one moment to a new file, which is there whole or not at all.

    Whoever is at it goes on. Raises BadUrlError for a server, CopyError, and EmptyStorageError.
    """
    source = _find_file(url, 0)
    if os.path.lexists(file):
        raise CopyError(f"{file} is there already: name another --file")
    with _new_copy(source, file) as copy, _saying(f"Cannot copy {source} to {file}"):
        os.link(copy, file)  # raises where a file has come meanwhile


def restore(url: str, file: Path) -> Path | None:
    """Put a copy in a database's place; return where that one is kept, None if there was none.

    Raises CopyError if the copy is none, or if anybody has the database open; BadUrlError for a
    server. Interrupted, the one or the other is there, and whole.
    """
    target = Path(os.path.realpath(_find_file(url, 1, must_exist=False)))
    with creation_lock(url), _new_copy(file, target) as copy:
        _check_is_ours(file, copy)
        with _saying(f"Cannot put {file} in the place of {target}"):
            kept = _keep(target, url) if target.exists() else None
            os.replace(copy, target)
    return kept


def _keep(file: Path, url: str) -> Path:
    """Give a database that nobody uses one more name; its log, if it has one still, only that."""
    _check_unused(file, url)
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = file.with_name(f"{file.name}.before-{now}")
    os.link(file, kept)
    for end in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{file}{end}", f"{kept}{end}")
    return kept


def _find_file(url: str, way: int, *, must_exist: bool = True) -> Path:
    parsed = parse_url(url)
    file = sqlite_file(parsed)
    if file is None:
        raise BadUrlError(f"Storage {mask_url(parsed)} is a server's: {_advise(parsed, way)}")
    if must_exist and not file.exists():
        raise EmptyStorageError(f"There is no database {file}: `tuner run` creates it")
    return file


def _advise(url: URL, way: int) -> str:
    return _PROGRAMS[url.get_backend_name()][way]


@contextlib.contextmanager
def _new_copy(source: Path, beside: Path) -> Iterator[Path]:
    """Yield a whole copy in a new folder beside a file, which goes at the end."""
    what, prefix = f"Cannot copy {source}", f".{beside.name}-"
    with contextlib.ExitStack() as stack:
        with _saying(what):
            source.stat()
            folder = tempfile.TemporaryDirectory(dir=beside.parent, prefix=prefix)
            copy = Path(stack.enter_context(folder)) / "copy.db"
            _copy(source, copy)
        yield copy


def _copy(source: Path, copy: Path) -> None:
    with contextlib.ExitStack() as stack:
        there = stack.enter_context(contextlib.closing(_open(source)))
        here = stack.enter_context(contextlib.closing(sqlite3.connect(copy)))
        there.backup(here)
        (found,) = here.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise CopyError(f"Cannot copy {source}, it is damaged: {found.splitlines()[-1]}")
        here.execute("PRAGMA journal_mode=DELETE")  # one file, until somebody opens it
    shutil.copymode(source, copy)
    with copy.open("rb") as stream:
        os.fsync(stream.fileno())


def _open(file: Path) -> sqlite3.Connection:
    """Open a database to read it, in a folder that one may not write to as well."""
    is_alone = not Path(f"{file}-wal").exists() and not os.access(file.parent, os.W_OK)
    how = "immutable=1" if is_alone else "mode=rw"
    return sqlite3.connect(f"file:{quote(str(file.resolve()))}?{how}", uri=True)


def _check_is_ours(file: Path, copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        named = "SELECT COUNT(*) FROM sqlite_master WHERE name = ?"
        (n,) = connection.execute(named, (budgets.name,)).fetchone()
    if n == 0:
        raise CopyError(f"{file} is no copy of a database of ours: it has no table {budgets.name}")


def _check_unused(file: Path, url: str) -> None:
    """Raise CopyError if anybody has a database open, or was at it a moment ago from elsewhere."""
    where = f"Storage {mask_url(url)}"
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=0)) as connection:
            # The way out of the write-ahead log is closed while another connection is open.
            connection.execute("PRAGMA journal_mode=DELETE")
            at_work = "left_at IS NULL AND seen_at > (julianday('now') - 2440587.5) * 86400 - ?"
            query = f"SELECT COUNT(*) FROM tuner_workers WHERE {at_work}"
            (n_workers,) = connection.execute(query, (LEASE_SECONDS,)).fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise CopyError(
                f"{where} is in use: stop its workers, `tuner serve` and dashboards first"
            ) from error
        n_workers = 0  # it is empty, or what is wrong with it is why a copy is put back
    except sqlite3.DatabaseError:
        n_workers = 0
    if n_workers:
        raise CopyError(
            f"{n_workers} workers are training studies in {where[0].lower()}{where[1:]}: stop them "
            f"first (one that was killed counts for {LEASE_SECONDS:g} s)"
        )


@contextlib.contextmanager
def _saying(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise CopyError(f"{what}: {error}") from error
    except OSError as error:
        raise CopyError(f"{what}: {error.strerror}") from error
