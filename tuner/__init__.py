"""The tuning service: spec, study, worker, launcher, selection, export, command line."""

from tuner.errors import (
    NoResultError,
    StudyNotFoundError,
    TunerError,
    UsageError,
    WorkersFailedError,
)

__all__ = [
    "NoResultError",
    "StudyNotFoundError",
    "TunerError",
    "UsageError",
    "WorkersFailedError",
]
