"""Calls are repeated while the database is away, for as long as told, and no longer."""

import itertools
import logging
import math
import os
import random
import signal
import threading
import time
from collections.abc import Callable

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from storage import Cause, Retry, UnreachableError, create_storage, read_uptime
from tests import servers

URL = make_url("postgresql+psycopg://tuner:s3cret@db/tuner")


class _Clock:
    """A monotonic clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def _retry(
    clock: _Clock, patience: float = 60, is_leaving: Callable[[], bool] = lambda: False
) -> Retry:
    jitter = random.Random(0)
    return Retry(URL, patience, is_leaving, sleep=clock.sleep, clock=clock, jitter=jitter)


def _outage() -> OperationalError:
    return OperationalError("SELECT", {}, psycopg.OperationalError("no answer for tuner:s3cret"))


def _deadlock() -> OperationalError:
    return OperationalError("SELECT", {}, psycopg.errors.DeadlockDetected("deadlock detected"))


class _Database:
    """A call that fails until a moment; counts and dates its calls."""

    def __init__(
        self, clock: _Clock, until: float, error: Callable[[], Exception] = _outage
    ) -> None:
        self._clock = clock
        self._until = clock.now + until
        self._error = error
        self.called_at: list[float] = []

    def __call__(self) -> str:
        self.called_at.append(self._clock.now)
        if self._clock.now < self._until:
            raise self._error()
        return "answer"


def test_retry_returns_what_the_call_returns_once_the_database_is_back() -> None:
    """An outage within the patience is only a delay."""
    clock = _Clock()
    assert _retry(clock, patience=60).call("ask", _Database(clock, until=30)) == "answer"
    assert 1030 <= clock.now <= 1036


def test_retry_waits_longer_and_longer_but_never_long() -> None:
    """A short outage is over soon; a long one is asked about every few seconds."""
    clock = _Clock()
    database = _Database(clock, until=60)
    _retry(clock, patience=90).call("ask", database)
    called_at = database.called_at
    waits = [after - before for before, after in itertools.pairwise(called_at)]
    assert waits[0] <= 0.1
    assert all(2.4 <= wait <= 5.1 for wait in waits[-5:])
    assert len(waits) < 30


def test_retry_tells_the_cause_of_each_repetition() -> None:
    """Whoever counts them sees every one, not only those that are logged."""
    clock, causes = _Clock(), list[Cause]()
    database = _Database(clock, until=5)
    Retry(URL, 60, sleep=clock.sleep, clock=clock, on_retry=causes.append).call("ask", database)
    assert causes == [Cause.OUTAGE] * (len(database.called_at) - 1)


def test_retry_of_two_processes_does_not_keep_step() -> None:
    """Jitter: those that failed together do not come back together."""
    clocks = _Clock(), _Clock()
    databases = [_Database(clock, until=20) for clock in clocks]
    for clock, database in zip(clocks, databases, strict=True):
        Retry(URL, 60, sleep=clock.sleep, clock=clock).call("ask", database)
    assert not set(databases[0].called_at[1:]) & set(databases[1].called_at[1:])


@pytest.mark.parametrize("patience", [0, 0.05, 10])
def test_retry_whose_patience_is_over_says_what_was_tried_and_hides_the_password(
    patience: float,
) -> None:
    """One line with the call, the masked URL, the time and the driver's words; tried to the end."""
    clock = _Clock()
    with pytest.raises(UnreachableError) as raised:
        _retry(clock, patience).call("claim a slot", _Database(clock, until=1e9))
    assert clock.now == pytest.approx(1000 + patience)
    message = str(raised.value)
    assert "tuner:***@db/tuner does not answer: gave up trying to claim a slot" in message
    assert f"after {patience:.0f} s" in message
    assert "no answer for tuner:***" in message
    assert "s3cret" not in message


def test_retry_within_a_retry_does_not_wait_twice() -> None:
    """What has been waited for is passed on by an outer call."""
    clock = _Clock()
    retry = _retry(clock, patience=10)
    with pytest.raises(UnreachableError):
        retry.call("outer", lambda: retry.call("inner", _Database(clock, until=1e9)))
    assert clock.now == pytest.approx(1010)


@pytest.mark.parametrize(
    "error",
    [KeyError("study"), psycopg.errors.UndefinedTable("none"), KeyboardInterrupt()],
    ids=str,
)
def test_retry_passes_on_at_once_what_will_not_pass(error: BaseException) -> None:
    """A mistake is seen when it happens, as it is."""
    clock = _Clock()

    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        _retry(clock).call("ask", fail)
    assert raised.value is error
    assert clock.now == 1000


def test_patience_counts_from_the_first_failure_of_each_call() -> None:
    """A call that itself took long, or an outage that was survived, costs nothing."""
    clock = _Clock()
    retry = _retry(clock, patience=10)
    for _ in range(3):
        assert retry.call("ask", _Database(clock, until=8)) == "answer"


def test_retry_logs_the_cause_once_and_then_ever_more_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An hour's outage is told in dozens of lines, not thousands, and its end is told."""
    clock = _Clock()
    _retry(clock, patience=7200).call("report", _Database(clock, until=3600))
    lines = [record.getMessage() for record in caplog.records]
    assert "does not answer, trying again to report for up to 7200 s: no answer" in lines[0]
    assert lines[-1].endswith("answers again, after 3600 s") or "after 360" in lines[-1]
    assert 10 < len(lines) < 80
    assert "s3cret" not in caplog.text


def test_deadlock_is_no_news_but_a_lasting_lock_is(caplog: pytest.LogCaptureFixture) -> None:
    """Contention is everyday life for some milliseconds."""
    clock = _Clock()
    with caplog.at_level(logging.DEBUG, "storage"):
        _retry(clock).call("claim", _Database(clock, until=0.05, error=_deadlock))
        assert [record.levelname for record in caplog.records] == ["DEBUG"]
        caplog.clear()
        _retry(clock).call("claim", _Database(clock, until=20, error=_deadlock))
    assert "is locked by others" in caplog.text
    assert "WARNING" in [record.levelname for record in caplog.records]


def test_retry_asked_to_leave_gives_up_within_a_second_but_survives_a_deadlock() -> None:
    """A process that leaves still gives back under contention, but waits for no outage."""
    clock = _Clock()
    retry = _retry(clock, patience=600, is_leaving=lambda: clock.now >= 1030)
    with pytest.raises(UnreachableError):
        retry.call("ask", _Database(clock, until=1e9))
    assert 1030 < clock.now < 1031
    assert retry.call("give back", _Database(clock, until=0.1, error=_deadlock)) == "answer"


def test_signal_during_a_real_outage_ends_the_wait_within_a_second() -> None:
    """A handler that only takes note, as the worker's does, is enough."""
    noted = threading.Event()
    previous = signal.signal(signal.SIGUSR1, lambda *_: noted.set())
    sender = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGUSR1))
    engine = sqlalchemy.create_engine("postgresql+psycopg://u:p@127.0.0.1:9/d")
    try:
        sender.start()
        with pytest.raises(UnreachableError, match="refused"):
            Retry(engine.url, 600, noted.is_set).call("connect", engine.connect)
        assert noted.is_set()
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, previous)


def test_retry_survives_a_real_server_that_crashes_and_comes_back(
    private_postgres: servers.PrivatePostgres,
) -> None:
    """The same engine answers again after kill -9 and a restart, with nothing done twice."""
    engine = sqlalchemy.create_engine(private_postgres.url, pool_pre_ping=True)
    retry = Retry(private_postgres.url, 30)

    def add() -> int:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO t VALUES (1)"))
            return connection.execute(text("SELECT count(*) FROM t")).scalar_one()

    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER)"))
    assert retry.call("add", add) == 1
    private_postgres.kill()
    restart = threading.Timer(1.0, private_postgres.start)
    restart.start()
    began_at = time.monotonic()
    assert retry.call("add", add) == 2
    assert time.monotonic() - began_at < 20
    restart.join()


def test_retry_remembers_the_last_outage_but_not_a_deadlock() -> None:
    """Leases that ran out during an outage are no sign of death: their workers could not renew."""
    clock = _Clock()
    retry = _retry(clock)
    retry.call("look", _Database(clock, 3, _deadlock))
    assert retry.seconds_since_outage == math.inf
    assert retry.attempt(_Database(clock, 1), "nothing") == "nothing"
    clock.sleep(7)
    assert retry.seconds_since_outage == 7


def test_uptime_tells_of_a_restart(shared_url: str) -> None:
    """A worker that has just started knows from it of an outage that it has not seen."""
    engine = create_storage(shared_url).engine
    first = read_uptime(engine)
    assert first > 0
    assert first <= read_uptime(engine)


def test_uptime_of_a_server_that_crashed_begins_anew(
    private_postgres: servers.PrivatePostgres,
) -> None:
    """It is the server's, not the machine's."""
    private_postgres.stop("immediate")
    private_postgres.start()
    assert read_uptime(sqlalchemy.create_engine(private_postgres.url)) < 30
