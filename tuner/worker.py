"""One worker: claim a slot, ask for a trial, train it, report, prune, tell, take the next.

A trial's way through a worker reads from top to bottom here. Training is the objective's,
claiming and leases are the storage's.
"""

import logging
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from objectives import EpochResult, Lanes
from objectives.functions import ObjectiveFunction, load_function
from storage import (
    LEASE_SECONDS,
    Lease,
    LeaseRenewer,
    bind_trial,
    claim_slot,
    explain_database_error,
    find_expired_leases,
    find_leases_of,
    give_back,
    open_storage,
    register_worker,
    settle_slot,
    sign_off_worker,
)
from tuner.leaving import INTERRUPTED_STATUS, Interrupted, Leaving
from tuner.spec import Spec
from tuner.study import LoadedStudy, load_study, with_sampler

logger = logging.getLogger(__name__)

# How long a worker without a slot waits before it looks again: one may come back from a worker
# that left or died.
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker has to know besides the study, which it reads from the storage."""

    storage_url: str = field(repr=False)  # may hold a password
    study_name: str
    data_dir: Path = Path("data")
    device: str = "auto"
    n_threads: int = 1
    n_lanes: int | None = None  # the program's best
    log_level: int = logging.INFO


@dataclass
class _InTraining:
    trial: optuna.Trial
    lease: Lease
    losses: list[float] = field(default_factory=list)
    has_lane: bool = False


def run_worker(
    config: WorkerConfig, leaving: Leaving, is_orphaned: Callable[[], bool] = lambda: False
) -> int:
    """Train trials until the study's budget is spent; return the process's exit status.

    Whatever ends it, what it holds is given back to the budget. ``is_orphaned`` tells whether
    whoever started this worker is gone. Raises StorageError, ObjectiveError or TunerError.
    """
    storage = open_storage(config.storage_url)
    loaded = load_study(storage, config.study_name)
    try:
        with leaving.interruptible():  # fetching data may take minutes
            function = load_function(loaded.spec.objective) if loaded.spec.is_function else None
            lanes = None if function else _open_lanes(loaded.spec, config)
    except Interrupted:
        return INTERRUPTED_STATUS
    host, pid = socket.gethostname(), os.getpid()
    worker_id, ordinal = register_worker(storage.engine, loaded.study_id, host, pid)
    study = with_sampler(loaded, ordinal)
    worker = _Worker(loaded, study, worker_id, f"{host}:{pid}", lanes, function, leaving)
    with LeaseRenewer(storage.engine, worker_id):
        try:
            worker.run(is_orphaned)
        except KeyError:
            loaded.load_budget()  # says so if somebody has deleted the study
            raise
        finally:
            _leave(storage, worker_id, leaving.reason or "its worker failed")
    if leaving.reason is None:
        return 0
    logger.info("Left the study on %s; trials in training were given back", leaving.reason)
    return INTERRUPTED_STATUS


def _leave(storage: RDBStorage, worker_id: int, reason: str) -> None:
    storage.engine.dispose()  # an interrupted objective may have left a connection half-way
    try:
        for lease in find_leases_of(storage.engine, worker_id):
            give_back(storage.engine, lease, reason)
        sign_off_worker(storage.engine, worker_id)
    except Exception as error:
        if (explanation := explain_database_error(error)) is None:
            raise
        logger.warning("Could not give back trials, their leases will end: %s", explanation)


def _open_lanes(spec: Spec, config: WorkerConfig) -> Lanes:
    import torch

    from objectives.lanes import open_lanes

    torch.set_num_threads(config.n_threads)
    training = spec.training_config(data_dir=config.data_dir, device=config.device)
    return open_lanes(training, config.n_lanes)


class _Worker:
    """The loop and the trials in training; either ``lanes`` or ``function`` trains them."""

    def __init__(  # noqa: PLR0913, PLR0917 (made in one place, from parts that have no other home)
        self,
        loaded: LoadedStudy,
        study: optuna.Study,
        worker_id: int,
        name: str,
        lanes: Lanes | None,
        function: ObjectiveFunction | None,
        leaving: Leaving,
    ) -> None:
        self._loaded = loaded
        self._storage = loaded.storage
        self._study = study
        self._worker_id = worker_id
        self._name = name
        self._lanes = lanes
        self._function = function
        self._leaving = leaving
        self._in_training: dict[int, _InTraining] = {}
        self._looked_for_expired_at = -LEASE_SECONDS

    def run(self, is_orphaned: Callable[[], bool]) -> None:
        """Train until the budget is spent or the worker is asked to leave."""
        while self._leaving.reason is None:
            if is_orphaned():
                self._leaving.reason = "the end of its launcher"
                return
            self._give_back_expired()
            self._refill()
            if self._in_training:
                self._train()
            elif self._loaded.load_budget().is_spent:
                return
            else:
                time.sleep(_POLL_SECONDS)

    def _give_back_expired(self) -> None:
        """Settle what lost workers of any host have left behind, now and then."""
        if time.monotonic() - self._looked_for_expired_at < LEASE_SECONDS / 4:
            return
        self._looked_for_expired_at = time.monotonic()
        for lease in find_expired_leases(self._storage.engine, self._loaded.study_id):
            logger.warning("A worker is lost: its trial is given back to the budget")
            give_back(self._storage.engine, lease, "its worker was lost")

    def _refill(self) -> None:
        n_free = self._lanes.n_free if self._lanes else 1
        for _ in range(n_free):
            lease_id = claim_slot(self._storage.engine, self._loaded.study_id, self._worker_id)
            if lease_id is None:
                return
            self._start_trial(lease_id)

    def _start_trial(self, lease_id: int) -> None:
        trial = self._study.ask()
        lease = Lease(lease_id, self._loaded.study_id, trial._trial_id)
        if not bind_trial(self._storage.engine, lease_id, trial._trial_id):
            # This process was frozen since it claimed, and its slot has been given to another.
            give_back(self._storage.engine, lease, "its lease had run out")
            return
        held = _InTraining(trial, lease)
        self._in_training[trial.number] = held
        self._guarded(self._open_lane, held)

    def _open_lane(self, held: _InTraining) -> None:
        trial = held.trial
        trial.set_user_attr("worker", self._name)
        if self._lanes:
            hyperparameters = self._loaded.spec.space.suggest(trial)
            trial.set_user_attr("first_pass", self._lanes.next_pass)
            self._lanes.add(trial.number, hyperparameters)
            held.has_lane = True

    def _train(self) -> None:
        """Train for one pass, or a whole trial where a function is the objective."""
        try:
            if self._lanes:
                with self._leaving.interruptible():
                    results = self._lanes.train_pass()
                for number, result in results.items():
                    self._guarded(self._report, self._in_training[number], result)
            else:
                (held,) = self._in_training.values()
                self._guarded(self._call_function, held)
        except Interrupted:
            return  # `run` sees why, `run_worker` gives back

    def _guarded(self, step: Callable[..., None], held: _InTraining, *args: object) -> None:
        """Take a step with a trial; drop it if its lease had run out and it was taken away."""
        try:
            step(held, *args)
        except UpdateFinishedTrialError:
            logger.warning("Trial %d was taken away meanwhile: dropped", held.trial.number)
            give_back(
                self._storage.engine, held.lease, "taken away"
            )  # ends the lease, if it is there
            self._free(held)

    def _report(self, held: _InTraining, result: EpochResult) -> None:
        trial = held.trial
        if result.is_diverged:
            # Its accuracy means nothing: the trial keeps that of the epoch before.
            trial.set_user_attr("diverged", value=True)
            return self._finish(held, TrialState.PRUNED)
        trial.report(result.accuracy, step=result.epoch)
        held.losses.append(result.loss)
        if result.epoch == self._loaded.spec.epochs:
            self._finish(held, TrialState.COMPLETE, result.accuracy)
        elif trial.should_prune():
            self._finish(held, TrialState.PRUNED)
        return None

    def _call_function(self, held: _InTraining) -> None:
        assert self._function is not None
        try:
            with self._leaving.interruptible():
                value = self._function(held.trial)
        except TrialPruned:
            self._finish(held, TrialState.PRUNED)
        except UpdateFinishedTrialError:
            raise
        except Exception as error:  # the trial boundary: whatever the user's code raises
            logger.exception("Trial %d failed", held.trial.number)
            self._fail(held, f"{type(error).__name__}: {error}")
        else:
            self._finish_with_value(held, value)

    def _finish_with_value(self, held: _InTraining, value: object) -> None:
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return self._fail(held, f"the objective returned {value!r}, not a number")
        if math.isnan(number):
            return self._fail(held, "the objective returned NaN")
        return self._finish(held, TrialState.COMPLETE, number)

    def _fail(self, held: _InTraining, reason: str) -> None:
        logger.error("Trial %d: %s", held.trial.number, reason)
        held.trial.set_user_attr("error", reason[:1000])
        self._finish(held, TrialState.FAIL)

    def _finish(self, held: _InTraining, state: TrialState, value: float | None = None) -> None:
        trial = held.trial
        if held.losses:
            trial.set_user_attr("training_loss", held.losses)
        try:
            self._study.tell(trial, value, state)
        except ValueError as error:
            # What `tell` raises for a trial that somebody has finished meanwhile.
            if not self._storage.get_trial(trial._trial_id).state.is_finished():
                raise
            raise UpdateFinishedTrialError from error
        settle_slot(self._storage.engine, held.lease.lease_id)
        self._free(held)
        logger.info("Trial %d %s %s", trial.number, state.name, _describe(trial, value))

    def _free(self, held: _InTraining) -> None:
        del self._in_training[held.trial.number]
        if self._lanes and held.has_lane:
            self._lanes.remove(held.trial.number)


def _describe(trial: optuna.Trial, value: float | None) -> str:
    params = " ".join(
        f"{name}={chosen:.3g}" if isinstance(chosen, float) else f"{name}={chosen}"
        for name, chosen in trial.params.items()
    )
    return params if value is None else f"value={value:.4f} {params}"
