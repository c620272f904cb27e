"""Our tables come to the newest version from none and from an older one, on each database."""

import optuna
import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

import storage.migrations
from storage import (
    SchemaError,
    create_storage,
    open_storage,
    schema,
    upgrade_storage,
)
from storage.migrations import migrate
from storage.upgrade import find_missing_views
from storage.versions import NEWEST_VERSION, VERSION_TABLE, find_version
from tests.storage.databases import bare_engine, make_version_1

pytestmark = pytest.mark.db


@pytest.fixture
def old_url(storage_url: str) -> str:
    """Return a database of each kind of version 1, with studies."""
    _make_old_studies(storage_url)
    return storage_url


@pytest.fixture
def old_sqlite_url(sqlite_url: str) -> str:
    """Return a file of version 1, with studies."""
    _make_old_studies(sqlite_url)
    return sqlite_url


def _make_old_studies(url: str) -> None:
    """Make version 1 with two studies, and what their workers left."""
    make_version_1(url)
    with bare_engine(url) as engine, engine.begin() as connection:
        _execute(
            connection,
            "INSERT INTO studies (study_id, study_name) VALUES (1, 'one'), (2, 'two')",
            "INSERT INTO trials (trial_id, number, study_id, state) VALUES (7, 0, 1, 'RUNNING')",
            "INSERT INTO tuner_budgets (study_id, n_trials, n_claimed) VALUES (1, 9, 8), (2, 5, 4)",
            "INSERT INTO tuner_workers (worker_id, study_id, host, pid, started_at, seen_at)"
            " VALUES (1, 1, 'h', 1, 0, 0), (2, 2, 'h', 2, 0, 0)",
            "INSERT INTO tuner_leases (lease_id, study_id, worker_id, trial_id, ends_at) VALUES"
            " (1, 1, 1, NULL, 0), (2, 1, 1, NULL, 0), (3, 1, 1, 7, 0), (4, 1, 1, 7, 0),"
            " (5, 2, 2, NULL, 0)",
        )


def _execute(connection: Connection, *statements: str) -> None:
    for statement in statements:
        connection.execute(text(statement))


def _rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def _differences(engine: Engine) -> list[object]:
    """Return what Alembic would change to make our tables what the schema says."""

    def is_ours(_object: object, name: str, type_: str, *_: object) -> bool:
        return type_ != "table" or name in {table.name for table in schema.own_tables}

    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "include_object": is_ours,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        return list(compare_metadata(context, schema.metadata))


def test_created_tables_are_what_the_schema_says(storage_url: str) -> None:
    """Migrations from nothing and the schema that queries are made from agree."""
    engine = create_storage(storage_url).engine
    assert _differences(engine) == []
    assert find_version(engine) == NEWEST_VERSION


def test_newest_version_is_the_last_migration() -> None:
    """The number in the code, which saves importing Alembic, is Alembic's."""
    assert storage.migrations.__file__ is not None
    script = ScriptDirectory(storage.migrations.__path__[0])
    assert script.get_current_head() == str(NEWEST_VERSION)


def test_upgrade_from_1_opens_slots_without_a_trial_and_keeps_the_rest(old_url: str) -> None:
    """A lease without a trial, or beside another of its trial, ends; its study gets the slot.

    The tables are then what the schema says, with the views.
    """
    upgraded = upgrade_storage(old_url)
    assert (upgraded.before.ours, upgraded.after.ours) == (1, NEWEST_VERSION)
    with bare_engine(old_url) as engine:
        assert _rows(engine, "SELECT lease_id, trial_id FROM tuner_leases") == [(4, 7)]
        budgets = "SELECT n_trials, n_claimed, state, max_retries FROM tuner_budgets ORDER BY 1"
        assert _rows(engine, budgets) == [(5, 3, "open", 2), (9, 5, "open", 2)]
        workers = "SELECT lease_seconds, n_lanes FROM tuner_workers"
        assert _rows(engine, workers) == [(60.0, 1), (60.0, 1)]
        assert _differences(engine) == []
        assert find_missing_views(engine) == set()


def test_trial_cannot_be_leased_twice(old_sqlite_url: str) -> None:
    """From version 2 on, the database itself refuses a second lease of a trial."""
    upgrade_storage(old_sqlite_url)
    lease = "INSERT INTO tuner_leases (study_id, worker_id, trial_id, ends_at) VALUES (1, 1, 7, 0)"
    engine = open_storage(old_sqlite_url).engine
    with pytest.raises(sqlalchemy.exc.IntegrityError), engine.begin() as connection:
        _execute(connection, lease)


def test_interrupted_upgrade_is_not_taken_for_done_and_can_be_repeated(old_url: str) -> None:
    """Where its last statement fails, the version stays, and the next one opens slots once."""
    with bare_engine(old_url) as engine:
        with engine.begin() as connection:
            _execute(connection, "CREATE TABLE tuner_best (in_the_way INTEGER)")
        with pytest.raises(SQLAlchemyError), engine.begin() as connection:
            migrate(connection)
        assert find_version(engine) < NEWEST_VERSION
        with engine.begin() as connection:
            _execute(connection, "DROP TABLE tuner_best")
        upgrade_storage(old_url)
        assert _differences(engine) == []
        assert _rows(engine, "SELECT n_claimed FROM tuner_budgets ORDER BY study_id") == [
            (5,),
            (3,),
        ]


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_interrupted_upgrade_leaves_the_tables_as_they_were(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Where DDL is transactional, workers of the old version can go on."""
    url = request.getfixturevalue({"postgresql": "postgres_url", "sqlite": "sqlite_url"}[kind])
    make_version_1(url)
    engine = open_storage(url, any_version=True).engine
    with engine.begin() as connection:
        _execute(connection, "CREATE TABLE tuner_best (in_the_way INTEGER)")
    before = _columns(engine)
    with pytest.raises(SQLAlchemyError), engine.begin() as connection:
        migrate(connection)
    assert _columns(engine) == before
    assert not sqlalchemy.inspect(engine).has_table(VERSION_TABLE)


def _columns(engine: Engine) -> dict[str, str]:
    """Return a description of those of our tables that are there."""
    inspector = sqlalchemy.inspect(engine)
    names = [t.name for t in schema.own_tables if inspector.has_table(t.name)]
    return {name: str(inspector.get_columns(name)) for name in names}


def test_older_version_with_studies_is_refused_and_left_alone(old_url: str) -> None:
    """Nobody upgrades under the feet of running workers; the line says what to do."""
    for use in (create_storage, open_storage):
        with pytest.raises(SchemaError, match=r"older version.*`tuner storage upgrade --storage"):
            use(old_url)
    with bare_engine(old_url) as engine:
        assert find_version(engine) == 1
        assert find_missing_views(engine) == {"tuner_trials", "tuner_best"}


def test_older_version_without_a_study_is_brought_up_to_date(sqlite_url: str) -> None:
    """Where nobody can be at work nobody needs to be asked; so a creation cut short goes on."""
    make_version_1(sqlite_url)
    assert find_version(create_storage(sqlite_url).engine) == NEWEST_VERSION


def test_newer_version_is_refused(sqlite_url: str) -> None:
    """A program does not touch tables that it does not know."""
    engine = create_storage(sqlite_url).engine
    with engine.begin() as connection:
        _execute(connection, f"UPDATE {VERSION_TABLE} SET version_num = '{NEWEST_VERSION + 1}'")
    engine.dispose()
    for use in (create_storage, open_storage, upgrade_storage):
        with pytest.raises(SchemaError, match=r"newer version.*update lambda-tuner"):
            use(sqlite_url)


def test_upgrade_beside_workers_is_refused_until_they_are_gone(old_sqlite_url: str) -> None:
    """Tables are not changed under a worker that is at them."""
    engine = open_storage(old_sqlite_url, any_version=True).engine
    at_work = "UPDATE tuner_workers SET seen_at = 9e9 WHERE worker_id = 1"
    with engine.begin() as connection:
        _execute(connection, at_work)
    with pytest.raises(SchemaError, match=r"1 workers are training.*stop them first"):
        upgrade_storage(old_sqlite_url)
    with engine.begin() as connection:
        _execute(connection, at_work.replace("seen_at", "left_at"))
    assert upgrade_storage(old_sqlite_url).after.ours == NEWEST_VERSION


def test_repeated_upgrade_says_that_all_is_current(old_sqlite_url: str) -> None:
    """A second upgrade does nothing, also beside a worker."""
    assert not upgrade_storage(old_sqlite_url).was_current
    with open_storage(old_sqlite_url).engine.begin() as connection:
        _execute(connection, "UPDATE tuner_workers SET seen_at = 9e9")
    assert upgrade_storage(old_sqlite_url).was_current


def test_upgrade_creates_views_that_are_missing(sqlite_url: str) -> None:
    """Somebody who dropped a view to change Optuna's tables gets it back."""
    engine = create_storage(sqlite_url).engine
    with engine.begin() as connection:
        _execute(connection, "DROP VIEW tuner_best")
    assert upgrade_storage(sqlite_url).views_were_missing
    assert find_missing_views(engine) == set()


def test_upgrade_from_5_changes_tokens_and_views(storage_url: str) -> None:
    """A view of an older definition is no missing one, and is made anew all the same."""
    with bare_engine(storage_url) as engine:
        create_storage(storage_url).engine.dispose()
        with engine.begin() as connection:
            _execute(
                connection,
                "DROP VIEW tuner_best",
                "CREATE VIEW tuner_best AS SELECT study_name FROM studies",
                "ALTER TABLE tuner_tokens DROP COLUMN used_at",
                f"UPDATE {VERSION_TABLE} SET version_num = '5'",
            )
        upgraded = upgrade_storage(storage_url)
        assert (upgraded.before.ours, upgraded.after.ours) == (5, NEWEST_VERSION)
        assert _differences(engine) == []
        assert _rows(engine, "SELECT rule FROM tuner_best") == []


def test_upgrade_brings_optunas_tables_along(storage_url: str) -> None:
    """An older Optuna's tables are refused with our command, which upgrades them too."""
    engine = create_storage(storage_url).engine
    with engine.begin() as connection:
        _execute(connection, "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    engine.dispose()
    with pytest.raises(SchemaError, match="tuner storage upgrade --storage"):
        open_storage(storage_url)
    upgraded = upgrade_storage(storage_url)
    assert upgraded.before.optuna == "v3.0.0.d"
    study = optuna.create_study(storage=open_storage(storage_url))
    study.tell(study.ask(), 1.0)
    assert _rows(engine, "SELECT trial FROM tuner_best") == [(0,)]
