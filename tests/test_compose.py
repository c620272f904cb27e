"""The compose file, read as it is: its services' commands run as processes on a real database."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT, Cli, clean_environment
from tests.test_docs import OPTION_VARIABLES

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "lambda-tuner"]

_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<text>[^}]*))?\}")


def _interpolate(text: str, variables: dict[str, str]) -> str:
    """Fill in ${NAME:-default} and ${NAME:?message} as compose does."""

    def value(match: re.Match[str]) -> str:
        name = match["name"]
        if match["kind"] == "?" and not variables.get(name):
            raise KeyError(f"{name}: {match['text']}")
        return variables.get(name) or match["text"] or ""

    return _VARIABLE.sub(value, text)


def _environment(
    service: str, url: str, data_dir: Path, variables: dict[str, str]
) -> dict[str, str]:
    """Return a service's environment, its database and volume replaced by those of the test."""
    values = {
        name: _interpolate(str(value), variables)
        for name, value in SERVICES[service]["environment"].items()
    }
    assert values["TUNER_STORAGE"] == "postgresql://tuner:pw@db:5432/tuner"
    values["TUNER_STORAGE"] = url
    if "TUNER_DATA_DIR" in values:
        assert values["TUNER_DATA_DIR"] == "/data"
        values["TUNER_DATA_DIR"] = str(data_dir)
    if "TUNER_HOST" in values:
        assert values["TUNER_HOST"] == "0.0.0.0"  # inside its container
        values["TUNER_HOST"] = "127.0.0.1"
    return clean_environment(**values)


def _command(service: str) -> list[str]:
    return [sys.executable, "-m", "tuner", *SERVICES[service]["command"]]


def test_compose_uses_only_variables_that_exist() -> None:
    """Each TUNER_ variable in the file is one of the command line's."""
    for name in OURS:
        own = {key for key in SERVICES[name]["environment"] if key.startswith("TUNER_")}
        assert own <= OPTION_VARIABLES


def test_compose_has_no_default_password_and_opens_no_port_to_others() -> None:
    """Without a password compose refuses to start; the dashboard is published on loopback."""
    with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
        _interpolate(SERVICES["db"]["environment"]["POSTGRES_PASSWORD"], {})
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8080:8080"]


def test_compose_services_wait_for_what_they_need() -> None:
    """Start order: the database is healthy, then the study exists, then workers and dashboard."""
    assert SERVICES["create"]["depends_on"]["db"]["condition"] == "service_healthy"
    for name in ("worker", "dashboard"):
        condition = SERVICES[name]["depends_on"]["create"]["condition"]
        assert condition == "service_completed_successfully"
    assert "container_name" not in SERVICES["worker"]  # or it could not be scaled


def test_dockerfile_runs_the_command_as_a_user_of_its_own() -> None:
    """The image's entry point is `tuner`, not run by root, with the packages that exist."""
    text = (ROOT / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["tuner"]' in text
    assert text.index("USER tuner") < text.index("ENTRYPOINT")
    copied = re.findall(r"^COPY (\w+) \./\1$", text, flags=re.MULTILINE)
    assert copied == ["objectives", "storage", "tuner"]


@pytest.mark.db
@pytest.mark.slow
def test_compose_stack_finishes_a_study(postgres_url: str, tmp_path: Path, call: Cli) -> None:
    """Create, two workers and the dashboard, as the file starts them, end with the budget."""
    variables = {"POSTGRES_PASSWORD": "pw", "TUNER_TRIALS": "8", "TUNER_DATASET": "digits"}

    def start(service: str) -> subprocess.Popen[str]:
        environment = _environment(service, postgres_url, tmp_path, variables)
        return subprocess.Popen(_command(service), cwd=tmp_path, env=environment, text=True)

    for _ in range(2):  # started again, it changes nothing
        assert start("create").wait(timeout=60) == 0
    dashboard = start("dashboard")
    workers = [start("worker") for _ in range(2)]
    try:
        assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
        health_check = SERVICES["dashboard"]["healthcheck"]["test"]
        assert health_check[:3] == ["CMD", "python", "-c"]
        _retry([sys.executable, "-c", health_check[3]])
        with urllib.request.urlopen("http://127.0.0.1:8080/api/studies", timeout=10) as response:
            (summary,) = json.load(response)["study_summaries"]
        assert summary["study_name"] == "simplenet-mnist"
    finally:
        dashboard.terminate()
        dashboard.wait(timeout=10)
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
    status = call("status", "--json", **_environment("worker", postgres_url, tmp_path, variables))
    assert json.loads(status.stdout)["n_finished"] == 8


def _retry(command: list[str], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while subprocess.run(command, env=os.environ, capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, "the health check never passed"
        time.sleep(0.5)
