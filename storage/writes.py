"""Write what is pending for a worker's trials in few statements, behind a check of its leases."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Table, bindparam, delete, select, update

from storage import optuna_tables as tables
from storage.schema import leases

# The attribute of a trial that was given back: why. Such a trial is FAIL for Optuna, but its
# slot is open again, so it does not count.
GIVEN_BACK = "given_back"
# Of one that failed for good: why.
ERROR = "error"

TABLES = (
    tables.params,
    tables.intermediate_values,
    tables.user_attrs,
    tables.system_attrs,
    tables.values,
)
# With few rows in a table, MariaDB would rather read all of it, and wait for the locks of others.
_BY_PRIMARY_KEY = "FORCE INDEX (PRIMARY)"

# A lease before its trial, as everywhere. With the trials' ids: on SQLite the id of a lease that
# has ended is soon another's.
_LOCK = (
    select(tables.trials.c.trial_id, tables.trials.c.state)
    .join_from(leases, tables.trials, tables.trials.c.trial_id == leases.c.trial_id)
    .prefix_with("STRAIGHT_JOIN", dialect="mysql")
    .with_hint(leases, _BY_PRIMARY_KEY, "mysql")
    .with_hint(tables.trials, _BY_PRIMARY_KEY, "mysql")
    .where(
        leases.c.lease_id.in_(bindparam("of_leases", expanding=True)),
        leases.c.worker_id == bindparam("of_worker"),
        tables.trials.c.trial_id.in_(bindparam("of_trials", expanding=True)),
    )
    .order_by(leases.c.lease_id)
    .with_for_update()
)
_END = (
    update(tables.trials)
    .where(
        tables.trials.c.trial_id == bindparam("of_trial"),
        tables.trials.c.state == TrialState.RUNNING,
    )
    .values(state=bindparam("end_state"), datetime_complete=bindparam("ended_at"))
)
_END_LEASE = delete(leases).where(leases.c.lease_id == bindparam("of_lease"))


@dataclass(frozen=True)
class Ending:
    """How a trial ended, and when: naive UTC."""

    state: TrialState
    ended_at: datetime


@dataclass
class Writes:
    """What is to be written for one trial: the last row for each table and key, in order.

    ``may_be_written`` is set after a commit whose outcome is unknown.
    """

    lease_id: int
    rows: dict[tuple[str, Any], dict[str, Any]] = field(default_factory=dict)
    ending: Ending | None = None
    may_be_written: bool = False

    def rows_of(self, table: Table) -> dict[tuple[str, Any], dict[str, Any]]:
        """Return those rows that belong to a table."""
        return {key: row for key, row in self.rows.items() if key[0] == table.name}


def write_batch(connection: Connection, worker_id: int, batch: Mapping[int, Writes]) -> set[int]:
    """Write a batch, by trial id, and return the trials that were taken away meanwhile.

    Nothing is written to those. Locks the leases, then the trials, to the end of the transaction;
    so a worker that was frozen past the end of its lease, and thaws, can overwrite nothing.
    Safe to repeat.
    """
    states = lock_leased(connection, worker_id, batch)
    is_leased = set(states)
    if len(is_leased) < len(batch):
        states |= _lock_trials(connection, set(batch) - is_leased)
    ours = {i for i in is_leased if states.get(i) is TrialState.RUNNING}
    for table in TABLES:
        rows = [row for i in sorted(ours) for row in batch[i].rows_of(table).values()]
        tables.upsert(connection, table, rows)
    endings = {i: ending for i in sorted(ours) if (ending := batch[i].ending) is not None}
    if endings:
        connection.execute(
            _END,
            [
                {"of_trial": i, "end_state": ending.state, "ended_at": ending.ended_at}
                for i, ending in endings.items()
            ],
        )
    # The slot of a trial that another program has ended stays spent.
    ended_ids = [*endings, *sorted(is_leased - ours)]
    if ended_ids:
        connection.execute(_END_LEASE, [{"of_lease": batch[i].lease_id} for i in ended_ids])
    return set(batch) - ours - _written_before(connection, batch, set(batch) - is_leased, states)


def lock_leased(
    connection: Connection, worker_id: int, batch: Mapping[int, Writes]
) -> dict[int, TrialState]:
    """Lock those trials of a batch whose leases are still this worker's; return their states."""
    rows = connection.execute(
        _LOCK,
        {
            "of_leases": sorted(writes.lease_id for writes in batch.values()),
            "of_trials": sorted(batch),
            "of_worker": worker_id,
        },
    )
    return {row.trial_id: row.state for row in rows}


def _lock_trials(connection: Connection, trial_ids: Iterable[int]) -> dict[int, TrialState]:
    rows = connection.execute(
        select(tables.trials.c.trial_id, tables.trials.c.state)
        .with_hint(tables.trials, _BY_PRIMARY_KEY, "mysql")
        .where(tables.trials.c.trial_id.in_(sorted(trial_ids)))
        .order_by(tables.trials.c.trial_id)
        .with_for_update()
    )
    return {row.trial_id: row.state for row in rows}


def _written_before(
    connection: Connection,
    batch: Mapping[int, Writes],
    unleased: set[int],
    states: Mapping[int, TrialState],
) -> set[int]:
    """Return the trials whose lease is gone because our own commit, thought lost, succeeded."""
    ended_as_ours = {
        trial_id
        for trial_id in unleased
        if batch[trial_id].may_be_written
        and (ending := batch[trial_id].ending) is not None
        and states.get(trial_id) is ending.state
    }
    if not ended_as_ours:
        return set()
    attrs = tables.user_attrs.c
    given_back = connection.execute(
        select(attrs.trial_id).where(attrs.trial_id.in_(ended_as_ours), attrs.key == GIVEN_BACK)
    ).scalars()
    return ended_as_ours.difference(given_back)
