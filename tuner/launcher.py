"""Start local workers, pass signals on, replace those that were killed, wait for the rest."""

import logging
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

from objectives import ObjectiveError
from storage import (
    WORKER_KILLED,
    Retry,
    StorageError,
    UnreachableError,
    explain_database_error,
    find_leases_of,
    give_back,
    list_workers,
)
from tuner.errors import TunerError, WorkersFailedError
from tuner.leaving import INTERRUPTED_STATUS, Leaving
from tuner.logs import set_up_logging
from tuner.processes import context
from tuner.study import LoadedStudy
from tuner.worker import WorkerConfig, run_worker

logger = logging.getLogger(__name__)

_TICK_SECONDS = 0.2
_LEAVE_SECONDS = 30.0
# A worker that is killed again and again (say, for its memory) is not replaced for ever.
_REPLACEMENTS_PER_WORKER = 3

T = TypeVar("T")

_Errors = SimpleQueue[ObjectiveError | StorageError | TunerError]


def call_in_worker_process(
    function: Callable[[WorkerConfig], T], config: WorkerConfig, leaving: Leaving
) -> T:
    """Return what a function returns that runs where torch is loaded already; a little data.

    What it raises on purpose is raised here.
    """
    errors, results = context.SimpleQueue(), context.SimpleQueue()
    process = _start(partial(_put_result, function, results), config, errors)
    try:
        while process.is_alive():
            leaving.check()
            process.join(timeout=_TICK_SECONDS)
    finally:
        _stop([process])
    if not errors.empty():
        raise errors.get()
    if process.exitcode != 0:
        raise WorkersFailedError(f"A helper process ended with status {process.exitcode}")
    result: T = results.get()
    return result


def _put_result(
    function: Callable[[WorkerConfig], T], results: SimpleQueue[T], config: WorkerConfig
) -> None:
    results.put(function(config))


def run_local_workers(
    loaded: LoadedStudy,
    config: WorkerConfig,
    n_workers: int,
    on_tick: Callable[[], None],
    leaving: Leaving,
) -> None:
    """Run ``n_workers`` until the budget is spent, calling ``on_tick`` a few times a second.

    Returns early if the study is stopped. Raises Interrupted when asked to leave, after the
    workers have given back what they held; and, when they all ended although the budget is not
    spent, what the first one said. An outage of the database is waited for as workers do.
    """
    retry = config.retry(leaving)
    errors = context.SimpleQueue()
    processes: list[BaseProcess] = []
    try:
        processes += [_start(_work, config, errors) for _ in range(n_workers)]
        n_replacements = _REPLACEMENTS_PER_WORKER * n_workers
        while leaving.reason is None:
            retry.attempt(on_tick, None)
            for index in _find_killed(processes)[:n_replacements]:
                logger.warning("Worker %s was killed: starting another", processes[index].pid)
                _give_back_leases_of(loaded, processes[index], retry)
                processes[index] = _start(_work, config, errors)
                n_replacements -= 1
            if not any(process.is_alive() for process in processes):
                break
            time.sleep(_TICK_SECONDS)
    finally:  # also when a look at the database fails: no worker outlives its launcher
        _stop(processes)
    for process in processes:
        _give_back_leases_of(loaded, process, retry)
    leaving.check()
    if not errors.empty() and not retry.attempt(lambda: _is_over(loaded), default=False):
        raise errors.get()
    if not retry.call("read the budget", lambda: _is_over(loaded)):
        raise WorkersFailedError("All local workers have ended before the budget was spent")


def _is_over(loaded: LoadedStudy) -> bool:
    """Tell whether workers end for good reason."""
    budget = loaded.load_budget()
    return budget.is_spent or budget.is_past_deadline or budget.state == "stopped"


def _find_killed(processes: list[BaseProcess]) -> list[int]:
    return [i for i, process in enumerate(processes) if (process.exitcode or 0) < 0]


def _start(
    function: Callable[[WorkerConfig], int | None], config: WorkerConfig, errors: _Errors
) -> BaseProcess:
    process = context.Process(target=_run_reported, args=(function, config, errors))
    process.start()
    return process


def _stop(processes: list[BaseProcess]) -> None:
    """Ask those that are alive to leave, and end those that do not within the time for it."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    deadline = time.monotonic() + _LEAVE_SECONDS
    for process in processes:
        process.join(timeout=max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _give_back_leases_of(loaded: LoadedStudy, process: BaseProcess, retry: Retry) -> None:
    """Settle what a dead local worker held at once, if possible, not when its lease ends."""
    engine = loaded.storage.engine

    def settle() -> None:
        for worker in list_workers(engine, loaded.study_id):
            if (worker.host, worker.pid) == (socket.gethostname(), process.pid):
                for lease in find_leases_of(engine, worker.worker_id):
                    give_back(engine, lease, WORKER_KILLED, is_death=True)

    retry.attempt(settle, None)


def _work(config: WorkerConfig) -> int:
    leaving = Leaving()
    parent = multiprocessing.parent_process()
    with leaving.listening():
        return run_worker(
            config, leaving, is_orphaned=lambda: parent is not None and not parent.is_alive()
        )


def _run_reported(
    function: Callable[[WorkerConfig], int | None], config: WorkerConfig, errors: _Errors
) -> None:
    """Run in a new process: hand an expected error to the launcher, and exit with a status."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a user's objective prints is no result
    set_up_logging(config.log_level, config.log_format)
    sys.stdout = sys.stderr
    try:
        sys.exit(function(config))
    except (ObjectiveError, StorageError, TunerError) as error:
        errors.put(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_STATUS)
    except Exception as error:
        if (explanation := explain_database_error(error)) is None:
            logger.critical("The worker has failed", exc_info=error)
        else:
            errors.put(UnreachableError(explanation))
        sys.exit(1)
