"""`tuner storage`: an old database is upgraded and its study resumes; check finds faults."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from storage import create_budget, create_storage, parse_url
from storage.versions import NEWEST_VERSION
from tests.conftest import Cli
from tests.storage.databases import restore_old_file

_TRIALS = "SELECT * FROM trials WHERE trial_id <= 5"
_PARAMS = "SELECT * FROM trial_params WHERE trial_id <= 5"
_VALUES = "SELECT * FROM trial_intermediate_values WHERE trial_id <= 5"


@pytest.mark.slow
def test_study_of_the_first_version_is_upgraded_and_resumes(call: Cli, tmp_path: Path) -> None:
    """A kept database of 0.1.0 is refused, upgraded, and ends with exactly its new budget."""
    file = tmp_path / "tuner.db"
    restore_old_file(file)
    before = _read(file, _TRIALS, _PARAMS, _VALUES)
    for command in ("run", "worker"):
        refused = call(command, "--study", "digits")
        assert refused.returncode == 1
        assert refused.stderr.strip().splitlines() == [
            "tuner: Storage sqlite:///tuner.db was made by an older version of lambda-tuner: run "
            "`tuner storage upgrade --storage sqlite:///tuner.db`"
        ]
    assert f"version 1 -> {NEWEST_VERSION}" in call("storage", "upgrade").stdout
    assert f"is current: version {NEWEST_VERSION}" in call("storage", "upgrade").stdout

    study = ("--study", "digits")
    result = call("run", *study, "--trials", "8", "--workers", "2", "--no-confirm", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["n_finished"] == 8
    ((n_finished,),) = _read(file, "SELECT COUNT(*) FROM trials WHERE state <> 'RUNNING'")
    assert n_finished == 8
    assert _read(file, _TRIALS, _PARAMS, _VALUES) == before
    check = call("storage", "check")
    assert (check.returncode, check.stderr) == (0, "")


def test_study_of_the_second_version_is_upgraded_and_its_answer_recorded(
    call: Cli, tmp_path: Path
) -> None:
    """A kept database of version 2 keeps its best trial, which the first export makes version 1."""
    restore_old_file(tmp_path / "tuner.db", version=2)
    assert "run `tuner storage upgrade" in call("export", "--study", "digits").stderr
    assert f"version 2 -> {NEWEST_VERSION}" in call("storage", "upgrade").stdout
    best = "SELECT trial, weight_decay, version FROM tuner_best"
    ((trial, weight_decay, version),) = _read(tmp_path / "tuner.db", best)
    assert (trial, version) == (3, None)
    exported = call("export", "--study", "digits")
    assert exported.stderr == "Recorded as version 1\n"
    assert json.loads(exported.stdout)["weight_decay"] == weight_decay
    assert _read(tmp_path / "tuner.db", best) == [(3, weight_decay, 1)]
    assert call("storage", "check").returncode == 0


def _read(file: Path, *queries: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return [row for query in queries for row in connection.execute(query)]


def test_check_of_an_old_database_says_what_to_do(call: Cli, tmp_path: Path) -> None:
    """The line is on stderr, the document on stdout, and the status is 1."""
    restore_old_file(tmp_path / "tuner.db")
    result = call("storage", "check", "--json")
    assert result.returncode == 1
    report = json.loads(result.stdout)
    assert (report["version"], report["newest_version"], report["n_studies"]) == (
        1,
        NEWEST_VERSION,
        1,
    )
    assert result.stderr == f"tuner: {report['problems'][0]}\n"
    assert "run `tuner storage upgrade --storage sqlite:///tuner.db`" in result.stderr


@pytest.mark.db
def test_check_finds_what_disagrees_on_each_database(call: Cli, storage_url: str) -> None:
    """All is well with a study in use; then a line for each fault, and the status 1."""
    storage = create_storage(storage_url)
    for name in ("a", "b"):
        study = optuna.create_study(storage=storage, study_name=name)
        study.set_user_attr("spec", {})
        create_budget(storage.engine, storage.get_study_id_from_name(name), 5)
        ours = {"worker": "host:1"}
        study.add_trial(optuna.trial.create_trial(value=1.0, user_attrs=ours))
    _execute(storage_url, "UPDATE tuner_budgets SET n_claimed = 1")
    assert call("storage", "check", TUNER_STORAGE=storage_url).returncode == 0

    _execute(
        storage_url,
        "UPDATE tuner_budgets SET n_claimed = 3 WHERE study_id = 1",
        "UPDATE tuner_budgets SET n_claimed = 0 WHERE study_id = 2",
        "INSERT INTO tuner_workers (worker_id, study_id, host, pid, started_at, seen_at)"
        " VALUES (1, 1, 'h', 1, 0, 0)",
        "INSERT INTO tuner_leases (lease_id, study_id, worker_id, trial_id, ends_at)"
        " VALUES (1, 1, 1, 99, 0)",
        "DROP VIEW tuner_best",
    )
    result = call("storage", "check", TUNER_STORAGE=storage_url)
    assert result.returncode == 1
    views, first, second, lease = result.stderr.splitlines()
    assert "(tuner_best): run `tuner storage upgrade" in views
    assert "'a': its budget has 3 slots taken, but 2 trials" in first
    assert "raise --trials by 1" in first
    assert "'b': its budget has 0 slots taken, but 1 trials" in second
    assert "another program has added 1" in second
    assert "1 leases belong to trials that were deleted" in lease


def _execute(url: str, *statements: str) -> None:
    engine = sqlalchemy.create_engine(parse_url(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sqlalchemy.text(statement))


def test_check_of_a_damaged_file_says_so(call: Cli, tmp_path: Path) -> None:
    """A page that a bad disk has changed is found, though no row of it is asked for."""
    file = tmp_path / "tuner.db"
    create_storage(f"sqlite:///{file}").engine.dispose()
    ((page, size),) = _read(
        file,
        "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size"
        " WHERE name = 'tuner_leases'",
    )
    assert isinstance(page, int)
    assert isinstance(size, int)
    with file.open("r+b") as damaged:
        damaged.seek((page - 1) * size + 3)
        damaged.write(b"\x00\x05")  # five rows, says the page's header; there are none
    result = call("storage", "check")
    assert result.returncode == 1
    assert "The database file is damaged" in result.stderr
    assert "go back to a copy" in result.stderr


def test_upgrade_without_a_database_makes_one(call: Cli) -> None:
    """Who prepares a database for `optuna.copy_study` or for workers needs no other command."""
    result = call("storage", "upgrade", "--storage", "sqlite:///new.db")
    assert (result.returncode, result.stderr) == (0, "")
    assert f"was empty, has tables now: version {NEWEST_VERSION}" in result.stdout
    assert call("storage", "check", "--storage", "sqlite:///new.db").returncode == 0


def test_upgrade_of_an_empty_database_makes_its_tables(call: Cli, tmp_path: Path) -> None:
    """So that a script needs one command for a new database and an old one."""
    (tmp_path / "tuner.db").touch()
    created = json.loads(call("storage", "upgrade", "--json").stdout)
    assert (created["before"], created["after"]["ours"]) == (None, NEWEST_VERSION)
    assert not created["was_current"]
    assert f"is current: version {NEWEST_VERSION}" in call("storage", "upgrade").stdout
