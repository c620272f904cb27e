"""Leave when asked: SIGTERM and Ctrl-C are always noted, but cut short only what may be.

A database transaction is finished first; an epoch in training is not.
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

    def listen(self) -> None:
        """Take over SIGINT and SIGTERM. A second Ctrl-C ends the process at once."""
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGTERM, self._on_signal)

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
            if self.reason is not None:
                raise Interrupted
            yield
        finally:
            self._may_interrupt = False
