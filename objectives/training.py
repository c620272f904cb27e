"""Train networks with plain torch: the reference that every faster way is tested against.

The data set is one tensor in memory and a batch is an index into it: no DataLoader, no transform
per image. Measured by ``python -m benchmarks.training``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.optim.sgd import sgd

from objectives.base import EpochResult, Hyperparameters, TrainingConfig
from objectives.catalog import DATASETS
from objectives.datasets import Split, load_training_data
from objectives.errors import UnknownNameError
from objectives.models import MODELS
from objectives.seeds import derive_seed, permutation

# Bounds the memory that activations take while a whole split is scored.
_SCORING_BATCH_SIZE = 10_000


@dataclass(frozen=True)
class TensorSplit:
    """Images ``(n, inputs)`` float32 in 0..1 and labels ``(n,)`` int64 on the training device."""

    images: torch.Tensor
    labels: torch.Tensor


@dataclass
class _Lane:
    model: nn.Module
    hyperparameters: Hyperparameters
    epoch: int = 0


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto`` (CUDA, else MPS, else CPU) or a torch device name.

    Raises UnknownNameError when torch does not know the name or this machine lacks the device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0][:200]
        raise UnknownNameError(f"Device {name!r} cannot be used here: {reason}") from error
    if device.type == "meta":
        raise UnknownNameError("Device 'meta' holds no data, so nothing can be trained on it")
    return device


def to_device(split: Split, device: torch.device) -> TensorSplit:
    """Move a split to a device; on the CPU the arrays' memory is shared."""
    return TensorSplit(
        torch.from_numpy(split.images).to(device), torch.from_numpy(split.labels).to(device)
    )


def build_model(objective: str, dataset: str, seed: int) -> nn.Module:
    """Return a freshly initialised model on the CPU; the same seed gives the same weights."""
    facts = DATASETS[dataset]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # not `torch.manual_seed`: it seeds CUDA too
        return MODELS[objective](facts.n_inputs, facts.n_classes)


@torch.no_grad()
def sgd_step(
    parameters: list[torch.Tensor],
    gradients: list[torch.Tensor],
    hyperparameters: Hyperparameters,
) -> None:
    """Update in place as ``torch.optim.SGD(lr=..., weight_decay=...)``: by torch's own function.

    The optimizer object is not used: making one imports ``torch._dynamo``, which takes 1.6 s.
    """
    sgd(
        parameters,
        gradients,
        [None] * len(parameters),
        fused=True,  # one pass over the weights: 6 % of an epoch saved on the CPU
        foreach=False,
        lr=hyperparameters.lr,
        weight_decay=hyperparameters.weight_decay,
        momentum=0.0,
        dampening=0.0,
        nesterov=False,
        maximize=False,
    )


def train_epoch(
    model: nn.Module,
    hyperparameters: Hyperparameters,
    data: TensorSplit,
    order: torch.Tensor,
    batch_size: int,
) -> float:
    """Train one epoch in the given order ``(n,)`` int64; return the mean loss over its images.

    The last batch may be smaller, as with ``DataLoader``'s default.
    """
    model.train()
    parameters: list[torch.Tensor] = list(model.parameters())
    batches = torch.split(order, batch_size)
    losses = []  # they stay on the device: no round trip a step
    for batch in batches:
        # `index_select` takes a batch twice as fast as indexing by a tensor.
        images, labels = data.images.index_select(0, batch), data.labels.index_select(0, batch)
        loss = functional.cross_entropy(model(images), labels)
        sgd_step(parameters, list(torch.autograd.grad(loss, parameters)), hyperparameters)
        losses.append(loss.detach())
    sizes = torch.tensor([len(batch) for batch in batches], device=order.device)
    return float((torch.stack(losses) * sizes).sum()) / len(order)


@torch.no_grad()
def accuracy(model: nn.Module, data: TensorSplit) -> float:
    """Return the fraction of images classified correctly, in 0..1."""
    model.eval()
    n_correct = torch.zeros((), dtype=torch.int64, device=data.labels.device)
    for images, labels in zip(
        torch.split(data.images, _SCORING_BATCH_SIZE),
        torch.split(data.labels, _SCORING_BATCH_SIZE),
        strict=True,
    ):
        n_correct += (model(images).argmax(dim=1) == labels).sum()
    return int(n_correct) / len(data.labels)


class SequentialLanes:
    """Lanes trained one after another, each by plain torch (see ``objectives.base.Lanes``)."""

    def __init__(self, config: TrainingConfig, *, n_lanes: int = 1, first_pass: int = 0) -> None:
        """Load the data set; raises DataError, and UnknownNameError for a device not to be had."""
        self._config = config
        self._n_lanes = n_lanes
        self._next_pass = first_pass
        self._lanes: dict[int, _Lane] = {}
        self.device = choose_device(config.device)
        train, validation = load_training_data(
            config.dataset, seed=config.seed, train_size=config.train_size, data_dir=config.data_dir
        )
        self._train = to_device(train, self.device)
        self._validation = to_device(validation, self.device)

    @property
    def n_free(self) -> int:
        """How many more trials can be added now."""
        return self._n_lanes - len(self._lanes)

    @property
    def next_pass(self) -> int:
        """The number of the pass that ``train_pass`` runs next."""
        return self._next_pass

    def add(self, trial_number: int, hyperparameters: Hyperparameters) -> None:
        """Give a free lane to a trial."""
        assert self.n_free > 0
        seed = derive_seed(self._config.seed, "init", trial_number)
        model = build_model(self._config.objective, self._config.dataset, seed).to(self.device)
        self._lanes[trial_number] = _Lane(model, hyperparameters)

    def train_pass(self) -> dict[int, EpochResult]:
        """Train every lane for one epoch and return the results by trial number."""
        n_images = len(self._train.labels)
        seed = derive_seed(self._config.seed, "order", self._next_pass)
        order = torch.from_numpy(permutation(n_images, seed)).to(self.device)
        results = {number: self._train_lane(lane, order) for number, lane in self._lanes.items()}
        self._next_pass += 1
        return results

    def _train_lane(self, lane: _Lane, order: torch.Tensor) -> EpochResult:
        loss = train_epoch(
            lane.model, lane.hyperparameters, self._train, order, self._config.batch_size
        )
        lane.epoch += 1
        return EpochResult(lane.epoch, loss, accuracy(lane.model, self._validation))

    def remove(self, trial_number: int) -> None:
        """Free a trial's lane."""
        del self._lanes[trial_number]

    def model(self, trial_number: int) -> nn.Module:
        """Return the model of a trial in training."""
        return self._lanes[trial_number].model


def train_alone(
    config: TrainingConfig,
    hyperparameters: Hyperparameters,
    *,
    epochs: int,
    trial_number: int = 0,
    first_pass: int = 0,
) -> Iterator[tuple[EpochResult, Callable[[Split], float]]]:
    """Train one trial by itself, epoch by epoch, as whatever worker ran it did.

    With each result comes a function that scores the model as it is then on another split.
    """
    lanes = SequentialLanes(config, first_pass=first_pass)
    lanes.add(trial_number, hyperparameters)

    def score(split: Split) -> float:
        return accuracy(lanes.model(trial_number), to_device(split, lanes.device))

    for _ in range(epochs):
        yield lanes.train_pass()[trial_number], score
