"""What belongs to trials besides their own rows: five tables, read by one statement.

Leaves to others: which trials are to be read.
"""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.trial import FrozenTrial
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Row,
    Table,
    and_,
    bindparam,
    case,
    literal_column,
    null,
    select,
    union_all,
)

from storage import optuna_tables as tables
from storage.ranges import read_rows

# Each id stands five times in a statement; SQLite before 3.32 takes 999 parameters.
_IDS_PER_STATEMENT = 150
# From here on one statement for the whole study is cheaper than many for some of it.
_MANY_IDS = 2_000

_PARAM, _VALUE, _INTERMEDIATE_VALUE, _USER_ATTR, _SYSTEM_ATTR = range(5)
_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
_CODES = {name: code for code, name in enumerate(_NOT_FINITE, start=1)}
_BY_CODE = dict(zip(_CODES.values(), _NOT_FINITE.values(), strict=True))

_distribution: Callable[[str], BaseDistribution] = cache(json_to_distribution)


def _code(kind: ColumnElement[Any]) -> ColumnElement[int]:
    """Return 0 for a finite number, else which it is."""
    names = [name for name in kind.type.enums if name in _CODES]  # type: ignore[attr-defined]
    return case(
        *((kind == name, literal_column(str(_CODES[name]))) for name in names),
        else_=literal_column("0"),
    )


def _make_query(is_wanted: Callable[[Table], ColumnElement[bool]]) -> CompoundSelect[Any]:
    """Return the statement for the wanted rows of all tables, as kind, position, key and so on."""
    params, values, steps = (
        table.c for table in (tables.params, tables.values, tables.intermediate_values)
    )
    user, system = tables.user_attrs.c, tables.system_attrs.c
    none: ColumnElement[Any] = null()
    zero: ColumnElement[int] = literal_column("0")
    rows: list[tuple[Table, int, Any, Any, Any, Any, Any]] = [
        (tables.params, _PARAM, params.param_id, params.param_name, params.param_value,
         params.distribution_json, zero),
        (tables.values, _VALUE, values.objective, none, values.value, none,
         _code(values.value_type)),
        (tables.intermediate_values, _INTERMEDIATE_VALUE, steps.step, none,
         steps.intermediate_value, none, _code(steps.intermediate_value_type)),
        (tables.user_attrs, _USER_ATTR, zero, user.key, none, user.value_json, zero),
        (tables.system_attrs, _SYSTEM_ATTR, zero, system.key, none, system.value_json, zero),
    ]  # fmt: skip
    parts = [
        select(
            table.c.trial_id,
            literal_column(str(kind)).label("kind"),
            position.label("position"),
            key.label("key"),
            number.label("number"),
            text.label("text"),
            code.label("code"),
        ).where(is_wanted(table))
        for table, kind, position, key, number, text, code in rows
    ]
    return union_all(*parts).order_by("kind", "position")


# Made once: building a statement costs more time than running it.
_IN_RANGE = _make_query(lambda table: table.c.trial_id.between(bindparam("low"), bindparam("high")))
_AMONG = _make_query(lambda table: table.c.trial_id.in_(bindparam("ids", expanding=True)))
_OF_STUDY = _make_query(
    lambda table: and_(
        table.c.trial_id >= bindparam("low"),
        table.c.trial_id.in_(
            select(tables.trials.c.trial_id).where(
                tables.trials.c.study_id == bindparam("of_study")
            )
        ),
    )
)


def _read(connection: Connection, study_id: int, ids: Sequence[int]) -> Sequence[Row[Any]]:
    """Return the rows for all of these sorted ids of a study, and for some others."""
    if len(ids) > _MANY_IDS:
        return connection.execute(_OF_STUDY, {"of_study": study_id, "low": ids[0]}).all()
    return read_rows(connection, _IN_RANGE, _AMONG, ids, _IDS_PER_STATEMENT)


class Details:
    """What belongs to some trials of a study; their ids are sorted."""

    def __init__(self, connection: Connection, study_id: int, trial_ids: Sequence[int]) -> None:
        self._rows: dict[int, tuple[list[Any], ...]] = defaultdict(lambda: ([], [], [], [], []))
        for row in _read(connection, study_id, trial_ids):
            self._rows[row.trial_id][row.kind].append(row)

    def build(self, row: Row[Any]) -> FrozenTrial:
        """Return the trial with this row."""
        params, values, intermediate_values, user_attrs, system_attrs = self._rows[row.trial_id]
        distributions = {name: _distribution(text) for _, _, _, name, _, text, _ in params}
        return FrozenTrial(
            number=row.number,
            state=row.state,
            value=None,
            values=[_number(number, code) for *_, number, _, code in values] or None,
            datetime_start=tables.to_local(row.datetime_start),
            datetime_complete=tables.to_local(row.datetime_complete),
            params={
                name: distributions[name].to_external_repr(number)
                for _, _, _, name, number, _, _ in params
            },
            distributions=distributions,
            user_attrs=_attrs(user_attrs),
            system_attrs=_attrs(system_attrs),
            intermediate_values={
                step: _number(number, code)
                for _, _, step, _, number, _, code in intermediate_values
            },
            trial_id=row.trial_id,
        )


def _number(stored: float | None, code: int) -> float:
    return _BY_CODE[code] if stored is None else stored


def _attrs(rows: Iterable[Sequence[Any]]) -> dict[str, Any]:
    return {key: _loaded(text) for _, _, _, key, _, text, _ in rows}


def _loaded(text: str) -> Any:
    # Lists and dictionaries are not shared: somebody might change them.
    return json.loads(text) if text[0] in "[{" else _loaded_once(text)


_loaded_once = lru_cache(json.loads)  # as a rule the name of a worker
