"""Means, standard errors and quantiles of the few values that fresh seeds give."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TypeGuard

from tuner.spec import Direction

# Values by seed; None where training diverged or failed.
Values = Mapping[int, float | None]


def summarise(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return mean and standard error of the mean, ``s / √n`` with n - 1 in s; None if too few."""
    if not values:
        return None, None
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return fmean(values), error


def find_t_quantile(probability: float, n_degrees: int) -> float:
    """Return the quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(n_degrees, probability))


def sign_of(direction: Direction) -> int:
    """Return what a value is multiplied by so that the higher are the better."""
    return 1 if direction == "maximize" else -1


def is_finite(value: float | None) -> TypeGuard[float]:
    """Tell whether there is a value, and it is a finite number."""
    return value is not None and math.isfinite(value)
