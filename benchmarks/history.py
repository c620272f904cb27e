"""Fill a study with finished trials in seconds, by bulk inserts into Optuna's own tables."""

import datetime
import math
import random
from typing import Any

import sqlalchemy
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection, Table

from benchmarks.no_op import N_REPORTS
from benchmarks.setting import SEED

_RANGES = {"weight_decay": (1e-5, 1e-2), "lr": (1e-3, 1.0)}
_DISTRIBUTIONS = {
    name: distribution_to_json(FloatDistribution(low, high, log=True))
    for name, (low, high) in _RANGES.items()
}
_trials: Table = models.TrialModel.__table__


def fill_study(
    engine: sqlalchemy.Engine, study_id: int, n_trials: int, *, n_pruned_of_10: int = 0
) -> None:
    """Give an empty study this many finished trials, as ``no_op`` leaves them; always the same.

    They are COMPLETE, but for so many of ten, which were PRUNED before the last of their reports.
    """
    chance = random.Random(SEED)
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    states = [
        TrialState.PRUNED if number % 10 < n_pruned_of_10 else TrialState.COMPLETE
        for number in range(n_trials)
    ]
    with engine.begin() as connection:
        _insert(connection, models.TrialModel, [
            {"number": number, "study_id": study_id, "state": state,
             "datetime_start": now, "datetime_complete": now}
            for number, state in enumerate(states)
        ])  # fmt: skip
        query = sqlalchemy.select(_trials.c.trial_id).where(_trials.c.study_id == study_id)
        ids = list(connection.scalars(query.order_by(_trials.c.number)))
        params = [{name: _choose(chance, *ends) for name, ends in _RANGES.items()} for _ in ids]
        values = [-chosen["weight_decay"] - abs(chosen["lr"] - 0.3) for chosen in params]
        reports = [_reports(value, state) for value, state in zip(values, states, strict=True)]
        _insert(connection, models.TrialParamModel, [
            {"trial_id": trial_id, "param_name": name, "param_value": value,
             "distribution_json": _DISTRIBUTIONS[name]}
            for trial_id, chosen in zip(ids, params, strict=True)
            for name, value in chosen.items()
        ])  # fmt: skip
        _insert(connection, models.TrialValueModel, [
            {"trial_id": trial_id, "objective": 0, "value": value,
             "value_type": models.TrialValueModel.TrialValueType.FINITE}
            for trial_id, value in zip(ids, values, strict=True)
        ])  # fmt: skip
        kind = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
        _insert(connection, models.TrialIntermediateValueModel, [
            {"trial_id": trial_id, "step": step, "intermediate_value": value,
             "intermediate_value_type": kind}
            for trial_id, reported in zip(ids, reports, strict=True)
            for step, value in enumerate(reported, start=1)
        ])  # fmt: skip


def _reports(value: float, state: TrialState) -> list[float]:
    """Return a trial's reports; a pruned one's end after one to four, by its value."""
    n_reports = N_REPORTS
    if state is TrialState.PRUNED:
        n_reports = 1 + hash(value) % (N_REPORTS - 1)
    return [value / step for step in range(1, n_reports + 1)]


def _insert(connection: Connection, model: Any, rows: list[dict[str, Any]]) -> None:
    connection.execute(sqlalchemy.insert(model.__table__), rows)


def _choose(chance: random.Random, low: float, high: float) -> float:
    return math.exp(chance.uniform(math.log(low), math.log(high)))
