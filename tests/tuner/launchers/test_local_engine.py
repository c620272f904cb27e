"""The engine that each node of a cluster has: one crew, a child process."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.processes import is_alive
from tests.tuner.conftest import FUNCTION, Crew, n_reporting, wait_until
from tuner.workers.config import WorkerConfig
from tuner.workers.launchers.local import LocalEngine


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    """Return an engine whose crew ends with the test."""
    engine = LocalEngine()
    yield engine
    engine.stop(10)


def _pid(engine: LocalEngine) -> int:
    assert engine._process is not None
    return engine._process.pid


def test_crew_trains_the_budget_and_ends(engine: LocalEngine, crew: Crew) -> None:
    """Two workers, four trials, no problem; nobody replaces a crew that is done."""
    loaded = crew.create(FUNCTION, n_trials=4)
    engine.start(WorkerConfig(crew.url, "s"), 2)
    assert engine.poll().n_workers == 2
    wait_until(lambda: n_reporting(loaded) == 2)
    crew.finish()
    wait_until(lambda: engine.poll().n_crews == 0)
    assert (engine.poll().n_ended, engine.poll().problem) == (1, None)
    assert loaded.load_budget().is_spent


def test_killed_crew_is_replaced(engine: LocalEngine, crew: Crew) -> None:
    """It costs what a killed worker costs: its trials are run again, the budget stays exact."""
    loaded = crew.create(FUNCTION, n_trials=2)
    engine.start(WorkerConfig(crew.url, "s", lease_seconds=3), 1)
    wait_until(lambda: n_reporting(loaded) == 1)
    os.kill(_pid(engine), signal.SIGKILL)
    crew.finish()
    wait_until(lambda: engine.poll().n_crews == 0)
    assert engine.poll().n_lost == 1
    assert loaded.load_budget().n_finished == 2


def test_stopped_crew_gives_back(engine: LocalEngine, crew: Crew) -> None:
    """No trial stays in training, no slot is spent."""
    loaded = crew.create(FUNCTION, n_trials=2)
    engine.start(WorkerConfig(crew.url, "s"), 1)
    wait_until(lambda: n_reporting(loaded) == 1)
    engine.stop(30)
    budget = loaded.load_budget()
    assert (budget.n_leased, budget.n_finished) == (0, 0)


def test_crew_ends_with_its_launcher(engine: LocalEngine, crew: Crew) -> None:
    """However that has ended: the pipe closes, which is noticed without a signal."""
    loaded = crew.create(FUNCTION, n_trials=2)
    engine.start(WorkerConfig(crew.url, "s"), 1)
    wait_until(lambda: n_reporting(loaded) == 1)
    assert engine._process is not None
    assert engine._process.stdin is not None
    engine._process.stdin.close()
    wait_until(lambda: engine._process is not None and not is_alive(_pid(engine)))
    assert loaded.load_budget().n_leased == 0


def test_crew_that_cannot_train_says_why_once(engine: LocalEngine, sqlite_url: str) -> None:
    """One line, no traceback, and no other crew is tried."""
    engine.start(WorkerConfig(sqlite_url, "s"), 1)
    wait_until(lambda: engine.poll().n_crews == 0)
    problem = engine.poll().problem
    assert problem is not None
    assert "\n" not in problem
    assert "There is no database" in problem
    assert engine.poll().problem == problem
