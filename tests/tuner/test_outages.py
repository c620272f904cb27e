"""The database is away, or full, while workers train: nothing is lost, and an end is one line."""

import signal
from collections.abc import Callable
from typing import Any

import pytest

from storage import create_storage
from tests.servers import PrivatePostgres
from tests.tuner.conftest import FUNCTION, LANES, Crew, n_reporting, wait_until

pytestmark = pytest.mark.slow

LONG_LANES = {**LANES, "epochs": 100_000}
WORK = pytest.mark.parametrize(
    ("command", "options"),
    [
        pytest.param("worker", FUNCTION, id="worker of a function"),
        pytest.param("run", {**LANES, "epochs": 3000}, id="run of lanes"),
    ],
)


@pytest.fixture
def crew(make_crew: Callable[[str], Crew], private_postgres: PrivatePostgres) -> Crew:
    """Return a crew on a server that may be stopped."""
    url = private_postgres.url.set(drivername="postgresql")
    return make_crew(url.render_as_string(hide_password=False))


@pytest.fixture(autouse=True)
def _no_study_before(crew: Crew) -> None:
    storage = create_storage(crew.url)
    for study in storage.get_all_studies():
        storage.delete_study(study._study_id)


def _options(command: str, patience: str = "60s") -> list[str]:
    own = ["--workers", "1", "--no-confirm"] if command == "run" else []
    return ["--storage-patience", patience, "--lanes", "2", *own]


@WORK
def test_outage_while_training_loses_no_report_and_no_trial(
    crew: Crew, private_postgres: PrivatePostgres, command: str, options: dict[str, Any]
) -> None:
    """Training goes on, and what was reported meanwhile is written once the database is back."""
    loaded = crew.create(options, n_trials=3)
    process = crew.start(command, *_options(command))
    wait_until(lambda: n_reporting(loaded))
    private_postgres.stop("immediate")
    wait_until(lambda: "trying again" in process.logged())
    private_postgres.start()
    loaded.storage.engine.dispose()  # our own connections have broken too
    crew.finish()
    assert process.wait() == 0, process.logged()
    assert "Traceback" not in process.logged()
    assert "answers again" in process.logged()
    trials = loaded.study.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    for trial in trials:
        steps = sorted(trial.intermediate_values)
        assert steps == list(range(1, len(steps) + 1))


@WORK
def test_outage_that_outlasts_patience_ends_in_one_line(
    crew: Crew, private_postgres: PrivatePostgres, command: str, options: dict[str, Any]
) -> None:
    """Exit status 1, what was tried and for how long, no traceback and no password."""
    loaded = crew.create(options, n_trials=3)
    process = crew.start(command, *_options(command, patience="1s"))
    wait_until(lambda: n_reporting(loaded))
    private_postgres.stop()
    assert process.wait() == 1
    logged = process.logged()
    assert "Traceback" not in logged, logged
    last = logged.strip().splitlines()[-1]
    assert last.startswith("tuner: Storage postgresql")
    assert "does not answer: gave up trying to" in last
    assert "s3cret" not in logged


@pytest.mark.parametrize(
    ("command", "options", "number"),
    [
        pytest.param("worker", FUNCTION, signal.SIGTERM, id="worker of a function, SIGTERM"),
        pytest.param("run", LONG_LANES, signal.SIGINT, id="run of lanes, Ctrl-C"),
    ],
)
def test_signal_during_an_outage_is_obeyed_within_3_seconds(
    crew: Crew,
    private_postgres: PrivatePostgres,
    command: str,
    options: dict[str, Any],
    number: signal.Signals,
) -> None:
    """Status 130, no traceback; the trials are given back by their leases."""
    loaded = crew.create(options, n_trials=3)
    process = crew.start(command, *_options(command))
    wait_until(lambda: n_reporting(loaded))
    private_postgres.stop()
    wait_until(lambda: "trying again" in process.logged())
    process.interrupt(number)
    assert process.wait() == 130, process.logged()
    assert "Traceback" not in process.logged()


def test_worker_that_waits_for_the_database_to_start_can_be_interrupted(
    crew: Crew, private_postgres: PrivatePostgres
) -> None:
    """It has nothing to give back: status 130, without a complaint about the database."""
    private_postgres.stop()
    worker = crew.start("worker")
    wait_until(lambda: "trying again" in worker.logged())
    worker.interrupt(signal.SIGTERM)
    assert worker.wait() == 130
    assert "gave up" not in worker.logged()
