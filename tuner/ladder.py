"""Which λ are worth fresh seeds: a ladder over the searched range, λ = 0, and the search's choice.

Every rung gets a learning rate of its own, read from a smooth surface through the search's values
(see ``tuner.surface``); how they are made comparable is told here. Trains nothing, reads nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.confirmation import Candidate
from tuner.errors import NoResultError, UsageError
from tuner.selection import find_best_trial
from tuner.spec import Direction
from tuner.surface import Floats, fit_surface

# With fewer the surface would say less than the best trial does.
_MIN_N_USABLE = 5


def make_candidates(
    trials: Sequence[FrozenTrial],
    *,
    direction: Direction,
    n_rungs: int = 9,
    with_zero: bool = True,
) -> tuple[Candidate, ...]:
    """Return the candidates that a search's finished trials suggest, ascending in λ.

    They are ``n_rungs`` λ from end to end of the searched range, evenly on a log scale; λ = 0, with
    the learning rate of the lowest of them; and what the best trial was trained with. A rung's
    learning rate is where the surface is highest at its λ, within the learning rates that trials
    did not diverge with. Raises NoResultError without a complete trial, UsageError if the search
    was not over float parameters ``weight_decay`` and ``lr``.
    """
    best = find_best_trial(list(trials), direction)
    if best is None:
        raise NoResultError("There is no complete trial to take candidates from")
    rungs = _ladder(find_searched_range(trials), n_rungs)
    lrs = _choose_lrs(trials, best, direction, rungs)
    candidates = [
        Candidate(weight_decay=weight_decay, lr=lr, source="ladder")
        for weight_decay, lr in zip(rungs, lrs, strict=True)
    ]
    if with_zero:
        candidates.append(Candidate(weight_decay=0, lr=lrs[0], source="zero"))
    params = best.params
    candidates.append(
        Candidate(weight_decay=params["weight_decay"], lr=params["lr"], source="search")
    )
    return tuple(sorted(candidates, key=lambda c: (c.weight_decay, c.lr, c.source)))


def find_searched_range(trials: Sequence[FrozenTrial]) -> tuple[float, float]:
    """Return the range of λ that the trials were suggested from, its ends above 0.

    Raises UsageError if a complete trial lacks ``weight_decay`` or ``lr`` as a float parameter.
    """
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    for name in ("weight_decay", "lr"):
        for trial in complete:
            if not isinstance(trial.distributions.get(name), FloatDistribution):
                raise UsageError(
                    f"Trial {trial.number} has no float parameter {name!r}, so its λ cannot be "
                    f"confirmed: let the objective call trial.suggest_float({name!r}, ..., "
                    "log=True)"
                )
    searched = [t.distributions["weight_decay"] for t in complete]
    low = min(d.low for d in searched if isinstance(d, FloatDistribution))
    high = max(d.high for d in searched if isinstance(d, FloatDistribution))
    if low <= 0:  # a linear range from 0: what was tried tells how far down it matters
        tried = [t.params["weight_decay"] for t in complete if t.params["weight_decay"] > 0]
        low = min(tried, default=high)
    if not 0 < low <= high:
        raise UsageError(f"weight_decay was searched in [{low:g}, {high:g}]: needs λ above 0")
    return low, high


def _ladder(searched_range: tuple[float, float], n_rungs: int) -> list[float]:
    """Return the λ from end to end, the ends exactly: rounding would leave the range."""
    low, high = searched_range
    if n_rungs < 2 or low == high:
        return [high]
    inner = np.geomspace(low, high, n_rungs)[1:-1]
    return [low, *map(float, inner), high]


@dataclass(frozen=True)
class _Point:
    """What a trial says of its parameters: a value, the higher the better; None if diverged."""

    weight_decay: float
    lr: float
    value: float | None
    is_complete: bool


def _choose_lrs(
    trials: Sequence[FrozenTrial], best: FrozenTrial, direction: Direction, rungs: list[float]
) -> list[float]:
    points = _read_points(trials, direction)
    lrs = [point.lr for point in points if point.value is not None]
    if len(lrs) < _MIN_N_USABLE:
        return [float(best.params["lr"])] * len(rungs)
    surface = fit_surface(
        np.array([point.weight_decay for point in points]),
        np.array([point.lr for point in points]),
        _heights(points),
    )
    return [surface.find_best_lr(rung, (min(lrs), max(lrs))) for rung in rungs]


def _heights(points: Sequence[_Point]) -> Floats:
    """Return how good each trial was, 0 for the best, on a scale on which the bad differ little.

    With the distance d of a value from the best one, and the median m of d among complete trials,
    it is ``-log(1 + d / m)``: what tells the good apart counts as much as what tells the bad apart,
    whatever the values' unit. Trials that diverged are as bad as the worst.
    """
    values = [point.value for point in points if point.value is not None]
    best, worst = max(values), min(values)
    distances = [best - p.value for p in points if p.value is not None and p.is_complete]
    unit = median(distances) or max(best - worst, 1.0)
    heights = [worst if point.value is None else point.value for point in points]
    return -np.log1p((best - np.array(heights)) / unit)


def _read_points(trials: Sequence[FrozenTrial], direction: Direction) -> list[_Point]:
    """Return what complete, pruned and diverged trials say, as if all had gone on to the end.

    A pruned trial's last value is brought to the end by the median growth of the complete trials
    from that step on.
    """
    sign = 1 if direction == "maximize" else -1
    complete = [t for t in trials if t.state is TrialState.COMPLETE and _is_finite(t.value)]
    growth = _Growth(complete)
    points = []
    for trial in trials:
        if trial.state is TrialState.COMPLETE:
            value = trial.value if _is_finite(trial.value) else None
        elif trial.state is TrialState.PRUNED and trial.user_attrs.get("diverged"):
            value = None
        elif trial.state is TrialState.PRUNED and trial.intermediate_values:
            value = growth.extrapolate(trial)
        else:
            continue
        weight_decay, lr = trial.params.get("weight_decay", 0), trial.params.get("lr", 0)
        if weight_decay > 0 and lr > 0:
            signed = None if value is None else sign * value
            is_complete = trial.state is TrialState.COMPLETE
            points.append(_Point(weight_decay, lr, signed, is_complete))
    return points


class _Growth:
    """How much complete trials still gained after a step."""

    def __init__(self, complete: Sequence[FrozenTrial]) -> None:
        self._complete = complete
        self._by_step: dict[int, float] = {}

    def extrapolate(self, trial: FrozenTrial) -> float | None:
        """Return the last value as it would be at the end; None if it is not finite."""
        step = max(trial.intermediate_values)
        last = trial.intermediate_values[step]
        if step not in self._by_step:
            gains = [
                t.value - t.intermediate_values[step]
                for t in self._complete
                if t.value is not None and _is_finite(t.intermediate_values.get(step))
            ]
            self._by_step[step] = median(gains) if gains else 0.0
        return last + self._by_step[step] if math.isfinite(last) else None


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
