"""An objective that costs nothing, so that what is left of a trial's time is the service's own."""

import os
import time

import optuna

N_REPORTS = 5
NAP_SECONDS = 0.5

# Names the file to which each call adds its moment (`time.monotonic`, the same clock for all
# processes of a host): trials are run by processes that whoever measures has not started.
STARTS_FILE = "BENCHMARKS_STARTS_FILE"


def objective(trial: optuna.Trial) -> float:
    """Suggest twice, report and ask for pruning five times; the answer is not obeyed."""
    _note_start()
    value = -trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
    value -= abs(trial.suggest_float("lr", 1e-3, 1, log=True) - 0.3)
    for step in range(1, N_REPORTS + 1):
        trial.report(value / step, step)
        trial.should_prune()
    return value


def _note_start() -> None:
    """Note the moment; takes some ten microseconds."""
    if file := os.environ.get(STARTS_FILE):
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, b"%.9f\n" % time.monotonic())
        os.close(descriptor)


def nap(trial: optuna.Trial) -> float:
    """Suggest twice and sleep: training that needs none of the machine's cores."""
    value = -trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
    value -= abs(trial.suggest_float("lr", 1e-3, 1, log=True) - 0.3)
    time.sleep(NAP_SECONDS)
    return value
