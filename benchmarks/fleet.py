"""Let fleets of workers spend a budget, and check by plain SQL that they spent it exactly.

    python -m benchmarks.fleet [--quick] [--only exact|starts|scale]... [--server URL]...
        [--workers 64] [--sampler tpe]

exact: many workers on one study of no-op trials. starts: workers that create tables and study all
at the same moment, again and again. scale: one PostgreSQL (a private one where the server has not
two connections a worker) and trials that sleep, so that nothing but the service costs time: the
throughput beside the ideal, which is workers divided by a trial's sleep, the most connections that
were open, and the CPU time of workers (their start with it) and server. Without
``--server``, on SQLite and the usual local servers. The exit status is 1 if anything is wrong: a
budget not spent exactly, a lease left, a line in a log that warns, a worker that failed.
"""

import contextlib
import math
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import sqlalchemy
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import no_op
from benchmarks.crew import Returned, run_crew
from benchmarks.databases import database_on, find_usual_servers, product
from benchmarks.machine import describe_machine, machine_line
from benchmarks.postgres import (
    PrivatePostgres,
    count_free_connections,
    find_postgres_programs,
    find_postmaster,
    read_cpu_seconds,
)
from benchmarks.tally import find_problems, find_steady
from storage import create_storage, parse_url
from tuner.study import create_or_resume

NAMES = ("exact", "starts", "scale")

_STUDY = "fleet"
_PATIENCE_SECONDS = 900
_CONNECTIONS_PER_WORKER = 2
_OTHER_CONNECTIONS = 20
_SAMPLE_SECONDS = 0.1
_CONNECTIONS = sqlalchemy.text("SELECT COUNT(*) FROM pg_stat_activity WHERE datname = :name")


@dataclass(frozen=True)
class Size:
    """How many workers, and how many trials they finish together."""

    n_workers: int
    n_trials: int


_START = Size(8, 40)


@dataclass(frozen=True)
class Check:
    """One line of the result."""

    name: str
    database: str
    size: Size
    outcome: str
    problems: list[str]

    @property
    def row(self) -> list[str]:
        """The cells of a table."""
        size = (f"{self.size.n_workers}", f"{self.size.n_trials:,}")
        return [self.name, self.database, *size, self.outcome, str(len(self.problems))]


@dataclass
class Fleet:
    """Where logs and SQLite files go, and whom to tell what is going on."""

    folder: Path
    announce: Callable[[str], None]
    n_crews: int = field(default=0, init=False)

    def check_exact(self, server: str | None, size: Size) -> Check:
        """Let many workers finish no-op trials."""
        with database_on(server, self.folder) as url:
            _create(url, {"objective": "benchmarks.no_op:objective"}, size)
            returned = self._send("exact", server, url, size)
            problems = returned.problems + find_problems(url, size.n_trials, size.n_workers)
            speed = find_steady(url).trials_a_second
        return _check("exact", server, size, f"{speed:.1f} trials/s", problems)

    def check_starts(self, server: str | None, n_rounds: int) -> Check:
        """Let workers create tables and study, all at once, in a new database each round."""
        options = f"--objective benchmarks.no_op:objective --trials {_START.n_trials}"
        problems: list[str] = []
        for number in range(n_rounds):
            with database_on(server, self.folder) as url:
                what = f"starts, round {number}"
                problems += self._send(what, server, url, _START, f"create {options}").problems
                problems += find_problems(url, _START.n_trials, _START.n_workers)
        return _check("starts", server, _START, f"{n_rounds} rounds", problems)

    def measure_scale(self, server: str, size: Size, sampler: str) -> Check:
        """Let workers sleep, and compare what they finish with what sleepers could."""
        load = os.getloadavg()[0]  # others' work: nothing of ours runs yet
        with database_on(server, self.folder) as url:
            _create(url, {"objective": "benchmarks.no_op:nap", "sampler": sampler}, size)
            postmaster = find_postmaster(parse_url(server))
            seconds_before = read_cpu_seconds(postmaster) if postmaster else 0.0
            with _count_connections(server, parse_url(url).database) as counts:
                returned = self._send("scale", server, url, size)
            seconds = read_cpu_seconds(postmaster) - seconds_before if postmaster else math.nan
            problems = returned.problems + find_problems(url, size.n_trials, size.n_workers)
            steady = find_steady(url)
        ideal = size.n_workers / no_op.NAP_SECONDS
        outcome = (
            f"{sampler}: {steady.trials_a_second:.1f} trials/s, "
            f"{steady.trials_a_second / ideal:.0%} of the ideal over {steady.seconds:.0f} s; "
            f"{max(counts) / size.n_workers:.2f} connections a worker; CPU ms a trial: "
            f"{1e3 * returned.cpu_seconds / size.n_trials:.1f} workers, "
            f"{1e3 * seconds / size.n_trials:.1f} server; load before: {load:.1f}"
        )
        return _check("scale", server, size, outcome, problems)

    def _send(self, what: str, server: str | None, url: str, size: Size, *before: str) -> Returned:
        """Let a crew work on the study until its budget is spent."""
        self.announce(f"{what}: {size.n_workers} workers on {product(server)[0]}")
        self.n_crews += 1
        where = f"--storage {url} --study {_STUDY}"
        commands = [f"{command} {where}" for command in (*before, "worker")]
        folder = self.folder / f"crew-{self.n_crews}"
        return run_crew(commands, size.n_workers, folder, _PATIENCE_SECONDS)


def _create(url: str, options: dict[str, str], size: Size) -> None:
    storage = create_storage(url)
    create_or_resume(storage, _STUDY, options, n_trials=size.n_trials)
    storage.engine.dispose()


def _check(name: str, server: str | None, size: Size, outcome: str, problems: list[str]) -> Check:
    return Check(name, " ".join(product(server)), size, outcome, problems)


@contextlib.contextmanager
def _count_connections(server: str, database: str | None) -> Iterator[list[int]]:
    """Yield a list that grows by the number of a PostgreSQL database's connections."""
    counts = [0]
    is_over = threading.Event()
    engine = sqlalchemy.create_engine(parse_url(server), isolation_level="AUTOCOMMIT")

    def count() -> None:
        with engine.connect() as connection:
            while not is_over.wait(_SAMPLE_SECONDS):
                counts.append(connection.execute(_CONNECTIONS, {"name": database}).scalar_one())

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield counts
    finally:
        is_over.set()
        thread.join()
        engine.dispose()


def main(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="A fifth of all trials.")] = False,
    only: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(NAMES)}.")] = None,
    server: Annotated[
        list[str] | None, typer.Option(help="Server, instead of SQLite and the usual ones.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Workers of `scale`.")] = 64,
    sampler: Annotated[str, typer.Option(help="Sampler of `scale`.")] = "tpe",
) -> None:
    """Let fleets of workers spend a budget, and check that they spent it exactly."""
    servers: list[str | None] = [*server] if server else [None, *find_usual_servers()]
    machine = describe_machine()
    checks: list[Check] = []
    with tempfile.TemporaryDirectory() as name, Console(stderr=True).status("") as status:
        fleet = Fleet(Path(name), status.update)
        plan = Plan(tuple(only or NAMES), 5 if quick else 1, workers, sampler)
        for check in _run_checks(fleet, servers, plan):
            checks.append(check)
            status.console.print(
                *check.row, soft_wrap=True
            )  # so that a long run is watched as it goes
    _show(checks, machine_line(machine, dict(product(url) for url in servers)))
    if any(check.problems for check in checks):
        raise typer.Exit(1)


@dataclass(frozen=True)
class Plan:
    """What was asked for; all trials and rounds are divided by ``divisor``."""

    names: tuple[str, ...]
    divisor: int
    n_workers: int
    sampler: str


def _run_checks(fleet: Fleet, servers: Sequence[str | None], plan: Plan) -> Iterator[Check]:
    """Yield what came of each check as soon as it is known."""
    for url in servers:
        if "exact" in plan.names:
            n_workers = 8 if url is None else 16
            yield fleet.check_exact(url, Size(n_workers, n_workers * 200 // plan.divisor))
        if "starts" in plan.names:
            yield fleet.check_starts(url, 10 // plan.divisor)
        if "scale" in plan.names and url and _is_postgres(url):
            size = Size(plan.n_workers, plan.n_workers * 40 // plan.divisor)
            with _roomy(url, size.n_workers) as roomy:
                yield fleet.measure_scale(roomy, size, plan.sampler)


@contextlib.contextmanager
def _roomy(url: str, n_workers: int) -> Iterator[str]:
    """Yield the URL of a server with connections for all: this one, or else a private one."""
    n_connections = n_workers * _CONNECTIONS_PER_WORKER + _OTHER_CONNECTIONS
    if count_free_connections(parse_url(url)) >= n_connections:
        yield url
    elif find_postgres_programs() is None:
        raise typer.BadParameter(
            f"{n_workers} workers need {n_connections} free connections: raise max_connections of "
            "the server, or name another one by --server"
        )
    else:
        with PrivatePostgres(max_connections=n_connections) as private:
            yield private.url.render_as_string(hide_password=False)


def _is_postgres(url: str) -> bool:
    return parse_url(url).get_backend_name() == "postgresql"


def _show(checks: list[Check], machine: str) -> None:
    # Tables that are piped keep their lines whole.
    console = Console(width=None if sys.stdout.isatty() else 160, markup=False)
    table = Table("check", "database", "workers", "trials", "outcome", "problems", box=None)
    for check in checks:
        table.add_row(*check.row)
    console.print(machine)
    console.print(table)
    for check in checks:
        for problem in check.problems:
            console.print(f"{check.name}, {check.database}: {problem}")


if __name__ == "__main__":
    typer.run(main)
