"""What a worker's process counts: of itself alone, so that the numbers of workers add up.

Counting is a plain addition, some of them an epoch. They are shown where `tuner worker` is told a
port; per study, the service counts what is in the database.
"""

from optuna.trial import TrialState
from prometheus_client import Counter, Gauge, start_http_server
from sqlalchemy import Engine

from storage import Cause
from tuner.errors import TunerError
from tuner.metrics.registry import make_registry
from tuner.metrics.storage_calls import StorageMetrics, cause_label

REGISTRY = make_registry()

_SILENCE_SECONDS = 10  # or each connection that says nothing would keep a thread

CLAIMS = Counter("tuner_worker_claims", "Trials that were claimed.", registry=REGISTRY)
EPOCHS = Counter(
    "tuner_worker_trial_epochs",
    "Epochs that were reported, of all trials; those of a checkpoint once more.",
    registry=REGISTRY,
)
LOST = Counter(
    "tuner_worker_lost_leases",
    "Trials that were taken away while in training here.",
    registry=REGISTRY,
)
_TRIALS = Counter(
    "tuner_worker_trials", "Trials that ended here, by state.", ["state"], registry=REGISTRY
)
_RETRIES = Counter(
    "tuner_worker_storage_retries",
    "Calls to the database that were repeated, by cause.",
    ["cause"],
    registry=REGISTRY,
)
_LANES = Gauge(
    "tuner_worker_lanes",
    "Trials that can be trained side by side; 0 between studies.",
    registry=REGISTRY,
)
_BUSY = Gauge("tuner_worker_lanes_busy", "Trials in training.", registry=REGISTRY)
_STORAGE = StorageMetrics(REGISTRY)

# From the beginning: a rate needs a value before the first increase.
for _state in (state for state in TrialState if state.is_finished()):
    _TRIALS.labels(_state.name)
for _cause in (cause for cause in Cause if cause.is_transient):
    _RETRIES.labels(cause_label(_cause))


def count_end(state: TrialState) -> None:
    """Count a trial that has ended."""
    _TRIALS.labels(state.name).inc()


def count_retry(cause: Cause) -> None:
    """Count a call to the database that is repeated."""
    _RETRIES.labels(cause_label(cause)).inc()


def show_lanes(n_lanes: int, n_busy: int) -> None:
    """Show how many lanes there are, and are busy."""
    _LANES.set(n_lanes)
    _BUSY.set(n_busy)


def serve_metrics(host: str, port: int) -> None:
    """Show this process's metrics at /metrics from now on, by a thread that ends with it.

    To be called once. Raises TunerError where the port cannot be had.
    """
    _STORAGE.watch(Engine)
    try:
        server, _ = start_http_server(port, host.strip("[]"), REGISTRY)
        server.RequestHandlerClass.timeout = _SILENCE_SECONDS  # type: ignore[attr-defined]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TunerError(
            f"Cannot show metrics on {host}:{port}: {reason}; choose another --metrics-port"
        ) from error
