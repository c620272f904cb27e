"""Who is training what, until when; and how a trial that will not finish is given back.

A worker renews its leases from a thread. A lease that has run out, because its worker was killed
or lost, is settled by whichever worker comes first.
"""

import logging
import threading
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Engine, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from storage.budget import LEASE_SECONDS, Lease, reopen_slot, settle_slot
from storage.clock import epoch_now
from storage.schema import budgets, leases, workers

logger = logging.getLogger(__name__)

# Two renewals may be late before a lease runs out.
_RENEWALS_PER_LEASE = 3

# The attribute of a trial that was given back: why. Such a trial is FAIL for Optuna, but its
# slot is open again, so it does not count.
GIVEN_BACK = "given_back"


@dataclass(frozen=True)
class WorkerRecord:
    """A worker as others see it; moments are seconds since 1970 by the database's clock."""

    worker_id: int
    host: str
    pid: int
    started_at: float
    seen_at: float
    n_trials_in_training: int
    is_lost: bool


def register_worker(engine: Engine, study_id: int, host: str, pid: int) -> tuple[int, int]:
    """Record a worker; return its id and its ordinal (0, 1, ...) among the study's workers."""
    with engine.begin() as connection:
        # Locks the study's budget row, so that ordinals are given once.
        connection.execute(
            update(budgets)
            .where(budgets.c.study_id == study_id)
            .values(n_trials=budgets.c.n_trials)
        )
        ordinal = connection.execute(
            select(func.count()).where(workers.c.study_id == study_id)
        ).scalar_one()
        row = connection.execute(
            insert(workers).values(
                study_id=study_id, host=host, pid=pid, started_at=epoch_now(), seen_at=epoch_now()
            )
        )
        assert row.inserted_primary_key is not None
        return int(row.inserted_primary_key[0]), ordinal


def sign_off_worker(engine: Engine, worker_id: int) -> None:
    """Record that a worker has left of its own accord."""
    with engine.begin() as connection:
        connection.execute(
            update(workers).where(workers.c.worker_id == worker_id).values(left_at=epoch_now())
        )


def list_workers(engine: Engine, study_id: int) -> list[WorkerRecord]:
    """Return the workers that have not signed off; one not seen for a lease is lost."""
    in_training = (
        select(func.count())
        .where(leases.c.worker_id == workers.c.worker_id)
        .correlate(workers)
        .scalar_subquery()
    )
    query = (
        select(
            workers,
            in_training.label("n_leased"),
            (workers.c.seen_at < epoch_now() - LEASE_SECONDS).label("is_lost"),
        )
        .where(workers.c.study_id == study_id, workers.c.left_at.is_(None))
        .order_by(workers.c.worker_id)
    )
    with engine.connect() as connection:
        return [
            WorkerRecord(
                row.worker_id,
                row.host,
                row.pid,
                row.started_at,
                row.seen_at,
                row.n_leased,
                bool(row.is_lost),
            )
            for row in connection.execute(query)
        ]


def renew_leases(engine: Engine, worker_id: int, lease_seconds: float = LEASE_SECONDS) -> None:
    """Move the end of all of a worker's leases to ``lease_seconds`` from now."""
    with engine.begin() as connection:
        connection.execute(
            update(workers).where(workers.c.worker_id == worker_id).values(seen_at=epoch_now())
        )
    # Row by row, by primary key: MySQL locks the entries of another index in an order that
    # deadlocks with the worker's own claims (1213, seen 420 times in 15 s).
    for lease in find_leases_of(engine, worker_id):
        with engine.begin() as connection:
            connection.execute(
                update(leases)
                .where(leases.c.lease_id == lease.lease_id)
                .values(ends_at=epoch_now() + lease_seconds)
            )


def find_expired_leases(engine: Engine, study_id: int) -> list[Lease]:
    """Return the leases of a study that have run out and that nobody has settled yet."""
    return _find_leases(engine, leases.c.study_id == study_id, leases.c.ends_at < epoch_now())


def find_leases_of(engine: Engine, worker_id: int) -> list[Lease]:
    """Return what a worker holds."""
    return _find_leases(engine, leases.c.worker_id == worker_id)


def _find_leases(engine: Engine, *conditions: ColumnElement[bool]) -> list[Lease]:
    query = select(leases.c.lease_id, leases.c.study_id, leases.c.trial_id).where(*conditions)
    with engine.connect() as connection:
        return [Lease(*row) for row in connection.execute(query)]


def is_given_back(trial: FrozenTrial) -> bool:
    """Tell whether a trial was given back, so that its slot was opened and it does not count."""
    return trial.state is TrialState.FAIL and GIVEN_BACK in trial.user_attrs


def give_back(storage: RDBStorage, lease: Lease, reason: str) -> None:
    """End a lease whose trial will not finish: the slot opens, the parameters wait for a rerun.

    The trial becomes FAIL with the reason, unless it has finished meanwhile; then only the lease
    ends. Safe to repeat, after a crash at any point and by several workers at once; a crash
    between the two may cost the parameters, never the slot.
    """
    if lease.trial_id is None or _withdraw(storage, lease.study_id, lease.trial_id, reason):
        reopen_slot(storage.engine, lease)
    else:
        settle_slot(storage.engine, lease.lease_id)


def _withdraw(storage: RDBStorage, study_id: int, trial_id: int, reason: str) -> bool:
    """Fail a trial and queue its parameters; return False if it has a result that counts."""
    try:
        storage.set_trial_user_attr(trial_id, GIVEN_BACK, reason)
        storage.set_trial_state_values(trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        # Either its worker was faster, or another one has given it back and died half-way.
        return is_given_back(storage.get_trial(trial_id))
    trial = storage.get_trial(trial_id)
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if params:
        storage.create_new_trial(study_id, template_trial=_waiting(params, trial.number))
    return True


def _waiting(params: dict[str, Any], rerun_of: int) -> FrozenTrial:
    """Return a waiting trial with these parameters, as ``study.enqueue_trial`` makes it."""
    return optuna.trial.create_trial(
        state=TrialState.WAITING,
        system_attrs={"fixed_params": params},
        user_attrs={"rerun_of": rerun_of},
    )


class LeaseRenewer:
    """A thread that renews a worker's leases until it is stopped, whatever the database does."""

    def __init__(
        self, engine: Engine, worker_id: int, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._engine = engine
        self._worker_id = worker_id
        self._lease_seconds = lease_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_stopped, daemon=True)

    def __enter__(self) -> "LeaseRenewer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=self._lease_seconds)

    def _renew_until_stopped(self) -> None:
        while not self._stopped.wait(self._lease_seconds / _RENEWALS_PER_LEASE):
            try:
                renew_leases(self._engine, self._worker_id, self._lease_seconds)
            except SQLAlchemyError as error:
                logger.warning("Could not renew the leases, trying again: %s", error)
