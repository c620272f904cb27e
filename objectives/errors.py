"""The errors of this package.

ObjectiveError
├── UnknownNameError   a name that is not in a table of ours: wrong usage
├── DataError          the data set cannot be had, or is damaged: fix the files, try again
├── ProblemError       a problem's parts do not fit together: fix its module
├── ProblemFoundError  a problem was found where a function of a trial was to be
└── UnfitStateError    a state is not one of this model: train it from its beginning
"""

from typing import Any


class ObjectiveError(Exception):
    """Base of everything this package raises on purpose."""


class UnknownNameError(ObjectiveError):
    """An objective or data set was named that does not exist; the message lists those that do."""


class DataError(ObjectiveError):
    """A data set's files are missing, damaged or unreadable; the message says what to do."""


class ProblemError(ObjectiveError):
    """A problem's model, data, loss, metric and space do not fit together; says which, and how."""


class ProblemFoundError(ObjectiveError):
    """A name thought to be a function's is a problem's; ``description`` is what it says of itself,
    as JSON."""

    def __init__(self, objective: str, description: dict[str, Any]) -> None:
        super().__init__(
            f"Objective {objective!r} makes a problem here, and its study has trained a function"
        )
        self.description = description


class UnfitStateError(ObjectiveError):
    """What was kept of a model does not fit it: another model's, or damaged."""


def first_line(error: BaseException) -> str:
    """Return what an error says, as far as it fits a line of ours."""
    return str(error).partition("\n")[0][:200]
