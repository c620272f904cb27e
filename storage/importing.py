"""Put finished trials of another study into a study: they teach its samplers, and nothing else.

Neither a worker's name nor an origin stands on them: they are not its own (``storage.origin``).
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from optuna.trial import FrozenTrial
from sqlalchemy import Connection, Engine, select, update

from storage import optuna_tables as tables

# A user attribute: which trial of which study it was.
IMPORTED_FROM = "imported_from"


def import_trials(
    engine: Engine, study_id: int, source_name: str, trials: Sequence[FrozenTrial]
) -> int:
    """Add trials, with their parameters and values, unless they are there; return how many.

    All or none. Safe to repeat, and by several processes at once.
    """
    with engine.begin() as connection:
        tables.lock_study(connection, study_id)
        present = _find_present(connection, study_id)
        new = [trial for trial in trials if (source_name, trial.number) not in present]
        first = tables.find_next_number(connection, study_id)
        for number, trial in enumerate(new, start=first):
            trial_id = _insert(connection, study_id, number, trial)
            mark = {IMPORTED_FROM: {"study": source_name, "trial": trial.number}}
            tables.write_attrs(connection, tables.user_attrs, trial_id, mark)
    return len(new)


def _find_present(connection: Connection, study_id: int) -> set[tuple[str, int]]:
    """Return what was imported before: of which study, and which trial it was there."""
    attrs, trials = tables.user_attrs.c, tables.trials.c
    query = select(attrs.value_json).join(tables.trials, trials.trial_id == attrs.trial_id)
    query = query.where(trials.study_id == study_id, attrs.key == IMPORTED_FROM)
    marks = map(json.loads, connection.execute(query).scalars())
    return {(mark["study"], mark["trial"]) for mark in marks}


def _insert(connection: Connection, study_id: int, number: int, trial: FrozenTrial) -> int:
    trial_id = tables.insert_trial(
        connection, study_id, number, trial.state, _to_stored(trial.datetime_start)
    )
    ended = update(tables.trials).where(tables.trials.c.trial_id == trial_id)
    connection.execute(ended.values(datetime_complete=_to_stored(trial.datetime_complete)))
    params = [
        tables.param_row(name, distribution.to_internal_repr(trial.params[name]), distribution)
        for name, distribution in trial.distributions.items()
    ]
    values = [tables.value_row(*each) for each in enumerate(trial.values)]
    for table, rows in ((tables.params, params), (tables.values, values)):
        tables.upsert(connection, table, [{"trial_id": trial_id, **row} for row in rows])
    return trial_id


def _to_stored(moment: datetime | None) -> datetime | None:
    """Return a moment as Optuna stores it: it shows naive local time, and stores naive UTC."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)
