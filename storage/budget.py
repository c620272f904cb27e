"""Hand out each slot of a study's budget once, across all workers and hosts.

A slot is claimed before a trial is asked for, and settled when the trial is finished; so N trials
means N finished trials. What a worker holds is a lease; see ``storage.leases`` for how it ends.
"""

from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Engine, delete, func, insert, select, update

from storage.clock import epoch_now
from storage.schema import budgets, leases, workers

StudyState = Literal["open", "paused", "stopped"]

# How long a worker may be silent before its trials are given to others.
LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class Lease:
    """A slot in training, as it was read; ``trial_id`` is None between claiming and asking."""

    lease_id: int
    study_id: int
    trial_id: int | None


@dataclass(frozen=True)
class Budget:
    """A study's budget in trials: granted, finished, and in training now."""

    n_trials: int
    n_finished: int
    n_leased: int
    is_past_deadline: bool
    state: StudyState = "open"

    @property
    def is_spent(self) -> bool:
        """Tell whether no worker will ever get another slot."""
        if self.is_past_deadline:
            return self.n_leased == 0
        return self.n_finished >= self.n_trials


def create_budget(engine: Engine, study_id: int, n_trials: int) -> None:
    """Give a new study its budget.

    Rows of a deleted study with the same id go first: SQLite reuses ids.
    """
    with engine.begin() as connection:
        for table in (leases, workers, budgets):
            connection.execute(delete(table).where(table.c.study_id == study_id))
        connection.execute(insert(budgets).values(study_id=study_id, n_trials=n_trials))


def find_budget(engine: Engine, study_id: int) -> Budget | None:
    """Return a study's budget; None when the study was made by another program."""
    leased = select(func.count()).where(leases.c.study_id == study_id).scalar_subquery()
    query = select(
        budgets.c.n_trials,
        budgets.c.n_claimed,
        budgets.c.state,
        leased.label("n_leased"),
        (budgets.c.deadline.is_not(None) & (budgets.c.deadline < epoch_now())).label(
            "is_past_deadline"
        ),
    ).where(budgets.c.study_id == study_id)
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        return None
    n_finished = row.n_claimed - row.n_leased
    return Budget(row.n_trials, n_finished, row.n_leased, bool(row.is_past_deadline), row.state)


def change_budget(
    engine: Engine,
    study_id: int,
    *,
    n_trials: int | None,
    timeout_seconds: float | None,
    max_retries: int | None = None,
) -> None:
    """Set the number of trials and of retries (None keeps them), and the deadline from now.

    Without ``timeout_seconds`` there is no deadline any more. Workers obey from their next claim.
    """
    deadline = None if timeout_seconds is None else epoch_now() + timeout_seconds
    given = {"n_trials": n_trials, "max_retries": max_retries}
    kept = {name: value for name, value in given.items() if value is not None}
    change = update(budgets).where(budgets.c.study_id == study_id)
    with engine.begin() as connection:
        connection.execute(change.values(deadline=deadline, **kept))


def set_study_state(engine: Engine, study_id: int, state: StudyState) -> None:
    """Let workers train, pause or stop: they look at it at least once an epoch."""
    with engine.begin() as connection:
        connection.execute(
            update(budgets).where(budgets.c.study_id == study_id).values(state=state)
        )


def claim_slot(
    engine: Engine, study_id: int, worker_id: int, lease_seconds: float = LEASE_SECONDS
) -> int | None:
    """Take a slot for a worker and return its lease's id; None when there is no slot now.

    One short transaction, whose cost does not grow with the number of trials: the guarded update
    locks the study's row, so that of two workers the second sees what the first did.
    """
    with engine.begin() as connection:
        taken = connection.execute(
            update(budgets)
            .where(
                budgets.c.study_id == study_id,
                budgets.c.n_claimed < budgets.c.n_trials,
                budgets.c.deadline.is_(None) | (budgets.c.deadline > epoch_now()),
            )
            .values(n_claimed=budgets.c.n_claimed + 1)
        )
        if taken.rowcount == 0:
            return None
        lease = connection.execute(
            insert(leases).values(
                study_id=study_id, worker_id=worker_id, ends_at=epoch_now() + lease_seconds
            )
        )
        assert lease.inserted_primary_key is not None
        return int(lease.inserted_primary_key[0])


def bind_trial(engine: Engine, lease_id: int, trial_id: int) -> bool:
    """Note which trial fills the slot, so that whoever ends the lease can settle it.

    Returns False if the lease has run out and been ended meanwhile: the slot is lost.
    """
    with engine.begin() as connection:
        bound = connection.execute(
            update(leases).where(leases.c.lease_id == lease_id).values(trial_id=trial_id)
        )
    return bound.rowcount == 1


def settle_slot(engine: Engine, lease_id: int) -> None:
    """End the lease of a finished trial; its slot stays spent. Safe to repeat."""
    with engine.begin() as connection:
        connection.execute(delete(leases).where(leases.c.lease_id == lease_id))


def reopen_slot(engine: Engine, lease: Lease) -> None:
    """End the lease of a trial that will not finish; its slot can be claimed again.

    Safe to repeat, also by two workers at once: only the one that ends the lease reopens it, and
    only if it still holds the trial that was read. A worker that thawed and bound one keeps it.
    """
    with engine.begin() as connection:
        ended = connection.execute(
            delete(leases).where(
                leases.c.lease_id == lease.lease_id,
                leases.c.trial_id.is_not_distinct_from(lease.trial_id),
            )
        )
        if ended.rowcount == 1:
            connection.execute(
                update(budgets)
                .where(budgets.c.study_id == lease.study_id)
                .values(n_claimed=budgets.c.n_claimed - 1)
            )
