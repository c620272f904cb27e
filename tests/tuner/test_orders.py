"""Workers that train obey pause, resume, stop, a changed budget and Ctrl-C."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from objectives.raw_files import MNIST, TRAIN_IMAGES
from storage import GIVEN_BACK
from tests.conftest import Cli
from tests.processes import children_of
from tests.tuner.conftest import FUNCTION, LANES, Crew, n_reporting, rows, wait_until
from tuner.study import LoadedStudy
from tuner.workers import coordinator, opening
from tuner.workers import crew as trainers

LEASE = ("--lease", "4s", "--lanes", "2")


def _n_reports(loaded: LoadedStudy) -> int:
    return sum(row["epochs"] for row in rows(loaded))


def _lease_end(loaded: LoadedStudy) -> float:
    """Return when the first of the study's leases ends, by the database's clock."""
    with loaded.storage.engine.connect() as connection:
        return float(connection.execute(text("SELECT MIN(ends_at) FROM tuner_leases")).scalar_one())


def _wait_for_renewals(loaded: LoadedStudy, seconds: float) -> None:
    """Wait until leases are renewed that much later: the more load, the longer it takes."""
    before = _lease_end(loaded)
    wait_until(lambda: _lease_end(loaded) >= before + seconds)


def _stands_still(loaded: LoadedStudy) -> bool:
    before = _n_reports(loaded)
    _wait_for_renewals(loaded, 1)
    return _n_reports(loaded) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "n_held"),
    [(FUNCTION, 1), ({**LANES, "epochs": 100_000}, 2)],
    ids=["function", "lanes"],
)
def test_workers_in_training_obey_pause_resume_and_stop(
    crew: Crew, options: dict[str, Any], n_held: int
) -> None:
    """Paused ones hold their trials beyond a lease; stopped ones give back, with status 0."""
    loaded = crew.create(options, n_trials=2)
    worker = crew.start("worker", *LEASE)
    wait_until(lambda: n_reporting(loaded) == n_held)
    crew.order("pause")
    wait_until(lambda: "Paused" in worker.logged())
    wait_until(lambda: _stands_still(loaded))
    n_reports = _n_reports(loaded)
    _wait_for_renewals(loaded, 4.5)
    assert (n_reporting(loaded), len(rows(loaded))) == (n_held, n_held)
    # A trainer that had no processor obeys with the report that it was at.
    assert _n_reports(loaded) <= n_reports + n_held
    crew.order("resume")
    wait_until(lambda: _n_reports(loaded) > n_reports + n_held)
    crew.order("stop")
    assert worker.wait() == 0
    left = [trial for trial in loaded.study.get_trials() if GIVEN_BACK in trial.user_attrs]
    assert {trial.user_attrs[GIVEN_BACK] for trial in left} == {"tuner stop"}
    assert (len(left), loaded.load_budget().n_leased) == (n_held, 0)
    assert "Traceback" not in worker.logged()


def test_what_a_worker_waits_for_before_it_obeys_takes_less_than_3_seconds() -> None:
    """The rest is for giving back. Other tests wait longer: other tests take the processor."""
    waits = coordinator.POLL_SECONDS, opening.TICK_SECONDS, trainers.GRACE_SECONDS
    assert sum(waits) < 3


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
    assert worker.wait() == 0
    states = [row["state"] for row in rows(loaded)]
    assert states == ["COMPLETE"] * (begun.n_finished + begun.n_leased)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_signal_gives_trials_back_within_3_seconds(crew: Crew, number: signal.Signals) -> None:
    """Status 130, no traceback, nothing left RUNNING, the slot open again."""
    loaded = crew.create(FUNCTION, n_trials=2)
    worker = crew.start("worker")
    wait_until(lambda: n_reporting(loaded))
    worker.interrupt(number)
    assert worker.wait() == 130
    assert "Traceback" not in worker.logged()
    assert [row["state"] for row in rows(loaded)] == ["FAIL", "WAITING"]
    budget = loaded.load_budget()
    assert (budget.n_finished, budget.n_leased) == (0, 0)


def test_second_ctrl_c_ends_a_worker_at_once(crew: Crew) -> None:
    """Even one that would wait for an objective which takes no notice."""
    loaded = crew.create({"objective": "theirs:deaf", "pruner": "none"}, n_trials=1)
    worker = crew.start("worker")
    wait_until(lambda: n_reporting(loaded))
    # What tells of a trainer's end is frozen: the worker waits as long as it ever does.
    (server,) = children_of(worker.popen.pid)
    os.kill(server, signal.SIGSTOP)
    worker.interrupt(signal.SIGINT)
    wait_until(lambda: "Left the study" in worker.logged())
    worker.interrupt(signal.SIGINT)
    assert worker.wait() == 130
    assert "interrupted" not in worker.logged()  # as at an end in good order


def test_worker_that_waits_for_data_can_be_interrupted(crew: Crew, tmp_path: Path) -> None:
    """What trainers are forked from reads it, and is not waited for."""
    crew.create({"dataset": "mnist"}, n_trials=1)
    folder = tmp_path / "slow" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in MNIST.md5:
        os.mkfifo(folder / name)
    worker = crew.start("worker", "--data-dir", "slow")
    with ExitStack() as stack:
        wait_until(lambda: _begin_to_write(folder / TRAIN_IMAGES, stack))
        worker.interrupt(signal.SIGTERM)
        assert worker.wait() == 130
    assert "Traceback" not in worker.logged()


def _begin_to_write(pipe: Path, stack: ExitStack) -> bool:
    """Tell whether somebody reads a pipe; from then on it waits for us."""
    try:
        stack.callback(os.close, os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
