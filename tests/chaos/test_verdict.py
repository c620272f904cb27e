"""The verdict on a study finds what is wrong: what it does not say, it has looked for."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy.engine import URL

from storage import create_storage
from tests import servers
from tests.chaos.verdict import find_problems
from tuner.study import create_or_resume
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

_N_TRIALS = 4

TAMPERED = {
    "UPDATE trials SET state = 'RUNNING' WHERE number = 1": ["finished trials: 3", "RUNNING"],
    "UPDATE trials SET number = 9 WHERE number = 1": ["numbers are not"],
    "DELETE FROM trial_intermediate_values WHERE step = 3": ["COMPLETE with reports [1, 2, 4, 5]"],
    "DELETE FROM trial_values": ["COMPLETE with reports [1, 2, 3, 4, 5], 0 values"],
    "UPDATE tuner_budgets SET n_claimed = 5": ["slots claimed: 5, not 4"],
    "UPDATE tuner_budgets SET n_trials = 5": ["trials of the budget: 5, not 4"],
    "INSERT INTO tuner_leases SELECT 99, study_id, worker_id, 1, 0 FROM tuner_workers": [
        "leases left: 1"
    ],
    "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
    "SELECT trial_id, 'rerun_of', '1' FROM trials WHERE number = 3": [
        "trial 1 and its reruns finished 2 times: [1, 3]"
    ],
}


@pytest.fixture(scope="module")
def finished(postgres_server: URL) -> Iterator[str]:
    """Return the URL of a database with a finished study of four complete trials."""
    with servers.new_database(postgres_server) as url:
        options = {"objective": "tests.chaos.objective:bowl", "pruner": "none"}
        storage = create_storage(url)
        create_or_resume(storage, "s", options, n_trials=_N_TRIALS)
        assert run_worker(WorkerConfig(url, "s"), Leaving()) == 0
        storage.engine.dispose()
        yield url


def test_study_without_faults_has_no_problems(finished: str) -> None:
    """The verdict does not cry wolf."""
    with psycopg.connect(finished) as connection:
        assert find_problems(connection, "s", _N_TRIALS) == []


@pytest.mark.parametrize("statement", TAMPERED)
def test_study_that_was_tampered_with_is_found_out(finished: str, statement: str) -> None:
    """Each promise that is broken by hand is reported."""
    with psycopg.connect(finished) as connection:
        connection.execute(statement)
        problems = find_problems(connection, "s", _N_TRIALS)
        connection.rollback()
    assert all(any(said in problem for problem in problems) for said in TAMPERED[statement])
