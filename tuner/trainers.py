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
from tuner.checkpoints import BestModel, Checkpoint, Checkpoints
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
    first: int  # of the trial and those that it reruns
    began_as: int  # the trial whose weights it began with
    passes: list[int] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class ModelFiles:
    """What a worker keeps of its trials' models, if anything."""

    checkpoints: Checkpoints | None = None
    best: BestModel | None = None


class LaneTrainer:
    """Trials of a built-in objective, side by side: an epoch of all of them at a time."""

    is_function = False

    def __init__(self, lanes: Lanes, spec: Spec, files: ModelFiles, leaving: Leaving) -> None:
        self._lanes, self._spec, self._files, self._leaving = lanes, spec, files, leaving
        self._in_training: dict[int, _InTraining] = {}
        self.n_lanes = lanes.n_free

    @property
    def n_free(self) -> int:
        """How many more trials it can take now."""
        return self._lanes.n_free

    def start(self, trial: optuna.Trial) -> None:
        """Suggest the trial's hyperparameters and give it a lane; one that was begun goes on."""
        hyperparameters = self._spec.space.suggest(trial)
        trial.set_user_attr("first_pass", self._lanes.next_pass)
        first = trial.user_attrs.get("rerun_of", trial.number)
        found = self._find_checkpoint(trial, first)
        if found is None:
            held = _InTraining(trial, first, began_as=trial.number)
            self._lanes.add(trial.number, hyperparameters)
        else:
            kept = found.passes, found.accuracies, found.losses
            held = _InTraining(trial, first, found.trial, *kept)
            self._lanes.add(trial.number, hyperparameters, len(found.passes), found.state)
            trial.set_user_attr("resumed", {"trial": found.trial, "passes": found.passes})
            for epoch, accuracy in enumerate(found.accuracies, start=1):
                trial.report(accuracy, step=epoch)
        self._in_training[trial.number] = held

    def _find_checkpoint(self, trial: optuna.Trial, first: int) -> Checkpoint | None:
        if self._files.checkpoints is None or first == trial.number:
            return None
        return self._files.checkpoints.find(first, trial.params)

    def train(self) -> list[Ended]:
        """Train an epoch, report it, and return the trials that are pruned or complete."""
        number_of_pass = self._lanes.next_pass
        with self._leaving.interruptible():
            results = self._lanes.train_pass()
        outcomes = [
            self._take(number, result, number_of_pass) for number, result in results.items()
        ]
        return [ended for ended in outcomes if ended is not None]

    def _take(self, number: int, result: EpochResult, number_of_pass: int) -> Ended | None:
        held = self._in_training[number]
        held.passes = [*held.passes, number_of_pass]
        try:
            ended = self._report(held, result)
        except UpdateFinishedTrialError:
            ended = Ended(held.trial, None)
        self._keep_files(held, ended)
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
        held.accuracies.append(result.accuracy)
        if result.epoch == self._spec.epochs:
            return Ended(trial, TrialState.COMPLETE, result.accuracy, attrs)
        if trial.should_prune():
            return Ended(trial, TrialState.PRUNED, user_attrs=attrs)
        return None

    def _keep_files(self, held: _InTraining, ended: Ended | None) -> None:
        number, files = held.trial.number, self._files
        if ended is None and files.checkpoints is not None:
            state = self._lanes.state(number)
            params = dict(held.trial.params)
            done = held.passes, held.accuracies, held.losses
            checkpoint = Checkpoint(held.began_as, params, *done, state)
            files.checkpoints.save(held.first, checkpoint)
        elif ended is not None and ended.state is not None:
            if files.checkpoints is not None:
                files.checkpoints.remove(held.first)
            if files.best is not None and ended.value is not None:
                epochs = len(held.accuracies)
                files.best.offer(number, ended.value, epochs, self._lanes.state(number))


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
