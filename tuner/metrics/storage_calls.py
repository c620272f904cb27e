"""How the database fares, as this process sees it: the same metrics in workers and the service."""

from prometheus_client import CollectorRegistry, Counter, Histogram
from sqlalchemy import Engine

from storage import Cause, watch_calls

# A statement on a quiet server takes a millisecond, a wait for SQLite's lock up to a minute.
_BUCKETS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)


class StorageMetrics:
    """Latency and errors of the calls to a database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "tuner_storage_call_seconds",
            "Time for which a connection to the database was used: statements and commit.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._errors = Counter(
            "tuner_storage_errors",
            "Errors of the database by cause; all but permanent ones may pass by themselves.",
            ["cause"],
            registry=registry,
        )
        for cause in Cause:
            self._errors.labels(cause_label(cause))

    def watch(self, engine: Engine | type[Engine]) -> None:
        """Count from now on the calls of an engine, or of all engines of this process."""
        watch_calls(engine, self._seconds.observe, self._count_error)

    def _count_error(self, cause: Cause) -> None:
        self._errors.labels(cause_label(cause)).inc()


def cause_label(cause: Cause) -> str:
    """Return a cause as a label: outage, contention, full or permanent."""
    return cause.name.lower()
