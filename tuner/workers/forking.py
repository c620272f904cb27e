"""Fork whatever a coordinator asks for: what this process has in memory, all of them find there.

Runs no thread and starts nothing that a fork would break, as OpenMP or CUDA. All that was forked
ends with this process, which ends with its coordinator.
"""

import atexit
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable

from tuner.workers.channel import WaitingEnd


def serve(end: socket.socket, run: Callable[[socket.socket], int]) -> None:
    """Fork whatever the coordinator asks for, until it is gone; each child runs this."""
    woken, wakes = socket.socketpair()
    woken.settimeout(0)
    wakes.settimeout(0)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    server = _ForkServer(end, (woken, wakes), run)
    try:
        while True:
            ready, _, _ = select.select([end, woken], [], [])
            if woken in ready:
                server.tell_ended()
            if end in ready:
                server.obey()
    except (EOFError, KeyboardInterrupt):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is on its way out already
        server.kill_all()


def serve_or_train(end: socket.socket, run: Callable[[socket.socket], int], *, fits: bool) -> int:
    """Serve, or run this as the first that is asked for where a fork would not find what it needs.

    Returns the exit status.
    """
    if fits:
        gc.freeze()  # or each collection of a child would copy what it looks at
        signal.signal(signal.SIGTERM, _be_gone)
        serve(end, run)
        return 0
    waiting = WaitingEnd(end)
    waiting.send(["unfit", os.getpid()])
    waiting.receive()
    descriptor = _receive_descriptor(end)
    end.close()
    return run(socket.socket(fileno=descriptor))


def _be_gone(*_: object) -> None:
    raise EOFError


def _receive_descriptor(end: socket.socket) -> int:
    _, descriptors, _, _ = socket.recv_fds(end, 1, 1)
    return descriptors[0]


class _ForkServer:
    def __init__(
        self,
        end: socket.socket,
        wake_up: tuple[socket.socket, socket.socket],
        run: Callable[[socket.socket], int],
    ) -> None:
        self._socket, self._end, self._wake_up = end, WaitingEnd(end), wake_up
        self._run = run
        self._pids: set[int] = set()
        self._servers: set[int] = set()  # those among them that fork others

    def obey(self) -> None:
        """Do what the coordinator wants next."""
        kind, argument = self._end.receive()
        if kind == "fork":
            self._fork(is_server=argument)
        elif kind == "import":
            for name in argument:
                importlib.import_module(name)

    def _fork(self, *, is_server: bool) -> None:
        descriptor = _receive_descriptor(self._socket)
        sys.stdout.flush()
        sys.stderr.flush()
        # Whoever is told to leave while others' hooks of the fork run would say so in theirs.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        if pid := os.fork():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            os.close(descriptor)
            self._pids.add(pid)
            if is_server:
                self._servers.add(pid)
            self._end.send(["forked", pid])
            return
        status = 1
        try:
            self._close()
            status = _be_trainer(descriptor, self._run)
        finally:
            os._exit(status)

    def _close(self) -> None:
        """Leave to the server what is its own."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
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
                self._servers.discard(pid)
                self._end.send(["ended", pid, os.waitstatus_to_exitcode(status)])

    def kill_all(self) -> None:
        """End all trainers, with what they have started; a server ends its own."""
        for pid in self._servers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        for pid in self._pids - self._servers:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _be_trainer(descriptor: int, run: Callable[[socket.socket], int]) -> int:
    """Be a trainer: in a new session, so that Ctrl-C is the coordinator's alone."""
    os.setsid()
    atexit._clear()  # what the server would do at its end
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    return run(socket.socket(fileno=descriptor))
