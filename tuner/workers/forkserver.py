"""The program that trainers are forked from: it has imported torch and loaded the data once.

It runs no thread and starts nothing that a fork would break, as OpenMP or CUDA. All trainers end
with it, and it ends with its coordinator. Run as ``forkserver.main(descriptor)``.
"""

import atexit
import contextlib
import importlib
import os
import select
import signal
import socket
import sys
from typing import Any

from objectives import ObjectiveError
from tuner.workers.channel import WaitingEnd


def main(descriptor: int) -> None:
    """Serve the coordinator at the other end of a socket until it is gone."""
    end = socket.socket(fileno=descriptor)
    woken, wakes = socket.socketpair()
    woken.settimeout(0)
    wakes.settimeout(0)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    server = _ForkServer(end, (woken, wakes))
    try:
        while True:
            ready, _, _ = select.select([end, woken], [], [])
            if woken in ready:
                server.tell_ended()
            if end in ready:
                server.obey()
    except EOFError:
        server.kill_all()


class _ForkServer:
    def __init__(self, end: socket.socket, wake_up: tuple[socket.socket, socket.socket]) -> None:
        self._socket, self._end, self._wake_up = end, WaitingEnd(end), wake_up
        self._pids: set[int] = set()

    def obey(self) -> None:
        """Do what the coordinator wants next."""
        kind, argument = self._end.receive()
        if kind == "fork":
            self._fork()
        elif kind == "import":
            for name in argument:
                importlib.import_module(name)
        elif kind == "load":
            _load(argument)

    def _fork(self) -> None:
        _, descriptors, _, _ = socket.recv_fds(self._socket, 1, 1)
        sys.stdout.flush()
        sys.stderr.flush()
        # Whoever is told to leave while others' hooks of the fork run would say so in theirs.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        if pid := os.fork():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            os.close(descriptors[0])
            self._pids.add(pid)
            self._end.send(["forked", pid])
            return
        status = 1
        try:
            self._close()
            status = _be_trainer(descriptors[0])
        finally:
            os._exit(status)

    def _close(self) -> None:
        """Leave to the server what is its own."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._socket, *self._wake_up):
            each.close()

    def tell_ended(self) -> None:
        """Tell which trainers have ended, and how."""
        with contextlib.suppress(BlockingIOError):
            self._wake_up[0].recv(4096)
        for pid in sorted(self._pids):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._pids.discard(pid)
                self._end.send(["ended", pid, os.waitstatus_to_exitcode(status)])

    def kill_all(self) -> None:
        """End all trainers, with what they have started."""
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _load(training: Any) -> None:
    """Load the data that trainers will find in memory; they tell what goes wrong.

    Nobody's own module is imported here: each trainer loads that by itself.
    """
    from objectives.functions import is_users

    if is_users(training.objective):
        with contextlib.suppress(ImportError):
            importlib.import_module("sympy")  # torch's vmap does at its first call: half a second
        return
    from objectives.datasets import load_training_data

    with contextlib.suppress(ObjectiveError):
        load_training_data(
            training.dataset,
            seed=training.seed,
            train_size=training.train_size,
            data_dir=training.data_dir,
        )


def _be_trainer(descriptor: int) -> int:
    """Be a trainer: in a new session, so that Ctrl-C is the coordinator's alone."""
    os.setsid()
    atexit._clear()  # what the server would do at its end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    from tuner.workers.trainer import run_trainer

    return run_trainer(socket.socket(fileno=descriptor))
