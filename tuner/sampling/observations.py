"""The trials of a study as arrays, kept up to date and split into good and bad ones as by TPE."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.samplers._tpe.sampler import _get_infeasible_trial_score, _get_pruned_trial_score
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from storage import GIVEN_BACK
from tuner.sampling.history import TrialHistory

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]
Observations = dict[str, Floats]
GetParams = Callable[[FrozenTrial, Study], dict[str, Any]]

_COMPLETE, _PRUNED, _RUNNING = (
    state.value for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
)
_OBSERVED = (_COMPLETE, _PRUNED, _RUNNING)
_IGNORED = TrialState.FAIL.value
_FAILED = 100  # and has something to teach


@dataclass(frozen=True)
class Question:
    """What TPE wants to know: these parameters, as seen by the trial of this number.

    ``gamma`` tells how many of n finished trials are good ones. ``has_liar``: running trials count
    as bad ones (the constant liar); otherwise they do not count. Nor do failed trials, unless it
    ``has_failures``: then they are the worst of those that have finished.
    """

    names: Sequence[str]
    number: int
    gamma: Callable[[int], int]
    has_liar: bool
    has_failures: bool = False


def is_lesson(trial: FrozenTrial) -> bool:
    """Tell whether a failed trial says something of its parameters: it was not given back."""
    return trial.state is TrialState.FAIL and GIVEN_BACK not in trial.user_attrs


def as_worst(trial: FrozenTrial, study: Study, get_params: GetParams) -> FrozenTrial:
    """Return a failed trial as TPE takes the worst there is: it violates a constraint by infinity.

    So it has also those parameters that it was to get next when it failed.
    """
    worst = copy.copy(trial)
    worst.state = TrialState.RUNNING  # of which the parameters to come are known
    worst.params = get_params(worst, study)
    worst.state = TrialState.PRUNED
    worst.system_attrs = {}
    worst.set_constraint("did not fail", math.inf)
    return worst


class ObservedTrials:
    """State, value and parameters of each trial of the study that was seen last, by its position.

    Threads may share it. A copy is empty: it reads the trials anew.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._history = TrialHistory()
        self._clear()

    def __reduce__(self) -> tuple[type["ObservedTrials"], tuple[()]]:
        return ObservedTrials, ()

    def split(
        self,
        study: Study,
        trials: Sequence[FrozenTrial],
        question: Question,
        get_params: GetParams,
    ) -> tuple[Observations, Observations] | None:
        """Return the parameters of the best trials, and of all others, by trial number.

        None if a value is not a number, a trial is infeasible, or the list is not in order.
        ``get_params`` returns a trial's parameters, for a running trial also those that are
        suggested but not stored yet.
        """
        with self._lock:
            self._update(study, trials, get_params)
            if not self._is_ordinary or not self._not_numeric.isdisjoint(question.names):
                return None
            below, above = self._split(study, question)
            names = question.names
            return self._observations(names, below), self._observations(names, above)

    def _clear(self) -> None:
        self._n = 0
        self._states = np.empty(0, np.int8)
        self._numbers = np.empty(0, np.int64)
        self._values = np.empty(0)
        self._params: Observations = {}
        self._pruned_scores: dict[int, tuple[float, float]] = {}
        self._not_numeric: set[str] = set()
        self._is_ordinary = True

    def _update(self, study: Study, trials: Sequence[FrozenTrial], get_params: GetParams) -> None:
        try:
            continues, positions = self._history.changes(trials)
            if not continues:
                self._clear()
            self._grow(len(trials))
            for position in positions:
                trial = trials[position]
                self._record(study, position, trial)
                if is_lesson(trial):
                    self._record_params(position, as_worst(trial, study, get_params).params)
                elif trial.state.value in _OBSERVED:
                    self._record_params(position, get_params(trial, study))
        except BaseException:
            self._history = TrialHistory()  # half-read: the next update reads all of it again
            raise

    def _grow(self, n: int) -> None:
        self._n = n
        self._states = _grown(self._states, n, _IGNORED)
        self._numbers = _grown(self._numbers, n, -1)
        self._values = _grown(self._values, n, np.nan)
        for name, values in self._params.items():
            self._params[name] = _grown(values, n, np.nan)

    def _record(self, study: Study, position: int, trial: FrozenTrial) -> None:
        self._states[position] = _FAILED if is_lesson(trial) else trial.state.value
        self._numbers[position] = trial.number
        if position > 0 and trial.number <= self._numbers[position - 1]:
            self._is_ordinary = False
        if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
            return
        if trial.system_attrs and _get_infeasible_trial_score(trial) > 0:
            self._is_ordinary = False
        if trial.state == TrialState.PRUNED:
            self._pruned_scores[position] = _get_pruned_trial_score(trial, study)
        else:
            value = trial.value
            if value is None or value != value:  # noqa: PLR0124 (NaN)
                self._is_ordinary = False
            else:
                self._values[position] = value

    def _record_params(self, position: int, params: dict[str, Any]) -> None:
        for column in self._params.values():
            column[position] = np.nan  # what was suggested while it ran
        for name, value in params.items():
            if not isinstance(value, float | int) or value != value:  # noqa: PLR0124 (NaN)
                self._not_numeric.add(name)
                continue
            if name not in self._params:
                self._params[name] = np.full(len(self._states), np.nan)
            self._params[name][position] = value

    def _split(self, study: Study, question: Question) -> tuple[Positions, Positions]:
        states = self._states[: self._n]
        is_other = self._numbers[: self._n] != question.number
        complete = np.flatnonzero((states == _COMPLETE) & is_other)
        pruned = np.flatnonzero((states == _PRUNED) & is_other)
        is_failed = (states == _FAILED) & question.has_failures
        failed = np.flatnonzero(is_failed & is_other)
        n_below = question.gamma(len(complete) + len(pruned) + len(failed))
        losses = self._values[complete]
        if study.direction == StudyDirection.MAXIMIZE:
            losses = -losses
        best_complete = complete[_smallest(losses, n_below)]
        best_pruned = self._best_pruned(pruned, n_below - len(best_complete))
        n_failed_below = max(0, n_below - len(best_complete) - len(best_pruned))
        is_below = np.zeros(self._n, np.bool_)
        is_below[best_complete] = is_below[best_pruned] = True
        is_below[failed[:n_failed_below]] = True
        is_above = (states == _COMPLETE) | (states == _PRUNED) | is_failed
        if question.has_liar:
            is_above |= states == _RUNNING
        is_above &= is_other & ~is_below
        return np.flatnonzero(is_below), np.flatnonzero(is_above)

    def _best_pruned(self, pruned: Positions, n: int) -> list[int]:
        if n <= 0:  # as a rule: there are enough complete trials
            return []
        return nsmallest(n, pruned.tolist(), key=self._pruned_scores.__getitem__)

    def _observations(self, names: Sequence[str], positions: Positions) -> Observations:
        nothing = np.full(self._n, np.nan)
        observations = [self._params.get(name, nothing)[positions] for name in names]
        has_all = ~np.isnan(observations).any(axis=0)
        return {name: o[has_all] for name, o in zip(names, observations, strict=True)}


def _smallest(losses: Floats, n: int) -> Positions:
    """Return where the n smallest are; of equal ones the first, as a stable sort has it."""
    if n >= len(losses):
        return np.arange(len(losses))
    if n <= 0:
        return np.empty(0, np.intp)
    threshold = np.partition(losses, n - 1)[n - 1]
    smaller = np.flatnonzero(losses < threshold)
    return np.append(smaller, np.flatnonzero(losses == threshold)[: n - len(smaller)])


def _grown(array: npt.NDArray[Any], n: int, filling: float) -> npt.NDArray[Any]:
    """Return an array of at least n elements that begins with this one, with room to spare."""
    if len(array) >= n:
        return array
    grown = np.full(max(n, 2 * len(array), 64), filling, array.dtype)
    grown[: len(array)] = array
    return grown
