"""A thread that writes what a worker has to say, and tells that the worker is alive."""

import logging
import threading
import time

from sqlalchemy import Engine

from storage.claims import Claimant
from storage.fencing import show_alive
from storage.leases import renew_leases
from storage.outbox import Outbox
from storage.resilience import Retry

logger = logging.getLogger(__name__)

# A burst becomes one transaction: the end of a trial, and what the next one begins with. It is over
# when nothing was added for a moment; with a fixed wait, 64 workers on two cores wrote 2.8 times a
# trial. Short beside an epoch and beside what people notice.
FLUSH_SECONDS = 0.1
# What others are to know does not wait for longer, whatever is added.
_LONGEST_BURST_SECONDS = 0.4
# Two renewals may be late before a lease runs out.
_RENEWALS_PER_LEASE = 3


class Writer:
    """Flushes an outbox soon after something is in it, and renews the leases of what is held."""

    def __init__(self, engine: Engine, outbox: Outbox, claimant: Claimant, retry: Retry) -> None:
        self._engine = engine
        self._outbox = outbox
        self._claimant = claimant
        self._n_renewals = 0
        self._retry = retry
        self._error: BaseException | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the thread, if something did: nothing is written any more."""
        if self._error is not None:
            raise self._error

    def close(self, timeout_seconds: float) -> bool:
        """Write what is pending, end the thread, and return whether all is written."""
        self._closing.set()
        self._outbox.has_pending.set()  # wakes it
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive() and self._error is None

    def _run(self) -> None:
        try:
            self._write_until_closed()
        except BaseException as error:  # raised again, by `check`
            logger.debug("The writer has ended", exc_info=True)
            self._error = error

    def _write_until_closed(self) -> None:
        interval = self._claimant.lease_seconds / _RENEWALS_PER_LEASE
        renew_at = time.monotonic() + interval
        while not self._closing.is_set():
            if self._outbox.has_pending.wait(max(0.0, renew_at - time.monotonic())):
                self._wait_for_rest()
                self._retry.call("write results", self._flush)
            if time.monotonic() >= renew_at:
                self._n_renewals += 1
                self._retry.call("renew leases", self._renew)
                renew_at = time.monotonic() + interval
        self._retry.call("write results", self._flush)

    def _wait_for_rest(self) -> None:
        end = time.monotonic() + _LONGEST_BURST_SECONDS
        n_written = -1
        while n_written != self._outbox.n_written and time.monotonic() < end:
            n_written = self._outbox.n_written
            if self._closing.wait(FLUSH_SECONDS):
                return

    def _flush(self) -> None:
        self._outbox.flush(self._engine)

    def _renew(self) -> None:
        worker = self._claimant
        show_alive(self._engine, worker.study_id, worker.worker_id, self._n_renewals)
        lease_ids = self._outbox.held.values()
        renew_leases(self._engine, worker.worker_id, lease_ids, worker.lease_seconds)
