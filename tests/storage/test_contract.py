"""The promises of budget, leases and workers, on SQLite, PostgreSQL and MariaDB alike.

Those of claiming, writing and giving back alone are in `test_claims`, `test_outbox` and
`test_withdrawal`.
"""

import threading
import time
from multiprocessing.synchronize import Barrier

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from storage import (
    GIVEN_BACK,
    Budget,
    Withdrawal,
    change_budget,
    create_budget,
    create_storage,
    find_budget,
    find_leases_of,
    give_back,
    list_workers,
    register_worker,
    sign_off_worker,
)
from storage import optuna_tables as tables
from storage.clock import epoch_now
from storage.leases import renew_leases
from storage.outbox import Outbox
from tests.storage.studies import WorkedStudy
from tests.storage.together import run_together

pytestmark = [pytest.mark.db, pytest.mark.pooled]


@pytest.fixture
def study(shared_url: str) -> WorkedStudy:
    """Return a new study with a budget of three trials."""
    return WorkedStudy(shared_url)


def _finish(study: WorkedStudy, n: int) -> None:
    """Claim some trials, and end them as a worker does."""
    outbox = Outbox(study.claimant.worker_id)
    for trial_id in study.claim_into(outbox, n):
        outbox.end(trial_id, TrialState.COMPLETE, [0.5], tables.utc_now())
    outbox.flush(study.engine)


class TestBudget:
    """N slots are handed out, no more, whatever becomes of them."""

    def test_finished_trial_stays_spent(self, study: WorkedStudy) -> None:
        """Finished trials count, once each."""
        _finish(study, 3)
        assert study.budget() == Budget(3, n_finished=3, n_leased=0, is_past_deadline=False)
        assert study.budget().is_spent
        assert study.claim() == []

    def test_trial_given_back_twice_opens_one_slot(self, study: WorkedStudy) -> None:
        """Whoever repeats it hands out no slot beyond the budget."""
        study.claim(3)
        lease = find_leases_of(study.engine, study.claimant.worker_id)[0]
        settled = [give_back(study.engine, lease, "lost") for _ in range(2)]
        assert settled == [Withdrawal.GIVEN_BACK, Withdrawal.SETTLED_BEFORE]
        assert len(study.claim(3)) == 1

    def test_raised_budget_gives_the_difference(self, study: WorkedStudy) -> None:
        """A budget can be raised while workers run."""
        study.claim(3)
        change_budget(study.engine, study.study_id, n_trials=5, timeout_seconds=None)
        assert len(study.claim(3)) == 2

    def test_lowered_budget_gives_nothing_more(self, study: WorkedStudy) -> None:
        """A budget below what is finished is spent."""
        _finish(study, 2)
        change_budget(study.engine, study.study_id, n_trials=1, timeout_seconds=None)
        assert study.claim() == []
        assert study.budget().is_spent

    def test_deadline_past_gives_nothing_until_it_is_lifted(self, study: WorkedStudy) -> None:
        """After the deadline no slot is handed out; without one, again."""
        change_budget(study.engine, study.study_id, n_trials=None, timeout_seconds=-1)
        assert study.claim() == []
        assert study.budget().is_spent
        change_budget(study.engine, study.study_id, n_trials=None, timeout_seconds=60)
        assert len(study.claim()) == 1

    def test_new_study_with_a_reused_id_has_a_fresh_budget(self, study: WorkedStudy) -> None:
        """What is left of a deleted study with the same id does not count."""
        study.claim()
        create_budget(study.engine, study.study_id, 2)
        assert study.budget() == Budget(2, n_finished=0, n_leased=0, is_past_deadline=False)
        assert list_workers(study.engine, study.study_id) == []

    def test_deleted_study_takes_its_budget_along(self, study: WorkedStudy) -> None:
        """Deleting the study by Optuna is not hindered by our tables, and empties them."""
        study.claim()
        optuna.delete_study(study_name=study.name, storage=study.storage)
        assert find_budget(study.engine, study.study_id) is None
        assert list_workers(study.engine, study.study_id) == []
        assert find_leases_of(study.engine, study.claimant.worker_id) == []


class TestLeases:
    """Who holds what; and what becomes of it when they are gone."""

    def test_give_back_of_running_trial_fails_it_and_queues_its_parameters(
        self, study: WorkedStudy
    ) -> None:
        """The slot opens, the trial says why, and the next one asked for has its parameters."""
        with study.open() as storage:
            storage.claim(1)
            trial = optuna.load_study(storage=storage, study_name=study.name).ask()
            x = trial.suggest_float("x", 0, 1)
        (lease,) = find_leases_of(study.engine, study.claimant.worker_id)
        give_back(study.engine, lease, "its worker was lost")
        given_back = study.trials()[0]
        assert given_back.state is TrialState.FAIL
        assert given_back.user_attrs[GIVEN_BACK] == "its worker was lost"
        assert study.budget().n_leased == 0
        rerun = study.study.ask()
        assert rerun.suggest_float("x", 0, 1) == x
        assert rerun.user_attrs["rerun_of"] == trial.number

    @pytest.mark.parametrize(
        ("value", "state"),
        [
            pytest.param(0.5, TrialState.COMPLETE, id="finished"),
            pytest.param(None, TrialState.FAIL, id="failed by its own fault"),
        ],
    )
    def test_give_back_of_trial_that_has_ended_keeps_its_result(
        self, study: WorkedStudy, value: float | None, state: TrialState
    ) -> None:
        """What another program has told stands, spends its slot, and is not run twice."""
        study.claim()
        study.study.tell(0, value, state)
        (lease,) = find_leases_of(study.engine, study.claimant.worker_id)
        give_back(study.engine, lease, "its worker was lost")
        assert study.states() == [state]
        assert (study.budget().n_finished, study.budget().n_leased) == (1, 0)

    def test_give_back_of_a_lease_that_has_ended_spares_the_next(self, study: WorkedStudy) -> None:
        """Its id may be another trial's by now: SQLite reuses ids."""
        outbox = Outbox(study.claimant.worker_id)
        (trial_id,) = study.claim_into(outbox)
        (as_read,) = find_leases_of(study.engine, study.claimant.worker_id)
        outbox.end(trial_id, TrialState.COMPLETE, [0.5], tables.utc_now())
        outbox.flush(study.engine)
        study.claim()
        settled = give_back(study.engine, as_read, "its worker was lost")
        assert settled is Withdrawal.SETTLED_BEFORE
        assert study.states() == [TrialState.COMPLETE, TrialState.RUNNING]
        assert study.budget().n_leased == 1

    def test_writing_and_renewing_beside_claiming_meets_no_deadlock(
        self, study: WorkedStudy
    ) -> None:
        """The writer's transactions and the worker's lock rows in orders that do not clash."""
        change_budget(study.engine, study.study_id, n_trials=10_000, timeout_seconds=None)
        outbox = Outbox(study.claimant.worker_id)
        stopped = threading.Event()
        errors: list[Exception] = []

        def write_and_renew() -> None:
            while not stopped.is_set():
                try:
                    outbox.flush(study.engine)
                    held = outbox.held.values()
                    renew_leases(study.engine, study.claimant.worker_id, held, 60)
                except sqlalchemy.exc.SQLAlchemyError as error:
                    errors.append(error)

        thread = threading.Thread(target=write_and_renew)
        thread.start()
        try:
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                for trial_id in study.claim_into(outbox, 3):
                    outbox.end(trial_id, TrialState.COMPLETE, [0.5], tables.utc_now())
        finally:
            stopped.set()
            thread.join()
        assert errors == []


class TestWorkers:
    """Who works on a study."""

    def test_workers_are_listed_with_what_they_hold_until_they_sign_off(
        self, study: WorkedStudy
    ) -> None:
        """Status can show who works on a study."""
        study.claim()
        (worker,) = list_workers(study.engine, study.study_id)
        assert (worker.host, worker.pid, worker.n_trials_in_training) == ("host", 1, 1)
        assert not worker.is_lost
        sign_off_worker(study.engine, study.claimant.worker_id)
        assert list_workers(study.engine, study.study_id) == []

    def test_ordinals_of_workers_count_within_the_study(self, study: WorkedStudy) -> None:
        """Each worker of a study gets its own ordinal, so its own sampler seed."""
        ordinals = [register_worker(study.engine, study.study_id, "h", 2)[1] for _ in range(3)]
        assert ordinals == [1, 2, 3]

    def test_clock_is_the_time_in_seconds_with_fractions(self, study: WorkedStudy) -> None:
        """The database's clock counts seconds since 1970 UTC, and moves within a second."""
        with study.engine.connect() as connection:
            first = connection.execute(sqlalchemy.select(epoch_now())).scalar_one()
        time.sleep(0.05)
        with study.engine.connect() as connection:
            second = connection.execute(sqlalchemy.select(epoch_now())).scalar_one()
        assert abs(first - time.time()) < 5
        assert 0.04 < second - first < 5


def _create(barrier: Barrier, url: str) -> str:
    barrier.wait()
    create_storage(url)
    return "created"


@pytest.mark.slow
@pytest.mark.long
def test_eight_first_starts_on_an_empty_database_all_succeed(storage_url: str) -> None:
    """Tables are created once, without a race."""
    assert run_together([(_create, (storage_url,))] * 8) == ["created"] * 8
