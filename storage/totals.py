"""Totals of the studies, for those who watch all of them: a handful of statements, however many
studies and trials there are.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import BindParameter, Connection, Engine, Row, Select, bindparam, case, func, select

from storage import optuna_tables as tables
from storage.clock import epoch_now
from storage.engine import reading
from storage.schema import budgets, leases, workers
from storage.withdrawal import DEATHS
from storage.writes import GIVEN_BACK

_STATES = [state.name for state in TrialState]
# As they are stored. What another program has stored there need not even be a text.
_DEATHS = tuple(json.dumps(reason).rstrip('"') for reason in DEATHS)


@dataclass
class StudyTotals:
    """A study in numbers. ``states`` leaves out trials that were given back, as `tuner status`.

    Of those, ``n_lost`` were lost with their worker and ``n_left`` left by one that was told to.
    """

    name: str
    n_trials: int  # the budget
    n_open: int  # slots of it that nobody has claimed
    states: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_STATES, 0))
    n_lost: int = 0
    n_left: int = 0
    n_epochs: int = 0  # reported, of all trials
    n_workers: int = 0
    n_lost_workers: int = 0
    n_lanes: int = 0  # of the workers that are alive
    n_leases: int = 0
    n_expired_leases: int = 0


@dataclass(frozen=True)
class Totals:
    """The totals of studies, and how many studies there are with those that were left out."""

    studies: Sequence[StudyTotals]
    n_studies: int


# Made once. What is being trained or can be is shown first, then the newest.
_n_leased = (
    select(func.count())
    .where(leases.c.study_id == budgets.c.study_id)
    .correlate(budgets)
    .scalar_subquery()
)
_n_unclaimed = budgets.c.n_trials - budgets.c.n_claimed
_is_active = (_n_leased > 0) | ((budgets.c.state != "stopped") & (_n_unclaimed > 0))
_STUDIES = (
    select(
        budgets.c.study_id,
        tables.studies.c.study_name,
        budgets.c.n_trials,
        _n_unclaimed.label("n_open"),
        func.count().over().label("n_studies"),
    )
    .join(tables.studies, tables.studies.c.study_id == budgets.c.study_id)
    .order_by(case((_is_active, 0), else_=1), budgets.c.study_id.desc())
    .limit(bindparam("most"))
)
_study_ids: BindParameter[Any] = bindparam("study_ids", expanding=True)
_trials = tables.trials.c
_TRIALS = (
    select(_trials.study_id, _trials.state, func.count().label("n"))
    .where(_trials.study_id.in_(_study_ids))
    .group_by(_trials.study_id, _trials.state)
)
_attrs = tables.user_attrs.c
_GIVEN_BACK = (
    select(_trials.study_id, _attrs.value_json, func.count().label("n"))
    .join(tables.user_attrs, _attrs.trial_id == _trials.trial_id)
    .where(
        _trials.study_id.in_(_study_ids),
        _trials.state == TrialState.FAIL,
        _attrs.key == GIVEN_BACK,
    )
    .group_by(_trials.study_id, _attrs.value_json)
)
_EPOCHS = (
    select(_trials.study_id, func.count().label("n"))
    .join(
        tables.intermediate_values,
        tables.intermediate_values.c.trial_id == _trials.trial_id,
    )
    .where(_trials.study_id.in_(_study_ids))
    .group_by(_trials.study_id)
)
_is_lost = case((workers.c.seen_at < epoch_now() - workers.c.lease_seconds, 1), else_=0)
_WORKERS = (
    select(
        workers.c.study_id,
        func.count().label("n"),
        func.sum(_is_lost).label("n_lost"),
        func.sum(workers.c.n_lanes * (1 - _is_lost)).label("n_lanes"),
    )
    .where(workers.c.study_id.in_(_study_ids), workers.c.left_at.is_(None))
    .group_by(workers.c.study_id)
)
_LEASES = (
    select(
        leases.c.study_id,
        func.count().label("n"),
        func.sum(case((leases.c.ends_at < epoch_now(), 1), else_=0)).label("n_expired"),
    )
    .where(leases.c.study_id.in_(_study_ids))
    .group_by(leases.c.study_id)
)


def load_totals(engine: Engine, most: int) -> Totals:
    """Return the totals of up to ``most`` studies: those with work first, then the newest.

    Costs six statements; the time of two grows with the trials and epochs of these studies.
    """
    with reading(engine) as connection:
        rows = connection.execute(_STUDIES, {"most": most}).all()
        found = {
            row.study_id: StudyTotals(row.study_name, row.n_trials, max(0, row.n_open))
            for row in rows
        }
        if found:
            _add_trials(connection, found)
            _add_workers(connection, found)
    return Totals(list(found.values()), rows[0].n_studies if rows else 0)


def _add_trials(connection: Connection, found: dict[int, StudyTotals]) -> None:
    for row in _rows(connection, _TRIALS, found):
        found[row.study_id].states[row.state.name] = row.n
    for row in _rows(connection, _GIVEN_BACK, found):
        study = found[row.study_id]
        # It may have been given back since the statement before.
        study.states["FAIL"] = max(0, study.states["FAIL"] - row.n)
        if row.value_json.startswith(_DEATHS):
            study.n_lost += row.n
        else:
            study.n_left += row.n
    for row in _rows(connection, _EPOCHS, found):
        found[row.study_id].n_epochs = row.n


def _add_workers(connection: Connection, found: dict[int, StudyTotals]) -> None:
    for row in _rows(connection, _WORKERS, found):
        study = found[row.study_id]
        study.n_lost_workers = int(row.n_lost)
        study.n_workers = row.n - study.n_lost_workers
        study.n_lanes = int(row.n_lanes)
    for row in _rows(connection, _LEASES, found):
        study = found[row.study_id]
        study.n_leases, study.n_expired_leases = row.n, int(row.n_expired)


def _rows(
    connection: Connection, query: Select[Any], found: dict[int, StudyTotals]
) -> Sequence[Row[Any]]:
    return connection.execute(query, {"study_ids": list(found)}).all()
