"""A confirmation trains exactly its candidates on its seeds, whatever happens."""

import io
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from storage import create_storage, list_workers, set_study_state
from tests.conftest import Cli
from tests.tuner.conftest import Crew, wait_until
from tuner import processes
from tuner.confirmation.confirm import ConfirmRequest, PlanOptions, confirm_study
from tuner.confirmation.plan import find_ended
from tuner.confirmation.values import Confirmation
from tuner.errors import NoResultError, StudyNotFoundError, UsageError
from tuner.leaving import Leaving
from tuner.run import RunRequest, RunResult, run_study, summary
from tuner.selection import find_confirmation, score_on_test
from tuner.study import LoadedStudy, create_or_resume, load_study
from tuner.worker import WorkerConfig, run_worker

QUICK = {"dataset": "digits", "train_size": 200, "epochs": 2, "pruner": "none", "lr": (0.05, 0.5)}
# λ = 0, three rungs, the best trial's configuration.
PLAN = PlanOptions(n_seeds=3, n_rungs=3)
N_TRIALS = 5 * 3

_FUNCTIONS = """
import math
import sqlite3
import time

NOISE = (0.0, 0.3, -0.2, 0.1, -0.1)

def value(trial):
    weight_decay = trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True)
    trial.suggest_float("lr", 1e-3, 1, log=True)
    trial.suggest_int("width", 8, 64)
    seed = trial.user_attrs.get("seed", trial.number % 5)
    if seed in (2, 3) and weight_decay < 2e-5:
        wait_for_withdrawals(seed)
    own = 0.1 * math.sin(1e6 * weight_decay + 7 * seed)
    return (math.log10(weight_decay) + 3) ** 2 + NOISE[seed] + own

seen = {1: 0}

def wait_for_withdrawals(seed):
    # The race looks at the learning rates after two seeds, at all after three.
    deadline = time.monotonic() + 30
    query = "SELECT COUNT(*) FROM trials WHERE state = 'FAIL'"
    connection = sqlite3.connect("tuner.db")
    while seed not in seen and time.monotonic() < deadline:
        (n,) = connection.execute(query).fetchone()
        if n > seen[max(seen)]:
            seen[seed] = n
        time.sleep(0.05)
    connection.close()

def without_lambda(trial):
    return trial.suggest_float("x", 0, 1)
"""


@pytest.fixture(autouse=True, scope="module")
def _workers_start_fast() -> Iterator[None]:
    processes.preload()
    yield
    processes.abandon()


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


def _confirm(url: str, plan: PlanOptions = PLAN) -> tuple[Confirmation, str]:
    """Confirm with one worker; return the answer and what was told meanwhile."""
    told = io.StringIO()
    request = ConfirmRequest(WorkerConfig(url, "s"), n_workers=1, plan=plan)
    return confirm_study(request, Console(file=told), Leaving()), told.getvalue()


def _trials(url: str) -> list[FrozenTrial]:
    return load_study(create_storage(url), "s/confirm").study.get_trials(deepcopy=False)


@pytest.mark.db
def test_confirmation_trains_each_candidate_once_on_each_seed(storage_url: str) -> None:
    """On each database: the trials, what they record, and the answer in the searched study."""
    searched = _search(storage_url, QUICK)
    confirmation, _ = _confirm(storage_url)
    trials = _trials(storage_url)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * N_TRIALS
    assert [trial.user_attrs["seed"] for trial in trials] == [0] * 5 + [1] * 5 + [2] * 5
    assert sorted(trial.user_attrs["source"] for trial in trials[:5]) == [
        *["ladder"] * 3,
        "search",
        "zero",
    ]
    recorded = {"training_accuracy", "training_loss", "weight_norm", "seed", "source", "worker"}
    assert all(recorded <= set(trial.user_attrs) for trial in trials)
    assert find_confirmation(load_study(create_storage(storage_url), "s")) == confirmation
    assert confirmation.study == "s/confirm"
    assert [rung.candidate.weight_decay for rung in confirmation.rungs][:2] == [0, 1e-5]
    for trial in trials:
        (rung,) = (
            rung
            for rung in confirmation.rungs
            if (rung.candidate.weight_decay, rung.candidate.lr, rung.candidate.source)
            == (trial.params["weight_decay"], trial.params["lr"], trial.user_attrs["source"])
        )
        assert rung.values[trial.user_attrs["seed"]] == trial.value
    assert {score.n_seeds for score in confirmation.test.values()} == {3}
    assert set(confirmation.test) == {"min", "1se"}
    assert searched.load_budget().n_trials == 4


def test_second_confirmation_of_an_unchanged_study_trains_and_scores_nothing(
    sqlite_url: str,
) -> None:
    """It tells what is stored; an extended search is confirmed anew, and reuses what it can."""
    _search(sqlite_url, QUICK)
    first, told = _confirm(sqlite_url)
    assert "15/15 finished" in told
    again, told = _confirm(sqlite_url, PlanOptions())
    assert (again, told) == (first, "")
    assert len(_trials(sqlite_url)) == N_TRIALS

    _confirm(sqlite_url, replace(PLAN, n_seeds=4))
    assert len(_trials(sqlite_url)) == N_TRIALS + 5
    _search(sqlite_url, QUICK, n_trials=8)
    extended, _ = _confirm(sqlite_url, PLAN)
    keys = [trial.user_attrs["seed"] for trial in _trials(sqlite_url)]
    assert extended.search_value >= first.search_value
    assert len(keys) <= N_TRIALS + 5 + N_TRIALS


def test_models_that_are_missing_are_trained_again_to_the_same_scores(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Other hosts' trials, and those of an earlier run, are scored by a replay."""
    _search(sqlite_url, QUICK)
    _confirm(sqlite_url)
    config = WorkerConfig(sqlite_url, "s/confirm", models_dir=tmp_path / "none")
    numbers = [0, 3, 6, 14]
    replayed = score_on_test(config, numbers)
    kept = replace(config, models_dir=tmp_path / "kept")
    study = load_study(create_storage(sqlite_url), "s/confirm")
    ended = find_ended(study.study.get_trials())
    assert len(ended) == N_TRIALS
    assert sorted(replayed) == numbers
    assert score_on_test(kept, numbers) == replayed


def _pair(trial: FrozenTrial) -> tuple[float, float]:
    return trial.params["weight_decay"], trial.params["lr"]


@pytest.mark.usefixtures("functions")
def test_racing_drops_the_hopeless_after_three_seeds(sqlite_url: str) -> None:
    """Who cannot win is spared two seeds, but for what has begun; the others have all five.

    A function's parameters beside λ and learning rate stay those of the best trial, and it gets the
    seed; λ = 0 is not asked of it, nor a test score.
    """
    options = {"objective": "noisy:value", "direction": "minimize", "pruner": "none"}
    searched = _search(sqlite_url, options, n_trials=12)
    confirmation, _ = _confirm(sqlite_url, PlanOptions(n_seeds=5, n_rungs=9))
    best = searched.study.best_trial
    trials = find_ended(_trials(sqlite_url)).values()
    assert {trial.params["width"] for trial in trials} == {best.params["width"]}
    assert confirmation.test == {}
    assert {rung.candidate.source for rung in confirmation.rungs} == {"ladder", "search"}
    by_weight_decay = {
        rung.candidate.weight_decay: (rung.is_dropped, len(rung.values))
        for rung in confirmation.rungs
        if rung.candidate.source == "ladder"
    }
    assert by_weight_decay[1e-1] == (True, 3)
    assert by_weight_decay[1e-5] == (True, 4)
    (middle,) = (w for w in by_weight_decay if w == pytest.approx(1e-3))
    assert by_weight_decay[middle] == (False, 5)
    standing = {(r.candidate.weight_decay, r.candidate.lr) for r in confirmation.rungs}
    outrun = Counter(pair for t in trials if (pair := _pair(t)) not in standing)
    assert set(outrun.values()) <= {2, 3}  # the third had begun
    assert len(trials) == sum(n for _, n in by_weight_decay.values()) + 5 + outrun.total()
    budget = load_study(create_storage(sqlite_url), "s/confirm").load_budget()
    assert budget.n_trials == budget.n_finished == len(trials)


@pytest.mark.usefixtures("functions")
def test_study_without_a_weight_decay_is_refused_and_leaves_nothing(sqlite_url: str) -> None:
    """One line; there is no half-made confirmation afterwards."""
    _search(sqlite_url, {"objective": "noisy:without_lambda", "pruner": "none"})
    with pytest.raises(UsageError, match="no float parameter 'weight_decay'"):
        _confirm(sqlite_url)
    assert len(create_storage(sqlite_url).get_all_studies()) == 1


def test_confirmation_cannot_be_confirmed(sqlite_url: str) -> None:
    """Its name says whose it is."""
    _search(sqlite_url, QUICK)
    _confirm(sqlite_url)
    request = ConfirmRequest(WorkerConfig(sqlite_url, "s/confirm"))
    with pytest.raises(UsageError, match="give the searched study, --study s"):
        confirm_study(request, Console(file=io.StringIO()), Leaving())


SLOW = {"dataset": "digits", "epochs": 400, "pruner": "none", "lr": (0.05, 0.5)}
CONFIRM = ("--seeds", "3", "--rungs", "3", "--lanes", "2", "--no-racing")


def _n_complete(crew: Crew) -> int:
    """Return how many trials of the confirmation are complete; there may be none of it yet."""
    try:
        confirming = load_study(create_storage(crew.url), "s/confirm")
    except StudyNotFoundError:
        return 0
    return len(confirming.study.get_trials(states=(TrialState.COMPLETE,)))


def _kill_a_worker(crew: Crew) -> None:
    confirming = load_study(create_storage(crew.url), "s/confirm")
    worker, *_ = list_workers(confirming.storage.engine, confirming.study_id)
    os.kill(worker.pid, signal.SIGKILL)


def _assert_exact(crew: Crew, cli: Cli) -> dict[str, Any]:
    """Resume to the end; there is one complete trial for each candidate and seed, no more."""
    done = cli("confirm", "--storage", crew.url, "--study", "s", "--json", "--workers", "1")
    assert done.returncode == 0, done.stderr
    trials = _trials(crew.url)
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    pairs = {(t.user_attrs["seed"], t.params["weight_decay"], t.params["lr"]) for t in complete}
    assert len(pairs) == len(complete) == N_TRIALS
    assert len(find_ended(trials)) == N_TRIALS
    answer: dict[str, Any] = json.loads(done.stdout)
    assert {len(rung["values"]) for rung in answer["rungs"]} == {3}
    return answer


def test_killed_worker_and_killed_launcher_cost_no_trial_and_none_twice(
    crew: Crew, cli: Cli
) -> None:
    """kill -9 of a worker, then of `tuner confirm` itself; the same command ends it exactly."""
    _search(crew.url, SLOW)
    loaded = crew.create({}, n_trials=4)
    assert loaded.load_budget().is_spent
    process = crew.start("confirm", *CONFIRM, "--workers", "1")
    wait_until(lambda: _n_complete(crew) >= 2)
    _kill_a_worker(crew)
    n_before = _n_complete(crew)
    wait_until(lambda: _n_complete(crew) > n_before or process.popen.poll() is not None)
    process.popen.kill()
    _assert_exact(crew, cli)


def test_worker_of_another_host_takes_its_share_of_an_interrupted_confirmation(
    crew: Crew, cli: Cli
) -> None:
    """Ctrl-C gives back; `tuner worker --study s/confirm` trains on, the same command tells."""
    _search(crew.url, SLOW)
    process = crew.start("confirm", *CONFIRM, "--workers", "1")
    wait_until(lambda: _n_complete(crew) >= 1)
    process.interrupt(signal.SIGINT)
    assert process.wait() == 130
    assert "Traceback" not in process.logged()
    assert run_worker(WorkerConfig(crew.url, "s/confirm"), Leaving()) == 0
    assert _n_complete(crew) == N_TRIALS
    answer = _assert_exact(crew, cli)
    assert answer["test"]["min"]["mean"] > 0.5


def test_two_confirmations_at_once_come_to_the_same_answer(crew: Crew, cli: Cli) -> None:
    """They share the trials; both end well."""
    _search(crew.url, {**SLOW, "epochs": 5})
    both = [crew.start("confirm", *CONFIRM, "--workers", "1", "--json") for _ in range(2)]
    assert [process.wait(100) for process in both] == [0, 0]
    answers = [log[log.index("{\n") :] for log in (process.logged() for process in both)]
    first, second = (json.loads(answer[: answer.rindex("}") + 1]) for answer in answers)
    assert first == second
    assert _assert_exact(crew, cli) == first


def test_stopped_confirmation_says_how_to_go_on(sqlite_url: str) -> None:
    """`tuner stop --study NAME/confirm` ends it without an answer."""
    _search(sqlite_url, QUICK)

    class _Stopping(Console):
        def print(self, *args: Any, **settings: Any) -> None:
            storage = create_storage(sqlite_url)
            set_study_state(storage.engine, load_study(storage, "s/confirm").study_id, "stopped")
            super().print(*args, **settings)

    request = ConfirmRequest(WorkerConfig(sqlite_url, "s"), n_workers=1, plan=PLAN)
    with pytest.raises(NoResultError, match="`tuner confirm` goes on with it"):
        confirm_study(request, _Stopping(file=io.StringIO()), Leaving())
    confirmation, _ = _confirm(sqlite_url)
    assert len(confirmation.rungs) == 5


def _run(url: str, folder: Path, options: dict[str, Any]) -> RunResult:
    request = RunRequest(
        worker=WorkerConfig(url, "s"),
        options=options,
        n_trials=4,
        timeout_seconds=None,
        max_retries=None,
        n_workers=1,
        output=folder / "best.json",
        plan=PLAN,
    )
    return run_study(request, Console(file=io.StringIO()), Leaving())


def test_run_tells_the_whole_story(sqlite_url: str, tmp_path: Path) -> None:
    """Search, confirmation, test score and verdict in a dozen lines; again once it is finished."""
    first = _run(sqlite_url, tmp_path, QUICK)
    told = summary(first, sqlite_url)
    for word in ("Best trial", "λ_min", "λ_1se", "optimism", "verdict", "±", "test 0.", "Written"):
        assert word in told
    assert len(told.splitlines()) <= 12
    again = _run(sqlite_url, tmp_path, {})
    assert again.confirmation == first.confirmation
    assert again.was_finished_before
    # The test set is read for the chosen λ alone, not for the search's best trial.
    assert set(load_study(create_storage(sqlite_url), "s").study.user_attrs) == {
        "spec",
        "spec_hash",
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
