"""Run a study while workers are killed and frozen and the database crashes.

A black box: workers and budget are handled by the command line, the outcome is read by plain SQL.
The sequence of faults comes from a seed; what each one hits depends on the machine's speed too.
"""

import heapq
import itertools
import logging
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests import servers
from tests.chaos import verdict
from tests.conftest import clean_environment

logger = logging.getLogger(__name__)

LEASE_SECONDS = 3
# Patience outlasts every outage here; retries outlast every series of kills.
WORKER_OPTIONS = ("--lease", f"{LEASE_SECONDS}s", "--storage-patience", "60s")
STUDY_OPTIONS = ("--max-retries", "100")

_STUDY = "chaos"
# How many slots are open at least while faults are going on, so that no worker runs out of work.
_AHEAD = 40
# A worker needs seconds to start: most faults are for those that have begun to work.
_SHARE_AT_WORK = 0.8
# After the last fault: expired leases, and _AHEAD trials.
_FINISH_SECONDS = 90
_TICK_SECONDS = 0.05


@dataclass(frozen=True)
class Plan:
    """What to do, in which folder; ``faults`` are names of ``FAULTS``."""

    folder: Path
    seed: int
    seconds: float = 30
    n_workers: int = 4
    faults: tuple[str, ...] = ("kill", "freeze", "database")
    worker_options: tuple[str, ...] = WORKER_OPTIONS
    study_options: tuple[str, ...] = STUDY_OPTIONS


@dataclass(frozen=True)
class Outcome:
    """What came of it: no problems, one hopes, after these faults."""

    problems: list[str]
    faults: Counter[str]
    summary: str
    logs: list[Path]

    def describe(self) -> str:
        """Return the end of each worker's log, and the problems."""
        ends = [f"--- {log.name}\n{_read(log)[-2000:]}" for log in self.logs]
        return "\n".join([*ends, self.summary, "problems:", *self.problems])


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    log: Path
    is_frozen: bool = False
    is_killed: bool = False


@dataclass
class _Run:
    plan: Plan
    server: servers.PrivatePostgres
    random: random.Random
    workers: list[_Worker] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    is_database_up: bool = True
    # What is to happen later: when, a tie-breaker, what.
    due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    ordinals: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def url(self) -> str:
        """The storage's URL, as a user would write it."""
        url = self.server.url.set(drivername="postgresql")
        return url.render_as_string(hide_password=False)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something done in some seconds."""
        heapq.heappush(self.due, (time.monotonic() + seconds, next(self.ordinals), action))

    def do_what_is_due(self) -> None:
        """Do what was put off until now."""
        while self.due and self.due[0][0] <= time.monotonic():
            heapq.heappop(self.due)[2]()


def run(plan: Plan) -> Outcome:
    """Carry out a plan on a database server of its own; all it started has ended afterwards."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    with servers.PrivatePostgres() as server:
        current = _Run(plan, server, random.Random(plan.seed))
        try:
            objective = ("--objective", "tests.chaos.objective:bowl")
            _set_budget(current, _AHEAD * 2, *objective, *plan.study_options)
            for _ in range(plan.n_workers):
                _start_worker(current)
            _inject_faults(current)
            n_trials = _finish(current)
            problems = verdict.find_problems(current.url, _STUDY, n_trials)
            summary = verdict.summarise(current.url, _STUDY)
        finally:
            for worker in current.workers:
                worker.process.kill()
                worker.process.wait()
    problems += current.problems + _tracebacks(current.logs)
    return Outcome(problems, current.counts, summary, current.logs)


def _tuner(current: _Run, command: str, *options: str) -> list[str]:
    where = ["--storage", current.url, "--study", _STUDY]
    return [sys.executable, "-m", "tuner", command, *where, *options]


def _set_budget(current: _Run, n_trials: int, *options: str) -> None:
    result = subprocess.run(
        _tuner(current, "create", "--trials", str(n_trials), *options),
        cwd=current.plan.folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"tuner create failed:\n{result.stderr}")


def _start_worker(current: _Run) -> None:
    log = current.plan.folder / f"worker{len(current.logs)}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            _tuner(current, "worker", *current.plan.worker_options),
            cwd=current.plan.folder,
            env=clean_environment(),
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # Ctrl-C is for the harness, which then ends its workers
        )
    current.workers.append(_Worker(process, log))
    current.logs.append(log)


def _inject_faults(current: _Run) -> None:
    plan = current.plan
    ends_at = time.monotonic() + plan.seconds
    next_fault_at = time.monotonic() + 2
    while time.monotonic() < ends_at:
        current.do_what_is_due()
        _replace_ended(current)
        if plan.faults and time.monotonic() >= next_fault_at:
            FAULTS[current.random.choice(plan.faults)](current)
            next_fault_at = time.monotonic() + current.random.uniform(0.5, 2.5)
        if current.is_database_up:
            _keep_ahead(current)
        time.sleep(_TICK_SECONDS)


def _keep_ahead(current: _Run) -> None:
    budget = verdict.read_budget(current.url, _STUDY)
    if budget.n_trials - budget.n_claimed < _AHEAD:
        _set_budget(current, budget.n_claimed + 3 * _AHEAD)


def _replace_ended(current: _Run) -> None:
    for worker in list(current.workers):
        status = worker.process.poll()
        if status is None:
            continue
        current.workers.remove(worker)
        if not worker.is_killed:
            current.problems.append(f"{worker.log.name} ended by itself with status {status}")
        _start_worker(current)


def _choose(current: _Run, workers: list[_Worker]) -> _Worker:
    at_work = [worker for worker in workers if worker.log.stat().st_size > 0]
    is_for_those_at_work = current.random.random() < _SHARE_AT_WORK
    return current.random.choice(at_work if at_work and is_for_those_at_work else workers)


def _kill(current: _Run) -> None:
    """End a worker by kill -9, frozen or not; another is started in its place."""
    worker = _choose(current, current.workers)
    worker.is_killed = True
    worker.process.kill()
    current.counts["kill"] += 1
    logger.info("killed %s", worker.log.name)


def _freeze(current: _Run) -> None:
    """Stop a worker for longer than its lease, and let it go on."""
    awake = [worker for worker in current.workers if not worker.is_frozen]
    if not awake:
        return
    worker = _choose(current, awake)
    seconds = LEASE_SECONDS * current.random.uniform(1.2, 2.5)
    worker.process.send_signal(signal.SIGSTOP)
    worker.is_frozen = True
    current.later(seconds, lambda: _thaw(worker))
    current.counts["freeze"] += 1
    logger.info("froze %s for %.1f s", worker.log.name, seconds)


def _thaw(worker: _Worker) -> None:
    worker.process.send_signal(signal.SIGCONT)  # does nothing if it has been killed
    worker.is_frozen = False


def _crash_database(current: _Run) -> None:
    """Stop the database as a crash does, for less than the workers' patience."""
    if not current.is_database_up:
        return
    seconds = current.random.uniform(0.5, 5.0)
    current.server.stop("immediate")
    current.is_database_up = False
    current.later(seconds, lambda: _start_database(current))
    current.counts["database"] += 1
    logger.info("crashed the database for %.1f s", seconds)


def _start_database(current: _Run) -> None:
    current.server.start()
    current.is_database_up = True


FAULTS: dict[str, Callable[[_Run], None]] = {
    "kill": _kill,
    "freeze": _freeze,
    "database": _crash_database,
}


def _finish(current: _Run) -> int:
    """Undo the faults, let the workers finish the budget, and return how much that is."""
    while current.due:
        current.do_what_is_due()
        time.sleep(_TICK_SECONDS)
    _replace_ended(current)
    budget = verdict.read_budget(current.url, _STUDY)
    # Not fewer than are claimed, also by those who claim while this is being set.
    n_trials = min(budget.n_trials, budget.n_claimed + _AHEAD)
    _set_budget(current, n_trials)
    deadline = time.monotonic() + _FINISH_SECONDS
    while any(worker.process.poll() is None for worker in current.workers):
        if time.monotonic() > deadline:
            current.problems.append(f"workers have not ended after {_FINISH_SECONDS} s")
            break
        time.sleep(_TICK_SECONDS)
    for worker in current.workers:
        if worker.process.returncode not in (0, None):
            status = worker.process.returncode
            current.problems.append(f"{worker.log.name} ended with status {status}")
    return n_trials


def _tracebacks(logs: list[Path]) -> list[str]:
    return [f"{log.name} holds a traceback" for log in logs if "Traceback" in _read(log)]


def _read(log: Path) -> str:
    return log.read_text(errors="replace")
