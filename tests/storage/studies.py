"""What the storage tests share: a study with a budget, and counting what the database is told."""

import contextlib
import functools
import sqlite3
from collections.abc import Iterator
from typing import Any

import optuna
import pymysql
from optuna.trial import FrozenTrial, TrialState
from pymysql.constants import CR
from sqlalchemy import Engine, event

from storage import (
    Budget,
    Claimant,
    Retry,
    WorkerStorage,
    create_budget,
    create_storage,
    find_budget,
    open_storage,
    parse_url,
    register_worker,
)
from storage.claims import ClaimedTrial, Seen, claim_trials
from storage.outbox import Outbox

NOTHING_SEEN = Seen()


@functools.cache
def _create_once(url: str) -> None:
    create_storage(url)


class WorkedStudy:
    """A study with a budget and one registered worker."""

    def __init__(self, url: str, n_trials: int = 3, direction: str = "minimize") -> None:
        self.url = url
        _create_once(url)
        self.storage = open_storage(url, any_version=True)  # a look at the version takes 0.1 s
        self.engine = self.storage.engine
        self.study = optuna.create_study(storage=self.storage, direction=direction)
        self.name = self.study.study_name
        self.study_id = self.storage.get_study_id_from_name(self.name)
        create_budget(self.engine, self.study_id, n_trials)
        self.claimant = self.join()

    def join(self, lease_seconds: float = 60) -> Claimant:
        """Register one more worker."""
        worker_id, _ = register_worker(self.engine, self.study_id, "host", 1)
        return Claimant(self.study_id, worker_id, lease_seconds)

    def open(self, claimant: Claimant | None = None, patience_seconds: float = 0) -> WorkerStorage:
        """Return the storage of a worker, the study's own unless told; it waits for nothing."""
        retry = Retry(parse_url(self.url), patience_seconds)
        return WorkerStorage(self.storage, claimant or self.claimant, retry)

    def claim(self, n: int = 1, seen: Seen = NOTHING_SEEN) -> list[ClaimedTrial]:
        """Claim for the study's worker."""
        return claim_trials(self.engine, self.claimant, n, seen).trials

    def claim_into(self, outbox: Outbox, n: int = 1) -> list[int]:
        """Claim trials and let an outbox hold them; return their ids."""
        claimed = self.claim(n)
        for trial in claimed:
            outbox.hold(trial.trial_id, trial.lease_id)
        return [trial.trial_id for trial in claimed]

    def trials(self) -> list[FrozenTrial]:
        """Return the trials as plain Optuna reads them."""
        return self.storage.get_all_trials(self.study_id)

    def states(self) -> list[TrialState]:
        """Return the trials' states by number."""
        return [trial.state for trial in self.trials()]

    def budget(self) -> Budget:
        """Return the budget as it is now."""
        budget = find_budget(self.engine, self.study_id)
        assert budget is not None
        return budget


@contextlib.contextmanager
def counted(engine: Engine) -> Iterator[dict[str, int]]:
    """Count the statements and commits within a block."""
    counts = {"statements": 0, "commits": 0}

    def on_statement(*_: Any) -> None:
        counts["statements"] += 1

    def on_commit(_: Any) -> None:
        counts["commits"] += 1

    event.listen(engine, "before_cursor_execute", on_statement)
    event.listen(engine, "commit", on_commit)
    yield counts
    event.remove(engine, "before_cursor_execute", on_statement)
    event.remove(engine, "commit", on_commit)


@contextlib.contextmanager
def lost_commits(engine: Engine, *, is_committed: bool) -> Iterator[None]:
    """Lose the connection at each commit: after the database has committed, or before.

    A message without parameters commits by itself: it is lost before it is sent.
    """
    dialect: Any = engine.dialect
    commit, send = dialect.do_commit, dialect.do_execute_no_params

    def lose(connection: Any) -> None:
        if is_committed:
            commit(connection)
        raise _lost_connection(dialect)

    def lose_message(*message: Any) -> None:
        if is_committed:
            send(*message)
        raise _lost_connection(dialect)

    dialect.do_commit, dialect.do_execute_no_params = lose, lose_message
    try:
        yield
    finally:
        dialect.do_commit, dialect.do_execute_no_params = commit, send


def _lost_connection(dialect: Any) -> Exception:
    """Return what the driver raises when the connection, or an SQLite file, is gone."""
    text = "the connection was lost"
    if dialect.name == "mysql":
        return pymysql.OperationalError(CR.CR_SERVER_LOST, text)
    error: Exception = dialect.dbapi.OperationalError(text)
    if dialect.name == "sqlite":
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR  # type: ignore[attr-defined]
    return error
