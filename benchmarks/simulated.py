"""Simulate searches and confirmations on measured tables, and score what they choose on the truth.

The product's own sampler, pruner, plan and judgement; only trainings are drawn from a table.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna

from benchmarks.section import Section
from benchmarks.worlds import Seed, World, search
from objectives import Facts, MetricFacts
from tuner.confirmation.box import Box, Cell, make_box
from tuner.confirmation.evidence import Check, judge
from tuner.confirmation.plan import Sizes, make_trial, plan
from tuner.confirmation.statistics import find_t_quantile
from tuner.confirmation.values import Confirmation
from tuner.selection import find_best_trial

FACTS = Facts(MetricFacts("validation accuracy", is_proportion=False), with_zero=True)
_ZERO_COUNTS_AS = 1e-5  # is added to λ before its logarithm


@dataclass(frozen=True)
class Outcome:
    """What one simulated study came to; losses are points below the best of the world."""

    losses: dict[str, float]
    logs: dict[str, float]
    verdict: str
    n_trainings: int
    is_covered: bool  # the truth of λ_min by the check's 95 % interval


class Lab:
    """Trains in a world: the same configuration and seed give the same value."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self._rng = world, np.random.default_rng([seed, 2])
        self._seeds: dict[int, Seed] = {}

    def train(self, cell: Cell, seed: int) -> float:
        """Return the last validation accuracy, in percent."""
        for known in range(seed + 1):
            if known not in self._seeds:
                self._seeds[known] = self.world.draw_seed(self._rng)
        assert cell[1] is not None
        return float(self.world.course(cell[0], cell[1], self._seeds[seed])[-1])


def confirm(box: Box, sizes: Sizes, lab: Lab, seed: int) -> tuple[Confirmation, int]:
    """Return what a confirmation says, and how many trainings it took."""
    values: dict[str, float | None] = {}
    while True:
        progress = plan(box, sizes, values, "maximize", seed)
        missing = [t for t in progress.wanted if make_trial(box, t).key not in values]
        if not missing:
            break
        for training in missing:
            values[make_trial(box, training).key] = lab.train(*training)
    assert progress.choice is not None
    seeds = tuple(sizes.check_seeds)
    checked = {
        cell: {s: values[make_trial(box, (cell, s)).key] for s in seeds}
        for cell in progress.choice.cells
    }
    check = Check("simulated", "maximize", box, progress.choice, seeds, checked)
    return judge(check), len(values)


def simulate(world: World, seed: int, sizes: Sizes) -> Outcome:
    """Return what comes of a study with this seed."""
    trials = search(world, seed)
    confirmation, n = confirm(make_box(trials, FACTS), sizes, Lab(world, seed), seed)
    best = find_best_trial(trials, "maximize")
    assert best is not None
    chosen = {
        "best trial": best.params,
        "λ_min": confirmation.chosen("min").candidate.params,
        "λ_1se": confirmation.chosen("1se").candidate.params,
    }
    truths = {name: world.truth(p["weight_decay"], p["lr"]) for name, p in chosen.items()}
    rung = confirmation.chosen("min")
    assert rung.mean is not None
    assert rung.standard_error is not None
    half = find_t_quantile(0.975, len(rung.values) - 1) * rung.standard_error
    offset = world.validation_offset
    return Outcome(
        losses={name: world.best - truth for name, truth in truths.items()},
        logs={n: math.log10(p["weight_decay"] + _ZERO_COUNTS_AS) for n, p in chosen.items()},
        verdict=confirmation.verdict.kind,
        n_trainings=n,
        is_covered=abs(rung.mean - (truths["λ_min"] - offset)) <= half,
    )


def summarise(name: str, outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Return a table's rows, a choice each."""
    n, rows = len(outcomes), []
    matters = sum(outcome.verdict != "does not matter" for outcome in outcomes) / n
    covered = sum(outcome.is_covered for outcome in outcomes) / n
    trainings = statistics.fmean(outcome.n_trainings for outcome in outcomes)
    for choice in outcomes[0].losses:
        losses = [outcome.losses[choice] for outcome in outcomes]
        error = statistics.stdev(losses) / math.sqrt(n)
        spread = statistics.stdev(outcome.logs[choice] for outcome in outcomes)
        row = [name, choice, f"{statistics.fmean(losses):.3f} ± {error:.3f}"]
        row += [f"{np.quantile(losses, 0.9):.2f}", f"{spread:.2f}"]
        is_best = choice == "best trial"
        rest = [f"{trainings:.0f}", f"{matters:.0%}", f"{covered:.0%}"]
        rows.append(row + (["0", "", ""] if is_best else rest))
    return rows


# Tables by what was trained.
WORLDS = {
    "MNIST, 5 epochs": "mnist",
    "MNIST, 1,000 images, 60 epochs": "mnist_1000",
    "digits, 60 epochs": "digits",
}
_FIRST_SEED = 1000

NOTE = """\
{n} simulated studies of 50 trials on each of three measured tables (TPE, median pruner, 8 lanes,
then 10 fresh seeds to choose and 8 to check). Losses are points of accuracy below the best of the
table's smooth mean, ± their standard error; then the 90th percentile, the standard deviation of
log10(λ + 1e-5) over studies, trainings after the search, how often the verdict was not `does not
matter`, and how often the check's 95 % interval held the truth. The tables are those of
`python -m benchmarks.tabulate`; none was used to find the method. True gains over λ = 0 are
{gains} points.
"""


def measure(n_studies: int, announce: Callable[[str], None]) -> Section:
    """Simulate studies on all tables."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows, gains = [], []
    for name, table in WORLDS.items():
        world, outcomes = World(table), []
        gains.append(f"{world.gain:.2f}")
        for n in range(n_studies):
            announce(f"{name}, simulated study {n + 1} of {n_studies}")
            outcomes.append(simulate(world, _FIRST_SEED + n, Sizes()))
        rows += summarise(name, outcomes)
    return Section(
        title="What a choice loses, on measured tables",
        note=NOTE.format(n=n_studies, gains=", ".join(gains)),
        headings=("data", "choice", "loss, points", "p90", "spread of log10 λ", "trainings",
                  "matters", "coverage"),
        rows=rows,
        figures=[],
        raw={},
    )  # fmt: skip
