"""Intermediate values, pruning and constraints."""

import math
import warnings
from typing import Any

import numpy as np
import optuna

from tests.compatibility.objectives import attempt, note


class Enough(optuna.TrialPruned):
    """Somebody's own way of pruning."""


def steps(trial: optuna.Trial) -> float:
    """Steps from zero, with gaps, backwards, as floats and NumPy's integers."""
    for step in (0, 1, 5, 3, 2.9, np.int64(7), True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # step 1 again
            trial.report(float(step) / 2, step)  # type: ignore[arg-type]
    return float(trial.number)


def long_steps(trial: optuna.Trial) -> float:
    """Steps up to the largest that every database takes."""
    for step in (10**6, 2**31 - 1):
        trial.report(1.0, step)
    return float(trial.number)


def too_long_step(trial: optuna.Trial) -> float:
    """A step beyond 32 bits, as frames of a game: SQLite takes it, others do not."""
    trial.report(0.5, 1)
    if trial.number == 0:
        trial.report(0.25, 3_000_000_000)
    return float(trial.number)


def longest_step(trial: optuna.Trial) -> float:
    """A step beyond 64 bits, which no database takes."""
    if trial.number == 0:
        trial.report(0.25, 2**70)
    return float(trial.number)


def values(trial: optuna.Trial) -> float:
    """Values that can be made floats: NaN, infinities, texts, NumPy's, tensors."""
    import torch

    given: list[Any] = [math.nan, math.inf, -math.inf, "1.5", "inf", True, np.float32(0.1)]
    given += [np.array(2.5), torch.tensor(0.5), -0.0, 1e308, 5e-324]
    for step, value in enumerate(given):
        trial.report(value, step)
    return float(trial.number)


def not_values(trial: optuna.Trial) -> float:
    """Values and steps that cannot be: nothing, lists, texts, below zero."""
    wrong: list[tuple[Any, Any]] = [(None, 1), ("loss", 1), ([1], 1), (1j, 1)]
    wrong += [(1.0, None), (1.0, "a"), (1.0, [1]), (1.0, -1), (1.0, math.nan), (1.0, math.inf)]
    for i, (value, step) in enumerate(wrong):
        note(trial, **{f"try{i}": attempt(lambda v=value, s=step: trial.report(v, s))})  # type: ignore[misc]
    if trial.number == 0:
        trial.report(1.0, -1)
    return float(trial.number)


def same_step(trial: optuna.Trial) -> float:
    """A step reported twice: the first value stays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for value in (1.0, 2.0):
            trial.report(value, 4)
    return float(trial.number)


def many(trial: optuna.Trial) -> float:
    """Thirty reports, each followed by the question whether to prune."""
    asked = []
    for step in range(30):
        trial.report(1 / (step + 1), step)
        asked.append(trial.should_prune())
    note(trial, asked=any(asked))
    return float(trial.number)


def asks_before(trial: optuna.Trial) -> float:
    """The question whether to prune before there is any report."""
    note(trial, asked=trial.should_prune())
    return float(trial.number)


def prunes(trial: optuna.Trial) -> float:
    """Pruned: with reports, without, after NaN, by a class of one's own, after a caught error."""
    if trial.number == 0:
        trial.report(0.5, 3)
        trial.report(0.75, 1)
        raise optuna.TrialPruned
    if trial.number == 1:
        raise optuna.exceptions.TrialPruned("nothing was reported")
    if trial.number == 2:
        trial.report(math.nan, 1)
        raise optuna.TrialPruned
    if trial.number == 3:
        trial.report(math.inf, 1)
        raise Enough("too slow", {"not": "text"})
    try:
        trial.report(-1.0, -1)
    except ValueError as error:
        raise optuna.TrialPruned from error
    return float(trial.number)


def _learn(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0, 1)
    for step in range(1, 5):
        trial.report(x + 1 / step, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return x


def pruned_by_median(trial: optuna.Trial) -> float:
    """Pruned by the median of the trials before."""
    return _learn(trial)


def pruned_by_halving(trial: optuna.Trial) -> float:
    """Pruned by successive halving, whose rungs are attributes of the trial."""
    return _learn(trial)


def learned_by_tpe(trial: optuna.Trial) -> float:
    """Searched by TPE in a mixed, conditional space, with pruned trials."""
    x = trial.suggest_float("x", -1, 1)
    n = trial.suggest_int("n", 1, 100, log=True)
    if trial.suggest_categorical("kind", ["a", "b", "c"]) == "a":
        x += trial.suggest_float("extra", 0, 1)
    trial.report(x, 1)
    if x > 0.75:
        raise optuna.TrialPruned
    return x**2 + n / 100


def constrained(trial: optuna.Trial) -> float:
    """Constraints by name: the best trial is the best of those that keep them."""
    x = trial.suggest_float("x", 0, 1)
    trial.set_constraint("memory", 0.5 - trial.number)
    trial.set_constraint("Größe", np.float32(-1))  # type: ignore[arg-type]
    note(trial, seen=sorted(trial.constraints.items()))
    return x - (10 if trial.number == 0 else 0)


def constraints_that_cannot_be(trial: optuna.Trial) -> float:
    """Constraints given twice, of text, infinite, and NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trial.set_constraint("a", 1)
        trial.set_constraint("a", -1)
    trial.set_constraint("infinite", math.inf)
    trial.set_constraint("text", "-1.5")  # type: ignore[arg-type]
    note(trial, none=attempt(lambda: trial.set_constraint("none", None)))  # type: ignore[arg-type]
    note(trial, nan=attempt(lambda: trial.set_constraint("nan", math.nan)))
    note(trial, seen=sorted(trial.constraints.items()))
    if trial.number == 0:
        trial.set_constraint("nan", math.nan)
    return float(trial.number)


def nobody_keeps_them(trial: optuna.Trial) -> float:
    """Constraints that no trial keeps: there is no best trial."""
    trial.set_constraint("memory", 1.0)
    return float(trial.number)
