"""Where a confirmation looks: levels of the strength and of its companion, by what a search found.

That is all that is taken from a search: its values are noisy, and pruning makes them biased.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from objectives import Facts
from tuner.confirmation.statistics import sign_of
from tuner.errors import NoResultError, UsageError
from tuner.exponents import find_reason_against_range
from tuner.selection import find_best_trial

Floats = npt.NDArray[np.float64]
# A strength with its companion; None if there is none.
Cell = tuple[float, float | None]

N_STRENGTHS = 9  # beside 0
N_COMPANIONS = 8
# Noise may grow with the companion, so that the luckiest trials have large ones: look further down.
_N_TOP, _BELOW = 5, 3.0

# What is not on a log scale counts as wide as the default range of λ, in decades.
_WIDTH = 3.0


@dataclass(frozen=True)
class Axis:
    """Levels of a parameter to train at, ascending, and the scale on which they are compared.

    ``low`` and ``high`` are the ends of what was searched. ``offset`` is added before a logarithm:
    so 0 has a place, as far below the lowest as that is from its double.
    """

    name: str
    levels: tuple[float, ...]
    scale: Literal["log", "linear", "choices"]
    low: float
    high: float
    choices: tuple[float, ...] = ()
    offset: float = 0.0

    def place(self, values: Sequence[float]) -> Floats:
        """Return where values are on the scale, in decades or what counts as such."""
        if self.scale == "log":
            return np.log10(np.asarray(values, float) + self.offset)
        if self.scale == "choices":
            return np.interp(values, self.choices, np.linspace(0, _WIDTH, len(self.choices)))
        return _WIDTH * np.asarray(values, float) / ((self.high - self.low) or 1.0)

    def refine(self, n: int) -> tuple[float, ...]:
        """Return as many values from end to end of the levels, or the levels if they are whole."""
        low, high = self.levels[0], self.levels[-1]
        if self.scale == "choices" or all(isinstance(level, int) for level in self.levels):
            return self.levels
        return _spread(low, high, n, is_log=self.scale == "log")


@dataclass(frozen=True)
class Box:
    """The strengths, with or without 0, the companions, and the best trial with its parameters."""

    strength: Axis
    companion: Axis | None
    best: FrozenTrial

    @property
    def control(self) -> float:
        """The strength that others are compared to: 0, or the lowest where it cannot be 0."""
        return 0.0 if 0 in self.strength.levels else self.strength.levels[0]

    @property
    def companions(self) -> tuple[float | None, ...]:
        """The companions to train at; a single None if there is none."""
        return self.companion.levels if self.companion else (None,)

    @property
    def cells(self) -> list[Cell]:
        """All strengths with all companions."""
        return [(s, c) for s in self.strength.levels for c in self.companions]

    @property
    def best_cell(self) -> Cell:
        """Where the best trial was."""
        name = self.companion.name if self.companion else None
        params = self.best.params
        return params[self.strength.name], None if name is None else params[name]

    def place(self, cells: Sequence[Cell]) -> Floats:
        """Return where cells are, ``(n, 2)``; what has no companion is nowhere special."""
        strengths = self.strength.place([strength for strength, _ in cells])
        if self.companion is None:
            return np.column_stack([strengths, np.zeros(len(cells))])
        companions = self.companion.place([c for _, c in cells if c is not None])
        return np.column_stack([strengths, companions])

    def params(self, cell: Cell) -> dict[str, Any]:
        """Return a cell's complete configuration: other parameters are the best trial's."""
        own: dict[str, Any] = {self.strength.name: cell[0]}
        if self.companion is not None:
            own[self.companion.name] = cell[1]
        return {**self.best.params, **own}


def make_box(trials: Sequence[FrozenTrial], facts: Facts) -> Box:
    """Return where to look, by the finished trials of a search.

    Raises NoResultError without a complete trial, UsageError if their strength is no number.
    """
    direction = facts.metric.direction
    best = find_best_trial(list(trials), direction)
    if best is None:
        raise NoResultError("There is no complete trial to take candidates from")
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    found = _merge(complete, facts.strength)
    if found is None:
        raise UsageError(
            f"Trial {best.number} has no number {facts.strength!r}, so its λ cannot be confirmed: "
            f"let the objective call trial.suggest_float({facts.strength!r}, ..., log=True)"
        )
    has_zero = facts.with_zero and isinstance(found, FloatDistribution)
    sign = sign_of(direction)
    ranked = sorted(complete, key=lambda t: (-sign * _value(t), t.number))[:_N_TOP]
    companion = None
    if facts.companion is not None and (other := _merge(complete, facts.companion)) is not None:
        tops = [trial.params[facts.companion] for trial in [best, *ranked]]
        companion = _make_companion(facts.companion, other, tops)
    return Box(_make_strength(facts.strength, found, has_zero=has_zero), companion, best)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None  # a COMPLETE trial has one
    return trial.value


def _merge(trials: Sequence[FrozenTrial], name: str) -> BaseDistribution | None:
    """Return what trials suggested a number from, from end to end; None if some did not."""
    found = [trial.distributions.get(name) for trial in trials]
    first = found[0]
    if isinstance(first, CategoricalDistribution):
        choices = first.choices
        are_numbers = all(type(choice) in (int, float) for choice in choices)
        return first if are_numbers and all(each == first for each in found) else None
    ranges = [each for each in found if isinstance(each, FloatDistribution | IntDistribution)]
    if len(ranges) < len(found):
        return None
    low, high = min(each.low for each in ranges), max(each.high for each in ranges)
    if reason := find_reason_against_range(name, low, high, log=False):
        raise UsageError(reason)
    is_log = all(each.log for each in ranges)
    if all(isinstance(each, IntDistribution) for each in ranges):
        return IntDistribution(int(low), int(high), log=is_log)
    return FloatDistribution(low, high, log=is_log and low > 0)


def _make_strength(name: str, found: BaseDistribution, *, has_zero: bool) -> Axis:
    if isinstance(found, CategoricalDistribution):
        return _make_choices(name, found)
    assert isinstance(found, FloatDistribution | IntDistribution)
    levels = _levels(found, found.low, found.high, N_STRENGTHS)
    if has_zero and levels[0] > 0:
        levels = (0.0, *levels)
    offset = found.low if found.log and levels[0] == 0 else 0.0
    scale: Literal["log", "linear"] = "log" if found.log else "linear"
    return Axis(name, levels, scale, found.low, found.high, offset=offset)


def _make_companion(name: str, found: BaseDistribution, tops: Sequence[float]) -> Axis:
    """Return levels from a third of the smallest of the best trials' companions to the largest."""
    if isinstance(found, CategoricalDistribution):
        return _make_choices(name, found)
    assert isinstance(found, FloatDistribution | IntDistribution)
    low = max(min(tops) / _BELOW, found.low) if min(tops) > 0 else found.low
    levels = _levels(found, low, max(tops), N_COMPANIONS)
    return Axis(name, levels, "log" if found.log else "linear", found.low, found.high)


def _make_choices(name: str, found: CategoricalDistribution) -> Axis:
    choices = tuple(sorted(float(str(choice)) for choice in found.choices))
    exact = {float(str(choice)): choice for choice in found.choices}
    levels: tuple[Any, ...] = tuple(exact[choice] for choice in choices)
    return Axis(name, levels, "choices", choices[0], choices[-1], choices)


def _levels(
    found: FloatDistribution | IntDistribution, low: float, high: float, n: int
) -> tuple[float, ...]:
    if isinstance(found, IntDistribution):
        whole = [round(x) for x in _spread(max(low, found.low), high, n, is_log=found.log)]
        return tuple(sorted({min(max(x, found.low), found.high) for x in whole}))
    return _spread(low, high, n, is_log=found.log)


def _spread(low: float, high: float, n: int, *, is_log: bool) -> tuple[float, ...]:
    """Return values from end to end, the ends exactly: rounding would leave the range.

    The others have few digits, so that every host comes to the same.
    """
    if math.isclose(low, high):
        return (high,)
    between = np.geomspace(low, high, n) if is_log else np.linspace(low, high, n)
    return (low, *(float(f"{value:.5g}") for value in between[1:-1]), high)


def find_end(axis: Axis, value: float) -> Literal["low", "high"] | None:
    """Return at which end of its levels a value lies; None if there is but one level."""
    positive = [level for level in axis.levels if level != 0]
    if len(positive) < 2:
        return None
    return "high" if value >= positive[-1] else "low" if value == positive[0] else None
