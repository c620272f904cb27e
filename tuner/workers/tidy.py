"""What an objective may change of its process, put back before the next trial.

Leaves to others: what cannot be put back, as a thread that runs on. Its process is renewed.
"""

import builtins
import contextlib
import contextvars
import functools
import gc
import locale
import logging
import multiprocessing
import os
import random
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from objectives.seeds import derive_seed
from tuner.workers.torch_modes import remember_torch

_Restore = Callable[[], object]
_LoggerState = tuple[int, list[logging.Handler], bool, bool]

_SIGNALS = sorted(set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_STREAMS = ("stdin", "stdout", "stderr")
# What is put back by the name of its module's attribute.
_ATTRIBUTES: list[tuple[Any, tuple[str, ...]]] = [
    (sys, (*_STREAMS, "excepthook", "unraisablehook", "displayhook", "breakpointhook")),
    (sys, ("dont_write_bytecode",)),
    (threading, ("excepthook",)),
    (logging, ("lastResort", "raiseExceptions", "_warnings_showwarning")),
]
# What is read and written by calls.
_SETTINGS: list[tuple[Callable[[], Any], Callable[[Any], object]]] = [
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (sys.getswitchinterval, sys.setswitchinterval),
    (sys.get_int_max_str_digits, sys.set_int_max_str_digits),
    (sys.getdlopenflags, sys.setdlopenflags),
    (sys.gettrace, sys.settrace),
    (sys.getprofile, sys.setprofile),
    (threading.gettrace, threading.settrace),
    (threading.getprofile, threading.setprofile),
    (threading.stack_size, threading.stack_size),
    (socket.getdefaulttimeout, socket.setdefaulttimeout),
    (gc.isenabled, lambda is_on: gc.enable() if is_on else gc.disable()),
    (gc.get_threshold, lambda numbers: gc.set_threshold(*numbers)),
    (logging.getLoggerClass, logging.setLoggerClass),
    (logging.getLogRecordFactory, logging.setLogRecordFactory),
    (lambda: logging.root.manager.disable, logging.disable),
    (lambda: locale.setlocale(locale.LC_ALL), lambda place: locale.setlocale(locale.LC_ALL, place)),
    (
        lambda: multiprocessing.get_start_method(allow_none=True),
        lambda method: multiprocessing.set_start_method(method, force=True),
    ),
    (lambda: os.umask(os.umask(0o77)), os.umask),
    (lambda: os.nice(0), lambda niceness: os.setpriority(os.PRIO_PROCESS, 0, niceness)),
    (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, []),
        lambda mask: signal.pthread_sigmask(signal.SIG_SETMASK, mask),
    ),
    *(
        (
            functools.partial(resource.getrlimit, number),
            functools.partial(resource.setrlimit, number),
        )
        for number in (getattr(resource, name) for name in dir(resource) if "RLIMIT_" in name)
    ),
]
if hasattr(os, "sched_getaffinity"):
    _SETTINGS.append(
        (lambda: os.sched_getaffinity(0), lambda cores: os.sched_setaffinity(0, cores))
    )


class Surroundings:
    """What a process is like before its first trial; each trial leaves it so.

    ``is_spoilt`` once a trial has changed what cannot be put back, as a lower priority, or a stream
    that it has closed: the next one needs a new process.
    """

    is_spoilt = False

    def __init__(self) -> None:
        self._settings = [(get, put, get()) for get, put in _SETTINGS]
        self._files = [os.dup(number) for number in (0, 1, 2)]
        self._which_files = _identify_files()
        self._restores: list[_Restore] = [
            *_remember_environment(),
            *_remember_interpreter(),
            _remember_loggers(),
            *remember_torch(),
        ]

    @contextlib.contextmanager
    def kept(self) -> Iterator[Callable[..., Any]]:
        """Run a trial by what this yields; afterwards the process is as it was, if it can be."""
        try:
            with warnings.catch_warnings():
                yield contextvars.copy_context().run
        finally:
            is_as_before = [self._put_back(*each) for each in self._settings]
            for restore in self._restores:
                with contextlib.suppress(Exception):  # one that fails keeps no other from its turn
                    restore()
            self._restore_files()
            self.is_spoilt = not all(is_as_before) or any(
                getattr(sys, name).closed for name in _STREAMS
            )

    @staticmethod
    def _put_back(get: Callable[[], Any], put: Callable[[Any], object], before: Any) -> bool:
        """Tell whether a setting is as it was, by now."""
        try:
            if get() == before:
                return True
            put(before)
            return bool(get() == before)
        except Exception:  # noqa: BLE001 (one that fails keeps no other from its turn)
            return False

    def _restore_files(self) -> None:
        if _identify_files() != self._which_files:
            for number, kept in enumerate(self._files):
                os.dup2(kept, number)


def _identify_files() -> list[tuple[int, int, int] | None]:
    """Return what tells the files of standard input, output and error from others."""
    return [_identify(number) for number in (0, 1, 2)]


def _identify(number: int) -> tuple[int, int, int] | None:
    try:
        status = os.fstat(number)
    except OSError:  # it is closed
        return None
    return status.st_dev, status.st_ino, status.st_rdev


def seed_generators(study_seed: int, trial_number: int) -> None:
    """Let Python's, NumPy's and torch's generators begin where no other trial's do.

    They depend on (study seed, trial number) alone, so that none of what a trial draws depends on
    those before it.
    """
    seed = derive_seed(study_seed, "objective", trial_number)
    random.seed(seed)
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed(seed % 2**32)
    if (torch := sys.modules.get("torch")) is not None:
        torch.default_generator.manual_seed(seed % 2**63)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(seed % 2**63)


def list_running_threads() -> set[threading.Thread]:
    """Return the threads that would keep a process from ending."""
    return {thread for thread in threading.enumerate() if not thread.daemon}


def _remember_environment() -> Iterator[_Restore]:
    """Yield what puts back the current directory and the environment."""
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    yield lambda: os.fchdir(folder)
    variables = os.environ  # as bytes: decoding a hundred takes longer than all the rest here
    environment = dict(variables._data)  # type: ignore[attr-defined]

    def restore_environment() -> None:
        if variables._data != environment:  # type: ignore[attr-defined]
            variables.clear()
            variables.update({os.fsdecode(n): os.fsdecode(v) for n, v in environment.items()})
            time.tzset()

    yield restore_environment


def _remember_interpreter() -> Iterator[_Restore]:
    """Yield what puts back what Python keeps for the whole process."""
    for number in _SIGNALS:
        yield _restore_signal(number, signal.getsignal(number))
    for timer in _TIMERS:
        yield functools.partial(signal.setitimer, timer, 0)
    for name in ("path", "argv", "meta_path", "path_hooks"):
        yield _restore_list(sys, name)
    for owner, names in _ATTRIBUTES:
        for name in names:
            yield _restore_attribute(owner, name)
    yield lambda: vars(sys).pop("tracebacklimit", None)
    names_of_all = dict(vars(builtins))
    yield lambda: vars(builtins).update(names_of_all)
    if (numpy := sys.modules.get("numpy")) is not None:  # before 2.0 no context variable
        errors = numpy.geterr()
        yield lambda: numpy.seterr(**errors)


def _restore_signal(number: int, handler: Any) -> _Restore:
    def restore() -> None:
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)

    return restore


def _restore_list(owner: Any, name: str) -> _Restore:
    live = getattr(owner, name)
    before = list(live)

    def restore() -> None:
        setattr(owner, name, live)  # another may stand in its place
        live[:] = before

    return restore


def _restore_attribute(owner: Any, name: str) -> _Restore:
    before = getattr(owner, name)
    return lambda: setattr(owner, name, before)


def _remember_loggers() -> _Restore:
    """Return what puts back each logger's level, handlers and propagation.

    One that a trial has made is as new, unless a package has that was imported by a trial, which
    sets its loggers up once.
    """
    known = {logger: _read_logger(logger) for logger in _list_loggers()}
    imported = set(sys.modules)
    as_new: _LoggerState = (logging.NOTSET, [], True, False)

    def restore() -> None:
        for logger in _list_loggers():
            state = known.get(logger)
            if state is None:
                package = logger.name.partition(".")[0]
                if package in sys.modules and package not in imported:
                    continue
            level, handlers, propagate, is_disabled = state or as_new
            if logger.level != level:
                logger.setLevel(level)
            logger.handlers[:], logger.propagate, logger.disabled = handlers, propagate, is_disabled

    return restore


def _list_loggers() -> list[logging.Logger]:
    made = logging.root.manager.loggerDict.values()
    return [logging.root, *(each for each in made if isinstance(each, logging.Logger))]


def _read_logger(logger: logging.Logger) -> _LoggerState:
    return logger.level, list(logger.handlers), logger.propagate, logger.disabled
