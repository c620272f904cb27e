"""What many workers cost one database: simulated crews behind a PgBouncer.

    python -m benchmarks.scale [--workers 10 --workers 100 ...] [--trial-seconds 600]
        [--report-seconds 5] [--seconds 60] [--results-dir benchmarks/results]

No training: each simulated worker is a real one's storage, with the study's own sampler, and sends
what that sends, when it does: it claims, asks, reports, ends and renews its lease. The server is a
private PostgreSQL behind a PgBouncer in transaction mode; both, and the workers, share this
machine, so latencies are upper bounds. Workers begin spread over a trial's length, as in the
middle of a study; what is measured begins when all of them are at work.

Then again with trials as much shorter as there are fewer workers, so that as many end in a second:
what is read then tells what another worker costs, and not what another trial does.
"""

import contextlib
import heapq
import json
import math
import multiprocessing
import os
import random
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy
import typer
from matplotlib.figure import Figure as Picture
from rich.console import Console
from sqlalchemy import event

from benchmarks.history import fill_study
from benchmarks.machine import describe_machine, machine_line
from benchmarks.polling import percentile
from benchmarks.pooler import PgBouncer
from benchmarks.postgres import PrivatePostgres, read_cpu_seconds, read_memory
from benchmarks.section import FIGURE_HEADINGS, Figure, markdown_table
from storage import (
    Claimant,
    Retry,
    WorkerStorage,
    create_storage,
    open_storage,
    parse_url,
    register_worker,
)
from tuner.study import create_or_resume, load_study, with_sampler

_STUDY = "scale"
_N_FINISHED = 200
_POOL_SIZE = 20
_N_PROCESSES = 2
_COUNTERS = sqlalchemy.text(
    "SELECT xact_commit, tup_returned, tup_fetched, tup_inserted + tup_updated "
    "FROM pg_stat_database WHERE datname = current_database()"
)
_CONNECTIONS = sqlalchemy.text("SELECT COUNT(*) FROM pg_stat_activity WHERE datname IS NOT NULL")


@dataclass(frozen=True)
class Pace:
    """How long trials are, how often they report, and how long is measured, in seconds."""

    trial: float
    report: float
    measured: float


@dataclass
class Seen:
    """What one process of simulated workers has seen while it was measured."""

    reports: list[float] = field(default_factory=list)  # seconds of a transaction with reports
    claims: list[float] = field(default_factory=list)  # seconds of a claim, its reading with it
    n_statements: int = 0
    n_rows: int = 0  # that were read
    n_ended: int = 0
    n_late: int = 0  # events that this machine came to more than a second too late


class _Tap:
    """Listens to an engine: counts statements and rows, times transactions with reports."""

    def __init__(self, engine: sqlalchemy.Engine, seen: Seen, is_measured: threading.Event) -> None:
        self._seen, self._is_measured = seen, is_measured
        self._local = threading.local()
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "commit", self._commit)
        event.listen(engine, "after_cursor_execute", self._note)

    def _begin(self, _connection: Any) -> None:
        self._local.began, self._local.reports = time.perf_counter(), False

    def _note(self, _connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "trial_intermediate_values" in statement and statement.startswith("INSERT"):
            self._local.reports = True
        if self._is_measured.is_set():
            self._seen.n_statements += 1
            self._seen.n_rows += max(0, cursor.rowcount) if statement.startswith("SELECT") else 0

    def _commit(self, _connection: Any) -> None:
        if self._local.reports and self._is_measured.is_set():
            self._seen.reports.append(time.perf_counter() - self._local.began)


class _Worker:
    """A worker without a trainer: what it does next, and when."""

    def __init__(self, url: str, ordinal: int, pace: Pace, chance: random.Random) -> None:
        self._pace, self._chance = pace, chance
        self.database = open_storage(url)
        self._loaded = load_study(self.database, _STUDY)
        self._retry = Retry(parse_url(url), 60, lambda: False)
        engine, study_id = self.database.engine, self._loaded.study_id
        worker_id, _ = register_worker(engine, study_id, "simulated", ordinal)
        self.storage = WorkerStorage(self.database, Claimant(study_id, worker_id, 60), self._retry)
        self._study = with_sampler(self._loaded, self.storage, ordinal)
        self._trial: Any = None
        self._step, self._ends_at = 0, 0.0

    def begin(self, now: float, *, is_first: bool) -> float:
        """Claim a trial and ask for its parameters; return when it is to be looked at again."""
        self.storage.claim(1)
        self._trial = self._study.ask()
        self._trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
        self._trial.suggest_float("lr", 1e-3, 1.0, log=True)
        length = self._pace.trial * (self._chance.random() if is_first else 1)
        self._step, self._ends_at = 0, now + length
        return now + self._chance.random() * self._pace.report

    def go_on(self, now: float) -> float | None:
        """Report, or end the trial; return when to go on, None if it has ended."""
        if now >= self._ends_at:
            self._study.tell(self._trial, self._chance.random())
            return None
        self._step += 1
        self._trial.report(self._chance.random(), self._step)
        return now + self._pace.report


def _simulate(url: str, ordinals: Sequence[int], pace: Pace, pipe: Any) -> None:
    """Be so many workers; measure when told, and send what was seen."""
    chance, seen, is_measured = random.Random(ordinals[0]), Seen(), threading.Event()
    due: list[tuple[float, int]] = []
    with contextlib.ExitStack() as stack:
        workers = {}
        for ordinal in ordinals:
            worker = _Worker(url, ordinal, pace, chance)
            _Tap(worker.database.engine, seen, is_measured)
            stack.enter_context(worker.storage)
            workers[ordinal] = worker
            heapq.heappush(due, (worker.begin(time.monotonic(), is_first=True), ordinal))
            _run(workers, due, seen, is_measured, until=time.monotonic())
        pipe.send("all are at work")
        while not pipe.poll():
            _run(workers, due, seen, is_measured, until=time.monotonic() + 0.05)
        pipe.recv()
        is_measured.set()
        _run(workers, due, seen, is_measured, until=time.monotonic() + pace.measured)
        is_measured.clear()
        pipe.send(asdict(seen))
        pipe.recv()
        os._exit(0)  # a thousand workers need not leave in good order


def _run(
    workers: dict[int, _Worker],
    due: list[tuple[float, int]],
    seen: Seen,
    is_measured: threading.Event,
    *,
    until: float,
) -> None:
    """Do what is due until a moment."""
    while (now := time.monotonic()) < until or (due and due[0][0] <= until):
        if not due or due[0][0] > now:
            if now >= until:
                return
            time.sleep(min(0.01, max(0.0, min(until, due[0][0] if due else until) - now)))
            continue
        at, ordinal = heapq.heappop(due)
        worker = workers[ordinal]
        follows = worker.go_on(at)
        if follows is None:
            began = time.perf_counter()
            follows = worker.begin(time.monotonic(), is_first=False)
            if is_measured.is_set():
                seen.claims.append(time.perf_counter() - began)
                seen.n_ended += 1
        if is_measured.is_set():
            seen.n_late += now - at > 1
        heapq.heappush(due, (follows, ordinal))
        if now > until + 5:
            return


def measure(n_workers: int, pace: Pace) -> dict[str, Any]:
    """Return what so many workers cost, by name."""
    with PrivatePostgres(max_connections=100) as server:
        direct = server.url.render_as_string(hide_password=False)
        with PgBouncer(direct, pool_size=_POOL_SIZE, max_clients=4 * n_workers + 100) as pooler:
            url = pooler.url
            storage = create_storage(url)
            loaded = create_or_resume(storage, _STUDY, {"pruner": "none"}, n_trials=1_000_000)
            fill_study(storage.engine, loaded.study_id, _N_FINISHED)
            storage.engine.dispose()
            with _simulators(url, n_workers, pace) as pipes:
                return _observe(server, pipes, n_workers, pace)


@contextlib.contextmanager
def _simulators(url: str, n_workers: int, pace: Pace) -> Iterator[list[Any]]:
    """Start processes that are all of the workers; yield a pipe to each once they are at work."""
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], []
    for index in range(_N_PROCESSES):
        ours, theirs = context.Pipe()
        ordinals = range(index, n_workers, _N_PROCESSES)
        process = context.Process(target=_simulate, args=(url, ordinals, pace, theirs))
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


def _observe(server: PrivatePostgres, pipes: list[Any], n: int, pace: Pace) -> dict[str, Any]:
    engine = sqlalchemy.create_engine(server.url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for pipe in pipes:
            pipe.send("measure")
        before, cpu = connection.execute(_COUNTERS).one(), read_cpu_seconds(server.pid)
        began, most = time.monotonic(), 0
        while time.monotonic() - began < pace.measured:
            most = max(most, connection.execute(_CONNECTIONS).scalar_one())
            time.sleep(0.5)
        after, seconds = connection.execute(_COUNTERS).one(), time.monotonic() - began
        cpu = (read_cpu_seconds(server.pid) - cpu) / seconds
        memory = read_memory(server.pid)
        found = [Seen(**pipe.recv()) for pipe in pipes]
    engine.dispose()
    reports = [each for seen in found for each in seen.reports]
    claims = [each for seen in found for each in seen.claims]
    commits, returned, fetched, written = (
        (b - a) / seconds for a, b in zip(before, after, strict=True)
    )
    return {
        "workers": n,
        "statements/s": sum(seen.n_statements for seen in found) / seconds,
        "transactions/s": commits,
        "rows read/s": sum(seen.n_rows for seen in found) / seconds,
        "rows looked at/s": returned + fetched,
        "rows written/s": written,
        "trials/s": sum(seen.n_ended for seen in found) / seconds,
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


def main(
    workers: Annotated[list[int] | None, typer.Option(help="How many; repeatable.")] = None,
    trial_seconds: Annotated[float, typer.Option(help="How long a trial is.")] = 600.0,
    report_seconds: Annotated[float, typer.Option(help="How often it reports.")] = 5.0,
    seconds: Annotated[float, typer.Option(help="How long is measured.")] = 60.0,
    results_dir: Annotated[Path, typer.Option()] = Path(__file__).parent / "results",
) -> None:
    """Measure what many workers cost one database."""
    counts = sorted(workers or (10, 100, 500, 1_000))
    pace, console = Pace(trial_seconds, report_seconds, seconds), Console(stderr=True)
    rows = [_measure_aloud(n, pace, console) for n in counts]
    # As many trials a second as the most workers end, where such a trial reports at least once.
    paces = {n: replace(pace, trial=trial_seconds * n / counts[-1]) for n in counts[:-1]}
    paces = {n: each for n, each in paces.items() if each.trial >= report_seconds}
    same_rate = [_measure_aloud(n, each, console) for n, each in paces.items()] + rows[-1:]
    sizes = f"--trial-seconds {trial_seconds:g} --report-seconds {report_seconds:g}"
    command = f"python -m benchmarks.scale {sizes} --seconds {seconds:g}"
    results_dir.mkdir(parents=True, exist_ok=True)
    machine = machine_line(describe_machine(), {})
    text = f"# Scale\n\n`{command}`, {machine}\n\n{_write(rows, same_rate)}\n"
    (results_dir / "scale.md").write_text(text)
    found = {"command": command, "rows": rows, "same_rate": same_rate}
    (results_dir / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(rows, same_rate, results_dir / "scale.png")
    print(text)


def _measure_aloud(n_workers: int, pace: Pace, console: Console) -> dict[str, Any]:
    console.print(f"{n_workers} workers, trials of {pace.trial:g} s")
    row = measure(n_workers, pace)
    console.print_json(json.dumps(row))
    return row


def _write(rows: list[dict[str, Any]], same_rate: list[dict[str, Any]]) -> str:
    largest = rows[-1]
    figures = [
        Figure("p95 of a report", largest["report p95 ms"], " ms", 100, at_least=False),
        Figure("connections at the server", largest["connections"], "", 50, at_least=False),
        Figure("share of a core", largest["share of a core"], "", 0.6, at_least=False),
    ]
    if len(same_rate) > 1:
        name = "rows read grow with workers to the power of"
        figures.append(Figure(name, find_power(same_rate), "", 1.1, at_least=False))
    told = markdown_table(FIGURE_HEADINGS, [each.row for each in figures])
    blocks = [_table(rows), f"At {largest['workers']:,} workers:", told]
    blocks += ["With as many trials a second whatever the number of workers:", _table(same_rate)]
    return "\n\n".join(blocks)


def find_power(rows: Sequence[dict[str, Any]]) -> float:
    """Return with which power of their number workers read rows: the slope of the logarithms."""
    return statistics.linear_regression(
        [math.log(row["workers"]) for row in rows], [math.log(row["rows read/s"]) for row in rows]
    ).slope


def _table(rows: list[dict[str, Any]]) -> str:
    return markdown_table(list(rows[0]), [[_show(each) for each in row.values()] for row in rows])


def draw(rows: list[dict[str, Any]], same_rate: list[dict[str, Any]], file: Path) -> None:
    """Draw against the number of workers: what a report takes, and what is read in a second."""
    picture = Picture(figsize=(12, 4.5), layout="constrained")
    left, right = picture.subplots(1, 2)
    counts = [row["workers"] for row in rows]
    for percent in (50, 95, 99):
        left.plot(counts, [row[f"report p{percent} ms"] for row in rows], "o-", label=f"p{percent}")
    left.set_title("a report with its commit, ms")
    for title, each in (("trials of one length", rows), ("as many trials a second", same_rate)):
        numbers = [row["workers"] for row in each], [row["rows read/s"] for row in each]
        right.plot(*numbers, "o-", label=title)
    right.set_title("rows read in a second")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="workers")
        axes.grid(visible=True, color="#e4e4e4")
        axes.legend()
    picture.savefig(file, dpi=110)


def _show(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"


if __name__ == "__main__":
    typer.run(main)
