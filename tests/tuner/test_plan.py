"""The plan of a confirmation follows from the values there are, and from nothing else."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from objectives import Facts
from tuner.confirmation.box import Box, Cell, make_box
from tuner.confirmation.plan import Progress, Sizes, Training, make_trial, plan
from tuner.spec import Direction

SIZES = Sizes()
SPACE = {
    "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
    "lr": FloatDistribution(1e-3, 1, log=True),
}
BEST = create_trial(value=0.9, params={"weight_decay": 1e-4, "lr": 0.6}, distributions=SPACE)
BOX = make_box([BEST], Facts(with_zero=True))

Value = Callable[[Cell, int], float | None]


def _value(cell: Cell, seed: int) -> float | None:
    """Return an accuracy with its optimum at λ = 1e-3 and lr 0.4, and noise."""
    strength, lr = cell
    assert lr is not None
    top = 0.02 * math.exp(-((math.log10(strength + 1e-5) + 3) ** 2))
    noise = np.random.default_rng([seed, round(1e8 * strength), round(1e8 * lr)]).normal(0, 1e-3)
    return 0.9 + top - 0.03 * (math.log10(lr) + 0.4) ** 2 + 0.004 * math.sin(seed) + float(noise)


def _finish(
    box: Box = BOX, value: Value = _value, sizes: Sizes = SIZES, direction: Direction = "maximize"
) -> tuple[Progress, dict[str, float | None], list[int]]:
    """Train as planned to the end; return how many were wanted after each round."""
    values: dict[str, float | None] = {}
    n_wanted = []
    while True:
        progress = plan(box, sizes, values, direction, 7)
        missing = _missing(box, progress.wanted, values)
        if not missing:
            return progress, values, n_wanted
        n_wanted.append(len(progress.wanted))
        values |= {make_trial(box, (c, seed)).key: value(c, seed) for c, seed in missing}


def _missing(box: Box, wanted: list[Training], values: dict[str, float | None]) -> list[Training]:
    return [training for training in wanted if make_trial(box, training).key not in values]


def test_rounds_are_spread_drawn_and_checked() -> None:
    """Two seeds of eight, four rounds of ten, then what was chosen on eight seeds."""
    progress, values, n_wanted = _finish()
    assert n_wanted == [16, 26, 36, 46, 56, len(values)]
    assert len(values) <= 80
    assert progress.choice is not None
    assert progress.choice.minimum[0] == pytest.approx(1e-3, rel=3)
    assert progress.choice.largest[0] >= progress.choice.minimum[0]
    checked = progress.wanted[56:]
    assert {seed for _, seed in checked} == set(range(10, 18))
    assert progress.choice.control in {cell for cell, _ in checked}


def test_plan_is_the_same_whoever_asks_and_however_late() -> None:
    """What was wanted stays wanted; a value that is missing stops it; the order does not count."""
    progress, values, _ = _finish()
    assert plan(BOX, SIZES, dict(reversed(values.items())), "maximize", 7) == progress
    gone = make_trial(BOX, progress.wanted[20]).key
    early = plan(BOX, SIZES, {k: v for k, v in values.items() if k != gone}, "maximize", 7)
    assert early.wanted == progress.wanted[:26]


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_unit_and_direction_do_not_matter(factor: float) -> None:
    """A loss in other units, shifted, comes to the same λ."""
    first, _, _ = _finish()

    def loss(cell: Cell, seed: int) -> float | None:
        value = _value(cell, seed)
        assert value is not None
        return factor * (2 - value)

    mirrored, _, _ = _finish(value=loss, direction="minimize")
    assert first.choice is not None
    assert mirrored.choice is not None
    assert mirrored.choice.minimum == first.choice.minimum
    assert mirrored.choice.profile[3].value == pytest.approx(
        factor * (2 - first.choice.profile[3].value), rel=1e-6
    )


def test_failures_count_as_the_worst() -> None:
    """A learning rate at which trainings diverge now and then is not chosen."""

    def fails(cell: Cell, seed: int) -> float | None:
        is_large = cell[1] is not None and cell[1] > 0.4
        return None if is_large and seed % 2 else _value(cell, seed)

    progress, _, _ = _finish(value=fails)
    assert progress.choice is not None
    assert progress.choice.minimum[1] is not None
    assert progress.choice.minimum[1] < 0.42


@pytest.mark.parametrize("value", [0.5, None], ids=["equal", "all diverged"])
def test_values_without_any_difference_come_to_an_end(value: float | None) -> None:
    """Nothing is divided by zero."""
    progress, _, _ = _finish(value=lambda _cell, _seed: value)
    assert progress.choice is not None


def test_strength_without_a_companion_has_a_curve() -> None:
    """One dimension, on a linear scale from 0: 0 is the control."""
    space = {"dropout": FloatDistribution(0, 0.5)}
    best = create_trial(value=0.9, params={"dropout": 0.1}, distributions=space)
    box = make_box([best], Facts(strength="dropout", companion=None))
    progress, _, _ = _finish(box, lambda cell, seed: -((cell[0] - 0.2) ** 2) + 0.01 * (seed % 3))
    assert progress.choice is not None
    assert progress.choice.minimum == (pytest.approx(0.2, abs=0.07), None)
    assert progress.choice.control == (0.0, None)


def test_more_lanes_draw_more_seeds_at_a_time() -> None:
    """As many trainings, in fewer rounds."""
    _, _, n_wanted = _finish(sizes=replace(SIZES, per_round=8))
    assert n_wanted[:2] == [16, 56]


def test_where_the_profile_is_flat_the_choice_hardly_depends_on_noise() -> None:
    """From 1e-5 to 1e-3 nothing changes, beyond all is worse: λ_min is between, noise or not."""

    def flat(cell: Cell, seed: int, study: int) -> float:
        assert cell[1] is not None
        own = [study, seed, round(1e8 * cell[0]), round(1e8 * cell[1])]
        worse = max(0.0, math.log10(cell[0] + 1e-5) + 3)
        noise = np.random.default_rng(own).normal(0, 2e-3)
        return 0.9 - 0.02 * worse - 0.03 * (math.log10(cell[1]) + 0.4) ** 2 + float(noise)

    places = []
    for study in range(6):
        progress, *_ = _finish(value=lambda cell, seed, study=study: flat(cell, seed, study))
        assert progress.choice is not None
        places.append(math.log10(progress.choice.minimum[0] + 1e-5))
    assert -5 < min(places) <= max(places) < -3
    assert np.std(places) < 0.25  # of the highest cells it is 0.40
