"""Claim slots of a study's budget together with the trials that fill them, in one transaction.

So no worker can die between claiming a slot and having its trial. Locks are taken in the same
order everywhere, or two workers could wait for each other: the budget's row, Optuna's row of the
study, leases, trials.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from optuna.trial import TrialState
from sqlalchemy import Connection, Double, Engine, and_, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from storage import optuna_tables as tables
from storage.clock import epoch_now
from storage.engine import reading
from storage.fencing import check_registered, rolled_back
from storage.postgres_claims import claim_new_trials
from storage.random_ids import random_token
from storage.schema import budgets, leases

# Of a long queue, as many are tried per slot as other workers may have taken meanwhile.
_WAITING_PER_STATEMENT = 100

# Made once: building these costs more time than SQLite takes to run them.
_of_study = budgets.c.study_id == bindparam("of_study")
_n_left = budgets.c.n_trials - budgets.c.n_claimed
_is_open = and_(
    _of_study,
    budgets.c.state == "open",
    budgets.c.deadline.is_(None) | (budgets.c.deadline > epoch_now()),
)
_TAKE = update(budgets).values(n_claimed=budgets.c.n_claimed + bindparam("n")).where(_of_study)
_TAKE_ALL = _TAKE.where(_is_open, _n_left >= bindparam("n"))
_LOCK_REST = select(_n_left).where(_is_open, _n_left > 0).with_for_update()
_LOOK = (
    select(tables.trials.c.trial_id, tables.trials.c.number, tables.trials.c.state)
    .where(
        tables.trials.c.study_id == bindparam("of_study"),
        tables.trials.c.trial_id >= bindparam("from_id"),
    )
    .order_by(tables.trials.c.trial_id)
)
_LEASE = insert(leases).values(ends_at=epoch_now() + bindparam("seconds", type_=Double))


@dataclass(frozen=True)
class Claimant:
    """Who claims: a worker of a study, and how long it may be silent."""

    study_id: int
    worker_id: int
    lease_seconds: float


@dataclass(frozen=True)
class Seen:
    """Up to where a worker has looked for waiting trials, and which it found, by number.

    So claiming need not look at all trials of the study. ``last_trial_id`` is -1 before the first.
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


@dataclass(frozen=True)
class Claim:
    """What was claimed, and what the next claim need not look at again."""

    trials: list[ClaimedTrial]
    seen: Seen


def claim_trials(engine: Engine, claimant: Claimant, n: int, seen: Seen) -> Claim:
    """Take up to ``n`` slots, each with a waiting trial or else a new one, RUNNING and leased.

    Returns fewer, or none, where the budget has no more, is past its deadline or is not open.
    Not safe to repeat when the commit may have succeeded: then see ``find_unheld`` first. Raises
    RolledBackError if the database knows neither this worker nor what it has seen.
    """
    try:
        return _claim(engine, claimant, n, seen)
    except IntegrityError:
        check_registered(engine, claimant.worker_id)
        raise


def _claim(engine: Engine, claimant: Claimant, n: int, seen: Seen) -> Claim:
    if engine.dialect.name == "postgresql" and not seen.waiting_ids:
        claim = _claim_new(engine, claimant, n, seen)
        if claim.trials:
            return claim
    with engine.begin() as connection:
        n_slots = _take_slots(connection, claimant.study_id, n)
        if n_slots == 0:
            return Claim([], seen)
        tables.lock_study(connection, claimant.study_id)
        next_number, seen = _look_at_new(connection, claimant.study_id, seen)
        taken_ids, left_ids = _take_waiting(connection, claimant, seen.waiting_ids, n_slots)
        claimed = [
            ClaimedTrial(trial_id, _insert_lease(connection, claimant, trial_id))
            for trial_id in taken_ids
        ]
        for number in range(next_number, next_number + n_slots - len(taken_ids)):
            claimed.append(_create(connection, claimant, number))
    last_trial_id = max(seen.last_trial_id, *(trial.trial_id for trial in claimed))
    return Claim(claimed, Seen(last_trial_id, left_ids))


def _claim_new(engine: Engine, claimant: Claimant, n: int, seen: Seen) -> Claim:
    """Claim at once what is the rule: as many slots as wanted, and nobody waiting for them."""
    started_at = tables.utc_now()
    worker = (claimant.study_id, claimant.worker_id, claimant.lease_seconds)
    rows = claim_new_trials(engine, *worker, n, seen.last_trial_id, started_at)
    claimed = [ClaimedTrial(row[0], row[1], row[2], started_at) for row in rows]
    return Claim(claimed, Seen(claimed[-1].trial_id) if claimed else seen)


def find_unheld(
    engine: Engine, worker_id: int, held_lease_ids: Collection[int]
) -> list[ClaimedTrial]:
    """Return what a worker claimed without learning of it: the commit's answer was lost."""
    query = (
        select(leases.c.trial_id, leases.c.lease_id)
        .where(leases.c.worker_id == worker_id)
        .order_by(leases.c.trial_id)
    )
    with reading(engine) as connection:
        rows = connection.execute(query).all()
    return [ClaimedTrial(*row) for row in rows if row.lease_id not in held_lease_ids]


def _take_slots(connection: Connection, study_id: int, n: int) -> int:
    """Take up to ``n`` slots and return how many; holds the budget's row to the end."""
    of_study = {"of_study": study_id}
    if connection.execute(_TAKE_ALL, {**of_study, "n": n}).rowcount == 1:
        return n
    n_slots = min(n, connection.execute(_LOCK_REST, of_study).scalar_one_or_none() or 0)
    if n_slots:
        connection.execute(_TAKE, {**of_study, "n": n_slots})
    return n_slots


def _look_at_new(connection: Connection, study_id: int, seen: Seen) -> tuple[int, Seen]:
    """Return the next number, and what has been seen now."""
    from_here = {"of_study": study_id, "from_id": seen.last_trial_id}
    rows = connection.execute(_LOOK, from_here).all()
    if seen.last_trial_id >= 0 and (not rows or rows[0].trial_id != seen.last_trial_id):
        raise rolled_back(f"the trial with id {seen.last_trial_id} is gone")
    if not rows:
        return 0, seen
    arrived_ids = [
        row.trial_id
        for row in rows
        if row.trial_id > seen.last_trial_id and row.state is TrialState.WAITING
    ]
    return rows[-1].number + 1, Seen(rows[-1].trial_id, [*seen.waiting_ids, *arrived_ids])


def _take_waiting(
    connection: Connection, claimant: Claimant, trial_ids: Sequence[int], n: int
) -> tuple[list[int], list[int]]:
    """Set up to ``n`` trials RUNNING that still wait, the first ones first.

    Return their ids, and those that may still wait.
    """
    trials = tables.trials.c
    taken: list[int] = []
    left: list[int] = []
    for start in range(0, len(trial_ids), _WAITING_PER_STATEMENT):
        if len(taken) == n:
            return taken, [*left, *trial_ids[start:]]
        some = trial_ids[start : start + _WAITING_PER_STATEMENT]
        n_wanted = n - len(taken)
        waiting = connection.execute(
            select(trials.trial_id)
            .where(
                trials.trial_id.in_(some),
                trials.study_id == claimant.study_id,
                trials.state == TrialState.WAITING,
            )
            .order_by(trials.trial_id)
            .limit(n_wanted)
        ).scalars()
        found = waiting.all()
        taken += [trial_id for trial_id in found if _pop(connection, trial_id)]
        if len(found) == n_wanted:
            left += [trial_id for trial_id in some if trial_id > found[-1]]
    return taken, left


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
    lease_id = random_token()
    connection.execute(
        _LEASE,
        {
            "lease_id": lease_id,
            "study_id": claimant.study_id,
            "worker_id": claimant.worker_id,
            "trial_id": trial_id,
            "seconds": claimant.lease_seconds,
        },
    )
    return lease_id
