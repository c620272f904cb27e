"""Claim new trials of a study on PostgreSQL by one message: its locks are held for an instant.

By one statement after the other, as ``storage.claims`` does it, a worker holds the budget's row for
six of its own turns on the processor: 64 workers on two cores stood in line for it (48 at a time).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from storage.random_ids import random_token

# Statements in one message are one transaction, and each sees what was committed before it began:
# the last one, after the locks were taken, all trials that others have created under them. Numbers
# are put into the text, since a message of several statements has no parameters.
_CLAIM = """
SELECT 1 FROM tuner_budgets WHERE study_id = {study_id} FOR NO KEY UPDATE;
SELECT 1 FROM studies WHERE study_id = {study_id} FOR UPDATE;
WITH slots AS (
    UPDATE tuner_budgets SET n_claimed = n_claimed + {n}
    WHERE study_id = {study_id} AND n_trials - n_claimed >= {n} AND state = 'open'
        AND (deadline IS NULL OR deadline > EXTRACT(EPOCH FROM clock_timestamp()))
        AND NOT EXISTS (
            SELECT 1 FROM trials
            WHERE study_id = {study_id} AND trial_id > {last_trial_id} AND state = 'WAITING'
        )
        AND ({last_trial_id} < 0 OR EXISTS (
            SELECT 1 FROM trials WHERE study_id = {study_id} AND trial_id = {last_trial_id}
        ))
    RETURNING study_id
), created AS (
    INSERT INTO trials (study_id, number, state, datetime_start)
    SELECT study_id, i + COALESCE(
        (SELECT number FROM trials WHERE study_id = {study_id} ORDER BY trial_id DESC LIMIT 1), -1
    ), 'RUNNING', TIMESTAMP '{started_at}'
    FROM slots, generate_series(1, {n}) AS i
    RETURNING trial_id, study_id, number
), leased AS (
    INSERT INTO tuner_leases (lease_id, study_id, worker_id, trial_id, ends_at)
    SELECT (ARRAY[{tokens}]::BIGINT[])[row_number() OVER (ORDER BY number)],
        study_id, {worker_id}, trial_id,
        EXTRACT(EPOCH FROM clock_timestamp()) + {lease_seconds}
    FROM created
    RETURNING lease_id, trial_id
)
SELECT trial_id, lease_id, number
FROM created JOIN leased USING (trial_id) ORDER BY number
"""


def claim_new_trials(  # noqa: PLR0913, PLR0917 (what stands in the statements)
    engine: Engine,
    study_id: int,
    worker_id: int,
    lease_seconds: float,
    n: int,
    last_trial_id: int,
    started_at: datetime,
) -> Sequence[tuple[Any, ...]]:
    """Return ``n`` new trials, RUNNING and leased: id, lease and number.

    Nothing is returned, and nothing has happened, where the budget has less, or trials later than
    the last one that was seen are waiting, or that one is gone. Not safe to repeat when its answer
    was lost.
    """
    message = _CLAIM.format(
        study_id=int(study_id),
        worker_id=int(worker_id),
        lease_seconds=float(lease_seconds),
        n=int(n),
        tokens=", ".join(str(random_token()) for _ in range(n)),
        last_trial_id=int(last_trial_id),
        started_at=started_at.isoformat(),
    )
    options = {"isolation_level": "AUTOCOMMIT", "no_parameters": True}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        cursor = connection.exec_driver_sql(message).cursor
        while cursor.nextset():  # the last one's answer
            pass
        rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
    return rows
