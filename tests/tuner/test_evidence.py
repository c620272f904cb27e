"""What is concluded from the check: what is exported, optimism, and whether λ matters."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import create_trial

from objectives import Facts
from tests.tuner.answers import OLD_ANSWER
from tuner.confirmation.box import Cell, make_box
from tuner.confirmation.evidence import Check, judge
from tuner.confirmation.plan import Choice, make_trial
from tuner.confirmation.values import Confirmation, Point
from tuner.errors import NoResultError
from tuner.spec import Direction

SPACE = {
    "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
    "lr": FloatDistribution(1e-3, 1, log=True),
}
BEST = create_trial(value=0.95, params={"weight_decay": 1e-4, "lr": 0.6}, distributions=SPACE)
BOX = make_box([BEST], Facts(with_zero=True))
SEEDS = (10, 11, 12, 13)
NOISE = (0.0, 0.02, -0.02, 0.004)

MIN, LARGE, ZERO = (1e-4, 0.3), (1e-3, 0.2), (0.0, 0.3)
Row = list[float | None]


def _row(gain: float, spread: float = 0.001) -> Row:
    """Return values that share what a seed does, so that the paired gain is known well."""
    own = (1, -1, 1, -1)
    return [0.9 + gain + noise + spread * o for noise, o in zip(NOISE, own, strict=True)]


def _judge(
    rows: Mapping[Cell, Row],
    *,
    minimum: Cell = MIN,
    largest: Cell = LARGE,
    rival: Cell = MIN,
    direction: Direction = "maximize",
) -> Confirmation:
    heights = ((ZERO, 0.9), (MIN, 0.91), (LARGE, 0.9))
    profile = tuple(Point(strength=s, companion=c, value=height) for (s, c), height in heights)
    choice = Choice(minimum, largest, rival, ZERO, profile, 0.92)
    results = {
        make_trial(BOX, (cell, seed)).key: value
        for cell, row in rows.items()
        for seed, value in zip(SEEDS, row, strict=True)
    }
    return judge(Check("s/confirm", direction, BOX, choice, SEEDS, results))


def test_what_gains_on_fresh_seeds_matters_and_is_exported() -> None:
    """One paired test, though the seeds differ by more than the gain."""
    answer = _judge({ZERO: _row(0, 0), MIN: _row(0.01), LARGE: _row(0.008)})
    assert [rung.candidate.strength for rung in answer.rungs] == [0, 1e-4, 1e-3]
    assert (answer.lambda_min, answer.lambda_1se) == (1, 2)
    assert answer.chosen("1se").candidate.params == {"weight_decay": 1e-3, "lr": 0.2}
    assert answer.verdict.kind == "matters"
    assert answer.verdict.text.startswith("λ matters: λ = 0.0001 gains 0.01 ± 0.00058 beside λ = 0")
    assert answer.optimism == pytest.approx(0.95 - 0.92)
    assert answer.rungs[1].mean == pytest.approx(np.mean(_row(0.01)))


def test_what_is_worse_than_zero_by_a_standard_error_is_not_exported() -> None:
    """λ = 0 is in its place; by less than that it stays."""
    answer = _judge({ZERO: _row(0, 0), MIN: _row(-0.0002), LARGE: _row(-0.01)})
    assert (answer.lambda_min, answer.lambda_1se) == (1, 0)
    assert answer.verdict.kind == "does not matter"
    assert "the λ exported is 0, none at all" in answer.verdict.text


def test_verdict_without_a_difference_says_what_the_exported_lambda_is() -> None:
    """It costs nothing that shows."""
    text = _judge({ZERO: _row(0, 0), MIN: _row(0.0003), LARGE: _row(0)}).verdict.text
    assert "λ = 0.0001 gains 0.0003 ± 0.00058 beside λ = 0, which is no more than chance" in text
    assert "the λ exported is 0.001, which costs nothing that shows" in text


def test_failures_of_the_check_are_the_worst() -> None:
    """A λ that fails is not exported; λ = 0 that fails twice makes λ matter."""
    failed = [None, *_row(0.01)[1:]]
    answer = _judge({ZERO: _row(0, 0), MIN: failed, LARGE: _row(0)})
    assert (answer.lambda_min, answer.lambda_1se) == (0, 2)
    assert [rung.is_dropped for rung in answer.rungs] == [False, True, False]
    answer = _judge({ZERO: [None, None, *_row(0)[2:]], MIN: _row(0), LARGE: _row(0)})
    assert answer.verdict.kind == "matters"
    assert "which fails on 2 seeds" in answer.verdict.text
    with pytest.raises(NoResultError, match="every fresh seed"):
        _judge(dict.fromkeys((ZERO, MIN, LARGE), [None] * 4))


def test_loss_mirrors_an_accuracy() -> None:
    """Lower is better, and optimism keeps its meaning."""
    answer = _judge({ZERO: _row(0, 0), MIN: _row(-0.01), LARGE: _row(0.01)}, direction="minimize")
    assert (answer.lambda_min, answer.lambda_1se) == (1, 0)
    assert answer.verdict.kind == "matters"
    assert answer.optimism == pytest.approx(0.92 - 0.95)


@pytest.mark.parametrize(
    ("strength", "side", "suggested"),
    [(1e-2, "upper", (1e-5, 1e-1)), (1e-5, "lower", (1e-6, 1e-2))],
)
def test_optimum_at_an_end_says_which_range_to_search(
    strength: float, side: str, suggested: tuple[float, float]
) -> None:
    """The end is moved tenfold, the other one stays."""
    cell = (strength, 0.3)
    answer = _judge({ZERO: _row(0, 0), cell: _row(0.01)}, minimum=cell, largest=cell, rival=cell)
    assert answer.verdict.kind == "edge"
    assert f"the optimum is at the {side} end" in answer.verdict.text
    assert answer.verdict.suggested_range == pytest.approx(suggested)


def test_every_lambda_too_large_looks_below_the_range() -> None:
    """λ = 0 beats the lowest, which is the best of those above it."""
    cell = (1e-5, 0.3)
    answer = _judge({ZERO: _row(0, 0), cell: _row(-0.05)}, minimum=ZERO, largest=ZERO, rival=cell)
    assert (answer.verdict.kind, answer.lambda_1se) == ("edge", 0)
    assert answer.verdict.suggested_range == pytest.approx((1e-7, 1e-5))


def test_verdict_where_nothing_differs_is_rarely_that_lambda_matters() -> None:
    """One test at 5 % is wrong in about 5 % of 400 repetitions."""
    rng, n = np.random.default_rng(0), 400
    wrong = sum(
        _judge({cell: list(rng.normal(0.9, 0.01, 4)) for cell in (ZERO, MIN, LARGE)}).verdict.kind
        != "does not matter"
        for _ in range(n)
    )
    assert wrong / n < 0.05 + 3 * math.sqrt(0.05 * 0.95 / n)


def test_answer_of_an_older_version_is_read() -> None:
    """Its candidates were a λ and a learning rate, with other parameters beside them."""
    answer = Confirmation.model_validate(OLD_ANSWER)
    (rung,) = answer.rungs
    assert rung.candidate.strength == 0
    assert rung.candidate.params == {
        "weight_decay": 0.0,
        "lr": 0.3,
        "width": 9,
        "scale": math.inf,
    }
    assert answer.find_companion(rung.candidate) == 0.3
    assert not answer.lacks_others
    before = {key: value for key, value in OLD_ANSWER.items() if not key.startswith("params")}
    assert Confirmation.model_validate(before).lacks_others
    assert Confirmation.model_validate(answer.model_dump(mode="json")) == answer
