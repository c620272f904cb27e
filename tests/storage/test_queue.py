"""What waits in a study is what a plan wants, and the budget what it takes; whoever asks."""

import threading

import pytest
from optuna.trial import TrialState

from storage import GIVEN_BACK, QueuedTrial, find_key, find_leases_of, give_back, set_queue
from storage.queue import QueueChange
from tests.storage.studies import WorkedStudy

pytestmark = pytest.mark.db

REASON = "no longer wanted"
PLAN = [QueuedTrial(f"k{n}", {"x": n / 8}, {"seed": n}) for n in range(3)]


@pytest.fixture
def study(shared_url: str) -> WorkedStudy:
    """Return a new study with a budget of nothing."""
    return WorkedStudy(shared_url, n_trials=0)


def _set(study: WorkedStudy, plan: list[QueuedTrial]) -> QueueChange:
    return set_queue(study.engine, study.study_id, plan, REASON)


def test_wanted_trials_wait_with_parameters_and_attributes_and_a_slot_each(
    study: WorkedStudy,
) -> None:
    """Plain Optuna reads them as enqueued trials; the budget is exactly theirs."""
    assert _set(study, PLAN) == QueueChange(n_added=3, n_withdrawn=0)
    trials = study.trials()
    assert [trial.state for trial in trials] == [TrialState.WAITING] * 3
    assert [trial.system_attrs["fixed_params"] for trial in trials] == [p.params for p in PLAN]
    assert [trial.user_attrs for trial in trials] == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    assert [find_key(trial) for trial in trials] == ["k0", "k1", "k2"]
    assert study.budget().n_trials == 3
    assert len(study.claim(5)) == 3  # no worker gets a slot without one of them


def test_what_waits_trains_or_has_ended_is_not_queued_again(study: WorkedStudy) -> None:
    """The same plan once more changes nothing, at whatever moment."""
    _set(study, PLAN)
    for _ in range(2):
        study.claim()
        assert _set(study, PLAN) == QueueChange(0, 0)
    first, *_ = study.trials()
    study.storage.set_trial_state_values(first._trial_id, TrialState.FAIL)
    assert _set(study, PLAN) == QueueChange(0, 0)
    assert (study.budget().n_trials, len(study.trials())) == (3, 3)


def test_rerun_of_a_queued_trial_keeps_its_attributes_and_is_that_trial(study: WorkedStudy) -> None:
    """The seed goes with the parameters, however often a worker dies; nothing is queued twice."""
    _set(study, PLAN[1:2])
    for _ in range(2):
        study.claim()
        lease = find_leases_of(study.engine, study.claimant.worker_id)[-1]
        give_back(study.engine, lease, "its worker was lost", is_death=True)
        assert _set(study, PLAN[1:2]) == QueueChange(0, 0)
    rerun = study.trials()[-1]
    assert rerun.user_attrs == {"seed": 1, "rerun_of": 0, "retry": 2}
    assert (find_key(rerun), rerun.system_attrs["fixed_params"]) == ("k1", {"x": 0.125})
    assert (study.budget().n_trials, study.budget().n_finished) == (1, 0)


def test_what_waits_and_is_no_longer_wanted_is_withdrawn_and_can_come_back(
    study: WorkedStudy,
) -> None:
    """Its slot goes with it; a trial in training stays."""
    _set(study, PLAN)
    study.claim()
    assert _set(study, PLAN[1:2]) == QueueChange(n_added=0, n_withdrawn=1)
    running, waiting, withdrawn = study.trials()
    assert (running.state, waiting.state) == (TrialState.RUNNING, TrialState.WAITING)
    assert withdrawn.state is TrialState.FAIL
    assert withdrawn.user_attrs[GIVEN_BACK] == REASON
    assert study.budget().n_trials == 2
    assert _set(study, PLAN) == QueueChange(n_added=1, n_withdrawn=0)
    assert study.budget().n_trials == 3


def test_two_that_queue_at_once_queue_each_trial_once(study: WorkedStudy) -> None:
    """Whoever is first adds all, the other nothing."""
    barrier, added = threading.Barrier(4), []

    def queue() -> None:
        barrier.wait()
        added.append(_set(study, PLAN).n_added)

    threads = [threading.Thread(target=queue) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(added) == [0, 0, 0, 3]
    assert [trial.number for trial in study.trials()] == [0, 1, 2]
    assert study.budget().n_trials == 3
