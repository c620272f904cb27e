"""Let MySQL and MariaDB compare names as bytes, as the other databases do.

With the collations that these two choose, `c` is stored as the parameter `C` that is there already,
`naive` as `naïve`, and `a` as `a ` with a blank. Only names in Optuna's tables are compared at all.
"""

from collections.abc import Sequence

from sqlalchemy import Column, Connection, bindparam, text
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError

from storage import optuna_tables as tables
from storage.errors import SchemaError

_NAMES: tuple[Column[str], ...] = (
    tables.studies.c.study_name,
    tables.study_user_attrs.c.key,
    tables.study_system_attrs.c.key,
    tables.params.c.param_name,
    tables.user_attrs.c.key,
    tables.system_attrs.c.key,
)

# MariaDB's and MySQL 8's that compare all bytes. Others, as utf8mb4_bin, leave out blanks at the
# end: for servers that have nothing better.
_BYTES = ("utf8mb4_nopad_bin", "utf8mb4_0900_bin")
_NEARLY_BYTES = "utf8mb4_bin"

_COLLATIONS = text(
    "SELECT collation_name FROM information_schema.collations WHERE collation_name IN :names"
).bindparams(bindparam("names", _BYTES, expanding=True))
_COLUMNS = text(
    "SELECT table_name, column_name, collation_name FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name IN :tables"
).bindparams(bindparam("tables", [name.table.name for name in _NAMES], expanding=True))

_MAY_NOT = (1142, 1044, 1227)  # ER_TABLEACCESS_DENIED_ERROR and the like


def find_merged_names(connection: Connection) -> list[str]:
    """Return the columns, as ``table.column``, in which different names are taken for one."""
    return [str(column) for column in _find_merged(connection, _find_collations(connection))]


def compare_as_bytes(connection: Connection) -> None:
    """Change those columns, with what is in them; safe to repeat. Raises SchemaError without the
    right to.
    """
    collations = _find_collations(connection)
    for column in _find_merged(connection, collations):
        statement = _alter(column, collations[0])
        try:
            connection.execute(text(statement))
        except DBAPIError as error:
            if error.orig is None or error.orig.args[0] not in _MAY_NOT:
                raise
            raise SchemaError(
                f"This database takes different names in {column} for one, and its user may not "
                f"mend that: grant it ALTER, or let somebody else run: {statement}"
            ) from error


def _find_collations(connection: Connection) -> Sequence[str]:
    """Return the collations that will do."""
    if connection.dialect.name != "mysql":
        return ()
    return connection.execute(_COLLATIONS).scalars().all() or [_NEARLY_BYTES]


def _find_merged(connection: Connection, collations: Sequence[str]) -> list[Column[str]]:
    if not collations:
        return []
    found = {(table, column): name for table, column, name in connection.execute(_COLUMNS)}
    return [c for c in _NAMES if found.get((c.table.name, c.name)) not in (None, *collations)]


def _alter(column: Column[str], collation: str) -> str:
    length = column.type.length  # type: ignore[attr-defined]
    kind = mysql.VARCHAR(length, charset="utf8mb4", collation=collation)
    null = "NULL" if column.nullable else "NOT NULL"
    described = kind.compile(dialect=mysql.dialect())
    return f"ALTER TABLE {column.table.name} MODIFY `{column.name}` {described} {null}"
