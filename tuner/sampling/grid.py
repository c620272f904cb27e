"""Points of a grid over any search space, and Optuna's sampler of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import GridSampler

Space = Mapping[str, BaseDistribution]


class Grid(GridSampler):
    """Optuna's grid sampler, less its attempt to stop the study: the budget does that.

    ``Study.stop`` raises RuntimeError outside ``Study.optimize``.
    """

    def after_trial(self, *args: Any) -> None:
        """Do nothing."""


def find_shape(space: Space, n_trials: int) -> tuple[int, ...]:
    """Return numbers of points by parameter whose product is at least the budget, if that can be.

    Those of few values have all of them, the others share the rest evenly, two points at least.
    """
    sizes = {name: _count(distribution) for name, distribution in space.items()}
    shape: dict[str, int] = {}
    # Backwards, so that of equal ones the first has most: λ.
    backwards = list(sizes)[::-1]
    backwards.sort(key=lambda name: sizes[name])
    for n_done, name in enumerate(backwards):
        n_left = len(sizes) - n_done
        share = math.floor(n_trials ** (1 / n_left) + 1e-9)
        is_choice = isinstance(space[name], CategoricalDistribution)
        shape[name] = int(sizes[name] if is_choice else min(max(2, share), sizes[name]))
        n_trials = math.ceil(n_trials / shape[name])
    return tuple(shape[name] for name in space)


def find_points(space: Space, shape: Sequence[int]) -> dict[str, list[Any]]:
    """Return the values of each parameter; both ends of a range are among them, exactly."""
    sizes = zip(space.items(), shape, strict=True)
    return {name: _spread(distribution, n) for (name, distribution), n in sizes}


def _count(distribution: BaseDistribution) -> float:
    """Return how many values there are."""
    match distribution:
        case CategoricalDistribution(choices=choices):
            return len(choices)
        case FloatDistribution(step=None, low=low, high=high):
            return 1 if low == high else math.inf
        case FloatDistribution(low=low, high=high, step=step):
            return round((high - low) / step) + 1 if step else math.inf
        case IntDistribution(low=low, high=high, step=step):
            return (high - low) // step + 1
    raise ValueError(f"no grid has points of {distribution!r}")


def _spread(distribution: BaseDistribution, n: int) -> list[Any]:
    match distribution:
        case CategoricalDistribution(choices=choices):
            return list(choices)
        case FloatDistribution(low=low, high=high) if n == 1:
            return [low]
        case FloatDistribution(low=low, high=high, step=None, log=log):
            inner = (np.geomspace if log else np.linspace)(low, high, n)[1:-1]
            return [low, *map(float, inner), high]  # rounding would leave the range
        case FloatDistribution(low=low, high=high, step=step):
            assert step is not None
            counts = np.linspace(0, round((high - low) / step), n).round()
            return [float(low + count * step) for count in counts]
        case IntDistribution(low=low, high=high, step=step, log=log):
            values = (np.geomspace if log else np.linspace)(low, high, n)
            return sorted({low + round((value - low) / step) * step for value in values.tolist()})
    raise ValueError(f"no grid has points of {distribution!r}")
