"""The sampler and the pruner that a spec names."""

import warnings

from optuna.exceptions import ExperimentalWarning
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    NopPruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler

from objectives.seeds import derive_seed
from tuner.sampling.grid import Grid, find_points
from tuner.sampling.median import IncrementalMedianPruner
from tuner.sampling.tpe import IncrementalTPESampler
from tuner.space import find_space
from tuner.spec import Spec


def make_sampler(spec: Spec, worker_ordinal: int = 0) -> BaseSampler:
    """Return the spec's sampler, seeded by (study seed, worker ordinal).

    Workers must not share a seed, or they all begin with the same points; except for QMC and
    grid, whose workers share one sequence through the storage.
    """
    own = derive_seed(spec.seed, "sampler", worker_ordinal) % 2**32
    shared = derive_seed(spec.seed, "sampler") % 2**32
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        match spec.sampler:
            case "tpe":
                return IncrementalTPESampler(
                    seed=own, learns_from_failures=spec.learn_from_failures
                )
            case "gp":
                return GPSampler(seed=own)
            case "random":
                return RandomSampler(seed=own)
            case "qmc":
                return QMCSampler(scramble=True, seed=shared, warn_asynchronous_seeding=False)
            case "cmaes":
                # It imports scipy.stats: half of what a coordinator takes to begin.
                from tuner.sampling.cmaes import SafeCmaEsSampler

                return SafeCmaEsSampler(seed=own)
            case "grid":
                assert spec.grid is not None  # set by _create for this sampler
                return Grid(find_points(find_space(spec), spec.grid), seed=shared)


def make_pruner(spec: Spec) -> BasePruner:
    """Return the spec's pruner; resources are epochs.

    Bounds are given as integers: what Optuna estimates ("auto") differs from worker to worker.
    """
    match spec.pruner:
        case "median":
            return IncrementalMedianPruner()
        case "asha":
            return SuccessiveHalvingPruner(min_resource=1)
        case "hyperband":
            return HyperbandPruner(min_resource=1, max_resource=spec.epochs)
        case "wilcoxon":
            return WilcoxonPruner()
        case "none":
            return NopPruner()
