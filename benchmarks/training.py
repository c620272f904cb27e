"""Measure an epoch of the textbook loop beside one of ours, and check that they learn alike.

    python -m benchmarks.training [--epochs 3] [--dataset mnist] [--data-dir data] [--seed 0]

Textbook: torchvision's data set of PIL images, ToTensor, DataLoader, ``torch.optim.SGD`` and
``loss.backward()``, with as many threads as torch takes by default, and again with one: beside
other processes on two cores, two threads took up to six times as long as one, so only the ratio
with one thread speaks of the loop alone. Ours: ``objectives.training.train_epoch`` on tensors in
memory, with one thread, as a worker runs it. An epoch is what a trial reports: training with its
mean loss, then the accuracy on 10,000 validation images. Imports are not timed.

Epochs alternate, so that all meet the same load. All start from the same weights and see the same
images in the same order, the DataLoader by its sampler: six orders alone gave accuracies a point
apart after three epochs. The exit status is 1 if they differ by more than 0.3 points. On MNIST
rounding alone makes 0.04 (seeds 0 to 3); on Fashion-MNIST it makes up to 0.7, even between the
textbook loop with one thread and with two, so there the status says little.
"""

import copy
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import joblib
import torch
import torchvision
import typer
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Subset
from torchvision import transforms

from objectives import raw_files
from objectives.base import Hyperparameters
from objectives.catalog import DATASETS
from objectives.datasets import load_training_data
from objectives.seeds import derive_seed, permutation
from objectives.training import TensorSplit, accuracy, build_model, to_device, train_epoch

BATCH_SIZE = 64
HYPERPARAMETERS = Hyperparameters(weight_decay=1e-4, lr=0.1)
# 30 of 10,000 images; summing in another order moved at most 4 of MNIST's (module docstring).
MAX_ACCURACY_DIFFERENCE = 0.003

Dataset = Literal["mnist", "fashion-mnist"]
RAW_DATASETS: dict[str, raw_files.RawDataset] = {
    "mnist": raw_files.MNIST,
    "fashion-mnist": raw_files.FASHION_MNIST,
}


@dataclass
class Loop:
    """One way to train: its model, what trains and scores it, and the seconds each took."""

    name: str
    n_threads: int
    model: nn.Module
    train: Callable[[nn.Module, torch.Tensor], float]
    score: Callable[[nn.Module], float]
    training_seconds: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)
    accuracy: float = 0.0

    def warm_up(self, order: torch.Tensor) -> None:
        """Train a copy on one batch: the first use of ``torch.optim`` imports for seconds."""
        self.train(copy.deepcopy(self.model), order[:BATCH_SIZE])

    def time_epoch(self, order: torch.Tensor) -> None:
        """Train one epoch, score it, and keep how long both took."""
        torch.set_num_threads(self.n_threads)
        started = time.perf_counter()
        self.train(self.model, order)
        self.training_seconds.append(time.perf_counter() - started)
        self.accuracy = self.score(self.model)
        self.epoch_seconds.append(time.perf_counter() - started)


def main(
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each loop.")] = 3,
    dataset: Annotated[Dataset, typer.Option(help="Data set.")] = "mnist",
    data_dir: Annotated[Path, typer.Option(help="Where raw files are kept.")] = Path("data"),
    seed: Annotated[int, typer.Option(help="Decides split, weights and order.")] = 0,
) -> None:
    """Time epochs of the textbook loop and of ours in turn, and compare their accuracies."""
    load_before = os.getloadavg()[0]
    train, validation = load_training_data(dataset, seed=seed, data_dir=data_dir)
    data, unseen = (to_device(split, torch.device("cpu")) for split in (train, validation))
    model = build_model("simplenet", dataset, derive_seed(seed, "init"))
    images, unseen_images = torchvision_images(dataset, seed, data_dir)
    textbook = textbook_training(images), textbook_scoring(unseen_images)
    loops = [
        Loop("textbook", torch.get_num_threads(), copy.deepcopy(model), *textbook),
        Loop("textbook", 1, copy.deepcopy(model), *textbook),
        Loop("ours", 1, copy.deepcopy(model), our_training(data), lambda m: accuracy(m, unseen)),
    ]
    for epoch in range(epochs):
        order = torch.from_numpy(permutation(len(train), derive_seed(seed, "order", epoch)))
        for loop in loops:
            if epoch == 0:
                loop.warm_up(order)
            loop.time_epoch(order)
    setting = f"{dataset}, {len(train):,} images, {epochs=}, {seed=}, {load_before=:.1f}"
    report(loops, setting)
    accuracies = [loop.accuracy for loop in loops]
    if max(accuracies) - min(accuracies) > MAX_ACCURACY_DIFFERENCE:
        raise typer.Exit(1)


def torchvision_images(dataset: str, seed: int, data_dir: Path) -> tuple[Subset[Any], Subset[Any]]:
    """Return our training and validation images, in our order, as torchvision hands them out."""
    images = getattr(torchvision.datasets, RAW_DATASETS[dataset].folder)(
        str(data_dir), train=True, download=False, transform=transforms.ToTensor()
    )
    split = permutation(len(images), derive_seed(seed, "split")).tolist()
    n_train = DATASETS[dataset].n_train
    return Subset(images, split[:n_train]), Subset(images, split[n_train:])


def textbook_training(images: Subset[Any]) -> Callable[[nn.Module, torch.Tensor], float]:
    """Return the training loop of the tutorials over these images."""

    def train(model: nn.Module, order: torch.Tensor) -> float:
        optimizer = torch.optim.SGD(
            model.parameters(), lr=HYPERPARAMETERS.lr, weight_decay=HYPERPARAMETERS.weight_decay
        )
        model.train()
        total = 0.0
        for batch, labels in DataLoader(images, batch_size=BATCH_SIZE, sampler=order.tolist()):
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(batch.flatten(1)), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(labels)
        return total / len(order)

    return train


def textbook_scoring(images: Subset[Any]) -> Callable[[nn.Module], float]:
    """Return the scoring loop of the tutorials (pytorch/examples, mnist) over these images."""

    @torch.no_grad()
    def score(model: nn.Module) -> float:
        model.eval()
        n_correct = 0
        for batch, labels in DataLoader(images, batch_size=1000):
            n_correct += int((model(batch.flatten(1)).argmax(dim=1) == labels).sum().item())
        return n_correct / len(images)

    return score


def our_training(data: TensorSplit) -> Callable[[nn.Module, torch.Tensor], float]:
    """Return the loop that trials run."""

    def train(model: nn.Module, order: torch.Tensor) -> float:
        return train_epoch(model, HYPERPARAMETERS, data, order, BATCH_SIZE)

    return train


def report(loops: list[Loop], setting: str) -> None:
    """Print versions, seconds an epoch, medians in multiples of ours, and who learnt what."""
    console = Console(width=110)
    console.print(
        f"Python {platform.python_version()}, torch {torch.__version__}, torchvision "
        f"{torchvision.__version__}, {joblib.cpu_count(only_physical_cores=True)} cores"
    )
    table = Table(title=setting, box=None)
    for heading in ("loop", "threads", "training s", "epoch s", "min", "max", "accuracy"):
        table.add_column(heading)
    table.add_column("training, times ours")
    table.add_column("epoch, times ours")
    ours = loops[-1]
    for loop in loops:
        epoch = loop.epoch_seconds
        seconds = (_median(loop.training_seconds), _median(epoch), min(epoch), max(epoch))
        ratios = (
            _median(loop.training_seconds) / _median(ours.training_seconds),
            _median(epoch) / _median(ours.epoch_seconds),
        )
        table.add_row(
            loop.name,
            str(loop.n_threads),
            *(f"{value:.2f}" for value in seconds),
            f"{loop.accuracy:.2%}",
            *(f"{ratio:.1f}" for ratio in ratios),
        )
    console.print(table)
    accuracies = [loop.accuracy for loop in loops]
    difference = max(accuracies) - min(accuracies)
    verdict = "agree" if difference <= MAX_ACCURACY_DIFFERENCE else "DIFFER"
    console.print(
        f"Validation accuracies {verdict}: {100 * difference:.2f} points apart, "
        f"{100 * MAX_ACCURACY_DIFFERENCE:.1f} allowed"
    )


def _median(values: list[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    typer.run(main)
