"""Measure everything side by side in one run, and write tables and a picture.

    python -m benchmarks [--quick] [--only NAME]... [--data-dir data] [--storage-url URL]...

A full run writes ``benchmarks/results/full.*``, which docs/speed.md quotes (``python -m
benchmarks.quote``); others write ``quick.*`` or ``partial.*``. Not to be run beside other work.
"""

import importlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.databases import check_server, find_usual_servers, product
from benchmarks.machine import describe_machine
from benchmarks.results import FOLDER, Results, write_results
from benchmarks.section import FIGURE_HEADINGS, Section
from benchmarks.setting import DATASET, SEED, Setting
from objectives.datasets import load_training_data

# Modules with a function `measure`; those that others' load would disturb most come first.
NAMES = (
    *("startup", "lanes", "optimizers", "studies", "problems", "function", "overhead"),
    "throughput",
)


def main(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Two minutes: less of all.")] = False,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Measure this alone: {', '.join(NAMES)}. Repeatable.")
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Where data sets are kept.")] = Path("data"),
    storage_url: Annotated[
        list[str] | None,
        typer.Option(
            help="Server to measure besides SQLite, in a database of its own. Repeatable. "
            "`none` for none. Default: the usual local PostgreSQL and MariaDB, where they answer."
        ),
    ] = None,
    results_dir: Annotated[Path, typer.Option(help="Where results are written.")] = FOLDER,
) -> None:
    """Measure everything side by side in one run, and write tables and a picture."""
    names = _check_names(only or list(NAMES))
    servers = _check_servers(storage_url)
    started = time.monotonic()
    machine = describe_machine()
    load_training_data(DATASET, seed=SEED, data_dir=data_dir)  # fetched once, not timed
    # Tables that are piped keep their lines whole.
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 140)
    sections: dict[str, Section] = {}
    with tempfile.TemporaryDirectory() as folder, console.status("") as status:
        setting = Setting(
            is_quick=quick,
            data_dir=data_dir.resolve(),
            servers=tuple(servers),
            folder=Path(folder),
            announce=lambda text: status.update(f"{text} ({time.monotonic() - started:.0f} s)"),
        )
        for name in names:
            sections[name] = importlib.import_module(f"benchmarks.{name}").measure(setting)
            _show(console, sections[name])
    results = Results(
        command=" ".join(["python -m benchmarks", *sys.argv[1:]]),
        is_quick=quick,
        machine=machine,
        databases=dict(product(server) for server in (None, *servers)),
        seconds=time.monotonic() - started,
        sections=sections,
    )
    kind = "quick" if quick else "full" if names == list(NAMES) else "partial"
    for file in write_results(results, results_dir, kind):
        print(file)


def _check_names(names: list[str]) -> list[str]:
    """Return the names in the order of measurement; exit with one line if there is no such."""
    for name in names:
        if name not in NAMES:
            raise typer.BadParameter(f"--only {name}: choose one of {', '.join(NAMES)}")
    return [name for name in NAMES if name in names]


def _check_servers(urls: list[str] | None) -> list[str]:
    """Return the servers to measure on; exit with one message if one cannot be used."""
    if urls is None:
        return find_usual_servers()
    if urls == ["none"]:
        return []
    for number, url in enumerate(urls):
        try:
            check_server(url)
        except ValueError as error:
            raise typer.BadParameter(f"--storage-url, number {number + 1}: {error}") from error
    return urls


def _show(console: Console, section: Section) -> None:
    """Print a section's table and figures, so that a long run is watched as it goes."""
    for headings, rows in (
        (section.headings, section.rows),
        (FIGURE_HEADINGS, [figure.row for figure in section.figures]),
    ):
        if rows:
            table = Table(*headings, title=section.title)
            for row in rows:
                table.add_row(*row)
            console.print(table)


if __name__ == "__main__":
    typer.run(main)
