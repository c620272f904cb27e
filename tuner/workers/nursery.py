"""The coordinator's side of where trainers are forked from: see ``tuner.workers.forkserver``.

Light to import: the server is started before the coordinator's own imports, so that both import at
the same time.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tuner.names import ROOT
from tuner.workers.channel import Channel
from tuner.workers.messages import Order

# Everything that a trainer of lanes imports before its first step, and one of functions.
FOR_LANES = ("objectives.opening", "tuner.workers.lane_trainer", "tuner.workers.trainer")
# NumPy loads its generators when they are first asked for, which is too late to seed them.
FOR_FUNCTIONS = (
    "tuner.workers.function_trainer",
    "tuner.workers.trainer",
    "tuner.sampling.median",
    "numpy.random",
)

_PROGRAM = "import sys; sys.path.append({root!r}); from {module} import main; main({descriptor})"
_MODULE = "tuner.workers.forkserver"


class TrainerProcess:
    """A trainer: the pipe to it, and how it ended, once it has.

    ``pid`` is None until the server has forked it.
    """

    def __init__(self, end: socket.socket) -> None:
        self.channel = Channel(end)
        self.pid: int | None = None
        self.status: int | None = None  # an exit status, or a signal's number below zero

    @property
    def has_ended(self) -> bool:
        """Tell whether it has ended, or is to be taken for it: it does not speak any more."""
        return self.status is not None

    def interrupt(self) -> None:
        """Let it leave: what it trains gets a KeyboardInterrupt, and has a moment to end."""
        self.channel.send(Order("end"))
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """End it now, with all processes that it has started."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def describe_end(self) -> str:
        """Say how it ended, in words."""
        if self.status is None or self.status >= 0:
            return f"ended with status {self.status}"
        try:
            return f"was killed by {signal.Signals(-self.status).name}"
        except ValueError:
            return f"was killed by signal {-self.status}"


def _start_server(descriptor: int) -> subprocess.Popen[bytes]:
    program = _PROGRAM.format(root=str(ROOT), module=_MODULE, descriptor=descriptor)
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    # -P: the current directory is on no path, so that nothing in it is taken for ours.
    return subprocess.Popen(
        [sys.executable, "-P", "-c", program],
        pass_fds=[descriptor],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **one_thread},
        stdin=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is for the coordinator alone
    )


class Nursery:
    """A server that trainers are forked from; it ends with this process."""

    def __init__(self, start: Callable[[int], subprocess.Popen[bytes]]) -> None:
        ours, theirs = socket.socketpair()
        self._process = start(theirs.fileno())
        theirs.close()
        self._socket = ours
        self.channel = Channel(ours)
        self._imported: set[str] = set()
        self._loaded: list[Any] = []
        self._to_be_forked: deque[TrainerProcess] = deque()
        self._forked: dict[int, TrainerProcess] = {}

    @property
    def is_gone(self) -> bool:
        """Tell whether the server has ended, and all trainers with it."""
        return self.channel.is_closed or self._process.poll() is not None

    def import_modules(self, names: Sequence[str]) -> None:
        """Let the server import what trainers need; returns at once. Safe to repeat."""
        missing = [name for name in names if name not in self._imported]
        self._imported.update(missing)
        if missing:
            self.channel.send(("import", missing))

    def load(self, training: Any) -> None:
        """Let the server load the data of an ``objectives.TrainingConfig``; returns at once.

        Safe to repeat.
        """
        if training not in self._loaded:
            self._loaded.append(training)
            self.channel.send(("load", training))

    def fork(self, seat: Any, work: Any) -> TrainerProcess:
        """Start a trainer; returns at once."""
        ours, theirs = socket.socketpair()
        trainer = TrainerProcess(ours)
        self.channel.send(("fork", None))
        with contextlib.suppress(OSError):  # it is gone: `look` says so
            socket.send_fds(self._socket, [b"f"], [theirs.fileno()])
        theirs.close()
        trainer.channel.send((seat, work))
        self._to_be_forked.append(trainer)
        return trainer

    def look(self) -> None:
        """Note which trainers have been forked, and which have ended."""
        for kind, *arguments in self.channel.receive():
            if kind == "forked":
                trainer = self._to_be_forked.popleft()
                trainer.pid = arguments[0]
                self._forked[arguments[0]] = trainer
            elif kind == "ended":
                pid, status = arguments
                trainer = self._forked.pop(pid)
                trainer.kill()  # what it has started, and left
                trainer.status = status
        if self.is_gone:
            for trainer in [*self._forked.values(), *self._to_be_forked]:
                trainer.kill()
                trainer.status = -signal.SIGKILL
            self._forked.clear()
            self._to_be_forked.clear()

    def wait(self, trainers: Sequence[TrainerProcess], seconds: float) -> list[TrainerProcess]:
        """Wait until a trainer, or the server, has something to say; return who is to be heard.

        That is who speaks, and who has ended.
        """
        channels = [self.channel, *(t.channel for t in trainers if not t.channel.is_closed)]
        unsent = [channel for channel in channels if channel.has_unsent]
        readable, writable, _ = select.select(channels, unsent, [], seconds)
        for channel in writable:
            channel.flush()
        if self.channel in readable:
            self.look()
        return [t for t in trainers if t.has_ended or t.channel in readable]

    def kill(self) -> None:
        """End the server and its trainers at once."""
        for trainer in self._forked.values():
            trainer.kill()
        self._process.kill()
        self._process.wait()
        self.channel.close()


_nurseries: dict[int, Nursery] = {}  # by process: one that was forked has none yet


def open_nursery(start: Callable[[int], subprocess.Popen[bytes]] = _start_server) -> Nursery:
    """Return this process's nursery, started now unless it runs."""
    nursery = _nurseries.get(os.getpid())
    if nursery is not None and nursery.is_gone:
        nursery.look()  # or nobody would note that its trainers have ended with it
        nursery.kill()
        nursery = None
    if nursery is None:
        nursery = _nurseries[os.getpid()] = Nursery(start)
    return nursery


def preload(objective: str | None) -> None:
    """Let the server import what trials of a user's function need, or of a built-in objective.

    Starts it in the background, and returns at once. Safe to repeat.
    """
    if objective is None:
        modules = FOR_LANES
    else:
        modules = (*(("torch",) if _uses_torch(objective) else ()), *FOR_FUNCTIONS)
    open_nursery().import_modules(modules)


def _uses_torch(objective: str) -> bool:
    """Tell whether a function's module speaks of torch, by its text: it is not imported here."""
    where = objective.rpartition(":")[0]
    path = Path(where) if where.endswith(".py") else Path(*where.split("."))
    candidates = (path, path.with_suffix(".py"), path / "__init__.py")
    try:
        texts = (each.read_text(errors="replace") for each in candidates if each.is_file())
        return any("torch" in text for text in texts)
    except OSError:
        return False


@contextlib.contextmanager
def abandoning() -> Iterator[None]:
    """End the server at the end of this block, at once: no trainer will be needed any more.

    By itself it would import torch to the end while whoever reads our output waits.
    """
    try:
        yield
    finally:
        nursery = _nurseries.pop(os.getpid(), None)
        if nursery is not None:
            nursery.kill()
