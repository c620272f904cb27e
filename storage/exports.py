"""The record of what was exported: each study's answers, version 1, 2, ..., none overwritten."""

import getpass
import os
import socket
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, RowMapping, insert, select

from storage import optuna_tables as tables
from storage.clock import epoch_now
from storage.engine import reading
from storage.schema import exports

_MAX_REASON_LENGTH = 1000  # that of the column


@dataclass(frozen=True)
class NewExport:
    """An answer to be recorded; ``document`` is the whole of it, as JSON."""

    rule: str
    weight_decay: float | None
    lr: float | None
    value: float | None
    mean: float | None
    standard_error: float | None
    trial: int | None
    pinned_trial: int | None
    reason: str
    exported_by: str
    document: str


@dataclass(frozen=True)
class Export(NewExport):
    """A recorded answer; ``exported_at`` is in seconds since 1970 by the database's clock."""

    version: int
    exported_at: float


def list_exports(engine: Engine, study_id: int) -> list[Export]:
    """Return what was exported of a study, the first version first."""
    query = select(exports).where(exports.c.study_id == study_id).order_by(exports.c.version)
    with reading(engine) as connection:
        return [_read(row) for row in connection.execute(query).mappings()]


def find_last_export(engine: Engine, study_id: int) -> Export | None:
    """Return the version that counts: the last; None where nothing was exported."""
    query = _last(study_id)
    with reading(engine) as connection:
        row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _read(row)


def record_export(engine: Engine, study_id: int, new: NewExport, *, after: int) -> Export | None:
    """Record an answer as version ``after + 1``; None if that is not the last any more.

    ``after`` is the last version that the caller has seen, 0 for none: so no two exporters get
    the same version, and none replaces an answer that it has not seen. Raises database errors.
    """
    values = {**vars(new), "reason": new.reason[:_MAX_REASON_LENGTH]}
    adding = insert(exports).values(
        study_id=study_id, version=after + 1, exported_at=epoch_now(), **values
    )
    with engine.begin() as connection:
        tables.lock_study(connection, study_id)
        last = connection.execute(_last(study_id)).mappings().one_or_none()
        if (0 if last is None else last["version"]) != after:
            return None
        connection.execute(adding)
        return _read(connection.execute(_last(study_id)).mappings().one())


def who_am_i() -> str:
    """Return the user and host of this process, as records name it: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user needs no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"[:255]


def _last(study_id: int) -> Any:
    return (
        select(exports)
        .where(exports.c.study_id == study_id)
        .order_by(exports.c.version.desc())
        .limit(1)
    )


def _read(row: RowMapping) -> Export:
    return Export(**{name: row[name] for name in Export.__dataclass_fields__})
