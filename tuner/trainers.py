"""What trains a worker's trials: lanes of a built-in objective, or a function of the user's.

A trainer knows trials, not budgets or leases: which trials there are is the worker's business.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import optuna
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.trial import TrialState

from objectives import EpochResult, Hyperparameters, Lanes
from objectives.functions import ObjectiveFunction
from storage import StorageError
from tuner.checkpoints import Checkpoint, Checkpoints, FinalModels
from tuner.confirmation.fresh_seeds import SEED, first_pass, init_number
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


@dataclass(eq=False)
class _Held:
    """A trial that was taken, and how far it has come."""

    trial: optuna.Trial
    hyperparameters: Hyperparameters
    first: int  # of the trial and those that it reruns
    init: int  # the number of its initialisation
    state: Mapping[str, Any] | None = None  # of a checkpoint to go on from
    passes: list[int] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class ModelFiles:
    """What a worker keeps of its trials' models, if anything."""

    checkpoints: Checkpoints | None = None
    final: FinalModels | None = None


class LaneTrainer:
    """Trials of a built-in objective, side by side: an epoch of all of them at a time."""

    is_function = False

    def __init__(self, lanes: Lanes, spec: Spec, files: ModelFiles, leaving: Leaving) -> None:
        self._lanes, self._spec, self._files, self._leaving = lanes, spec, files, leaving
        self._in_training: dict[int, _Held] = {}
        self.n_lanes = lanes.n_free

    @property
    def n_free(self) -> int:
        """How many more trials it can take now."""
        return self._lanes.n_free

    def start(self, trial: optuna.Trial) -> None:
        """Suggest the trial's hyperparameters and give it a lane; one that was begun goes on."""
        self._begin(self._prepare(trial, init=trial.number))

    def _prepare(self, trial: optuna.Trial, init: int) -> _Held:
        """Suggest the trial's hyperparameters, and look whether it was begun."""
        hyperparameters = self._spec.space.suggest(trial)
        first = trial.user_attrs.get("rerun_of", trial.number)
        found = self._find_checkpoint(trial, first)
        if found is None:
            return _Held(trial, hyperparameters, first, init)
        done = found.passes, found.accuracies, found.losses
        return _Held(trial, hyperparameters, first, found.trial, found.state, *done)

    def _begin(self, held: _Held) -> None:
        """Give the trial a lane."""
        trial, n_epochs = held.trial, len(held.passes)
        trial.set_user_attr("first_pass", self._lanes.next_pass)
        if held.passes:
            trial.set_user_attr("resumed", {"trial": held.init, "passes": held.passes})
            for epoch, accuracy in enumerate(held.accuracies, start=1):
                trial.report(accuracy, step=epoch)
        self._lanes.add(trial.number, held.hyperparameters, n_epochs, held.state, held.init)
        held.state = None  # the lanes have it now
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

    def _report(self, held: _Held, result: EpochResult) -> Ended | None:
        trial = held.trial
        attrs: dict[str, Any] = {"training_loss": held.losses}
        if result.is_diverged:
            # Its accuracy means nothing: the trial keeps that of the epoch before.
            return Ended(trial, TrialState.PRUNED, user_attrs={**attrs, "diverged": True})
        trial.report(result.accuracy, step=result.epoch)
        held.losses.append(result.loss)
        held.accuracies.append(result.accuracy)
        if result.epoch == self._spec.epochs:
            attrs |= self._describe(trial.number)
            return Ended(trial, TrialState.COMPLETE, result.accuracy, attrs)
        if trial.should_prune():
            return Ended(trial, TrialState.PRUNED, user_attrs=attrs)
        return None

    def _describe(self, number: int) -> dict[str, Any]:  # noqa: ARG002 (a search needs no more)
        """Return what else to record of a complete trial."""
        return {}

    def _keep_files(self, held: _Held, ended: Ended | None) -> None:
        number, files = held.trial.number, self._files
        if ended is None and files.checkpoints is not None:
            state = self._lanes.state(number)
            params = dict(held.trial.params)
            done = held.passes, held.accuracies, held.losses
            checkpoint = Checkpoint(held.init, params, *done, state)
            files.checkpoints.save(held.first, checkpoint)
        elif ended is not None and ended.state is not None:
            if files.checkpoints is not None:
                files.checkpoints.remove(held.first)
            if files.final is not None and ended.value is not None:
                epochs = len(held.accuracies)
                files.final.offer(number, ended.value, epochs, self._lanes.state(number))


class FreshSeedsTrainer(LaneTrainer):
    """Trials of a confirmation: those with the same seed begin with the same weights and see the
    same batches, whatever worker and lane they have.

    So they have to be in the same passes: trials that do not fit into those now being trained wait
    until the lanes are free.
    """

    def __init__(self, lanes: Lanes, spec: Spec, files: ModelFiles, leaving: Leaving) -> None:
        super().__init__(lanes, spec, files, leaving)
        self._waiting: list[_Held] = []

    @property
    def n_free(self) -> int:
        """How many more trials it can take now: others may be free for those that would wait."""
        return 0 if self._in_training else self.n_lanes - len(self._waiting)

    def start(self, trial: optuna.Trial) -> None:
        """Suggest the trial's hyperparameters; it gets a lane when its passes come."""
        self._waiting.append(self._prepare(trial, init=init_number(_seed(trial))))

    def train(self) -> list[Ended]:
        """Train an epoch, report it, and return the trials that are complete, or were lost."""
        lost = self._gather()
        return [*lost, *super().train()] if self._in_training else lost

    def _gather(self) -> list[Ended]:
        """Give lanes to those that wait for the next pass; return those that were taken away."""
        if not self._in_training:
            self._lanes.go_to_pass(min(map(self._next_pass, self._waiting)))
        ready = [h for h in self._waiting if self._next_pass(h) == self._lanes.next_pass]
        self._waiting = [held for held in self._waiting if held not in ready]
        lost = []
        for held in ready:
            try:
                held.trial.set_user_attr("init", held.init)
                self._begin(held)
            except UpdateFinishedTrialError:
                lost.append(Ended(held.trial, None))
        return lost

    def _next_pass(self, held: _Held) -> int:
        return first_pass(_seed(held.trial), self._spec.epochs) + len(held.passes)

    def _describe(self, number: int) -> dict[str, Any]:
        return asdict(self._lanes.fit(number))


def _seed(trial: optuna.Trial) -> int:
    """Return the fresh seed of a trial; one that a plain Optuna program has added has none."""
    return int(trial.user_attrs.get(SEED, 0))


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
            logger.exception("Trial %d failed", trial.number, extra={"trial": trial.number})
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
    logger.error("Trial %d: %s", trial.number, reason, extra={"trial": trial.number})
    return Ended(trial, TrialState.FAIL, user_attrs={"error": reason[:1000]})


def describe(ended: Ended) -> str:
    """Return a trial's value and parameters in a line for the log."""
    params = " ".join(
        f"{name}={chosen:.3g}" if isinstance(chosen, float) else f"{name}={chosen}"
        for name, chosen in ended.trial.params.items()
    )
    return params if ended.value is None else f"value={ended.value:.4f} {params}"
