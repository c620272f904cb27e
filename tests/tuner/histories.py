"""Random studies of many states and values, to compare samplers and pruners on."""

import math
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-3, 1, log=True),
    "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
}
STATES = list(TrialState)
ENDS = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def random_trial(rng: np.random.Generator, state: TrialState) -> FrozenTrial:
    """Return a trial whose values tie with others' now and then, and may be NaN or infinite."""
    is_started = state != TrialState.WAITING
    values = [0.1, 0.1, 0.5, math.inf, -math.inf, *rng.uniform(size=20)]
    reports = rng.permutation(8)[: rng.integers(9)] if is_started else []
    params = {
        "lr": float(10 ** rng.choice([-1.5, rng.uniform(-3, 0)])),
        "weight_decay": float(10 ** rng.uniform(-5, -2)),
    }
    return create_trial(
        state=state,
        value=float(rng.choice(values)) if state == TrialState.COMPLETE else None,
        params=params if is_started else {},
        distributions=SPACE if is_started else {},
        intermediate_values={int(s): float(rng.choice([*values, math.nan])) for s in reports},
    )


def random_states(rng: np.random.Generator, n: int) -> list[TrialState]:
    """Return states of which one, drawn as well, is frequent."""
    weights = rng.dirichlet(np.full(len(STATES), 0.5))
    return [STATES[i] for i in rng.choice(len(STATES), n, p=weights)]


def twins(
    trials: list[FrozenTrial], direction: str, ours: dict[str, Any], optunas: dict[str, Any]
) -> tuple[optuna.Study, optuna.Study]:
    """Return two studies with these trials in memory; ours and Optuna's sampler or pruner."""
    studies = [optuna.create_study(direction=direction, **options) for options in (ours, optunas)]
    for study in studies:
        study.add_trials(trials)
    return studies[0], studies[1]
