"""What is known of an objective without importing it: its metric, its space, what its λ means.

Found once, by a process that has imported it, and stored with the study; so coordinators, answers
and pictures need neither torch nor anybody's module, and nobody asks what kind an objective is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Direction = Literal["maximize", "minimize"]
LastBatch = Literal["drop", "scale", "keep"]
# What a trial chooses, by name.
Params = Mapping[str, Any]

# Which parameters decay, in words: lines of frameworks are written for these.
ALL_DECAY = "all weights and biases"
MATRICES_DECAY = "matrices: nothing of one dimension, as biases"

# An epoch's smaller last batch is dropped only where it is at most a tenth of it.
_MANY_BATCHES = 10


def choose_last_batch(n_train: int, batch_size: int) -> LastBatch:
    """Return what becomes of an epoch's smaller last batch unless somebody says so.

    A few examples at the full learning rate are most of what seeds differ by, as they are the last
    step before the metric is measured.
    """
    n_full, rest = divmod(n_train, batch_size)
    if n_full == 0:
        return "keep"
    # One example has no variance, so batch norm takes none.
    return "drop" if n_full >= _MANY_BATCHES or rest == 1 else "scale"


@dataclass(frozen=True)
class MetricFacts:
    """What is measured after each epoch; a proportion is a fraction in 0..1, shown in percent."""

    name: str = "objective value"
    direction: Direction = "maximize"
    is_proportion: bool = False


@dataclass(frozen=True)
class Recipe:
    """What a strength means: the facts that an export must carry."""

    name: str
    model: str
    optimizer: str = "SGD"
    momentum: float = 0.0
    decay: str = "coupled"
    decay_formula: str = "gradient + weight_decay * w, the gradient of weight_decay / 2 * ||w||^2"
    decayed_parameters: str = ALL_DECAY
    penalties: str | None = None  # what is added to the loss besides
    details: str | None = None  # schedule, clipping, and what is fixed
    loss: str = "cross-entropy"
    loss_reduction: str = "mean over the batch"


@dataclass(frozen=True)
class DataFacts:
    """A data set: how many examples its parts have, and a SHA-256 of what is in it."""

    n_train: int
    n_validation: int
    n_test: int  # 0: it has no test part
    sha256: str


@dataclass(frozen=True)
class Facts:
    """What is known of an objective.

    ``space`` holds Optuna's distributions by name, as they are in JSON; None if the objective
    states it to each trial, as plain functions do.
    ``strength`` is the parameter that is asked about, λ, and ``companion`` the one that is chosen
    anew with it; ``with_zero`` tells whether a strength of 0 can be trained, as a control.
    ``can_train_again``: trials can be replayed, scored on a test part, and trained on fresh seeds.
    ``scale_invariant`` is the share of decaying parameters whose scale the output does not show.
    ``code`` is a digest of the objective's module.
    """

    metric: MetricFacts = MetricFacts()
    space: Mapping[str, Any] | None = None
    strength: str = "weight_decay"
    companion: str | None = "lr"
    with_zero: bool = False
    can_train_again: bool = False
    recipe: Recipe | None = None
    data: DataFacts | None = None
    scale_invariant: float | None = None
    code: str | None = None
