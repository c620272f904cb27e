"""How many no-op trials a second many processes finish together, on a server where there is one."""

import itertools
import multiprocessing
import time
from multiprocessing.pool import Pool

from benchmarks.databases import database_on, product
from benchmarks.programs import (
    CREW_OF_4,
    CREW_OF_8,
    PLAIN,
    RUN,
    SERVICE,
    Limit,
    create_filled,
    grant,
)
from benchmarks.section import Figure, Section
from benchmarks.setting import Setting

# How many processes run a program: those of plain Optuna, or coordinators with their trainers.
N_PROCESSES = {PLAIN: 8, CREW_OF_4: 2, CREW_OF_8: 1}
_N_PROCESSES_QUICK = {PLAIN: 3, SERVICE: 3}

_N_FINISHED = 100
_MANY = 100_000  # more trials than there is time for
_NAP_SECONDS = 1.0

NOTE = """\
Trials a second of eight processes together on {database}: of plain Optuna, of two crews of four
trainers, of one crew of eight (of a quick run: three). The same no-op trials as above, {n_finished}
finished before, {seconds} s by each program. Counted from the first trial's start to the last's."""


def measure(setting: Setting) -> Section:
    """Let many processes work on one study at once, by the programs one after the other."""
    seconds = 2 if setting.is_quick else 15
    n_processes = _N_PROCESSES_QUICK if setting.is_quick else N_PROCESSES
    server = next(iter(setting.servers), None)
    database, _ = product(server)
    rates: dict[str, float] = {}
    with database_on(server, setting.folder) as url:
        for program, n in n_processes.items():
            setting.announce(f"throughput, {database}, {program}")
            with multiprocessing.get_context("spawn").Pool(n) as pool:
                pool.apply(create_filled, (program, url, program, _N_FINISHED))
                rates[program] = _rate(pool, n, url, program, seconds)
    note = NOTE.format(database=database, n_finished=_N_FINISHED, seconds=seconds)
    return Section(
        title="Throughput",
        note=note,
        headings=("program", "trials/s"),
        rows=[[program, f"{rate:.1f}"] for program, rate in rates.items()],
        figures=[
            Figure(
                f"no-op trials a second, {CREW_OF_8}, {database}",
                rates[program],
                "",
                100,
                at_least=True,
            )
            for program in rates
            if program == CREW_OF_8
        ],
        raw={"storage": database, "processes": n_processes, "trials_a_second": rates},
    )


def _rate(pool: Pool, n_processes: int, url: str, program: str, seconds: float) -> float:
    """Return the trials a second of all processes together."""
    # Each takes one nap and one task: by then all have been started and have imported all.
    pool.map(_nap, range(n_processes), chunksize=1)
    starts: list[float] = []
    while len(starts) < 2:  # a busy machine may begin no trial in the seconds of a quick run
        limit = Limit(_MANY, _MANY, seconds)
        if program != PLAIN:
            pool.apply(grant, (url, program, limit))
        tasks = [(url, program, limit)] * n_processes
        starts = sorted(itertools.chain(*pool.starmap(RUN[program], tasks, chunksize=1)))
        seconds *= 2
    return (len(starts) - 1) / (starts[-1] - starts[0])


def _nap(_number: int) -> None:
    time.sleep(_NAP_SECONDS)
