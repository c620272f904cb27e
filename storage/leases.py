"""Who is training what, until when.

A worker renews its leases from a thread. A lease that has run out, because its worker was killed
or lost, is settled by whichever worker comes first: see ``storage.withdrawal``.
"""

import logging
import threading
from collections.abc import Collection

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Engine, bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from storage.budget import LEASE_SECONDS, Lease
from storage.clock import epoch_now
from storage.engine import reading
from storage.schema import leases, workers
from storage.writes import GIVEN_BACK

logger = logging.getLogger(__name__)

# Two renewals may be late before a lease runs out.
_RENEWALS_PER_LEASE = 3


def renew_leases(
    engine: Engine, worker_id: int, lease_ids: Collection[int], lease_seconds: float
) -> None:
    """Move the end of a worker's leases to ``lease_seconds`` from now; it has been seen."""
    with engine.begin() as connection:
        connection.execute(
            update(workers).where(workers.c.worker_id == worker_id).values(seen_at=epoch_now())
        )
    if not lease_ids:
        return
    # Row by row, by primary key: MySQL locks the entries of another index in an order that
    # deadlocks with the worker's own claims (1213, seen 420 times in 15 s).
    renewal = (
        update(leases)
        .where(leases.c.lease_id == bindparam("of_lease"), leases.c.worker_id == worker_id)
        .values(ends_at=epoch_now() + lease_seconds)
    )
    with engine.begin() as connection:
        connection.execute(renewal, [{"of_lease": lease_id} for lease_id in sorted(lease_ids)])


def find_expired_leases(engine: Engine, study_id: int) -> list[Lease]:
    """Return the leases of a study that have run out and that nobody has settled yet."""
    return _find_leases(engine, leases.c.study_id == study_id, leases.c.ends_at < epoch_now())


def find_leases_of(engine: Engine, worker_id: int) -> list[Lease]:
    """Return what a worker holds."""
    return _find_leases(engine, leases.c.worker_id == worker_id)


def _find_leases(engine: Engine, *conditions: ColumnElement[bool]) -> list[Lease]:
    query = select(leases.c.lease_id, leases.c.study_id, leases.c.trial_id).where(*conditions)
    with reading(engine) as connection:
        return [Lease(*row) for row in connection.execute(query)]


def is_given_back(trial: FrozenTrial) -> bool:
    """Tell whether a trial was given back, so that its slot was opened and it does not count."""
    return trial.state is TrialState.FAIL and GIVEN_BACK in trial.user_attrs


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
                held = [lease.lease_id for lease in find_leases_of(self._engine, self._worker_id)]
                renew_leases(self._engine, self._worker_id, held, self._lease_seconds)
            except SQLAlchemyError as error:
                logger.warning("Could not renew the leases, trying again: %s", error)
