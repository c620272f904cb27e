"""Where local workers are forked from: a server process that has imported torch once.

``multiprocessing``'s forkserver runs no thread and holds no connection, so forking is safe, and
the tenth worker starts as fast as the second. This module is light: the server is started before
the launcher's own imports, so that both import at the same time.
"""

import contextlib
import multiprocessing
import os
import signal
from multiprocessing import forkserver

context = multiprocessing.get_context("forkserver")

# Everything a worker imports before its first training step, found by comparing `sys.modules`.
_PRELOADED = [
    "alembic.command",
    "numpy.random",
    "objectives.lanes",
    "optuna.samplers._tpe.sampler",
    "sqlalchemy.orm",
    "tuner.launcher",
]


def preload() -> None:
    """Start the server in the background; returns at once. Safe to repeat."""
    context.set_forkserver_preload(_PRELOADED)
    # Ctrl-C goes to the whole process group. The server and those forked from it ignore it from
    # their first instruction on; workers begin to listen when they can give back.
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, previous)


def abandon() -> None:
    """End the server at once: no worker is left, and none will be needed.

    By itself it would import torch to the end, or take it apart, while whoever reads our output
    waits.
    """
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)  # there is no public way
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
