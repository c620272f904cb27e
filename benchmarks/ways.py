"""The ways to train that are compared: which program, with how many lanes and threads."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from benchmarks.loops import InMemory, Textbook
from benchmarks.setting import DATASET, SEED
from objectives import DATASETS
from objectives.datasets import load_training_data
from objectives.lanes import OneByOne, Program
from objectives.perceptron import Perceptrons
from objectives.seeds import derive_seed
from objectives.stacked import StackedModels
from objectives.training import TensorSplit, build_model, to_device

BATCH_SIZE = 64
PARAMS = {"weight_decay": 1e-4, "lr": 0.1}

TEXTBOOK, IN_MEMORY, ONE_BY_ONE = "textbook loop", "in-memory loop", "plain-torch program"
STACKED, BY_HAND = "lanes by torch.func", "lanes by hand"

Trainer = Program | Textbook | InMemory


@dataclass(frozen=True)
class Way:
    """One way to train: a program, a number of models side by side, torch's threads."""

    name: str
    n_lanes: int
    n_threads: int = 1


def load_validation(data_dir: Path) -> TensorSplit:
    """Return the validation images."""
    return _load(data_dir)[1]


def _load(data_dir: Path) -> tuple[TensorSplit, TensorSplit]:
    splits = load_training_data(DATASET, seed=SEED, data_dir=data_dir)
    train, validation = (to_device(split, torch.device("cpu")) for split in splits)
    return train, validation


def _open(kind: Callable[[TensorSplit, TensorSplit, int], Program], data_dir: Path) -> Program:
    train, validation = _load(data_dir)
    # Scoring one image costs nothing worth measuring.
    return kind(train, validation.take(torch.arange(1)), BATCH_SIZE)


# Each opens its own data, as a process that trains in this one way does.
TRAINERS: dict[str, Callable[[Path], Trainer]] = {
    TEXTBOOK: lambda data_dir: Textbook(data_dir, BATCH_SIZE),
    IN_MEMORY: lambda data_dir: InMemory(data_dir, BATCH_SIZE),
    ONE_BY_ONE: lambda data_dir: _open(OneByOne, data_dir),
    STACKED: lambda data_dir: _open(StackedModels, data_dir),
    BY_HAND: lambda data_dir: _open(Perceptrons, data_dir),
}


def train_anew(trainer: Trainer, way: Way, order: torch.Tensor) -> tuple[float, nn.Module]:
    """Train new models in this order; return the seconds for all together, and the first model."""
    models = [
        build_model("simplenet", DATASET, derive_seed(SEED, "init", lane))
        for lane in range(way.n_lanes)
    ]
    torch.set_num_threads(way.n_threads)
    started = time.perf_counter()
    trainer.train(models, [PARAMS] * way.n_lanes, order)
    return time.perf_counter() - started, models[0]


def seconds_an_epoch(trainer: Trainer, way: Way, order: torch.Tensor) -> float:
    """Train new models in a part of an epoch's order; return seconds an epoch and model."""
    seconds, _ = train_anew(trainer, way, order)
    return seconds / way.n_lanes * DATASETS[DATASET].n_train / len(order)
