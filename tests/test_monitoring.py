"""What Prometheus and Grafana are told to look at is what the service and the workers show."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from storage import create_storage
from tests.conftest import ROOT, clean_environment
from tests.servers import free_port
from tests.tuner.server.conftest import ORIGIN
from tuner.metrics import worker
from tuner.server.app import create_service
from tuner.server.settings import ServerSettings
from tuner.study import create_or_resume

DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy/grafana/lambda-tuner.json").read_text())
PROMETHEUS_TEXT = (ROOT / "deploy/prometheus/prometheus.yml").read_text()
PROMETHEUS: dict[str, Any] = yaml.safe_load(PROMETHEUS_TEXT)

PAGE = (ROOT / "docs/monitoring.md").read_text()

# What Grafana fills in.
_VARIABLES = {"$__rate_interval": "1m", "$study": ".*"}
# Labels that Prometheus adds.
_OF_TARGETS = {"job", "instance"}
_QUERIES = [
    (panel["title"], target["expr"]) for panel in DASHBOARD["panels"] for target in panel["targets"]
]


def _labels(document: str) -> dict[str, set[str]]:
    """Return the names of all samples, with those of their labels."""
    return {
        sample.name: set(sample.labels)
        for family in text_string_to_metric_families(document)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return the metrics that a service with a study shows, and those of a worker."""
    url = f"sqlite:///{tmp_path_factory.mktemp('shown') / 'tuner.db'}"
    create_or_resume(create_storage(url), "s", {"dataset": "digits"}, n_trials=1)
    service = create_service(ServerSettings(url))
    with TestClient(service.asgi, base_url=ORIGIN) as client:
        client.get("/healthz")
        document = client.get("/metrics").text
    return _labels(document) | _labels(generate_latest(worker.REGISTRY).decode())


def _read(query: str) -> tuple[dict[str, set[str]], set[str]]:
    """Return the metrics that a query reads with the labels they are chosen by, and by which
    labels it groups; raises ValueError if it is no PromQL.
    """
    for name, value in _VARIABLES.items():
        query = query.replace(name, value)
    chosen: dict[str, set[str]] = {}
    grouped: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            labels = {matcher.name for matcher in node.matchers.matchers}
            chosen.setdefault(node.name, set()).update(labels)
        elif isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped.update(node.modifier.labels)

    promql_parser.walk(promql_parser.parse(query), visit)
    return chosen, grouped


@pytest.mark.parametrize(("title", "query"), _QUERIES)
def test_query_reads_what_is_shown(shown: dict[str, set[str]], title: str, query: str) -> None:
    """Each metric of the dashboard is there, and has the labels by which it is used."""
    chosen, grouped = _read(query)
    assert chosen, title
    for name, labels in chosen.items():
        assert name in shown
        assert labels | grouped <= shown[name] | _OF_TARGETS


def test_dashboard_has_a_panel_for_each_question() -> None:
    """Trials, throughput, lanes, workers, slots, storage and HTTP are all looked at."""
    named = {name for _, query in _QUERIES for name in _read(query)[0]}
    assert named >= {
        "tuner_trials",
        "tuner_trial_epochs_total",
        "tuner_lanes_busy",
        "tuner_workers",
        "tuner_slots_open",
        "tuner_storage_call_seconds_bucket",
        "tuner_storage_errors_total",
        "tuner_worker_storage_retries_total",
        "tuner_worker_lost_leases_total",
        "tuner_http_request_seconds_bucket",
    }


def test_variable_lists_studies_that_are_shown(shown: dict[str, set[str]]) -> None:
    """Whoever looks chooses among the studies."""
    (study,) = (v for v in DASHBOARD["templating"]["list"] if v["name"] == "study")
    name, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", study["query"]["query"]).groups()
    assert label in shown[name]


def test_scrape_settings_fit_the_commands() -> None:
    """The service with a token from a file, each worker at the port that the comment starts it."""
    serve, workers = PROMETHEUS["scrape_configs"]
    assert serve["authorization"].keys() == {"type", "credentials_file"}
    assert serve["static_configs"] == [{"targets": ["serve:8080"]}]
    (names,) = workers["dns_sd_configs"]
    assert f"--metrics-port {names['port']}" in PROMETHEUS_TEXT
    jobs = {config["job_name"] for config in PROMETHEUS["scrape_configs"]}
    assert jobs == {"tuner-serve", "tuner-worker"}


def test_page_lists_exactly_the_metrics_there_are(shown: dict[str, set[str]]) -> None:
    """Each of our metrics is explained with its labels, and no other."""
    rows = re.findall(r"^\| `(tuner_\w+)` \| ([\w, ]*) \|", PAGE, flags=re.MULTILINE)
    listed = {name: set(filter(None, labels.strip().split(", "))) for name, labels in rows}
    ours = {
        re.sub("_(bucket|sum|count)$", "", name): labels - {"le"}
        for name, labels in shown.items()
        if name.startswith("tuner_")
    }
    assert listed == ours


@pytest.mark.slow
@pytest.mark.long
def test_commands_of_the_page_run_as_written(tmp_path: Path) -> None:
    """One after another, but for the ports, which may be taken here."""
    block = re.findall(r"^```\n(tuner .*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
    ports = {port: str(free_port()) for port in ("8080", "9464")}
    for port, free in ports.items():
        assert port in block
        block = block.replace(port, free)
    block = block.replace("curl ", "curl --retry 60 --retry-delay 1 --retry-connrefused ")
    command = tmp_path / "bin" / "tuner"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tuner "$@"\n')
    command.chmod(0o755)
    script = f"set -eu\ntrap 'kill $(jobs -p)' EXIT\n{block}"
    path = f"{command.parent}:{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=clean_environment(PATH=path, TUNER_PORT=ports["8080"]),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    for shown_by_curl in ("tuner_database_up 1.0", '{"status":"ready"}', "tuner_worker_lanes "):
        assert shown_by_curl in result.stdout
