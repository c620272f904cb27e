"""A worker of all studies: it serves the open ones by priority, then age, one after another.

It never holds slots of two studies. What it may not or cannot train it leaves to others, and says
so once; what code it runs is decided by whoever started it, never by the database.
"""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from sqlalchemy import Engine

from storage import (
    Retry,
    StudyRecord,
    UnreachableError,
    create_storage,
    explain_database_error,
    list_forsaken,
    list_open,
)
from tuner.allowed import AllowedObjectives
from tuner.errors import NotAllowedError, StudyNotFoundError
from tuner.logs import about
from tuner.workers.config import WorkerConfig, worker_name
from tuner.workers.coordinator import Guest, serve_study
from tuner.workers.lost_workers import Settler
from tuner.workers.opening import open_study
from tuner.workers.shutdown import INTERRUPTED_STATUS, Interrupted, Leaving

logger = logging.getLogger(__name__)

# How long a worker without a study waits before it looks again.
_IDLE_SECONDS = 0.5
# How often a worker at a study looks for one of higher priority.
_LOOK_SECONDS = 5.0
# When a study that could not be opened is tried again: its data may be there by then.
_TRY_AGAIN_SECONDS = 60.0


@dataclass(frozen=True)
class Duty:
    """What else is to be done where no study has a free slot, study by study."""

    list_due: Callable[[Engine], list[StudyRecord]]
    fulfil: Callable[[WorkerConfig, Leaving], None]


def run_fleet_worker(
    config: WorkerConfig, leaving: Leaving, *, exits_when_idle: bool, duty: Duty | None = None
) -> int:
    """Serve open studies until asked to leave; return the process's exit status.

    With ``exits_when_idle`` it ends as soon as no study is open that it can serve, and its duty is
    done. The config's
    study name counts for nothing. Raises StorageError, or what ends the process.
    """
    retry = config.retry(leaving)
    allowed = config.allowed or AllowedObjectives()
    try:
        database = retry.call("open it", lambda: create_storage(config.storage_url))
        config = replace(config, allowed=allowed)
        fleet = _FleetWorker(config, database.engine, retry, leaving, duty)
        fleet.run(exits_when_idle=exits_when_idle)
    except (Interrupted, UnreachableError):
        if not leaving.leaves_process:  # who leaves waits for no database
            raise
    return INTERRUPTED_STATUS if leaving.leaves_process else 0


@dataclass
class _FleetWorker:
    config: WorkerConfig
    engine: Engine
    retry: Retry
    leaving: Leaving
    duty: Duty | None
    # When a study is tried again that could not be served, by what tells it from all others.
    not_before: dict[tuple[int, float | None], float] = field(default_factory=dict)
    looked_for_better_at: float = -math.inf
    is_wanted_elsewhere: bool = False
    is_waiting: bool = False
    settler: Settler = field(init=False)

    def __post_init__(self) -> None:
        find_study_ids = partial(list_forsaken, self.engine)
        lease_seconds = self.config.lease_seconds
        self.settler = Settler(self.engine, self.retry, lease_seconds, find_study_ids)

    def run(self, *, exits_when_idle: bool) -> None:
        """Serve one study after another."""
        while True:
            self.leaving.check()
            self.settler.settle_now_and_then()
            studies = self.retry.call("look for open studies", self._list_servable)
            study = next((study for study in studies if study.has_slots), None)
            if study is not None:
                self._serve(study, self._train)
            elif self.duty is not None and (due := self._find_due(self.duty)):
                self._serve(due, self._fulfil)
            elif exits_when_idle and not studies:
                return
            else:
                self._wait()

    def _wait(self) -> None:
        if not self.is_waiting:
            logger.info("No open study has a free slot: waiting for one")
        self.is_waiting = True
        time.sleep(_IDLE_SECONDS)

    def _list_servable(self) -> list[StudyRecord]:
        return self._less_put_off(list_open(self.engine))

    def _find_due(self, duty: Duty) -> StudyRecord | None:
        due = self.retry.call("look for what is due", lambda: duty.list_due(self.engine))
        return next(iter(self._less_put_off(due)), None)

    def _less_put_off(self, studies: list[StudyRecord]) -> list[StudyRecord]:
        now = time.monotonic()
        return [study for study in studies if self.not_before.get(_key(study), now) <= now]

    def _serve(self, study: StudyRecord, work: Callable[[StudyRecord, WorkerConfig], None]) -> None:
        config = replace(self.config, study_name=study.name)
        self.is_waiting = False
        with about(study=study.name, worker=worker_name()):
            self._work(study, lambda: work(study, config))

    def _train(self, study: StudyRecord, config: WorkerConfig) -> None:
        opened = open_study(config, self.retry, self.leaving)
        logger.info("Study %r: joined", study.name)
        self.is_wanted_elsewhere = False
        self.looked_for_better_at = time.monotonic()
        guest = Guest(lambda: self._is_wanted_elsewhere(study))
        serve_study(opened, config, self.retry, self.leaving, guest=guest)
        logger.info("Study %r: left", study.name)

    def _fulfil(self, _study: StudyRecord, config: WorkerConfig) -> None:
        assert self.duty is not None
        self.duty.fulfil(config, self.leaving)

    def _work(self, study: StudyRecord, work: Callable[[], None]) -> None:
        """Do something for a study; what cannot be done here is left to others."""
        try:
            work()
        except NotAllowedError as error:
            self._put_off(study, str(error), seconds=math.inf)
        except StudyNotFoundError as error:  # deleted, or its creator is not yet done
            self._put_off(study, str(error))
        except Interrupted:
            if self.leaving.leaves_process:
                raise
        except Exception as error:  # noqa: BLE001 (anything: `_give_up` raises what it must)
            self._give_up(study, error)
        finally:
            self.leaving.forget_study()

    def _give_up(self, study: StudyRecord, error: Exception) -> None:
        """Leave a study to others, whatever its data, code or spec has led to.

        It must not keep the others waiting; what the database's absence led to is raised again.
        """
        if isinstance(error, UnreachableError) or explain_database_error(error) is not None:
            raise error
        self._put_off(study, f"{type(error).__name__}: {error}")

    def _put_off(self, study: StudyRecord, why: str, seconds: float = _TRY_AGAIN_SECONDS) -> None:
        if _key(study) not in self.not_before:
            logger.warning("Study %r is left to other workers: %s", study.name, why)
        self.not_before[_key(study)] = time.monotonic() + seconds

    def _is_wanted_elsewhere(self, current: StudyRecord) -> bool:
        """Tell whether a study of higher priority has slots; looks now and then."""
        if time.monotonic() - self.looked_for_better_at >= _LOOK_SECONDS:
            self.looked_for_better_at = time.monotonic()
            none: list[StudyRecord] = []
            studies = self.retry.attempt(self._list_servable, none)
            same = (s.priority for s in studies if _key(s) == _key(current))
            priority = next(same, current.priority)
            self.is_wanted_elsewhere = any(s.priority > priority and s.has_slots for s in studies)
        return self.is_wanted_elsewhere


def _key(study: StudyRecord) -> tuple[int, float | None]:
    return study.study_id, study.created_at
