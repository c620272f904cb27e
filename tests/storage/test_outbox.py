"""What a worker writes reaches the database once, in order, and only while it holds the lease."""

from collections.abc import Callable

import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from storage import find_leases_of, give_back
from storage import optuna_tables as tables
from storage.outbox import Outbox
from tests.storage.studies import WorkedStudy, counted, lost_commits

pytestmark = [pytest.mark.db, pytest.mark.pooled]


@pytest.fixture
def study(shared_url: str) -> WorkedStudy:
    """Return a new study with a budget of three trials."""
    return WorkedStudy(shared_url)


@pytest.fixture
def outbox(study: WorkedStudy) -> Outbox:
    """Return the outbox of the study's worker."""
    return Outbox(study.claimant.worker_id)


def _report(outbox: Outbox, trial_id: int, step: int, value: float) -> None:
    row = tables.intermediate_value_row(step, value)
    outbox.write(trial_id, tables.intermediate_values, step, row)


def _end(outbox: Outbox, trial_id: int, value: float = 0.5) -> None:
    outbox.end(trial_id, TrialState.COMPLETE, [value], tables.utc_now())


def _give_back(study: WorkedStudy, **how: bool) -> None:
    (lease,) = find_leases_of(study.engine, study.claimant.worker_id)
    give_back(study.engine, lease, "its worker was lost", **how)


def _tell_plainly(study: WorkedStudy) -> None:
    study.study.tell(0, 0.25)


def test_flush_of_three_trials_is_one_transaction_of_few_statements(
    study: WorkedStudy, outbox: Outbox
) -> None:
    """Five statements and one commit, whether for one trial or for three with five reports."""
    for trial_id in study.claim_into(outbox, 3):
        for step in range(5):
            _report(outbox, trial_id, step, 0.1 * step)
        _end(outbox, trial_id)
    with counted(study.engine) as counts:
        outbox.flush(study.engine)
    n_begin = 1 if study.engine.dialect.name == "sqlite" else 0
    assert counts == {"statements": 5 + n_begin, "commits": 1}
    assert study.states() == [TrialState.COMPLETE] * 3
    assert [len(trial.intermediate_values) for trial in study.trials()] == [5, 5, 5]
    assert study.budget().n_finished == 3
    assert outbox.held == {}


def test_flush_of_nothing_says_nothing(study: WorkedStudy, outbox: Outbox) -> None:
    """An idle worker costs no transaction."""
    study.claim_into(outbox)
    with counted(study.engine) as counts:
        outbox.flush(study.engine)
    assert counts == {"statements": 0, "commits": 0}


@pytest.mark.parametrize(
    ("end_it", "states", "n_finished"),
    [
        pytest.param(_give_back, [TrialState.FAIL], 0, id="given back"),
        pytest.param(_tell_plainly, [TrialState.COMPLETE], 1, id="told by another program"),
    ],
)
def test_flush_of_a_trial_that_was_taken_away_writes_nothing_to_it(
    study: WorkedStudy,
    outbox: Outbox,
    end_it: Callable[[WorkedStudy], None],
    states: list[TrialState],
    n_finished: int,
) -> None:
    """A worker that was frozen and thaws overwrites nothing; its other trials are written."""
    (trial_id,) = study.claim_into(outbox)
    end_it(study)
    _report(outbox, trial_id, 0, 0.7)
    _end(outbox, trial_id)
    (other_id,) = study.claim_into(outbox)
    _end(outbox, other_id)
    outbox.flush(study.engine)
    assert study.states() == [*states, TrialState.COMPLETE]
    assert study.trials()[0].intermediate_values == {}
    assert study.trials()[0].value in {None, 0.25}
    assert outbox.pop_lost() == {trial_id}
    assert study.budget().n_finished == n_finished + 1
    assert study.budget().n_leased == 0
    with pytest.raises(UpdateFinishedTrialError):
        _report(outbox, trial_id, 1, 0.7)


def test_flush_after_a_lost_commit_that_succeeded_counts_as_done(
    study: WorkedStudy, outbox: Outbox
) -> None:
    """The trial is finished once, and is not taken for one that was taken away."""
    (trial_id,) = study.claim_into(outbox)
    _report(outbox, trial_id, 0, 0.7)
    _end(outbox, trial_id)
    with lost_commits(study.engine, is_committed=True), pytest.raises(OperationalError):
        outbox.flush(study.engine)
    outbox.flush(study.engine)
    assert outbox.pop_lost() == set()
    assert outbox.held == {}
    (trial,) = study.trials()
    assert (trial.value, trial.intermediate_values) == (0.5, {0: 0.7})
    assert study.budget().n_finished == 1


def test_flush_again_after_a_lost_commit_of_reports_writes_them_once(
    study: WorkedStudy, outbox: Outbox
) -> None:
    """Rows that are there already are overwritten with the same, or with what came later."""
    (trial_id,) = study.claim_into(outbox)
    _report(outbox, trial_id, 0, 0.7)
    with lost_commits(study.engine, is_committed=True), pytest.raises(OperationalError):
        outbox.flush(study.engine)
    _report(outbox, trial_id, 0, 0.8)
    _report(outbox, trial_id, 1, 0.9)
    outbox.flush(study.engine)
    assert study.trials()[0].intermediate_values == {0: 0.8, 1: 0.9}


def test_flush_after_a_commit_that_failed_writes_all_of_it(
    study: WorkedStudy, outbox: Outbox
) -> None:
    """What the database did not take stays pending, with what came later."""
    (trial_id,) = study.claim_into(outbox)
    _report(outbox, trial_id, 0, 0.7)
    with lost_commits(study.engine, is_committed=False), pytest.raises(OperationalError):
        outbox.flush(study.engine)
    assert study.trials()[0].intermediate_values == {}
    _end(outbox, trial_id)
    outbox.flush(study.engine)
    (trial,) = study.trials()
    assert (trial.value, trial.intermediate_values) == (0.5, {0: 0.7})


def test_flush_after_a_failed_commit_and_a_giving_back_drops_the_result(
    study: WorkedStudy, outbox: Outbox
) -> None:
    """The slot was opened for another worker, so ours does not count, FAIL like it or not."""
    (trial_id,) = study.claim_into(outbox)
    outbox.end(trial_id, TrialState.FAIL, [], tables.utc_now())
    with lost_commits(study.engine, is_committed=False), pytest.raises(OperationalError):
        outbox.flush(study.engine)
    _give_back(study)
    outbox.flush(study.engine)
    assert outbox.pop_lost() == {trial_id}
    assert study.budget().n_finished == 0


def test_flush_checks_a_touched_trial(study: WorkedStudy, outbox: Outbox) -> None:
    """A trial without anything to write is found taken away all the same."""
    (trial_id,) = study.claim_into(outbox)
    _tell_plainly(study)
    outbox.touch(trial_id)
    outbox.flush(study.engine)
    assert outbox.pop_lost() == {trial_id}
    assert study.budget().n_finished == 1
