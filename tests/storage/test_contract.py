"""The promises of budget and leases, on SQLite, PostgreSQL and MariaDB alike."""

import multiprocessing
import multiprocessing.queues
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState

from storage import (
    GIVEN_BACK,
    Budget,
    Lease,
    LeaseRenewer,
    bind_trial,
    change_budget,
    claim_slot,
    create_budget,
    create_storage,
    find_budget,
    find_expired_leases,
    find_leases_of,
    give_back,
    list_workers,
    register_worker,
    renew_leases,
    reopen_slot,
    settle_slot,
    sign_off_worker,
)
from storage.clock import epoch_now

pytestmark = pytest.mark.db

N_PROCESSES = 8

_Queue = multiprocessing.queues.SimpleQueue


class _Study:
    """A study with a budget and one registered worker."""

    def __init__(self, url: str, n_trials: int = 3) -> None:
        self.storage = create_storage(url)
        self.engine = self.storage.engine
        self.study = optuna.create_study(storage=self.storage)
        self.name = self.study.study_name
        self.study_id = self.storage.get_study_id_from_name(self.name)
        create_budget(self.engine, self.study_id, n_trials)
        self.worker_id, _ = register_worker(self.engine, self.study_id, "host", 1)

    def claim(self, lease_seconds: float = 60) -> int | None:
        return claim_slot(self.engine, self.study_id, self.worker_id, lease_seconds)

    def claim_and_ask(self, lease_seconds: float = 60) -> tuple[Lease, optuna.Trial]:
        lease_id = self.claim(lease_seconds)
        assert lease_id is not None
        trial = self.study.ask()
        trial.suggest_float("x", 0, 1)
        bind_trial(self.engine, lease_id, trial._trial_id)
        return Lease(lease_id, self.study_id, trial._trial_id), trial

    def budget(self) -> Budget:
        budget = find_budget(self.engine, self.study_id)
        assert budget is not None
        return budget


@pytest.fixture
def study(shared_url: str) -> _Study:
    """Return a new study with a budget of three trials."""
    return _Study(shared_url)


class TestBudget:
    """N slots are handed out, no more, whatever becomes of them."""

    def test_claim_beyond_the_budget_gives_nothing(self, study: _Study) -> None:
        """The slot after the last is not there."""
        assert [study.claim() is not None for _ in range(4)] == [True, True, True, False]

    def test_settled_slot_stays_spent(self, study: _Study) -> None:
        """Finished trials count, once each, however often they are settled."""
        leases = [study.claim() for _ in range(3)]
        for lease_id in [*leases, *leases]:
            settle_slot(study.engine, lease_id or 0)
        assert study.budget() == Budget(3, n_finished=3, n_leased=0, is_past_deadline=False)
        assert study.budget().is_spent
        assert study.claim() is None

    def test_reopened_slot_is_claimed_again_once(self, study: _Study) -> None:
        """Giving a slot back twice opens one slot, not two."""
        leases = [study.claim() for _ in range(3)]
        for _ in range(2):
            reopen_slot(study.engine, Lease(leases[0] or 0, study.study_id, None))
        assert study.claim() is not None
        assert study.claim() is None

    def test_raised_budget_gives_the_difference(self, study: _Study) -> None:
        """A budget can be raised while workers run."""
        while study.claim():
            pass
        change_budget(study.engine, study.study_id, n_trials=5, timeout_seconds=None)
        assert [study.claim() is not None for _ in range(3)] == [True, True, False]

    def test_lowered_budget_gives_nothing_more(self, study: _Study) -> None:
        """A budget below what is finished is spent."""
        settle_slot(study.engine, study.claim() or 0)
        change_budget(study.engine, study.study_id, n_trials=1, timeout_seconds=None)
        assert study.claim() is None
        assert study.budget().is_spent

    def test_deadline_past_gives_nothing_until_it_is_lifted(self, study: _Study) -> None:
        """After the deadline no slot is handed out; without one, again."""
        change_budget(study.engine, study.study_id, n_trials=None, timeout_seconds=-1)
        assert study.claim() is None
        assert study.budget().is_spent
        change_budget(study.engine, study.study_id, n_trials=None, timeout_seconds=60)
        assert study.claim() is not None

    def test_new_study_with_a_reused_id_has_a_fresh_budget(self, study: _Study) -> None:
        """What is left of a deleted study with the same id does not count."""
        study.claim()
        create_budget(study.engine, study.study_id, 2)
        assert study.budget() == Budget(2, n_finished=0, n_leased=0, is_past_deadline=False)
        assert list_workers(study.engine, study.study_id) == []

    def test_deleted_study_takes_its_budget_along(self, study: _Study) -> None:
        """Deleting the study by Optuna is not hindered by our tables, and empties them."""
        study.claim()
        optuna.delete_study(study_name=study.name, storage=study.storage)
        assert find_budget(study.engine, study.study_id) is None
        assert list_workers(study.engine, study.study_id) == []


class TestLeases:
    """Who holds what, until when; and what becomes of it when they are gone."""

    def test_lease_runs_out_by_the_database_clock_unless_renewed(self, study: _Study) -> None:
        """A short lease is expired at once; its renewal by the thread saves it."""
        lease, _ = study.claim_and_ask(lease_seconds=-1)
        assert find_expired_leases(study.engine, study.study_id) == [lease]
        with LeaseRenewer(study.engine, study.worker_id, lease_seconds=0.3):
            time.sleep(0.4)
            assert find_expired_leases(study.engine, study.study_id) == []

    def test_renewer_outlives_a_database_error(self, study: _Study) -> None:
        """The thread goes on after statements that failed: here, while its table is away."""
        lease, _ = study.claim_and_ask(lease_seconds=-1)
        rename = "ALTER TABLE {} RENAME TO {}"
        with LeaseRenewer(study.engine, study.worker_id, lease_seconds=0.3):
            for names in [("tuner_leases", "away"), ("away", "tuner_leases")]:
                with study.engine.begin() as connection:
                    connection.execute(sqlalchemy.text(rename.format(*names)))
                time.sleep(0.5)
            assert find_expired_leases(study.engine, study.study_id) == []
        assert find_leases_of(study.engine, study.worker_id) == [lease]

    def test_give_back_of_running_trial_fails_it_and_queues_its_parameters(
        self, study: _Study
    ) -> None:
        """The slot opens, the trial says why, and the next one asked for has its parameters."""
        lease, trial = study.claim_and_ask()
        give_back(study.engine, lease, "its worker was lost")
        given_back = study.study.trials[0]
        assert given_back.state is TrialState.FAIL
        assert given_back.user_attrs[GIVEN_BACK] == "its worker was lost"
        assert study.budget().n_leased == 0
        rerun = study.study.ask()
        assert rerun.suggest_float("x", 0, 1) == trial.params["x"]
        assert rerun.user_attrs["rerun_of"] == trial.number

    def test_give_back_of_finished_trial_keeps_its_result(self, study: _Study) -> None:
        """A worker that died between telling and settling loses nothing, and is not run twice."""
        lease, trial = study.claim_and_ask()
        study.study.tell(trial, 0.5)
        give_back(study.engine, lease, "its worker was lost")
        assert study.study.trials[0].state is TrialState.COMPLETE
        assert study.budget().n_finished == 1

    def test_give_back_of_failed_objective_counts_it(self, study: _Study) -> None:
        """A trial that failed by its own fault spends its slot."""
        lease, trial = study.claim_and_ask()
        study.study.tell(trial, state=TrialState.FAIL)
        give_back(study.engine, lease, "its worker was lost")
        assert study.budget().n_finished == 1

    def test_give_back_without_trial_opens_the_slot(self, study: _Study) -> None:
        """A worker that died between claiming and asking costs nothing."""
        lease_id = study.claim()
        give_back(study.engine, Lease(lease_id or 0, study.study_id, None), "lost")
        assert study.budget().n_leased == 0
        assert study.study.trials == []

    def test_taken_away_trial_cannot_be_told(self, study: _Study) -> None:
        """The worker that comes back late finds its trial finished, not its result counted."""
        lease, trial = study.claim_and_ask()
        give_back(study.engine, lease, "its worker was lost")
        with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
            trial.report(0.5, step=1)

    def test_lease_that_was_bound_meanwhile_is_not_reopened(self, study: _Study) -> None:
        """A worker that thaws and binds its trial before it is given back keeps its slot."""
        lease_id = study.claim(lease_seconds=-1) or 0
        (as_read,) = find_expired_leases(study.engine, study.study_id)
        assert bind_trial(study.engine, lease_id, study.study.ask()._trial_id)
        give_back(study.engine, as_read, "its worker was lost")
        assert study.budget().n_leased == 1

    def test_rerun_given_back_before_it_suggested_keeps_its_parameters(self, study: _Study) -> None:
        """Parameters survive being given back twice."""
        lease, trial = study.claim_and_ask()
        give_back(study.engine, lease, "first")
        lease_id = study.claim() or 0
        rerun = study.study.ask()
        bind_trial(study.engine, lease_id, rerun._trial_id)
        give_back(study.engine, Lease(lease_id, study.study_id, rerun._trial_id), "second")
        assert study.study.ask().suggest_float("x", 0, 1) == trial.params["x"]

    def test_renewing_beside_claiming_meets_no_deadlock(self, study: _Study) -> None:
        """The thread's transactions and the worker's lock rows in orders that do not clash."""
        create_budget(study.engine, study.study_id, 10_000)
        study.worker_id, _ = register_worker(study.engine, study.study_id, "host", 1)
        stopped = threading.Event()
        errors: list[Exception] = []

        def renew() -> None:
            while not stopped.is_set():
                try:
                    held = [
                        lease.lease_id for lease in find_leases_of(study.engine, study.worker_id)
                    ]
                    renew_leases(study.engine, study.worker_id, held, 60)
                except sqlalchemy.exc.SQLAlchemyError as error:
                    errors.append(error)

        thread = threading.Thread(target=renew)
        thread.start()
        try:
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                held = [study.claim() or 0 for _ in range(3)]
                for lease_id in held:
                    bind_trial(study.engine, lease_id, lease_id)
                    settle_slot(study.engine, lease_id)
        finally:
            stopped.set()
            thread.join()
        assert errors == []

    def test_trial_cannot_be_bound_to_a_lease_that_has_ended(self, study: _Study) -> None:
        """A worker frozen between claiming and asking learns that its slot is another's."""
        lease_id = study.claim(lease_seconds=-1) or 0
        give_back(study.engine, Lease(lease_id, study.study_id, None), "its worker was lost")
        assert not bind_trial(study.engine, lease_id, study.study.ask()._trial_id)

    def test_workers_are_listed_with_what_they_hold_until_they_sign_off(
        self, study: _Study
    ) -> None:
        """Status can show who works on a study."""
        study.claim()
        (worker,) = list_workers(study.engine, study.study_id)
        assert (worker.host, worker.pid, worker.n_trials_in_training) == ("host", 1, 1)
        assert not worker.is_lost
        sign_off_worker(study.engine, study.worker_id)
        assert list_workers(study.engine, study.study_id) == []

    def test_ordinals_of_workers_count_within_the_study(self, study: _Study) -> None:
        """Each worker of a study gets its own ordinal, so its own sampler seed."""
        ordinals = [register_worker(study.engine, study.study_id, "h", 2)[1] for _ in range(3)]
        assert ordinals == [1, 2, 3]

    def test_clock_is_the_time_in_seconds_with_fractions(self, study: _Study) -> None:
        """The database's clock counts seconds since 1970 UTC, and moves within a second."""
        with study.engine.connect() as connection:
            first = connection.execute(sqlalchemy.select(epoch_now())).scalar_one()
        time.sleep(0.05)
        with study.engine.connect() as connection:
            second = connection.execute(sqlalchemy.select(epoch_now())).scalar_one()
        assert abs(first - time.time()) < 5
        assert 0.04 < second - first < 5


def _run_at_once(target: Callable[..., None], url: str, name: str = "") -> list[object]:
    """Run a function in eight processes that start together; return what each one reports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["storage", "sqlalchemy.orm", "alembic.command"])
    barrier, results = context.Barrier(N_PROCESSES), context.SimpleQueue()
    processes = [
        context.Process(target=target, args=(url, name, barrier, results))
        for _ in range(N_PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * N_PROCESSES
    return [results.get() for _ in processes]


def _create_together(url: str, _name: str, barrier: Barrier, results: _Queue) -> None:
    barrier.wait()
    create_storage(url)
    results.put("created")


def _claim_together(url: str, name: str, barrier: Barrier, results: _Queue) -> None:
    storage = create_storage(url)
    study_id = storage.get_study_id_from_name(name)
    worker_id, _ = register_worker(storage.engine, study_id, "h", 1)
    barrier.wait()
    n_claimed = 0
    while (lease_id := claim_slot(storage.engine, study_id, worker_id, 60)) is not None:
        settle_slot(storage.engine, lease_id)
        n_claimed += 1
    results.put(n_claimed)


def _pop_together(url: str, name: str, barrier: Barrier, results: _Queue) -> None:
    study = optuna.load_study(storage=create_storage(url), study_name=name)
    barrier.wait()
    results.put([study.ask().suggest_float("x", 0, 1) for _ in range(3)])


@pytest.mark.slow
class TestTogether:
    """Eight real processes at the same moment."""

    def test_eight_first_starts_on_an_empty_database_all_succeed(self, storage_url: str) -> None:
        """Tables are created once, without a race."""
        assert _run_at_once(_create_together, storage_url) == ["created"] * N_PROCESSES

    def test_eight_claimers_get_each_slot_once(self, shared_url: str) -> None:
        """The sum of what eight processes claim is the budget."""
        study = _Study(shared_url, n_trials=100)
        claimed = _run_at_once(_claim_together, shared_url, study.name)
        assert sum(claimed) == 100
        assert study.budget().n_finished == 100

    def test_eight_askers_pop_each_waiting_trial_once(self, shared_url: str) -> None:
        """Optuna's queue hands a trial to one process, on SQLite too."""
        study = _Study(shared_url)
        for i in range(3 * N_PROCESSES):
            study.study.enqueue_trial({"x": i / 100})
        popped = [
            x for report in _run_at_once(_pop_together, shared_url, study.name) for x in report
        ]
        assert sorted(popped) == [i / 100 for i in range(3 * N_PROCESSES)]
