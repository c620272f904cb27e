"""Measure a suggestion and a pruning check beside Optuna's, by the number of finished trials.

    python -m benchmarks.sampling [--n-trials 100 --n-trials 1000 ...] [--rounds 20] [--seed 0]

A suggestion is `Study.ask` and two log-uniform parameters with TPE, a check is `should_prune` with
the median pruner, both with all defaults. The trials lie in memory, so that no database is
measured. Half of them are pruned; each complete one has five reports. Ours and Optuna's take turns
in one process, each on a study of its own with equal trials, and tell the trial afterwards, so that
every suggestion meets a changed history. Times are the process's own (CPU), since other programs'
load doubles those of the clock. The exit status is 1 if a suggestion or a decision
differs.
"""

import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import optuna
import typer
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import TrialState
from rich.console import Console
from rich.table import Table

from tuner.sampling.median import IncrementalMedianPruner
from tuner.sampling.tpe import IncrementalTPESampler

N_REPORTS = 5
SPACE: dict[str, BaseDistribution] = {
    "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
    "lr": FloatDistribution(1e-3, 1, log=True),
}

Milliseconds = dict[str, list[float]]


def main(
    n_trials: Annotated[list[int] | None, typer.Option(min=10, help="Finished trials.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Trials asked for, a study.")] = 20,
    seed: Annotated[int, typer.Option(help="Decides the trials and suggestions.")] = 0,
) -> None:
    """Time suggestions and checks of Optuna's classes and of ours in turn."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table = Table(title=f"ms, median of {rounds=} and the fastest; {seed=}", box=None)
    table.add_column("finished trials")
    for what in ("ask", "should_prune"):
        for heading in (f"{what}, Optuna's", "(min)", f"{what}, ours", "(min)"):
            table.add_column(heading)
    differences = 0
    for n in n_trials or [100, 1000, 5000]:
        asks, checks, n_different = measure(n, rounds, seed)
        differences += n_different
        cells = [
            f"{figure:.3g}"
            for times in (asks, checks)
            for name in ("Optuna's", "ours")
            for figure in (statistics.median(times[name]), min(times[name]))
        ]
        table.add_row(f"{n:,}", *cells)
    console = Console(width=150)
    console.print(
        f"Python {platform.python_version()}, optuna {optuna.__version__}, numpy {np.__version__}"
    )
    console.print(table)
    console.print(f"Suggestions and decisions that differ: {differences}")
    if differences:
        raise typer.Exit(1)


def measure(n_trials: int, rounds: int, seed: int) -> tuple[Milliseconds, Milliseconds, int]:
    """Return the times of suggestions and of checks by name, and how many of them differ."""
    studies = {
        "Optuna's": _prefilled_study(n_trials, seed, TPESampler(seed=seed), MedianPruner()),
        "ours": _prefilled_study(
            n_trials, seed, IncrementalTPESampler(seed=seed), IncrementalMedianPruner()
        ),
    }
    asks: Milliseconds = defaultdict(list)
    checks: Milliseconds = defaultdict(list)
    n_different = 0
    rng = np.random.default_rng(seed)
    for study in studies.values():  # the first suggestion reads all trials
        _run_trial(study, np.ones(N_REPORTS), defaultdict(list), defaultdict(list), "")
    for _ in range(rounds):
        values = rng.uniform(0.0, 1.0) + rng.normal(0.0, 0.1, N_REPORTS)
        answers = [_run_trial(study, values, asks, checks, name) for name, study in studies.items()]
        n_different += answers[0] != answers[1]
    return asks, checks, n_different


def _prefilled_study(
    n_trials: int, seed: int, sampler: BaseSampler, pruner: BasePruner
) -> optuna.Study:
    rng = np.random.default_rng(seed)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    trials = []
    for number in range(n_trials):
        is_pruned = number % 2 == 1
        steps = range(rng.integers(1, N_REPORTS) if is_pruned else N_REPORTS)
        reports = {step: float(rng.uniform()) for step in steps}
        trial = optuna.trial.create_trial(
            state=TrialState.PRUNED if is_pruned else TrialState.COMPLETE,
            params={
                "weight_decay": float(10 ** rng.uniform(-5, -2)),
                "lr": float(10 ** rng.uniform(-3, 0)),
            },
            distributions=SPACE,
            value=reports[max(reports)],
            intermediate_values=reports,
        )
        trials.append(trial)
    study.add_trials(trials)
    return study


def _run_trial(
    study: optuna.Study,
    values: "np.typing.NDArray[np.float64]",
    asks: Milliseconds,
    checks: Milliseconds,
    name: str,
) -> list[float]:
    """Ask for a trial, report the values, check after each; return what was answered."""
    trial, milliseconds = _timed(lambda: study.ask(SPACE))
    asks[name].append(milliseconds)
    answers = list(trial.params.values())
    for step, value in enumerate(values):
        trial.report(float(value), step)
        is_bad, milliseconds = _timed(trial.should_prune)
        checks[name].append(milliseconds)
        answers.append(is_bad)
    study.tell(trial, float(values[-1]))
    return answers


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time_ns()
    result = function()
    return result, (time.process_time_ns() - started) / 1e6


if __name__ == "__main__":
    typer.run(main)
