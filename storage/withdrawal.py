"""Give a trial that will not finish back to the budget, and let its parameters wait for a rerun.

One transaction: either all of it has happened or nothing. Locks as in ``storage.claims``.
"""

import enum
import json
from collections.abc import Sequence
from typing import Any

from optuna.distributions import json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, Row, Table, delete, select, update

from storage import optuna_tables as tables
from storage.clock import epoch_now
from storage.leases import Lease, find_expired_leases
from storage.limits import Limits
from storage.origin import ORIGIN
from storage.queue import FIXED_PARAMS, QUEUED
from storage.schema import budgets, leases
from storage.writes import ERROR, GIVEN_BACK

# User attributes of a rerun: the number of the trial that was started first with its parameters,
# and how often its worker has died.
RERUN_OF = "rerun_of"
RETRY = "retry"

# Why a trial is given back whose worker, or trainer, has died; of a trainer, how follows.
WORKER_LOST = "its worker was lost"
TRAINER_DIED = "its trainer "
DEATHS = (WORKER_LOST, TRAINER_DIED)


class Withdrawal(enum.Enum):
    """What has become of a lease that was to be given back, and of its trial."""

    SETTLED_BEFORE = "settled before"  # another had ended the lease, or renewed it
    FINISHED_BEFORE = "finished before"  # the trial had an end: only the lease was ended
    GIVEN_BACK = "given back"  # its slot is open again
    FAILED = "failed"  # for good, after too many deaths: its slot stays spent


def is_given_back(trial: FrozenTrial) -> bool:
    """Tell whether a trial was given back, so that its slot was opened and it does not count."""
    return trial.state is TrialState.FAIL and GIVEN_BACK in trial.user_attrs


def give_back(engine: Engine, lease: Lease, reason: str, *, is_death: bool = False) -> Withdrawal:
    """End a lease whose trial will not finish; return what that came to.

    The slot opens again, the trial becomes FAIL with the reason, and a WAITING trial takes its
    parameters. After a death of its worker (``is_death``) that is done ``max_retries`` times for
    the same parameters; then the trial stays FAIL and its slot spent. If the trial has finished
    meanwhile, only the lease ends. Safe to repeat, and by several workers at once.
    """
    with engine.begin() as connection:
        return _give_back(connection, lease, reason, is_death=is_death, only_expired=False)


def give_back_expired(engine: Engine, study_id: int, reason: str) -> int:
    """Give back what lost workers of any host have left behind; return the number of trials.

    A lease that is renewed meanwhile, because its worker thaws, is left alone.
    """
    n_given_back = 0
    for lease in find_expired_leases(engine, study_id):
        with engine.begin() as connection:
            settled = _give_back(connection, lease, reason, is_death=True, only_expired=True)
        n_given_back += settled is not Withdrawal.SETTLED_BEFORE
    return n_given_back


def _give_back(
    connection: Connection, lease: Lease, reason: str, *, is_death: bool, only_expired: bool
) -> Withdrawal:
    max_retries = connection.execute(
        select(budgets.c.max_retries).where(budgets.c.study_id == lease.study_id).with_for_update()
    ).scalar_one_or_none()
    tables.lock_study(connection, lease.study_id)
    # With its trial: the id of a lease that has ended is soon another's on SQLite.
    ending = delete(leases).where(
        leases.c.lease_id == lease.lease_id, leases.c.trial_id == lease.trial_id
    )
    if only_expired:
        ending = ending.where(leases.c.ends_at < epoch_now())
    if connection.execute(ending).rowcount != 1:
        return Withdrawal.SETTLED_BEFORE
    trial = _lock_trial(connection, lease.trial_id)
    if trial is None or trial.state is not TrialState.RUNNING:
        return Withdrawal.FINISHED_BEFORE
    n_retries = _read_attr(connection, tables.user_attrs, trial.trial_id, RETRY, 0) + is_death
    if max_retries is not None and n_retries > max_retries:
        _fail(connection, trial.trial_id, ERROR, reason)
        _sign(connection, trial)
        return Withdrawal.FAILED
    _fail(connection, trial.trial_id, GIVEN_BACK, reason)
    _reopen_slot(connection, lease.study_id)
    _queue_rerun(connection, trial, n_retries)
    return Withdrawal.GIVEN_BACK


def give_back_unheld(
    connection: Connection, study_id: int, trial_ids: Sequence[int], reason: str
) -> None:
    """Give back RUNNING trials that no lease holds, in the caller's transaction.

    The caller holds the locks of the budget and of the study.
    """
    for trial_id in trial_ids:
        trial = _lock_trial(connection, trial_id)
        if trial is None or trial.state is not TrialState.RUNNING:
            continue
        n_retries = _read_attr(connection, tables.user_attrs, trial_id, RETRY, 0)
        _fail(connection, trial_id, GIVEN_BACK, reason)
        _reopen_slot(connection, study_id)
        _queue_rerun(connection, trial, n_retries)


def _lock_trial(connection: Connection, trial_id: int) -> Row[Any] | None:
    query = select(tables.trials).where(tables.trials.c.trial_id == trial_id).with_for_update()
    return connection.execute(query).one_or_none()


def _reopen_slot(connection: Connection, study_id: int) -> None:
    connection.execute(
        update(budgets)
        .where(budgets.c.study_id == study_id)
        .values(n_claimed=budgets.c.n_claimed - 1)
    )


def _fail(connection: Connection, trial_id: int, attr: str, reason: str) -> None:
    connection.execute(
        update(tables.trials)
        .where(tables.trials.c.trial_id == trial_id)
        .values(state=TrialState.FAIL, datetime_complete=tables.utc_now())
    )
    tables.write_attrs(connection, tables.user_attrs, trial_id, {attr: reason})


def _sign(connection: Connection, trial: Row[Any]) -> None:
    """See to it that a trial that spends its slot counts as ours, however early its worker died."""
    attrs = tables.study_system_attrs.c
    query = select(attrs.value_json).where(attrs.study_id == trial.study_id, attrs.key == ORIGIN)
    stored = connection.execute(query).scalar_one_or_none()
    if stored is not None:
        origin = {ORIGIN: json.loads(stored)}
        tables.write_attrs(connection, tables.system_attrs, trial.trial_id, origin)


def _queue_rerun(connection: Connection, trial: Row[Any], n_retries: int) -> None:
    """Add a WAITING trial with the same parameters, as ``Study.enqueue_trial`` makes it.

    One whose worker died before it had any is queued too: its deaths are counted. Given back by a
    living worker, it leaves nothing to rerun. What was queued by ``storage.queue`` keeps the
    attributes that it was queued with.
    """
    params = _read_params(connection, trial.trial_id)
    if not params and not n_retries:
        return
    origin = _read_attr(connection, tables.user_attrs, trial.trial_id, RERUN_OF, trial.number)
    number = tables.find_next_number(connection, trial.study_id)
    rerun_id = tables.insert_trial(connection, trial.study_id, number, TrialState.WAITING)
    user_attrs: dict[str, Any] = {RERUN_OF: origin, RETRY: n_retries}
    system_attrs: dict[str, Any] = {FIXED_PARAMS: _fitting(connection, params)}
    queued = _read_attr(connection, tables.system_attrs, trial.trial_id, QUEUED, None)
    if queued is not None:
        user_attrs |= queued["user_attrs"]
        system_attrs[QUEUED] = queued
    tables.write_attrs(connection, tables.user_attrs, rerun_id, user_attrs)
    tables.write_attrs(connection, tables.system_attrs, rerun_id, system_attrs)


def _fitting(connection: Connection, params: dict[str, Any]) -> dict[str, Any]:
    """Return parameters that fit into one attribute; else none: then others are suggested."""
    try:
        Limits.of(connection.dialect.name).check_attr(FIXED_PARAMS, params)
    except ValueError:
        return {}
    return params


def _read_params(connection: Connection, trial_id: int) -> dict[str, Any]:
    """Return what was suggested, and what was still to be by the queue."""
    rows = connection.execute(
        select(tables.params)
        .where(tables.params.c.trial_id == trial_id)
        .order_by(tables.params.c.param_id)
    )
    suggested = {
        row.param_name: json_to_distribution(row.distribution_json).to_external_repr(
            row.param_value
        )
        for row in rows
    }
    return {
        **_read_attr(connection, tables.system_attrs, trial_id, FIXED_PARAMS, {}),
        **suggested,
    }


def _read_attr(connection: Connection, table: Table, trial_id: int, key: str, default: Any) -> Any:
    stored = connection.execute(
        select(table.c.value_json).where(table.c.trial_id == trial_id, table.c.key == key)
    ).scalar_one_or_none()
    return default if stored is None else json.loads(stored)
