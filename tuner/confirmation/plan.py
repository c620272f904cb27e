"""Which trainings a confirmation wants: spread over the box, drawn where it may be best, checked.

Pure functions of the values there are, so that whoever asks, whenever, after whatever crash, comes
to the same. Why it is done so is told in ``docs/the-answer.md``.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from storage import QueuedTrial, find_key, is_given_back
from tuner.confirmation.box import Axis, Box, Cell
from tuner.confirmation.fresh_seeds import SEED
from tuner.confirmation.ridge import find_slope
from tuner.confirmation.statistics import is_finite, sign_of
from tuner.confirmation.surface import Floats, Surface
from tuner.confirmation.values import Point
from tuner.spec import Direction

SOURCE = "source"
DEFAULT_N_SEEDS = 8

_N_SPREAD = 2  # seeds that are spread
_WIDTH = 5  # trainings of a seed that is drawn
# Strengths, of ten, by companion, of eight: far from each other, for two seeds.
_SPREAD = ((1, 6, 3, 9, 2, 7, 4, 0), (4, 2, 8, 1, 5, 0, 3, 7))
_N_TENTHS, _N_EIGHTHS = 9, 7
_N_FINE = 41  # companions among which the best is chosen

# Losses beyond this quantile count by their logarithm: the hopeless must not bend the surface.
_QUANTILE = 0.75
# λ_1se may cost this part of what one training varies by: nobody sees that.
_CHEAP = 0.1
# Surfaces that are drawn for the choice; they lie this much further apart than the fit believes,
# which takes its own scales for known (``python -m benchmarks.selection``).
_N_DRAWS, _DOUBT = 400, 1.5

# A training on a fresh seed; and by key the values of those that have ended (None: diverged or
# failed).
Training = tuple[Cell, int]
Results = Mapping[str, float | None]


@dataclass(frozen=True)
class Sizes:
    """How much is trained: seeds drawn, as many again to check; how many seeds a round draws."""

    n_seeds: int = DEFAULT_N_SEEDS
    per_round: int = 2

    @property
    def surface_seeds(self) -> range:
        """The seeds that the choice is made by."""
        return range(_N_SPREAD + self.n_seeds)

    @property
    def check_seeds(self) -> range:
        """The seeds that have no say in the choice."""
        first = _N_SPREAD + self.n_seeds
        return range(first, first + self.n_seeds)


@dataclass(frozen=True)
class Choice:
    """What the surface says: both λ, the best strength but the control, and its profile.

    ``search`` is the surface's value where the search's best trial was, ``slope`` that of its ridge
    with the interval (see ``find_slope``).
    """

    minimum: Cell
    largest: Cell
    rival: Cell
    control: Cell
    profile: tuple[Point, ...]
    search: float
    slope: tuple[float, float, float] | None = None

    @property
    def cells(self) -> list[Cell]:
        """What is to be checked."""
        return list(dict.fromkeys([self.control, self.minimum, self.largest, self.rival]))


@dataclass(frozen=True)
class Progress:
    """What is wanted by now, in this order; the choice as soon as there is one."""

    wanted: list[Training]
    choice: Choice | None


def plan(box: Box, sizes: Sizes, results: Results, direction: Direction, seed: int) -> Progress:
    """Return what is wanted by the values there are; ``seed`` is the study's, for the draws."""
    wanted = _spread(box)
    for first in range(_N_SPREAD, sizes.surface_seeds.stop, sizes.per_round):
        if not _have_ended(box, wanted, results):
            return Progress(wanted, None)
        seeds = range(first, min(first + sizes.per_round, sizes.surface_seeds.stop))
        wanted = wanted + _draw(box, _fit(box, wanted, results, direction), seeds, seed)
    if not _have_ended(box, wanted, results):
        return Progress(wanted, None)
    choice = conclude(box, wanted, results, direction)
    checks = [(cell, seed) for seed in sizes.check_seeds for cell in choice.cells]
    return Progress(wanted + checks, choice)


def _have_ended(box: Box, wanted: Sequence[Training], results: Results) -> bool:
    return all(make_trial(box, training).key in results for training in wanted)


def _spread(box: Box) -> list[Training]:
    strengths, companions = box.strength.levels, box.companions
    found: list[Training] = []
    for seed, pattern in enumerate(_SPREAD):
        for column, tenth in enumerate(pattern):
            strength = strengths[round(tenth * (len(strengths) - 1) / _N_TENTHS)]
            companion = companions[round(column * (len(companions) - 1) / _N_EIGHTHS)]
            found.append(((strength, companion), seed))
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class _Scaled:
    """A surface of losses in units of ``unit`` below ``top``, the higher the better."""

    surface: Surface
    top: float
    unit: float

    def read(self, mean: float, direction: Direction) -> float:
        """Return a surface's height as a value."""
        return sign_of(direction) * (self.top + self.unit * mean)


def _fit(box: Box, trained: Sequence[Training], results: Results, direction: Direction) -> _Scaled:
    """Fit the surface; a training without a value counts as the worst that has one."""
    sign = sign_of(direction)
    found = [results[make_trial(box, training).key] for training in trained]
    known = [sign * value for value in found if is_finite(value)]
    worst, top = min(known, default=0.0), max(known, default=0.0)
    values = np.array([sign * value if is_finite(value) else worst for value in found])
    lost = top - values
    unit = float(np.quantile(lost, _QUANTILE)) or float(lost.max()) or 1.0
    lost = lost / unit
    damped = np.where(lost <= 1, lost, 1 + np.log(np.maximum(lost, 1)))
    seeds = np.array([seed for _, seed in trained])
    points = box.place([cell for cell, _ in trained])
    return _Scaled(Surface(points, seeds, -damped), top, unit)


def _draw(box: Box, scaled: _Scaled, seeds: Sequence[int], study_seed: int) -> list[Training]:
    """Return for each seed where surfaces that are drawn from the posterior are highest.

    That is Thompson sampling (Thompson 1933, Biometrika 25): what may be best is tried as often as
    it may be.
    """
    cells = box.cells
    mean, factor = scaled.surface.posterior(box.place(cells))
    drawn: list[Training] = []
    for seed in seeds:
        rng = np.random.default_rng([study_seed, seed])
        own: list[int] = []
        while len(own) < min(_WIDTH, len(cells)):
            order = np.argsort(-(mean + factor @ rng.standard_normal(len(mean))), kind="stable")
            own.append(next(int(k) for k in order if k not in own))
        drawn += [(cells[k], seed) for k in own]
    return drawn


def conclude(
    box: Box, trained: Sequence[Training], results: Results, direction: Direction
) -> Choice:
    """Return λ_min and λ_1se, each at its best companion.

    λ_min is where the surface is highest, λ_1se the largest strength that loses at most a tenth of
    what one training varies by: each the mean over surfaces that are drawn from the posterior. So
    where the profile is flat, the answer is its middle, and hardly depends on the noise.
    """
    scaled, strengths = _fit(box, trained, results, direction), box.strength.levels
    companions = box.companion.refine(_N_FINE) if box.companion else (None,)
    cells: list[Cell] = [(s, c) for s in strengths for c in companions]
    mean, factor = scaled.surface.posterior(box.place(cells))
    of_strength = mean.reshape(len(strengths), -1)
    at = of_strength.argmax(1) + of_strength.shape[1] * np.arange(len(strengths))
    tops = [cells[k] for k in at]
    noise = np.random.default_rng(0).standard_normal((len(mean), _N_DRAWS))
    drawn = mean[:, None] + _DOUBT * factor @ noise
    heights = drawn.T.reshape(_N_DRAWS, len(strengths), -1).max(2)
    best, cheap = _find_means(box.strength, heights, _CHEAP * scaled.surface.one_training)
    others = np.where(np.array(strengths) == box.control, -np.inf, mean[at])
    rival = best if strengths[best] != box.control else _last_max(others)
    if (highest := _last_max(mean[at])) == len(strengths) - 1:  # what lies beyond is not known
        best, cheap, rival = highest, highest, highest
    search, _ = scaled.surface.predict(box.place([box.best_cell]))
    return Choice(
        minimum=tops[best],
        largest=tops[cheap],
        rival=tops[rival],
        control=(box.control, tops[best][1]),
        profile=tuple(
            Point(strength=top[0], companion=top[1], value=scaled.read(float(m), direction))
            for top, m in zip(tops, mean[at], strict=True)
        ),
        search=scaled.read(float(search[0]), direction),
        slope=find_slope(box, scaled.surface),
    )


def _find_means(strength: Axis, heights: Floats, cheap: float) -> tuple[int, int]:
    """Return the levels nearest to where rows of heights ``(draws, levels)`` are best on average,
    and to the largest that lose at most so much.
    """
    places = strength.place(strength.levels)
    is_cheap = heights >= heights.max(1, keepdims=True) - cheap
    largest = len(places) - 1 - is_cheap[:, ::-1].argmax(1)
    best, last = (
        int(np.abs(places - places[found].mean()).argmin())
        for found in (heights.argmax(1), largest)
    )
    return best, last


def _last_max(values: Floats) -> int:
    return int(np.flatnonzero(values >= values.max() - 1e-12).max())


def make_trial(box: Box, training: Training) -> QueuedTrial:
    """Return a training's trial; the same parameters and seed are the same trial."""
    (strength, _), seed = training
    fixed = box.params(training[0])
    key = f"seed {seed} {json.dumps(fixed, sort_keys=True)}"
    source = "zero" if strength == 0 else "ladder"
    return QueuedTrial(key, fixed, {SEED: seed, SOURCE: source})


def find_ended(trials: Sequence[FrozenTrial]) -> dict[str, FrozenTrial]:
    """Return by key the trials that will not be run again."""
    ended = [t for t in trials if t.state.is_finished() and not is_given_back(t)]
    return {key: trial for trial in ended if (key := find_key(trial)) is not None}


def find_value(trial: FrozenTrial) -> float | None:
    """Return an ended trial's value; None if it diverged, failed or gave no finite number."""
    if trial.state is TrialState.COMPLETE and trial.value is not None:
        return trial.value if math.isfinite(trial.value) else None
    return None
