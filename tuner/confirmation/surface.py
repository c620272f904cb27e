"""The surface through fresh seeds' values over strength and companion: a Gaussian process.

    value = level + f(u, l) + seed(l) + noise       u: strength, l: companion, in decades

``f`` has the kernel ``(1 + k_u)(1 + k_l)``: what each parameter does by itself, and what both do
together. What a seed does to all that are trained with it is a curve over l of its own, so that
differences are paired as far as the values say they are. Scales are the most likely ones on short
lists (Rasmussen and Williams 2006, section 5.4.1). Noise that grows with the learning rate is not
modelled on purpose: it would explain failures away, which have to count.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

Floats = npt.NDArray[np.float64]

# Of u, l and seed in decades, as strength acts over a decade or more, and a learning rate within a
# factor of two is as good; `seed` and `noise` are standard deviations beside that of f.
_LISTS = {
    "u": (1.0, 1.5, 2.5, 4.0),
    "l": (0.3, 0.45, 0.7, 1.1),
    "seed": (0.03, 0.1, 0.3, 0.6, 1.0, 2.0),
    "noise": (0.01, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0),
    "seed_l": (0.3, 0.6, 2.0),
}
_START = {"u": 1.0, "l": 0.45, "seed": 0.3, "noise": 0.12, "seed_l": 0.6}
_LEVEL = 4.0  # variance of the level
_MIN_GAIN = 0.1  # in log likelihood, of going through the lists once more


@dataclass(frozen=True)
class _Fit:
    likelihood: float
    variance: float
    factor: Floats
    residuals: Floats


@dataclass(frozen=True)
class Surface:
    """A fitted surface over ``points (n, 2)``, of ``values (n,)`` with the seeds ``(n,)``."""

    points: Floats
    seeds: npt.NDArray[np.int64]
    values: Floats

    @cached_property
    def _fitted(self) -> tuple[dict[str, float], _Fit]:
        """The scales, one chosen after the other until none is likelier, and what they give."""
        scales, best = dict(_START), self._fit(_START)
        for _ in range(4):
            before = best.likelihood
            for name, candidates in _LISTS.items():
                for candidate in candidates:
                    if candidate == scales[name]:
                        continue
                    fit = self._fit({**scales, name: candidate})
                    if fit.likelihood > best.likelihood:
                        best, scales = fit, {**scales, name: candidate}
            if best.likelihood - before < _MIN_GAIN:
                break
        return scales, best

    def _fit(self, scales: dict[str, float]) -> _Fit:
        same = self.seeds[:, None] == self.seeds[None]
        apart = (self.points[:, None, 1] - self.points[None, :, 1]) / scales["seed_l"]
        of_seed = scales["seed"] ** 2 * same * np.exp(-0.5 * apart**2)
        noise = (scales["noise"] ** 2 + 1e-6) * np.eye(len(self.values))
        factor = cholesky(_kernel(self.points, self.points, scales) + of_seed + noise, lower=True)
        residuals = solve_triangular(factor, self.values - self.values.mean(), lower=True)
        variance = max(float(residuals @ residuals) / len(residuals), 1e-12)
        log_determinant = float(np.log(np.diag(factor)).sum())
        likelihood = -0.5 * len(residuals) * float(np.log(variance)) - log_determinant
        return _Fit(likelihood, variance, factor, residuals)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Return mean and covariance of level + f at these points."""
        scales, fit = self._fitted
        across = _kernel(points, self.points, scales)
        half = solve_triangular(fit.factor, across.T, lower=True)
        mean = self.values.mean() + across @ solve_triangular(fit.factor.T, fit.residuals)
        return mean, fit.variance * (_kernel(points, points, scales) - half.T @ half)

    def posterior(self, points: Floats) -> tuple[Floats, Floats]:
        """Return the mean at these points, and a factor ``(n, n)`` of their covariance.

        The mean plus the factor times standard normal noise is a surface that the values leave
        possible.
        """
        mean, covariance = self.predict(points)
        jitter = 1e-7 * np.trace(covariance) / len(covariance) + 1e-12
        factor: Floats = np.linalg.cholesky(covariance + jitter * np.eye(len(covariance)))
        return mean, factor

    @property
    def one_training(self) -> float:
        """The standard deviation of one training's value, by seed and noise."""
        scales, fit = self._fitted
        return float(np.sqrt(fit.variance) * np.hypot(scales["seed"], scales["noise"]))


def _kernel(left: Floats, right: Floats, scales: dict[str, float]) -> Floats:
    of_u, of_l = (
        1 + np.exp(-0.5 * ((left[:, None, k] - right[None, :, k]) / scales[name]) ** 2)
        for k, name in enumerate("ul")
    )
    product: Floats = of_u * of_l
    return _LEVEL + product / 4
