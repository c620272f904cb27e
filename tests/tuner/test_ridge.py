"""The slope of the ridge is that of the surface that values were made of."""

import math

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from objectives import Facts
from tuner.confirmation.box import Box, make_box
from tuner.confirmation.ridge import find_slope
from tuner.confirmation.surface import Surface

SPACE = {
    "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
    "lr": FloatDistribution(1e-3, 1, log=True),
}


def _box(low: float, high: float) -> Box:
    trials = [
        create_trial(params={"weight_decay": 1e-3, "lr": lr}, distributions=SPACE, value=value)
        for lr, value in ((low * 3, 0.5), (high, 0.6))
    ]
    return make_box(trials, Facts(with_zero=True))


@pytest.mark.parametrize("slope", [0.0, -1.0, 0.5])
def test_slope_is_found_with_an_interval_that_holds_it(slope: float) -> None:
    """Of a ridge that is 0.3 decades wide, seen through noise of a twentieth of its height."""
    box, rng = _box(0.02, 0.5), np.random.default_rng(1)
    cells = [cell for cell in box.cells if cell[0] > 0]
    values = [-((math.log10(s) + 3.5 - slope * (math.log10(c or 1) + 1)) ** 2) for s, c in cells]
    noisy = np.array(values) + 0.05 * rng.standard_normal(len(values))
    surface = Surface(box.place(cells), np.arange(len(cells)) % 5, noisy)
    found = find_slope(box, surface)
    assert found is not None
    middle, low, high = found
    assert low <= slope <= high
    assert abs(middle - slope) < 0.3


def test_flat_surface_has_an_interval_that_says_nothing() -> None:
    """Noise alone has a ridge anywhere."""
    box, rng = _box(0.02, 0.5), np.random.default_rng(2)
    surface = Surface(
        box.place(box.cells), np.arange(len(box.cells)) % 5, rng.standard_normal(len(box.cells))
    )
    found = find_slope(box, surface)
    assert found is not None
    assert found[2] - found[1] > 1
