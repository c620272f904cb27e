"""The tuning service: spec, study, worker, launcher, selection, export, command line.

Importing it, and reading an exported answer by `load_best`, takes the standard library alone.
"""

from objectives.problem import Metric, Problem
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
from tuner.tuning import Tuned, tune

__all__ = [
    "AnswerError",
    "Best",
    "Metric",
    "NoResultError",
    "Problem",
    "StudyNotFoundError",
    "Tuned",
    "TunerError",
    "UsageError",
    "WorkersFailedError",
    "load_best",
    "tune",
]
