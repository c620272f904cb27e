"""The ways to train that are compared: which program, with how many lanes and threads."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from benchmarks.loops import InMemory, Textbook
from benchmarks.setting import DATASET, SEED
from objectives import DATASETS, Params, TrainingConfig
from objectives.builtin import make_builtin
from objectives.data import Part, TensorPart
from objectives.gradients import OneByOne, Stacked
from objectives.group import Group, Lane, Program
from objectives.judged import Judged
from objectives.ready import Ready, make_ready
from objectives.seeds import derive_seed
from objectives.simplenet import SimpleNet

BATCH_SIZE = 64
PARAMS = {"weight_decay": 1e-4, "lr": 0.1}

TEXTBOOK, IN_MEMORY, ONE_BY_ONE = "textbook loop", "in-memory loop", "plain-torch program"
STACKED, BY_HAND = "lanes by torch.func", "lanes by hand"


class Trainer(Protocol):
    """Trains models, each with its parameters, on images in an order ``(n,)``."""

    def train(self, models: Sequence[nn.Module], params: Sequence[Params], order: Any) -> object:
        """Train in place, one after another or side by side."""
        ...


@dataclass(frozen=True)
class Way:
    """One way to train: a program, a number of models side by side, torch's threads."""

    name: str
    n_lanes: int
    n_threads: int = 1


class InRows:
    """Trains the built-in problem as anybody's is trained: rows of one matrix."""

    def __init__(self, program: Program, data_dir: Path) -> None:
        self._program, self._ready = program, _make_ready(data_dir)

    def train(
        self, models: Sequence[nn.Module], params: Sequence[Params], order: torch.Tensor
    ) -> None:
        """Train one after another, or side by side."""
        problem = self._ready.problem
        lanes = [
            Lane(Judged(model, problem), own, 0) for model, own in zip(models, params, strict=True)
        ]
        group = Group(self._program, problem, lanes, self._ready.n_steps)
        for batch in self._ready.parts.train.batches(order.numpy(), BATCH_SIZE):
            assert problem.prepare is not None
            group.take(problem.prepare(batch))
        group.store()


@cache
def _make_ready(data_dir: Path) -> Ready:
    config = TrainingConfig(
        "simplenet", DATASET, SEED, batch_size=BATCH_SIZE, data_dir=data_dir, device="cpu"
    )
    return make_ready(make_builtin(config), config)[0]


def _in_memory(part: Part) -> Any:
    assert isinstance(part, TensorPart)
    return part.tree


def _open_by_hand(data_dir: Path) -> Trainer:
    ready = _make_ready(data_dir)
    train, validation = map(_in_memory, (ready.parts.train, ready.parts.validation))
    assert ready.problem.fast is not None
    few = tuple(tensor[:1] for tensor in validation)  # scoring costs nothing worth measuring
    return ready.problem.fast(train, few, BATCH_SIZE, scales=False)


@torch.no_grad()
def find_accuracy(model: nn.Module, data_dir: Path) -> float:
    """Return the fraction of validation images that a model classifies correctly."""
    images, labels = _in_memory(_make_ready(data_dir).parts.validation)
    return float((model(images.float() / 255).argmax(1) == labels).double().mean())


# Each opens its own data, as a process that trains in this one way does.
TRAINERS: dict[str, Callable[[Path], Trainer]] = {
    TEXTBOOK: lambda data_dir: Textbook(data_dir, BATCH_SIZE),
    IN_MEMORY: lambda data_dir: InMemory(data_dir, BATCH_SIZE),
    ONE_BY_ONE: lambda data_dir: InRows(OneByOne, data_dir),
    STACKED: lambda data_dir: InRows(Stacked, data_dir),
    BY_HAND: _open_by_hand,
}


def train_anew(trainer: Trainer, way: Way, order: torch.Tensor) -> tuple[float, nn.Module]:
    """Train new models in this order; return the seconds for all together, and the first model."""
    models = []
    for lane in range(way.n_lanes):
        torch.manual_seed(derive_seed(SEED, "init", lane))
        models.append(SimpleNet())
    torch.set_num_threads(way.n_threads)
    started = time.perf_counter()
    trainer.train(models, [PARAMS] * way.n_lanes, order)
    return time.perf_counter() - started, models[0]


def seconds_an_epoch(trainer: Trainer, way: Way, order: torch.Tensor) -> float:
    """Train new models in a part of an epoch's order; return seconds an epoch and model."""
    seconds, _ = train_anew(trainer, way, order)
    return seconds / way.n_lanes * DATASETS[DATASET].n_train / len(order)
