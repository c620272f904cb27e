"""Names are compared as bytes on each database, whatever it would do by itself."""

from collections.abc import Iterator

import optuna
import pytest
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url

from storage import (
    SchemaError,
    check_storage,
    create_budget,
    create_storage,
    find_study,
    open_storage,
    upgrade_storage,
)
from storage.names import compare_as_bytes, find_merged_names
from storage.versions import VERSION_TABLE
from tests import servers
from tests.storage.databases import bare_engine
from tests.storage.studies import WorkedStudy

pytestmark = pytest.mark.db

_NAMES = ["C", "c", "naïve", "naive", "e\u0301", "\u00e9", "a", "a ", "ß", "ss", "😀", "😁"]
_UNDONE = "ALTER TABLE {} MODIFY {} VARCHAR(512) COLLATE utf8mb4_general_ci"


def _execute(url: str, *statements: str) -> None:
    with bare_engine(url) as engine, engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_names_that_differ_in_a_byte_are_two_to_a_worker(shared_url: str) -> None:
    """Each parameter and attribute has its own value, as the database is read afterwards."""
    worked = WorkedStudy(shared_url)
    expected = {name: float(number) for number, name in enumerate(_NAMES)}
    with worked.open() as storage:
        study = optuna.load_study(study_name=worked.name, storage=storage)
        storage.claim(1)
        trial = study.ask()
        for name, value in expected.items():
            assert trial.suggest_float(name, value, value) == value
            trial.set_user_attr(name, value)
            trial.storage.set_trial_system_attr(trial._trial_id, name, value)
        study.tell(trial, 1.0)
    (read,) = worked.trials()
    assert read.params == read.user_attrs == expected
    assert {name: read.system_attrs[name] for name in _NAMES} == expected


def test_studies_whose_names_differ_in_a_byte_are_two(shared_url: str) -> None:
    """Neither is taken for the other, nor are the attributes of a study."""
    storage = create_storage(shared_url)
    for number, name in enumerate(_NAMES):
        study = optuna.create_study(storage=storage, study_name=name)
        create_budget(storage.engine, study._study_id, number)
        for other in _NAMES:
            study.set_user_attr(other, f"{name}/{other}")
    for number, name in enumerate(_NAMES):
        found = find_study(storage.engine, name)
        assert found is not None
        assert found.n_trials == number
        attrs = storage.get_study_user_attrs(found.study_id)
        assert attrs == {other: f"{name}/{other}" for other in _NAMES}
    assert find_study(storage.engine, "A") is None


@pytest.fixture
def merged_url(mysql_server: URL) -> Iterator[str]:
    """Return a database of version 6, as MySQL and MariaDB compare names, with a trial."""
    with servers.new_database(mysql_server) as url:
        storage = create_storage(url)
        study = optuna.create_study(storage=storage, study_name="s")
        study.set_user_attr("spec", {})
        create_budget(storage.engine, study._study_id, 1)
        study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs={"Acc": 1}))
        _execute(
            url,
            _UNDONE.format("trial_params", "param_name"),
            _UNDONE.format("trial_user_attributes", "`key`"),
            f"UPDATE {VERSION_TABLE} SET version_num = '6'",
        )
        yield url


def test_database_that_merged_names_is_refused_until_it_is_upgraded(merged_url: str) -> None:
    """The upgrade keeps what is there, and can be repeated."""
    with pytest.raises(SchemaError, match="run `tuner storage upgrade"):
        open_storage(merged_url)
    upgraded = upgrade_storage(merged_url)
    assert upgraded.names_were_merged
    assert upgrade_storage(merged_url).was_current
    trial = optuna.load_study(study_name="s", storage=open_storage(merged_url)).trials[0]
    assert trial.user_attrs == {"Acc": 1}


def test_check_names_a_table_that_merges_names_again(merged_url: str) -> None:
    """Somebody may have changed it back, or restored it elsewhere; the remedy works."""
    upgrade_storage(merged_url)
    assert check_storage(merged_url).problems == []
    _execute(merged_url, _UNDONE.format("trial_params", "param_name"))
    (problem,) = check_storage(merged_url).problems
    assert "are one in trial_params.param_name: run `tuner storage upgrade" in problem
    assert upgrade_storage(merged_url).names_were_merged
    assert check_storage(merged_url).problems == []


def test_upgrade_without_the_right_to_change_tables_says_what_to_run(
    merged_url: str, mysql_server: URL
) -> None:
    """One line with the statement, for somebody who has the right; it mends the table."""
    database = make_url(merged_url).database
    servers.execute(
        mysql_server,
        "CREATE USER 'tuner_no_alter'@'%' IDENTIFIED BY 's3cret'",
        f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, CREATE VIEW ON `{database}`.* "
        "TO 'tuner_no_alter'@'%'",
    )
    try:
        url = make_url(merged_url).set(username="tuner_no_alter", password="s3cret")
        with pytest.raises(
            SchemaError, match=r"grant it ALTER, or .* run: ALTER TABLE trial_"
        ) as said:
            upgrade_storage(url.render_as_string(hide_password=False))
    finally:
        servers.execute(mysql_server, "DROP USER 'tuner_no_alter'@'%'")
    assert "\n" not in str(said.value)
    _execute(merged_url, str(said.value).partition("run: ")[2])


def test_names_elsewhere_are_left_alone(sqlite_url: str) -> None:
    """SQLite compares bytes by itself."""
    with create_storage(sqlite_url).engine.begin() as connection:
        assert find_merged_names(connection) == []
        compare_as_bytes(connection)
