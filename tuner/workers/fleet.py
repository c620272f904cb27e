"""A worker of all studies: it serves the open ones by priority, then age, one after another.

It never holds slots of two studies. What it may not or cannot train it leaves to others, and says
so once; what code it runs is decided by whoever started it, never by the database.
"""

import logging
import math
import time
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
from tuner.workers.coordinator import Guest, Opened, open_study, serve_study
from tuner.workers.lost_workers import Settler
from tuner.workers.shutdown import INTERRUPTED_STATUS, Interrupted, Leaving

logger = logging.getLogger(__name__)

# How long a worker without a study waits before it looks again.
_IDLE_SECONDS = 0.5
# How often a worker at a study looks for one of higher priority.
_LOOK_SECONDS = 5.0
# When a study that could not be opened is tried again: its data may be there by then.
_TRY_AGAIN_SECONDS = 60.0


def run_fleet_worker(config: WorkerConfig, leaving: Leaving, *, exits_when_idle: bool) -> int:
    """Serve open studies until asked to leave; return the process's exit status.

    With ``exits_when_idle`` it ends as soon as no study is open that it can serve. The config's
    study name counts for nothing. Raises StorageError, or what ends the process.
    """
    retry = config.retry(leaving)
    allowed = config.allowed or AllowedObjectives()
    try:
        database = retry.call("open it", lambda: create_storage(config.storage_url))
        fleet = _FleetWorker(replace(config, allowed=allowed), database.engine, retry, leaving)
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
                self._serve(study)
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
        now = time.monotonic()
        return [s for s in list_open(self.engine) if self.not_before.get(_key(s), now) <= now]

    def _serve(self, study: StudyRecord) -> None:
        config = replace(self.config, study_name=study.name)
        with about(study=study.name, worker=worker_name()):
            self._train(study, config)

    def _train(self, study: StudyRecord, config: WorkerConfig) -> None:
        try:
            opened = self._open(study, config)
            if opened is None:
                return
            logger.info("Study %r: joined", study.name)
            self.is_waiting = False
            self.is_wanted_elsewhere = False
            self.looked_for_better_at = time.monotonic()
            guest = Guest(lambda: self._is_wanted_elsewhere(study))
            serve_study(opened, config, self.retry, self.leaving, guest=guest)
            logger.info("Study %r: left", study.name)
        except StudyNotFoundError as error:  # deleted, or its creator is not yet done
            self._put_off(study, str(error))
        except Interrupted:
            if self.leaving.leaves_process:
                raise
        except Exception as error:  # noqa: BLE001 (anything: `_give_up` raises what it must)
            self._give_up(study, error)
        finally:
            self.leaving.forget_study()

    def _open(self, study: StudyRecord, config: WorkerConfig) -> Opened | None:
        """Open a study; one that cannot be opened here is left to others."""
        try:
            return open_study(config, self.retry, self.leaving)
        except NotAllowedError as error:
            self._put_off(study, str(error), seconds=math.inf)
        except Exception as error:  # noqa: BLE001 (anything: `_give_up` raises what it must)
            self._give_up(study, error)
        return None

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
