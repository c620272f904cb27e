"""Whether there is a PgBouncer to test with."""

from benchmarks.pooler import find_pgbouncer
from tests import servers


def require_pgbouncer() -> None:
    """Skip a test that needs the program, or fail it where it must be there."""
    if find_pgbouncer() is None:
        servers.skip_or_fail("pgbouncer", "pgbouncer is not installed")
