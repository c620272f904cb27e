"""Leave when asked: SIGTERM and Ctrl-C are always noted, but cut short only what may be.

The worker's own database transactions are finished first; training and a user's function are not.
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
    """Whether this process has been asked to leave, and by what."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._may_interrupt = False

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
        """Raise Interrupted if this process has been asked to leave."""
        if self.reason is not None:
            raise Interrupted

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.reason == "SIGINT":
            os._exit(INTERRUPTED_STATUS)
        self.reason = signal.Signals(number).name
        if self._may_interrupt:
            self._may_interrupt = False  # once: what follows is giving back
            raise Interrupted

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let a signal raise Interrupted within this block, or at its start if one has come."""
        try:
            self._may_interrupt = True
            self.check()
            yield
        finally:
            self._may_interrupt = False
