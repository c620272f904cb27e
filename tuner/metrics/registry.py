"""A process's registry of metrics."""

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics


def make_registry() -> CollectorRegistry:
    """Return a registry that shows the process's memory, time and files already.

    Prometheus has no use for the moments at which counters were made: they are half of all series.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry
