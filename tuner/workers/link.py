"""A trainer's end of the pipe: tell, ask, and hear what the coordinator orders meanwhile.

May be used by several threads, and, pickled or forked, by processes that an objective starts:
those ask through the trainer, which listens for them on the loopback interface.
"""

import contextlib
import os
import secrets
import socket
import threading
from collections import deque
from collections.abc import Iterator
from multiprocessing.managers import BaseManager
from typing import Any

from tuner.workers.channel import WaitingEnd
from tuner.workers.messages import Order, Reply, StartFunction, StartLane

_ERRORS: dict[str, type[Exception]] = {
    error.__name__: error
    for error in (ValueError, TypeError, KeyError, OverflowError, NotImplementedError)
}


class Link:
    """What a trainer says to its coordinator. Ends the process where the coordinator is gone."""

    def __init__(self, end: socket.socket) -> None:
        self._end = WaitingEnd(end)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._starts: deque[StartFunction | StartLane] = deque()
        self._lost: set[int] = set()
        self._is_paused = False
        self._has_ended = False
        # What the coordinator's errors are raised as, by name; others are a RuntimeError.
        self.errors = dict(_ERRORS)
        self._has_to_ask = False  # whether to prune
        self._is_shared = False  # with other processes, whose reports are not known here
        self._relay: tuple[Any, bytes] | None = None
        self._relayed: dict[int, _RelayedLink] = {}  # by process: one that was forked asks anew

    def receive_work(self) -> Any:
        """Return the first message: the seat and the work."""
        with self._ending_if_alone():
            return self._end.receive()

    def tell(self, *message: Any) -> None:
        """Say something that needs no reply; waits while the study is paused."""
        if os.getpid() != self._pid:
            self._ask_trainer("tell", *message)
            return
        with self._ending_if_alone(), self._lock:
            self._end.send(message)
            self._hear()
            while self._is_paused and not self._has_ended:
                self._take(self._end.receive())

    def call(self, name: str, *arguments: Any) -> Any:
        """Return what the coordinator answers; raises what it says is to be raised."""
        if os.getpid() != self._pid:
            return self._ask_trainer("call", name, *arguments)
        with self._ending_if_alone(), self._lock:
            self._end.send(["call", name, *arguments])
            while (reply := self._take(self._end.receive())) is None:
                pass
        if reply.error is not None:
            kind, message = reply.error
            raise self.errors.get(kind, RuntimeError)(message)
        return reply.result

    def find_start(self, *, wait: bool) -> StartFunction | StartLane | None:
        """Return the next trial to start; None if there is none, or the trainer is to end."""
        with self._ending_if_alone(), self._lock:
            self._hear()
            while wait and not self._starts and not self._has_ended:
                self._take(self._end.receive())
            return self._starts.popleft() if self._starts and not self._has_ended else None

    def has_to_ask(self) -> bool:
        """Tell whether only the coordinator knows if the trial in training is to be pruned."""
        if os.getpid() != self._pid:
            return True
        with self._ending_if_alone(), self._lock:
            self._hear()
        return self._has_to_ask or self._is_shared

    def is_lost(self, number: int) -> bool:
        """Tell whether a trial was taken away, as far as is known without asking."""
        if os.getpid() != self._pid:
            return bool(self._ask_trainer("is_lost", number))
        return number in self._lost

    def _hear(self) -> None:
        while self._end.has_message():
            self._take(self._end.receive())

    def _take(self, message: Any) -> Reply | None:
        match message:
            case Reply():
                return message
            case StartFunction() | StartLane():
                self._starts.append(message)
                self._has_to_ask = False
            case Order("lost", number):
                self._lost.add(number or 0)
            case Order("end"):
                self._has_ended = True
            case Order("ask"):
                self._has_to_ask = True
            case Order(name):
                self._is_paused = name == "pause"
        return None

    @contextlib.contextmanager
    def _ending_if_alone(self) -> Iterator[None]:
        try:
            yield
        except EOFError:
            os._exit(1)  # whatever the user's code would do about it

    def listen(self) -> None:
        """Let other processes ask through this one from now on."""
        key = secrets.token_bytes(32)
        _Relay.register("link", callable=self._share, exposed=("tell", "call", "is_lost"))
        server = _Relay(("127.0.0.1", 0), key).get_server()
        self._relay = server.address, key
        threading.Thread(target=server.serve_forever, name="relay", daemon=True).start()

    def _share(self) -> "Link":
        self._is_shared = True
        return self

    def _ask_trainer(self, method: str, *arguments: Any) -> Any:
        assert self._relay is not None
        pid = os.getpid()
        if pid not in self._relayed:
            self._relayed = {pid: _connect(*self._relay)}
        return getattr(self._relayed[pid], method)(*arguments)

    def __reduce__(self) -> Any:
        assert self._relay is not None
        return _connect, self._relay


class _Relay(BaseManager):
    pass


_Relay.register("link")


def _connect(address: Any, key: bytes) -> "_RelayedLink":
    """Return a link's proxy in another process, which may be pickled on."""
    manager = _Relay(address, key)
    manager.connect()
    return _RelayedLink(manager, address, key)


class _RelayedLink:
    """A link in a process that an objective has started."""

    def __init__(self, manager: _Relay, address: Any, key: bytes) -> None:
        self._manager, self._where = manager, (address, key)
        self._proxy = manager.link()  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._proxy, name)

    def __reduce__(self) -> Any:
        return _connect, self._where
