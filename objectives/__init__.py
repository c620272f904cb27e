"""What a trial trains: models, data sets and training. Knows torch; knows no SQL, no processes.

Importing this package does not import torch; ``objectives.training`` does.
"""

from objectives.base import EpochResult, Fit, Hyperparameters, Lanes, SearchSpace, TrainingConfig
from objectives.catalog import DATASETS, OBJECTIVES, DatasetFacts, Recipe
from objectives.errors import DataError, ObjectiveError, UnknownNameError

__all__ = [
    "DATASETS",
    "OBJECTIVES",
    "DataError",
    "DatasetFacts",
    "EpochResult",
    "Fit",
    "Hyperparameters",
    "Lanes",
    "ObjectiveError",
    "Recipe",
    "SearchSpace",
    "TrainingConfig",
    "UnknownNameError",
]
