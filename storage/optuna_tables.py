"""Optuna's own tables, for statements that its classes would spell one row at a time.

Schema and encodings stay Optuna's: plain Optuna and the dashboard read and write the same rows.
How MySQL compares the names in them does not: see ``storage.names``.
"""

import functools
import importlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection, Executable, Table, bindparam, insert, select

studies: Table = models.StudyModel.__table__
study_directions: Table = models.StudyDirectionModel.__table__
study_user_attrs: Table = models.StudyUserAttributeModel.__table__
study_system_attrs: Table = models.StudySystemAttributeModel.__table__
trials: Table = models.TrialModel.__table__
params: Table = models.TrialParamModel.__table__
values: Table = models.TrialValueModel.__table__
intermediate_values: Table = models.TrialIntermediateValueModel.__table__
user_attrs: Table = models.TrialUserAttributeModel.__table__
system_attrs: Table = models.TrialSystemAttributeModel.__table__

decode_value = models.TrialValueModel.stored_repr_to_value
decode_intermediate_value = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value

# By what a row is found again: the unique constraint of each table.
_KEYS = {
    study_user_attrs.name: ("study_id", "key"),
    study_system_attrs.name: ("study_id", "key"),
    params.name: ("trial_id", "param_name"),
    values.name: ("trial_id", "objective"),
    intermediate_values.name: ("trial_id", "step"),
    user_attrs.name: ("trial_id", "key"),
    system_attrs.name: ("trial_id", "key"),
}

# Made once: building a statement costs more time than running it.
_LOCK_STUDY = (
    select(studies.c.study_id).where(studies.c.study_id == bindparam("of_study")).with_for_update()
)
_INSERT_TRIAL = insert(trials)


def utc_now() -> datetime:
    """Return this moment as Optuna stores it: naive UTC, by this host's clock."""
    return datetime.now(UTC).replace(tzinfo=None)


def to_local(stored: datetime | None) -> datetime | None:
    """Return a stored moment as Optuna shows it: naive local time."""
    if stored is None:
        return None
    return stored.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def param_row(name: str, internal_value: float, distribution: BaseDistribution) -> dict[str, Any]:
    """Return a parameter as it is stored, but for its trial; like the other rows below."""
    return {
        "param_name": name,
        "param_value": float(internal_value),
        "distribution_json": distribution_to_json(distribution),
    }


def value_row(objective: int, value: float) -> dict[str, Any]:
    """Return the value of an objective as it is stored."""
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"objective": objective, "value": stored, "value_type": kind}


def intermediate_value_row(step: int, value: float) -> dict[str, Any]:
    """Return the value of a step as it is stored."""
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return {"step": step, "intermediate_value": stored, "intermediate_value_type": kind}


def attr_row(key: str, value: Any) -> dict[str, Any]:
    """Return a user or system attribute as it is stored."""
    return {"key": key, "value_json": json.dumps(value)}


def lock_study(connection: Connection, study_id: int) -> None:
    """Take the lock under which Optuna numbers new trials, until the transaction ends.

    SQLite needs none: there the transaction has begun with the write lock.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(_LOCK_STUDY, {"of_study": study_id})


def find_next_number(connection: Connection, study_id: int) -> int:
    """Return the number of the trial that is added next; the caller holds the study's lock."""
    newest = select(trials.c.number).where(trials.c.study_id == study_id)
    newest = newest.order_by(trials.c.trial_id.desc()).limit(1)
    last = connection.execute(newest).scalar_one_or_none()
    return 0 if last is None else last + 1


def insert_trial(
    connection: Connection,
    study_id: int,
    number: int,
    state: TrialState,
    started_at: datetime | None = None,
) -> int:
    """Add a trial and return its id; the caller holds the study's lock."""
    row = connection.execute(
        _INSERT_TRIAL,
        {"study_id": study_id, "number": number, "state": state, "datetime_start": started_at},
    )
    assert row.inserted_primary_key is not None
    return int(row.inserted_primary_key[0])


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of one of these tables, over those that are there: safe to repeat."""
    if rows:
        connection.execute(_make_upsert(connection.dialect.name, table), rows)


@functools.cache
def _make_upsert(dialect_name: str, table: Table) -> Executable:
    # Each dialect has an INSERT of its own; importing all three takes a fifth of a second.
    dialect = importlib.import_module(f"sqlalchemy.dialects.{dialect_name}")
    adding = dialect.insert(table)
    keys = _KEYS[table.name]
    changed = [c.name for c in table.columns if not c.primary_key and c.name not in keys]
    if dialect_name == "mysql":
        return cast(
            "Executable",
            adding.on_duplicate_key_update({name: adding.inserted[name] for name in changed}),
        )
    return cast(
        "Executable",
        adding.on_conflict_do_update(
            index_elements=keys, set_={name: adding.excluded[name] for name in changed}
        ),
    )


def write_attrs(
    connection: Connection, table: Table, trial_id: int, attrs: Mapping[str, Any]
) -> None:
    """Write user or system attributes of a trial."""
    upsert(connection, table, [{"trial_id": trial_id, **attr_row(*attr)} for attr in attrs.items()])
