"""Objectives that take their time and no processor, for what is measured around them."""

import time

import optuna


def briefly(trial: optuna.Trial) -> float:
    """Sleep for two seconds."""
    return _sleep(trial, 2.0)


def for_long(trial: optuna.Trial) -> float:
    """Sleep for fifteen seconds."""
    return _sleep(trial, 15.0)


def _sleep(trial: optuna.Trial, seconds: float) -> float:
    x = trial.suggest_float("x", 0, 1)
    for step in range(1, 5):
        time.sleep(seconds / 4)
        trial.report(x, step)
    return x
