"""The tuning service: spec, study, worker, launcher, selection, export, command line.

Importing it, and reading an exported answer by `load_best`, takes the standard library alone.
"""

from tuner.answer.best import Best
from tuner.answer.loading import load_best
from tuner.errors import (
    AnswerError,
    NoResultError,
    StudyNotFoundError,
    TunerError,
    UsageError,
    WorkersFailedError,
)

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
