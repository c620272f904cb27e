"""What an objective is to a worker: lanes in which trials train side by side.

Knows neither torch nor a database, so it can be imported by a command that trains nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from objectives.facts import DataFacts, LastBatch, Params


@dataclass(frozen=True)
class TrainingConfig:
    """Everything but its parameters that decides a trial's training."""

    objective: str
    dataset: str
    seed: int
    batch_size: int = 64
    epochs: int = 5
    last_batch: LastBatch | None = None  # None: as the problem has it
    train_size: int | None = None
    label_noise: float = 0.0
    data_dir: Path = Path("data")
    device: str = "auto"
    # What the study's own problem was when it was created.
    code: str | None = None
    data: DataFacts | None = None
    space: Mapping[str, Any] | None = None
    # What it says in place of the problem: see ``objectives.settings``.
    settings: Mapping[str, Any] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    # What the function is called with that makes the problem.
    objective_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EpochResult:
    """One trial's epoch: mean training loss, and the metric over the validation part.

    With folds both are means over them, and ``by_fold`` has the metric of each.
    """

    epoch: int
    loss: float
    value: float
    by_fold: tuple[float, ...] = ()

    @property
    def is_diverged(self) -> bool:
        """Tell whether loss or metric are no longer finite, so that training on is pointless."""
        return not (math.isfinite(self.loss) and math.isfinite(self.value))


@dataclass(frozen=True)
class Weights:
    """What the parameters of a model that decay are like: their Euclidean norm, and which share of
    them, in 0..1, is exactly 0.
    """

    weight_norm: float
    zero_share: float


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
    def program(self) -> str:
        """How trials are trained, and why so, in words."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether all data is in the CPU's memory, where a fork of this process finds it."""
        ...

    @property
    def next_pass(self) -> int:
        """The number of the pass that ``train_pass`` runs next; a trial records where it began."""
        ...

    def add(
        self,
        trial_number: int,
        params: Params,
        epoch: int = 0,
        state: Mapping[str, Any] | None = None,
        init: int | None = None,
    ) -> None:
        """Give a free lane to a trial; one that goes on had this state after this epoch.

        ``init`` is the number of its initialisation, the trial's own unless given. Raises
        UnfitStateError, and gives no lane, if the state is not one of this model.
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

    def take_failures(self) -> Mapping[int, BaseException]:
        """Return what the models of trials have raised since it was asked last, by number."""
        ...

    def test_value(self, trial_number: int) -> float:
        """Score a trial's model, as it is now, on the test part, which is read for this alone."""
        ...

    def training_value(self, trial_number: int) -> float:
        """Score a trial's model, as it is now, on the training part."""
        ...

    def weights(self, trial_number: int) -> Weights:
        """Measure the parameters of a trial's model, as they are now."""
        ...

    def remove(self, trial_number: int) -> None:
        """Free a trial's lane."""
        ...
