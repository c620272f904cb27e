"""The coordinator's side of where trainers are forked from: see ``tuner.workers.forking``.

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
from tuner.workers.messages import Opening, Order

# Everything that a trainer of lanes imports before its first step, and one of functions.
FOR_LANES = ("objectives.opening", "tuner.workers.lane_trainer", "tuner.workers.trainer")
# torch's vmap imports it at its first call, in half a second.
FOR_PROBLEMS = ("sympy",)
# NumPy loads its generators when they are first asked for, which is too late to seed them.
FOR_FUNCTIONS = (
    "tuner.workers.function_trainer",
    "tuner.workers.trainer",
    "tuner.sampling.median",
    "numpy.random",
)

# So that no library that the server imports starts threads, which no fork would have.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_PROGRAM = "import sys; sys.path.append({root!r}); from {module} import main; main({descriptor})"
_MODULE = "tuner.workers.forkserver"


class TrainerProcess:
    """A trainer: the pipe to it, and how it ended, once it has.

    ``pid`` is None until the server has forked it.
    """

    def __init__(self) -> None:
        self.channel: Channel  # since it was asked for
        self.pid: int | None = None
        self.status: int | None = None  # an exit status, or a signal's number below zero

    @property
    def has_ended(self) -> bool:
        """Tell whether it has ended, or is to be taken for it: it does not speak any more."""
        return self.status is not None

    def interrupt(self) -> None:
        """Let it leave: what it trains gets a KeyboardInterrupt, and has a moment to end."""
        self.channel.send(Order("end"))
        self.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it now, with all processes that it has started."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
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
    # -P: the current directory is on no path, so that nothing in it is taken for ours.
    return subprocess.Popen(
        [sys.executable, "-P", "-c", program],
        pass_fds=[descriptor],
        env={**os.environ, **ONE_THREAD},
        stdin=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is for the coordinator alone
    )


class Nursery:
    """A server that trainers are forked from; it ends with this process."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._to_be_forked: deque[tuple[TrainerProcess, Any, Any]] = deque()
        self._forked: dict[int, TrainerProcess] = {}

    @property
    def is_gone(self) -> bool:
        """Tell whether the server has ended, and all trainers with it."""
        raise NotImplementedError

    @property
    def _status(self) -> int:
        """How the server has ended, as a trainer's status says it."""
        return -signal.SIGKILL

    def fork(self, seat: Any, work: Any) -> TrainerProcess:
        """Start a trainer; returns at once."""
        trainer = TrainerProcess()
        self._fork(trainer, seat, work)
        return trainer

    def _fork(self, trainer: TrainerProcess, seat: Any, work: Any) -> None:
        ours, theirs = socket.socketpair()
        self.channel.send(("fork", isinstance(work, Opening)))
        self.channel.send_descriptor(theirs.fileno())  # if it is gone, `look` says so
        theirs.close()
        trainer.channel = Channel(ours)
        trainer.channel.send((seat, work))
        self._to_be_forked.append((trainer, seat, work))

    def look(self) -> None:
        """Note which trainers have been forked, and which have ended."""
        for message in self.channel.receive():
            self._take(*message)
        if self.is_gone:
            for trainer in self._forked.values():
                trainer.kill()
                trainer.status = -signal.SIGKILL
            for trainer, _, _ in self._to_be_forked:
                trainer.status = self._status
            self._forked.clear()
            self._to_be_forked.clear()

    def _take(self, kind: str, pid: int, status: int | None = None) -> None:
        if kind == "forked":
            trainer, _, _ = self._to_be_forked.popleft()
            trainer.pid = pid
            self._forked[pid] = trainer
        elif kind == "ended":
            trainer = self._forked.pop(pid)
            trainer.kill()  # what it has started, and left
            trainer.status = status

    def wait(self, trainers: Sequence[TrainerProcess], seconds: float) -> list[TrainerProcess]:
        """Wait until a trainer, or a server, has something to say; return who is to be heard.

        That is who speaks, and who has ended.
        """
        servers = self._servers()
        channels = [*servers, *(t.channel for t in trainers if not t.channel.is_closed)]
        unsent = [channel for channel in channels if channel.has_unsent]
        readable, writable, _ = select.select(channels, unsent, [], seconds)
        for channel in writable:
            channel.flush()
        if any(channel in readable for channel in servers):
            self.look()
        return [t for t in trainers if t.has_ended or t.channel in readable]

    def _servers(self) -> list[Channel]:
        return [self.channel]

    def kill(self) -> None:
        """End the server and its trainers at once."""
        for trainer in self._forked.values():
            trainer.kill()


class ProcessNursery(Nursery):
    """The server of this process, which has imported what trainers need."""

    def __init__(self, start: Callable[[int], subprocess.Popen[bytes]]) -> None:
        ours, theirs = socket.socketpair()
        self._process = start(theirs.fileno())
        theirs.close()
        super().__init__(Channel(ours))
        self._imported: set[str] = set()

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

    def kill(self) -> None:
        """End the server and its trainers at once."""
        super().kill()
        self._process.kill()
        self._process.wait()
        self.channel.close()


class OpenedNursery(Nursery):
    """A server that has opened a study: its trainers find data and program in memory, once for all.

    It is forked from another. What cannot be shared it keeps, and is itself the first of its
    trainers (see ``tuner.workers.forking``); the others are forked from above then, and open
    the study each by itself.
    """

    def __init__(self, above: Nursery, seat: Any, work: Any) -> None:
        self._above = above
        self._server = above.fork(seat, Opening(work))
        self._is_shared = True
        super().__init__(self._server.channel)

    @property
    def is_gone(self) -> bool:
        """Tell whether the server has ended, and all trainers with it."""
        return self._above.is_gone or (self._is_shared and self._server.has_ended)

    @property
    def _status(self) -> int:
        return -signal.SIGKILL if self._server.status is None else self._server.status

    def _fork(self, trainer: TrainerProcess, seat: Any, work: Any) -> None:
        if self._is_shared:
            super()._fork(trainer, seat, work)
        else:
            self._above._fork(trainer, seat, work)

    def look(self) -> None:
        """Note which trainers have been forked, and which have ended."""
        self._above.look()
        if self._is_shared:
            super().look()
        if self._is_shared and self.channel.is_closed:
            self._server.kill()  # it does not speak any more

    def _take(self, kind: str, pid: int, status: int | None = None) -> None:
        if kind != "unfit":
            super()._take(kind, pid, status)
            return
        self._is_shared = False
        self.channel.close()
        (first, _, _), *others = self._to_be_forked
        self._to_be_forked.clear()
        first.pid, self._above._forked[pid] = pid, first
        for trainer, seat, work in others:
            trainer.channel.close()
            self._above._fork(trainer, seat, work)

    def interrupt(self) -> None:
        """Let the server leave if trainers wait for what it opens."""
        if self._is_shared and self._to_be_forked:
            self._server.send_signal(signal.SIGINT)

    def _servers(self) -> list[Channel]:
        above = self._above._servers()
        return [self.channel, *above] if self._is_shared else above

    def kill(self) -> None:
        """End the server and its trainers at once."""
        super().kill()
        if self._is_shared:
            self._server.kill()


_nurseries: dict[int, ProcessNursery] = {}  # by process: one that was forked has none yet


def open_nursery(start: Callable[[int], subprocess.Popen[bytes]] = _start_server) -> ProcessNursery:
    """Return this process's nursery, started now unless it runs."""
    nursery = _nurseries.get(os.getpid())
    if nursery is not None and nursery.is_gone:
        nursery.look()  # or nobody would note that its trainers have ended with it
        nursery.kill()
        nursery = None
    if nursery is None:
        nursery = _nurseries[os.getpid()] = ProcessNursery(start)
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
