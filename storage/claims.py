"""Claim slots of a study's budget together with the trials that fill them, in one transaction.

So no worker can die between claiming a slot and having its trial. Locks are taken in the same
order everywhere, or two workers could wait for each other: the budget's row, Optuna's row of the
study, leases, trials.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from optuna.trial import TrialState
from sqlalchemy import Connection, Engine, insert, select, update

from storage import optuna_tables as tables
from storage.clock import epoch_now
from storage.schema import budgets, leases

# Of a long queue, as many are tried per slot as other workers may have taken meanwhile.
_WAITING_PER_STATEMENT = 100


@dataclass(frozen=True)
class Claimant:
    """Who claims: a worker of a study, and how long it may be silent."""

    study_id: int
    worker_id: int
    lease_seconds: float


@dataclass(frozen=True)
class Seen:
    """What the worker knows of the study, so that claiming need not look at all of its trials.

    ``last_trial_id`` is -1 for a study without trials, ``waiting_ids`` are by number.
    """

    last_trial_id: int = -1
    waiting_ids: Sequence[int] = ()


@dataclass(frozen=True)
class ClaimedTrial:
    """A RUNNING trial and its lease; ``number`` and ``started_at`` are those of a new one.

    They are None for a trial that was there before, which has to be read.
    """

    trial_id: int
    lease_id: int
    number: int | None = None
    started_at: datetime | None = None


def claim_trials(
    engine: Engine, claimant: Claimant, n: int, seen: Seen, held: Collection[int]
) -> list[ClaimedTrial]:
    """Take up to ``n`` slots, each with a waiting trial or else a new one, RUNNING and leased.

    Returns fewer, or none, where the budget has no more, is past its deadline or is not open.
    Safe to repeat when the database was lost half-way: leases of this worker that are not among
    the ``held`` ones (lease ids) were claimed by an earlier try, and come first.
    """
    with engine.begin() as connection:
        claimed = _adopt(connection, claimant, held)
        n_slots = _take_slots(connection, claimant.study_id, n - len(claimed))
        if n_slots == 0:
            return claimed
        tables.lock_study(connection, claimant.study_id)
        next_number, arrived_ids = _look_at_new_trials(connection, claimant.study_id, seen)
        waiting_ids = [*seen.waiting_ids, *arrived_ids]
        for trial_id in _take_waiting(connection, waiting_ids, n_slots):
            lease_id = _insert_lease(connection, claimant, trial_id)
            claimed.append(ClaimedTrial(trial_id, lease_id))
            n_slots -= 1
        for number in range(next_number, next_number + n_slots):
            claimed.append(_create(connection, claimant, number))
        return claimed


def _adopt(connection: Connection, claimant: Claimant, held: Collection[int]) -> list[ClaimedTrial]:
    rows = connection.execute(
        select(leases.c.trial_id, leases.c.lease_id)
        .where(leases.c.worker_id == claimant.worker_id, leases.c.trial_id.is_not(None))
        .order_by(leases.c.trial_id)
    )
    return [ClaimedTrial(*row) for row in rows if row.lease_id not in held]


def _take_slots(connection: Connection, study_id: int, n: int) -> int:
    """Take up to ``n`` slots and return how many; holds the budget's row to the end."""
    if n <= 0:
        return 0
    n_left = connection.execute(
        select(budgets.c.n_trials - budgets.c.n_claimed)
        .where(
            budgets.c.study_id == study_id,
            budgets.c.n_claimed < budgets.c.n_trials,
            budgets.c.state == "open",
            budgets.c.deadline.is_(None) | (budgets.c.deadline > epoch_now()),
        )
        .with_for_update()
    ).scalar_one_or_none()
    n_slots = min(n, n_left or 0)
    if n_slots:
        connection.execute(
            update(budgets)
            .where(budgets.c.study_id == study_id)
            .values(n_claimed=budgets.c.n_claimed + n_slots)
        )
    return n_slots


def _look_at_new_trials(connection: Connection, study_id: int, seen: Seen) -> tuple[int, list[int]]:
    """Return the next number, and the ids of trials that were queued since the last look."""
    trials = tables.trials.c
    rows = connection.execute(
        select(trials.trial_id, trials.number, trials.state)
        .where(trials.study_id == study_id, trials.trial_id >= seen.last_trial_id)
        .order_by(trials.trial_id)
    ).all()
    arrived_ids = [
        row.trial_id
        for row in rows
        if row.state is TrialState.WAITING and row.trial_id > seen.last_trial_id
    ]
    return (rows[-1].number + 1 if rows else 0), arrived_ids


def _take_waiting(connection: Connection, trial_ids: Sequence[int], n: int) -> list[int]:
    """Set up to ``n`` trials RUNNING that still wait, the first ones first; return their ids."""
    trials = tables.trials.c
    taken: list[int] = []
    for start in range(0, len(trial_ids), _WAITING_PER_STATEMENT):
        if len(taken) == n:
            break
        some = trial_ids[start : start + _WAITING_PER_STATEMENT]
        waiting = connection.execute(
            select(trials.trial_id)
            .where(trials.trial_id.in_(some), trials.state == TrialState.WAITING)
            .order_by(trials.number)
            .limit(n - len(taken))
        ).scalars()
        taken += [trial_id for trial_id in waiting.all() if _pop(connection, trial_id)]
    return taken


def _pop(connection: Connection, trial_id: int) -> bool:
    """Set a WAITING trial RUNNING; False if a plain Optuna program, which needs no slot, was
    faster.
    """
    popped = connection.execute(
        update(tables.trials)
        .where(tables.trials.c.trial_id == trial_id, tables.trials.c.state == TrialState.WAITING)
        .values(state=TrialState.RUNNING, datetime_start=tables.utc_now())
    )
    return popped.rowcount == 1


def _create(connection: Connection, claimant: Claimant, number: int) -> ClaimedTrial:
    started_at = tables.utc_now()
    trial_id = tables.insert_trial(
        connection, claimant.study_id, number, TrialState.RUNNING, started_at
    )
    lease_id = _insert_lease(connection, claimant, trial_id)
    return ClaimedTrial(trial_id, lease_id, number, started_at)


def _insert_lease(connection: Connection, claimant: Claimant, trial_id: int) -> int:
    lease = connection.execute(
        insert(leases).values(
            study_id=claimant.study_id,
            worker_id=claimant.worker_id,
            trial_id=trial_id,
            ends_at=epoch_now() + claimant.lease_seconds,
        )
    )
    assert lease.inserted_primary_key is not None
    return int(lease.inserted_primary_key[0])
