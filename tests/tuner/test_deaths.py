"""Workers that are killed or frozen: their trials are run again, and no slot has two results."""

import signal
from typing import Any

import pytest

from storage import GIVEN_BACK
from tests.tuner.conftest import FUNCTION, LANES, Crew, n_reporting, wait_until
from tuner.study import LoadedStudy
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

pytestmark = pytest.mark.slow

LEASE = ("--lease", "4s", "--lanes", "2")


def _work_here(crew: Crew) -> None:
    """Be another worker, which finishes the budget."""
    crew.finish()
    assert run_worker(WorkerConfig(crew.url, "s", lease_seconds=4, n_lanes=2), Leaving()) == 0


def _assert_run_again(loaded: LoadedStudy, n_trials: int) -> None:
    trials = loaded.study.get_trials()
    left = [trial for trial in trials if GIVEN_BACK in trial.user_attrs]
    again = [trial for trial in trials if "rerun_of" in trial.user_attrs]
    assert left
    assert {t.number: t.params for t in left} == {t.user_attrs["rerun_of"]: t.params for t in again}
    assert {t.user_attrs["retry"] for t in again} == {1}
    assert {t.user_attrs[GIVEN_BACK] for t in left} == {"its worker was lost"}
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(complete) == len(trials) - len(left) == n_trials
    budget = loaded.load_budget()
    assert (budget.n_finished, budget.n_leased) == (n_trials, 0)


def test_trials_of_a_killed_worker_are_run_again_after_its_lease(crew: Crew) -> None:
    """kill -9 of the last worker; one that starts later runs the same parameters again."""
    loaded = crew.create(FUNCTION, n_trials=3)
    worker = crew.start("worker", *LEASE)
    wait_until(lambda: n_reporting(loaded))
    worker.popen.kill()
    _work_here(crew)
    _assert_run_again(loaded, n_trials=3)


@pytest.mark.parametrize(
    "options",
    [pytest.param(FUNCTION, marks=pytest.mark.long), LANES],
    ids=["function", "lanes"],
)
def test_worker_frozen_past_its_lease_drops_what_others_have_run_meanwhile(
    crew: Crew, options: dict[str, Any]
) -> None:
    """One log line for each trial, never two results for a slot, and it goes on to the end."""
    loaded = crew.create(options, n_trials=3)
    worker = crew.start("worker", *LEASE)
    wait_until(lambda: n_reporting(loaded))
    worker.popen.send_signal(signal.SIGSTOP)
    _work_here(crew)
    worker.popen.send_signal(signal.SIGCONT)
    assert worker.wait() == 0
    _assert_run_again(loaded, n_trials=3)
    left = [t.number for t in loaded.study.get_trials() if GIVEN_BACK in t.user_attrs]
    dropped = [f"Trial {number} was taken away meanwhile" for number in left]
    assert [worker.logged().count(line) for line in dropped] == [1] * len(left)
    assert "Traceback" not in worker.logged()
