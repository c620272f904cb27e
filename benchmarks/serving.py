"""How long the service lets its clients wait, and whether watching the dashboard slows training.

    python -m benchmarks.serving [--quick] [--server URL]... [--data-dir data]

On SQLite and the usual local PostgreSQL, `tuner serve` runs as a process and holds a study of 2,000
trials, most of them pruned, with its confirmation and a recorded answer. Clients ask in turn for
its status, its answer as TOML, its status, and its answer once more by the ETag that they hold:
100 clients once a second each, as scripts poll; then 100 that ask again at once, as no script
should. Then one worker trains the same study, on a fifth of MNIST so that trials come often, while
10 people watch its page of the dashboard and while nobody does, in turn. Prints Markdown; ends in
six minutes. Not to be run beside other work.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.databases import database_on, find_usual_servers, product
from benchmarks.machine import describe_machine, machine_line
from benchmarks.polling import PATHS, Load, Polled, percentile, poll
from benchmarks.section import FIGURE_HEADINGS, Figure, markdown_table
from benchmarks.served_study import create_served_study
from benchmarks.service import serving
from benchmarks.setting import DATASET, SEED
from benchmarks.statements import Statements, count_statements
from benchmarks.watching import Plan, Watched, watch_training
from objectives.datasets import load_training_data
from storage import parse_url

_TRAIN_SIZE = 10_000
_FIRST = Load(10, 1.0, 0)  # what is loaded once is not timed


@dataclass(frozen=True)
class Size:
    """How much is measured; without a plan nobody trains."""

    n_trials: int
    paced: Load
    unpaced: Load
    plan: Plan | None


FULL = Size(2_000, Load(100, 20.0, 1.0), Load(100, 8.0, 0), Plan(10, 5, 10.0))
QUICK = Size(2_000, Load(100, 5.0, 1.0), Load(100, 3.0, 0), Plan(10, 1, 10.0))


@dataclass(frozen=True)
class Served:
    """What was measured on one database."""

    database: str
    statements: dict[str, Statements]
    paced: Polled
    unpaced: Polled
    watched: Watched | None


def measure_serving(server: str | None, size: Size, data_dir: Path, folder: Path) -> Served:
    """Measure the service on a database of its own: on this server, or an SQLite file."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    with database_on(server, folder) as url:
        token = create_served_study(url, size.n_trials, _TRAIN_SIZE)
        statements = {kind: count_statements(url, token, path) for kind, path in PATHS.items()}
        with serving(url, folder) as service:
            poll(service, token, _FIRST)
            paced = poll(service, token, size.paced)
            unpaced = poll(service, token, size.unpaced)
            watched = None
            if size.plan is not None:
                watched = watch_training(url, service, token, data_dir, size.plan)
    return Served(product(server)[0], statements, paced, unpaced, watched)


def tables(served: list[Served]) -> str:
    """Return what was measured, in Markdown."""
    blocks = [
        markdown_table(FIGURE_HEADINGS, [f.row for one in served for f in _figures(one)]),
        "Milliseconds from when a request was due to the end of its answer. CPU is that of the "
        "server and of all clients together, as parts of one core; SQL statements of a request: "
        "alone, just after another, and each of 100 at once.",
        markdown_table(_POLLED_HEADINGS, [row for one in served for row in _polled_rows(one)]),
    ]
    if any(one.watched for one in served):
        blocks += [
            "One worker, watched and alone: median (minimum to maximum) over the rounds.",
            markdown_table(_WATCHED_HEADINGS, [row for one in served for row in _rounds(one)]),
        ]
    return "\n\n".join(blocks)


def _figures(served: Served) -> Iterator[Figure]:
    where = served.database
    for what, polled in (("once a second", served.paced), ("at once", served.unpaced)):
        name = f"{where}: p95, {polled.load.n_clients} clients that ask {what}"
        value = 1e3 * percentile(polled.all_latencies, 95)
        n_failures = f"{len(polled.failures)} failures" if polled.failures else ""
        yield Figure(name, value, " ms", 100, at_least=False, spread=n_failures)
    if served.watched is not None:
        ratios = served.watched.ratios
        yield Figure(
            f"{where}: speed of training while {served.watched.plan.n_viewers} people watch",
            100 * statistics.median(ratios),
            " %",
            95,
            at_least=True,
            spread=f"{100 * min(ratios):.1f} to {100 * max(ratios):.1f}",
        )


_POLLED_HEADINGS = (
    "database", "clients ask", "endpoint", "requests", "a second", "p50", "p95", "p99", "max",
    "server CPU", "clients' CPU", "SQL",
)  # fmt: skip


def _polled_rows(served: Served) -> Iterator[list[str]]:
    for what, polled in (("once a second", served.paced), ("at once", served.unpaced)):
        for kind, latencies in polled.latencies.items():
            sql = served.statements[kind]
            yield [
                served.database,
                what,
                kind,
                str(len(latencies)),
                f"{len(latencies) / polled.seconds:.0f}",
                *(f"{1e3 * percentile(latencies, percent):.1f}" for percent in (50, 95, 99)),
                f"{1e3 * max(latencies):.1f}",
                f"{polled.server_cpu_seconds / polled.seconds:.2f}",
                f"{polled.client_cpu_seconds / polled.seconds:.2f}",
                f"{sql.alone}, {sql.following}, {sql.of_many:.2f}",
            ]


_WATCHED_HEADINGS = (
    "database", "training", "rounds", "trial-epochs a second", "worker's CPU ms an epoch",
    "server CPU",
)  # fmt: skip


def _rounds(served: Served) -> Iterator[list[str]]:
    if served.watched is None:
        return
    for what, rounds in (("alone", served.watched.alone), ("watched", served.watched.watched)):
        yield [
            served.database,
            what,
            str(len(rounds)),
            _spread([r.epochs_a_second for r in rounds], 2),
            _spread([r.cpu_ms_an_epoch for r in rounds], 1),
            _spread([r.server_cpu_share for r in rounds], 3),
        ]


def _spread(values: list[float], digits: int) -> str:
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A minute: less of all.")] = False,
    server: Annotated[
        list[str] | None, typer.Option(help="Server, besides SQLite, instead of the usual one.")
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Where data sets are kept.")] = Path("data"),
) -> None:
    """Measure the service, and print Markdown."""
    usual = [u for u in find_usual_servers() if parse_url(u).get_backend_name() == "postgresql"]
    servers = [None, *(usual if server is None else server)]
    started, machine = time.monotonic(), describe_machine()
    load_training_data(DATASET, seed=SEED, data_dir=data_dir)  # fetched once, not timed
    with tempfile.TemporaryDirectory() as name:
        size = QUICK if quick else FULL
        served = [measure_serving(one, size, data_dir.resolve(), Path(name)) for one in servers]
    minutes = (time.monotonic() - started) / 60
    print(f"{minutes:.1f} min, {machine_line(machine, dict(product(one) for one in servers))}.\n")
    print(tables(served))
    failures = [f for one in served for f in (*one.paced.failures, *one.unpaced.failures)]
    if failures:
        print(f"\n{len(failures)} failures, the first: {failures[0]}")
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
