"""An objective that costs nothing, so that what is left of a trial's time is the service's own."""

import time

import optuna

N_REPORTS = 5
NAP_SECONDS = 0.5

# Moments of this process (`time.monotonic`, the same clock for all processes of a host).
started_at: list[float] = []


def objective(trial: optuna.Trial) -> float:
    """Suggest twice, report and ask for pruning five times; the answer is not obeyed."""
    started_at.append(time.monotonic())
    value = -trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
    value -= abs(trial.suggest_float("lr", 1e-3, 1, log=True) - 0.3)
    for step in range(1, N_REPORTS + 1):
        trial.report(value / step, step)
        trial.should_prune()
    return value


def nap(trial: optuna.Trial) -> float:
    """Suggest twice and sleep: training that needs none of the machine's cores."""
    value = -trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
    value -= abs(trial.suggest_float("lr", 1e-3, 1, log=True) - 0.3)
    time.sleep(NAP_SECONDS)
    return value
