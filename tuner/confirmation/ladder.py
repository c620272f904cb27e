"""Which λ are worth fresh seeds: a ladder over the searched range, λ = 0, and the search's choice.

Every rung gets a learning rate of its own, read from a smooth surface through the search's values
(see ``surface``); how they are made comparable is told here. Trains nothing, reads nothing.
"""

from collections.abc import Sequence

import numpy as np
from optuna.distributions import FloatDistribution
from optuna.trial import FrozenTrial, TrialState

from tuner.confirmation.heights import measure_heights
from tuner.confirmation.surface import fit_surface
from tuner.confirmation.values import Candidate
from tuner.errors import NoResultError, UsageError
from tuner.selection import find_best_trial
from tuner.spec import Direction

# With fewer the surface would say less than the best trial does.
_MIN_N_USABLE = 5

# No learning rate is chosen beyond those of trials that were complete, or pruned late.
_MAX_DOUBT = 2.0


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
    learning rate is where the surface is highest at its λ, within the learning rates that
    trials came to an end with, or near it. Raises NoResultError without a complete trial,
    UsageError if the search was not over float parameters ``weight_decay`` and ``lr``.
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


def _choose_lrs(
    trials: Sequence[FrozenTrial], best: FrozenTrial, direction: Direction, rungs: list[float]
) -> list[float]:
    heights = measure_heights(trials, direction)
    lrs = [height.lr for height in heights if not height.is_diverged and height.doubt < _MAX_DOUBT]
    if len(lrs) < _MIN_N_USABLE:
        return [float(best.params["lr"])] * len(rungs)
    surface = fit_surface(
        np.array([[height.weight_decay, height.lr] for height in heights]),
        np.array([height.value for height in heights]),
        np.array([height.doubt for height in heights]),
    )
    return [surface.find_best_lr(rung, (min(lrs), max(lrs))) for rung in rungs]
