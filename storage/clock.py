"""The database's clock as an SQL expression: the only clock that all workers share."""

import math
from typing import Any

from sqlalchemy import Double, Engine, text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class epoch_now(FunctionElement[float]):  # noqa: N801 (reads as the SQL function that it is)
    """Seconds since 1970 UTC, with fractions, when the statement runs."""

    type = Double()
    inherit_cache = True


@compiles(epoch_now, "sqlite")
def _sqlite(_element: epoch_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(epoch_now, "postgresql")
def _postgresql(_element: epoch_now, _compiler: SQLCompiler, **_: Any) -> str:
    return "EXTRACT(EPOCH FROM clock_timestamp())::double precision"


@compiles(epoch_now, "mysql")
def _mysql(_element: epoch_now, _compiler: SQLCompiler, **_: Any) -> str:
    # SYSDATE, unlike NOW, is read when it is evaluated; the session's time zone cancels out.
    return "CAST(UNIX_TIMESTAMP(SYSDATE(6)) AS DOUBLE)"


_UPTIME = {
    "postgresql": (
        "SELECT 'Uptime', EXTRACT(EPOCH FROM clock_timestamp() - pg_postmaster_start_time())"
    ),
    "mysql": "SHOW GLOBAL STATUS LIKE 'Uptime'",
}


def read_uptime(engine: Engine) -> float:
    """Return for how many seconds the database server has been up; SQLite has none to be down."""
    query = _UPTIME.get(engine.dialect.name)
    if query is None:
        return math.inf
    with engine.connect() as connection:
        _, seconds = connection.execute(text(query)).one()
    return float(seconds)
