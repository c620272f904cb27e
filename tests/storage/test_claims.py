"""Slots and trials are claimed together, exactly, on SQLite, PostgreSQL and MariaDB alike."""

from multiprocessing.synchronize import Barrier

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from storage import find_leases_of, open_storage
from storage.claims import Claimant, Seen, claim_trials, find_unheld
from storage.schema import budgets
from tests.storage.studies import WorkedStudy, counted, lost_commits
from tests.storage.together import run_together

pytestmark = [pytest.mark.db, pytest.mark.pooled]


@pytest.fixture
def study(shared_url: str) -> WorkedStudy:
    """Return a new study with a budget of three trials."""
    return WorkedStudy(shared_url)


def test_claim_of_more_than_is_left_gives_what_is_left(study: WorkedStudy) -> None:
    """Five wanted of three are three, RUNNING, numbered and leased; then none."""
    claimed = study.claim(5)
    assert [trial.number for trial in claimed] == [0, 1, 2]
    assert study.states() == [TrialState.RUNNING] * 3
    held = find_leases_of(study.engine, study.claimant.worker_id)
    assert [lease.trial_id for lease in held] == [trial.trial_id for trial in claimed]
    assert study.claim() == []


@pytest.mark.parametrize("state", ["paused", "stopped"])
def test_claim_of_a_study_that_is_not_open_gives_nothing(study: WorkedStudy, state: str) -> None:
    """Pausing a study ends claiming at once."""
    with study.engine.begin() as connection:
        connection.execute(
            sqlalchemy.update(budgets)
            .where(budgets.c.study_id == study.study_id)
            .values(state=state)
        )
    assert study.claim(3) == []
    assert study.budget().n_leased == 0


def test_claim_takes_waiting_trials_first_in_order_and_once(study: WorkedStudy) -> None:
    """Queued before or after the last look, they go before new ones; one is popped by Optuna."""
    for x in (0.1, 0.2, 0.3):
        study.study.enqueue_trial({"x": x})
    known = [trial._trial_id for trial in study.trials()]
    study.study.enqueue_trial({"x": 0.4})
    study.study.ask()  # a plain program takes the first
    claimed = study.claim(3, Seen(known[-1], known))
    numbers = {trial._trial_id: trial.number for trial in study.trials()}
    assert [numbers[trial.trial_id] for trial in claimed] == [1, 2, 3]
    assert study.states() == [TrialState.RUNNING] * 4


def test_claim_after_plain_optuna_goes_on_with_its_numbers(study: WorkedStudy) -> None:
    """Both count the same trials, also beside another study's."""
    study.claim()
    WorkedStudy(study.url).claim(2)
    study.study.ask()
    (claimed,) = study.claim(1, Seen(study.trials()[0]._trial_id))
    assert claimed.number == 2
    assert study.study.ask().number == 3


def test_claim_costs_as_many_statements_with_many_trials_as_with_none(study: WorkedStudy) -> None:
    """Five statements and one commit for a new trial, and BEGIN on SQLite; PostgreSQL: one."""
    with counted(study.engine) as first:
        (claimed,) = study.claim()
    study.study.add_trials([optuna.trial.create_trial(value=0.0) for _ in range(20)])
    with counted(study.engine) as later:
        study.claim(1, Seen(claimed.trial_id))
    n_statements = {"sqlite": 5, "postgresql": 1, "mysql": 5}[study.engine.dialect.name]
    assert first == later == {"statements": n_statements, "commits": 1}


def test_claim_whose_commit_was_lost_is_found_again(study: WorkedStudy) -> None:
    """The worker that asks what it holds learns of the trial; no slot leaks."""
    (held,) = study.claim()
    with lost_commits(study.engine, is_committed=True), pytest.raises(OperationalError):
        study.claim()
    (found,) = find_unheld(study.engine, study.claimant.worker_id, [held.lease_id])
    assert found.trial_id == study.trials()[1]._trial_id
    assert study.budget().n_leased == 2


def test_claim_that_was_not_committed_leaves_nothing(study: WorkedStudy) -> None:
    """A worker that dies before the commit costs neither slot nor trial."""
    with lost_commits(study.engine, is_committed=False), pytest.raises(OperationalError):
        study.claim(2)
    assert study.trials() == []
    assert study.budget().n_leased == 0


def _claim_all(barrier: Barrier, url: str, claimant: Claimant, waiting_ids: list[int]) -> list[int]:
    engine = open_storage(url).engine
    barrier.wait()
    trial_ids: list[int] = []
    while claimed := claim_trials(engine, claimant, 2, Seen(waiting_ids[-1], waiting_ids)).trials:
        trial_ids += [trial.trial_id for trial in claimed]
    return trial_ids


def _ask_plainly(barrier: Barrier, url: str, name: str) -> list[int]:
    study = optuna.load_study(storage=open_storage(url), study_name=name)
    barrier.wait()
    return [study.ask()._trial_id for _ in range(8)]


@pytest.mark.slow
@pytest.mark.long
def test_eight_claimers_beside_plain_optuna_get_every_trial_once(shared_url: str) -> None:
    """The budget is exact, each waiting trial is one process's, and numbers have no gap.

    Also while another program takes waiting trials and creates new ones.
    """
    study = WorkedStudy(shared_url, n_trials=41)
    for i in range(24):
        study.study.enqueue_trial({"x": i / 100})
    waiting_ids = [trial._trial_id for trial in study.trials()]
    claimers = [(_claim_all, (study.url, study.join(), waiting_ids)) for _ in range(8)]
    asker = (_ask_plainly, (study.url, study.name))
    trial_ids = [i for ids in run_together([*claimers, asker]) for i in ids]
    trials = study.trials()
    assert sorted(trial_ids) == [trial._trial_id for trial in trials]
    assert [trial.number for trial in trials] == list(range(41 + 8))
    assert study.states() == [TrialState.RUNNING] * (41 + 8)
    assert study.budget().n_leased == 41
