"""Run `tuner` commands in many processes at once, forked from one that has imported everything.

Each process runs what the command line runs, from its arguments to its exit status, with a log of
its own. Sixty-four interpreters that import Optuna would keep two cores busy for minutes.
"""

import multiprocessing
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
# Everything that a coordinator imports; not torch, which it must not need. Drivers that
# are not installed are left out by multiprocessing.
_PRELOADED = [
    "alembic.command",
    "numpy.random",
    "optuna.samplers._tpe.sampler",
    "psycopg",
    "pymysql",
    "sqlalchemy.orm",
    "tuner.cli",
    "tuner.report",
    "tuner.workers.coordinator",
]
# What must not stand in a log: everybody's warnings and errors, and what no logger has caught.
_COMPLAINT = re.compile(r"WARNING|ERROR|CRITICAL|Traceback|Warning:|^tuner: ", re.MULTILINE)
_START_SECONDS = 120


@dataclass(frozen=True)
class Returned:
    """What went wrong, and the CPU seconds of the processes, without those of their trainers."""

    problems: list[str]
    cpu_seconds: float


def run_crew(commands: Sequence[str], n_processes: int, folder: Path, seconds: float) -> Returned:
    """Let each of ``n_processes`` run the commands one after the other, all from the same moment.

    What has not ended ``seconds`` later is killed, and counts as a problem.
    """
    _context.set_forkserver_preload(_PRELOADED)
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"worker-{number}.log" for number in range(n_processes)]
    barrier, cpu = _context.Barrier(n_processes), _context.SimpleQueue()
    processes = [
        _context.Process(target=_run_commands, args=(commands, log, barrier, cpu)) for log in logs
    ]
    for process in processes:
        process.start()
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(timeout=max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    problems = [
        f"{log.name} ended with status {process.exitcode}"
        for log, process in zip(logs, processes, strict=True)
        if process.exitcode != 0
    ]
    problems += [problem for log in logs for problem in _complaints(log)]
    cpu_seconds = 0.0
    while not cpu.empty():
        cpu_seconds += cpu.get()
    return Returned(problems, cpu_seconds)


def _complaints(log: Path) -> list[str]:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [f"{log.name}: {line}" for line in lines if _COMPLAINT.search(line)]


def _run_commands(
    commands: Sequence[str], log: Path, barrier: Barrier, cpu: "SimpleQueue[float]"
) -> None:
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from tuner.cli import main

    barrier.wait(_START_SECONDS)
    status: int | str | None = 0
    for command in commands:
        sys.argv = ["tuner", *shlex.split(command)]
        try:
            main()
        except SystemExit as error:
            status = error.code
        if status:
            break
    cpu.put(time.process_time())
    sys.exit(status)
