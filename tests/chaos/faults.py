"""The faults: each hits the stage once, and puts off its own end."""

import contextlib
import logging
import os
import signal
from collections.abc import Callable

from tests.chaos.objective import LEAKING
from tests.chaos.stage import LEASE_SECONDS, SILENCE_SECONDS, Stage, Worker
from tests.processes import children_of, trainers_of

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


def _kill_trainer(stage: Stage) -> None:
    """End a trainer by kill -9, as the kernel does when memory is short."""
    trainer = _choose_trainer(stage)
    if trainer is not None:
        _signal(trainer, signal.SIGKILL)
        stage.counts["kill_trainer"] += 1
        logger.info("killed trainer %d", trainer)


def _freeze_trainer(stage: Stage) -> None:
    """Stop a trainer, for longer than it may be silent or not, and let it go on."""
    trainer = _choose_trainer(stage)
    if trainer is None:
        return
    seconds = SILENCE_SECONDS * stage.random.uniform(0.2, 1.8)
    _signal(trainer, signal.SIGSTOP)
    stage.later(seconds, lambda: _signal(trainer, signal.SIGCONT))
    stage.counts["freeze_trainer"] += 1
    logger.info("froze trainer %d for %.1f s", trainer, seconds)


def _choose_trainer(stage: Stage) -> int | None:
    """Return a trainer of any worker, if there is one: a crew that starts has none."""
    trainers = [each for worker in stage.workers for each in trainers_of(worker.process.pid)]
    return stage.random.choice(trainers) if trainers else None


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill_fork_server(stage: Stage) -> None:
    """End by kill -9 what a worker's trainers are forked from: they end with it."""
    servers = children_of(_choose(stage, stage.workers).process.pid)
    if servers:
        _signal(servers[0], signal.SIGKILL)
        stage.counts["kill_fork_server"] += 1
        logger.info("killed fork server %d", servers[0])


def _leak(stage: Stage) -> None:
    """Let trainers die by themselves after a few trials each, for some seconds."""
    if stage.is_leaking:
        return
    seconds = stage.random.uniform(3.0, 8.0)
    (stage.folder / LEAKING).touch()
    stage.is_leaking = True
    stage.later(seconds, lambda: _stop_leaking(stage))
    stage.counts["leak"] += 1
    logger.info("let trainers leak for %.1f s", seconds)


def _stop_leaking(stage: Stage) -> None:
    (stage.folder / LEAKING).unlink()
    stage.is_leaking = False


FAULTS: dict[str, Callable[[Stage], None]] = {
    "kill": _kill,
    "freeze": _freeze,
    "database": _crash_database,
    "kill_trainer": _kill_trainer,
    "freeze_trainer": _freeze_trainer,
    "kill_fork_server": _kill_fork_server,
    "leak": _leak,
}
