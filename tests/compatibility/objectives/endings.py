"""How an objective may end: by an error of any kind, or by taking its process along."""

import asyncio
import os
import signal
import sys
import warnings

import optuna


class UnpicklableError(Exception):
    """An error that cannot be sent to another process."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")
        self.lock = open(os.devnull)  # noqa: SIM115


class SpeechlessError(Exception):
    """An error whose text raises."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def errors(trial: optuna.Trial) -> float:
    """Errors: of Python's, of one's own, without words, of a hundred thousand letters, grouped."""
    x = trial.suggest_float("x", 0, 1)
    if trial.number == 7:
        return x
    raise [
        ValueError("a value"),
        KeyError("key"),
        MemoryError(),
        StopIteration(),
        UnpicklableError(1, 2),
        Exception("x" * 100_000),
        ExceptionGroup("several", [ValueError("a"), TypeError("b")]),
    ][trial.number]


def warned(trial: optuna.Trial) -> float:
    """Warnings that are errors, a false assertion, and endless recursion."""
    if trial.number == 0:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.warn("careful", stacklevel=1)
    if trial.number == 1:
        raise AssertionError
    return warned(trial) if trial.number == 2 else float(trial.number)


def optunas_own(trial: optuna.Trial) -> float:
    """Errors of Optuna's that an objective raises itself."""
    if trial.number == 0:
        raise optuna.exceptions.OptunaError("mine")
    if trial.number == 1:
        raise optuna.exceptions.StorageInternalError("mine")
    return float(trial.number)


def finished_by_others(trial: optuna.Trial) -> float:
    """Optuna's error for a trial that somebody else has ended, of another study."""
    other = optuna.create_study()
    ended = other.ask()
    other.tell(ended, 1.0)
    if trial.number == 0:
        ended.report(1.0, 1)
    return float(trial.number)


def without_words(trial: optuna.Trial) -> float:
    """An error whose text raises another one."""
    if trial.number == 0:
        raise SpeechlessError
    return float(trial.number)


def leaves(trial: optuna.Trial) -> float:
    """`sys.exit`, with and without a status, as argparse does it."""
    if trial.number < 3:
        statuses: list[int | str] = [0, 2, "usage: me"]
        sys.exit(statuses[trial.number])
    return float(trial.number)


def interrupts(trial: optuna.Trial) -> float:
    """A KeyboardInterrupt that the code raises itself."""
    if trial.number == 0:
        raise KeyboardInterrupt
    return float(trial.number)


def cancelled(trial: optuna.Trial) -> float:
    """Errors that are none of `Exception`'s: a cancelled task, the end of a generator."""
    if trial.number == 0:
        raise asyncio.CancelledError
    if trial.number == 1:
        raise GeneratorExit
    return float(trial.number)


def exits_at_once(trial: optuna.Trial) -> float:
    """`os._exit`, as some libraries do it."""
    if trial.number == 0:
        os._exit(0)
    return float(trial.number)


def killed(trial: optuna.Trial) -> float:
    """The process is killed, as by a kernel that has no more memory."""
    if trial.number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return float(trial.number)


def aborts(trial: optuna.Trial) -> float:
    """A segmentation fault."""
    if trial.number == 0:
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
    return float(trial.number)


def swallowed(trial: optuna.Trial) -> float:
    """Errors of its own that the objective swallows, `SystemExit` among them."""
    for error in (ValueError, SystemExit, KeyboardInterrupt, optuna.TrialPruned):
        try:
            raise error
        except BaseException:  # noqa: BLE001 (people do)
            trial.set_user_attr(error.__name__, "swallowed")
    return float(trial.number)
