"""Who is training what, until when.

A lease is made with its trial (``storage.claims``), renewed by the worker's ``storage.writer``, and
ends with the trial, or when whoever finds that it has run out gives the trial back: see
``storage.withdrawal``.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, bindparam, select, update

from storage.clock import epoch_now
from storage.engine import reading
from storage.schema import leases

# How long a worker may be silent before its trials are given to others.
LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class Lease:
    """A trial in training, as it was read."""

    lease_id: int
    study_id: int
    trial_id: int


def renew_leases(
    engine: Engine, worker_id: int, lease_ids: Collection[int], lease_seconds: float
) -> None:
    """Move the end of a worker's leases to ``lease_seconds`` from now."""
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
    """Return the leases of a study that have run out and that nobody has ended yet."""
    return _find_leases(engine, leases.c.study_id == study_id, leases.c.ends_at < epoch_now())


def find_leases_of(engine: Engine, worker_id: int) -> list[Lease]:
    """Return what a worker holds."""
    return _find_leases(engine, leases.c.worker_id == worker_id)


def _find_leases(engine: Engine, *conditions: ColumnElement[bool]) -> list[Lease]:
    query = select(leases.c.lease_id, leases.c.study_id, leases.c.trial_id)
    query = query.where(*conditions).order_by(leases.c.trial_id)
    with reading(engine) as connection:
        return [Lease(*row) for row in connection.execute(query)]
