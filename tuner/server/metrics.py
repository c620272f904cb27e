"""`/metrics`: what this process counts, and what is in the database, as Prometheus reads it."""

from collections.abc import Callable, Iterator
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from storage import StudyTotals, Totals, load_totals
from tuner.metrics.storage_calls import StorageMetrics
from tuner.server.api import Viewer
from tuner.server.shared_look import SharedLook

METRICS_PATH = "/metrics"

# Studies are the only label that grows without end. Those with work come first, then the newest.
MOST_STUDIES = 200
_LONGEST_SECONDS = 10.0

_Read = Callable[[StudyTotals], dict[tuple[str, ...], float]]


def _one(read: Callable[[StudyTotals], float]) -> _Read:
    return lambda study: {(): read(study)}


# Name, help, labels besides the study, and how to read it.
_GAUGES: list[tuple[str, str, list[str], _Read]] = [
    (
        "tuner_trials",
        "Trials by state, without those that were given back.",
        ["state"],
        lambda study: {(state,): n for state, n in study.states.items()},
    ),
    ("tuner_trials_budget", "Trials to finish in all.", [], _one(lambda s: s.n_trials)),
    ("tuner_slots_open", "Trials of the budget nobody has begun.", [], _one(lambda s: s.n_open)),
    (
        "tuner_workers",
        "Workers that have not signed off: alive, or lost, which are not heard of any more.",
        ["state"],
        lambda study: {("alive",): study.n_workers, ("lost",): study.n_lost_workers},
    ),
    (
        "tuner_lanes",
        "Trials that the living workers can train side by side.",
        [],
        _one(lambda s: s.n_lanes),
    ),
    (
        "tuner_lanes_busy",
        "Trials in training, by workers that are alive.",
        [],
        _one(lambda s: s.n_leases - s.n_expired_leases),
    ),
    (
        "tuner_leases_expired",
        "Trials whose worker was lost, and that nobody has given back yet.",
        [],
        _one(lambda s: s.n_expired_leases),
    ),
]
_COUNTERS: list[tuple[str, str, list[str], _Read]] = [
    (
        "tuner_trial_epochs",
        "Epochs that were reported, of all trials.",
        [],
        _one(lambda s: s.n_epochs),
    ),
    (
        "tuner_trials_given_back",
        "Trials that were given back to be run again: lost with their worker, "
        "or left by one that was told to leave.",
        ["cause"],
        lambda study: {("lost",): study.n_lost, ("left",): study.n_left},
    ),
]


class _Studies(Collector):
    """What was read of the database last; nothing but that it is away, if it is."""

    def __init__(self) -> None:
        self.totals: Totals | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield the totals as metrics."""
        is_up = self.totals is not None
        yield GaugeMetricFamily("tuner_database_up", "Whether the database answers.", value=is_up)
        if self.totals is None:
            return
        n_studies = self.totals.n_studies
        yield GaugeMetricFamily("tuner_studies", "Studies, also those not shown.", value=n_studies)
        for kind, metrics in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for name, help_text, labels, read in metrics:
                family = kind(name, help_text, labels=["study", *labels])
                for study in self.totals.studies:
                    for values, number in read(study).items():
                        family.add_metric([study.name, *values], number)
                yield family


def build_metrics(engine: Engine, registry: CollectorRegistry) -> APIRouter:
    """Return the route that shows a registry and the totals of the studies."""
    StorageMetrics(registry).watch(engine)
    studies = _Studies()
    registry.register(studies)
    look = SharedLook(lambda: load_totals(engine, MOST_STUDIES), _LONGEST_SECONDS)
    router = APIRouter(include_in_schema=False)

    @router.get(METRICS_PATH)
    async def show_metrics(request: Request, _who: Viewer) -> Response:
        """Show all metrics; during an outage of the database, those of this process."""
        studies.totals = await look.get()
        # Not in another thread: there may be none while the database hangs.
        wants_open = "application/openmetrics-text" in request.headers.get("accept", "")
        encode: Any = openmetrics.generate_latest if wants_open else generate_latest
        media_type = openmetrics.CONTENT_TYPE_LATEST if wants_open else CONTENT_TYPE_PLAIN_0_0_4
        return Response(encode(registry), media_type=media_type)

    return router
