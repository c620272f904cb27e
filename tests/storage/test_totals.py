"""The totals that are watched: right, and read by few statements whatever there is."""

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import text

from storage import (
    GIVEN_BACK,
    WORKER_LOST,
    StudyTotals,
    find_leases_of,
    give_back,
    load_totals,
    set_study_state,
    sign_off_worker,
)
from tests.storage.studies import WorkedStudy, counted


@pytest.fixture
def study(storage_url: str) -> WorkedStudy:
    """Return a study with a budget of nine on an empty database of each kind."""
    return WorkedStudy(storage_url, n_trials=9)


def _totals(study: WorkedStudy) -> StudyTotals:
    (totals,) = (t for t in load_totals(study.engine, 100).studies if t.name == study.name)
    return totals


def test_totals_count_what_is_in_the_database(study: WorkedStudy) -> None:
    """Trials by state, slots, epochs, workers and lanes, leases; what was given back apart."""
    with study.open() as storage:
        storage.claim(5)
        trials = [storage.create_new_trial(study.study_id) for _ in range(5)]
        for step, trial_id in enumerate([trials[0], *trials[:3]]):
            storage.set_trial_intermediate_value(trial_id, step, 0.5)
        storage.set_trial_state_values(trials[0], TrialState.COMPLETE, [0.5])
        storage.set_trial_state_values(trials[1], TrialState.PRUNED, None)
        storage.flush()
        lost, left, _ = find_leases_of(study.engine, study.claimant.worker_id)
        give_back(study.engine, lost, WORKER_LOST, is_death=True)
        give_back(study.engine, left, "SIGTERM")
    totals = _totals(study)
    assert totals.states == {"COMPLETE": 1, "PRUNED": 1, "RUNNING": 1, "WAITING": 1, "FAIL": 0}
    assert (totals.n_trials, totals.n_open) == (9, 6)
    assert (totals.n_lost, totals.n_left) == (1, 1)
    assert totals.n_epochs == 4
    assert (totals.n_workers, totals.n_lost_workers, totals.n_lanes) == (1, 0, 1)
    assert (totals.n_leases, totals.n_expired_leases) == (1, 0)


def test_totals_tell_workers_and_leases_that_are_lost(study: WorkedStudy) -> None:
    """A silent worker is lost with its trial; one that has signed off is not counted."""
    sign_off_worker(study.engine, study.join().worker_id)
    study.claim(2)
    with study.engine.begin() as connection:
        connection.execute(text("UPDATE tuner_workers SET seen_at = 1"))
        connection.execute(text("UPDATE tuner_leases SET ends_at = 1"))
    totals = _totals(study)
    assert (totals.n_workers, totals.n_lost_workers, totals.n_lanes) == (0, 1, 0)
    assert (totals.n_leases, totals.n_expired_leases) == (2, 2)


def test_totals_cost_the_same_statements_however_much_there_is(study: WorkedStudy) -> None:
    """Ten studies with trials are read by as many statements as one without."""
    with counted(study.engine) as alone:
        load_totals(study.engine, 100)
    for _ in range(9):
        WorkedStudy(study.url, n_trials=4).claim(4)
    with counted(study.engine) as among_others:
        totals = load_totals(study.engine, 100)
    assert len(totals.studies) == 10
    assert among_others["statements"] == alone["statements"]
    assert among_others["commits"] == 0


def test_totals_beyond_the_limit_leave_out_idle_studies_first(study: WorkedStudy) -> None:
    """What is trained, or can be, is shown before what is newer; and all are counted."""
    stopped = WorkedStudy(study.url)
    set_study_state(stopped.engine, stopped.study_id, "stopped")
    trained = WorkedStudy(study.url)
    trained.claim(1)
    set_study_state(trained.engine, trained.study_id, "stopped")
    spent = WorkedStudy(study.url, n_trials=0)
    found = load_totals(study.engine, 2)
    assert [totals.name for totals in found.studies] == [trained.name, study.name]
    assert found.n_studies == 4
    assert [t.name for t in load_totals(study.engine, 3).studies][2] == spent.name


def test_totals_of_a_trial_with_an_odd_reason_are_told_all_the_same(study: WorkedStudy) -> None:
    """Another program may have written anything where the reason stands."""
    trial = optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={GIVEN_BACK: ["odd"]})
    study.study.add_trial(trial)
    totals = _totals(study)
    assert (totals.n_lost, totals.n_left, totals.states["FAIL"]) == (0, 1, 0)


def test_totals_of_an_empty_database_are_none(study: WorkedStudy) -> None:
    """Before the first study there is nothing to show."""
    study.storage.delete_study(study.study_id)
    assert load_totals(study.engine, 100).studies == []
