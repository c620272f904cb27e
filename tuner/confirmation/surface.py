"""A smooth surface through a search's values over (λ, learning rate), to read a learning rate from.

A search leaves few trials, most of them pruned, crowded where they were good. The surface is the
mean of a Gaussian process (Rasmussen and Williams 2006, sections 2.2 and 5.4.1) on log scales, with
the kernel ``(1 + k_λ)(1 + k_lr)``: a constant, what each parameter does by itself, and what both do
together. So what was learned about the learning rate at one λ counts at the others, more or less.
Its length scales are those most likely given the values, among scales so long that the surface
follows neither the noise nor a single trial.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# In decades. λ acts over a decade or more; a learning rate within a factor of two is as good.
_WEIGHT_DECAY_SCALES = (1.0, 1.5, 2.5, 4.0)
_LR_SCALES = (0.3, 0.45, 0.7, 1.1)
# Variance of a value's noise, as a multiple of the kernel's.
_NOISES = (0.02, 0.06, 0.2, 0.6, 2.0)

# Of as many trials the kernel's matrix is solved 80 times in about two seconds; more say no more.
_MAX_N_POINTS = 300


@dataclass(frozen=True)
class Surface:
    """A fitted surface: kernels at these points ``(n, 2)``, in decades, with these weights."""

    points: Floats
    scales: tuple[float, float]
    weights: Floats

    def find_best_lr(
        self, weight_decay: float, lr_range: tuple[float, float]
    ) -> tuple[float, float]:
        """Return where within the range the surface is highest at this λ, and how high."""
        low, high = np.log10(lr_range)
        lrs = np.linspace(low, high, 301)
        at = np.column_stack([np.full_like(lrs, np.log10(weight_decay)), lrs])
        heights = _kernel(at, self.points, self.scales) @ self.weights
        top = heights.argmax()
        lr = 10 ** float(lrs[top])
        # Rounding must not leave the range.
        return min(max(lr, lr_range[0]), lr_range[1]), float(heights[top])


def fit_surface(parameters: Floats, values: Floats, doubts: Floats) -> Surface:
    """Fit a surface to values ``(n,)``, of which the higher are the better.

    ``parameters`` are (λ, learning rate), ``(n, 2)`` above 0; ``doubts`` multiply the variances of
    the values' noise.
    """
    chosen = np.linspace(0, len(values) - 1, min(len(values), _MAX_N_POINTS)).round().astype(int)
    centre = np.average(values, weights=1 / doubts)
    points = np.log10(parameters[chosen])
    fits = _fits(points, values[chosen] - centre, doubts[chosen])
    return max(fits, key=lambda fit: fit[0])[1]


def _fits(points: Floats, values: Floats, doubts: Floats) -> Iterator[tuple[float, Surface]]:
    """Yield surfaces, each with its log marginal likelihood but for a constant.

    The kernel's variance is the most likely one for the scales and the noise (section 5.4.1).
    """
    for scales in itertools.product(_WEIGHT_DECAY_SCALES, _LR_SCALES):
        kernel = _kernel(points, points, scales)
        for noise in _NOISES:
            factor = np.linalg.cholesky(kernel + noise * np.diag(doubts))
            weights = np.linalg.solve(factor.T, np.linalg.solve(factor, values))
            variance = max(float(values @ weights) / len(values), 1e-300)
            log_determinant = 2 * float(np.log(np.diag(factor)).sum())
            likelihood = -0.5 * (len(values) * np.log(variance) + log_determinant)
            yield likelihood, Surface(points, scales, weights)


def _kernel(left: Floats, right: Floats, scales: tuple[float, float]) -> Floats:
    distances = (left[:, None, :] - right[None, :, :]) / np.array(scales)
    product: Floats = (1 + np.exp(-0.5 * distances**2)).prod(axis=2)
    return product
