"""Measure what training trials side by side gains, and how near it comes to the arithmetic.

    python -m benchmarks.lanes [--quick] [--rounds 9] [--dataset mnist] [--data-dir data] [--seed 0]

Seconds an epoch and model, with one thread, of: the textbook loop on tensors in memory
(``torch.optim.SGD`` and ``loss.backward()``), a trial at a time, and ``objectives.lanes``'
programs with 1 to 32 lanes. No way scores, and no imports or set-up of data are timed. A round runs
every way once on a fifth of an epoch, so that all meet the same load; the median of the rounds
counts. Quick: on a twentieth.

The limit is the matrix products alone: per step 2·B·784·128 operations each for the hidden layer's
outputs and its gradient, and three times 2·B·128·10 for the output layer, at the speed of a
1024x1024x1024 ``torch.mm`` measured in every round. More than 100 % is possible, as
``objectives.perceptron`` leaves out pixels that are dark in a whole batch.

Peak memory is a fresh process's that trains ten batches, from when the data are loaded: torch
itself and the data are in it. Only Linux tells it.
"""

import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import joblib
import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.nn import functional

from objectives.base import Hyperparameters
from objectives.catalog import DATASETS
from objectives.datasets import load_training_data
from objectives.lanes import OneByOne, Program
from objectives.perceptron import Perceptrons
from objectives.seeds import derive_seed, permutation
from objectives.stacked import StackedModels
from objectives.training import TensorSplit, build_model, to_device

BATCH_SIZE = 64
HYPERPARAMETERS = Hyperparameters(weight_decay=1e-4, lr=0.1)
N_HIDDEN = 128
MATRIX_SIZE = 1024
LANES = (1, 2, 4, 6, 8, 16, 32)
MIB = 1024**2

Dataset = Literal["mnist", "fashion-mnist", "digits"]


class Textbook:
    """The loop of the tutorials, but on tensors in memory instead of a DataLoader."""

    def __init__(self, train: TensorSplit, _validation: TensorSplit, batch_size: int) -> None:
        self._data, self._batch_size = train, batch_size

    def train(
        self,
        models: list[torch.nn.Module],
        hyperparameters: list[Hyperparameters],
        order: torch.Tensor,
    ) -> None:
        """Train one model after another."""
        for model, chosen in zip(models, hyperparameters, strict=True):
            optimizer = torch.optim.SGD(
                model.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay
            )
            for batch in torch.split(order, self._batch_size):
                logits = model(self._data.images[batch])
                loss = functional.cross_entropy(logits, self._data.labels[batch])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()


KINDS: dict[str, Callable[[TensorSplit, TensorSplit, int], Program | Textbook]] = {
    "textbook": Textbook,
    "one by one": OneByOne,
    "stacked": StackedModels,
    "by hand": Perceptrons,
}
WAYS = [
    *((name, 1) for name in ("textbook", "one by one")),
    *((name, n_lanes) for name in ("stacked", "by hand") for n_lanes in LANES),
]


@dataclass(frozen=True)
class Setting:
    """What is trained, and how much of it."""

    dataset: str
    data_dir: Path
    seed: int
    n_images: int

    def load(self) -> TensorSplit:
        """Return the training images."""
        train, _ = load_training_data(self.dataset, seed=self.seed, data_dir=self.data_dir)
        return to_device(train, torch.device("cpu"))


@dataclass
class Way:
    """One way to train with a number of lanes, the seconds its epochs took, and its memory."""

    name: str
    n_lanes: int
    program: Program | Textbook
    seconds: list[float] = field(default_factory=list)

    def time_epoch(self, setting: Setting, order: torch.Tensor) -> None:
        """Train new models in this order and keep the seconds an epoch and model."""
        seconds = train_anew(self.program, self.n_lanes, setting, order)
        full = DATASETS[setting.dataset].n_train
        self.seconds.append(seconds / self.n_lanes * full / len(order))


def main(
    *,
    quick: Annotated[bool, typer.Option(help="Rounds of a twentieth of an epoch.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is timed.")] = 9,
    dataset: Annotated[Dataset, typer.Option(help="Data set.")] = "mnist",
    data_dir: Annotated[Path, typer.Option(help="Where raw files are kept.")] = Path("data"),
    seed: Annotated[int, typer.Option(help="Decides split, weights and order.")] = 0,
) -> None:
    """Time epochs of every way in turn, and print them beside the limit of the arithmetic."""
    torch.set_num_threads(1)
    load_before = os.getloadavg()[0]
    n_images = DATASETS[dataset].n_train // (20 if quick else 5)
    setting = Setting(dataset, data_dir, seed, n_images)
    data = setting.load()
    # Scoring a single image costs nothing worth measuring.
    single = TensorSplit(data.images[:1], data.labels[:1])
    programs = {name: kind(data, single, BATCH_SIZE) for name, kind in KINDS.items()}
    ways = [Way(name, n_lanes, programs[name]) for name, n_lanes in WAYS]
    for way in ways:  # first uses import and allocate
        train_anew(way.program, way.n_lanes, setting, torch.arange(2 * BATCH_SIZE))
    speeds = []
    for number in track(range(rounds), "Training"):
        order = torch.from_numpy(permutation(len(data.labels), derive_seed(seed, "order", number)))
        for way in ways:
            speeds.append(matrix_speed())
            way.time_epoch(setting, order[:n_images])
    peaks = [peak_memory(way.name, way.n_lanes, setting) for way in ways]
    title = (
        f"{dataset}, {rounds} rounds of {n_images:,} images, {seed=}, load before {load_before:.1f}"
    )
    report(ways, peaks, statistics.median(speeds), Table(title=title), setting)


def train_anew(
    program: Program | Textbook, n_lanes: int, setting: Setting, order: torch.Tensor
) -> float:
    """Train new models in this order and return the seconds taken, all lanes together."""
    models = [
        build_model("simplenet", setting.dataset, derive_seed(setting.seed, "init", lane))
        for lane in range(n_lanes)
    ]
    started = time.perf_counter()
    program.train(models, [HYPERPARAMETERS] * n_lanes, order)
    return time.perf_counter() - started


def matrix_speed() -> float:
    """Return the operations a second of a large matrix product: the best of ten."""
    left, right = torch.rand(MATRIX_SIZE, MATRIX_SIZE), torch.rand(MATRIX_SIZE, MATRIX_SIZE)
    product = torch.empty_like(left)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        torch.mm(left, right, out=product)
        seconds.append(time.perf_counter() - started)
    return 2 * MATRIX_SIZE**3 / min(seconds)


def operations(dataset: str) -> int:
    """Return how many operations an epoch's matrix products take for one model."""
    facts = DATASETS[dataset]
    hidden, output = 2 * facts.n_inputs * N_HIDDEN, 2 * N_HIDDEN * facts.n_classes
    return facts.n_train * (2 * hidden + 3 * output)


def peak_memory(name: str, n_lanes: int, setting: Setting) -> int | None:
    """Return the bytes that a fresh process needs at most to train so, where Linux tells."""
    if sys.platform != "linux":
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_train_a_little, (name, n_lanes, setting))


def _train_a_little(name: str, n_lanes: int, setting: Setting) -> int:
    torch.set_num_threads(1)
    data = setting.load()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak: see proc(5)
    single = TensorSplit(data.images[:1], data.labels[:1])
    program = KINDS[name](data, single, BATCH_SIZE)
    del data
    train_anew(program, n_lanes, setting, torch.arange(10 * BATCH_SIZE))
    # Not `ru_maxrss`: a process inherits its parent's.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def report(
    ways: list[Way], peaks: list[int | None], speed: float, table: Table, setting: Setting
) -> None:
    """Print versions, seconds, multiples of the textbook loop, share of the limit, memory."""
    console = Console()
    console.print(
        f"Python {platform.python_version()}, torch {torch.__version__}, 1 thread, "
        f"{joblib.cpu_count(only_physical_cores=True)} cores",
        soft_wrap=True,
    )
    limit = operations(setting.dataset) / speed
    for heading in (
        "way",
        "lanes",
        "median s",
        "min s",
        "max s",
        "speed-up",
        "of limit",
        "peak MiB",
    ):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    textbook = statistics.median(ways[0].seconds)
    for way, peak in zip(ways, peaks, strict=True):
        median = statistics.median(way.seconds)
        shown = [f"{seconds:.3f}" for seconds in (median, min(way.seconds), max(way.seconds))]
        shown_peak = "-" if peak is None else f"{peak / MIB:,.0f}"
        ratios = f"{textbook / median:.2f}", f"{limit / median:.0%}"
        table.add_row(way.name, str(way.n_lanes), *shown, *ratios, shown_peak)
    console.print(table)
    console.print(
        f"Seconds an epoch and model; the limit is {limit:.3f} s, at {speed / 1e9:.0f} billion "
        "operations a second",
        soft_wrap=True,
    )


if __name__ == "__main__":
    typer.run(main)
