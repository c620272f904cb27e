"""What many workers cost one database: simulated crews behind a PgBouncer.

    python -m benchmarks.scale [--workers 10 --workers 100 ...] [--trial-seconds 600]
        [--report-seconds 5] [--crew 8 --crew 1 ...] [--seconds 60] [--results-dir DIR]

No training: each simulated crew is a real one's storage, with the study's own sampler, and sends
what that sends, when it does: it claims, asks, reports and ends for its workers, renews leases,
looks for orders and for lost workers. The server is a private PostgreSQL behind a PgBouncer in
transaction mode; both, and the crews, share this machine, so latencies are upper bounds. Workers
begin spread over a trial's length, as in the middle of a study; what is measured begins when all of
them are at work.

Then again with trials as much shorter as there are fewer workers, which report as often: so as many
trials end in a second, and what is read tells what another worker costs, not another trial.
"""

import contextlib
import json
import math
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy
import typer
from matplotlib.figure import Figure as Picture
from rich.console import Console

from benchmarks.history import fill_study
from benchmarks.machine import describe_machine, machine_line
from benchmarks.polling import percentile
from benchmarks.pooler import PgBouncer
from benchmarks.postgres import PrivatePostgres, read_cpu_seconds, read_memory
from benchmarks.results import FOLDER, QUOTE_BEGIN, QUOTE_END
from benchmarks.section import FIGURE_HEADINGS, Figure, markdown_table
from benchmarks.simulated_crews import STUDY, Load, simulate
from storage import create_storage
from tuner.study import create_or_resume

_WORKERS, _CREWS, _AIMED_AT = (10, 100, 500, 1_000), (8, 4, 32), 1_000
_N_FINISHED = 200
_POOL_SIZE = 20
_N_PROCESSES = 2
_COUNTERS = sqlalchemy.text(
    "SELECT xact_commit, tup_returned, tup_fetched, tup_inserted + tup_updated "
    "FROM pg_stat_database WHERE datname = current_database()"
)
_CONNECTIONS = sqlalchemy.text("SELECT COUNT(*) FROM pg_stat_activity WHERE datname IS NOT NULL")

# What was measured of a load, by name.
Row = dict[str, Any]


def measure(load: Load) -> Row:
    """Return what a load costs, by name."""
    n_clients = 4 * load.n_workers + 100
    with PrivatePostgres(max_connections=100) as server:
        direct = server.url.render_as_string(hide_password=False)
        with PgBouncer(direct, pool_size=_POOL_SIZE, max_clients=n_clients) as pooler:
            url = pooler.url
            storage = create_storage(url)
            loaded = create_or_resume(storage, STUDY, {"pruner": "none"}, n_trials=1_000_000)
            fill_study(storage.engine, loaded.study_id, _N_FINISHED)
            storage.engine.dispose()
            with _simulators(url, load) as pipes:
                return _observe(server, pipes, load)


@contextlib.contextmanager
def _simulators(url: str, load: Load) -> Iterator[list[Any]]:
    """Start processes that are all of the crews; yield a pipe to each once they are at work."""
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], []
    for index in range(min(_N_PROCESSES, load.n_crews)):
        ours, theirs = context.Pipe()
        mine = dict(list(enumerate(load.divide()))[index::_N_PROCESSES])
        process = context.Process(target=simulate, args=(url, mine, load, theirs))
        process.start()
        processes.append(process)
        pipes.append(ours)
    try:
        for pipe in pipes:
            assert pipe.recv() == "all are at work"
        yield pipes
    finally:
        for process in processes:
            process.kill()
            process.join()


def _observe(server: PrivatePostgres, pipes: list[Any], load: Load) -> Row:
    engine = sqlalchemy.create_engine(server.url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for pipe in pipes:
            pipe.send("measure")
        before, cpu = connection.execute(_COUNTERS).one(), read_cpu_seconds(server.pid)
        began, most = time.monotonic(), 0
        while time.monotonic() - began < load.measured:
            most = max(most, connection.execute(_CONNECTIONS).scalar_one())
            time.sleep(0.5)
        after, seconds = connection.execute(_COUNTERS).one(), time.monotonic() - began
        cpu = (read_cpu_seconds(server.pid) - cpu) / seconds
        memory = read_memory(server.pid)
        found = [pipe.recv() for pipe in pipes]
    engine.dispose()
    reports = [each for seen in found for each in seen.reports]
    claims = [each for seen in found for each in seen.claims]
    commits, returned, fetched, written = (
        (b - a) / seconds for a, b in zip(before, after, strict=True)
    )
    return {
        "workers": load.n_workers,
        "crews": load.n_crews,
        "statements/s": sum(seen.n_statements for seen in found) / seconds,
        "transactions/s": commits,
        "rows read/s": sum(seen.n_rows for seen in found) / seconds,
        "rows looked at/s": returned + fetched,
        "rows written/s": written,
        "trials/s": len(claims) / seconds,
        **_quantiles("report", reports),
        **_quantiles("claim", claims),
        "connections": most - 1,  # less this one
        "share of a core": cpu,
        "MiB": memory,
        "late": sum(seen.n_late for seen in found),
    }


def _quantiles(name: str, seconds: list[float]) -> dict[str, float]:
    is_enough = len(seconds) > 1
    return {
        f"{name} p{percent} ms": 1e3 * percentile(seconds, percent) if is_enough else math.nan
        for percent in (50, 95, 99)
    }


def main(  # noqa: PLR0913, PLR0917 (a command's options)
    workers: Annotated[list[int] | None, typer.Option(help="How many; repeatable.")] = None,
    crew: Annotated[list[int] | None, typer.Option(help="Workers of a crew; repeatable.")] = None,
    trial_seconds: Annotated[float, typer.Option(help="How long a trial is.")] = 600.0,
    report_seconds: Annotated[float, typer.Option(help="How often it reports.")] = 5.0,
    seconds: Annotated[float, typer.Option(help="How long is measured.")] = 60.0,
    results_dir: Annotated[Path, typer.Option()] = FOLDER,
) -> None:
    """Measure what many workers cost one database, in crews of the first size; then other sizes.

    The aims are for 1,000 workers, or the next fewer.
    """
    counts, (size, *others) = sorted(workers or _WORKERS), crew or _CREWS
    loads = [Load(n, size, trial_seconds, report_seconds, seconds) for n in counts]
    aimed = next((load for load in reversed(loads) if load.n_workers <= _AIMED_AT), loads[0])
    before = loads[: loads.index(aimed)]
    series: dict[str, list[Load]] = {f"Trials of one length, in crews of {size}": loads}
    shorter = [load.shorten(load.n_workers / aimed.n_workers) for load in before]
    series["The same trials, as many a second"] = [*shorter, aimed]
    series["Other sizes of crews"] = [aimed, *(replace(aimed, n_per_crew=n) for n in others)]
    found: dict[Load, Row] = {}
    for load in chain.from_iterable(series.values()):
        if load not in found:
            found[load] = measure_aloud(load)
    sizes = f"--trial-seconds {trial_seconds:g} --report-seconds {report_seconds:g}"
    command = f"python -m benchmarks.scale {sizes} --seconds {seconds:g}"
    rows = {title: [found[load] for load in each] for title, each in series.items()}
    _write_results(rows, found[aimed], command, results_dir)


def measure_aloud(load: Load) -> Row:
    """Measure, and show what with which result."""
    console = Console(stderr=True)
    console.print(f"{load.n_workers} workers in {load.n_crews} crews, trials of {load.trial:g} s")
    row = measure(load)
    console.print_json(json.dumps(row))
    return row


def _write_results(
    series: Mapping[str, list[Row]], aimed: Row, command: str, results_dir: Path
) -> None:
    results_dir.mkdir(parents=True, exist_ok=True)
    (results_dir / "scale.json").write_text(json.dumps(series, indent=1) + "\n")
    draw(series, results_dir / "scale.png")
    told = markdown_table(FIGURE_HEADINGS, [each.row for each in _judge(series, aimed)])
    where = f"`{command}`, {machine_line(describe_machine(), {})}"
    at = f"At {aimed['workers']:,} workers:"
    blocks = ["# Scale", QUOTE_BEGIN, where, at, told, QUOTE_END]
    for title, rows in series.items():
        blocks += [f"## {title}", _table(rows)]
    text = "\n\n".join(blocks) + "\n"
    (results_dir / "scale.md").write_text(text)
    print(text)


def _judge(series: Mapping[str, list[Row]], aimed: Row) -> list[Figure]:
    figures = [
        Figure("p95 of a report", aimed["report p95 ms"], " ms", 100, at_least=False),
        Figure("connections at the server", aimed["connections"], "", 50, at_least=False),
        Figure("share of a core", aimed["share of a core"], "", 0.6, at_least=False),
    ]
    same_rate = list(series.values())[1]
    if len(same_rate) > 1:
        name = "rows read grow with workers to the power of"
        figures.append(Figure(name, find_power(same_rate), "", 1.1, at_least=False))
    return figures


def find_power(rows: Sequence[Row]) -> float:
    """Return with which power of their number workers read rows: the slope of the logarithms."""
    return statistics.linear_regression(
        [math.log(row["workers"]) for row in rows], [math.log(row["rows read/s"]) for row in rows]
    ).slope


def _table(rows: list[Row]) -> str:
    first, *others = ([name, *(_show(row[name]) for row in rows)] for name in rows[0])
    return markdown_table(first, others)


def draw(series: Mapping[str, list[Row]], file: Path) -> None:
    """Draw against the number of workers: what a report takes, and what is read in a second."""
    picture = Picture(figsize=(12, 4.5), layout="constrained")
    left, right = picture.subplots(1, 2)
    (title, rows), (other_title, same_rate), *_ = series.items()
    counts = [row["workers"] for row in rows]
    for percent in (50, 95, 99):
        left.plot(counts, [row[f"report p{percent} ms"] for row in rows], "o-", label=f"p{percent}")
    left.set_title("a report with its commit, ms")
    for name, each in ((title, rows), (other_title, same_rate)):
        numbers = [row["workers"] for row in each], [row["rows read/s"] for row in each]
        right.plot(*numbers, "o-", label=name)
    right.set_title("rows read in a second")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="workers")
        axes.set_xticks(counts, [f"{n:,}" for n in counts])
        axes.minorticks_off()
        axes.grid(visible=True, color="#e4e4e4")
        axes.legend()
    picture.savefig(file, dpi=110)


def _show(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:,.0f}" if value >= 100 or isinstance(value, int) else f"{value:.3g}"


if __name__ == "__main__":
    typer.run(main)
