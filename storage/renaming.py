"""Rename studies in place: trials, budget, leases, workers and exports stay where they are."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, update
from sqlalchemy.exc import IntegrityError

from storage import optuna_tables as tables
from storage.founding import write_study_attrs


def rename_studies(
    engine: Engine, names: Mapping[int, str], attrs: Mapping[int, Mapping[str, Any]]
) -> bool:
    """Give studies, by id, new names and user attributes, all or none.

    Returns False, and changes nothing, if another study has one of the names.
    """
    studies = tables.studies
    try:
        with engine.begin() as connection:
            for study_id in sorted(names):
                tables.lock_study(connection, study_id)
                connection.execute(
                    update(studies)
                    .where(studies.c.study_id == study_id)
                    .values(study_name=names[study_id])
                )
                written = attrs.get(study_id, {})
                write_study_attrs(connection, tables.study_user_attrs, study_id, written)
    except IntegrityError:
        return False
    return True
