"""One worker: claim slots, ask for their trials, train, report, prune, tell, claim the next.

A trial's way through a worker reads from top to bottom here. Training is the trainers' (see
``tuner.trainers``), budget, leases and outages are the storage's.
"""

import gc
import logging
import math
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage

from objectives.functions import load_function
from storage import (
    LEASE_SECONDS,
    Budget,
    Claimant,
    Retry,
    UnreachableError,
    WorkerStorage,
    explain_database_error,
    find_leases_of,
    give_back,
    open_storage,
    parse_url,
    register_worker,
    sign_off_worker,
)
from tuner.allowed import AllowedObjectives
from tuner.checkpoints import Checkpoints, FinalModels
from tuner.leaving import INTERRUPTED_STATUS, Interrupted, Leaving
from tuner.logs import about
from tuner.metrics import worker as metrics
from tuner.settling import Settler
from tuner.spec import Spec
from tuner.study import LoadedStudy, load_study, with_sampler
from tuner.trainers import (
    Ended,
    FreshSeedsTrainer,
    FunctionTrainer,
    LaneTrainer,
    ModelFiles,
    Trainer,
    describe,
)

logger = logging.getLogger(__name__)

# How long a worker without a slot waits before it looks again: one may come back from a worker
# that left or died.
_POLL_SECONDS = 0.5


# Why a worker leaves a study, not its process: nothing was interrupted.
_STOPPED = "tuner stop"
_PAUSED = "tuner pause"

# What is assumed of a budget that cannot be read now.
_UNKNOWN = Budget(n_trials=1, n_finished=0, n_leased=1, is_past_deadline=False)


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker has to know besides the study, which it reads from the storage."""

    storage_url: str = field(repr=False)  # may hold a password
    study_name: str
    data_dir: Path = Path("data")
    device: str = "auto"
    n_threads: int = 1
    n_lanes: int | None = None  # the program's best
    lease_seconds: float = LEASE_SECONDS
    patience_seconds: float = 600.0
    checkpoint_dir: Path | None = None
    allowed: AllowedObjectives | None = None  # None: whatever the named study names
    models_dir: Path | None = None  # where models are left for whoever scores them
    log_level: int = logging.INFO
    log_format: str = "text"

    def files(self, spec: Spec) -> ModelFiles:
        """Return what keeps the models of the study with this spec."""
        checkpoints = final = None
        if self.checkpoint_dir is not None:
            checkpoints = Checkpoints(self.checkpoint_dir, self.study_name, spec.hash)
        if self.models_dir is not None:
            final = FinalModels(self.models_dir, only_best=spec.confirms is None)
        return ModelFiles(checkpoints, final)

    def retry(self, leaving: Leaving) -> Retry:
        """Return what waits for the study's database, as long as this process need not leave."""
        url = parse_url(self.storage_url)
        return Retry(
            url,
            self.patience_seconds,
            lambda: leaving.reason is not None,
            on_retry=metrics.count_retry,
        )


@dataclass(frozen=True)
class Guest:
    """How a worker behaves that serves all open studies: it leaves one when others need it more.

    ``is_wanted_elsewhere`` tells whether it shall take no new trials here.
    """

    is_wanted_elsewhere: Callable[[], bool]


@dataclass(frozen=True)
class Opened:
    """A study that this process can train, before it has registered as its worker."""

    database: RDBStorage
    loaded: LoadedStudy
    trainer: Trainer


def run_worker(
    config: WorkerConfig, leaving: Leaving, is_orphaned: Callable[[], bool] = lambda: False
) -> int:
    """Train trials until the study's budget is spent; return the process's exit status.

    Whatever ends it, what it holds is given back to the budget. ``is_orphaned`` tells whether
    whoever started this worker is gone. Raises StorageError, ObjectiveError or TunerError.
    """
    retry = config.retry(leaving)
    try:
        with about(study=config.study_name, worker=worker_name()):
            opened = open_study(config, retry, leaving)
            serve_study(opened, config, retry, leaving, is_orphaned)
    except (Interrupted, UnreachableError):
        if leaving.reason is None:  # who leaves waits for no database
            raise
    return INTERRUPTED_STATUS if leaving.leaves_process else 0


def open_study(config: WorkerConfig, retry: Retry, leaving: Leaving) -> Opened:
    """Load a study and what it trains with; raises as `run_worker`, and NotAllowedError."""
    database = retry.call("open it", lambda: open_storage(config.storage_url))
    loaded = retry.call("load the study", lambda: load_study(database, config.study_name))
    if config.allowed is not None:
        config.allowed.check(loaded.spec.objective)
    with leaving.interruptible():  # fetching data may take minutes
        trainer = _open_trainer(loaded.spec, config, leaving)
    return Opened(database, loaded, trainer)


def serve_study(  # noqa: PLR0913, PLR0917 (what `run_worker` has, and a guest's manners)
    opened: Opened,
    config: WorkerConfig,
    retry: Retry,
    leaving: Leaving,
    is_orphaned: Callable[[], bool] = lambda: False,
    guest: Guest | None = None,
) -> None:
    """Register as a worker of a study and train; in the end give back what is held, sign off."""
    database, loaded, trainer = opened.database, opened.loaded, opened.trainer
    worker_id, ordinal = retry.call(
        "register", lambda: _register(loaded, trainer.n_lanes, config.lease_seconds)
    )
    claimant = Claimant(loaded.study_id, worker_id, config.lease_seconds)
    try:
        with WorkerStorage(database, claimant, retry) as storage:
            study = with_sampler(loaded, storage, ordinal)
            worker = _Worker(loaded, study, storage, trainer, retry, leaving, is_orphaned, guest)
            storage.on_report = worker.on_report
            storage.on_lost(metrics.LOST.inc)
            worker.run()
    except KeyError:
        loaded.load_budget()  # says so if somebody has deleted the study
        raise
    finally:
        metrics.show_lanes(0, 0)
        gc.unfreeze()
        _leave(database, worker_id, retry, leaving)


def worker_name() -> str:
    """Return how this process is called where its trials are shown."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _open_trainer(spec: Spec, config: WorkerConfig, leaving: Leaving) -> Trainer:
    if spec.is_function:
        return FunctionTrainer(load_function(spec.objective), leaving)
    import torch

    from objectives.lanes import open_lanes

    torch.set_num_threads(config.n_threads)
    training = spec.training_config(data_dir=config.data_dir, device=config.device)
    kind = LaneTrainer if spec.confirms is None else FreshSeedsTrainer
    return kind(open_lanes(training, config.n_lanes), spec, config.files(spec), leaving)


def _register(loaded: LoadedStudy, n_lanes: int, lease_seconds: float) -> tuple[int, int]:
    host, pid = socket.gethostname(), os.getpid()
    engine = loaded.storage.engine
    return register_worker(engine, loaded.study_id, host, pid, n_lanes, lease_seconds)


def _leave(database: RDBStorage, worker_id: int, retry: Retry, leaving: Leaving) -> None:
    reason = leaving.reason or "its worker failed"
    database.engine.dispose()  # an interrupted objective may have left a connection half-way

    def give_all_back() -> None:
        for lease in find_leases_of(database.engine, worker_id):
            give_back(database.engine, lease, reason)
        sign_off_worker(database.engine, worker_id)

    try:
        # Once, if the database has been waited for in vain already.
        retry.call("give trials back", give_all_back) if retry.is_leaving() else give_all_back()
    except Exception as error:
        is_explained = isinstance(error, UnreachableError)
        explanation = str(error) if is_explained else explain_database_error(error)
        if explanation is None:
            raise
        logger.warning("Could not give back trials, their leases will end: %s", explanation)
    else:
        if leaving.reason is not None:
            logger.info("Left the study on %s; trials in training were given back", reason)
    finally:
        database.engine.dispose()  # or a worker of all studies would keep those of each


@dataclass
class _Worker:
    loaded: LoadedStudy
    study: optuna.Study
    storage: WorkerStorage
    trainer: Trainer
    retry: Retry
    leaving: Leaving
    is_orphaned: Callable[[], bool]
    guest: Guest | None = None
    name: str = field(default_factory=worker_name)
    looked_at: float = -math.inf  # the budget, which holds the study's state
    settler: Settler = field(init=False)

    def __post_init__(self) -> None:
        engine, study_ids = self.loaded.storage.engine, [self.loaded.study_id]
        self.settler = Settler(engine, self.retry, self.storage.lease_seconds, lambda: study_ids)

    def run(self) -> None:
        """Train until the budget is spent or the worker is asked to leave."""
        try:
            self.storage.refresh()
            gc.freeze()  # finished trials stay: looking through 5,000 of them cost 2 ms a trial
            while True:
                self._check_leaving()
                self.settler.settle_now_and_then()
                if self.guest is None or not self.guest.is_wanted_elsewhere():
                    self._refill()
                n_lanes = self.trainer.n_lanes
                metrics.show_lanes(n_lanes, n_lanes - self.trainer.n_free)
                self._obey()
                if self._is_training:
                    self._train()
                elif self._is_over():
                    return
                else:
                    time.sleep(_POLL_SECONDS)
        except Interrupted:
            return  # `run_worker` gives back

    def _is_over(self) -> bool:
        self.storage.flush()  # a slot is spent when its trial's end is written
        return self.guest is not None or self._load_budget().is_spent

    @property
    def _is_training(self) -> bool:
        return self.trainer.n_free < self.trainer.n_lanes

    def on_report(self) -> None:
        """Obey between the epochs of a function, which otherwise keeps its trial to the end."""
        metrics.EPOCHS.inc()
        if self.trainer.is_function:
            self._obey()

    def _obey(self) -> None:
        """Wait while the study is paused; raise Interrupted if it is time to leave."""
        while True:
            self._check_leaving()
            if time.monotonic() - self.looked_at < _POLL_SECONDS:
                return
            state = self._load_budget().state
            if state == "stopped":
                self.leaving.leave_study(_STOPPED)
            elif state == "paused" and self.guest is not None and not self._is_training:
                self.leaving.leave_study(_PAUSED)
            elif state == "open":
                self.looked_at = time.monotonic()
                return
            else:
                time.sleep(_POLL_SECONDS)

    def _check_leaving(self) -> None:
        if self.is_orphaned():
            self.leaving.reason = "the end of its launcher"
        self.leaving.check()

    def _load_budget(self) -> Budget:
        """Return the budget; during an outage those that train go on as if it were open."""
        if self._is_training:
            return self.retry.attempt(self.loaded.load_budget, _UNKNOWN)
        return self.retry.call("read the budget", self.loaded.load_budget)

    def _refill(self) -> None:
        """Give every free lane a trial, as far as the budget goes."""
        is_patient = not self._is_training
        if not self.trainer.n_free:
            return self.storage.expect_news()
        n_claimed = self.storage.claim(self.trainer.n_free, is_patient=is_patient)
        metrics.CLAIMS.inc(n_claimed)
        if n_claimed:  # so the study is open
            self.looked_at = time.monotonic()
        for _ in range(n_claimed):
            trial = self.study.ask()
            try:
                trial.set_user_attr("worker", self.name)
                self.trainer.start(trial)
            except UpdateFinishedTrialError:
                self._drop(trial)
        return None

    def _train(self) -> None:
        for ended in self.trainer.train():
            self._tell(ended)

    def _tell(self, ended: Ended) -> None:
        trial = ended.trial
        if ended.state is None:
            return self._drop(trial)
        try:
            for name, value in ended.user_attrs.items():
                trial.set_user_attr(name, value)
            self.study.tell(trial, ended.value, ended.state)
        except UpdateFinishedTrialError:
            return self._drop(trial)
        except ValueError:
            # What `tell` raises for a trial that it reads as finished by somebody else.
            if not self.storage.get_trial(trial._trial_id).state.is_finished():
                raise
            return self._drop(trial)
        metrics.count_end(ended.state)
        line = "Trial %d %s %s"
        of_trial = {"trial": trial.number}
        logger.info(line, trial.number, ended.state.name, describe(ended), extra=of_trial)
        return None

    def _drop(self, trial: optuna.Trial) -> None:
        of_trial = {"trial": trial.number}
        logger.warning("Trial %d was taken away meanwhile: dropped", trial.number, extra=of_trial)
