"""The ridge of a surface: where strength and companion are good together, and how steep it lies."""

import numpy as np

from tuner.confirmation.box import Box
from tuner.confirmation.surface import Floats, Surface

_N_FINE, _N_DRAWS = 21, 200


def find_slope(box: Box, surface: Surface) -> tuple[float, float, float] | None:
    """Return the slope of log strength against log companion along the ridge, and its interval.

    0 says that the strength itself matters, -1 that only the product does (van Laarhoven 2017,
    arXiv:1706.05350). At each companion the ridge is at the best strength above 0; companions count
    the less the lower the ridge is there, in units of what one training varies by. The interval is
    that of 95 % of surfaces drawn from the posterior. None unless both are on a log scale.
    """
    axes = box.strength, box.companion
    if axes[1] is None or any(axis is None or axis.scale != "log" for axis in axes):
        return None
    lowest = min(level for level in axes[0].levels if level > 0)
    strengths = np.geomspace(lowest, axes[0].levels[-1], _N_FINE)
    companions = np.geomspace(axes[1].levels[0], axes[1].levels[-1], _N_FINE)
    cells = [(float(s), float(c)) for c in companions for s in strengths]
    mean, factor = surface.posterior(box.place(cells))
    noise = np.random.default_rng(0).standard_normal((len(mean), _N_DRAWS))
    drawn = np.column_stack([mean, mean[:, None] + factor @ noise])
    by_companion = drawn.T.reshape(-1, _N_FINE, _N_FINE)
    at = np.log10(companions), np.log10(strengths)[by_companion.argmax(2)]
    slopes = _regress(*at, by_companion.max(2), surface.one_training)
    low, high = np.quantile(slopes[1:], [0.025, 0.975])
    # The digits that follow depend on the threads of whoever computes it.
    slope, low, high = (round(float(each), 6) + 0.0 for each in (slopes[0], low, high))
    return slope, low, high


def _regress(x: Floats, y: Floats, heights: Floats, unit: float) -> Floats:
    """Return the slope of each row of y ``(n, m)`` over x ``(m,)``, weighted by its heights."""
    weights = np.exp((heights - heights.max(1, keepdims=True)) / max(unit, 1e-12))
    weights /= weights.sum(1, keepdims=True)
    centred = x - (weights * x).sum(1, keepdims=True)
    slopes: Floats = (weights * centred * y).sum(1) / (weights * centred**2).sum(1)
    return slopes
