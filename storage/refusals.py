"""End a trial by FAIL whose rows the database does not take, so that it costs no other trial.

What can be known before is said before: see ``storage.limits``.
"""

from collections.abc import Mapping
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, Table

from storage import optuna_tables as tables
from storage.causes import driver_message, is_of_rows
from storage.writes import ERROR, TABLES, Ending, Writes, lock_leased, write_batch

_LONGEST_REASON = 1000
_LONGEST_SHOWN = 60

_NAMES = {
    tables.params.name: ("parameter", "param_name", "distribution_json"),
    tables.intermediate_values.name: ("the report at step", "step", None),
    tables.user_attrs.name: ("user attribute", "key", "value_json"),
    tables.system_attrs.name: ("system attribute", "key", "value_json"),
    tables.values.name: ("the value of objective", "objective", None),
}


def end_refused(
    connection: Connection, worker_id: int, trial_id: int, writes: Writes, error: BaseException
) -> tuple[str, bool]:
    """End the trial with what can be written of it; return why, and whether it was still ours.

    ``error`` is what writing all of it has raised. Its lease ends, its slot stays spent.
    """
    batch = {trial_id: writes}
    is_ours = lock_leased(connection, worker_id, batch).get(trial_id) is TrialState.RUNNING
    refused = _find_refused(connection, writes) if is_ours else {}
    reason = _explain(refused, error)
    kept = {
        key: row
        for key, row in writes.rows.items()
        if key not in refused and key[0] != tables.values.name  # a failed trial has none
    }
    row = {"trial_id": trial_id, **tables.attr_row(ERROR, reason)}
    kept[tables.user_attrs.name, ERROR] = row
    ending = Ending(TrialState.FAIL, tables.utc_now())
    failed = Writes(writes.lease_id, kept, ending, writes.may_be_written)
    return reason, not write_batch(connection, worker_id, {trial_id: failed})


def _find_refused(connection: Connection, writes: Writes) -> dict[tuple[str, Any], str]:
    """Return why rows are refused, by their keys; nothing is written yet."""
    refused: dict[tuple[str, Any], str] = {}
    for table in TABLES:
        rows = writes.rows_of(table)
        if _find_error(connection, table, list(rows.values())) is None:
            continue
        for key, row in rows.items():
            error = _find_error(connection, table, [row])
            if error is not None:
                refused[key] = f"{_describe(table, row)}: {driver_message(error)}"
    return refused


def _find_error(
    connection: Connection, table: Table, rows: list[dict[str, Any]]
) -> BaseException | None:
    """Try to write rows, and return why that cannot be; raises what is no row's fault."""
    attempt = connection.begin_nested()
    try:
        tables.upsert(connection, table, rows)
    except Exception as error:
        if not is_of_rows(error):
            raise
        return error
    finally:
        attempt.rollback()
    return None


def _describe(table: Table, row: Mapping[str, Any]) -> str:
    """Name a row, with the size of its text."""
    kind, name, text = _NAMES[table.name]
    shown = ascii(row[name])
    if len(shown) > _LONGEST_SHOWN:
        shown = f"{shown[:_LONGEST_SHOWN]}... ({len(str(row[name])):,} characters)"
    size = "" if text is None else f" ({len(row[text]):,} bytes of JSON)"
    return f"the database does not take {kind} {shown}{size}"


def _explain(refused: Mapping[Any, str], error: BaseException) -> str:
    if not refused:
        return f"the database does not take its end: {driver_message(error)}"[:_LONGEST_REASON]
    first, *others = refused.values()
    more = f" (and {len(others)} more)" if others else ""
    return first[: _LONGEST_REASON - len(more)] + more
