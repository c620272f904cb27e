"""Bring our own tables to the version we expect, by Alembic, under a version table of our own.

``versions/`` holds one file a version, each a frozen description: it never reads
``storage.schema``, which describes the newest version only (a test compares them). To add one:
write the file, raise ``storage.versions.NEWEST_VERSION``, and change ``storage.schema``. Steps
go up only. PostgreSQL and SQLite undo an interrupted upgrade; MySQL commits each statement, so
each is written to be repeated. Alembic is imported here and nowhere else.
"""

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from storage.versions import VERSION_TABLE

# For a table that somebody's transaction holds: better an error than a wait for ever.
_LOCK_SECONDS = 60
_LIMIT_WAITING = {
    "postgresql": f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'",
    "mysql": f"SET SESSION lock_wait_timeout = {_LOCK_SECONDS}",
}


def migrate(connection: Connection, to: str = "head") -> None:
    """Bring our tables to a version, from none or from an older one; safe to repeat.

    Runs in the caller's transaction, one process at a time: see ``storage.creation_lock``.
    """
    if (statement := _LIMIT_WAITING.get(connection.dialect.name)) is not None:
        connection.execute(text(statement))
    script = ScriptDirectory(Path(__file__).parent)

    def steps(current: Any, _context: Any) -> Any:
        return script._upgrade_revs(to, current)  # what `alembic upgrade` itself calls

    environment = EnvironmentContext(Config(), script, fn=steps, destination_rev=to)
    with environment:
        environment.configure(connection=connection, version_table=VERSION_TABLE)
        environment.run_migrations()
