"""Leave when asked: SIGTERM and Ctrl-C are noted, and obeyed between two steps of a coordinator.

Its own database transactions are finished first; what its trainers do is not waited for.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

INTERRUPTED_STATUS = 130


class Interrupted(KeyboardInterrupt):
    """Training was cut short because the process was asked to leave."""


class Leaving:
    """Whether this process has been asked to leave, or the study it is at, and by what."""

    def __init__(self) -> None:
        self._reason: str | None = None
        self._study_reason: str | None = None

    @property
    def reason(self) -> str | None:
        """By what this process, or else the study, is to be left; None while all goes on."""
        return self._reason or self._study_reason

    @reason.setter
    def reason(self, reason: str) -> None:
        self._reason = reason

    @property
    def leaves_process(self) -> bool:
        """Tell whether this process has been asked to leave, not only the study it is at."""
        return self._reason is not None

    def leave_study(self, reason: str) -> None:
        """Leave the study, as if asked to leave; whoever serves others then goes to the next."""
        self._study_reason = reason

    def forget_study(self) -> None:
        """Be ready for the next study; what asked the process to leave is not forgotten."""
        self._study_reason = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take over SIGINT and SIGTERM within this block. A second Ctrl-C ends at once."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        previous = [signal.signal(number, self._on_signal) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, previous, strict=True):
                signal.signal(number, handler)

    def check(self) -> None:
        """Raise Interrupted if this process has been asked to leave, or the study."""
        if self.reason is not None:
            raise Interrupted

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._reason == "SIGINT":
            os._exit(INTERRUPTED_STATUS)
        self._reason = signal.Signals(number).name
