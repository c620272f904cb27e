"""Notice that a database has gone back: restored from a copy, or failed over to one that lagged.

Such a database hands out ids again that it has counted itself. Those of workers and leases are
random: what belongs to a time that has not been finds no lease of its own, and writes nothing. A
worker that remembers such a time begins anew. It notices by its row, which counts its signs of
life, where it claims or renews; and by the trial that it saw last, where that is gone. What was
lost within one renewal, and replaced by others, is known to its sampler for as long as it lives.
"""

import json
import time
from collections.abc import Iterator

from sqlalchemy import Connection, Engine, select, text, update

from storage import optuna_tables as tables
from storage.clock import epoch_now
from storage.engine import reading
from storage.errors import RolledBackError
from storage.origin import WORKER
from storage.schema import budgets, workers

# A system attribute of a study: which worker met its database gone back, and when.
ROLLED_BACK = "tuner:rolled_back"

_GONE_BACK = "The database has gone back to an earlier moment, restored or failed over to a copy"
_NOTED = """SELECT s.study_name, a.value_json FROM study_system_attributes a
JOIN studies s ON s.study_id = a.study_id WHERE a.{key} = :of_key ORDER BY s.study_name"""
_FORGET = f"DELETE FROM study_system_attributes WHERE {{key}} = '{ROLLED_BACK}'"
_HOLDERS = """SELECT s.study_name, t.number, a.value_json, w.host, w.pid FROM tuner_leases l
JOIN trials t ON t.trial_id = l.trial_id JOIN studies s ON s.study_id = t.study_id
JOIN trial_user_attributes a ON a.trial_id = t.trial_id
LEFT JOIN tuner_workers w ON w.worker_id = l.worker_id
WHERE t.state = 'RUNNING' AND a.{key} = :of_key ORDER BY s.study_name, t.number"""


def rolled_back(what: str) -> RolledBackError:
    """Return the error of who finds the database at an earlier moment, by ``what``."""
    return RolledBackError(f"{_GONE_BACK} ({what}): what is not in it is dropped")


def show_alive(engine: Engine, study_id: int, worker_id: int, n_renewals: int) -> None:
    """Record that a worker is alive, for the n-th time; raises RolledBackError if it is not there.

    Safe to repeat. A study that was deleted, with its workers, is said by whoever reads its budget.
    """
    told = (
        update(workers)
        .where(
            workers.c.worker_id == worker_id, workers.c.n_renewals.in_([n_renewals - 1, n_renewals])
        )
        .values(seen_at=epoch_now(), n_renewals=n_renewals)
    )
    with engine.begin() as connection:
        is_there = connection.execute(told).rowcount == 1
        has_study = select(budgets.c.study_id).where(budgets.c.study_id == study_id)
        if is_there or connection.execute(has_study).first() is None:
            return
    raise rolled_back("it does not know this worker, or not what it said last")


def check_registered(engine: Engine, worker_id: int) -> None:
    """Raise RolledBackError if the database does not know a worker that has registered."""
    query = select(workers.c.worker_id).where(workers.c.worker_id == worker_id)
    with reading(engine) as connection:
        if connection.execute(query).first() is None:
            raise rolled_back("it does not know this worker")


def note_rollback(engine: Engine, study_name: str, worker: str) -> None:
    """Leave a note for ``storage.check`` that a worker met the database gone back."""
    of_name = select(tables.studies.c.study_id).where(tables.studies.c.study_name == study_name)
    with engine.begin() as connection:
        study_id = connection.execute(of_name).scalar()
        if study_id is not None:
            note = {"worker": worker, "at": connection.execute(select(epoch_now())).scalar_one()}
            row = {"study_id": study_id, **tables.attr_row(ROLLED_BACK, note)}
            tables.upsert(connection, tables.study_system_attrs, [row])


def find_traces(connection: Connection) -> Iterator[str]:
    """Return a line for each study whose database went back, and each lease that is another's."""
    key = connection.dialect.identifier_preparer.quote("key")
    noted = connection.execute(text(_NOTED.format(key=key)), {"of_key": ROLLED_BACK}).all()
    for study, stored in noted:
        note = json.loads(stored)
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(note["at"]))
        yield (
            f"Study {study!r}: worker {note['worker']} found at {at} that the database had gone "
            "back to an earlier moment: trials that had ended since are lost, answers exported "
            f"since are of them; once you know, run SQL `{_FORGET.format(key=key)}`"
        )
    for study, number, stored, host, pid in connection.execute(
        text(_HOLDERS.format(key=key)), {"of_key": WORKER}
    ):
        trainer = str(json.loads(stored))
        if trainer.partition("#")[0] != f"{host}:{pid}":
            yield (
                f"Study {study!r}: trial {number} is trained by {trainer}, but leased to "
                f"{'nobody' if host is None else f'{host}:{pid}'}: tables of different moments "
                "stand side by side; restore all of them from one copy"
            )
