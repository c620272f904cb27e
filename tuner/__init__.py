"""The tuning service: spec, study, worker, launcher, selection, export, command line.

Importing it, and reading an exported answer by `load_best`, takes the standard library alone.
"""

from tuner.best import Best
from tuner.errors import (
    AnswerError,
    NoResultError,
    StudyNotFoundError,
    TunerError,
    UsageError,
    WorkersFailedError,
)
from tuner.loading import load_best

__all__ = [
    "AnswerError",
    "Best",
    "NoResultError",
    "StudyNotFoundError",
    "TunerError",
    "UsageError",
    "WorkersFailedError",
    "load_best",
]
