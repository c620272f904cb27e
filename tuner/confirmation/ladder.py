"""Which λ are worth fresh seeds: a ladder over the searched range, λ = 0, and the search's choice.

Every rung is tried with few learning rates that the search suggests: the best trial's, and those
that a smooth surface through the search's values suggests (see ``surface``; how the values are made
comparable, ``heights``). Which of them a rung is judged at, fresh seeds decide: see
``learning_rates``. Trains nothing, reads nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.confirmation.heights import measure_heights
from tuner.confirmation.surface import fit_surface
from tuner.confirmation.values import Candidate, Source
from tuner.errors import NoResultError, UsageError
from tuner.selection import find_best_trial
from tuner.spec import Direction

# With fewer the surface would say less than the best trial does.
_MIN_N_USABLE = 5

# No learning rate is chosen beyond those of trials that were complete, or pruned late.
_MAX_DOUBT = 2.0

# Learning rates that differ by a smaller factor are not worth two trainings.
_SAME_LR = 1.25


@dataclass(frozen=True)
class Candidates:
    """What is to be trained on fresh seeds.

    ``rows`` ascend in λ, from λ = 0 if it is there. A row is one λ with learning rates of three
    kinds, which may be the same: the best trial's; where the surface is highest of all; where it is
    highest at this λ. ``search`` is what the best trial was trained with.
    """

    rows: tuple[tuple[Candidate, ...], ...]
    search: Candidate

    @property
    def distinct(self) -> tuple[Candidate, ...]:
        """Each candidate once."""
        return tuple(dict.fromkeys([*(c for row in self.rows for c in row), self.search]))


def make_candidates(
    trials: Sequence[FrozenTrial],
    *,
    direction: Direction,
    n_rungs: int = 9,
    with_zero: bool = True,
) -> Candidates:
    """Return the candidates that a search's finished trials suggest.

    They are ``n_rungs`` λ from end to end of the searched range, evenly on a log scale; λ = 0, with
    the learning rates of the lowest of them; and what the best trial was trained with. The surface
    is asked within the learning rates that trials came to an end with, or near it. Raises
    NoResultError without a complete trial, UsageError if the search was not over float parameters
    ``weight_decay`` and ``lr``.
    """
    best = find_best_trial(list(trials), direction)
    if best is None:
        raise NoResultError("There is no complete trial to take candidates from")
    rungs = _ladder(find_searched_range(trials), n_rungs)
    lrs = _suggest_lrs(trials, best, direction, rungs)
    rows = [
        _row(weight_decay, kinds, "ladder") for weight_decay, kinds in zip(rungs, lrs, strict=True)
    ]
    if with_zero:
        rows.insert(0, _row(0, lrs[0], "zero"))
    weight_decay, lr = best.params["weight_decay"], best.params["lr"]
    return Candidates(tuple(rows), Candidate(weight_decay=weight_decay, lr=lr, source="search"))


def _row(weight_decay: float, lrs: Sequence[float], source: Source) -> tuple[Candidate, ...]:
    return tuple(Candidate(weight_decay=weight_decay, lr=lr, source=source) for lr in lrs)


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


def _suggest_lrs(
    trials: Sequence[FrozenTrial], best: FrozenTrial, direction: Direction, rungs: list[float]
) -> list[tuple[float, ...]]:
    """Return for each rung its learning rates, one a kind."""
    of_best = float(best.params["lr"])
    heights = measure_heights(trials, direction)
    lrs = [height.lr for height in heights if not height.is_diverged and height.doubt < _MAX_DOUBT]
    if len(lrs) < _MIN_N_USABLE:
        return [(of_best,)] * len(rungs)
    surface = fit_surface(
        np.array([[height.weight_decay, height.lr] for height in heights]),
        np.array([height.value for height in heights]),
        np.array([height.doubt for height in heights]),
    )
    tops = [surface.find_best_lr(rung, (min(lrs), max(lrs))) for rung in rungs]
    peak, _ = max(tops, key=lambda top: top[1])
    return [_merge(of_best, peak, own) for own, _ in tops]


def _merge(*lrs: float) -> tuple[float, ...]:
    """Return the learning rates, those near one before them as that one."""
    merged: list[float] = []
    for lr in lrs:
        near = [m for m in merged if max(m, lr) <= _SAME_LR * min(m, lr)]
        merged.append(next(iter(near), lr))
    return tuple(merged)
