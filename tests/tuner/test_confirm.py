"""A confirmation trains exactly its candidates on its seeds, whatever happens."""

import io
import json
import os
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from sqlalchemy import Engine

from storage import create_storage, set_queue, set_study_state
from tests.conftest import Cli
from tests.processes import trainers_of
from tests.tuner.conftest import Crew, wait_until
from tuner.confirmation import confirm
from tuner.confirmation.confirm import ConfirmRequest, confirm_study
from tuner.confirmation.plan import find_ended
from tuner.confirmation.values import Confirmation
from tuner.errors import NoResultError, StudyNotFoundError, UsageError
from tuner.run import RunRequest, RunResult, run_study, summary
from tuner.selection import find_confirmation, score_on_test
from tuner.study import LoadedStudy, create_or_resume, load_study
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.launchers.launch import train_study
from tuner.workers.local import StudyRun
from tuner.workers.shutdown import Leaving

QUICK = {"dataset": "digits", "train_size": 200, "epochs": 2, "pruner": "none", "lr": (0.05, 0.5)}
N_SEEDS = 2
# Two seeds spread over eight learning rates, two that draw five each; the check comes after.
N_CHOOSING = 2 * 8 + N_SEEDS * 5

_FUNCTIONS = """
import math

NOISE = (0.0, 0.3, -0.2, 0.1, -0.1)

def value(trial):
    weight_decay = trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True)
    trial.suggest_float("lr", 1e-3, 1, log=True)
    trial.suggest_int("width", 8, 64)
    seed = trial.user_attrs.get("seed", trial.number)
    own = 0.1 * math.sin(1e6 * weight_decay + 7 * seed)
    return (math.log10(weight_decay) + 3) ** 2 + NOISE[seed % 5] + own

def alone(trial):
    return -((trial.suggest_float("weight_decay", 0, 0.5) - 0.2) ** 2)

def without_lambda(trial):
    return trial.suggest_float("x", 0, 1)
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a user's module into the working directory."""
    (tmp_path / "noisy.py").write_text(_FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("noisy", None)


def _search(url: str, options: dict[str, Any], n_trials: int = 4) -> LoadedStudy:
    loaded = create_or_resume(create_storage(url), "s", options, n_trials=n_trials)
    assert run_worker(WorkerConfig(url, "s"), Leaving()) == 0
    return loaded


def _confirm(url: str, n_seeds: int | None = N_SEEDS) -> tuple[Confirmation, str]:
    """Confirm with one worker; return the answer and what was told meanwhile."""
    told = io.StringIO()
    request = ConfirmRequest(WorkerConfig(url, "s"), n_workers=1, n_seeds=n_seeds)
    return confirm_study(request, Console(file=told), Leaving()), told.getvalue()


def _trials(url: str) -> list[FrozenTrial]:
    return load_study(create_storage(url), "s/confirm").study.get_trials(deepcopy=False)


@pytest.mark.db
@pytest.mark.heavy
def test_confirmation_trains_each_round_once_and_keeps_the_answer(storage_url: str) -> None:
    """On each database: the trials, what they record, and the answer in the searched study."""
    searched = _search(storage_url, QUICK)
    confirmation, _ = _confirm(storage_url)
    trials = _trials(storage_url)
    n_trials = N_CHOOSING + N_SEEDS * len(confirmation.rungs)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * n_trials
    seeds = Counter(trial.user_attrs["seed"] for trial in trials)
    assert seeds == {0: 8, 1: 8, 2: 5, 3: 5, **dict.fromkeys((4, 5), len(confirmation.rungs))}
    recorded = {"training_value", "training_loss", "weight_norm", "zero_share"}
    recorded |= {"seed", "source", "worker"}
    assert all(recorded <= set(trial.user_attrs) for trial in trials)
    assert find_confirmation(load_study(create_storage(storage_url), "s")) == confirmation
    assert (confirmation.study, confirmation.seeds) == ("s/confirm", (4, 5))
    assert confirmation.rungs[0].candidate.strength == 0
    for trial in trials[N_CHOOSING:]:
        (rung,) = (r for r in confirmation.rungs if r.candidate.params == trial.params)
        assert rung.values[trial.user_attrs["seed"]] == trial.value
    assert {score.n_seeds for score in confirmation.test.values()} == {2}
    assert set(confirmation.test) == {"min", "1se"}
    assert searched.load_budget().n_trials == 4


def test_second_confirmation_of_an_unchanged_study_trains_and_scores_nothing(
    sqlite_url: str,
) -> None:
    """It tells what is stored; one with more seeds reuses what it can."""
    _search(sqlite_url, QUICK)
    first, _ = _confirm(sqlite_url)
    n_trials = len(_trials(sqlite_url))
    again, told = _confirm(sqlite_url, None)
    assert (again, told) == (first, "")
    assert len(_trials(sqlite_url)) == n_trials

    more, _ = _confirm(sqlite_url, N_SEEDS + 1)
    assert more.seeds == (5, 6, 7)
    complete = [t for t in _trials(sqlite_url) if t.state is TrialState.COMPLETE]
    assert Counter(t.user_attrs["seed"] for t in complete)[0] == 8


def test_models_that_are_missing_are_trained_again_to_the_same_scores(sqlite_url: str) -> None:
    """Other hosts' trials, and those of an earlier run, are scored by a replay."""
    _search(sqlite_url, QUICK)
    confirmation, _ = _confirm(sqlite_url)  # whose own trainers have left their models
    rung = confirmation.chosen("min")
    chosen = [
        trial
        for trial in _trials(sqlite_url)
        if trial.params == rung.candidate.params and trial.user_attrs["seed"] in rung.values
    ]
    confirming = load_study(create_storage(sqlite_url), "s/confirm")
    config = WorkerConfig(sqlite_url, "s/confirm")
    replayed = score_on_test(confirming, chosen, config, Leaving()).values()
    assert len(replayed) == N_SEEDS
    assert sum(replayed) / N_SEEDS == pytest.approx(confirmation.test["min"].mean, abs=1.1 / 300)


@pytest.mark.usefixtures("functions")
def test_function_is_confirmed_with_its_other_parameters(sqlite_url: str) -> None:
    """They stay those of the best trial; λ = 0 is not asked of it, nor a test score."""
    options = {"objective": "noisy:value", "direction": "minimize", "pruner": "none"}
    searched = _search(sqlite_url, options, n_trials=12)
    confirmation, _ = _confirm(sqlite_url)
    width = searched.study.best_trial.params["width"]
    assert {trial.params["width"] for trial in _trials(sqlite_url)} == {width}
    assert all(rung.candidate.params["width"] == width for rung in confirmation.rungs)
    assert all(rung.candidate.strength >= 1e-5 for rung in confirmation.rungs)
    assert confirmation.rungs[0].candidate.strength == 1e-5  # the control
    assert confirmation.chosen("min").candidate.strength == pytest.approx(1e-3, rel=3)
    assert confirmation.test == {}
    budget = load_study(create_storage(sqlite_url), "s/confirm").load_budget()
    assert budget.n_trials == budget.n_finished


@pytest.mark.usefixtures("functions")
def test_function_without_a_learning_rate_is_confirmed(sqlite_url: str) -> None:
    """What has no companion has a curve, from the ends of its own linear range."""
    _search(sqlite_url, {"objective": "noisy:alone", "pruner": "none"}, n_trials=6)
    confirmation, _ = _confirm(sqlite_url)
    assert (confirmation.strength, confirmation.companion) == ("weight_decay", None)
    assert confirmation.rungs[0].candidate.strength == 0
    assert confirmation.chosen("min").candidate.strength == pytest.approx(0.2, abs=0.1)


@pytest.mark.usefixtures("functions")
def test_study_without_a_weight_decay_is_refused_and_leaves_nothing(sqlite_url: str) -> None:
    """One line; there is no half-made confirmation afterwards."""
    _search(sqlite_url, {"objective": "noisy:without_lambda", "pruner": "none"})
    with pytest.raises(UsageError, match="no number 'weight_decay'"):
        _confirm(sqlite_url)
    assert len(create_storage(sqlite_url).get_all_studies()) == 1


def test_confirmation_cannot_be_confirmed(sqlite_url: str) -> None:
    """Its name says whose it is."""
    _search(sqlite_url, QUICK)
    _confirm(sqlite_url)
    request = ConfirmRequest(WorkerConfig(sqlite_url, "s/confirm"))
    with pytest.raises(UsageError, match="give the searched study, --study s"):
        confirm_study(request, Console(file=io.StringIO()), Leaving())


SLOW = {"dataset": "digits", "train_size": 200, "epochs": 60, "pruner": "none", "lr": (0.05, 0.5)}
CONFIRM = ("--seeds", str(N_SEEDS), "--lanes", "2")


def _n_complete(crew: Crew) -> int:
    """Return how many trials of the confirmation are complete; there may be none of it yet."""
    try:
        confirming = load_study(create_storage(crew.url), "s/confirm")
    except StudyNotFoundError:
        return 0
    return len(confirming.study.get_trials(states=(TrialState.COMPLETE,)))


def _resume(url: str, call: Cli) -> dict[str, Any]:
    """Confirm to the end; return the answer."""
    where = ("--storage", url, "--study", "s")
    done = call("confirm", *where, *CONFIRM, "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _assert_exact(crew: Crew, call: Cli) -> dict[str, Any]:
    """Resume to the end; there is one complete trial for each candidate and seed, no more."""
    answer = _resume(crew.url, call)
    trials = _trials(crew.url)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    pairs = {(t.user_attrs["seed"], t.params["weight_decay"], t.params["lr"]) for t in complete}
    n_trials = N_CHOOSING + N_SEEDS * len(answer["rungs"])
    assert len(pairs) == len(complete) == len(find_ended(trials)) == n_trials
    assert {len(rung["values"]) for rung in answer["rungs"]} == {N_SEEDS}
    return answer


@pytest.mark.long
def test_killed_trainer_and_killed_confirm_cost_no_trial_and_none_twice(
    crew: Crew, call: Cli
) -> None:
    """kill -9 of a trainer, then of `tuner confirm` itself; the same command ends it exactly, and
    says what it would have said without.
    """
    _search(crew.url, SLOW)
    untouched = crew.folder / "untouched.db"
    file = crew.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(file)) as own, closing(sqlite3.connect(untouched)) as copy:
        own.backup(copy)
    loaded = crew.create({}, n_trials=4)
    assert loaded.load_budget().is_spent
    process = crew.start("confirm", *CONFIRM, "--workers", "1", "--lease", "4s")
    wait_until(lambda: _n_complete(crew) >= 2)
    (trainer,) = trainers_of(process.popen.pid)
    os.kill(trainer, signal.SIGKILL)
    n_before = _n_complete(crew)
    wait_until(lambda: _n_complete(crew) > n_before or process.popen.poll() is not None)
    process.popen.kill()
    answer = _assert_exact(crew, call)
    assert answer == _resume(f"sqlite:///{untouched}", call)


@pytest.mark.long
def test_worker_of_another_host_takes_its_share_of_an_interrupted_confirmation(
    crew: Crew, call: Cli
) -> None:
    """Ctrl-C gives back; `tuner worker --study s/confirm` ends the round, the same command all."""
    _search(crew.url, SLOW)
    process = crew.start("confirm", *CONFIRM, "--workers", "1")
    wait_until(lambda: _n_complete(crew) >= 1)
    process.interrupt(signal.SIGINT)
    assert process.wait() == 130
    assert "Traceback" not in process.logged()
    assert run_worker(WorkerConfig(crew.url, "s/confirm"), Leaving()) == 0
    assert _n_complete(crew) >= 2 * 8
    answer = _assert_exact(crew, call)
    assert answer["test"]["min"]["mean"] > 0.5


def test_two_confirmations_at_once_come_to_the_same_answer(crew: Crew, call: Cli) -> None:
    """They share the trials; both end well."""
    _search(crew.url, {**SLOW, "epochs": 5})
    both = [crew.start("confirm", *CONFIRM, "--workers", "1", "--json") for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    answers = [log[log.index("{\n") :] for log in (process.logged() for process in both)]
    first, second = (json.loads(answer[: answer.rindex("}") + 1]) for answer in answers)
    assert first == second
    assert _assert_exact(crew, call) == first


class _KilledError(Exception):
    """A confirmation ends here, without a word to anybody."""


class _Killing(Console):
    def print(self, *_args: Any, **_settings: Any) -> None:
        raise _KilledError


def test_plan_that_is_late_takes_nothing_from_another_confirmation(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it planned, another has planned on, and been killed: it does so itself."""
    _search(sqlite_url, QUICK)

    def others_first(engine: Engine, study_id: int, *plan: Any) -> None:
        monkeypatch.undo()
        set_queue(engine, study_id, *plan)
        assert run_worker(WorkerConfig(sqlite_url, "s/confirm"), Leaving()) == 0
        request = ConfirmRequest(WorkerConfig(sqlite_url, "s"), n_workers=1, n_seeds=N_SEEDS)
        with pytest.raises(_KilledError):
            confirm_study(request, _Killing(), Leaving())
        assert len(_trials(sqlite_url)) == N_CHOOSING
        set_queue(engine, study_id, *plan)

    monkeypatch.setattr(confirm, "set_queue", others_first)
    confirmation, _ = _confirm(sqlite_url)
    complete = [t for t in _trials(sqlite_url) if t.state is TrialState.COMPLETE]
    assert len(complete) == N_CHOOSING + N_SEEDS * len(confirmation.rungs)


def test_crew_goes_on_if_more_is_granted_when_it_has_seen_the_end(sqlite_url: str) -> None:
    """As by another confirmation, whose trial was the last of a round."""
    searched = create_or_resume(create_storage(sqlite_url), "s", QUICK, n_trials=1)

    class _Granting(Leaving):
        def forget_study(self) -> None:
            create_or_resume(searched.storage, "s", {}, n_trials=3)

    screen = Console(file=io.StringIO()), _Granting()
    train_study(StudyRun(searched, WorkerConfig(sqlite_url, "s"), 1, *screen))
    assert searched.load_budget().n_finished == 3


def test_stopped_confirmation_says_how_to_go_on(sqlite_url: str) -> None:
    """`tuner stop --study NAME/confirm` ends it without an answer."""
    _search(sqlite_url, QUICK)

    class _Stopping(Console):
        def print(self, *args: Any, **settings: Any) -> None:
            storage = create_storage(sqlite_url)
            set_study_state(storage.engine, load_study(storage, "s/confirm").study_id, "stopped")
            super().print(*args, **settings)

    request = ConfirmRequest(WorkerConfig(sqlite_url, "s"), n_workers=1, n_seeds=N_SEEDS)
    with pytest.raises(NoResultError, match="`tuner confirm` goes on with it"):
        confirm_study(request, _Stopping(file=io.StringIO()), Leaving())
    confirmation, _ = _confirm(sqlite_url)
    assert 2 <= len(confirmation.rungs) <= 4


def _run(url: str, folder: Path, options: dict[str, Any]) -> RunResult:
    request = RunRequest(
        worker=WorkerConfig(url, "s"),
        options=options,
        n_trials=4,
        timeout_seconds=None,
        max_retries=None,
        brakes={},
        warm_start=None,
        n_workers=1,
        output=folder / "best.json",
        n_seeds=N_SEEDS,
        confirms=True,
    )
    return run_study(request, Console(file=io.StringIO()), Leaving())


def test_run_tells_the_whole_story(sqlite_url: str, tmp_path: Path) -> None:
    """Search, confirmation, test score and verdict in a few lines; again once it is finished."""
    first = _run(sqlite_url, tmp_path, QUICK)
    told = summary(first, sqlite_url)
    for word in ("Best trial", "λ_min", "λ_1se", "optimism", "verdict", "±", "test 0.", "Written"):
        assert word in told
    assert len(told.splitlines()) <= 14
    again = _run(sqlite_url, tmp_path, {})
    assert again.confirmation == first.confirmation
    assert again.was_finished_before
    # The test set is read for the chosen λ alone, not for the search's best trial.
    assert set(load_study(create_storage(sqlite_url), "s").study.user_attrs) == {
        "spec",
        "spec_hash",
        "program",
        "confirmation",
    }


@pytest.mark.usefixtures("functions")
def test_run_of_a_function_without_lambda_says_why_it_is_not_confirmed(
    sqlite_url: str, tmp_path: Path
) -> None:
    """One line in the summary; all else as ever."""
    result = _run(sqlite_url, tmp_path, {"objective": "noisy:without_lambda"})
    assert summary(result, sqlite_url).count("  Not confirmed: ") == 1
    assert result.confirmation is None
