"""One worker of a study: claim slots, ask for their trials, have them trained, tell, claim more.

A trial's way through a worker reads from top to bottom here. Training is done by the trainers'
processes (see ``tuner.workers.crew``), budget, leases and outages are the storage's. Imports
neither torch nor anybody's module, so that it answers whatever those do.
"""

import gc
import logging
import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from optuna.storages import RDBStorage

from storage import (
    Claimant,
    ReplacedError,
    Retry,
    RolledBackError,
    StudyState,
    UnreachableError,
    WorkerStorage,
    explain_database_error,
    find_leases_of,
    give_back,
    note_rollback,
    register_worker,
    set_study_state,
    sign_off_worker,
)
from tuner.logs import about
from tuner.metrics import worker as metrics
from tuner.study import CODE, PROGRAM, LoadedStudy, with_sampler
from tuner.workers.booking import Bookkeeper
from tuner.workers.config import WorkerConfig, worker_name
from tuner.workers.crew import Crew, Trainer
from tuner.workers.lost_workers import Settler
from tuner.workers.opening import (
    TICK_SECONDS,
    Opened,
    check_start,
    hear_opening,
    note_why_not,
    open_study,
)
from tuner.workers.shutdown import INTERRUPTED_STATUS, Interrupted, Leaving

logger = logging.getLogger(__name__)

# How often a worker looks for orders, and without a slot for one, which may come back from a worker
# that left or died.
POLL_SECONDS = 0.5
# Why a worker leaves a study, not its process: nothing was interrupted.
_STOPPED = "tuner stop"
_PAUSED = "tuner pause"


@dataclass(frozen=True)
class Guest:
    """How a worker behaves that serves all open studies: it leaves one when others need it more.

    ``is_wanted_elsewhere`` tells whether it shall take no new trials here.
    """

    is_wanted_elsewhere: Callable[[], bool]


OnTick = Callable[[LoadedStudy], None]


def _ignore(_loaded: LoadedStudy) -> None:
    pass


def run_worker(
    config: WorkerConfig,
    leaving: Leaving,
    on_tick: OnTick = _ignore,
    database: RDBStorage | None = None,
) -> int:
    """Train trials until the study's budget is spent; return the process's exit status.

    Whatever ends it, what it holds is given back to the budget; after a database has gone back it
    begins anew. ``on_tick`` is called several
    times a second with the study as this worker sees it, which costs no query of its own;
    ``database`` is the study's, if it is open already. Raises StorageError,
    ObjectiveError or TunerError.
    """
    retry = config.retry(leaving)
    try:
        with about(study=config.study_name, worker=worker_name()):
            is_over = False
            while not is_over:
                opened = open_study(config, retry, leaving, database)
                is_over = serve_study(opened, config, retry, leaving, on_tick=on_tick)
    except (Interrupted, UnreachableError):
        if leaving.reason is None:  # who leaves waits for no database
            raise
    return INTERRUPTED_STATUS if leaving.leaves_process else 0


def serve_study(  # noqa: PLR0913 (what `run_worker` has, and a guest's manners)
    opened: Opened,
    config: WorkerConfig,
    retry: Retry,
    leaving: Leaving,
    *,
    on_tick: OnTick = _ignore,
    guest: Guest | None = None,
) -> bool:
    """Register as a worker of a study and train; in the end give back what is held, sign off.

    Returns False, and says so, if the database has gone back meanwhile: then open it anew.
    """
    database, loaded, crew = opened.database, opened.loaded, opened.crew
    n_lanes = max(trainer.n_lanes for trainer in crew.trainers) * len(crew.trainers)
    in_good_order = False
    try:
        worker_id, ordinal = retry.call(
            "register", lambda: _register(loaded, n_lanes, config.lease_seconds)
        )
        claimant = Claimant(loaded.study_id, worker_id, config.lease_seconds)
        try:
            retry.call("note that it is trained", lambda: note_why_not(loaded, None))
            retry.call("note the program", lambda: _note_program(loaded, crew))
            retry.call("note the code", lambda: _note_code(loaded, crew))
            with WorkerStorage(database, claimant, retry) as storage:
                study = with_sampler(loaded, storage, ordinal)
                books = Bookkeeper(loaded, study, storage, crew, retry)
                storage.on_lost(metrics.LOST.inc)
                _Coordinator(books, leaving, on_tick, guest).run()
            in_good_order = leaving.reason is None
        except RolledBackError as error:
            logger.warning("%s; registering anew", error)
            retry.call("note it", lambda: _note_rollback(loaded))
            return False
        except KeyError:
            loaded.load_budget()  # says so if somebody has deleted the study
            raise
        finally:
            metrics.show_lanes(0, 0)
            gc.unfreeze()
            if not in_good_order:
                for trainer in crew.trainers:
                    crew.dismiss(trainer)
            _leave(database, worker_id, retry, leaving)
    finally:
        crew.end(in_good_order=in_good_order)
    return True


def _note_rollback(loaded: LoadedStudy) -> None:
    note_rollback(loaded.storage.engine, loaded.name, worker_name())


def _note_program(loaded: LoadedStudy, crew: Crew) -> None:
    """Log how trials are trained here, and leave it for who asks for the study's status."""
    told = next(filter(None, (trainer.program for trainer in crew.trainers)), None)
    if told is None:
        return
    logger.info("Trials are trained %s", told)
    if loaded.study.user_attrs.get(PROGRAM) != told:
        loaded.study.set_user_attr(PROGRAM, told)


def _note_code(loaded: LoadedStudy, crew: Crew) -> None:
    """Say so if a function is not that of the crew before; a problem's crew would be refused.

    People change a function between two calls, so that nothing but this tells of a host whose code
    is another one.
    """
    here = next(filter(None, (trainer.code for trainer in crew.trainers)), None)
    known = loaded.storage.get_study_system_attrs(loaded.study_id).get(CODE) if here else None
    if here == known:
        return
    if known is not None:
        logger.warning(
            "Objective %r: its module has the digest %s here, and had %s for the crew before: "
            "trials of both are compared",
            loaded.spec.objective,
            here,
            known,
        )
    loaded.storage.set_study_system_attr(loaded.study_id, CODE, here)


def _register(loaded: LoadedStudy, n_lanes: int, lease_seconds: float) -> tuple[int, int]:
    host, pid = socket.gethostname(), os.getpid()
    engine = loaded.storage.engine
    return register_worker(engine, loaded.study_id, host, pid, n_lanes, lease_seconds)


def _leave(database: RDBStorage, worker_id: int, retry: Retry, leaving: Leaving) -> None:
    reason = leaving.reason or "its worker failed"

    def give_all_back() -> None:
        for lease in find_leases_of(database.engine, worker_id):
            give_back(database.engine, lease, reason)
        sign_off_worker(database.engine, worker_id)

    try:
        # Once, if the database has been waited for in vain already.
        retry.call("give trials back", give_all_back) if retry.is_leaving() else give_all_back()
    except ReplacedError:
        pass  # whoever met it first says so
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
class _Coordinator:
    books: Bookkeeper
    leaving: Leaving
    on_tick: OnTick
    guest: Guest | None = None
    looked_at: float = -math.inf  # the budget, which holds the study's state
    claim_at: float = -math.inf
    found_nothing: bool = False  # when it claimed last
    settler: Settler = field(init=False)

    def __post_init__(self) -> None:
        self.loaded, self.retry = self.books.loaded, self.books.retry
        self.storage, self.crew = self.books.storage, self.books.crew
        engine, study_ids = self.loaded.storage.engine, [self.loaded.study_id]
        self.settler = Settler(engine, self.retry, self.storage.lease_seconds, lambda: study_ids)

    def run(self) -> None:
        """Train until the budget is spent or the worker is asked to leave."""
        try:
            self.storage.refresh()
            gc.freeze()  # finished trials stay: looking through 5,000 of them cost 2 ms a trial
            while not self._is_over():
                self.leaving.check()
                self.settler.settle_now_and_then()
                self._look_at_orders()
                self._refill()
                self._show()
                self._listen()
                self.books.supervise()
                self.crew.kill_overdue()
                self.crew.start_due()
                self.on_tick(self.books.view)
            self._finish()
        except Interrupted:  # `serve_study` gives back
            self._hear(self.crew.wait(0.0))  # what had ended before anybody was told to leave

    @property
    def _is_training(self) -> bool:
        return self.crew.n_in_training > 0

    @property
    def _takes_no_more(self) -> bool:
        wanted_elsewhere = self.guest is not None and self.guest.is_wanted_elsewhere()
        return wanted_elsewhere or self.books.desk.wants_stop

    def _is_over(self) -> bool:
        if self._is_training or self.books.has_to_give_back:
            return False
        if not self.crew.at_work:
            raise self.books.explain_retirement()
        if self.books.desk.wants_stop:
            return True
        if not self.found_nothing:
            return False
        self.found_nothing = False
        self.storage.flush()  # a slot is spent when its trial's end is written
        self.on_tick(self.books.view)  # who plans more does it now
        if self.guest is not None:
            return True
        return self.retry.call("read the budget", self.loaded.load_budget).is_spent

    def _finish(self) -> None:
        self.storage.flush()
        if self.books.desk.wants_stop:  # all that ran has been finished, as Optuna does
            set_study_state(self.loaded.storage.engine, self.loaded.study_id, "stopped")

    def _look_at_orders(self) -> None:
        """Pause, go on or leave as the study's state says, which is read now and then."""
        if time.monotonic() - self.looked_at < POLL_SECONDS:
            return
        self.looked_at = time.monotonic()
        state = self._load_state()
        if state == "stopped":
            self.leaving.leave_study(_STOPPED)
        elif state == "paused" and self.guest is not None and not self._is_training:
            self.leaving.leave_study(_PAUSED)
        elif (state == "paused") != self.crew.is_paused:
            self.crew.order("pause" if state == "paused" else "resume")
            is_paused = self.crew.is_paused
            logger.info("Paused: trials are held" if is_paused else "Resumed: trials go on")
        self.leaving.check()

    def _load_state(self) -> StudyState:
        """Return the study's state; during an outage those that train go on as if it were open."""
        if self._is_training:
            return self.retry.attempt(self.loaded.load_state, "open")
        return self.retry.call("read the study's state", self.loaded.load_state)

    def _refill(self) -> None:
        """Give every free lane a trial, as far as the budget goes."""
        free = self.books.list_free()
        if not free:
            return self.storage.expect_news() if self.books.has_news else None
        if self.crew.is_paused:
            return None
        if self._takes_no_more:
            self.found_nothing = True
            return None
        if not self.books.has_news and time.monotonic() < self.claim_at:
            return None
        self.books.has_news = False
        self.crew.let_ask()
        n_claimed = self.storage.claim(len(free), is_patient=not self._is_training)
        metrics.CLAIMS.inc(n_claimed)
        self.found_nothing = n_claimed == 0
        self.claim_at = time.monotonic() + (POLL_SECONDS if n_claimed < len(free) else 0)
        if n_claimed:  # so the study is open
            self.looked_at = time.monotonic()
        for trainer in free[:n_claimed]:
            self.books.start(trainer)
        return None

    def _show(self) -> None:
        metrics.show_lanes(self.crew.n_lanes, self.crew.n_in_training)

    def _listen(self) -> None:
        """Answer trainers for a tick, or until there is more to do than to answer."""
        ends_at = time.monotonic() + TICK_SECONDS
        while (left := ends_at - time.monotonic()) > 0:
            self._hear(self.crew.wait(left))
            if self.books.has_news or self.leaving.reason is not None:
                return

    def _hear(self, trainers: Sequence[Trainer]) -> None:
        """Take what trainers say, and note who has ended."""
        for trainer in trainers:
            process = trainer.process
            assert process is not None
            has_ended = process.has_ended  # before what it said last is read
            for kind, *arguments in process.channel.receive():
                if kind in ("ready", "refused", "problem"):
                    hear_opening(trainer, kind, arguments)
                    self.books.has_news = True
                else:
                    self.books.hear(trainer, kind, arguments)
            if has_ended:
                check_start(trainer)
                self.books.note_death(trainer)
                self.crew.note_end(trainer)
