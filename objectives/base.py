"""What an objective is to a worker: a search space, and lanes in which trials train side by side.

Knows neither torch nor a database, so it can be imported by a command that trains nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Hyperparameters:
    """What a trial chooses: both enter ``torch.optim.SGD`` unchanged."""

    weight_decay: float
    lr: float


@dataclass(frozen=True)
class SearchSpace:
    """The ranges searched, each ``(low, high)`` with 0 < low < high, both log-uniform.

    ``with_zero``: weight_decay may be 0, which no log scale has; so it is uniform in [0, high].
    """

    weight_decay: tuple[float, float]
    lr: tuple[float, float]
    with_zero: bool = False

    def suggest(self, trial: "optuna.Trial") -> Hyperparameters:
        """State the search space on the trial and return what its sampler chose."""
        low, high = self.weight_decay
        if self.with_zero:
            weight_decay = trial.suggest_float("weight_decay", 0.0, high)
        else:
            weight_decay = trial.suggest_float("weight_decay", low, high, log=True)
        return Hyperparameters(
            weight_decay=weight_decay,
            lr=trial.suggest_float("lr", *self.lr, log=True),
        )


@dataclass(frozen=True)
class TrainingConfig:
    """Everything but the hyperparameters that decides a trial's training."""

    objective: str
    dataset: str
    seed: int
    batch_size: int = 64
    train_size: int | None = None
    data_dir: Path = Path("data")
    device: str = "auto"


@dataclass(frozen=True)
class EpochResult:
    """One trial's epoch: mean training loss and validation accuracy (a fraction in 0..1)."""

    epoch: int
    loss: float
    accuracy: float

    @property
    def is_diverged(self) -> bool:
        """Tell whether the loss is no longer finite, so that training on is pointless."""
        return not math.isfinite(self.loss)


@dataclass(frozen=True)
class Fit:
    """What a trained model is like: its accuracy on the training images (a fraction in 0..1), and
    the Euclidean norm of all parameters that decay.
    """

    training_accuracy: float
    weight_norm: float


class Lanes(Protocol):
    """Trials in training side by side; each pass over the data trains every one for an epoch.

    All lanes of a pass see the same batches, whose order depends on (study seed, pass number)
    alone; a model's initialisation depends on (study seed, initialisation number) alone. So a
    trial's results do not depend on the lane, the worker or the neighbours it had.
    """

    @property
    def n_free(self) -> int:
        """How many more trials can be added now."""
        ...

    @property
    def next_pass(self) -> int:
        """The number of the pass that ``train_pass`` runs next; a trial records where it began."""
        ...

    def add(
        self,
        trial_number: int,
        hyperparameters: Hyperparameters,
        epoch: int = 0,
        state: Mapping[str, Any] | None = None,
        init: int | None = None,
    ) -> None:
        """Give a free lane to a trial; one that goes on had this state after this epoch.

        ``init`` is the number of its initialisation, the trial's own unless given.
        """
        ...

    def go_to_pass(self, number: int) -> None:
        """Let ``train_pass`` run this pass next."""
        ...

    def train_pass(self) -> Mapping[int, EpochResult]:
        """Train every lane for one epoch and return the results by trial number."""
        ...

    def state(self, trial_number: int) -> Mapping[str, Any]:
        """Return a copy of what the trial's model consists of, by name."""
        ...

    def fit(self, trial_number: int) -> Fit:
        """Score a trial's model, as it is now, on the training images."""
        ...

    def remove(self, trial_number: int) -> None:
        """Free a trial's lane."""
        ...
