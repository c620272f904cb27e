"""Where a test's processes are forked from: one server, with all that any of them imports.

A server of each test's own would import torch again and again, and so would a new Python for
each `tuner` command that a test lets run beside itself.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import pytest

from tests.hashes import QUICK
from tuner.__main__ import main
from tuner.server import passwords
from tuner.workers import forkserver as forkserver_of_trainers
from tuner.workers import nursery

context = multiprocessing.get_context("forkserver")

_PRELOADED = [
    "alembic.command",
    "numpy.random",
    "optuna.samplers._tpe.sampler",
    "sqlalchemy.orm",
    "tuner.cli",
    "tuner.server.run",
    "tuner.workers.fleet",
    *nursery.FOR_FUNCTIONS,
    *nursery.FOR_LANES,
    "uvicorn.protocols.http.h11_impl",
    "tests.storage.test_contract",
    "tests.storage.test_claims",
]


def start_server() -> None:
    """Start the server in the background, unless it runs: it ends with this process."""
    context.set_forkserver_preload(_PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in nursery.ONE_THREAD.items():
            patch.setenv(name, value)
        forkserver.ensure_running()


class Tuner:
    """`python -m tuner` without the start of a Python; used as a `subprocess.Popen` is.

    It leads a process group of its own, as a command of a terminal does, and writes to a log;
    results alone, if errors have a log of theirs.
    """

    def __init__(
        self,
        arguments: tuple[str, ...],
        folder: Path,
        environment: Mapping[str, str],
        log: Path,
        errors: Path | None = None,
    ) -> None:
        start_server()
        logs = (log, errors or log)
        for file in logs:
            file.touch()
        given = (arguments, folder, dict(environment), logs)
        self._process = context.Process(target=_run_command, args=given)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status, once it has ended."""
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("tuner", timeout)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _run_command(
    arguments: tuple[str, ...], folder: Path, environment: dict[str, str], logs: tuple[Path, Path]
) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the server does with it
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    for stream, log in enumerate(logs, start=1):
        os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), stream)
    if arguments[0] in ("confirm", "run", "worker"):
        nursery.open_nursery(_TrainersServer)
    passwords._hasher = QUICK
    sys.path.insert(0, str(folder))
    sys.argv = ["tuner", *arguments]
    main()


class _TrainersServer(multiprocessing.get_context("fork").Process):
    """What trainers are forked from, without the start of a Python and the import of torch.

    Used as a `subprocess.Popen` is. One that takes its place is a Python of its own.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__(target=_serve_trainers, args=(descriptor,), daemon=True)
        self.start()

    def poll(self) -> int | None:
        """Return the exit status, None while it runs."""
        return self.exitcode

    def wait(self) -> None:
        """Wait until it has ended."""
        self.join()


def _serve_trainers(descriptor: int) -> None:
    """Have what the nursery's own program has: one pipe, no input, a group of its own."""
    os.setpgid(0, 0)
    os.dup2(descriptor, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (for good)
    # As a program is that `multiprocessing` has not started: it may have children, and has none.
    resource_tracker._resource_tracker._fd = None  # type: ignore[attr-defined]
    multiprocessing.current_process()._config.pop("daemon", None)  # type: ignore[attr-defined]
    forkserver_of_trainers.main(3)
