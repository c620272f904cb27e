"""Worlds to simulate studies in, made of measured tables: ``benchmarks/tables``.

A table holds the accuracies of lanes of ours over learning rate, λ and seed after each epoch. A
value of a world is its smooth mean surface plus the residual of a measured seed at a neighbouring
cell, so that noise keeps its size, its tails, and what a seed does to all cells alike.
"""

import csv
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState
from scipy.interpolate import RegularGridInterpolator

from tuner.sampling.median import IncrementalMedianPruner
from tuner.sampling.tpe import IncrementalTPESampler

Floats = npt.NDArray[np.float64]
Generator = np.random.Generator

TABLES = Path(__file__).parent / "tables"
SPACE: dict[str, BaseDistribution] = {
    "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
    "lr": FloatDistribution(1e-3, 1, log=True),
}
_OFFSET = 1e-5  # added to λ before the logarithm
_LOWEST = -3.01  # log10 of a learning rate; the surface goes on down to it with its slope
_SCALES = (0.8, 0.3)  # of the smooth mean, in decades of λ and learning rate
_N_LANES = 8


@dataclass(frozen=True)
class Table:
    """Accuracies in percent, ``(lr, λ, seed, epoch, part)``; parts are validation and test, which
    is known after the last epoch alone.
    """

    lrs: list[float]
    strengths: list[float]
    epochs: list[int]
    accuracies: Floats


def read_table(name: str) -> Table:
    """Read a table; seeds that were not measured at all cells are left out."""
    with gzip.open(TABLES / f"{name}.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    lrs = sorted({float(row["lr"]) for row in rows})
    strengths = sorted({float(row["weight_decay"]) for row in rows})
    epochs = sorted({int(row["epoch"]) for row in rows})
    seeds = sorted({int(row["seed"]) for row in rows})
    found = np.full((len(lrs), len(strengths), len(seeds), len(epochs), 2), np.nan)
    for row in rows:
        at = (
            lrs.index(float(row["lr"])),
            strengths.index(float(row["weight_decay"])),
            seeds.index(int(row["seed"])),
            epochs.index(int(row["epoch"])),
        )
        found[at] = 100 * float(row["val"]), 100 * float(row["test"] or "nan")
    values = np.concatenate([found[..., 0], found[..., -1:, 1]], axis=3)
    is_whole = ~np.isnan(values).any(axis=(0, 1, 3))
    return Table(lrs, strengths, epochs, found[:, :, is_whole])


@dataclass(frozen=True)
class Seed:
    """What makes the noise of one seed: two measured seeds, mostly the first, and neighbours."""

    weights: tuple[tuple[int, float], tuple[int, float]]
    corner: tuple[float, float]


class World:
    """A table made continuous; accuracies in percent."""

    def __init__(self, name: str) -> None:
        table = read_table(name)
        self.epochs = table.epochs
        accuracies, n = table.accuracies, table.accuracies.shape[2]
        self._u, self._l = _place(table.strengths), np.log10(table.lrs)
        mean = accuracies.mean(axis=2)
        self._residuals = (accuracies - mean[:, :, None])[..., 0] * math.sqrt(n / (n - 1))
        self._n_seeds = n
        last = mean[..., -1, :]
        offset = (last[..., 1] - last[..., 0]).mean()
        deviation = accuracies[..., -1, :].mean(axis=-1).std(axis=2, ddof=1)
        self.validation_offset = float(offset)
        truth = self._smooth((last[..., 0] + last[..., 1] + offset) / 2, deviation / math.sqrt(n))
        courses = mean[..., 0] + (truth - offset - last[..., 0])[..., None]
        self._truth, self._courses = self._continue(truth), self._continue(courses)
        fine = np.meshgrid(
            np.linspace(self._l[0], self._l[-1], 241),
            np.linspace(self._u[0], self._u[-1], 121),
            indexing="ij",
        )
        by_strength = self._truth(np.array(fine).reshape(2, -1).T).reshape(fine[0].shape).max(0)
        self.best = float(by_strength.max())
        self.gain = self.best - float(by_strength[0])  # over λ = 0, the first

    def _smooth(self, truth: Floats, errors: Floats) -> Floats:
        """Return a Gaussian process's mean through the cells, with half their errors."""
        points = np.array([[x / _SCALES[1], y / _SCALES[0]] for x in self._l for y in self._u])
        below = truth.ravel().max() + 0.05 - truth.ravel()
        heights = -np.log1p(below)
        noise = (0.5 * errors.ravel() / (1 + below)) ** 2 + 1e-6
        distances = ((points[:, None] - points[None]) ** 2).sum(-1)
        kernel = 4 * heights.var() * np.exp(-0.5 * distances)
        weights = np.linalg.solve(kernel + np.diag(noise), heights - heights.mean())
        smooth = heights.mean() + kernel @ weights
        found: Floats = (truth.max() + 0.05 - np.expm1(-smooth)).reshape(truth.shape)
        return found

    def _continue(self, values: Floats) -> RegularGridInterpolator:
        at = self._l
        if at[0] > _LOWEST:
            slope = (values[:1] - values[1:2]) / (at[1] - at[0])
            values = np.concatenate([values[:1] + slope * (at[0] - _LOWEST), values])
            at = np.concatenate([[_LOWEST], at])
        return RegularGridInterpolator((at, self._u), values, bounds_error=False, fill_value=None)

    def truth(self, strength: float, lr: float) -> float:
        """Return the mean accuracy there."""
        return float(self._truth([[math.log10(lr), float(_place(strength))]])[0])

    def draw_seed(self, rng: Generator) -> Seed:
        """Draw what a new seed's noise is made of: nearly as skew as measured, no two alike."""
        first, second = (int(k) for k in rng.choice(self._n_seeds, 2, replace=False))
        angle = rng.uniform(0, math.pi / 4)
        corner = float(rng.random()), float(rng.random())
        return Seed(((first, math.cos(angle)), (second, math.sin(angle))), corner)

    def course(self, strength: float, lr: float, seed: Seed) -> Floats:
        """Return the validation accuracies of a training, epoch by epoch."""
        u, pace = float(_place(strength)), math.log10(lr)
        i, j = _corner(self._l, pace, seed.corner[0]), _corner(self._u, u, seed.corner[1])
        noise = sum(weight * self._residuals[i, j, k] for k, weight in seed.weights)
        found: Floats = self._courses([[pace, u]])[0] + noise
        return found


def _place(strength: float | Sequence[float]) -> Floats:
    return np.log10(np.asarray(strength, float) + _OFFSET)


def _corner(axis: Floats, x: float, share: float) -> int:
    k = int(np.clip(np.searchsorted(axis, x) - 1, 0, len(axis) - 2))
    return k + int(share < min(max((x - axis[k]) / (axis[k + 1] - axis[k]), 0), 1))


def search(world: World, seed: int, n_trials: int = 50) -> list[FrozenTrial]:
    """Return the trials of a search in a world, by our own sampler and pruner, lanes abreast."""
    rng = np.random.default_rng([seed, 1])
    study = optuna.create_study(
        direction="maximize",
        sampler=IncrementalTPESampler(seed=seed),
        pruner=IncrementalMedianPruner(),
    )
    active: list[tuple[optuna.Trial, Floats, int]] = []
    n_asked = 0
    while n_asked < n_trials or active:
        while len(active) < _N_LANES and n_asked < n_trials:
            trial, n_asked = study.ask(dict(SPACE)), n_asked + 1
            course = world.course(**_named(trial.params), seed=world.draw_seed(rng))
            active.append((trial, course, 0))
        going = []
        for trial, course, epoch in active:
            trial.report(float(course[epoch]), world.epochs[epoch])
            if epoch + 1 == len(course):
                study.tell(trial, float(course[-1]))
            elif trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
            else:
                going.append((trial, course, epoch + 1))
        active = going
    return study.get_trials(deepcopy=False)


def _named(params: dict[str, float]) -> dict[str, float]:
    return {"strength": params["weight_decay"], "lr": params["lr"]}
