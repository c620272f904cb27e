"""What a worker has to say to the database but has not said yet. Thread-safe.

The worker's thread puts writes in, the writer's thread takes them out, all at once. A trial is
held, with its lease, until the database has confirmed its end.
"""

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy import Engine, Table

from storage import optuna_tables as tables
from storage.writes import Ending, Writes, write_batch


class Outbox:
    """The pending writes of the trials that one worker holds."""

    def __init__(self, worker_id: int) -> None:
        self._worker_id = worker_id
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._held: dict[int, int] = {}
        self._pending: dict[int, Writes] = {}
        self._newly_lost: set[int] = set()
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
        """Return the trials that were found taken away since the last call."""
        with self._lock:
            lost, self._newly_lost = self._newly_lost, set()
        return lost

    def flush(self, engine: Engine) -> None:
        """Write everything that is pending in one transaction.

        If the database fails, all stays pending, in order; then it is safe to repeat, whether or
        not the transaction was committed.
        """
        with self._flushing:
            with self._lock:
                batch, self._pending = self._pending, {}
                self.has_pending.clear()
            if not batch:
                return
            try:
                with engine.begin() as connection:
                    lost = write_batch(connection, self._worker_id, batch)
            except BaseException:
                self._put_back(batch)
                raise
            self._confirm(batch, lost)

    def _writes_of(self, trial_id: int) -> Writes:
        lease_id = self._held.get(trial_id)
        if lease_id is None:
            raise UpdateFinishedTrialError(
                f"The trial with id {trial_id} was taken away from this worker: its lease had "
                "run out, or another program has ended it"
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
        with self._lock:
            self._newly_lost |= lost
            ended = {i for i, writes in batch.items() if writes.ending is not None}
            for trial_id in lost | ended:
                del self._held[trial_id]
                self._pending.pop(trial_id, None)
