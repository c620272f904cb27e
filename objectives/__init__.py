"""What a trial trains: models, data sets and training. Knows torch; knows no SQL, no processes.

Importing this package does not import torch; ``objectives.problem_lanes`` does.
"""

from objectives.base import EpochResult, Lanes, TrainingConfig, Weights
from objectives.catalog import DATASETS, OBJECTIVES, DatasetFacts
from objectives.errors import (
    DataError,
    ObjectiveError,
    ProblemError,
    ProblemFoundError,
    UnfitStateError,
    UnknownNameError,
)
from objectives.facts import DataFacts, Direction, Facts, MetricFacts, Params, Recipe

__all__ = [
    "DATASETS",
    "OBJECTIVES",
    "DataError",
    "DataFacts",
    "DatasetFacts",
    "Direction",
    "EpochResult",
    "Facts",
    "Lanes",
    "MetricFacts",
    "ObjectiveError",
    "Params",
    "ProblemError",
    "ProblemFoundError",
    "Recipe",
    "TrainingConfig",
    "UnfitStateError",
    "UnknownNameError",
    "Weights",
]
