"""What an objective may be, besides a function, and what it may do to its process."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import optuna

from tests.compatibility.objectives import note


class Objective:
    """An objective with arguments of its own, as Optuna's questions and answers show it."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def __call__(self, trial: optuna.Trial) -> float:
        """Return what is suggested."""
        return trial.suggest_float("x", self._low, self._high)

    def method(self, trial: optuna.Trial) -> float:
        """A method of an object."""
        return 2 * self(trial)


def _between(low: float, trial: optuna.Trial, high: float = 1) -> float:
    return trial.suggest_float("x", low, high)


def _logged(function: Callable[[optuna.Trial], float]) -> Callable[[optuna.Trial], float]:
    @functools.wraps(function)
    def wrapped(trial: optuna.Trial) -> float:
        trial.set_user_attr("wrapped", "yes")
        return function(trial)

    return wrapped


instance = Objective(-1, 1)
method = Objective(2, 3).method
partial = functools.partial(_between, 0.5, high=0.75)
short = lambda trial: trial.suggest_float("x", 0, 1) ** 2  # noqa: E731


@_logged
def decorated(trial: optuna.Trial) -> float:
    """A function that a decorator has wrapped."""
    return trial.suggest_float("x", 0, 1)


def generator(trial: optuna.Trial) -> Iterator[float]:
    """A generator function, which yields a value an epoch."""
    yield trial.suggest_float("x", 0, 1)


class Built:
    """A class: to call it gives no number."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.x = trial.suggest_float("x", 0, 1)


_seen: list[int] = []


def remembers(trial: optuna.Trial) -> float:
    """A module's own variable, filled by the trials before."""
    _seen.append(trial.number)
    return float(len(_seen))


def prints(trial: optuna.Trial) -> float:
    """Prints, logs, and writes to file descriptors 1 and 2."""
    print("hello", trial.number)  # noqa: T201
    print("hello", file=sys.stderr)  # noqa: T201
    os.write(1, b"raw\n")
    os.write(2, b"raw\n")
    logging.getLogger(__name__).error("logged")
    logging.getLogger("optuna").setLevel(logging.DEBUG)
    return float(trial.number)


def changes_directory(trial: optuna.Trial) -> float:
    """Leaves another current directory behind."""
    if trial.number == 0:
        trial.set_user_attr("left", "/")
        os.chdir("/")
    note(trial, elsewhere=os.getcwd() == "/")
    return float(trial.number)


def changes_environment(trial: optuna.Trial) -> float:
    """Leaves a variable of the environment and arguments behind."""
    note(trial, left=os.environ.get("LEFT_BEHIND"), argument=sys.argv[-1] == "left behind")
    os.environ["LEFT_BEHIND"] = "yes"
    sys.argv.append("left behind")
    return float(trial.number)


def closes_its_output(trial: optuna.Trial) -> float:
    """Takes standard output and standard error away from those that come after."""
    before: tuple[Any, Any] = (sys.stdout, sys.stderr)
    sys.stdout = sys.stderr = None
    try:
        return trial.suggest_float("x", 0, 1)
    finally:
        sys.stdout, sys.stderr = before


def reads_input(trial: optuna.Trial) -> float:
    """Reads standard input, of which there is none."""
    note(trial, read=sys.stdin.read(1) if sys.stdin else "")
    return float(trial.number)
