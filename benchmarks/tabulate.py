"""Measure the tables that studies are simulated on: ``python -m benchmarks.tabulate NAME``.

Every cell of learning rate and λ is trained on the same seeds, by our own lanes, as a confirmation
trains. Writes ``benchmarks/tables/NAME.csv.gz``: the metric by epoch on the validation part, and on
the test part after the last.
"""

import csv
import gzip
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.tasks import TASKS, Task
from benchmarks.worlds import TABLES
from objectives import Params
from objectives.alone import Beginning, train_side_by_side
from tuner.confirmation.fresh_seeds import first_pass, init_number

FIELDS = ("lr", "seed", "weight_decay", "epoch", "val", "test")


def measure(task: Task, seed: int, data_dir: Path) -> Iterator[dict[str, Any]]:
    """Train all cells on a seed, and yield the table's rows."""
    config, epochs = task.spec.training_config(data_dir=data_dir, device="cpu"), task.spec.epochs
    cells = list(product(task.lrs, task.strengths))
    chosen: list[Params] = [{"lr": lr, "weight_decay": strength} for lr, strength in cells]
    begins = first_pass(seed, epochs)
    training = train_side_by_side(
        config,
        [Beginning(params, init_number(seed)) for params in chosen],
        range(begins, begins + epochs),
    )
    for epoch, trained in enumerate(training, start=1):
        if epoch % task.every == 0:
            for params, each in zip(chosen, trained, strict=True):
                test = f"{each.test_value():.5g}" if epoch == epochs else ""
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
