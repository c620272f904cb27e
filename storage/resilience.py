"""Wait for a database that is away: the only retry loop of the code base.

Whether an error may pass by itself is ``storage.causes``'s to say; whether a call is safe to
repeat, also when its commit was done and only the answer got lost, is the caller's.
"""

import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

from sqlalchemy.engine import URL
from tenacity import RetryCallState, Retrying, retry_if_exception

from storage.causes import Cause, classify, driver_message
from storage.errors import UnreachableError
from storage.url import mask_password, mask_url

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0
# Less is not waited for: it might round to nothing.
_SHORTEST_WAIT_SECONDS = 0.001
# How soon a wait notices that the process has been asked to leave.
_SLICE_SECONDS = 0.1
# What is still spent on giving back, once asked to leave: enough for a deadlock, not an outage.
_LEAVING_PATIENCE_SECONDS = 0.5
_LONGEST_SILENCE_SECONDS = 60.0


def _never() -> bool:
    return False


def _ignore(_cause: Cause) -> None:
    pass


@dataclass(frozen=True)
class Retry:
    """Repeats calls to one database while they fail for a cause that may pass.

    Each call has ``patience_seconds`` from its first failure on. ``is_leaving`` tells whether the
    process has been asked to leave: a wait then ends within a second. ``on_retry`` is told the
    cause of each repetition. May be shared by threads.
    """

    url: URL = field(repr=False)  # may hold a password
    patience_seconds: float
    is_leaving: Callable[[], bool] = _never
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    jitter: random.Random = field(default_factory=random.Random)
    on_retry: Callable[[Cause], None] = _ignore
    _last_outage: list[float] = field(default_factory=list)  # at most one moment by `clock`

    @property
    def seconds_since_outage(self) -> float:
        """For how long all calls have found the database there, if one has not."""
        return self.clock() - self._last_outage[0] if self._last_outage else math.inf

    def note(self, error: BaseException) -> Cause:
        """Return the error's cause, and remember when there was an outage."""
        cause = classify(error)
        if cause is Cause.OUTAGE:
            self._last_outage[:] = [self.clock()]
        return cause

    def call(self, what: str, function: Callable[[], T]) -> T:
        """Return what ``function`` returns; ``what`` says in the imperative what it does.

        The function must be safe to repeat. Raises UnreachableError when patience is over, and
        passes on at once what will not pass by itself.
        """
        outage = _Outage(self, what)
        retrying = Retrying(
            retry=retry_if_exception(lambda error: self.note(error).is_transient),
            wait=outage.next_wait,
            stop=outage.is_over,
            before_sleep=outage.report,
            sleep=outage.wait,
            retry_error_callback=outage.give_up,
        )
        result = retrying(function)
        outage.report_end()
        return result

    def attempt(self, function: Callable[[], T], default: T) -> T:
        """Try once, for a caller that can go on without; return ``default`` during an outage."""
        try:
            return function()
        except Exception as error:
            if not self.note(error).is_transient:
                raise
            return default


class _Outage:
    """What one call has met so far; tenacity calls its methods after each failure."""

    def __init__(self, retry: Retry, what: str) -> None:
        self._retry = retry
        self._what = what
        self._began_at: float | None = None
        self._leaving_since: float | None = None
        self._report_at = 0.0
        self._has_complained = False

    @property
    def _seconds(self) -> float:
        return 0.0 if self._began_at is None else self._retry.clock() - self._began_at

    def next_wait(self, state: RetryCallState) -> float:
        """Return the seconds until the next try: exponential, with jitter, to the end at most."""
        if self._began_at is None:
            self._began_at = self._retry.clock()
        longest = _FIRST_WAIT_SECONDS * 2.0 ** min(state.attempt_number - 1, 10)
        wait = min(longest, _LONGEST_WAIT_SECONDS) * self._retry.jitter.uniform(0.5, 1.0)
        return max(0.0, min(wait, self._retry.patience_seconds - self._seconds))

    def is_over(self, _state: RetryCallState) -> bool:
        """Tell whether patience is over, which is sooner for a process that leaves."""
        left = self._retry.patience_seconds - self._seconds
        return left < _SHORTEST_WAIT_SECONDS or self._has_to_leave()

    def _has_to_leave(self) -> bool:
        if not self._retry.is_leaving():
            return False
        if self._leaving_since is None:
            self._leaving_since = self._retry.clock()
        return self._retry.clock() - self._leaving_since >= _LEAVING_PATIENCE_SECONDS

    def wait(self, seconds: float) -> None:
        """Sleep, in slices, unless the process has to leave."""
        end = self._retry.clock() + seconds
        while not self._has_to_leave() and (left := end - self._retry.clock()) > 0:
            self._retry.sleep(min(left, _SLICE_SECONDS))

    def report(self, state: RetryCallState) -> None:
        """Tell why the call is repeated; log it the first time, then ever more rarely."""
        cause, message = self._read(state)
        self._retry.on_retry(cause)
        if self._seconds < self._report_at:
            return
        self._report_at = self._seconds + min(max(1.0, self._seconds), _LONGEST_SILENCE_SECONDS)
        # Contention is everyday life; what lasts, or needs somebody's help, is not.
        is_normal = cause is Cause.CONTENTION and self._seconds < 1.0
        self._has_complained |= not is_normal
        logger.log(
            logging.DEBUG if is_normal else logging.WARNING,
            "Storage %s %s, trying again to %s for up to %.0f s: %s",
            mask_url(self._retry.url),
            cause.complaint,
            self._what,
            self._retry.patience_seconds - self._seconds,
            message,
        )

    def report_end(self) -> None:
        """Log that the call succeeded, if its failures have been logged."""
        if self._has_complained:
            url = mask_url(self._retry.url)
            logger.warning("Storage %s answers again, after %.0f s", url, self._seconds)

    def give_up(self, state: RetryCallState) -> NoReturn:
        """Raise UnreachableError, with what was tried and what the driver said last."""
        cause, message = self._read(state)
        raise UnreachableError(
            f"Storage {mask_url(self._retry.url)} {cause.complaint}: gave up trying to "
            f"{self._what} after {self._seconds:.0f} s and {state.attempt_number} tries: {message}",
            has_been_waited_for=True,
        ) from self._error(state)

    def _read(self, state: RetryCallState) -> tuple[Cause, str]:
        error = self._error(state)
        return classify(error), mask_password(driver_message(error), self._retry.url)

    @staticmethod
    def _error(state: RetryCallState) -> BaseException:
        error = state.outcome.exception() if state.outcome else None
        assert error is not None  # tenacity calls these after a failure only
        return error
