"""Workers whose database is put back to an earlier moment, while they sleep: nothing is mixed."""

import contextlib
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, text

from storage import check_storage, open_storage, parse_url
from tests.servers import PrivatePostgres, find_postgres_programs, new_database, skip_or_fail
from tests.tuner.conftest import Crew, Process, n_reporting, rows, wait_until
from tuner.study import LoadedStudy, load_study

pytestmark = pytest.mark.slow

# Says by an attribute what it will return: two workers suggest the same to two first trials.
_DRAWN = {"objective": "theirs:drawn", "pruner": "none"}
# What ends the trials of those who slept, before those of others end.
_FIRST = "finish-first"
_GONE_BACK = "has gone back to an earlier moment"
_DROPPED = "was taken away meanwhile"
_N_TRIALS = 30  # more than end while a test looks away
_N_TRANSACTIONS = """
SELECT COUNT(*) FROM information_schema.innodb_trx JOIN information_schema.processlist
ON id = trx_mysql_thread_id WHERE db = :name
"""
_WORKER = ("worker", "--lease", "4s", "--workers", "1")


def _load(crew: Crew) -> LoadedStudy:
    """Read the study anew: Optuna remembers what it has read before."""
    return load_study(open_storage(crew.url), "s")


def _n_ended(crew: Crew) -> int:
    return sum(row["state"] == "COMPLETE" for row in rows(_load(crew)))


def _advance(crew: Crew) -> None:
    """Let some trials end, and others begin."""
    n_before = _n_ended(crew)
    crew.finish()
    wait_until(lambda: _n_ended(crew) > n_before)
    (crew.folder / "finish").unlink()
    wait_until(lambda: n_reporting(_load(crew)))


def _freeze_for(workers: list[Process], put_back: Callable[[], None]) -> None:
    """Let workers sleep from before the database is put back, none in a transaction."""
    for _ in range(100):
        for worker in workers:
            worker.popen.send_signal(signal.SIGSTOP)
        try:
            return put_back()
        except (sqlite3.OperationalError, BlockingIOError):
            for worker in workers:
                worker.popen.send_signal(signal.SIGCONT)
    raise AssertionError("a worker held the lock each time")


def _assert_nothing_is_mixed(crew: Crew) -> None:
    loaded = _load(crew)
    complete = [trial for trial in loaded.study.get_trials() if trial.state.name == "COMPLETE"]
    assert {trial.number: trial.value for trial in complete} == {
        trial.number: trial.user_attrs["drawn"] for trial in complete
    }
    assert len(complete) == _N_TRIALS
    budget = loaded.load_budget()
    assert (budget.n_finished, budget.n_leased) == (_N_TRIALS, 0)
    (note,) = check_storage(crew.url).problems
    assert _GONE_BACK.removeprefix("has ") in note


@contextlib.contextmanager
def _copied(crew: Crew) -> Iterator[Callable[[], None]]:
    """Copy the file of a crew's study, and yield what puts the copy back, into the same file."""
    file = crew.url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(crew.folder / "copy.db")) as copy:
        with contextlib.closing(sqlite3.connect(file)) as there:
            there.backup(copy)

        def put_back() -> None:
            with contextlib.closing(sqlite3.connect(file, timeout=0.2)) as there:
                copy.backup(there)

        yield put_back


def _has_noticed(worker: Process) -> bool:
    return _DROPPED in worker.logged() or _GONE_BACK in worker.logged()


def _start(crew: Crew, by: str = "finish") -> Process:
    """Start a worker whose trials go on until there is a file of this name."""
    worker = crew.start(*_WORKER, FINISH=by)
    wait_until(lambda: n_reporting(_load(crew)))
    return worker


def _thaw(crew: Crew, worker: Process, other: Process) -> None:
    """Let both train to the end; the one that slept says so once."""
    worker.popen.send_signal(signal.SIGCONT)
    (crew.folder / _FIRST).touch()
    wait_until(lambda: _has_noticed(worker))
    crew.finish()
    assert [worker.wait(), other.wait()] == [0, 0]
    assert worker.logged().count(_GONE_BACK) == 1
    assert _GONE_BACK not in other.logged()
    assert "Traceback" not in worker.logged()


def test_worker_that_slept_while_its_file_was_put_back_leaves_the_trial_of_its_id_alone(
    crew: Crew,
) -> None:
    """By SQLite's own restore, to before it had registered: another has its ids, all of them."""
    crew.create(_DRAWN, _N_TRIALS)
    with _copied(crew) as put_back:
        worker = _start(crew, _FIRST)
        _freeze_for([worker], put_back)
    _thaw(crew, worker, _start(crew))
    _assert_nothing_is_mixed(crew)


def test_worker_that_slept_while_its_file_was_put_back_takes_new_work(crew: Crew) -> None:
    """To a moment at which it had registered, and trained what is in training once more."""
    crew.create(_DRAWN, _N_TRIALS)
    worker = _start(crew)
    with _copied(crew) as put_back:
        _advance(crew)
        _freeze_for([worker], put_back)
    _thaw(crew, worker, _start(crew))
    _assert_nothing_is_mixed(crew)


@pytest.fixture
def server() -> Iterator[PrivatePostgres]:
    """Return a PostgreSQL server whose folder may be exchanged."""
    if find_postgres_programs() is None:
        skip_or_fail("postgresql", "no PostgreSQL that can be started here")
    with PrivatePostgres() as server:
        yield server


@pytest.mark.long
@pytest.mark.db
def test_workers_that_slept_while_their_server_was_put_back_take_new_work(
    make_crew: Callable[[str], Crew], server: PrivatePostgres
) -> None:
    """The folder of data is exchanged for a copy: the same ids are handed out again."""
    with new_database(server.url) as url:
        crew = make_crew(url)
        crew.create(_DRAWN, _N_TRIALS)
        server.stop()
        _copy(server.data)
        server.start()
        before = [crew.start(*_WORKER, FINISH=_FIRST) for _ in range(2)]
        wait_until(lambda: n_reporting(_load(crew)) == len(before))

        def put_back() -> None:
            server.stop("immediate")
            shutil.rmtree(server.data)
            server.data.with_name("copy").rename(server.data)
            server.start()

        _freeze_for(before, put_back)
        after = [crew.start(*_WORKER, FINISH="finish") for _ in range(2)]
        wait_until(lambda: n_reporting(_load(crew)) == len(after))
        for worker in before:
            worker.popen.send_signal(signal.SIGCONT)
        (crew.folder / _FIRST).touch()
        wait_until(lambda: all(map(_has_noticed, before)))
        crew.finish()
        assert [worker.wait() for worker in [*before, *after]] == [0] * 4
        assert [worker.logged().count(_GONE_BACK) for worker in [*before, *after]] == [1, 1, 0, 0]
        _assert_nothing_is_mixed(crew)


@contextlib.contextmanager
def _dumped(url: URL) -> Iterator[Callable[[], None]]:
    """Dump a database of a MariaDB, and yield what puts the dump back while nobody is writing."""
    where = [f"--host={url.host}", f"--port={url.port or 3306}", f"--user={url.username}"]
    dump = [str(shutil.which("mariadb-dump")), *where, "--single-transaction", str(url.database)]
    content = subprocess.run(dump, check=True, capture_output=True, timeout=100).stdout
    engine = create_engine(url, isolation_level="AUTOCOMMIT")

    def put_back() -> None:
        with engine.connect() as connection:
            if connection.execute(text(_N_TRANSACTIONS), {"name": url.database}).scalar_one():
                raise BlockingIOError("a worker sleeps in a transaction")
        restore = [str(shutil.which("mariadb")), *where, str(url.database)]
        subprocess.run(restore, input=content, check=True, capture_output=True, timeout=100)

    yield put_back
    engine.dispose()


@pytest.mark.long
@pytest.mark.db
@pytest.mark.parametrize("is_known", [False, True], ids=["before it registered", "afterwards"])
def test_worker_that_slept_while_its_mariadb_was_put_back_takes_new_work(
    make_crew: Callable[[str], Crew],
    mysql_server: URL,
    is_known: bool,  # noqa: FBT001 (a parameter of the test)
) -> None:
    """A dump is read back under living connections: rows get the same numbers once more."""
    if shutil.which("mariadb-dump") is None:
        skip_or_fail("mysql", "no mariadb-dump to copy a database with")
    with new_database(mysql_server) as url:
        crew = make_crew(url)
        crew.create(_DRAWN, _N_TRIALS)
        worker = _start(crew) if is_known else None
        with _dumped(parse_url(url)) as put_back:
            if worker is None:
                worker = _start(crew, _FIRST)
            else:
                _advance(crew)
            _freeze_for([worker], put_back)
        _thaw(crew, worker, _start(crew))
        _assert_nothing_is_mixed(crew)


def _copy(folder: Path) -> None:
    """Copy a folder as it is, owners too: a server does not start from another's."""
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    for there, here in zip(sorted(folder.rglob("*")), sorted(copy.rglob("*")), strict=True):
        shutil.chown(here, there.stat().st_uid, there.stat().st_gid)
    shutil.chown(copy, folder.stat().st_uid, folder.stat().st_gid)
    copy.chmod(0o700)
