"""A crew as a child process of an engine: ``python -m tuner.workers.launchers.crew``.

It is told its study, and the database with its password, on stdin: neither an argument nor a
variable, which others could read. When that pipe closes its launcher has ended, however, and so
does the crew: no signal tells of that in the threads of a cluster's own process.
"""

import logging
import os
import pickle
import sys
import threading
from typing import BinaryIO

from objectives import ObjectiveError
from storage import StorageError, explain_damage, explain_database_error
from tuner.errors import TunerError
from tuner.logs import set_level, set_up_logging
from tuner.workers import nursery
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

_ORPHANED = "the end of its launcher"


def main() -> int:
    """Train as told on stdin; why that cannot be is written to stdout, in one line."""
    orders, report = _take_streams()
    config: WorkerConfig = pickle.load(orders)  # of the process that started this one
    set_up_logging(logging.INFO, config.log_format)
    set_level(config.log_level)
    leaving = Leaving()
    threading.Thread(target=_watch, args=(orders, leaving), daemon=True).start()
    try:
        with leaving.listening(), nursery.abandoning():
            return run_worker(config, leaving)
    except Exception as error:
        is_known = isinstance(error, TunerError | ObjectiveError | StorageError)
        problem = str(error) if is_known else explain_database_error(error)
        problem = problem or explain_damage(config.storage_url)
        if problem is None:
            raise
        os.write(report, " ".join(problem.split()).encode())
        return 1


def _take_streams() -> tuple[BinaryIO, int]:
    """Keep the pipes to the launcher for this process alone.

    What an objective prints goes to stderr, and it finds nothing to read.
    """
    orders, report = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(orders, "rb", buffering=0), report


def _watch(orders: BinaryIO, leaving: Leaving) -> None:
    while orders.read(1):
        pass
    leaving.reason = _ORPHANED


if __name__ == "__main__":
    sys.exit(main())
