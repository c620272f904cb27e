"""A study's trials in memory: each finished one is read once, with few statements for many.

Leaves to others: whose trials they are, and writing.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    select,
)

from storage import optuna_tables as tables

# Databases limit the parameters of a statement; SQLite before 3.32 to 999.
_IDS_PER_STATEMENT = 500
# From here on one statement for the whole study is cheaper than many for some of it.
_MANY_IDS = 4 * _IDS_PER_STATEMENT
# What others have in training, and what is new, lies side by side. Such ids are read by a range:
# the text of that statement never changes, while a list is taken apart anew each time, by
# SQLAlchemy and by the driver. A range may have gaps of so many other ids.
_WIDEST_GAP = 8
_MANY_RANGES = 8

# Made once: building a statement costs more time than running it.
_QUERIES: dict[str, Select[Any]] = {
    order.table.name: select(order.table).order_by(order)
    for order in (
        tables.trials.c.trial_id,
        tables.params.c.param_id,
        tables.values.c.objective,
        tables.intermediate_values.c.step,
        tables.user_attrs.c.key,
        tables.system_attrs.c.key,
    )
}
_IN_RANGE = {
    name: query.where(query.selected_columns.trial_id.between(bindparam("low"), bindparam("high")))
    for name, query in _QUERIES.items()
}
_FROM = _QUERIES[tables.trials.name].where(
    tables.trials.c.study_id == bindparam("of_study"), tables.trials.c.trial_id >= bindparam("low")
)

_distribution: Callable[[str], BaseDistribution] = cache(json_to_distribution)


class History:
    """The trials of one study, in the order of their numbers; not thread-safe.

    A refresh reads what is new and what was unfinished at the last look, except for the trials
    that the caller keeps itself. Optuna numbers trials under a lock of the study, so that none
    appears below the last id that was seen.
    """

    def __init__(self, study_id: int) -> None:
        self._study_id = study_id
        self._trials: list[FrozenTrial] = []
        self._index: dict[int, int] = {}
        self._unfinished: set[int] = set()
        self._selected: dict[tuple[TrialState, ...], list[FrozenTrial]] = {}

    @property
    def last_trial_id(self) -> int:
        """The highest id that was seen; -1 for a study without trials."""
        return self._trials[-1]._trial_id if self._trials else -1

    @property
    def has_unfinished(self) -> bool:
        """Whether there are trials that a refresh would read again."""
        return bool(self._unfinished)

    @property
    def waiting_ids(self) -> list[int]:
        """The trials that were WAITING at the last look, lowest number first."""
        ids = sorted(self._unfinished)
        return [i for i in ids if self.find(i).state is TrialState.WAITING]

    def find(self, trial_id: int) -> FrozenTrial:
        """Return a trial as it was last seen or kept; raises KeyError."""
        return self._trials[self._index[trial_id]]

    def select(self, states: Collection[TrialState] | None) -> list[FrozenTrial]:
        """Return a new list of the trials in some states, or of all."""
        if states is None:
            return list(self._trials)
        key = tuple(states)
        if not all(state.is_finished() for state in key):
            return [trial for trial in self._trials if trial.state in states]
        if key not in self._selected:
            self._selected[key] = [trial for trial in self._trials if trial.state in states]
        return list(self._selected[key])

    def keep(self, trial: FrozenTrial) -> None:
        """Show this instead of what is stored, and read the trial no more."""
        self._unfinished.discard(trial._trial_id)
        self._put(trial)

    def release(self, trial_id: int) -> None:
        """Read a trial again from the next refresh on."""
        self._unfinished.add(trial_id)

    def refresh(self, connection: Connection, kept: Mapping[int, FrozenTrial]) -> None:
        """Read what is new or was unfinished; new trials in ``kept`` are taken from there."""
        rows = self._changed_rows(connection)
        unknown = sorted(row.trial_id for row in rows if row.trial_id not in kept)
        details = _Details(connection, self._study_id, unknown)
        for row in rows:
            trial = kept.get(row.trial_id) or details.build(row)
            if trial.state.is_finished() or row.trial_id in kept:
                self._unfinished.discard(row.trial_id)
            else:
                self._unfinished.add(row.trial_id)
            self._put(trial)

    def _put(self, trial: FrozenTrial) -> None:
        index = self._index.get(trial._trial_id)
        if index is None:
            self._index[trial._trial_id] = len(self._trials)
            self._trials.append(trial)
        else:
            was_finished = self._trials[index].state.is_finished()
            self._trials[index] = trial
            if not was_finished and not trial.state.is_finished():
                return
        self._selected.clear()

    def _changed_rows(self, connection: Connection) -> list[Row[Any]]:
        """Return the trials' own rows, by id; of WAITING ones only those that wait no more."""
        last = self.last_trial_id
        waiting = self.waiting_ids
        running = sorted(self._unfinished.difference(waiting))
        # What runs as a rule has come last, so that one statement reads that and what is new.
        recent, _ = _ranges([*running, last + 1])[-1]
        rows = _read(connection, tables.trials, [i for i in running if i < recent])
        for some in _parts(waiting):
            has_left_queue = tables.trials.c.state != TrialState.WAITING
            rows += connection.execute(_among(tables.trials, some).where(has_left_queue)).all()
        changed = [row for row in rows if row.trial_id in self._unfinished]
        from_here = {"of_study": self._study_id, "low": recent}
        seen = {row.trial_id for row in changed}.union(waiting)
        changed += [
            row
            for row in connection.execute(_FROM, from_here)
            if row.trial_id > last
            or (row.trial_id in self._unfinished and row.trial_id not in seen)
        ]
        return changed


def _ranges(ids: Sequence[int]) -> list[tuple[int, int]]:
    """Return the ranges of these sorted ids, with small gaps."""
    ranges: list[tuple[int, int]] = []
    for trial_id in ids:
        if ranges and trial_id - ranges[-1][1] <= _WIDEST_GAP:
            ranges[-1] = (ranges[-1][0], trial_id)
        else:
            ranges.append((trial_id, trial_id))
    return ranges


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _IDS_PER_STATEMENT):
        yield ids[start : start + _IDS_PER_STATEMENT]


def _among(table: Table, ids: Sequence[int]) -> Select[Any]:
    return _QUERIES[table.name].where(table.c.trial_id.in_(ids))


def _read(connection: Connection, table: Table, ids: Sequence[int]) -> list[Row[Any]]:
    """Return the rows of a table for all of these sorted ids, and for some others."""
    ranges = _ranges(ids)
    rows: list[Row[Any]] = []
    if len(ranges) <= _MANY_RANGES:
        for low, high in ranges:
            rows += connection.execute(_IN_RANGE[table.name], {"low": low, "high": high}).all()
    else:
        for some in _parts(ids):
            rows += connection.execute(_among(table, some)).all()
    return rows


class _Details:
    """What belongs to some trials of a study, read table by table."""

    def __init__(self, connection: Connection, study_id: int, trial_ids: Sequence[int]) -> None:
        self._connection = connection
        self._study_id = study_id
        self._trial_ids = trial_ids
        self._params = self._read(tables.params)
        self._values = self._read(tables.values)
        self._intermediate_values = self._read(tables.intermediate_values)
        self._user_attrs = self._read(tables.user_attrs)
        self._system_attrs = self._read(tables.system_attrs)

    def _read(self, table: Table) -> dict[int, list[Row[Any]]]:
        rows: Iterable[Row[Any]]
        if len(self._trial_ids) > _MANY_IDS:
            of_study = _QUERIES[table.name].join(
                tables.trials, tables.trials.c.trial_id == table.c.trial_id
            )
            rows = self._connection.execute(
                of_study.where(
                    tables.trials.c.study_id == self._study_id,
                    tables.trials.c.trial_id >= min(self._trial_ids),
                )
            )
        else:
            rows = _read(self._connection, table, self._trial_ids)
        found: dict[int, list[Row[Any]]] = defaultdict(list)
        for row in rows:
            found[row.trial_id].append(row)
        return found

    def build(self, row: Row[Any]) -> FrozenTrial:
        trial_id = row.trial_id
        params = self._params[trial_id]
        distributions = {p.param_name: _distribution(p.distribution_json) for p in params}
        return FrozenTrial(
            number=row.number,
            state=row.state,
            value=None,
            values=[tables.decode_value(v.value, v.value_type) for v in self._values[trial_id]]
            or None,
            datetime_start=tables.to_local(row.datetime_start),
            datetime_complete=tables.to_local(row.datetime_complete),
            params={
                p.param_name: distributions[p.param_name].to_external_repr(p.param_value)
                for p in params
            },
            distributions=distributions,
            user_attrs={a.key: json.loads(a.value_json) for a in self._user_attrs[trial_id]},
            system_attrs={a.key: json.loads(a.value_json) for a in self._system_attrs[trial_id]},
            intermediate_values={
                v.step: tables.decode_intermediate_value(
                    v.intermediate_value, v.intermediate_value_type
                )
                for v in self._intermediate_values[trial_id]
            },
            trial_id=trial_id,
        )
