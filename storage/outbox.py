"""What a worker has to say to the database but has not said yet. Thread-safe.

The worker's thread puts writes in, the writer's thread takes them out, all at once. A trial is
held, with its lease, until the database has confirmed its end.
"""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy import Engine, Table

from storage import optuna_tables as tables
from storage.causes import is_of_rows
from storage.refusals import end_refused
from storage.writes import Ending, Writes, write_batch


class Outbox:
    """The pending writes of the trials that one worker holds.

    ``on_written`` is told each trial whose end was committed, ``on_refused`` each that was failed
    because the database does not take its rows, and why; by the thread that wrote it.
    """

    def __init__(self, worker_id: int) -> None:
        self._worker_id = worker_id
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._held: dict[int, int] = {}
        self._pending: dict[int, Writes] = {}
        self._newly_lost: set[int] = set()
        self._refused: dict[int, str] = {}
        self.on_written: Callable[[int, TrialState], None] = lambda _id, _state: None
        self.on_refused: Callable[[int, str], None] = lambda _id, _reason: None
        self.has_pending = threading.Event()
        self.n_written = 0  # how often something was put in

    @property
    def held(self) -> dict[int, int]:
        """The trials that are held, with their leases, until their end is confirmed."""
        with self._lock:
            return dict(self._held)

    def hold(self, trial_id: int, lease_id: int) -> None:
        """Accept writes for a trial from now on."""
        with self._lock:
            self._held[trial_id] = lease_id

    def let_go(self, trial_id: int) -> None:
        """Forget a trial whose lease has ended, and what was still to be written of it."""
        with self._lock:
            self._held.pop(trial_id, None)
            self._pending.pop(trial_id, None)

    def write(self, trial_id: int, table: Table, key: Any, row: dict[str, Any]) -> None:
        """Put in a row of a trial's table; a later one with the same key overwrites it.

        Raises UpdateFinishedTrialError if the trial has been taken away.
        """
        with self._lock:
            self._writes_of(trial_id).rows[table.name, key] = {"trial_id": trial_id, **row}
        self.has_pending.set()

    def end(
        self, trial_id: int, state: TrialState, values: Sequence[float], ended_at: datetime
    ) -> None:
        """Put in the end of a trial; its lease ends with it, and its slot stays spent.

        Raises UpdateFinishedTrialError if the trial has been taken away.
        """
        with self._lock:
            writes = self._writes_of(trial_id)
            for objective, value in enumerate(values):
                row = {"trial_id": trial_id, **tables.value_row(objective, value)}
                writes.rows[tables.values.name, objective] = row
            writes.ending = Ending(state, ended_at)
        self.has_pending.set()

    def touch(self, trial_id: int) -> None:
        """Let the next flush check that a trial is still ours, though nothing is to be written."""
        with self._lock:
            self._writes_of(trial_id)
        self.has_pending.set()

    def pop_lost(self) -> set[int]:
        """Return the trials that were found taken away, or refused, since the last call."""
        with self._lock:
            lost, self._newly_lost = self._newly_lost, set()
        return lost

    def find_refusal(self, trial_id: int) -> str | None:
        """Return why a trial's rows were refused, if they were."""
        return self._refused.get(trial_id)

    def flush(self, engine: Engine) -> None:
        """Write everything that is pending in one transaction.

        If the database fails, all stays pending, in order; then it is safe to repeat, whether or
        not the transaction was committed. If it does not take the rows of some trial, that trial
        alone ends, by FAIL, and all others are written.
        """
        with self._flushing:
            with self._lock:
                batch, self._pending = self._pending, {}
                self.has_pending.clear()
            if not batch:
                return
            try:
                self._write(engine, batch)
            except BaseException:
                self._put_back(batch)
                raise

    def _write(self, engine: Engine, batch: dict[int, Writes]) -> None:
        """Write a batch, and take from it what is written, whatever is raised."""
        try:
            with engine.begin() as connection:
                lost = write_batch(connection, self._worker_id, batch)
        except Exception as error:
            if not is_of_rows(error):
                raise
            if len(batch) == 1:
                self._refuse(engine, batch, error)
            else:
                self._write_apart(engine, batch)
        else:
            self._confirm(batch, lost)

    def _write_apart(self, engine: Engine, batch: dict[int, Writes]) -> None:
        unwritten: Exception | None = None
        for trial_id in list(batch):
            alone = {trial_id: batch[trial_id]}
            try:
                self._write(engine, alone)
            except Exception as error:
                if not is_of_rows(error):
                    raise
                unwritten = error  # not even its FAIL could be written
            finally:
                if not alone:
                    del batch[trial_id]
        if unwritten is not None:
            raise unwritten

    def _refuse(self, engine: Engine, batch: dict[int, Writes], error: Exception) -> None:
        ((trial_id, writes),) = batch.items()
        with engine.begin() as connection:
            reason, is_ours = end_refused(connection, self._worker_id, trial_id, writes, error)
        if is_ours:
            self._refused[trial_id] = reason
        self._confirm(batch, {trial_id})
        if is_ours:
            self.on_refused(trial_id, reason)

    def _writes_of(self, trial_id: int) -> Writes:
        lease_id = self._held.get(trial_id)
        if lease_id is None:
            reason = self._refused.get(trial_id) or (
                "its lease had run out, or another program has ended it"
            )
            raise UpdateFinishedTrialError(
                f"The trial with id {trial_id} was taken away from this worker: {reason}"
            )
        self.n_written += 1
        return self._pending.setdefault(trial_id, Writes(lease_id))

    def _put_back(self, batch: dict[int, Writes]) -> None:
        for writes in batch.values():
            writes.may_be_written = writes.may_be_written or writes.ending is not None
        with self._lock:
            for trial_id, later in self._pending.items():
                earlier = batch.setdefault(trial_id, later)
                earlier.rows.update(later.rows)
                earlier.ending = later.ending or earlier.ending
            self._pending = batch
        self.has_pending.set()

    def _confirm(self, batch: dict[int, Writes], lost: set[int]) -> None:
        """Let go of trials that have ended or were taken away, and of what is written."""
        endings = {i: writes.ending for i, writes in batch.items() if i not in lost}
        ended = {i: ending.state for i, ending in endings.items() if ending is not None}
        batch.clear()
        with self._lock:
            self._newly_lost |= lost
            for trial_id in [*lost, *ended]:
                del self._held[trial_id]
                self._pending.pop(trial_id, None)
        for trial_id, state in ended.items():
            self.on_written(trial_id, state)
