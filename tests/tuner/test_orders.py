"""Workers that train obey pause, resume, stop, a changed budget and Ctrl-C."""

import signal
import time
from typing import Any

import pytest

from storage import GIVEN_BACK
from tests.conftest import Cli
from tests.tuner.conftest import FUNCTION, LANES, Crew, n_reporting, rows, wait_until
from tuner.study import LoadedStudy

BOTH = pytest.mark.parametrize(
    "options",
    [FUNCTION, {**LANES, "epochs": 100_000}],
    ids=["function", "lanes"],
)
LEASE = ("--lease", "2s", "--lanes", "2")


def _n_reports(loaded: LoadedStudy) -> int:
    return sum(row["epochs"] for row in rows(loaded))


def _stands_still(loaded: LoadedStudy) -> bool:
    before = _n_reports(loaded)
    time.sleep(0.5)
    return _n_reports(loaded) == before


@pytest.mark.slow
@BOTH
def test_workers_in_training_obey_pause_resume_and_stop(
    crew: Crew, options: dict[str, Any]
) -> None:
    """Paused ones hold their trials beyond a lease; stopped ones give back, with status 0."""
    loaded = crew.create(options, n_trials=2)
    worker = crew.start("worker", *LEASE)
    wait_until(lambda: n_reporting(loaded))
    crew.order("pause")
    wait_until(lambda: _stands_still(loaded), seconds=5)
    held = n_reporting(loaded)
    time.sleep(2.5)
    assert (n_reporting(loaded), len(rows(loaded))) == (held, held)
    crew.order("resume")
    wait_until(lambda: not _stands_still(loaded), seconds=5)
    crew.order("stop")
    assert worker.wait(3) == 0
    left = [trial for trial in loaded.study.get_trials() if GIVEN_BACK in trial.user_attrs]
    assert {trial.user_attrs[GIVEN_BACK] for trial in left} == {"tuner stop"}
    assert (len(left), loaded.load_budget().n_leased) == (held, 0)
    assert "Traceback" not in worker.logged()


def test_run_opens_a_paused_study_and_finishes_it(crew: Crew, call: Cli) -> None:
    """Whoever says `tuner run` wants it trained."""
    crew.create(FUNCTION, n_trials=2)
    crew.finish()
    crew.order("pause")
    result = call("run", "--storage", crew.url, "--study", "s", "--workers", "1", "--no-confirm")
    assert result.returncode == 0, result.stderr
    assert "2 of 2 trials finished" in result.stdout


def test_budget_changed_while_a_worker_trains_is_obeyed(crew: Crew) -> None:
    """Raised, it is used; lowered below what is begun, that is finished and nothing new starts."""
    loaded = crew.create(FUNCTION, n_trials=1)
    worker = crew.start("worker")
    wait_until(lambda: n_reporting(loaded))
    crew.order("create", "--trials", "1000")
    crew.finish()
    wait_until(lambda: len(rows(loaded)) > 3)
    crew.order("create", "--trials", "2")
    begun = loaded.load_budget()
    assert worker.wait(10) == 0
    states = [row["state"] for row in rows(loaded)]
    assert states == ["COMPLETE"] * (begun.n_finished + begun.n_leased)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_signal_gives_trials_back_within_3_seconds(crew: Crew, number: signal.Signals) -> None:
    """Status 130, no traceback, nothing left RUNNING, the slot open again."""
    loaded = crew.create(FUNCTION, n_trials=2)
    worker = crew.start("worker")
    wait_until(lambda: n_reporting(loaded))
    worker.interrupt(number)
    assert worker.wait(3) == 130
    assert "Traceback" not in worker.logged()
    assert [row["state"] for row in rows(loaded)] == ["FAIL", "WAITING"]
    budget = loaded.load_budget()
    assert (budget.n_finished, budget.n_leased) == (0, 0)


def test_second_ctrl_c_ends_a_worker_at_once(crew: Crew) -> None:
    """Even one whose objective takes no notice."""
    loaded = crew.create({"objective": "theirs:deaf", "pruner": "none"}, n_trials=1)
    worker = crew.start("worker")
    wait_until(lambda: n_reporting(loaded))
    worker.interrupt(signal.SIGINT)
    with pytest.raises(Exception, match="timed out"):
        worker.wait(1)
    worker.interrupt(signal.SIGINT)
    assert worker.wait(1) == 130
