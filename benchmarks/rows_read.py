"""Count what an engine asks its database, and the rows that come back."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, event


@dataclass
class Count:
    """What was asked: statements, of these those that begin transactions, and rows read."""

    n_statements: int = 0
    n_begins: int = 0
    n_rows: int = 0


@contextlib.contextmanager
def counted(engine: Engine) -> Iterator[Count]:
    """Count until the block ends, on connections that are opened in it."""
    count = Count()

    def count_row(_cursor: Any, row: Any) -> Any:
        count.n_rows += 1
        return row

    def connected(connection: Any, _record: Any) -> None:
        if engine.dialect.name == "sqlite":  # does not tell how many rows an answer has
            connection.row_factory = count_row

    def executed(_connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        count.n_statements += 1
        count.n_begins += statement.startswith("BEGIN")
        if engine.dialect.name != "sqlite":
            count.n_rows += max(cursor.rowcount, 0)

    engine.dispose()
    event.listen(engine, "connect", connected)
    event.listen(engine, "after_cursor_execute", executed)
    try:
        yield count
    finally:
        event.remove(engine, "connect", connected)
        event.remove(engine, "after_cursor_execute", executed)
        engine.dispose()
