"""What a trial costs besides its training: a no-op objective, by number of finished trials.

A trial's cost is the time from one objective's call to the next within a block, from the second
trial on: neither the start of a process nor its first look at the study is in it. Sampler and
pruner have theirs within the first trial, whose time stands beside the others.
"""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.pool import Pool

from benchmarks.databases import database_on, product
from benchmarks.programs import PLAIN, RUN, SERVICE, Limit, create_filled, grant
from benchmarks.section import Figure, Section
from benchmarks.setting import Setting, show_spread, spread

NOTE = """\
Milliseconds a trial of one process: two log-uniform parameters by TPE, five reports, the median
pruner asked after each. Both programs begin with the same finished trials; {n_blocks} block(s) of
{n_trials} trials each in turn, each by a new process that has loaded the study. The mean of a
block's trials but the first is one value; the first, in which sampler and pruner meet the trials
that are there, has a column of its own (median). The first column is how many trials were finished
before the first block."""


@dataclass(frozen=True)
class Amounts:
    """How many trials are there before, and how many are timed."""

    n_finished: Sequence[int]
    n_blocks: int
    n_trials: int


FULL = Amounts((10, 100, 1_000, 5_000), n_blocks=3, n_trials=12)
QUICK = Amounts((10,), n_blocks=1, n_trials=11)
_COMPARED = (100, 5_000)


@dataclass
class Cost:
    """The milliseconds a trial, once a block; of its first trial, and the mean of all others."""

    database: str
    n_finished: int
    program: str
    milliseconds: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    def add(self, starts: Sequence[float]) -> None:
        """Add a block by the moments at which the objective was called."""
        self.first.append(1e3 * (starts[1] - starts[0]))
        self.milliseconds.append(1e3 * (starts[-1] - starts[1]) / (len(starts) - 2))


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
        headings=(
            *("finished", "storage", "program", "median ms", "min ms", "max ms", "ratio"),
            "first ms",
        ),
        rows=_rows(costs),
        figures=list(_figures(costs)),
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
                cost.add(starts)
    return costs


def _figures(costs: list[Cost]) -> Iterator[Figure]:
    """Compare our cost after few trials with that after many, where both were measured."""
    few, many = _COMPARED
    ours = {(c.database, c.n_finished): c.milliseconds for c in costs if c.program == SERVICE}
    for (database, n_finished), milliseconds in ours.items():
        if n_finished == many and (database, few) in ours:
            name = f"overhead of a trial after {many:,} beside {few}, {database}"
            ratio = _ratio(milliseconds, ours[database, few])
            yield Figure(name, ratio, " times", 2, at_least=False)


def _rows(costs: list[Cost]) -> list[list[str]]:
    plain = {(c.database, c.n_finished): c.milliseconds for c in costs if c.program == PLAIN}
    return [
        [
            f"{cost.n_finished:,}",
            cost.database,
            cost.program,
            *show_spread(cost.milliseconds, 0),
            f"{_ratio(cost.milliseconds, plain[cost.database, cost.n_finished]):.2f}",
            f"{statistics.median(cost.first):.0f}",
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
        "first_milliseconds": spread(cost.first),
    }
