"""Find which of TPE's candidates has the highest ratio of densities, without computing it exactly.

Optuna computes the logarithm of l(x) / g(x) for each of 24 candidates x over one kernel a trial,
and uses nothing but which is the highest. Here all ratios are computed in single precision, those
near the highest again in double precision. If two are still too near to tell which one Optuna's
rounding would put first, no answer is given, and the caller has to ask Optuna's code.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from optuna.samplers._tpe._truncnorm import _log_gauss_mass
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.probability_distributions import (
    _BatchedTruncLogNormDistributions,
    _BatchedTruncNormDistributions,
    _MixtureOfProductDistribution,
)

Floats = npt.NDArray[np.float64]
_Kernels = _BatchedTruncLogNormDistributions | _BatchedTruncNormDistributions

# Largest errors of a ratio's logarithm. The range is at most 100 sigma (TPE's "magic clip"), so a
# distance is off by 6e-6 sigma in single precision, the exponent of a kernel that matters by 4e-5
# a parameter (beyond 7 sigma the prior outweighs it): 3e-4 for the difference of two ratios of two
# parameters. In double precision, Optuna's own rounding included, it stays below 1e-11.
_SINGLE_PRECISION_ERROR = 2e-3
_DOUBLE_PRECISION_ERROR = 1e-9
_MAX_RANGE_IN_SIGMAS = 101
_MAX_N_PARAMETERS = 8  # the errors add up

# A kernel that far from both bounds lies within them, but for 1e-12 of its mass.
_FAR_IN_SIGMAS = 7.0

# The normal distribution function as a table: interpolated, it is off by less than 1e-6.
_GRID = np.linspace(-_FAR_IN_SIGMAS, _FAR_IN_SIGMAS, 4096)
_BELOW = np.array([math.erfc(-z / math.sqrt(2)) / 2 for z in _GRID])

# So many candidates' rows stay in the processor's cache: less than half the time of all 24 at once.
_N_AT_ONCE = 8


def find_best_candidate(
    candidates: Mapping[str, Floats], good: _ParzenEstimator, bad: _ParzenEstimator
) -> int | None:
    """Return which candidate maximises good / bad, or None if that takes an exact computation.

    Always None for distributions other than continuous ones.
    """
    mixtures = good._mixture_distribution, bad._mixture_distribution
    if not all(_is_tractable(mixture) for mixture in mixtures):
        return None
    kernels = mixtures[0].distributions
    points = np.array(list(candidates.values()))
    for x, kernel in zip(points, kernels, strict=True):
        if kernel.is_log:  # type: ignore[union-attr] # continuous, see above
            np.log(x, out=x)
    lows, highs = np.array([_bounds(kernel) for kernel in kernels]).T
    if not ((points >= lows[:, None]) & (points <= highs[:, None])).all():
        return None  # rounding moved one over the edge, where the density is 0
    return _find_maximum(points, *mixtures)


def _find_maximum(
    points: Floats, good: _MixtureOfProductDistribution, bad: _MixtureOfProductDistribution
) -> int | None:
    contenders = np.arange(points.shape[1])
    for dtype, error in (
        (np.float32, _SINGLE_PRECISION_ERROR),
        (np.float64, _DOUBLE_PRECISION_ERROR),
    ):
        ratios = _log_density(good, points, dtype) - _log_density(bad, points, dtype)
        if not np.isfinite(ratios).all():
            return None
        is_near = ratios >= ratios.max() - error
        contenders, points = contenders[is_near], points[:, is_near]
        if len(contenders) == 1:
            return int(contenders[0])
    return None


def _is_tractable(mixture: _MixtureOfProductDistribution) -> bool:
    return len(mixture.distributions) <= _MAX_N_PARAMETERS and all(
        isinstance(kernels, _Kernels) and _is_within_bounds(kernels)
        for kernels in mixture.distributions
    )


def _is_within_bounds(kernels: _Kernels) -> bool:
    low, high = _bounds(kernels)
    if not high - low <= _MAX_RANGE_IN_SIGMAS * kernels.sigma.min():
        return False
    return bool(kernels.mu.min() >= low and kernels.mu.max() <= high)


def _bounds(kernels: Any) -> tuple[float, float]:
    return kernels.adapted_low, kernels.adapted_high


def _log_density(mixture: _MixtureOfProductDistribution, points: Floats, dtype: Any) -> Floats:
    """Return the logarithm of the density at the points (parameter, candidate), but for a constant.

    The constant is the same for all mixtures of as many parameters.
    """
    with np.errstate(divide="ignore"):  # a weight may be 0
        heights = np.log(mixture.weights)
    axes = []
    for x, kernels in zip(points, mixture.distributions, strict=True):
        assert isinstance(kernels, _Kernels)
        heights -= _log_mass(kernels, dtype) + np.log(kernels.sigma)
        centre = sum(_bounds(kernels)) / 2  # small numbers lose less in single precision
        axis = x[:, None] - centre, kernels.mu - centre, np.sqrt(0.5) / kernels.sigma
        axes.append([values.astype(dtype) for values in axis])
    heights = heights.astype(dtype)
    densities = np.empty(points.shape[1])
    for start in range(0, len(densities), _N_AT_ONCE):
        some = slice(start, start + _N_AT_ONCE)
        exponents = np.repeat(heights[None], len(densities[some]), axis=0)
        for x, mu, scale in axes:
            distances = x[some] - mu
            distances *= scale
            distances *= distances
            exponents -= distances
        densities[some] = np.exp(exponents, out=exponents).sum(axis=1)
    with np.errstate(divide="ignore"):
        return np.log(densities)


def _log_mass(kernels: _Kernels, dtype: Any) -> Floats:
    """Return the logarithm of each kernel's mass between the bounds."""
    low, high = _bounds(kernels)
    to_low, to_high = (low - kernels.mu) / kernels.sigma, (high - kernels.mu) / kernels.sigma
    near = np.flatnonzero((to_low > -_FAR_IN_SIGMAS) | (to_high < _FAR_IN_SIGMAS))
    logarithms = np.zeros(len(kernels.mu))
    if dtype == np.float64:
        logarithms[near] = _log_gauss_mass(to_low[near], to_high[near])
    else:
        below_low, below_high = (np.interp(z[near], _GRID, _BELOW) for z in (to_low, to_high))
        logarithms[near] = np.log(below_high - below_low)
    return logarithms
