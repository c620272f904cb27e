"""Bring the trials that wait in a study in line with a plan, and the budget with them.

One transaction, so that no worker finds a slot without a waiting trial and invents one. Locks as in
``storage.claims``.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, Engine, func, select, update

from storage import optuna_tables as tables
from storage.schema import budgets
from storage.writes import GIVEN_BACK

# System attributes of a waiting trial: its parameters, which Optuna's ``suggest`` returns, and what
# else it was queued with, which its reruns keep.
FIXED_PARAMS = "fixed_params"
QUEUED = "tuner:queued"


@dataclass(frozen=True)
class QueuedTrial:
    """A trial to be run with these parameters; it and its reruns begin with these attributes.

    Two with the same key are the same trial.
    """

    key: str
    params: dict[str, Any]
    user_attrs: dict[str, Any] = field(default_factory=dict)


def find_key(trial: FrozenTrial) -> str | None:
    """Return the key that a trial was queued with; None if it was not queued here."""
    queued = trial.system_attrs.get(QUEUED)
    return None if queued is None else str(queued["key"])


@dataclass(frozen=True)
class QueueChange:
    """How many trials were added, and how many that waited were withdrawn."""

    n_added: int
    n_withdrawn: int


def set_queue(
    engine: Engine, study_id: int, wanted: Sequence[QueuedTrial], reason: str
) -> QueueChange:
    """Let those of the wanted trials wait that no trial of the study is yet, and no others.

    One that is in training or has finished, also by FAIL, is there; of one that was given back its
    rerun is. Others that wait are withdrawn for this reason and do not count. The budget becomes
    what it takes to run those that wait. Safe to repeat, and by several processes at once.
    """
    with engine.begin() as connection:
        connection.execute(
            select(budgets.c.n_trials).where(budgets.c.study_id == study_id).with_for_update()
        )
        tables.lock_study(connection, study_id)
        present = _read_present(connection, study_id)
        by_key = {trial.key: trial for trial in wanted}
        waiting = {key: i for key, (i, state) in present.items() if state is TrialState.WAITING}
        unwanted = [trial_id for key, trial_id in waiting.items() if key not in by_key]
        missing = [trial for key, trial in by_key.items() if key not in present]
        n_withdrawn = sum(_withdraw(connection, trial_id, reason) for trial_id in unwanted)
        _add(connection, study_id, missing)
        _fit_budget(connection, study_id)
    return QueueChange(len(missing), n_withdrawn)


def _read_present(connection: Connection, study_id: int) -> dict[str, tuple[int, TrialState]]:
    """Return id and state of the queued trials, by key, less those that were given back."""
    attrs, trials = tables.system_attrs.c, tables.trials.c
    rows = connection.execute(
        select(trials.trial_id, trials.state, attrs.value_json)
        .join(tables.system_attrs, trials.trial_id == attrs.trial_id)
        .where(trials.study_id == study_id, attrs.key == QUEUED)
    ).all()
    return {
        json.loads(row.value_json)["key"]: (row.trial_id, row.state)
        for row in rows
        if not _is_given_back(connection, row.trial_id, row.state)
    }


def _is_given_back(connection: Connection, trial_id: int, state: TrialState) -> bool:
    if state is not TrialState.FAIL:
        return False
    attrs = tables.user_attrs.c
    query = select(attrs.trial_id).where(attrs.trial_id == trial_id, attrs.key == GIVEN_BACK)
    return connection.execute(query).first() is not None


def _withdraw(connection: Connection, trial_id: int, reason: str) -> bool:
    """End a trial that waits; False if a plain Optuna program, which needs no slot, was faster."""
    now = tables.utc_now()
    ended = connection.execute(
        update(tables.trials)
        .where(tables.trials.c.trial_id == trial_id, tables.trials.c.state == TrialState.WAITING)
        .values(state=TrialState.FAIL, datetime_start=now, datetime_complete=now)
    )
    if ended.rowcount != 1:
        return False
    tables.write_attrs(connection, tables.user_attrs, trial_id, {GIVEN_BACK: reason})
    return True


def _add(connection: Connection, study_id: int, missing: Sequence[QueuedTrial]) -> None:
    next_number = tables.find_next_number(connection, study_id)
    for number, trial in enumerate(missing, start=next_number):
        trial_id = tables.insert_trial(connection, study_id, number, TrialState.WAITING)
        queued = {"key": trial.key, "user_attrs": trial.user_attrs}
        attrs = {FIXED_PARAMS: trial.params, QUEUED: queued}
        tables.write_attrs(connection, tables.system_attrs, trial_id, attrs)
        tables.write_attrs(connection, tables.user_attrs, trial_id, trial.user_attrs)


def _fit_budget(connection: Connection, study_id: int) -> None:
    trials = tables.trials.c
    n_waiting = connection.execute(
        select(func.count()).where(trials.study_id == study_id, trials.state == TrialState.WAITING)
    ).scalar_one()
    connection.execute(
        update(budgets)
        .where(budgets.c.study_id == study_id)
        .values(n_trials=budgets.c.n_claimed + n_waiting)
    )
