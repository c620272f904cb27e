"""Settle now and then what lost workers of any host have left behind, as all workers do.

Each does it for the study that it is at, one of all studies also for those that nobody is at.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Engine

from storage import WORKER_LOST, Retry, give_back_expired, read_uptime

logger = logging.getLogger(__name__)


@dataclass
class Settler:
    """Gives back what has expired at the studies with these ids, four times a lease."""

    engine: Engine
    retry: Retry
    lease_seconds: float
    find_study_ids: Callable[[], Iterable[int]]
    looked_at: float = -math.inf

    def settle_now_and_then(self) -> None:
        """Look if it is time to; during an outage and soon after it, nothing is given back."""
        if time.monotonic() - self.looked_at < self.lease_seconds / 4:
            return
        self.looked_at = time.monotonic()
        if self.retry.seconds_since_outage < self.lease_seconds:
            return  # others could not renew their leases either
        n = self.retry.attempt(self._settle, 0)
        if n:
            logger.warning("Gave back %d trial(s) of lost workers to the budget", n)

    def _settle(self) -> int:
        if read_uptime(self.engine) < self.lease_seconds:
            return 0  # as after an outage, which this worker may have been too young to see
        return sum(give_back_expired(self.engine, i, WORKER_LOST) for i in self.find_study_ids())
