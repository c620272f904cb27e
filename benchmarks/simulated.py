"""Simulate searches and confirmations on measured tables, and score what they choose on the truth.

The product's own sampler, pruner, plan and judgement; only trainings are drawn from a table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from benchmarks.worlds import Seed, World, search
from tuner.confirmation.box import N_STRENGTHS, Box, Cell, make_box
from tuner.confirmation.evidence import Check, judge
from tuner.confirmation.plan import Sizes, make_trial, plan
from tuner.confirmation.statistics import find_t_quantile
from tuner.confirmation.values import Confirmation, Rung
from tuner.sampling.median import IncrementalMedianPruner
from tuner.sampling.tpe import IncrementalTPESampler
from tuner.selection import find_best_trial

_N_TRIALS, _N_LANES = 50, 8
CHOICES = ("best trial", "λ_min", "λ_1se")


@dataclass(frozen=True)
class Outcome:
    """What one study came to, by choice: losses below the best of the world, log10 of λ.

    ``covers`` tells of each interval of the check, 95 % of Student's t, whether the truth is in it.
    """

    losses: Mapping[str, float]
    logs: Mapping[str, float]
    verdict: str
    n_trainings: int
    covers: tuple[bool, ...] = ()

    @property
    def matters(self) -> bool:
        """Tell whether it was said that λ matters, maybe at an edge."""
        return self.verdict != "does not matter"


def score(
    world: World, best: Mapping[str, Any], confirmation: Confirmation, n_trainings: int
) -> Outcome:
    """Return what a study's choices are worth; λ = 0 counts as a rung below the lowest."""
    rules = confirmation.chosen("min").candidate.params, confirmation.chosen("1se").candidate.params
    chosen = dict(zip(CHOICES, (best, *rules), strict=True))
    strengths = world.space["weight_decay"]
    zero = math.log10(strengths.low) - math.log10(strengths.high / strengths.low) / N_STRENGTHS
    return Outcome(
        losses={
            name: world.best - world.truth(each["weight_decay"], each["lr"])
            for name, each in chosen.items()
        },
        logs={
            name: math.log10(each["weight_decay"]) if each["weight_decay"] else zero
            for name, each in chosen.items()
        },
        verdict=confirmation.verdict.kind,
        n_trainings=n_trainings,
    )


class _Lab:
    """Trains in a world: the same configuration and seed give the same value."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self._rng = world, np.random.default_rng([seed, 2])
        self._seeds: dict[int, Seed] = {}

    def train(self, cell: Cell, seed: int) -> float:
        for known in range(seed + 1):
            if known not in self._seeds:
                self._seeds[known] = self.world.draw_seed(self._rng)
        assert cell[1] is not None
        return float(self.world.course(cell[0], cell[1], self._seeds[seed])[-1])


def confirm(world: World, box: Box, sizes: Sizes, seed: int) -> tuple[Confirmation, int]:
    """Return what a confirmation says, and how many trainings it took."""
    lab, direction = _Lab(world, seed), world.facts.metric.direction
    values: dict[str, float | None] = {}
    while True:
        progress = plan(box, sizes, values, direction, seed)
        missing = [t for t in progress.wanted if make_trial(box, t).key not in values]
        if not missing:
            break
        for training in missing:
            values[make_trial(box, training).key] = lab.train(*training)
    assert progress.choice is not None
    seeds = tuple(sizes.check_seeds)
    check = Check("simulated", direction, box, progress.choice, seeds, values)
    return judge(check), len(values)


def simulate(world: World, seed: int, sizes: Sizes) -> Outcome:
    """Return what comes of a study with this seed."""
    trials = _search(world, seed)
    confirmation, n = confirm(world, make_box(trials, world.facts), sizes, seed)
    best = find_best_trial(trials, confirmation.direction)
    assert best is not None
    covers = tuple(_covers(world, rung) for rung in confirmation.rungs)
    return replace(score(world, best.params, confirmation, n), covers=covers)


def _search(world: World, seed: int) -> list[FrozenTrial]:
    """Return the trials of a search by the default sampler and pruner, lanes abreast."""
    study = optuna.create_study(
        direction=world.facts.metric.direction,
        sampler=IncrementalTPESampler(seed=seed),
        pruner=IncrementalMedianPruner(),
    )
    search(world, study, np.random.default_rng([seed, 1]), _N_LANES, lambda n, _: n < _N_TRIALS)
    return study.get_trials(deepcopy=False)


def _covers(world: World, rung: Rung) -> bool:
    params = rung.candidate.params
    truth = world.truth(params["weight_decay"], params["lr"]) - world.validation_offset
    assert rung.mean is not None
    assert rung.standard_error is not None
    half = find_t_quantile(0.975, len(rung.values) - 1) * rung.standard_error
    return abs(world.sign * rung.mean - truth) <= half
