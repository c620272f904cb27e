"""Bring a database that an older version made to the newest: our tables, views and Optuna's."""

from dataclasses import dataclass

from optuna.storages import RDBStorage
from sqlalchemy import Engine, func, inspect, select

from storage.clock import epoch_now
from storage.engine import create_storage, creation_lock, open_storage, translated_errors
from storage.errors import EmptyStorageError, SchemaError
from storage.leases import LEASE_SECONDS
from storage.names import compare_as_bytes, find_merged_names
from storage.schema import workers
from storage.url import mask_url, parse_url
from storage.versions import (
    NEWEST_VERSION,
    explain_optuna_version,
    explain_version,
    find_version,
    is_newer_optuna,
)
from storage.views import NAMES, create_views, drop_views


@dataclass(frozen=True)
class Versions:
    """Which versions a database's tables have: ours, and Optuna's."""

    ours: int
    optuna: str


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade found (``before`` is None where there were no tables), and what it left."""

    before: Versions | None
    after: Versions
    views_were_missing: bool
    names_were_merged: bool = False  # see `storage.names`

    @property
    def was_current(self) -> bool:
        """Tell whether there was nothing to do."""
        is_complete = not (self.views_were_missing or self.names_were_merged)
        return self.before == self.after and is_complete


def load_versions(storage: RDBStorage) -> Versions:
    """Return the versions of a database's tables."""
    return Versions(find_version(storage.engine), storage.get_current_version())


def is_current(storage: RDBStorage) -> bool:
    """Tell whether a database's tables, ours and Optuna's, are of this program's version."""
    return load_versions(storage) == Versions(NEWEST_VERSION, storage.get_head_version())


def find_missing_views(engine: Engine) -> set[str]:
    """Return the names of our views that are not there."""
    return set(NAMES) - set(inspect(engine).get_view_names())


def explain_versions(storage: RDBStorage, url: str) -> list[str]:
    """Return one line for each of ours and Optuna's tables that cannot be used as they are."""
    lines = [
        explain_version(find_version(storage.engine), url),
        explain_optuna_version(storage, url),
    ]
    return [line for line in lines if line is not None]


def upgrade_storage(url: str) -> Upgrade:
    """Bring all tables to the newest version; does nothing where they have it.

    An empty database gets its tables, a file that is not there is made. Safe to repeat, after an
    interruption too. Raises SchemaError if the tables are newer than this program, or if workers
    are at them; else StorageError if the database fails.
    """
    try:
        return _upgrade_tables(url)
    except EmptyStorageError:
        return Upgrade(None, load_versions(create_storage(url)), views_were_missing=True)


def _upgrade_tables(url: str) -> Upgrade:
    with creation_lock(url), translated_errors(parse_url(url)):
        storage = open_storage(url, any_version=True)
        engine, before = storage.engine, load_versions(storage)
        missing = find_missing_views(engine)
        with engine.connect() as connection:
            merged = find_merged_names(connection)
        if is_current(storage) and not missing and not merged:
            return Upgrade(before, before, views_were_missing=False)
        _check_may_upgrade(storage, before, url)
        _upgrade(storage, before)
        return Upgrade(before, load_versions(storage), bool(missing), bool(merged))


def _upgrade(storage: RDBStorage, before: Versions) -> None:
    from storage.migrations import migrate

    if before.optuna != storage.get_head_version():
        with storage.engine.begin() as connection:
            drop_views(connection)  # tables that a view stands on cannot be changed
        storage.upgrade()
    with storage.engine.begin() as connection:
        drop_views(connection)
        migrate(connection)
        compare_as_bytes(connection)  # a change of Optuna's may have undone it
        create_views(connection)


def _check_may_upgrade(storage: RDBStorage, before: Versions, url: str) -> None:
    if before.ours > NEWEST_VERSION or is_newer_optuna(storage, before.optuna):
        raise SchemaError("; ".join(explain_versions(storage, url)))
    at_work = select(func.count()).where(
        workers.c.left_at.is_(None), workers.c.seen_at > epoch_now() - LEASE_SECONDS
    )
    with storage.engine.connect() as connection:
        n_workers = connection.execute(at_work).scalar_one()
    if n_workers:
        raise SchemaError(
            f"{n_workers} workers are training studies in storage {mask_url(url)}: stop them "
            f"first (one that was killed counts for {LEASE_SECONDS:g} s)"
        )
