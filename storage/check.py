"""Look whether a database is fit for use: versions, and what ought to agree in it. Changes nothing.

Each problem is one line that says what to do.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from optuna.storages import RDBStorage
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import SQLAlchemyError

from storage.check_rows import find_unreadable
from storage.check_studies import find_foreign_marks, find_orphans
from storage.clock import epoch_now
from storage.engine import open_storage, translated_errors
from storage.errors import StorageError
from storage.fencing import find_traces
from storage.founding import COUNTS
from storage.names import find_merged_names
from storage.origin import OWN_TRIALS
from storage.upgrade import explain_versions, find_missing_views, load_versions
from storage.url import mask_url, parse_url
from storage.versions import NEWEST_VERSION

# Leases do not mind, since they live by the database's clock; start times and ETA do.
_MOST_SKEW_SECONDS = 5.0

_SERVER_VERSION = {
    "sqlite": "SELECT sqlite_version()",
    "postgresql": "SHOW server_version",
    "mysql": "SELECT VERSION()",
}

# One statement, so that what workers do meanwhile is seen as a whole. A trial that another program
# has ended has its lease still: it counts once.
_BUDGETS = f"""
SELECT s.study_name, b.n_claimed,
    (SELECT COUNT(*) FROM trials t WHERE t.study_id = b.study_id AND {COUNTS} AND {OWN_TRIALS}) +
    (SELECT COUNT(CASE WHEN {COUNTS} AND {OWN_TRIALS} THEN NULL ELSE 1 END)
     FROM tuner_leases l LEFT JOIN trials t ON t.trial_id = l.trial_id
     WHERE l.study_id = b.study_id) AS n_counted
FROM tuner_budgets b JOIN studies s ON s.study_id = b.study_id
ORDER BY s.study_name"""
_ORPHANS = """
SELECT COUNT(*) FROM tuner_leases l LEFT JOIN trials t ON t.trial_id = l.trial_id
WHERE t.trial_id IS NULL"""

_DELETE_ORPHANS = "DELETE FROM tuner_leases WHERE trial_id NOT IN (SELECT trial_id FROM trials)"


@dataclass(frozen=True)
class StorageReport:
    """What a database is, which versions its tables have, and what is wrong with it."""

    dialect: str
    url: str
    server_version: str
    version: int
    newest_version: int
    optuna_version: str
    newest_optuna_version: str
    n_studies: int
    problems: list[str]


def check_storage(url: str) -> StorageReport:
    """Look at a database's versions and contents; raises StorageError if it cannot be opened."""
    with translated_errors(parse_url(url)):
        storage = open_storage(url, read_only=True, any_version=True)
        dialect = storage.engine.dialect.name
        versions = load_versions(storage)
        with storage.engine.connect() as connection:
            server_version = connection.execute(text(_SERVER_VERSION[dialect])).scalar_one()
            n_studies = connection.execute(text("SELECT COUNT(*) FROM studies")).scalar_one()
        return StorageReport(
            dialect=dialect,
            url=mask_url(url),
            server_version=str(server_version),
            version=versions.ours,
            newest_version=NEWEST_VERSION,
            optuna_version=versions.optuna,
            newest_optuna_version=storage.get_head_version(),
            n_studies=int(n_studies),
            problems=_find_problems(storage, url),
        )


def explain_damage(url: str) -> str | None:
    """Return one line about what no program of ours has written and none can read; None if all is.

    For whoever met an error that is none of the database's own.
    """
    try:
        storage = open_storage(url, read_only=True)
        with storage.engine.connect() as connection:
            found = [*_find_damage(connection)] or [*find_unreadable(connection)]
    except (StorageError, SQLAlchemyError):
        return None
    more = f" (`tuner storage check` has {len(found) - 1} more)" if len(found) > 1 else ""
    return found[0] + more if found else None


def _find_problems(storage: RDBStorage, url: str) -> list[str]:
    """Return the problems; what is in tables of another version is not looked at."""
    if problems := explain_versions(storage, url):
        return problems
    if missing := sorted(find_missing_views(storage.engine)):
        upgrade = f"tuner storage upgrade --storage {mask_url(url)}"
        problems.append(f"Views are missing ({', '.join(missing)}): run `{upgrade}`")
    with storage.engine.connect() as connection:
        problems += _find_merged(connection, url)
        if damage := list(_find_damage(connection)):
            return damage  # what is in a damaged file cannot be trusted, nor always read
        if unreadable := list(find_unreadable(connection)):
            return problems + unreadable
        for find in (
            _find_wrong_budgets,
            find_foreign_marks,
            _find_forsaken_leases,
            find_orphans,
            find_traces,
            _find_skew,
        ):
            problems += find(connection)
    return problems


def _find_merged(connection: Connection, url: str) -> Iterator[str]:
    if merged := find_merged_names(connection):
        upgrade = f"tuner storage upgrade --storage {mask_url(url)}"
        yield (
            "Names that differ by case, accents or blanks at the end are one in "
            f"{', '.join(merged)}: run `{upgrade}`"
        )


def _find_damage(connection: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for (line,) in connection.execute(text("PRAGMA quick_check(5)")):
            if line != "ok":
                yield f"The database file is damaged: {line.splitlines()[-1]}: go back to a copy"


def _find_wrong_budgets(connection: Connection) -> Iterator[str]:
    for name, n_claimed, n_counted in connection.execute(text(_BUDGETS)):
        found = f"{n_counted} trials are finished or in training"
        said = f"Study {name!r}: its budget has {n_claimed} slots taken, but {found}"
        if n_claimed > n_counted:
            yield f"{said}: raise --trials by {n_claimed - n_counted} to have them all"
        elif n_claimed < n_counted:
            yield f"{said}: another program has added {n_counted - n_claimed}"


def _find_forsaken_leases(connection: Connection) -> Iterator[str]:
    n_orphans = connection.execute(text(_ORPHANS)).scalar_one()
    if n_orphans:
        yield f"{n_orphans} leases belong to trials that were deleted: run SQL `{_DELETE_ORPHANS}`"


def _find_skew(connection: Connection) -> Iterator[str]:
    before = time.time()
    theirs = connection.execute(select(epoch_now())).scalar_one()
    skew = theirs - (before + time.time()) / 2
    if abs(skew) > _MOST_SKEW_SECONDS:
        ahead = "ahead of" if skew > 0 else "behind"
        yield f"The database's clock is {abs(skew):.0f} s {ahead} this machine's: set one of them"
