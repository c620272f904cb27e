"""Measure this checkout beside another one, as that before a change, in turn on the same machine.

    python -m benchmarks.before OTHER_CHECKOUT [--rounds 3] [--only NAME]...

trial: milliseconds of a no-op trial of one worker, by the number of finished trials, on each
database. rate: no-op trials a second on PostgreSQL, by eight workers or by crews of as many
trainers. function: seconds of ``benchmarks/small_network.py`` by `tuner run`, and by plain Optuna.
startup: seconds from `tuner run` on MNIST to its first training step.
Both checkouts run in this Python, each with its own code; ratios are those of medians.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.databases import database_on, find_usual_servers, product
from benchmarks.function import run_our_function, run_plain_function
from benchmarks.machine import describe_machine, machine_line
from benchmarks.setting import Setting, show_spread
from benchmarks.startup import N_WORKERS, time_to_first_step
from benchmarks.tally import find_steady

NAMES = ("trial", "rate", "function", "startup")
_HERE = Path(__file__).resolve().parent.parent
_N_FINISHED = (10, 1_000, 5_000)
_N_TRIALS, _N_OF_RATE = 24, 1_200
_SECONDS = 600

# Run in either checkout, which has these by the same names.
_TIME_TRIALS = """
import json, sys
from benchmarks.programs import SERVICE, Limit, create_filled, grant, run_service
url, n_finished, n_trials = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
limit = Limit(n_trials, n_trials)
create_filled(SERVICE, url, "s", n_finished)
grant(url, "s", limit)
print(json.dumps(run_service(url, "s", limit)))
"""

Cell = tuple[str, str]  # what was measured, in which checkout


def main(
    other: Annotated[Path, typer.Argument(help="The other checkout.")],
    *,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(NAMES)}.")] = None,
) -> None:
    """Measure this checkout beside another one."""
    trees = {"before": other.resolve(), "after": _HERE}
    found: dict[Cell, list[float]] = defaultdict(list)
    servers = find_usual_servers()
    machine = describe_machine()
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False)
    with tempfile.TemporaryDirectory() as name, Console(stderr=True).status("") as status:
        folder = Path(name)
        for number in range(rounds):
            status.update(f"round {number + 1} of {rounds}")
            for what, tree, value in _measure(trees, servers, folder, tuple(only or NAMES)):
                found[what, tree].append(value)
                load = os.getloadavg()[0]
                console.print(f"{number + 1}  {what}, {tree}: {value:.4g}  (load {load:.1f})")
    console.print(machine_line(machine, dict(product(url) for url in (None, *servers))))
    console.print(_table(found))


def _measure(
    trees: dict[str, Path], servers: list[str], folder: Path, names: tuple[str, ...]
) -> Iterator[tuple[str, str, float]]:
    """Yield what was measured, in which checkout, and the value; each once a checkout."""
    if "trial" in names:
        for server in (None, *servers):
            for n_finished in _N_FINISHED:
                what = f"ms a no-op trial after {n_finished:,}, {product(server)[0]}"
                for tree, path in trees.items():
                    with database_on(server, folder) as url:
                        yield what, tree, _time_trials(path, url, n_finished)
    postgres = next((url for url in servers if product(url)[0] == "PostgreSQL"), None)
    if "rate" in names and postgres is not None:
        for what, tree, crews in (
            ("trials/s, eight workers", "before", [1] * 8),
            ("trials/s, two crews of four", "after", [4, 4]),
            ("trials/s, one crew of eight", "after", [8]),
        ):
            with database_on(postgres, folder) as url:
                yield what, tree, _find_rate(trees[tree], url, crews)
    setting = Setting(
        is_quick=False, data_dir=_HERE / "data", servers=(), folder=folder, announce=lambda _: None
    )
    if "startup" in names:
        for n_workers in N_WORKERS:
            what = f"s to the first training step, --workers {n_workers}"
            for tree, path in trees.items():
                yield what, tree, time_to_first_step(setting, n_workers, path)
    if "function" in names:
        yield "s, plain function by plain Optuna", "after", run_plain_function(setting)
        for tree, path in trees.items():
            yield "s, plain function by `tuner run`", tree, run_our_function(setting, path)


def _environment(tree: Path) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("TUNER_")}
    return {**kept, "PYTHONPATH": str(tree)}


def _time_trials(tree: Path, url: str, n_finished: int) -> float:
    """Return the milliseconds from one objective's call to the next, from the second trial on."""
    arguments = [sys.executable, "-c", _TIME_TRIALS, url, str(n_finished), str(_N_TRIALS)]
    done = subprocess.run(
        arguments,
        cwd=tree,
        env=_environment(tree),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=_SECONDS,
    )
    starts: list[float] = json.loads(done.stdout)
    assert len(starts) == _N_TRIALS
    return 1e3 * statistics.median([b - a for a, b in itertools.pairwise(starts[1:])])


def _find_rate(tree: Path, url: str, crews: list[int]) -> float:
    """Return the trials a second that crews of these sizes finish while all are at work."""
    where = ["--storage", url, "--study", uuid.uuid4().hex]
    tuner, environment = [sys.executable, "-m", "tuner"], _environment(tree)
    options = ["--objective", "benchmarks.no_op:objective", "--trials", str(_N_OF_RATE)]
    create = [*tuner, "create", *where, *options]
    subprocess.run(create, cwd=tree, env=environment, check=True, capture_output=True)
    workers = [
        subprocess.Popen(
            [*tuner, "worker", *where, *(["--workers", str(n)] if n > 1 else [])],
            cwd=tree,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        for n in crews
    ]
    for worker in workers:
        assert worker.wait(_SECONDS) == 0
    return find_steady(url).trials_a_second


def _table(found: dict[Cell, list[float]]) -> Table:
    headings = ("what", "median", "min", "max", "n", "beside before")
    table = Table("", *headings, box=None)
    for (what, tree), values in found.items():
        before = found.get((what, "before"))
        ratio = statistics.median(values) / statistics.median(before) if before else None
        cells = (what, *show_spread(values), str(len(values)))
        table.add_row(tree, *cells, "" if ratio is None or tree == "before" else f"{ratio:.2f}")
    return table


if __name__ == "__main__":
    typer.run(main)
