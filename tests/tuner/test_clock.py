"""λ's clock: how fast weight decay forgets, beside the training."""

import math
from dataclasses import replace
from statistics import fmean
from typing import get_args

import pytest

from objectives import DataFacts, Facts, Recipe
from objectives.optimizers import schedule_factor
from objectives.problem import Schedule
from tuner.answer.clock import MEAN_FACTORS, find_clock, tell_clock

DATA = DataFacts(n_train=50_000, n_validation=10_000, n_test=10_000, sha256="")
SGD = Recipe("simplenet", "Linear")
MOMENTUM = Recipe("simplenet", "Linear", momentum=0.9)
ADAMW = Recipe("cnn", "CNN", optimizer="AdamW", momentum=0.9, decay="decoupled")


@pytest.mark.parametrize(
    ("recipe", "tau"), [(SGD, 25.6), (MOMENTUM, 2.56), (ADAMW, 25.6)], ids=["sgd", "0.9", "adamw"]
)
def test_tau_is_that_of_the_step(recipe: Recipe, tau: float) -> None:
    """batch / (lr λ n): 64 / (0.5 · 1e-4 · 50,000) epochs; momentum makes it a tenth for SGD."""
    clock = find_clock(Facts(recipe=recipe, data=DATA), 1e-4, 0.5, batch_size=64, epochs=5)
    assert clock is not None
    assert clock.tau_epochs == pytest.approx(tau)
    assert clock.tau_trainings == pytest.approx(tau / 5)
    assert clock.initial_share == pytest.approx(math.exp(-5 / tau))
    assert clock.prior_width == pytest.approx(1 / math.sqrt(5))


def test_decay_alone_leaves_the_share_that_the_clock_says() -> None:
    """As many steps as five epochs have, by hand."""
    clock = find_clock(Facts(recipe=SGD, data=DATA), 1e-4, 0.5, batch_size=64, epochs=5)
    assert clock is not None
    left = (1 - 0.5 * 1e-4) ** (5 * 50_000 / 64)
    assert clock.initial_share == pytest.approx(left, rel=1e-4)
    assert tell_clock(clock).startswith("forgets in 25.6 epochs, 5.1 trainings; 82.3% of")


@pytest.mark.parametrize(
    ("facts", "strength"),
    [(Facts(), 1e-4), (Facts(recipe=SGD), 1e-4), (Facts(recipe=SGD, data=DATA), 0.0)],
    ids=["function", "no data", "zero"],
)
def test_no_clock_where_it_is_not_known(facts: Facts, strength: float) -> None:
    """A function keeps its step to itself, and λ = 0 forgets nothing."""
    assert find_clock(facts, strength, 0.5, batch_size=64, epochs=5) is None


@pytest.mark.parametrize("schedule", MEAN_FACTORS)
@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_clock_of_a_schedule_is_that_of_its_mean_learning_rate(
    recipe: Recipe, schedule: Schedule
) -> None:
    """What decay alone leaves after all steps, each at its own rate, is the share that it says."""
    details = None if schedule == "constant" else f"betas=(0.9, 0.99), schedule={schedule}, folds=5"
    facts = Facts(recipe=replace(recipe, details=details), data=DATA)
    n_steps = 5 * 50_000 // 64
    clock = find_clock(facts, 1e-4, 0.5, batch_size=64, epochs=5)
    factors = [schedule_factor(schedule, step, n_steps) for step in range(n_steps)]
    left = math.prod(1 - 0.5 * 1e-4 * factor for factor in factors)
    assert clock is not None
    assert clock.mean_factor == pytest.approx(fmean(factors), rel=1e-3)
    assert clock.initial_share == pytest.approx(left, rel=1e-3)
    assert clock.tau_epochs == pytest.approx(25.6 / clock.mean_factor)
    assert ("schedule's mean" in tell_clock(clock)) == (schedule != "constant")


def test_clock_knows_all_schedules() -> None:
    """One that is added has a mean, too."""
    assert tuple(MEAN_FACTORS) == get_args(Schedule)
