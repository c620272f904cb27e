"""What an objective may change of its process, put back before the next trial.

Leaves to others: what cannot be put back, as a thread that runs on. Its process is renewed.
"""

import contextlib
import decimal
import gc
import locale
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from objectives.seeds import derive_seed

_Restore = Callable[[], object]

_SIGNALS = [
    getattr(signal, name)
    for name in (
        "SIGINT",
        "SIGTERM",
        "SIGHUP",
        "SIGUSR1",
        "SIGUSR2",
        "SIGALRM",
        "SIGPIPE",
        "SIGCHLD",
    )
    if hasattr(signal, name)
]


class Surroundings:
    """What a process is like before its first trial; each trial leaves it so."""

    def __init__(self) -> None:
        self._restores: list[_Restore] = [
            *_remember_surroundings(),
            *_remember_interpreter(),
            *_remember_logging(),
            *_remember_torch(),
        ]

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Run a trial; afterwards the process is as it was, as far as that can be."""
        try:
            with warnings.catch_warnings():
                yield
        finally:
            for restore in self._restores:
                with contextlib.suppress(Exception):  # one that fails keeps no other from its turn
                    restore()


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


def _remember_surroundings() -> Iterator[_Restore]:
    """Yield what puts back the current directory, the environment, mask and limits."""
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
    mask = os.umask(0)
    os.umask(mask)
    yield lambda: os.umask(mask)


def _remember_interpreter() -> Iterator[_Restore]:
    """Yield what puts back what Python keeps for the whole process."""
    for numbered in _SIGNALS:
        yield _restore_signal(numbered, signal.getsignal(numbered))
    yield lambda: signal.setitimer(signal.ITIMER_REAL, 0)
    for name in ("path", "argv", "meta_path", "path_hooks"):
        yield _restore_list(sys, name)
    for name in ("stdin", "stdout", "stderr", "excepthook", "displayhook", "dont_write_bytecode"):
        yield _restore_attribute(sys, name)
    yield _restore_attribute(threading, "excepthook")
    limit, interval = sys.getrecursionlimit(), sys.getswitchinterval()
    yield lambda: sys.setrecursionlimit(limit)
    yield lambda: sys.setswitchinterval(interval)
    yield lambda: sys.settrace(None)
    yield lambda: sys.setprofile(None)
    yield gc.enable if gc.isenabled() else gc.disable
    context = decimal.getcontext().copy()
    yield lambda: decimal.setcontext(context.copy())
    place = locale.setlocale(locale.LC_ALL)
    yield lambda: locale.setlocale(locale.LC_ALL, place)
    method = multiprocessing.get_start_method(allow_none=True)
    yield lambda: multiprocessing.set_start_method(method, force=True)
    if (numpy := sys.modules.get("numpy")) is not None:
        errors = numpy.geterr()
        yield lambda: numpy.seterr(**errors)


def _restore_signal(number: signal.Signals, handler: Any) -> _Restore:
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


def _remember_logging() -> Iterator[_Restore]:
    """Yield what puts back each logger's level, handlers and propagation."""
    manager = logging.root.manager
    disabled = manager.disable
    yield lambda: setattr(manager, "disable", disabled)
    known = [item for item in manager.loggerDict.values() if isinstance(item, logging.Logger)]
    loggers = [logging.root, *known]
    before = [(each.level, list(each.handlers), each.propagate, each.disabled) for each in loggers]

    def restore() -> None:
        for each, (level, handlers, propagate, is_disabled) in zip(loggers, before, strict=True):
            if each.level != level:
                each.setLevel(level)
            each.handlers[:], each.propagate, each.disabled = handlers, propagate, is_disabled

    yield restore


def _remember_torch() -> Iterator[_Restore]:
    """Yield what puts back torch's modes, where an objective has imported it before.

    Where one imports it now, they are its defaults.
    """
    imported_before = "torch" in sys.modules
    before = _read_torch_modes() if imported_before else None

    def restore() -> None:
        if "torch" in sys.modules:
            _write_torch_modes(before)

    yield restore


def _read_torch_modes() -> dict[str, Any]:
    import torch

    return {
        "dtype": torch.get_default_dtype(),
        "is_grad_enabled": torch.is_grad_enabled(),
        "is_deterministic": torch.are_deterministic_algorithms_enabled(),
        "warns_only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "n_threads": torch.get_num_threads(),
        "device": torch.get_default_device(),
        "precision": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "detects_anomaly": torch.is_anomaly_enabled(),
    }


def _write_torch_modes(before: dict[str, Any] | None) -> None:
    import torch

    modes = before or {
        "dtype": torch.float32,
        "is_grad_enabled": True,
        "is_deterministic": False,
        "warns_only": False,
        "n_threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
        "device": torch.device("cpu"),
        "precision": "highest",
        "cudnn": (False, False),
        "detects_anomaly": False,
    }
    if modes == _read_torch_modes():
        return
    torch.set_default_dtype(modes["dtype"])
    torch.set_grad_enabled(modes["is_grad_enabled"])
    torch.use_deterministic_algorithms(modes["is_deterministic"], warn_only=modes["warns_only"])
    torch.set_num_threads(modes["n_threads"])
    if torch.get_default_device() != modes["device"]:
        torch.set_default_device(None)
    torch.set_float32_matmul_precision(modes["precision"])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = modes["cudnn"]
    torch.autograd.set_detect_anomaly(modes["detects_anomaly"])
