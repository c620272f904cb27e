"""Which studies there are, and which of them has work for a worker that serves all of them."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row, Select, bindparam, func, select

from storage import optuna_tables as tables
from storage.budget import StudyState
from storage.clock import epoch_now
from storage.engine import reading
from storage.origin import ORIGIN
from storage.schema import budgets, leases

# Of one with an origin of ours that is enough; others begin with another trial.
_TELL_APART = (
    select(
        tables.studies.c.study_name,
        select(tables.study_system_attrs.c.value_json)
        .where(
            tables.study_system_attrs.c.study_id == tables.studies.c.study_id,
            tables.study_system_attrs.c.key == ORIGIN,
        )
        .correlate(tables.studies)
        .scalar_subquery(),
        select(tables.trials.c.datetime_start)
        .where(tables.trials.c.study_id == tables.studies.c.study_id)
        .order_by(tables.trials.c.trial_id)
        .limit(1)
        .correlate(tables.studies)
        .scalar_subquery(),
    )
).where(tables.studies.c.study_id == bindparam("of_study"))


@dataclass(frozen=True)
class StudyRecord:
    """A study of ours with its budget; ``created_at`` is seconds since 1970, None if not known.

    Name and ``created_at`` tell a study from another that was made when it had been deleted.
    """

    study_id: int
    name: str
    state: StudyState
    priority: int
    created_at: float | None
    n_trials: int
    n_finished: int
    n_leased: int

    @property
    def has_slots(self) -> bool:
        """Tell whether there is a slot that nobody has claimed."""
        return self.n_finished + self.n_leased < self.n_trials


_n_leased = (
    select(func.count())
    .where(leases.c.study_id == budgets.c.study_id)
    .correlate(budgets)
    .scalar_subquery()
)
_is_open: ColumnElement[bool] = (budgets.c.state == "open") & (
    budgets.c.deadline.is_(None) | (budgets.c.deadline > epoch_now())
)
# The highest priority first, then the oldest: ids ascend with age.
_IN_TURN = (budgets.c.priority.desc(), budgets.c.study_id)


def _records() -> Select[tuple[int, str, str, int, float | None, int, int, int]]:
    return select(
        budgets.c.study_id,
        tables.studies.c.study_name,
        budgets.c.state,
        budgets.c.priority,
        budgets.c.created_at,
        budgets.c.n_trials,
        budgets.c.n_claimed,
        _n_leased.label("n_leased"),
    ).join(tables.studies, tables.studies.c.study_id == budgets.c.study_id)


def list_studies(engine: Engine, *, limit: int, offset: int = 0) -> tuple[list[StudyRecord], int]:
    """Return a page of the studies, the newest first, and how many there are in all."""
    page = _records().order_by(budgets.c.study_id.desc()).limit(limit).offset(offset)
    with reading(engine) as connection:
        rows = connection.execute(page).all()
        total = connection.execute(select(func.count()).select_from(budgets)).scalar_one()
    return [_record(row) for row in rows], total


def find_study(engine: Engine, name: str) -> StudyRecord | None:
    """Return the study of ours with exactly this name, if there is one."""
    with reading(engine) as connection:
        query = _records().where(tables.studies.c.study_name == name)
        row = connection.execute(query).one_or_none()
    return None if row is None else _record(row)


def list_open(engine: Engine) -> list[StudyRecord]:
    """Return the open studies whose trials are not all finished, in the order to serve them."""
    is_unfinished = (budgets.c.n_claimed < budgets.c.n_trials) | (_n_leased > 0)
    query = _records().where(_is_open, is_unfinished).order_by(*_IN_TURN)
    with reading(engine) as connection:
        return [_record(row) for row in connection.execute(query)]


def list_over(engine: Engine, key: str) -> list[tuple[StudyRecord, Any]]:
    """Return the studies that have come to their end, without anybody's order, with this attribute.

    Their budget is spent or their time is up, and nothing is in training. In the order to serve
    them, each with the attribute's value.
    """
    attrs = tables.study_user_attrs
    is_over = (budgets.c.n_claimed >= budgets.c.n_trials) | (budgets.c.deadline <= epoch_now())
    query = (
        _records()
        .add_columns(attrs.c.value_json)
        .join(attrs, attrs.c.study_id == budgets.c.study_id)
        .where(attrs.c.key == key, budgets.c.state == "open", is_over, _n_leased == 0)
        .order_by(*_IN_TURN)
    )
    with reading(engine) as connection:
        return [(_record(row), json.loads(row.value_json)) for row in connection.execute(query)]


def list_forsaken(engine: Engine) -> list[int]:
    """Return the ids of studies with trials whose lease has run out: their worker is lost."""
    query = select(leases.c.study_id).where(leases.c.ends_at < epoch_now()).distinct()
    with reading(engine) as connection:
        return list(connection.execute(query).scalars())


def _record(row: Row[tuple[int, str, str, int, float | None, int, int, int]]) -> StudyRecord:
    return StudyRecord(
        study_id=row.study_id,
        name=row.study_name,
        state=row.state,
        priority=row.priority,
        created_at=row.created_at,
        n_trials=row.n_trials,
        n_finished=row.n_claimed - row.n_leased,
        n_leased=row.n_leased,
    )


def tell_apart(engine: Engine, study_id: int) -> tuple[Any, ...] | None:
    """Return what tells a study from a later one of its id; None where there is none.

    It changes once more with the first trial.
    """
    with reading(engine) as connection:
        row = connection.execute(_TELL_APART, {"of_study": study_id}).one_or_none()
    return None if row is None else tuple(row)
