"""The faults: each hits the stage once, and puts off its own end."""

import logging
import signal
from collections.abc import Callable

from tests.chaos.stage import LEASE_SECONDS, Stage, Worker

logger = logging.getLogger(__name__)

# A worker needs seconds to start: most faults are for those that have begun to work.
_SHARE_AT_WORK = 0.8


def _choose(stage: Stage, workers: list[Worker]) -> Worker:
    at_work = [worker for worker in workers if worker.log.stat().st_size > 0]
    is_for_those_at_work = stage.random.random() < _SHARE_AT_WORK
    return stage.random.choice(at_work if at_work and is_for_those_at_work else workers)


def _kill(stage: Stage) -> None:
    """End a worker by kill -9, frozen or not; another is started in its place."""
    worker = _choose(stage, stage.workers)
    worker.is_killed = True
    worker.process.kill()
    stage.counts["kill"] += 1
    logger.info("killed %s", worker.log.name)


def _freeze(stage: Stage) -> None:
    """Stop a worker for longer than its lease, and let it go on."""
    awake = [worker for worker in stage.workers if not worker.is_frozen]
    if not awake:
        return
    worker = _choose(stage, awake)
    seconds = LEASE_SECONDS * stage.random.uniform(1.2, 2.5)
    worker.process.send_signal(signal.SIGSTOP)
    worker.is_frozen = True
    stage.later(seconds, lambda: _thaw(worker))
    stage.counts["freeze"] += 1
    logger.info("froze %s for %.1f s", worker.log.name, seconds)


def _thaw(worker: Worker) -> None:
    worker.process.send_signal(signal.SIGCONT)  # does nothing if it has been killed
    worker.is_frozen = False


def _crash_database(stage: Stage) -> None:
    """Stop the database as a crash does, for less than the workers' patience."""
    if not stage.is_database_up:
        return
    seconds = stage.random.uniform(0.5, 5.0)
    stage.server.stop("immediate")
    stage.is_database_up = False
    stage.later(seconds, lambda: _start_database(stage))
    stage.counts["database"] += 1
    logger.info("crashed the database for %.1f s", seconds)


def _start_database(stage: Stage) -> None:
    stage.server.start()
    stage.is_database_up = True


FAULTS: dict[str, Callable[[Stage], None]] = {
    "kill": _kill,
    "freeze": _freeze,
    "database": _crash_database,
}
