"""Which workers a study has: who they are, and whether they are alive.

A worker is its id. Host and process id are for people: two containers may have the same.
"""

from dataclasses import dataclass

from sqlalchemy import Engine, func, insert, select, update

from storage.clock import epoch_now
from storage.engine import reading
from storage.leases import LEASE_SECONDS
from storage.random_ids import random_id
from storage.schema import budgets, leases, workers


@dataclass(frozen=True)
class WorkerRecord:
    """A worker as others see it; moments are seconds since 1970 by the database's clock."""

    worker_id: int
    host: str
    pid: int
    started_at: float
    seen_at: float
    n_lanes: int
    n_trials_in_training: int
    is_lost: bool


def register_worker(  # noqa: PLR0913, PLR0917 (one row's columns)
    engine: Engine,
    study_id: int,
    host: str,
    pid: int,
    n_lanes: int = 1,
    lease_seconds: float = LEASE_SECONDS,
) -> tuple[int, int]:
    """Record a worker; return its id and its ordinal (0, 1, ...) among the study's workers.

    ``n_lanes`` is how many trials it trains at once, ``lease_seconds`` how long it may be silent.
    """
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
        worker_id = random_id()
        connection.execute(
            insert(workers).values(
                worker_id=worker_id,
                study_id=study_id,
                host=host,
                pid=pid,
                started_at=epoch_now(),
                seen_at=epoch_now(),
                n_lanes=n_lanes,
                lease_seconds=lease_seconds,
            )
        )
        return worker_id, ordinal


def sign_off_worker(engine: Engine, worker_id: int) -> None:
    """Record that a worker has left of its own accord."""
    with engine.begin() as connection:
        connection.execute(
            update(workers).where(workers.c.worker_id == worker_id).values(left_at=epoch_now())
        )


def list_workers(engine: Engine, study_id: int) -> list[WorkerRecord]:
    """Return the workers that have not signed off; one not seen for its lease is lost."""
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
            (workers.c.seen_at < epoch_now() - workers.c.lease_seconds).label("is_lost"),
        )
        .where(workers.c.study_id == study_id, workers.c.left_at.is_(None))
        .order_by(workers.c.started_at, workers.c.worker_id)
    )
    with reading(engine) as connection:
        return [
            WorkerRecord(
                row.worker_id,
                row.host,
                row.pid,
                row.started_at,
                row.seen_at,
                row.n_lanes,
                row.n_leased,
                bool(row.is_lost),
            )
            for row in connection.execute(query)
        ]
