"""A trial that will not finish is given back whole or not at all, and rerun so many times."""

import threading

import optuna
import pytest
from optuna.trial import TrialState

from storage import (
    GIVEN_BACK,
    Lease,
    Withdrawal,
    find_leases_of,
    give_back,
    give_back_expired,
)
from storage.leases import renew_leases
from tests.storage.studies import WorkedStudy, lost_commits

pytestmark = [pytest.mark.db, pytest.mark.pooled]


@pytest.fixture
def study(shared_url: str) -> WorkedStudy:
    """Return a new study with a budget of three trials."""
    return WorkedStudy(shared_url)


def _claim(study: WorkedStudy, x: float | None = 0.125) -> Lease:
    """Claim a trial, with a parameter unless told otherwise."""
    seen_ids = [t._trial_id for t in study.trials() if t.state is TrialState.WAITING]
    if x is not None and not seen_ids:
        study.study.enqueue_trial({"x": x})
    study.claim()
    return find_leases_of(study.engine, study.claimant.worker_id)[-1]


def test_death_of_the_worker_is_retried_as_often_as_the_budget_says(study: WorkedStudy) -> None:
    """Twice by default; the third death leaves the trial failed and its slot spent."""
    for _ in range(3):
        give_back(study.engine, _claim(study), "its worker was lost", is_death=True)
    assert study.states() == [TrialState.FAIL] * 3
    *given_back, failed = study.trials()
    assert [trial.user_attrs[GIVEN_BACK] for trial in given_back] == ["its worker was lost"] * 2
    assert failed.user_attrs == {"error": "its worker was lost", "rerun_of": 0, "retry": 2}
    assert failed.system_attrs == {"fixed_params": {"x": 0.125}}
    assert (study.budget().n_finished, study.budget().n_leased) == (1, 0)


def test_graceful_leaving_is_no_retry(study: WorkedStudy) -> None:
    """A trial may be moved from worker to worker without end."""
    for _ in range(4):
        give_back(study.engine, _claim(study), "SIGTERM")
    assert study.states() == [*[TrialState.FAIL] * 4, TrialState.WAITING]
    assert study.trials()[4].user_attrs == {"rerun_of": 0, "retry": 0}
    assert study.budget().n_finished == 0


def test_trial_without_parameters_that_is_given_back_queues_nothing(study: WorkedStudy) -> None:
    """There is nothing to rerun: its slot opens again, and that is all."""
    give_back(study.engine, _claim(study, x=None), "SIGTERM")
    assert study.states() == [TrialState.FAIL]
    assert (study.budget().n_finished, study.budget().n_leased) == (0, 0)


def test_deaths_before_the_first_parameter_are_counted_too(study: WorkedStudy) -> None:
    """An objective that kills its worker at once spends its slot in the end, and no more."""
    for _ in range(3):
        give_back(study.engine, _claim(study, x=None), "its worker was lost", is_death=True)
    assert study.states() == [TrialState.FAIL] * 3
    *_, failed = study.trials()
    assert failed.user_attrs == {"error": "its worker was lost", "rerun_of": 0, "retry": 2}
    assert (study.budget().n_finished, study.budget().n_leased) == (1, 0)


def test_two_workers_that_settle_one_lease_do_it_once(study: WorkedStudy) -> None:
    """One slot opens and one rerun waits, whoever was first."""
    lease = _claim(study)
    barrier, settled = threading.Barrier(2), []

    def settle() -> None:
        barrier.wait()
        settled.append(give_back(study.engine, lease, "its worker was lost", is_death=True))

    threads = [threading.Thread(target=settle) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(s.name for s in settled) == ["GIVEN_BACK", "SETTLED_BEFORE"]
    assert study.states() == [TrialState.FAIL, TrialState.WAITING]
    assert study.budget().n_finished == 0


def test_giving_back_that_was_cut_off_has_not_begun(study: WorkedStudy) -> None:
    """A crash before the commit changes nothing; after it, repeating changes nothing more."""
    lease = _claim(study)
    with lost_commits(study.engine, is_committed=False), pytest.raises(Exception, match="lost"):
        give_back(study.engine, lease, "first")
    assert study.states() == [TrialState.RUNNING]
    with lost_commits(study.engine, is_committed=True), pytest.raises(Exception, match="lost"):
        give_back(study.engine, lease, "second")
    assert give_back(study.engine, lease, "third") is Withdrawal.SETTLED_BEFORE
    assert study.trials()[0].user_attrs == {GIVEN_BACK: "second"}
    assert study.budget().n_finished == 0


def test_only_leases_that_have_run_out_are_given_back(study: WorkedStudy) -> None:
    """A worker that renews in time keeps its trial; one that does not loses it."""
    lost, kept = study.join(lease_seconds=-1), study.join(lease_seconds=-1)
    for claimant in (lost, kept):
        study.claimant = claimant
        _claim(study, x=None)
    held = [lease.lease_id for lease in find_leases_of(study.engine, kept.worker_id)]
    renew_leases(study.engine, kept.worker_id, held, 60)
    assert give_back_expired(study.engine, study.study_id, "its worker was lost") == 1
    assert study.states() == [TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]


def test_parameters_too_long_for_one_attribute_do_not_stop_giving_back(study: WorkedStudy) -> None:
    """Where the database cannot keep them for the rerun, it is run with new ones."""
    with study.open() as storage:
        storage.claim(1)
        trial = optuna.load_study(storage=storage, study_name=study.name).ask()
        for name in "ab":
            trial.suggest_categorical(name, [name * 40_000])
        storage.flush()
    (lease,) = find_leases_of(study.engine, study.claimant.worker_id)
    outcome = give_back(study.engine, lease, "its worker was lost", is_death=True)
    assert outcome is Withdrawal.GIVEN_BACK
    given_back, rerun = study.trials()
    is_kept = study.engine.dialect.name != "mysql"
    assert rerun.system_attrs == {"fixed_params": given_back.params if is_kept else {}}
    assert rerun.user_attrs == {"rerun_of": 0, "retry": 1}
