"""A pooler in transaction mode may stand before PostgreSQL: nothing of ours lives in a session."""

import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier

import pytest
from sqlalchemy import text

from benchmarks.pooler import PgBouncer
from storage import UnreachableError, create_storage, creation_lock, open_storage
from storage.causes import Cause, classify
from tests.conftest import Cli
from tests.poolers import require_pgbouncer
from tests.storage.databases import bare_engine
from tests.storage.together import run_together

pytestmark = pytest.mark.db

_N_STARTERS = 6
_ADVISORY_LOCKS = """
SELECT COUNT(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
WHERE l.locktype = 'advisory' AND d.datname = current_database()"""


# Takes the lock, says so, and keeps it until it is killed.
_HOLD = """
import sys
from storage import creation_lock
with creation_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def pooler(postgres_url: str) -> Iterator[PgBouncer]:
    """Return a pooler in transaction mode before an empty database."""
    require_pgbouncer()
    with PgBouncer(postgres_url) as pooler:
        yield pooler


def _ask(url: str, query: str) -> object:
    with bare_engine(url) as engine, engine.connect() as connection:
        return connection.execute(text(query)).scalar_one()


@pytest.mark.slow
def test_study_is_created_and_run_through_a_pooler(call: Cli, pooler: PgBouncer) -> None:
    """Two workers share its sessions, and the budget is exact."""
    where = {"TUNER_STORAGE": pooler.url}
    options = ("--study", "s", "--trials", "12")
    created = call("create", "--dataset", "digits", *options, **where)
    assert created.returncode == 0, created.stderr
    run = call("run", "--dataset", "digits", *options, "--workers", "2", "--no-confirm", **where)
    assert run.returncode == 0, run.stderr
    check = call("storage", "check", **where)
    assert (check.returncode, check.stderr) == (0, "")
    counted = "SELECT COUNT(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED')"
    assert _ask(pooler.url, counted) == 12


def _create(barrier: Barrier, url: str) -> None:
    barrier.wait(timeout=200)
    create_storage(url)


def test_first_starts_at_once_through_a_pooler_wait_outside_of_it(pooler: PgBouncer) -> None:
    """Those who wait for the lock leave its few connections to the one who has it."""
    run_together([(_create, (pooler.url,))] * _N_STARTERS)
    assert open_storage(pooler.url).get_all_studies() == []


def test_creation_lock_ends_with_its_transaction(pooler: PgBouncer, postgres_url: str) -> None:
    """Nobody is locked out by a session that the pooler keeps, also not past the pooler."""
    create_storage(pooler.url)
    with creation_lock(pooler.url):
        assert _ask(postgres_url, _ADVISORY_LOCKS) == 1
    for url in (pooler.url, postgres_url):
        assert _ask(postgres_url, _ADVISORY_LOCKS) == 0
        create_storage(url)


def test_creation_lock_of_a_killed_process_is_free(pooler: PgBouncer, postgres_url: str) -> None:
    """The pooler ends a session whose client is gone in the midst of a transaction."""
    command = [sys.executable, "-c", _HOLD, pooler.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        process.kill()
    create_storage(pooler.url)
    assert _ask(postgres_url, _ADVISORY_LOCKS) == 0


def test_statements_are_prepared_only_without_a_pooler(
    pooler: PgBouncer, postgres_url: str
) -> None:
    """In another client's session they would be missing, or be somebody else's."""
    create_storage(postgres_url)
    for url, n_prepared in ((pooler.url, 0), (postgres_url, 1)):
        with open_storage(url).engine.connect() as connection:
            for number in range(10):
                connection.execute(text("SELECT 1 + CAST(:n AS INTEGER)"), {"n": number})
            query = "SELECT COUNT(*) FROM pg_prepared_statements WHERE statement LIKE '%1 + CAST%'"
            assert connection.execute(text(query)).scalar_one() == n_prepared


def test_pooler_of_single_statements_is_refused_with_the_remedy(postgres_url: str) -> None:
    """Transactions cannot be had there: one line says which setting to change, at once."""
    require_pgbouncer()
    with (
        PgBouncer(postgres_url, "statement") as pooler,
        pytest.raises(UnreachableError, match="set the pooler's pool_mode to transaction") as said,
    ):
        create_storage(pooler.url)
    assert classify(said.value) is Cause.PERMANENT
