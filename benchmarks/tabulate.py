"""Measure the tables that studies are simulated on: ``python -m benchmarks.tabulate NAME``.

Every cell of learning rate and λ is trained on the same seeds, by our own lanes, as a confirmation
trains. Writes ``benchmarks/tables/NAME.csv.gz``: accuracies by epoch on the validation images, and
on the test images after the last.
"""

import csv
import gzip
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.worlds import TABLES
from objectives import Params
from objectives.alone import Beginning, train_side_by_side
from tuner.confirmation.fresh_seeds import first_pass, init_number
from tuner.spec import build_new_spec

STRENGTHS = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2)
FIELDS = ("lr", "seed", "weight_decay", "epoch", "val", "test")


@dataclass(frozen=True)
class Measured:
    """What a table is measured of; ``every`` so many epochs are kept."""

    dataset: str
    epochs: int
    lrs: tuple[float, ...]
    train_size: int | None = None
    every: int = 1


_LRS = (0.03, 0.1, 0.2, 0.32, 0.5, 0.7, 1.0)
TASKS = {
    "mnist": Measured("mnist", 5, _LRS),
    "mnist_1000": Measured("mnist", 60, _LRS, train_size=1_000, every=6),
    "digits": Measured("digits", 60, _LRS, every=6),
}


def measure(task: Measured, seed: int, data_dir: Path) -> Iterator[dict[str, Any]]:
    """Train all cells on a seed, and yield the table's rows."""
    options = {name: getattr(task, name) for name in ("dataset", "epochs", "train_size")}
    config = build_new_spec(options).training_config(data_dir=data_dir, device="cpu")
    cells = list(product(task.lrs, STRENGTHS))
    chosen: list[Params] = [{"lr": lr, "weight_decay": strength} for lr, strength in cells]
    begins = first_pass(seed, task.epochs)
    training = train_side_by_side(
        config,
        [Beginning(params, init_number(seed)) for params in chosen],
        range(begins, begins + task.epochs),
    )
    for epoch, trained in enumerate(training, start=1):
        if epoch % task.every == 0:
            for params, each in zip(chosen, trained, strict=True):
                test = f"{each.test_value():.5g}" if epoch == task.epochs else ""
                row = {**params, "seed": seed, "epoch": epoch}
                yield {**row, "val": f"{each.result.value:.5g}", "test": test}


def _write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with gzip.open(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)


def main(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(TASKS)}.")],
    n_seeds: Annotated[int, typer.Option("--seeds", help="Seeds, from 1.")] = 10,
    data_dir: Annotated[Path, typer.Option(help="Where data sets are kept.")] = Path("data"),
) -> None:
    """Measure a table; a file of before is replaced after each seed."""
    if name not in TASKS:
        raise typer.BadParameter(f"{name}: choose {', '.join(TASKS)}")
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for seed in range(1, n_seeds + 1):
        rows += measure(TASKS[name], seed, data_dir)
        _write(TABLES / f"{name}.csv.gz", rows)
        print(f"{name}: seed {seed} of {n_seeds}", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
