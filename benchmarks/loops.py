"""The loops that ours are compared with, as people write them, and how torchvision reads our data.

Each trains like ``objectives.problem.FastProgram``: models one after another, in the order given.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import transforms

from benchmarks.setting import DATASET, SEED
from objectives import DATASETS
from objectives.facts import Params
from objectives.seeds import derive_seed, permutation


class Textbook:
    """The tutorials' loop: torchvision's PIL images, ToTensor, DataLoader, ``torch.optim.SGD``."""

    def __init__(self, data_dir: Path, batch_size: int) -> None:
        self._images: Subset[Any] = Subset(_load_mnist(data_dir), _training_indices())
        self._batch_size = batch_size

    def train(
        self,
        models: Sequence[nn.Module],
        params: Sequence[Params],
        order: torch.Tensor,
    ) -> None:
        """Train one model after another."""
        for model, chosen in zip(models, params, strict=True):
            optimizer = _optimizer(model, chosen)
            loader = DataLoader(self._images, batch_size=self._batch_size, sampler=order.tolist())
            for images, labels in loader:
                _take_step(model, optimizer, images.flatten(1), labels)


class InMemory:
    """The tutorials' loop, but on tensors in memory instead of a DataLoader."""

    def __init__(self, data_dir: Path, batch_size: int) -> None:
        mnist, indices = _load_mnist(data_dir), _training_indices()
        self._images = mnist.data[indices].flatten(1).float().div_(255)
        self._labels = mnist.targets[indices]
        self._batch_size = batch_size

    def train(
        self,
        models: Sequence[nn.Module],
        params: Sequence[Params],
        order: torch.Tensor,
    ) -> None:
        """Train one model after another."""
        for model, chosen in zip(models, params, strict=True):
            optimizer = _optimizer(model, chosen)
            for batch in torch.split(order, self._batch_size):
                _take_step(model, optimizer, self._images[batch], self._labels[batch])


def _load_mnist(data_dir: Path) -> Any:
    return torchvision.datasets.MNIST(
        str(data_dir), train=True, download=False, transform=transforms.ToTensor()
    )


def _training_indices() -> list[int]:
    """Return which of the 60,000 images our split trains on, in its order."""
    facts = DATASETS[DATASET]
    split = permutation(facts.n_train + facts.n_validation, derive_seed(SEED, "split"))
    return [int(index) for index in split[: facts.n_train]]


def _optimizer(model: nn.Module, chosen: Params) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=chosen["lr"], weight_decay=chosen["weight_decay"])


def _take_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> None:
    optimizer.zero_grad()
    loss = functional.cross_entropy(model(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
