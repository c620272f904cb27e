"""A worker's storage is Optuna's in what it shows and leaves behind, and exact in between."""

import math
import pickle
from concurrent.futures import ThreadPoolExecutor, wait

import optuna
import pytest
import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import CmaEsSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from storage import UnreachableError, WorkerStorage, find_leases_of, give_back
from storage.optuna_tables import insert_trial
from tests.storage.studies import WorkedStudy, counted, lost_commits
from tests.tuner.conftest import wait_until

pytestmark = pytest.mark.db


@pytest.fixture
def study(shared_url: str) -> WorkedStudy:
    """Return a new study with a budget of three trials."""
    return WorkedStudy(shared_url)


def _load(storage: WorkerStorage, study: WorkedStudy) -> optuna.Study:
    return optuna.load_study(storage=storage, study_name=study.name, sampler=RandomSampler(seed=0))


def _fill(trial: optuna.Trial) -> None:
    """Give a trial one of everything that is stored in a form of its own."""
    trial.suggest_float("x", 1e-5, 1, log=True)
    trial.suggest_int("n", 1, 9, step=2)
    trial.suggest_categorical("kind", ["a", None, 2.5, True])
    for step, value in enumerate([0.5, math.inf, -math.inf]):
        trial.report(value, step)
    trial.set_user_attr("note", {"deep": [1, "ü"]})
    trial.storage.set_trial_system_attr(trial._trial_id, "rung", 0.25)


def _told(study: optuna.Study) -> None:
    """Tell a trial of each end, and leave one RUNNING."""
    for value, state in [(math.inf, None), (None, TrialState.PRUNED), (None, TrialState.FAIL)]:
        trial = study.ask()
        _fill(trial)
        study.tell(trial, value, state)
    _fill(study.ask())


def _seconds(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials with moments as MariaDB keeps them, in whole seconds."""
    for trial in trials:
        trial.datetime_start = trial.datetime_complete = None
    return trials


def test_trials_written_by_a_worker_read_the_same_with_plain_optuna(shared_url: str) -> None:
    """Parameters, values, reports, attributes, distributions: all as the worker saw them."""
    study = WorkedStudy(shared_url, n_trials=4)
    with study.open() as storage:
        assert storage.claim(4) == 4
        _told(_load(storage, study))
        ours = storage.get_all_trials(study.study_id)
    assert _seconds(ours) == _seconds(study.trials())
    assert study.budget().n_finished == 3


def test_trials_written_by_plain_optuna_read_the_same_with_a_worker(study: WorkedStudy) -> None:
    """What another program did is seen at the next refresh, reports of a RUNNING trial if asked."""
    storage = study.open()
    storage.refresh()
    _told(study.study)
    storage.refresh()
    *finished, running = study.trials()
    running.intermediate_values = {}
    assert storage.get_all_trials(study.study_id) == [*finished, running]
    storage.expect_news()
    storage.read_reports()
    assert storage.get_all_trials(study.study_id) == study.trials()
    study.study.tell(3, 0.5)
    study.study.add_trial(optuna.trial.create_trial(value=-math.inf))
    storage.refresh()
    assert storage.get_all_trials(study.study_id) == study.trials()


def test_refresh_reads_finished_trials_once(study: WorkedStudy) -> None:
    """When nothing has happened, a refresh is one statement, however many trials there are."""
    study.study.add_trials([optuna.trial.create_trial(value=0.0) for _ in range(20)])
    storage = study.open()
    storage.refresh()
    with counted(study.engine) as counts:
        storage.refresh()
    n_begin = 1 if study.engine.dialect.name == "sqlite" else 0
    assert counts["statements"] == 1 + n_begin


@pytest.mark.parametrize("n_between", [1, 10], ids=["close together", "far apart"])
def test_refresh_reads_unfinished_trials_among_those_of_another_study(
    study: WorkedStudy, n_between: int
) -> None:
    """However ids are scattered, what was unfinished is read again, and nobody else's trials."""
    other_id = study.storage.create_new_study([optuna.study.StudyDirection.MINIMIZE])
    ours = []
    for _ in range(10):
        ours.append(study.study.ask())
        with study.engine.begin() as connection:
            for number in range(n_between):
                insert_trial(connection, other_id, number, TrialState.WAITING)
    with study.open() as storage:
        storage.refresh()
        for trial in ours[1:]:
            _fill(trial)
        for trial in ours[2:]:
            study.study.tell(trial, 1.0)
        storage.read_reports()
        assert _load(storage, study).get_trials() == study.trials()


def test_own_writes_are_seen_at_once_and_a_read_trial_does_not_change(study: WorkedStudy) -> None:
    """Samplers and pruners need not wait for the database, nor see lists change under them."""
    with study.open() as storage:
        storage.claim(1)
        trial = _load(storage, study).ask()
        (before,) = storage.get_all_trials(study.study_id, deepcopy=False)
        trial.report(0.5, step=1)
        (after,) = storage.get_all_trials(study.study_id, deepcopy=False)
    assert (before.intermediate_values, after.intermediate_values) == ({}, {1: 0.5})


def test_noop_trial_is_two_transactions(study: WorkedStudy) -> None:
    """One to claim, one to write all that it said: two parameters, five reports, its end.

    The pruner's questions read nothing: the claim has shown that nobody else is at work.
    """
    study.study.add_trial(optuna.trial.create_trial(value=0.0))
    storage = study.open()  # no thread: nothing is written yet
    storage.refresh()
    worked = _load(storage, study)
    with counted(study.engine) as counts:
        storage.claim(1)
        trial = worked.ask()
        trial.suggest_float("x", 0, 1)
        trial.suggest_float("y", 0, 1)
        for step in range(5):
            trial.report(0.5, step)
            trial.should_prune()
        worked.tell(trial, 0.5)
        storage.flush()
    n_statements = {"sqlite": 12, "postgresql": 7, "mysql": 11}[study.engine.dialect.name]
    assert counts == {"statements": n_statements, "commits": 2}


def test_first_question_of_a_round_reads_what_somebody_else_has_begun_or_queued(
    study: WorkedStudy,
) -> None:
    """A claim after which none need be read is one whose number follows, nothing unfinished."""
    other = study.open(study.join())
    with study.open() as storage:
        storage.refresh()
        worked = _load(storage, study)
        storage.claim(1)
        worked.tell(worked.ask(), 1.0)
        study.study.enqueue_trial({"x": 0.5})
        other.claim(1)  # the queued one
        _load(other, study).ask().set_user_attr("note", 1)
        storage.claim(1)
        worked.tell(worked.ask(), 1.0)
        assert [t.state.name for t in worked.get_trials()] == ["COMPLETE", "RUNNING", "COMPLETE"]
        other.flush()
        storage.expect_news()
        assert worked.get_trials()[1].user_attrs == {"note": 1}


def test_worker_that_asks_for_no_trials_reads_none(study: WorkedStudy) -> None:
    """A claim costs the same whatever others have done; the first question reads it, in order."""
    other = study.open(study.join())
    with study.open() as storage:
        storage.refresh()
        other.claim(1)
        storage.claim(1)
        other.claim(2)
        worked = _load(storage, study)
        trial = worked.ask()
        with counted(study.engine) as counts:
            trial.suggest_float("x", 0, 1)
            worked.tell(trial, 1.0)
        assert counts["statements"] == 0
        trials = worked.get_trials()
    assert [trial.number for trial in trials] == [0, 1, 2]
    assert [trial.state.name for trial in trials] == ["RUNNING", "COMPLETE", "RUNNING"]


def test_ask_without_a_claim_says_what_to_do(study: WorkedStudy) -> None:
    """A trial beyond the budget cannot be had by mistake."""
    storage = study.open()
    with pytest.raises(RuntimeError, match="call `claim`"):
        _load(storage, study).ask()
    assert study.trials() == []


def test_enqueued_trial_is_asked_for_with_its_parameters(study: WorkedStudy) -> None:
    """Whoever enqueues, before or after the worker came, has it run next."""
    with study.open() as storage:
        storage.refresh()
        study.study.enqueue_trial({"x": 0.125})
        _load(storage, study).enqueue_trial({"x": 0.25})
        assert storage.claim(3) == 3
        asked = [_load(storage, study).ask().suggest_float("x", 0, 1) for _ in range(3)]
    assert asked[:2] == [0.125, 0.25]


def test_trial_that_was_given_back_raises_and_stays_as_it_is(study: WorkedStudy) -> None:
    """A thawed worker learns of it by Optuna's own error, and the other's verdict stands."""
    n_lost: list[None] = []
    with study.open() as storage:
        storage.on_lost(lambda: n_lost.append(None))
        storage.claim(1)
        worked = _load(storage, study)
        trial = worked.ask()
        (lease,) = find_leases_of(study.engine, study.claimant.worker_id)
        give_back(study.engine, lease, "its worker was lost")
        storage._outbox.touch(trial._trial_id)
        storage.flush()
        storage.refresh()
        with pytest.raises(UpdateFinishedTrialError):
            trial.report(0.5, step=0)
        with pytest.raises(UpdateFinishedTrialError):
            worked.tell(trial, 0.5)
        assert storage.get_all_trials(study.study_id)[0].state is TrialState.FAIL
    assert len(n_lost) == 1
    assert study.trials()[0].state is TrialState.FAIL
    assert study.budget().n_leased == 0


def test_trial_lost_before_others_were_read_is_read_as_they_left_it(study: WorkedStudy) -> None:
    """What is taken away before the first question is not shown as our own."""
    with study.open() as storage:
        storage.refresh()
        storage.claim(1)
        trial = _load(storage, study).ask()
        (lease,) = find_leases_of(study.engine, study.claimant.worker_id)
        give_back(study.engine, lease, "its worker was lost")
        storage._outbox.touch(trial._trial_id)
        storage.flush()
        storage.expect_news()
        (seen,) = storage.get_all_trials(study.study_id)
    assert seen.state is TrialState.FAIL


def test_claim_repeated_after_a_lost_commit_takes_no_second_slot(study: WorkedStudy) -> None:
    """The retried claim finds what the first one got."""
    with study.open() as storage:
        with (
            lost_commits(study.engine, is_committed=True),
            pytest.raises(UnreachableError),
        ):
            storage.claim(2)
        assert storage.claim(2) == 2
        numbers = [_load(storage, study).ask().number for _ in range(2)]
    assert numbers == [0, 1]
    assert study.budget().n_leased == 2


def test_database_error_in_the_writer_is_raised_by_the_next_call(study: WorkedStudy) -> None:
    """The thread does not die unnoticed; closing says that not all was written."""
    storage = study.open()
    with storage:
        storage.claim(1)
        trial = _load(storage, study).ask()
        with lost_commits(study.engine, is_committed=False):
            trial.report(0.5, step=0)
            storage._writer._thread.join(10)
        with pytest.raises(UnreachableError):
            trial.report(0.5, step=1)
        assert not storage._writer.close(1)


def test_leases_are_renewed_while_the_worker_is_silent(study: WorkedStudy) -> None:
    """A long epoch costs nothing, as long as the process lives."""
    claimant = study.join(lease_seconds=0.6)
    with study.open(claimant) as storage:
        storage.claim(1)
        before = _ends_at(study)
        wait_until(lambda: _ends_at(study) > before)


def test_writer_outlives_an_outage(study: WorkedStudy, caplog: pytest.LogCaptureFixture) -> None:
    """What was reported meanwhile is written when the database answers, and leases are renewed."""
    with study.open(study.join(lease_seconds=0.6), patience_seconds=20) as storage:
        storage.claim(1)
        before = _ends_at(study)
        trial = _load(storage, study).ask()
        with lost_commits(study.engine, is_committed=False):
            trial.report(0.5, step=0)
            wait_until(lambda: "trying again to write results" in caplog.text)
        trial.report(0.75, step=1)
        wait_until(lambda: _ends_at(study) > before)
    assert study.trials()[0].intermediate_values == {0: 0.5, 1: 0.75}


def test_study_itself_is_asked_again_after_an_outage(study: WorkedStudy) -> None:
    """Samplers keep what they share in attributes of the study; an outage ends no worker."""
    with study.open(patience_seconds=20) as storage, ThreadPoolExecutor(1) as pool:
        with lost_commits(study.engine, is_committed=False):
            write = storage.set_study_system_attr
            writing = pool.submit(write, study.study_id, "grid", [1, 2])
            wait([writing], timeout=0.3)
            assert not writing.done()
        writing.result(20)
        assert storage.get_study_system_attrs(study.study_id)["grid"] == [1, 2]


def _ends_at(study: WorkedStudy) -> float:
    query = sqlalchemy.text("SELECT ends_at FROM tuner_leases WHERE study_id = :study_id")
    with study.engine.connect() as connection:
        return float(connection.execute(query, {"study_id": study.study_id}).scalar_one())


_MEDIAN = optuna.pruners.MedianPruner(n_startup_trials=2)
_HALVING = optuna.pruners.SuccessiveHalvingPruner(min_resource=1)
_HYPERBAND = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=4)


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        (TPESampler(n_startup_trials=5, seed=0), _HYPERBAND),
        (CmaEsSampler(seed=0), _MEDIAN),
        (QMCSampler(seed=0), _HALVING),
        (NSGAIISampler(population_size=4, seed=0), _MEDIAN),
    ],
    ids=lambda part: type(part).__name__,
)
def test_samplers_and_pruners_of_optuna_work_on_it(
    sqlite_url: str, sampler: optuna.samplers.BaseSampler, pruner: optuna.pruners.BasePruner
) -> None:
    """What they store, and read of other trials, is there."""
    study = WorkedStudy(sqlite_url, n_trials=15)
    with study.open() as storage:
        worked = optuna.load_study(
            storage=storage, study_name=study.name, sampler=sampler, pruner=pruner
        )
        while storage.claim(2):
            trials = [worked.ask() for _ in range(storage.n_claimed)]
            values = [t.suggest_float("x", 0, 1) + t.suggest_float("y", 0, 1) for t in trials]
            for trial, value in zip(trials, values, strict=True):
                trial.report(value, step=1)
                state = TrialState.PRUNED if trial.should_prune() else TrialState.COMPLETE
                worked.tell(trial, None if state is TrialState.PRUNED else value, state)
    assert all(state.is_finished() for state in study.states())
    assert study.budget().n_finished == len(study.trials()) == 15


def test_storage_cannot_be_pickled(study: WorkedStudy) -> None:
    """It belongs to one process: a copy would hold the same leases."""
    with pytest.raises(TypeError, match="belongs to its process"):
        pickle.dumps(study.open())
