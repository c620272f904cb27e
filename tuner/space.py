"""What a study searches: Optuna's distributions by name, and how a trial is asked for them."""

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    json_to_distribution,
)

from objectives import Facts
from tuner.spec import Spec
from tuner.strict_json import to_json

Space = Mapping[str, BaseDistribution]


def find_space(spec: Spec) -> dict[str, BaseDistribution]:
    """Return what a study searches; empty if its objective states that to each trial.

    In a confirmation the strength may be 0.
    """
    facts = spec.facts
    space = read_space(facts)
    if spec.confirms is not None and facts.with_zero:
        space[facts.strength] = _let_be_zero(space[facts.strength])
    return space


def read_space(facts: Facts) -> dict[str, BaseDistribution]:
    """Return what an objective states of its space; empty if it states that to each trial."""
    stored = facts.space or {}
    return {name: json_to_distribution(to_json(each)) for name, each in stored.items()}


def _let_be_zero(distribution: BaseDistribution) -> BaseDistribution:
    """Return a strength's distribution with 0 in it, which no log scale has: it is uniform then."""
    if isinstance(distribution, FloatDistribution):
        return FloatDistribution(min(0.0, distribution.low), distribution.high)
    return distribution


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Any]:
    """State a space on a trial, and return what its sampler chose.

    Raises ValueError for a queued value that is no number where one is asked for.
    """
    return {name: _suggest_one(trial, name, each) for name, each in space.items()}


def _suggest_one(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    match distribution:
        case FloatDistribution(low=low, high=high, step=step, log=log):
            # What somebody has queued may be a number written as text.
            return float(trial.suggest_float(name, low, high, step=step, log=log))
        case IntDistribution(low=low, high=high, step=step, log=log):
            return int(trial.suggest_int(name, low, high, step=step, log=log))
        case CategoricalDistribution(choices=choices):
            return trial.suggest_categorical(name, choices)
    raise ValueError(f"parameter {name!r}: no sampler knows {distribution!r}")
