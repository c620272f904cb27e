"""Worlds to simulate studies in, made of measured tables: ``benchmarks/tables``.

A table holds the metric of lanes of ours over learning rate, λ and seed after each epoch. A value
of a world is its smooth mean surface plus the residual of a measured seed at a neighbouring cell,
so that noise keeps its size, its tails, and what a seed does to all cells alike. All is in
hundredths of the metric, points if it is a proportion, and the higher the better.
"""

import csv
import gzip
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from scipy.interpolate import RegularGridInterpolator

from benchmarks.tasks import Task
from tuner.confirmation.plan import DEFAULT_N_SEEDS
from tuner.confirmation.statistics import sign_of
from tuner.space import read_space

Floats = npt.NDArray[np.float64]
Generator = np.random.Generator

TABLES = Path(__file__).parent / "tables"
_SCALES = (0.8, 0.3)  # of the smooth mean, in decades of λ and learning rate
_FACTORS = np.geomspace(0.01, 100, 200)  # by which the gains of λ are scaled


@dataclass(frozen=True)
class Table:
    """Values ``(lr, λ, seed, epoch, part)``; parts are validation and test, which is known after
    the last epoch alone.
    """

    lrs: list[float]
    strengths: list[float]
    epochs: list[int]
    values: Floats


def read_table(name: str, sign: int) -> Table:
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
        found[at] = float(row["val"]), float(row["test"] or "nan")
    found *= 100 * sign
    known = np.concatenate([found[..., 0], found[..., -1:, 1]], axis=3)
    is_whole = ~np.isnan(known).any(axis=(0, 1, 3))
    return Table(lrs, strengths, epochs, found[:, :, is_whole])


@dataclass(frozen=True)
class Seed:
    """What makes the noise of one seed: two measured seeds, mostly the first, and neighbours."""

    weights: tuple[tuple[int, float], tuple[int, float]]
    corner: tuple[float, float]


class World:
    """A table made continuous.

    With ``errors`` whatever λ gains is scaled until the best λ gains so many standard errors of the
    check over λ = 0 at the same learning rate; what it loses stays.
    """

    def __init__(self, name: str, task: Task, errors: float | None = None) -> None:
        facts = task.spec.facts
        self.facts = facts
        self.sign = sign_of(facts.metric.direction)
        table = read_table(name, self.sign)
        self.epochs, values = table.epochs, table.values
        self._n_seeds = n = values.shape[2]
        stated = read_space(facts).items()
        self.space = {key: each for key, each in stated if isinstance(each, FloatDistribution)}
        self._u, self._l = self._place(table.strengths), np.log10(table.lrs)
        mean = values.mean(axis=2)
        self._residuals = (values - mean[:, :, None])[..., 0] * math.sqrt(n / (n - 1))
        last = mean[..., -1, :]
        self.validation_offset = float((last[..., 1] - last[..., 0]).mean())
        deviation = values[..., -1, :].mean(axis=-1).std(axis=2, ddof=1)
        middle = (last.sum(axis=-1) + self.validation_offset) / 2
        truth = self._smooth(middle, deviation / math.sqrt(n))
        shift = truth - self.validation_offset - last[..., 0]
        courses = mean[..., 0] + shift[..., None]
        factor = 1.0 if errors is None else self._find_factor(truth, errors)
        self._truth = self._continue(_scale_gains(truth, factor))
        self._courses = self._continue(_scale_gains(courses, factor))
        by_strength = self._read_finely(self._truth).max(axis=0)
        self.best = float(by_strength.max())
        self.gain = self.best - float(by_strength[0])  # over λ = 0, the first

    def _find_factor(self, truth: Floats, errors: float) -> float:
        """Return the factor with which the best cell gains so much; 0 if nothing is to be gained.

        An error is that of the paired difference over as many seeds as a check has.
        """
        if errors == 0:
            return 0.0
        pairs = self._residuals[..., -1] - self._residuals[:, :1, :, -1]
        error = pairs.std(axis=2) / math.sqrt(DEFAULT_N_SEEDS)
        found = self._read_finely(self._continue(truth))
        limit = errors * self._read_finely(self._continue(error))
        for factor in _FACTORS:
            scaled = _scale_gains(found, factor)
            at = np.unravel_index(scaled.argmax(), scaled.shape)
            if scaled[at] - found[at[0], 0] >= limit[at] > 0:
                return float(factor)
        raise ValueError("λ gains nothing in this table: no factor makes it so many errors")

    def _read_finely(self, surface: RegularGridInterpolator) -> Floats:
        """Return a surface ``(lr, λ)`` within the table."""
        ends = (self._l[0], self._l[-1], 241), (self._u[0], self._u[-1], 121)
        fine = np.meshgrid(*(np.linspace(*each) for each in ends), indexing="ij")
        found: Floats = surface(np.stack(fine, axis=-1))
        return found

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
        """Return values over log lr and λ's place; below the table they fall as without λ."""
        at, lowest = self._l, math.log10(self.space["lr"].low) - 0.01
        if at[0] > lowest:
            slope = (values[:1, :1] - values[1:2, :1]) / (at[1] - at[0])
            values = np.concatenate([values[:1] + slope * (at[0] - lowest), values])
            at = np.concatenate([[lowest], at])
        return RegularGridInterpolator((at, self._u), values, bounds_error=False, fill_value=None)

    def truth(self, strength: float, lr: float) -> float:
        """Return the mean value there."""
        return float(self._truth([[math.log10(lr), float(self._place(strength))]])[0])

    def draw_seed(self, rng: Generator) -> Seed:
        """Draw what a new seed's noise is made of: nearly as skew as measured, no two alike."""
        first, second = (int(k) for k in rng.choice(self._n_seeds, 2, replace=False))
        angle = rng.uniform(0, math.pi / 4)
        corner = float(rng.random()), float(rng.random())
        return Seed(((first, math.cos(angle)), (second, math.sin(angle))), corner)

    def course(self, strength: float, lr: float, seed: Seed) -> Floats:
        """Return what a training measures on the validation part, epoch by epoch, in its sign."""
        u, pace = float(self._place(strength)), math.log10(lr)
        i, j = _corner(self._l, pace, seed.corner[0]), _corner(self._u, u, seed.corner[1])
        noise = sum(weight * self._residuals[i, j, k] for k, weight in seed.weights)
        found: Floats = self.sign * (self._courses([[pace, u]])[0] + noise)
        return found

    def _place(self, strength: float | Sequence[float]) -> Floats:
        return np.log10(np.asarray(strength, float) + self.space["weight_decay"].low)


def _scale_gains(values: Floats, factor: float) -> Floats:
    """Return values ``(lr, λ, ...)`` that are so many times as much better than those without λ."""
    effect = values - values[:, :1]
    found: Floats = values[:, :1] + np.where(effect > 0, factor * effect, effect)
    return found


def _corner(axis: Floats, x: float, share: float) -> int:
    k = int(np.clip(np.searchsorted(axis, x) - 1, 0, len(axis) - 2))
    return k + int(share < min(max((x - axis[k]) / (axis[k + 1] - axis[k]), 0), 1))


@dataclass
class Begun:
    """A trial of a search in a world, and how far it has come."""

    trial: optuna.Trial
    course: Floats
    after: int  # epochs that all trials had trained when it began
    epoch: int = 0


def search(
    world: World,
    study: optuna.Study,
    rng: Generator,
    n_in_flight: int,
    may_begin: Callable[[int, int], bool],
) -> list[Begun]:
    """Search a world, so many trials abreast, an epoch of all of them at a time.

    ``may_begin`` is asked with the numbers of trials that have begun and of epochs that have been
    trained, or will be in this round, before another trial begins; what has begun is finished.
    """
    begun: list[Begun] = []
    active: list[Begun] = []
    n_epochs = 0
    while True:
        while len(active) < n_in_flight and may_begin(len(begun), n_epochs + len(active)):
            trial = study.ask({**world.space})
            at = {"strength": trial.params["weight_decay"], "lr": trial.params["lr"]}
            active.append(Begun(trial, world.course(**at, seed=world.draw_seed(rng)), n_epochs))
            begun.append(active[-1])
        if not active:
            return begun
        n_epochs += len(active)
        active = [each for each in active if _train(study, world.epochs, each)]


def _train(study: optuna.Study, epochs: Sequence[int], begun: Begun) -> bool:
    """Train an epoch; tell whether another one follows."""
    value, step = float(begun.course[begun.epoch]), epochs[begun.epoch]
    begun.epoch += 1
    begun.trial.report(value, step)
    if begun.epoch == len(epochs):
        study.tell(begun.trial, value)
    elif begun.trial.should_prune():
        study.tell(begun.trial, state=TrialState.PRUNED)
    else:
        return True
    return False
