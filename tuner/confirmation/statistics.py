"""Means, standard errors and quantiles of the few values that fresh seeds give."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TypeGuard

from tuner.spec import Direction

# A candidate's values by seed; None where training diverged or failed.
Values = Mapping[int, float | None]


@dataclass(frozen=True)
class Scale:
    """How values are read: which way is better, and what one validation image counts in them.

    ``image`` is 1/n for an accuracy on n images; 0 where values are not of images.
    """

    direction: Direction
    image: float = 0.0

    def add_sampling_error(self, error: float, difference: float) -> float:
        """Return the standard error of a difference over seeds *and* validation images.

        ``error`` is that over seeds. Two networks of which only one is right on b images and only
        the other on c differ by (b - c) / n, whose variance over samples of images is (b + c) / n²
        less a little (McNemar 1947, Psychometrika 12); and b + c is at least the difference itself.
        """
        return math.sqrt(error**2 + abs(difference) * self.image)

    def find_margin(self, error: float) -> float:
        """Return the largest difference that is no larger than its standard error of both kinds."""
        return (self.image + math.hypot(self.image, 2 * error)) / 2


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
