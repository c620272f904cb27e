"""A page of a study's trials by plain SQL: for those who look at a few, and would else read all."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from optuna.distributions import json_to_distribution
from optuna.trial import TrialState
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Double,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    func,
    select,
)

from storage import optuna_tables as tables
from storage.engine import reading

# The view for reading with plain SQL: see ``storage.views``.
_view = Table(
    "tuner_trials",
    MetaData(),
    Column("study", String),
    Column("number", Integer),
    Column("state", String),
    Column("weight_decay", Double),
    Column("lr", Double),
    Column("value", Double),
    Column("epochs", Integer),
    Column("started", DateTime),
    Column("finished", DateTime),
)

SortKey = Literal["number", "value", "weight_decay", "lr", "epochs", "started", "finished"]


@dataclass(frozen=True)
class TrialQuery:
    """Which trials of a study, in which order; no states means all of them.

    What has no value, say the parameter of a trial that has not got it yet, comes last.
    """

    limit: int
    offset: int = 0
    states: tuple[str, ...] = ()
    sort: SortKey = "number"
    is_descending: bool = False


@dataclass(frozen=True)
class TrialRow:
    """A trial as it stands in the database; moments are naive UTC."""

    number: int
    state: str
    value: float | None
    params: dict[str, Any]
    epochs: int
    started: datetime | None
    finished: datetime | None
    user_attrs: dict[str, Any] = field(default_factory=dict)


def list_trial_rows(
    engine: Engine, study_id: int, study_name: str, query: TrialQuery
) -> tuple[list[TrialRow], int]:
    """Return a page of trials, and how many there are in all that the query asks for."""
    with reading(engine) as connection:
        total = connection.execute(_count(study_id, query)).scalar_one()
        numbers = connection.execute(_page(study_name, query)).scalars().all()
        rows = _read(connection, study_id, study_name, numbers) if numbers else {}
    # A trial may be gone since its number was read, with its study.
    return [rows[number] for number in numbers if number in rows], total


def _count(study_id: int, query: TrialQuery) -> Any:
    count = select(func.count()).where(tables.trials.c.study_id == study_id)
    if not query.states:
        return count
    return count.where(tables.trials.c.state.in_([TrialState[name] for name in query.states]))


def _page(study_name: str, query: TrialQuery) -> Any:
    key: ColumnElement[Any] = _view.c[query.sort]
    page = select(_view.c.number).where(_view.c.study == study_name)
    if query.states:
        page = page.where(_view.c.state.in_(query.states))
    direction = key.desc() if query.is_descending else key.asc()
    order = [direction] if query.sort == "number" else [key.is_(None), direction, _view.c.number]
    return page.order_by(*order).limit(query.limit).offset(query.offset)


def _read(
    connection: Connection, study_id: int, study_name: str, numbers: Sequence[int]
) -> dict[int, TrialRow]:
    ids = {
        row.trial_id: row.number
        for row in connection.execute(
            select(tables.trials.c.trial_id, tables.trials.c.number).where(
                tables.trials.c.study_id == study_id, tables.trials.c.number.in_(numbers)
            )
        )
    }
    params = _read_params(connection, list(ids))
    attrs = _read_attrs(connection, list(ids))
    by_number = {number: trial_id for trial_id, number in ids.items()}
    of_study = (_view.c.study == study_name) & _view.c.number.in_(list(by_number))
    return {
        row.number: TrialRow(
            number=row.number,
            state=row.state,
            value=row.value,
            params=params.get(by_number[row.number], {}),
            epochs=row.epochs,
            started=row.started,
            finished=row.finished,
            user_attrs=attrs.get(by_number[row.number], {}),
        )
        for row in connection.execute(select(_view).where(of_study))
    }


def _read_params(connection: Connection, trial_ids: list[int]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    query = (
        select(tables.params)
        .where(tables.params.c.trial_id.in_(trial_ids))
        .order_by(tables.params.c.param_id)
    )
    for row in connection.execute(query):
        distribution = json_to_distribution(row.distribution_json)
        value = distribution.to_external_repr(row.param_value)
        found.setdefault(row.trial_id, {})[row.param_name] = value
    return found


def _read_attrs(connection: Connection, trial_ids: list[int]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    query = select(tables.user_attrs).where(tables.user_attrs.c.trial_id.in_(trial_ids))
    for row in connection.execute(query):
        found.setdefault(row.trial_id, {})[row.key] = json.loads(row.value_json)
    return found
