"""Lanes of trials that train on each fold of the data (see ``objectives.base.Lanes``).

A trial has a model a fold, of one initialisation number; its values are means over them.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, Protocol

from objectives.base import EpochResult, Lanes, Weights
from objectives.errors import UnfitStateError
from objectives.facts import Params
from objectives.parts import Parts


class _LanesOfFold(Lanes, Protocol):
    @property
    def parts(self) -> Parts: ...


class FoldedLanes:
    """Lanes of the same trials, one for each fold."""

    def __init__(self, folds: Sequence[_LanesOfFold]) -> None:
        self._folds = folds

    @property
    def parts(self) -> Parts:
        """The data, as the first fold divides it."""
        return self._folds[0].parts

    @property
    def n_free(self) -> int:
        """How many more trials can be added now."""
        return self._folds[0].n_free

    @property
    def in_memory(self) -> bool:
        """Whether all data is in the CPU's memory (see ``Lanes``)."""
        return self._folds[0].in_memory

    @property
    def program(self) -> str:
        """How trials are trained (see ``Lanes``)."""
        return f"on {len(self._folds)} folds, {self._folds[0].program}"

    @property
    def next_pass(self) -> int:
        """The number of the pass that ``train_pass`` runs next."""
        return self._folds[0].next_pass

    def add(
        self,
        trial_number: int,
        params: Params,
        epoch: int = 0,
        state: Mapping[str, Any] | None = None,
        init: int | None = None,
    ) -> None:
        """Give a free lane to a trial (see ``Lanes``); raises UnfitStateError."""
        states = [None] * len(self._folds) if state is None else list(state.values())
        if len(states) != len(self._folds):
            raise UnfitStateError(f"a state of {len(states)} folds, not of {len(self._folds)}")
        try:
            for fold, own in zip(self._folds, states, strict=True):
                fold.add(trial_number, params, epoch, own, init)
        except UnfitStateError:
            self.remove(trial_number)
            raise

    def go_to_pass(self, number: int) -> None:
        """Let ``train_pass`` run this pass next."""
        for fold in self._folds:
            fold.go_to_pass(number)

    def train_pass(self) -> dict[int, EpochResult]:
        """Train every lane for one epoch on each fold and return the means by trial number."""
        by_fold = [fold.train_pass() for fold in self._folds]
        numbers = [n for n in by_fold[0] if all(n in results for results in by_fold)]
        return {number: _mean([results[number] for results in by_fold]) for number in numbers}

    def take_failures(self) -> dict[int, BaseException]:
        """Return what models have raised, on whatever fold, by number (see ``Lanes``)."""
        failures: dict[int, BaseException] = {}
        for fold in self._folds:
            failures.update(fold.take_failures())
        return failures

    def state(self, trial_number: int) -> Mapping[str, Any]:
        """Return a copy of all that a trial's models consist of, by fold."""
        return {f"fold {k}": fold.state(trial_number) for k, fold in enumerate(self._folds)}

    def test_value(self, trial_number: int) -> float:
        """Score a trial's models, as they are now, on the test part."""
        return fmean(fold.test_value(trial_number) for fold in self._folds)

    def training_value(self, trial_number: int) -> float:
        """Score a trial's models, as they are now, on their training parts."""
        return fmean(fold.training_value(trial_number) for fold in self._folds)

    def weights(self, trial_number: int) -> Weights:
        """Measure the parameters of a trial's models, as they are now."""
        found = [fold.weights(trial_number) for fold in self._folds]
        norm = fmean(each.weight_norm for each in found)
        return Weights(norm, fmean(each.zero_share for each in found))

    def remove(self, trial_number: int) -> None:
        """Free a trial's lane."""
        for fold in self._folds:
            fold.remove(trial_number)


def _mean(results: Sequence[EpochResult]) -> EpochResult:
    values = tuple(each.value for each in results)
    return EpochResult(
        results[0].epoch, fmean(each.loss for each in results), fmean(values), by_fold=values
    )
