"""Run a study while workers and their trainers are killed and frozen and the database crashes.

A black box: workers and budget are handled by the command line, the outcome is read by plain SQL.
The sequence of faults comes from a seed; what each one hits depends on the machine's speed too.
"""

import random
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests import servers
from tests.chaos import verdict
from tests.chaos.faults import FAULTS
from tests.chaos.stage import STUDY, TICK_SECONDS, Stage

# How many slots are open at least while faults are going on, so that no worker runs out of work:
# four workers take 32 a second at most, and `tuner create` takes seconds to open more.
_AHEAD = 240
_START_SECONDS = 300
# After the last fault: expired leases, and twice _AHEAD trials.
_FINISH_SECONDS = 600


@dataclass(frozen=True)
class Plan:
    """What to do, in which folder; ``faults`` are names of ``faults.FAULTS``."""

    folder: Path
    seed: int
    seconds: float = 30
    n_workers: int = 4
    faults: tuple[str, ...] = tuple(FAULTS)


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


def run(plan: Plan) -> Outcome:
    """Carry out a plan on a database server of its own; all it started has ended afterwards."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    with servers.PrivatePostgres() as server:
        stage = Stage(plan.folder, server, random.Random(plan.seed))
        try:
            stage.create_study(2 * _AHEAD)
            for _ in range(plan.n_workers):
                stage.start_worker()
            _wait_until_at_work(stage)
            _inject_faults(stage, plan)
            n_trials = _finish(stage)
            with psycopg.connect(stage.url) as connection:
                problems = verdict.find_problems(connection, STUDY, n_trials)
                n_frozen = stage.counts["freeze_trainer"]
                problems += verdict.find_undeserved(connection, STUDY, n_frozen)
                summary = verdict.summarise(connection, STUDY)
        finally:
            stage.end()
    problems += stage.problems + _tracebacks(stage.logs)
    return Outcome(problems, stage.counts, summary, stage.logs)


def _read_budget(stage: Stage) -> verdict.Budget:
    with psycopg.connect(stage.url) as connection:
        return verdict.read_budget(connection, STUDY)


def _wait_until_at_work(stage: Stage) -> None:
    """Wait until each worker has claimed a slot: what is done to them before is easily survived."""
    deadline = time.monotonic() + _START_SECONDS
    while _read_budget(stage).n_leases < len(stage.workers):
        if time.monotonic() > deadline:
            stage.problems.append(f"workers were not at work after {_START_SECONDS} s")
            return
        time.sleep(TICK_SECONDS)


def _inject_faults(stage: Stage, plan: Plan) -> None:
    # Each kind once, then as it comes.
    to_begin_with = stage.random.sample(plan.faults, len(plan.faults))
    ends_at = time.monotonic() + plan.seconds
    next_fault_at = time.monotonic()
    while time.monotonic() < ends_at:
        stage.do_what_is_due()
        stage.replace_ended()
        if plan.faults and time.monotonic() >= next_fault_at:
            missing = [name for name in to_begin_with if not stage.counts[name]]
            name = missing[0] if missing else stage.random.choice(plan.faults)
            FAULTS[name](stage)
            next_fault_at = time.monotonic() + stage.random.uniform(0.5, 2.5)
        if stage.is_database_up:
            _keep_ahead(stage)
        time.sleep(TICK_SECONDS)


def _keep_ahead(stage: Stage) -> None:
    budget = _read_budget(stage)
    if budget.n_trials - budget.n_claimed < _AHEAD:
        stage.set_budget(budget.n_claimed + 2 * _AHEAD)


def _finish(stage: Stage) -> int:
    """Undo the faults, let the workers finish the budget, and return how much that is."""
    while stage.due:
        stage.do_what_is_due()
        time.sleep(TICK_SECONDS)
    stage.replace_ended()
    # As it is: lowered while workers claim, the budget would be what they have claimed by then.
    n_trials = _read_budget(stage).n_trials
    deadline = time.monotonic() + _FINISH_SECONDS
    while any(worker.process.poll() is None for worker in stage.workers):
        if time.monotonic() > deadline:
            stage.problems.append(f"workers have not ended after {_FINISH_SECONDS} s")
            break
        time.sleep(TICK_SECONDS)
    for worker in stage.workers:
        if (status := worker.process.poll()) not in (0, None):
            stage.problems.append(f"{worker.log.name} ended with status {status}")
    return n_trials


def _tracebacks(logs: list[Path]) -> list[str]:
    return [f"{log.name} holds a traceback" for log in logs if "Traceback" in _read(log)]


def _read(log: Path) -> str:
    return log.read_text(errors="replace")
