"""Which version our own tables and Optuna's have, and which one this program needs.

Costs one query where all is well; what changes tables is in ``storage.migrations``.
"""

from optuna.storages import RDBStorage
from sqlalchemy import Column, Engine, MetaData, String, Table, inspect, select
from sqlalchemy.exc import OperationalError, ProgrammingError

from storage.errors import SchemaError
from storage.schema import budgets
from storage.url import mask_url

# Of the table in which Alembic keeps our version; `alembic_version` is Optuna's.
VERSION_TABLE = "tuner_schema_version"

# The version of ``storage.schema``, the last file in ``storage/migrations/versions``.
NEWEST_VERSION = 10

# Tables without a version table were made by 0.1.0.
_UNVERSIONED = 1

# As Alembic makes it, so that reading it does not need Alembic.
_version_table = Table(VERSION_TABLE, MetaData(), Column("version_num", String(32)))


def find_version(engine: Engine) -> int:
    """Return the version of our tables in this database; 0 where there are none."""
    try:
        with engine.connect() as connection:
            text = connection.execute(select(_version_table.c.version_num)).scalar()
    except (OperationalError, ProgrammingError):  # drivers say "no such table" in many ways
        if inspect(engine).has_table(VERSION_TABLE):
            raise
        text = None
    # The version table is empty after an interruption on MySQL, which commits each table.
    if text is None:
        return _UNVERSIONED if inspect(engine).has_table(budgets.name) else 0
    return int(text)


def has_budgets(engine: Engine) -> bool:
    """Tell whether a study of ours is in this database, whatever its version."""
    if not inspect(engine).has_table(budgets.name):
        return False
    with engine.connect() as connection:
        return connection.execute(select(budgets.c.study_id).limit(1)).first() is not None


def explain_version(version: int, url: str) -> str | None:
    """Return one line if tables of this version cannot be used as they are, and what to do."""
    where = f"Storage {mask_url(url)}"
    if version > NEWEST_VERSION:
        return (
            f"{where} was made by a newer version of lambda-tuner (its tables have version "
            f"{version}, this one knows {NEWEST_VERSION}): update lambda-tuner"
        )
    if version < NEWEST_VERSION:
        return (
            f"{where} was made by an older version of lambda-tuner: run "
            f"`tuner storage upgrade --storage {mask_url(url)}`"
        )
    return None


def check_version(engine: Engine, url: str) -> None:
    """Raise SchemaError unless our tables have the version this program needs."""
    if (problem := explain_version(find_version(engine), url)) is not None:
        raise SchemaError(problem)


def explain_optuna_version(storage: RDBStorage, url: str) -> str | None:
    """Return one line if Optuna's tables cannot be used as they are, and what to do."""
    version, newest = storage.get_current_version(), storage.get_head_version()
    if version == newest:
        return None
    where = f"Optuna's tables in storage {mask_url(url)} have version {version}"
    if is_newer_optuna(storage, version):
        return f"{where}, this Optuna knows {newest}: update optuna"
    upgrade = f"tuner storage upgrade --storage {mask_url(url)}"
    return f"{where}, this Optuna needs {newest}: run `{upgrade}`"


def is_newer_optuna(storage: RDBStorage, version: str) -> bool:
    """Tell whether this Optuna does not know a version of its tables."""
    return version not in storage.get_all_versions()


def check_optuna_version(storage: RDBStorage, url: str) -> None:
    """Raise SchemaError unless Optuna's tables have the version this program needs.

    Optuna's own check takes a second connection while it holds one: behind a pooler with few to
    give, those who start together would wait for each other.
    """
    if (problem := explain_optuna_version(storage, url)) is not None:
        raise SchemaError(problem)
