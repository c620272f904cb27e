"""What a worker shows of itself while it trains: `tuner worker --metrics-port`."""

import socket
import urllib.request
from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Cli
from tests.servers import free_port
from tests.tuner.conftest import LANES, Crew, rows, wait_until
from tuner.metrics.worker import serve_metrics


def _read(port: int) -> Counter[tuple[str, ...]]:
    """Return a worker's samples by name and values of the labels; none before it shows them."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=200) as answer:
            document = answer.read().decode()
    except OSError:
        return Counter()
    return Counter(
        {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(document)
            for sample in family.samples
        }
    )


@pytest.mark.slow
def test_numbers_of_workers_add_up_to_those_of_the_study(crew: Crew) -> None:
    """Lanes while they are busy; epochs, claims and ends as the database has them."""
    loaded = crew.create(LANES, n_trials=40)
    ports = [free_port(), free_port()]
    workers = [crew.start("worker", "--lanes", "2", "--metrics-port", str(port)) for port in ports]
    busy = ("tuner_worker_lanes_busy",)
    wait_until(lambda: all(_read(port)[busy] == 2 for port in ports))
    assert [_read(port)["tuner_worker_lanes",] for port in ports] == [2, 2]
    complete = ("tuner_worker_trials_total", "COMPLETE")
    wait_until(lambda: sum(_read(port)[complete] for port in ports) >= 3)
    crew.order("pause")

    def do_agree() -> bool:
        shown, trials = _read(ports[0]) + _read(ports[1]), rows(loaded)
        states = Counter(trial["state"] for trial in trials)
        return (
            shown["tuner_worker_trial_epochs_total",] == sum(trial["epochs"] for trial in trials)
            and shown["tuner_worker_claims_total",] == len(trials)
            and shown[complete] == states["COMPLETE"] >= 3
            and shown[busy] == states["RUNNING"]
        )

    wait_until(do_agree)
    shown = _read(ports[0])
    assert shown["tuner_storage_call_seconds_count",] > 0
    assert shown["tuner_storage_errors_total", "outage"] == 0
    crew.order("stop")
    assert [worker.wait() for worker in workers] == [0, 0]


def test_worker_whose_metrics_port_is_taken_says_so(call: Cli) -> None:
    """One line, before it touches any study."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = call("worker", "--metrics-port", str(port))
    assert result.returncode == 1
    assert result.stderr.startswith(f"tuner: Cannot show metrics on 127.0.0.1:{port}: ")
    assert result.stderr.count("\n") == 1


def test_connection_that_says_nothing_is_closed() -> None:
    """It would keep a thread of the worker's for ever."""
    port = free_port()
    serve_metrics("127.0.0.1", port)
    with socket.create_connection(("127.0.0.1", port), timeout=200) as silent:
        assert silent.recv(1) == b""
    assert _read(port)
