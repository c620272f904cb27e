"""A problem as a value: a model, data, and what training them takes.

Imports neither torch nor Optuna, so that a module which makes one costs no more than its own
imports.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from objectives.coefficients import takes, tell_bounds
from objectives.facts import Direction, LastBatch, Params
from objectives.penalties import DECAYS, Decay

Optimizer = Literal["sgd", "adam", "adamw"]
Schedule = Literal["constant", "cosine", "onecycle"]


@dataclass(frozen=True)
class Metric:
    """What a model is worth: ``score(outputs, targets)`` over a whole part of the data, a number.

    ``outputs`` are the model's, of all batches one after another, on the CPU. A proportion is a
    fraction in 0..1, shown in percent.
    """

    name: str
    score: Callable[[Any, Any], float]
    direction: Direction = "maximize"
    is_proportion: bool = False


class FastProgram(Protocol):
    """A program that trains models of one kind side by side, as plain torch would each alone."""

    @property
    def n_together(self) -> int | None:
        """How many models are fastest at a time; None if the more the better."""
        ...

    def train(
        self, models: Sequence[Any], params: Sequence[Params], order: Any
    ) -> list[tuple[float, float]]:
        """Train for an epoch in place; return mean loss and validation metric by model.

        ``order`` holds the training examples to take, ``(n,)`` int64 on the CPU.
        """
        ...

    def training_value(self, model: Any) -> float:
        """Return the metric over the training part."""
        ...


@dataclass(frozen=True)
class Problem:
    """A model and its data; everything else has a default.

    ``model`` returns a new ``nn.Module``; its keyword arguments are what ``space`` names.
    ``data`` is split by the study's seed: a tuple ``(inputs, targets)`` of tensors or arrays, or a
    map-style ``Dataset``. Or the parts are given: ``train``, and ``validation`` and ``test`` in
    place of their shares; a part may be a function that returns an iterable of batches, too.
    ``splitter`` is one of scikit-learn's, ``groups`` holds what it keeps together, ``(n,)``.

    A batch is what the data holds, with a first axis of examples: the last of several is the target
    and the others are the model's arguments, unless ``step(model, batch)`` says otherwise; both it
    and ``loss(output, target)`` give the mean over the batch. By default it is the cross-entropy
    for targets that are integers, the mean squared error for others. ``prepare(batch)`` is called
    with every batch, on the device.

    ``metric`` is a ``Metric``, the name of one in ``objectives.metrics.METRICS``, or a function
    ``(outputs, targets) -> float``, better the higher unless ``direction`` says otherwise. By
    default it is the accuracy of classes, or the loss.

    ``space`` holds Optuna's distributions, ``(low, high)`` or ``(low, high, "log")``, or a list of
    choices. Of its names those in ``objectives.coefficients`` are known to training: ``lr``,
    ``batch_size``, penalties; all others are the model's arguments. ``strength`` is
    the one that is asked about, ``companion`` the one that is chosen anew with it.

    ``momentum`` and ``nesterov`` are of SGD, ``betas`` of Adam and AdamW; ``schedule`` is over all
    epochs. ``patience``: a trial ends after so many epochs that were no better than its best, with
    the value and the model of that one.

    ``fixed`` holds values, by the same names, that all trials have. Names of penalties are
    ``l2_penalty``, ``l1``, ``alpha`` with ``l1_ratio``, and ``label_smoothing``: see
    ``objectives.penalties``. With ``proximal`` those with an L1 part act by proximal steps, which
    give exact zeros, and not by their subgradients.
    ``decay`` is how ``weight_decay`` acts, as torch's optimizer has it unless it is said:
    ``coupled``, ``decoupled``, ``cautious`` or ``corrected``.
    ``decays`` tells which parameters decay, and have penalties: ``"all"`` as torch's optimizers
    have it, ``"matrices"`` (nothing of one dimension, as biases), or a function
    ``(name, tensor) -> bool``.
    ``last_batch`` of an epoch, if smaller: ``keep`` it as torch's optimizers do, ``scale`` its
    gradient to its size, or ``drop`` it; by default it is dropped where there are ten others, or
    where it is a single example, and scaled elsewhere.

    With ``folds`` a trial is trained on so many divisions of what is not the test part, by the
    study's seed or by all that ``splitter`` gives, each once the validation part; its value is the
    mean.

    ``fast(train, validation, batch_size, scales=...)`` opens a ``FastProgram`` on the parts' data;
    it is taken if it gives what plain torch gives. ``scales``: a small batch counts by its size.
    """

    model: Callable[..., Any]
    data: Any = None
    train: Any = None
    validation: Any = 0.1
    test: Any = 0.1
    splitter: Any = None
    groups: Any = None
    loss: Callable[[Any, Any], Any] | None = None
    step: Callable[[Any, Any], Any] | None = None
    prepare: Callable[[Any], Any] | None = None
    metric: Metric | str | Callable[[Any, Any], float] | None = None
    direction: Direction | None = None
    space: Mapping[str, Any] = field(default_factory=dict)
    strength: str = "weight_decay"
    companion: str | None = "lr"
    optimizer: Optimizer = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Schedule = "constant"
    fixed: Mapping[str, Any] = field(default_factory=dict)
    proximal: bool = False
    decay: Decay | None = None
    decays: Literal["all", "matrices"] | Callable[[str, Any], bool] = "all"
    clip_norm: float | None = None
    epochs: int = 20
    batch_size: int = 64
    patience: int | None = None
    folds: int | None = None
    last_batch: LastBatch | None = None
    collate: Callable[[list[Any]], Any] | None = None
    loader_workers: int = 0
    fast: Callable[..., FastProgram] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for what can be told to be wrong without looking at model and data."""
        if not callable(self.model):
            raise ValueError(
                f"model={self.model!r}: give a function that returns a new model, as a class does; "
                "one that exists would go on from trial to trial"
            )
        if (self.data is None) == (self.train is None):
            raise ValueError("give either data, or train and validation")
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise ValueError(f"{name}={value!r}: choose {', '.join(map(str, known))}")
        if self.loss is not None and self.step is not None:
            raise ValueError("give a loss or a step, not both: a step contains its loss")
        if not (callable(self.decays) or self.decays in ("all", "matrices")):
            raise ValueError(f"decays={self.decays!r}: give 'all', 'matrices' or a function")
        if (self.optimizer, self.decay) == ("adamw", "coupled"):
            raise ValueError("decay='coupled': adamw's is decoupled; choose optimizer='adam'")
        self._check_numbers()

    def _check_numbers(self) -> None:
        for name in ("epochs", "batch_size", "patience"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name}={value!r}: give 1 or more")
        if self.folds is not None and self.folds < 2:
            raise ValueError(f"folds={self.folds!r}: give 2 or more, or leave it out")
        shares = {
            "momentum": self.momentum,
            **dict(zip(("beta1", "beta2"), self.betas, strict=True)),
        }
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name}={share!r}: give 0 or more, and less than 1")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm={self.clip_norm!r}: give more than 0, or None")
        for name, value in self.fixed.items():
            if name in self.space:
                raise ValueError(f"fixed: {name} is searched, too: give it a value or a range")
            if not takes(name, value):
                raise ValueError(f"fixed: {name}={value!r}: it takes {tell_bounds(name)}")

    @property
    def acting_decay(self) -> Decay:
        """How weight decay acts: as torch's optimizer of the name has it, unless it is said."""
        return self.decay or ("decoupled" if self.optimizer == "adamw" else "coupled")


_CHOICES: dict[str, tuple[Any, ...]] = {
    "optimizer": ("sgd", "adam", "adamw"),
    "schedule": ("constant", "cosine", "onecycle"),
    "decay": (None, *DECAYS),
    "last_batch": (None, "drop", "scale", "keep"),
    "direction": (None, "maximize", "minimize"),
}


def is_share(part: Any) -> bool:
    """Tell a share of the data, or a number of its examples, from a part that was given."""
    return part is None or isinstance(part, int | float)
