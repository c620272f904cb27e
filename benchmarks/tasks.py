"""The problems that choosing λ is measured on, each with the grid of its table of the truth."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from objectives.functions import is_users
from tuner.spec import Spec, build_new_spec
from tuner.workers.jobs import describe_problem

_OF_SGD = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2)
_OF_ADAMW = (0.0, 1e-4, 1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
_LRS = (0.03, 0.1, 0.2, 0.32, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class Task:
    """A problem as ``tuner run`` is told of it, and the cells of its table.

    ``every`` so many epochs are kept in the table.
    """

    title: str
    options: Mapping[str, Any]
    lrs: tuple[float, ...] = _LRS
    strengths: tuple[float, ...] = _OF_SGD
    every: int = 1

    @cached_property
    def spec(self) -> Spec:
        """The spec of its studies, but for their seed; what its problem says is found by trying."""
        return build_new_spec(self._describe())

    def _describe(self) -> Mapping[str, Any]:
        is_own = is_users(self.options.get("objective", ""))
        return (describe_problem(self.options) if is_own else None) or self.options


TASKS = {
    "mnist": Task("MNIST, 5 epochs", {"dataset": "mnist", "epochs": 5}),
    "mnist_1000": Task(
        "MNIST, 1,000 images, 60 epochs",
        {"dataset": "mnist", "train_size": 1_000, "epochs": 60},
        every=6,
    ),
    "fashion_mnist": Task(
        "Fashion-MNIST, 3 epochs",
        {"dataset": "fashion-mnist", "epochs": 3},
        strengths=(0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    ),
    "digits": Task("digits, 60 epochs", {"dataset": "digits", "epochs": 60}, every=6),
    "regression": Task(
        "regression, 100 epochs",
        {"objective": "benchmarks.own_problems:regression", "epochs": 100},
        lrs=(0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5),
        every=10,
    ),
    "small_cnn": Task(
        "CNN with AdamW, 2,000 images, 10 epochs",
        {"objective": "benchmarks.own_problems:small_cnn", "epochs": 10},
        lrs=(3e-4, 1e-3, 3e-3, 1e-2, 2e-2, 4e-2, 0.1),
        strengths=_OF_ADAMW,
    ),
}
