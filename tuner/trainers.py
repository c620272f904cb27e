"""What trains a worker's trials: lanes of a built-in objective, or a function of the user's.

A trainer knows trials, not budgets or leases: which trials there are is the worker's business.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.trial import TrialState

from objectives import EpochResult, Lanes
from objectives.functions import ObjectiveFunction
from storage import StorageError
from tuner.leaving import Leaving
from tuner.spec import Spec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ended:
    """How a trial ended; without a state, it was taken away from this worker meanwhile."""

    trial: optuna.Trial
    state: TrialState | None
    value: float | None = None
    user_attrs: Mapping[str, Any] = field(default_factory=dict)


class Trainer(Protocol):
    """Trains the trials that it was given, and forgets those that have ended."""

    is_function: bool

    @property
    def n_lanes(self) -> int:
        """How many trials it can train at once."""
        ...

    @property
    def n_free(self) -> int:
        """How many more trials it can take now."""
        ...

    def start(self, trial: optuna.Trial) -> None:
        """Take a trial; raises UpdateFinishedTrialError if it was taken away already."""
        ...

    def train(self) -> list[Ended]:
        """Train for a while, and return the trials that have ended; raises Interrupted."""
        ...


@dataclass
class _InTraining:
    trial: optuna.Trial
    losses: list[float] = field(default_factory=list)


class LaneTrainer:
    """Trials of a built-in objective, side by side: an epoch of all of them at a time."""

    is_function = False

    def __init__(self, lanes: Lanes, spec: Spec, leaving: Leaving) -> None:
        self._lanes, self._spec, self._leaving = lanes, spec, leaving
        self._in_training: dict[int, _InTraining] = {}
        self.n_lanes = lanes.n_free

    @property
    def n_free(self) -> int:
        """How many more trials it can take now."""
        return self._lanes.n_free

    def start(self, trial: optuna.Trial) -> None:
        """Suggest the trial's hyperparameters and give it a lane."""
        hyperparameters = self._spec.space.suggest(trial)
        trial.set_user_attr("first_pass", self._lanes.next_pass)
        self._lanes.add(trial.number, hyperparameters)
        self._in_training[trial.number] = _InTraining(trial)

    def train(self) -> list[Ended]:
        """Train an epoch, report it, and return the trials that are pruned or complete."""
        with self._leaving.interruptible():
            results = self._lanes.train_pass()
        outcomes = [self._take(number, result) for number, result in results.items()]
        return [ended for ended in outcomes if ended is not None]

    def _take(self, number: int, result: EpochResult) -> Ended | None:
        held = self._in_training[number]
        try:
            ended = self._report(held, result)
        except UpdateFinishedTrialError:
            ended = Ended(held.trial, None)
        if ended is not None:
            self._lanes.remove(number)
            del self._in_training[number]
        return ended

    def _report(self, held: _InTraining, result: EpochResult) -> Ended | None:
        trial, attrs = held.trial, {"training_loss": held.losses}
        if result.is_diverged:
            # Its accuracy means nothing: the trial keeps that of the epoch before.
            return Ended(trial, TrialState.PRUNED, user_attrs={**attrs, "diverged": True})
        trial.report(result.accuracy, step=result.epoch)
        held.losses.append(result.loss)
        if result.epoch == self._spec.epochs:
            return Ended(trial, TrialState.COMPLETE, result.accuracy, attrs)
        if trial.should_prune():
            return Ended(trial, TrialState.PRUNED, user_attrs=attrs)
        return None


class FunctionTrainer:
    """Trials of a user's function: one at a time, each from start to end."""

    is_function = True
    n_lanes = 1

    def __init__(self, function: ObjectiveFunction, leaving: Leaving) -> None:
        self._function, self._leaving = function, leaving
        self._trial: optuna.Trial | None = None

    @property
    def n_free(self) -> int:
        """How many more trials it can take now."""
        return 0 if self._trial else 1

    def start(self, trial: optuna.Trial) -> None:
        """Take the trial; its function suggests."""
        self._trial = trial

    def train(self) -> list[Ended]:
        """Call the function with the trial, and return how it ended."""
        trial = self._trial
        assert trial is not None
        try:
            with self._leaving.interruptible():
                value = self._function(trial)
        except TrialPruned:
            ended = Ended(trial, TrialState.PRUNED)
        except UpdateFinishedTrialError:
            ended = Ended(trial, None)
        except StorageError:  # the worker's, not the function's
            raise
        except Exception as error:  # the trial boundary: whatever the user's code raises
            logger.exception("Trial %d failed", trial.number)
            ended = _failed(trial, f"{type(error).__name__}: {error}")
        else:
            ended = _with_value(trial, value)
        self._trial = None
        return [ended]


def _with_value(trial: optuna.Trial, value: object) -> Ended:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return _failed(trial, f"the objective returned {value!r}, not a number")
    if math.isnan(number):
        return _failed(trial, "the objective returned NaN")
    return Ended(trial, TrialState.COMPLETE, number)


def _failed(trial: optuna.Trial, reason: str) -> Ended:
    logger.error("Trial %d: %s", trial.number, reason)
    return Ended(trial, TrialState.FAIL, user_attrs={"error": reason[:1000]})


def describe(ended: Ended) -> str:
    """Return a trial's value and parameters in a line for the log."""
    params = " ".join(
        f"{name}={chosen:.3g}" if isinstance(chosen, float) else f"{name}={chosen}"
        for name, chosen in ended.trial.params.items()
    )
    return params if ended.value is None else f"value={ended.value:.4f} {params}"
