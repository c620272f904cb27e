"""A worker finishes exactly its study's budget, and leaves it in order whatever happens."""

import math
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from storage import (
    GIVEN_BACK,
    Lease,
    create_storage,
    find_leases_of,
    give_back,
    list_workers,
)
from tuner.study import LoadedStudy, create_or_resume
from tuner.train import TrainRequest, replay_trial
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

DIGITS = {"dataset": "digits", "epochs": 2}


def _run(
    url: str, options: dict[str, Any], n_trials: int, leaving: Leaving | None = None
) -> tuple[int, LoadedStudy]:
    loaded = create_or_resume(create_storage(url), "s", options, n_trials=n_trials)
    status = run_worker(WorkerConfig(url, "s", n_lanes=1), leaving or Leaving())
    return status, loaded


def _states(loaded: LoadedStudy) -> list[str]:
    return [trial.state.name for trial in loaded.study.get_trials(deepcopy=False)]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "random", "qmc", "cmaes", "grid"])
def test_worker_with_each_sampler_finishes_the_budget(sqlite_url: str, sampler: str) -> None:
    """Each sampler gets past its start-up trials and stays inside the ranges."""
    options = {**DIGITS, "epochs": 1, "sampler": sampler, "train_size": 100}
    _, loaded = _run(sqlite_url, options, n_trials=13)
    trials = loaded.study.get_trials()
    assert len(trials) == 13
    assert all(trial.state is TrialState.COMPLETE for trial in trials)
    assert all(1e-5 <= trial.params["weight_decay"] <= 1e-2 for trial in trials)
    assert all(1e-3 <= trial.params["lr"] <= 1 for trial in trials)


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband", "none"])
def test_worker_with_each_pruner_finishes_the_budget(sqlite_url: str, pruner: str) -> None:
    """Pruned and complete trials together are the budget; `none` prunes nothing."""
    options = {**DIGITS, "epochs": 4, "pruner": pruner, "train_size": 200}
    _, loaded = _run(sqlite_url, options, n_trials=15)
    states = _states(loaded)
    assert len(states) == 15
    assert set(states) <= {"COMPLETE", "PRUNED"}
    assert ("PRUNED" in states) == (pruner != "none")


def test_worker_with_lanes_finishes_the_budget_and_each_trial_as_if_alone(tmp_path: Path) -> None:
    """Three trials at a time are the trials that one at a time trains, from the same passes."""
    options = {**DIGITS, "epochs": 6, "sampler": "random", "pruner": "median"}
    url = f"sqlite:///{tmp_path}/lanes.db"
    loaded = create_or_resume(create_storage(url), "s", options, n_trials=20)
    assert run_worker(WorkerConfig(url, "s", n_lanes=3), Leaving()) == 0
    trials = loaded.study.get_trials()
    assert [trial.state.is_finished() for trial in trials] == [True] * 20
    assert len({trial.user_attrs["first_pass"] for trial in trials}) < 20
    request = TrainRequest(Path("data"), "cpu", n_threads=1)
    for number in (0, 7, 19):
        for result, reported in replay_trial(loaded, number, request):
            assert reported is not None
            assert abs(result.value - reported) < 0.01  # 2 of 300 images, by rounding


def test_trial_records_what_a_replay_needs(sqlite_url: str) -> None:
    """Passes follow each other, and each epoch is reported with its step."""
    _, loaded = _run(sqlite_url, {**DIGITS, "pruner": "none"}, n_trials=3)
    trials = loaded.study.get_trials()
    assert [trial.user_attrs["first_pass"] for trial in trials] == [0, 2, 4]
    assert all(list(trial.intermediate_values) == [1, 2] for trial in trials)
    assert all(len(trial.user_attrs["training_loss"]) == 2 for trial in trials)
    assert all(trial.value == trial.intermediate_values[2] for trial in trials)


def test_same_seed_and_one_worker_give_the_same_study(tmp_path: Path) -> None:
    """A study can be repeated: parameters and values are equal."""
    first, second = (
        _run(f"sqlite:///{tmp_path}/{name}.db", DIGITS, n_trials=12)[1] for name in "ab"
    )
    for one, other in zip(first.study.get_trials(), second.study.get_trials(), strict=True):
        assert one.params == other.params
        assert one.intermediate_values == other.intermediate_values


def test_diverged_trial_is_pruned_with_its_last_finite_accuracy(sqlite_url: str) -> None:
    """A learning rate that blows up ends the trial early, and the study goes on."""
    options = {**DIGITS, "epochs": 30, "lr": (1e4, 1e5), "pruner": "none"}
    _, loaded = _run(sqlite_url, options, n_trials=2)
    for trial in loaded.study.get_trials():
        assert trial.state is TrialState.PRUNED
        assert trial.user_attrs["diverged"]
        assert trial.value == trial.intermediate_values.get(trial.last_step or 0)
        assert all(map(math.isfinite, trial.intermediate_values.values()))


@pytest.fixture
def _user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a module of a user's into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "theirs.py").write_text(
        """
import os
import time
import optuna
from storage import create_storage, find_leases_of, give_back, list_workers

def quadratic(trial):
    trial.suggest_categorical("kind", ["relu", "tanh"])
    return (trial.suggest_float("x", -1, 1) - 0.5) ** 2

def failed_silently(trial):
    if trial.number == 0:
        storage = optuna.storages.RDBStorage(os.environ["THEIR_STORAGE"])
        storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
        storage.engine.dispose()
    return 1.0

def failed_elsewhere(trial):
    failed_silently(trial)
    trial.report(0.5, step=1)
    return 1.0

def taken_away(trial, reports):
    if trial.number == 0:
        storage = create_storage(os.environ["THEIR_STORAGE"])
        (worker,) = list_workers(storage.engine, study_id=1)
        for lease in find_leases_of(storage.engine, worker.worker_id):
            give_back(storage.engine, lease, "its worker was lost")
        storage.engine.dispose()
        if reports:
            trial.report(0.5, step=1)
            time.sleep(0.3)  # it is found out now
    return 1.0

def taken_away_silently(trial):
    return taken_away(trial, reports=False)

def taken_away_noticed_at_the_end(trial):
    return taken_away(trial, reports=True)

def taken_away_noticed_by_a_question(trial):
    if trial.number == 0:
        taken_away(trial, reports=True)
        try:
            trial.suggest_float("x", 0, 1)
        except optuna.exceptions.UpdateFinishedTrialError as error:
            raise RuntimeError("an error that hides it") from error
    return 1.0

def sometimes(trial):
    x = trial.suggest_float("x", 0, 1)
    trial.report(x, step=1)
    if trial.number % 4 == 0:
        raise ValueError("no luck")
    if trial.number % 4 == 1:
        raise optuna.TrialPruned
    return None if trial.number % 4 == 2 else x
"""
    )


@pytest.mark.usefixtures("_user_code")
def test_function_objective_is_searched_in_its_own_direction(sqlite_url: str) -> None:
    """Anybody's existing objective works, to be minimised or maximised."""
    options = {"objective": "theirs:quadratic", "direction": "minimize"}
    _, loaded = _run(sqlite_url, options, n_trials=15)
    assert loaded.study.best_value < 0.1
    assert len(loaded.study.trials) == 15


@pytest.mark.usefixtures("_user_code")
def test_function_that_fails_prunes_or_returns_nonsense_spends_its_slot(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each outcome has its state and its reason, and none stops the worker."""
    status, loaded = _run(sqlite_url, {"objective": "theirs:sometimes"}, n_trials=4)
    assert status == 0
    assert _states(loaded) == ["FAIL", "PRUNED", "FAIL", "COMPLETE"]
    trials = loaded.study.get_trials()
    assert trials[0].user_attrs["error"] == "ValueError: no luck"
    assert "returned None" in trials[2].user_attrs["error"]
    assert "no luck" in caplog.text


def test_worker_asked_to_leave_gives_its_trial_back(sqlite_url: str) -> None:
    """SIGTERM in mid-training: the slot is open again, and the next worker repeats the trial."""
    leaving = Leaving()
    options = {**DIGITS, "epochs": 100_000, "pruner": "none"}
    loaded = create_or_resume(create_storage(sqlite_url), "s", options, n_trials=1)
    watcher = threading.Thread(target=_terminate_once_training, args=(loaded,))
    watcher.start()
    with leaving.listening():
        status = run_worker(WorkerConfig(sqlite_url, "s"), leaving)
        watcher.join()
    assert status == 130
    left, queued = loaded.study.get_trials()
    assert left.state is TrialState.FAIL
    assert left.user_attrs[GIVEN_BACK] == "SIGTERM"
    assert queued.state is TrialState.WAITING
    assert queued.system_attrs["fixed_params"] == left.params
    assert loaded.load_budget().n_leased == 0


def _terminate_once_training(loaded: LoadedStudy) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(t.intermediate_values for t in loaded.study.get_trials()):
            os.kill(os.getpid(), signal.SIGTERM)
            return
        time.sleep(0.05)


def test_worker_asked_to_leave_before_it_trains_claims_nothing(sqlite_url: str) -> None:
    """A signal that came while the data was being loaded is obeyed, not forgotten."""
    leaving = Leaving()
    leaving.reason = "SIGTERM"
    status, loaded = _run(sqlite_url, DIGITS, n_trials=1, leaving=leaving)
    assert (status, loaded.study.trials) == (130, [])


@pytest.mark.usefixtures("_user_code")
@pytest.mark.parametrize("objective", ["theirs:failed_elsewhere", "theirs:failed_silently"])
def test_worker_whose_trial_another_program_failed_goes_on(sqlite_url: str, objective: str) -> None:
    """A trial ended under the worker spends its slot, its result is dropped, and nothing hangs."""
    os.environ["THEIR_STORAGE"] = sqlite_url
    status, loaded = _run(sqlite_url, {"objective": objective}, n_trials=2)
    assert status == 0
    assert _states(loaded) == ["FAIL", "COMPLETE"]
    assert loaded.load_budget().n_finished == 2


@pytest.mark.usefixtures("_user_code")
@pytest.mark.parametrize(
    "objective",
    [
        "taken_away_silently",
        "taken_away_noticed_at_the_end",
        "taken_away_noticed_by_a_question",
    ],
)
def test_worker_whose_function_ends_after_its_trial_was_given_to_others_says_so_once(
    sqlite_url: str, objective: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A result that comes too late is dropped, whenever that is found out, and work goes on."""
    os.environ["THEIR_STORAGE"] = sqlite_url
    status, loaded = _run(sqlite_url, {"objective": f"theirs:{objective}"}, n_trials=2)
    assert status == 0
    assert _states(loaded) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert caplog.text.count("Trial 0 was taken away meanwhile") == 1
    assert "ERROR" not in caplog.text


def test_worker_drops_a_trial_that_was_taken_away(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker whose trial was given to another says so, goes on, and the budget stays exact."""
    options = {**DIGITS, "epochs": 100, "pruner": "none", "train_size": 200}
    loaded = create_or_resume(create_storage(sqlite_url), "s", options, n_trials=3)
    taken: list[Lease] = []

    def take_the_first_away(view: LoadedStudy) -> None:
        running = view.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if not taken and any(trial.intermediate_values for trial in running):
            (worker,) = list_workers(loaded.storage.engine, loaded.study_id)
            taken.extend(find_leases_of(loaded.storage.engine, worker.worker_id))
            give_back(loaded.storage.engine, taken[0], "test")

    run_worker(WorkerConfig(sqlite_url, "s", n_lanes=1), Leaving(), take_the_first_away)
    finished = [t for t in loaded.study.get_trials() if GIVEN_BACK not in t.user_attrs]
    assert len(loaded.study.trials) == 4
    assert [t.state.is_finished() for t in finished] == [True] * 3
    assert loaded.load_budget().n_finished == 3
    assert "Trial 0 was taken away meanwhile: " in caplog.text  # by worker or storage


def test_worker_leaves_at_the_deadline_of_the_study(sqlite_url: str) -> None:
    """After the timeout no trial is started; those in training finish, and it is no error."""
    loaded = create_or_resume(create_storage(sqlite_url), "s", DIGITS, n_trials=100_000)

    def let_it_be_over(view: LoadedStudy) -> None:
        if sum(trial.state.is_finished() for trial in view.study.get_trials(deepcopy=False)) > 1:
            create_or_resume(loaded.storage, "s", {}, timeout_seconds=1e-6)

    assert run_worker(WorkerConfig(sqlite_url, "s"), Leaving(), let_it_be_over) == 0
    states = _states(loaded)
    assert 1 < len(states) == loaded.load_budget().n_finished < 100_000
    assert set(states) <= {"COMPLETE", "PRUNED"}


def test_optuna_itself_reads_and_extends_our_study(sqlite_url: str) -> None:
    """Other Optuna programs can load a study of ours, and optimise it further."""
    _run(sqlite_url, DIGITS, n_trials=2)
    study = optuna.load_study(storage=sqlite_url, study_name="s")
    study.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1, log=True), n_trials=1)
    assert len(study.trials) == 3
    assert study.direction is optuna.study.StudyDirection.MAXIMIZE
