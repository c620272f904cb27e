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
from optuna.trial import FrozenTrial, TrialState
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


_IsWanted = Callable[[Table], ColumnElement[bool]]


def _make_query(is_wanted: _IsWanted, *, is_whole: bool) -> CompoundSelect[Any]:
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
    if not is_whole:
        parts[_INTERMEDIATE_VALUE] = parts[_INTERMEDIATE_VALUE].join(
            tables.trials,
            and_(
                tables.trials.c.trial_id == steps.trial_id,
                tables.trials.c.state != TrialState.RUNNING,
            ),
        )
    return union_all(*parts).order_by("kind", "position")


def _is_in_range(table: Table) -> ColumnElement[bool]:
    return table.c.trial_id.between(bindparam("low"), bindparam("high"))


def _is_among(table: Table) -> ColumnElement[bool]:
    return table.c.trial_id.in_(bindparam("ids", expanding=True))


def _is_of_study(table: Table) -> ColumnElement[bool]:
    trials = tables.trials.alias()
    of_study = select(trials.c.trial_id).where(trials.c.study_id == bindparam("of_study"))
    return and_(table.c.trial_id >= bindparam("low"), table.c.trial_id.in_(of_study))


# Made once: building a statement costs more time than running it. By whether they are whole.
_IN_RANGE, _AMONG, _OF_STUDY = (
    {is_whole: _make_query(is_wanted, is_whole=is_whole) for is_whole in (False, True)}
    for is_wanted in (_is_in_range, _is_among, _is_of_study)
)


def _read(
    connection: Connection, study_id: int, ids: Sequence[int], *, is_whole: bool
) -> Sequence[Row[Any]]:
    """Return the rows for all of these sorted ids of a study, and for some others."""
    if len(ids) > _MANY_IDS:
        of_study = {"of_study": study_id, "low": ids[0]}
        return connection.execute(_OF_STUDY[is_whole], of_study).all()
    return read_rows(connection, _IN_RANGE[is_whole], _AMONG[is_whole], ids, _IDS_PER_STATEMENT)


class Details:
    """What belongs to some trials of a study; their ids are sorted.

    Unless it is whole, what RUNNING trials have reported is left out: most of the rows that there
    are, where many workers train, and samplers and pruners do not look at it.
    """

    def __init__(
        self, connection: Connection, study_id: int, trial_ids: Sequence[int], *, is_whole: bool
    ) -> None:
        self._rows: dict[int, tuple[list[Any], ...]] = defaultdict(lambda: ([], [], [], [], []))
        for row in _read(connection, study_id, trial_ids, is_whole=is_whole):
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
