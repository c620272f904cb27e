"""Databases as older versions made them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from optuna.storages import RDBStorage
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from storage import parse_url
from storage.migrations import migrate

# Databases as they were dumped, by version:
# v1: study `digits` with 5 of 6 trials finished, and a lease whose worker died before it asked for
# its trial; made by 0.1.0 (commit c264fa5).
# v2: study `digits` with 6 trials finished, and its views; made by commit 1ccaa6e.
_OLD_DUMPS = Path(__file__).parent / "old"


def restore_old_file(path: Path, version: int = 1) -> str:
    """Write the kept database of an older version to a file; return its URL."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((_OLD_DUMPS / f"v{version}.sql").read_text())
    return f"sqlite:///{path}"


def make_version_1(url: str) -> None:
    """Make an empty database as 0.1.0 did: Optuna's tables, and ours without a version."""
    full_url = parse_url(url).render_as_string(hide_password=False)
    RDBStorage(full_url).engine.dispose()
    with bare_engine(url) as engine, engine.begin() as connection:
        migrate(connection, to="1")
        connection.execute(text("DROP TABLE tuner_schema_version"))


@contextmanager
def bare_engine(url: str) -> Iterator[Engine]:
    """Yield an engine with none of our settings, as another program would have it."""
    yield create_engine(parse_url(url), poolclass=NullPool)
