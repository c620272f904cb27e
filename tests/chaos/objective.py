"""What the workers under fire search: quick, with an epoch's pause in which a fault may hit.

While a file named `LEAKING` is in the current directory, each process dies within one of its trials
after a few, as one that runs out of memory bit by bit.
"""

import itertools
import os
import signal
import time

import optuna

N_EPOCHS = 5
LEAKING = "leaking"
_EPOCH_SECONDS = 0.05
_TRIALS_IN_MEMORY = 4

_numbers = itertools.count(1)  # of this process's trials


def bowl(trial: optuna.Trial) -> float:
    """Return a value that is best at (0.3, 0.7), approached epoch by epoch."""
    n_trials = next(_numbers)
    x = trial.suggest_float("x", 0, 1)
    y = trial.suggest_float("y", 0, 1)
    value = 1 - (x - 0.3) ** 2 - (y - 0.7) ** 2
    for epoch in range(1, N_EPOCHS + 1):
        time.sleep(_EPOCH_SECONDS)
        trial.report(value - 1 / epoch, step=epoch)
        if n_trials > _TRIALS_IN_MEMORY and epoch > 2 and os.path.exists(LEAKING):
            os.kill(os.getpid(), signal.SIGKILL)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value
