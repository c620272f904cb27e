"""What a trial costs besides its training: a no-op objective, by number of finished trials.

A trial's cost is the time from one objective's call to the next within a block, so neither the
start of a process nor its first look at the study is in it.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.pool import Pool

from benchmarks.databases import database_on, product
from benchmarks.programs import PLAIN, RUN, SERVICE, Limit, create_filled, grant
from benchmarks.section import Section
from benchmarks.setting import Setting, show_spread, spread

NOTE = """\
Milliseconds a trial of one process: two log-uniform parameters by TPE, five reports, the median
pruner asked after each. Both programs begin with the same finished trials; {n_blocks} block(s) of
{n_trials} trials each in turn, the mean of a block is one value, the first column is how many
trials were finished before the first block."""


@dataclass(frozen=True)
class Amounts:
    """How many trials are there before, and how many are timed."""

    n_finished: Sequence[int]
    n_blocks: int
    n_trials: int


FULL = Amounts((10, 1_000, 5_000), n_blocks=3, n_trials=11)
QUICK = Amounts((10,), n_blocks=1, n_trials=11)


@dataclass
class Cost:
    """The milliseconds a trial, once a block."""

    database: str
    n_finished: int
    program: str
    milliseconds: list[float] = field(default_factory=list)


def measure(setting: Setting) -> Section:
    """Time no-op trials on every database, by both programs in turn."""
    amounts = QUICK if setting.is_quick else FULL
    costs: list[Cost] = []
    with get_context("spawn").Pool(1) as pool:
        for server in (None, *setting.servers):
            for n_finished in amounts.n_finished:
                costs += _measure_at(setting, pool, server, n_finished, amounts)
    return Section(
        title="Overhead of a trial",
        note=NOTE.format(n_blocks=amounts.n_blocks, n_trials=amounts.n_trials),
        headings=("finished", "storage", "program", "median ms", "min ms", "max ms", "ratio"),
        rows=_rows(costs),
        raw={"costs": [_raw(cost) for cost in costs]},
    )


def _measure_at(
    setting: Setting, pool: Pool, server: str | None, n_finished: int, amounts: Amounts
) -> list[Cost]:
    database, _ = product(server)
    costs = [Cost(database, n_finished, program) for program in (PLAIN, SERVICE)]
    setting.announce(f"overhead, {database}, {n_finished:,} finished trials")
    with database_on(server, setting.folder) as url:
        for cost in costs:
            pool.apply(create_filled, (cost.program, url, cost.program, n_finished))
        for block in range(amounts.n_blocks):
            limit = Limit((block + 1) * amounts.n_trials, amounts.n_trials)
            pool.apply(grant, (url, SERVICE, limit))
            for cost in costs:
                starts = pool.apply(RUN[cost.program], (url, cost.program, limit))
                mean = (starts[-1] - starts[0]) / (len(starts) - 1)
                cost.milliseconds.append(1e3 * mean)
    return costs


def _rows(costs: list[Cost]) -> list[list[str]]:
    plain = {(c.database, c.n_finished): c.milliseconds for c in costs if c.program == PLAIN}
    return [
        [
            f"{cost.n_finished:,}",
            cost.database,
            cost.program,
            *show_spread(cost.milliseconds, 0),
            f"{_ratio(cost.milliseconds, plain[cost.database, cost.n_finished]):.2f}",
        ]
        for cost in costs
    ]


def _ratio(values: list[float], others: list[float]) -> float:
    return statistics.median(values) / statistics.median(others)


def _raw(cost: Cost) -> dict[str, object]:
    return {
        "storage": cost.database,
        "finished_trials": cost.n_finished,
        "program": cost.program,
        "milliseconds": spread(cost.milliseconds),
    }
