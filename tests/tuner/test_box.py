"""Where a confirmation looks, by what a search found: any strength and companion, on any scale."""

from typing import Any

import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from objectives import Facts, MetricFacts
from tuner.confirmation.box import Box, find_end, make_box
from tuner.errors import NoResultError, UsageError

LAMBDA = FloatDistribution(1e-5, 1e-2, log=True)
LR = FloatDistribution(1e-3, 1, log=True)


def _trial(params: dict[str, Any], space: dict[str, BaseDistribution], value: float) -> FrozenTrial:
    return create_trial(value=value, params=params, distributions=space)


def _box(strength: BaseDistribution, tried: list[Any], **facts: Any) -> Box:
    """Return the box of a search of one parameter, x."""
    trials = [_trial({"x": x}, {"x": strength}, 0.9 - n / 100) for n, x in enumerate(tried)]
    return make_box(trials, Facts(strength="x", companion=None, **facts))


def test_companions_reach_from_a_third_of_the_smallest_of_the_five_best_to_the_largest() -> None:
    """Sixth best and pruned ones say nothing; of a loss the lowest are the best."""
    space = {"weight_decay": LAMBDA, "lr": LR, "width": IntDistribution(1, 99)}
    lrs = [0.3, 0.06, 0.1, 0.2, 0.6, 0.9]
    trials = [
        _trial({"weight_decay": 1e-4, "lr": lr, "width": 9}, space, 0.1 + n / 100)
        for n, lr in enumerate(lrs)
    ]
    trials.append(
        create_trial(
            state=TrialState.PRUNED,
            value=0.0,
            params={"weight_decay": 1e-4, "lr": 0.001, "width": 9},
            distributions=space,
        )
    )
    box = make_box(trials, Facts(MetricFacts(direction="minimize"), with_zero=True))
    assert box.companion is not None
    assert (box.companion.levels[0], box.companion.levels[-1]) == (pytest.approx(0.02), 0.6)
    assert len(box.companion.levels) == 8
    assert (box.strength.levels[0], box.strength.levels[-1], len(box.strength.levels)) == (
        0.0,
        1e-2,
        10,
    )
    assert box.params((1e-3, 0.5)) == {"weight_decay": 1e-3, "lr": 0.5, "width": 9}


@pytest.mark.parametrize(
    ("strength", "with_zero", "levels", "control"),
    [
        (FloatDistribution(0, 0.5), False, [x / 16 for x in range(9)], 0),
        (FloatDistribution(0.1, 0.5), True, [0, *[0.1 + x / 20 for x in range(9)]], 0),
        (FloatDistribution(0.1, 0.5), False, [0.1 + x / 20 for x in range(9)], 0.1),
        (IntDistribution(1, 4), False, [1, 2, 3, 4], 1),
        (IntDistribution(0, 4), True, [0, 1, 2, 3, 4], 0),
        (CategoricalDistribution([8, 2, 1, 4]), False, [1, 2, 4, 8], 1),
    ],
    ids=["dropout", "zero outside", "no zero", "whole", "whole with 0", "list"],
)
def test_strengths_are_on_their_own_scale(
    strength: BaseDistribution,
    with_zero: bool,  # noqa: FBT001
    levels: list[float],
    control: float,
) -> None:
    """Without a companion there is one row of cells; 0 is there where it can be trained."""
    tried = 2 if not isinstance(strength, FloatDistribution) else 0.3
    box = _box(strength, [tried], with_zero=with_zero)
    assert list(box.strength.levels) == pytest.approx(levels, rel=1e-4)
    assert box.control == control
    assert box.cells == [(level, None) for level in box.strength.levels]
    assert all(type(level) is type(tried) for level in box.strength.levels if level)
    places = box.place(box.cells)[:, 0]
    assert list(places) == sorted(places)


def test_zero_has_a_place_on_a_log_scale() -> None:
    """As far below the lowest λ as that is from its double."""
    box = _box(LAMBDA, [1e-3], with_zero=True)
    zero, lowest, *_ = box.place(box.cells)[:, 0]
    assert (zero, lowest) == (pytest.approx(-5), pytest.approx(-4.69897))


def test_ends_are_those_of_what_was_trained_and_zero_is_none() -> None:
    """A choice at an end says that the range may be too narrow."""
    axis = _box(LAMBDA, [1e-3], with_zero=True).strength
    assert [find_end(axis, x) for x in (0, 1e-5, 1e-3, 1e-2)] == [None, "low", None, "high"]


def test_search_without_a_number_as_strength_is_refused() -> None:
    """With the parameter's name; and one without a complete trial has no result."""
    with pytest.raises(UsageError, match="has no number 'x'"):
        _box(CategoricalDistribution(["a", "b"]), ["a"])
    with pytest.raises(NoResultError):
        make_box([], Facts())
