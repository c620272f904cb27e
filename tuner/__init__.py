"""The tuning service: spec, study, worker, launcher, selection, export, command line.

Importing it, and reading an exported answer by `load_best`, takes the standard library alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from tuner.names import find_hiding

if TYPE_CHECKING:
    from objectives.problem import Metric, Problem
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

# What is imported when it is asked for: where it is, and our packages that it takes.
_LATE = {
    "Metric": ("objectives.problem", ("objectives",)),
    "Problem": ("objectives.problem", ("objectives",)),
    "Tuned": ("tuner.tuning", ("objectives", "storage")),
    "tune": ("tuner.tuning", ("objectives", "storage")),
}


def __getattr__(name: str) -> Any:
    """Import what an answer's reader does not need; raises ImportError where it is hidden."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, packages = _LATE[name]
    for package in packages:
        if (file := find_hiding(package)) is not None:
            raise ImportError(f"lambda-tuner's package {package!r} is hidden by {file}: rename it")
    globals()[name] = found = getattr(import_module(module), name)
    return found
