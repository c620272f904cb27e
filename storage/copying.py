"""Copy studies with all that is theirs, budget, workers and exports too, to another database.

An SQLite file is one: so a copy is what is dumped to a file, and loaded from it. Trials that are in
training are given back in the copy, where nobody trains them. The audit is a service's, no study's.
"""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Table,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from storage import optuna_tables as tables
from storage.budget import forget_leftovers
from storage.founding import COPIED
from storage.limits import Limits
from storage.schema import budgets, exports, leases, workers
from storage.withdrawal import give_back_unheld

_ROWS_PER_STATEMENT = 1000
# Workers come along as having left: the ordinal of the next one, its sampler's seed, is then new.
_OF_STUDY = (tables.study_directions, tables.study_user_attrs, budgets, workers, exports)
_OF_TRIALS = (
    *(tables.params, tables.values, tables.intermediate_values),
    *(tables.user_attrs, tables.system_attrs),
)
# The dashboard keeps notes on trials with the study, under the ids of the trials.
_NOTED_TRIAL = re.compile(r"(?<=^dashboard:)\d+(?=:note_)")


@dataclass(frozen=True)
class Copied:
    """What was copied of a study; of its trials, those that were in training are given back."""

    study: str
    n_trials: int
    n_given_back: int


@dataclass(frozen=True)
class _Way:
    """From one transaction to another; ids in the copy are by those that are copied."""

    source: Connection
    target: Connection

    def copy_rows(
        self, table: Table, ids: Mapping[int, int], of: Column[int], where: ColumnElement[bool]
    ) -> None:
        """Copy rows in their order, with the ids that belong to them in the copy."""
        limits = Limits.of(self.target.dialect.name)
        own_key = [column for column in table.primary_key if column is not of]
        query = select(*(c for c in table.columns if c not in own_key)).where(where)
        query = query.order_by(*table.primary_key).execution_options(yield_per=_ROWS_PER_STATEMENT)
        for part in self.source.execute(query).mappings().partitions():
            rows = [{**row, of.name: ids[row[of.name]]} for row in part]
            for row in rows:
                _check(limits, table, row)
            self.target.execute(insert(table), rows)


def copy_studies(source: Engine, target: Engine, names: Sequence[str]) -> list[Copied] | None:
    """Copy studies as they are at one moment, all or none.

    Returns None, and copies nothing, if the target has a study of one of the names. Raises
    ValueError for what the target's columns do not take. Safe to repeat, also when interrupted.
    """
    try:
        with _snapshot(source) as reading, target.begin() as writing:
            return [_copy_study(_Way(reading, writing), name) for name in names]
    except IntegrityError:
        return None


@contextlib.contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a connection whose statements all see the same rows."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":  # where every transaction is like that
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _copy_study(way: _Way, name: str) -> Copied:
    old_id = way.source.execute(
        select(tables.studies.c.study_id).where(tables.studies.c.study_name == name)
    ).scalar_one()
    added = way.target.execute(insert(tables.studies).values(study_name=name))
    assert added.inserted_primary_key is not None
    new_id = added.inserted_primary_key[0]
    forget_leftovers(way.target, new_id)
    for table in (*_OF_STUDY, tables.trials):
        of = table.c.study_id
        way.copy_rows(table, {old_id: new_id}, of, of == old_id)
    # Ids ascend as rows are added; numbers need not: plain Optuna may give one twice.
    copied = zip(_find_trials(way.source, old_id), _find_trials(way.target, new_id), strict=True)
    trial_ids = dict(copied)
    of_study = select(tables.trials.c.trial_id).where(tables.trials.c.study_id == old_id)
    for table in _OF_TRIALS:
        way.copy_rows(table, trial_ids, table.c.trial_id, table.c.trial_id.in_(of_study))
    _copy_system_attrs(way, old_id, new_id, trial_ids)
    n_given_back = _let_go(way, old_id, new_id)
    return Copied(name, len(trial_ids), n_given_back)


def _find_trials(connection: Connection, study_id: int) -> Sequence[int]:
    trials = tables.trials.c
    query = select(trials.trial_id).where(trials.study_id == study_id).order_by(trials.trial_id)
    return connection.execute(query).scalars().all()


def _copy_system_attrs(way: _Way, old_id: int, new_id: int, trial_ids: Mapping[int, int]) -> None:
    table = tables.study_system_attrs
    rows = way.source.execute(select(table).where(table.c.study_id == old_id)).all()

    def renumber(noted: re.Match[str]) -> str:
        trial_id = int(noted[0])
        return str(trial_ids.get(trial_id, -trial_id))  # that of a deleted trial is nobody's

    for row in rows:
        key = _NOTED_TRIAL.sub(renumber, row.key)
        added = {"study_id": new_id, "key": key, "value_json": row.value_json}
        _check(Limits.of(way.target.dialect.name), table, added)
        way.target.execute(insert(table), added)


def _let_go(way: _Way, old_id: int, new_id: int) -> int:
    """Let nobody work at the copy: give back what is in training; return how many trials."""
    is_here, trials = workers.c.study_id == new_id, tables.trials.c
    has_left = update(workers).where(is_here, workers.c.left_at.is_(None))
    way.target.execute(has_left.values(left_at=workers.c.seen_at))
    is_running = trials.state == TrialState.RUNNING
    query = select(trials.trial_id).where(trials.study_id == new_id, is_running)
    running = way.target.execute(query).scalars().all()
    held = select(func.count()).where(leases.c.trial_id == trials.trial_id, is_running)
    n_held = way.source.execute(held.where(leases.c.study_id == old_id)).scalar_one()
    # Each that is given back opens a slot: those of plain Optuna had none.
    n_claimed = budgets.c.n_claimed + len(running) - n_held
    way.target.execute(
        update(budgets).where(budgets.c.study_id == new_id).values(n_claimed=n_claimed)
    )
    give_back_unheld(way.target, new_id, running, COPIED)
    return len(running)


def _check(limits: Limits, table: Table, row: Mapping[str, Any]) -> None:
    """Raise ValueError for a row that the target would refuse, or cut."""
    if "value_json" in row:
        limits.check_attr(row["key"], json.loads(row["value_json"]), f"attribute in {table.name}")
    elif table is tables.params:
        limits.check_param(row["param_name"], row["distribution_json"], row["param_value"])
    elif table is tables.intermediate_values:
        limits.check_step(row["step"])
