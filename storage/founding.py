"""Make a study ours, and mend one that other programs have copied, renamed or changed.

What makes it ours, its direction, its budget and its attributes, is written in one transaction: all
of it or nothing. Copies come without a budget, and with trials that were in training.
"""

from collections.abc import Mapping
from typing import Any

from optuna.study import StudyDirection
from sqlalchemy import Connection, Engine, Table, select, text, update

from storage import optuna_tables as tables
from storage.budget import add_budget, begin_budget
from storage.engine import reading
from storage.origin import ORIGIN, OWN_TRIALS, WITH_ORIGIN, make_origin
from storage.schema import budgets
from storage.withdrawal import give_back_unheld
from storage.writes import GIVEN_BACK

COPIED = "it was in training when the study was copied"
_FORSAKEN = "nobody was training it"

# A trial that spends a slot of the budget: see `storage.withdrawal.is_given_back`.
COUNTS = f"""(t.state IN ('COMPLETE', 'PRUNED') OR t.state = 'FAIL' AND NOT EXISTS (
    SELECT 1 FROM trial_user_attributes a WHERE a.trial_id = t.trial_id AND a.key = '{GIVEN_BACK}'))
"""
_N_FINISHED = text(
    f"SELECT COUNT(*) FROM trials t WHERE t.study_id = :of_study AND {COUNTS} AND {OWN_TRIALS}"
)
_RUNNING = """FROM trials t LEFT JOIN tuner_leases l ON l.trial_id = t.trial_id
    WHERE t.study_id = :of_study AND t.state = 'RUNNING'"""
_N_HELD = text(f"SELECT COUNT(*) {_RUNNING} AND l.trial_id IS NOT NULL")
_UNHELD = text(f"SELECT t.trial_id {_RUNNING} AND l.trial_id IS NULL")
# Those that a plain Optuna program trains have no lease either.
_UNHELD_OWN = text(f"SELECT t.trial_id {_RUNNING} AND l.trial_id IS NULL AND {WITH_ORIGIN}")


def found_study(
    engine: Engine, study_id: int, n_trials: int, direction: str, attrs: Mapping[str, Any]
) -> str:
    """Make an empty study ours, with these user attributes; return its origin."""
    origin = make_origin()
    with engine.begin() as connection:
        begin_budget(connection, study_id, n_trials)
        _set_direction(connection, study_id, direction)
        for table, written in (
            (tables.study_system_attrs, {ORIGIN: origin}),
            (tables.study_user_attrs, attrs),
        ):
            write_study_attrs(connection, table, study_id, written)
    return origin


def set_direction(engine: Engine, study_id: int, direction: str) -> None:
    """Let Optuna maximise or minimise a study of one objective."""
    with engine.begin() as connection:
        _set_direction(connection, study_id, direction)


def find_directions(engine: Engine, study_id: int) -> list[str]:
    """Return the direction of each objective as it is stored now: maximize or minimize."""
    directions = tables.study_directions.c
    query = (
        select(directions.direction)
        .where(directions.study_id == study_id)
        .order_by(directions.objective)
    )
    with reading(engine) as connection:
        return [direction.name.lower() for direction in connection.execute(query).scalars()]


def set_spec(engine: Engine, study_id: int, direction: str, attrs: Mapping[str, Any]) -> None:
    """Write another spec of a study, which stands in user attributes, and its direction."""
    with engine.begin() as connection:
        _set_direction(connection, study_id, direction)
        write_study_attrs(connection, tables.study_user_attrs, study_id, attrs)


def mend_budget(engine: Engine, study_id: int, default: int) -> int | None:
    """Give a study the budget that it has lost; return its finished trials, None if it had one.

    The budget is the default or, if more, what is finished; trials that were in training when the
    study was copied wait to be run again. So do, where the budget is there, those whose lease is
    gone. Safe to repeat, and by several processes at once.
    """
    with engine.begin() as connection:
        has_budget = select(budgets.c.study_id).where(budgets.c.study_id == study_id)
        is_there = connection.execute(has_budget.with_for_update()).first() is not None
        tables.lock_study(connection, study_id)
        of_study = {"of_study": study_id}
        if is_there:
            unheld_ids = connection.execute(_UNHELD_OWN, of_study).scalars().all()
            give_back_unheld(connection, study_id, unheld_ids, _FORSAKEN)
            return None
        n_finished = connection.execute(_N_FINISHED, of_study).scalar_one()
        unheld_ids = connection.execute(_UNHELD, of_study).scalars().all()
        n_claimed = n_finished + connection.execute(_N_HELD, of_study).scalar_one()
        n_claimed += len(unheld_ids)  # which giving them back takes away again
        add_budget(connection, study_id, max(default, n_finished), n_claimed)
        give_back_unheld(connection, study_id, unheld_ids, COPIED)
        return int(n_finished)


def _set_direction(connection: Connection, study_id: int, direction: str) -> None:
    stored = tables.study_directions
    connection.execute(
        update(stored)
        .where(stored.c.study_id == study_id, stored.c.objective == 0)
        .values(direction=StudyDirection[direction.upper()])
    )


def write_study_attrs(
    connection: Connection, table: Table, study_id: int, attrs: Mapping[str, Any]
) -> None:
    """Write user or system attributes of a study in the caller's transaction."""
    rows = [{"study_id": study_id, **tables.attr_row(*attr)} for attr in attrs.items()]
    tables.upsert(connection, table, rows)
