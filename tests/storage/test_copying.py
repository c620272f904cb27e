"""A copy holds what its study held at one moment, or nothing; nobody trains it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import Trial, TrialState, create_trial
from optuna_dashboard import get_note, save_note
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from storage import (
    Copied,
    copy_studies,
    create_storage,
    find_budget,
    list_workers,
    open_storage,
    register_worker,
)
from storage.optuna_tables import intermediate_values
from tests import servers
from tests.storage.studies import WorkedStudy, lost_commits

pytestmark = pytest.mark.db


@pytest.fixture
def study(shared_url: str) -> WorkedStudy:
    """Return a new study with a budget of three trials, on each database."""
    return WorkedStudy(shared_url)


@pytest.fixture
def other(sqlite_url: str) -> RDBStorage:
    """Return an empty database."""
    return create_storage(sqlite_url)


def _load(storage: RDBStorage, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage)


def test_trials_in_training_are_given_back_in_the_copy(
    study: WorkedStudy, other: RDBStorage
) -> None:
    """Nobody trains them there: their parameters wait, and their slots are open."""
    with study.open() as storage:
        storage.claim(2)
        trial = optuna.load_study(storage=storage, study_name=study.name).ask()
        x = trial.suggest_float("x", 0, 1)
    assert copy_studies(study.engine, other.engine, [study.name]) == [Copied(study.name, 2, 2)]
    copied = _load(other, study.name).get_trials()
    assert [trial.state for trial in copied[:2]] == [TrialState.FAIL] * 2
    assert copied[0].user_attrs["given_back"] == "it was in training when the study was copied"
    assert (copied[2].state, copied[2].system_attrs["fixed_params"]) == (
        TrialState.WAITING,
        {"x": x},
    )
    budget = find_budget(other.engine, other.get_study_id_from_name(study.name))
    assert budget is not None
    assert (budget.n_trials, budget.n_finished, budget.n_leased) == (3, 0, 0)
    assert study.states() == [TrialState.RUNNING] * 2
    assert study.budget().n_leased == 2


def test_next_worker_of_a_copy_repeats_no_seed(study: WorkedStudy, other: RDBStorage) -> None:
    """Those who worked at the study are known there, as gone."""
    copy_studies(study.engine, other.engine, [study.name])
    study_id = other.get_study_id_from_name(study.name)
    assert list_workers(other.engine, study_id) == []
    assert register_worker(other.engine, study_id, "host", 1)[1] == 1


def test_study_that_is_there_already_is_left_as_it_is(
    study: WorkedStudy, other: RDBStorage
) -> None:
    """Of several studies none is copied then."""
    second = WorkedStudy(study.url)
    copy_studies(study.engine, other.engine, [study.name])
    study.study.add_trial(create_trial(value=1.0))
    assert copy_studies(study.engine, other.engine, [second.name, study.name]) is None
    assert [s.study_name for s in other.get_all_studies()] == [study.name]
    assert _load(other, study.name).get_trials() == []


def test_interrupted_copy_leaves_nothing_and_is_repeated(storage_url: str, tmp_path: Path) -> None:
    """The connection is lost before the target commits."""
    study = WorkedStudy(f"sqlite:///{tmp_path / 'source.db'}")
    study.study.add_trial(create_trial(value=1.0))
    target = create_storage(storage_url)
    with lost_commits(target.engine, is_committed=False), pytest.raises(SQLAlchemyError):
        copy_studies(study.engine, target.engine, [study.name])
    assert target.get_all_studies() == []
    assert copy_studies(study.engine, target.engine, [study.name]) == [Copied(study.name, 1, 0)]


def test_copy_is_of_one_moment(study: WorkedStudy, other: RDBStorage) -> None:
    """What is written meanwhile is in none of its tables."""
    study.study.add_trial(create_trial(value=1.0, intermediate_values={1: 1.0}))
    source = open_storage(study.url, read_only=True)

    def write(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if f"FROM {intermediate_values.name}" in statement:
            study.study.add_trial(create_trial(value=2.0, intermediate_values={1: 2.0}))

    event.listen(source.engine, "before_cursor_execute", write)
    assert copy_studies(source.engine, other.engine, [study.name]) == [Copied(study.name, 1, 0)]
    assert len(study.trials()) == 2
    (trial,) = _load(other, study.name).get_trials()
    assert trial.intermediate_values == {1: 1.0}


def test_notes_on_trials_stay_with_their_trials(study: WorkedStudy, other: RDBStorage) -> None:
    """The dashboard keeps them under ids, which are others in the copy."""
    _load(other, optuna.create_study(storage=other).study_name).add_trial(create_trial(value=0.0))
    for number in range(2):
        save_note(study.study.ask(), f"note on {number}")
    copy_studies(study.engine, other.engine, [study.name])
    copied = _load(other, study.name)
    trials = [Trial(copied, trial._trial_id) for trial in copied.get_trials()]
    assert [get_note(trial) for trial in trials] == ["note on 0", "note on 1"]


def test_what_the_target_has_no_room_for_is_refused_by_name(
    mysql_url: str, sqlite_url: str
) -> None:
    """MariaDB would cut it, or say no more than the column's name."""
    study, target = WorkedStudy(sqlite_url), create_storage(mysql_url)
    study.study.set_user_attr("curve", "x" * 70_000)
    with pytest.raises(ValueError, match=r"study_user_attributes 'curve' has 70,002 bytes of JSON"):
        copy_studies(study.engine, target.engine, [study.name])
    assert target.get_all_studies() == []


@pytest.fixture
def mysql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of an empty MariaDB database."""
    with servers.new_database(request.getfixturevalue("mysql_server")) as url:
        yield url
