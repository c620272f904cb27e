"""The compose file, read as it is: its services' commands run as processes on a real database."""

import json
import re
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from check_jsonschema.builtin_schemas import get_builtin_schema

from storage import GIVEN_BACK, open_storage, with_password
from tests.conftest import ROOT, Cli, clean_environment
from tests.servers import PrivatePostgres, execute
from tests.test_docs import COMMANDS, OPTION_VARIABLES, PROSE
from tests.tuner.conftest import n_reporting, wait_until
from tuner.study import load_study

# What the file leaves to the user has a default: there is no other form in it.
_VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(_VARIABLE.sub(r"\1", TEXT))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "lambda-tuner"}
PASSWORD = "correct horse"
# Trials of about a second; and one study that is not done before the stack is stopped.
SHORT = {"name": "digits", "n_trials": 6, "spec": {"dataset": "digits", "epochs": 2}}
LONG = {
    "name": "long",
    "n_trials": 8,
    "spec": {"dataset": "digits", "epochs": 100_000, "pruner": "none"},
}


def test_compose_file_follows_the_schema_and_fills_in_nothing_without_a_default() -> None:
    """The schema is compose-spec's own."""
    schema = get_builtin_schema("vendor.compose-spec")
    jsonschema.validators.validator_for(schema)(schema).validate(COMPOSE)
    assert "$" not in _VARIABLE.sub("", TEXT)


def test_compose_uses_only_variables_that_exist() -> None:
    """Each TUNER_ variable in the file is one of the command line's."""
    for service in OURS.values():
        own = {key for key in service["environment"] if key.startswith("TUNER_")}
        assert own <= OPTION_VARIABLES


def test_pages_run_only_services_and_commands_that_exist() -> None:
    """What follows the service's name is a command of `tuner`."""
    lines = re.findall(r"docker compose run (?:--?\w+ )*(\w+) (\w+(?: \w+)?)", PROSE + TEXT)
    assert len(lines) >= 4
    for service, command in lines:
        assert service in OURS
        assert command in COMMANDS or command.split()[0] in COMMANDS


def test_compose_has_no_password_and_opens_no_port_to_others() -> None:
    """Passwords come from one file that is not in the repository; one port, on loopback."""
    assert COMPOSE["secrets"] == {"database-password": {"file": "./secrets/database-password"}}
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    for service in SERVICES.values():
        named = {k: v for k, v in service["environment"].items() if "PASSWORD" in k}
        assert set(named.values()) <= {"/run/secrets/database-password"}
        assert service["secrets"] == ["database-password"]
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:8080:8080"]


def test_compose_services_wait_for_what_they_need() -> None:
    """Start order: the database is healthy, its tables are there, then the service and workers."""
    conditions = {
        (name, other): how["condition"]
        for name, service in SERVICES.items()
        for other, how in service.get("depends_on", {}).items()
    }
    assert conditions == {
        ("migrate", "db"): "service_healthy",
        ("serve", "migrate"): "service_completed_successfully",
        ("worker", "migrate"): "service_completed_successfully",
    }
    assert "container_name" not in SERVICES["worker"]  # or it could not be scaled
    assert [name for name, service in OURS.items() if "build" in service] == ["migrate"]


def test_prometheus_settings_fit_the_stack() -> None:
    """Put into the stack's network, it finds the service and each worker as they are."""
    prometheus = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in prometheus["scrape_configs"]}
    (serve,) = jobs["tuner-serve"]["static_configs"]
    assert serve["targets"] == [f"serve:{OURS['serve']['environment']['TUNER_PORT']}"]
    (workers,) = jobs["tuner-worker"]["dns_sd_configs"]
    assert workers["names"] == ["worker"]
    assert str(workers["port"]) == OURS["worker"]["environment"]["TUNER_METRICS_PORT"]


def test_compose_services_may_do_no_more_than_they_need() -> None:
    """Ours write to volumes and /tmp alone, and have no capability."""
    for service in OURS.values():
        assert service["read_only"]
        assert service["tmpfs"] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    for service in SERVICES.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert service["pids_limit"]


def test_dockerfile_copies_what_is_there_and_runs_the_command_as_a_user_of_its_own() -> None:
    """The image's entry point is `tuner`, not run by root, with all that a service needs."""
    text = (ROOT / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["tuner"]' in text
    assert re.findall(r"^USER (\S+)$", text, flags=re.MULTILINE) == ["1000:1000"]
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ")]
    sources = {name for names in copied for name in names}
    assert {"tuner", "objectives", "storage", "pyproject.toml"} <= sources
    assert all((ROOT / name).exists() for name in sources)
    first, *rest = (ROOT / ".dockerignore").read_text().splitlines()[1:]
    assert first == "*"
    assert {name.removeprefix("!") for name in rest if name.startswith("!")} == sources
    lock = (ROOT / "requirements.lock").read_text()
    assert all(f"\n{package}==" in lock for package in ("psycopg-binary", "pymysql", "argon2-cffi"))


@dataclass
class Stack:
    """The services as processes; what lies in containers is replaced by what lies here."""

    folder: Path
    # What stands in the file: what stands for it here. Nothing else differs.
    here: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of a service's process."""
        given = {name: self._map(value) for name, value in OURS[service]["environment"].items()}
        return clean_environment(**given)

    def storage_url(self) -> str:
        """Return the URL by which this process gets at the database."""
        given = self.environment("worker")
        return with_password(given["TUNER_STORAGE"], Path(given["TUNER_STORAGE_PASSWORD_FILE"]))

    def _map(self, text: str) -> str:
        return re.sub("|".join(map(re.escape, self.here)), lambda match: self.here[match[0]], text)

    def run(self, service: str, *arguments: str, stdin: str = "") -> str:
        """Do as `docker compose run -T SERVICE ...`; without arguments the service's command."""
        result = subprocess.run(
            [sys.executable, "-m", "tuner", *(arguments or OURS[service]["command"])],
            cwd=self.folder,
            env=self.environment(service),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    def start(self, service: str) -> subprocess.Popen[bytes]:
        """Start one container of a service; what it says goes to a file."""
        with (self.folder / f"{service}-{len(self.processes)}.log").open("wb") as log:
            command = [sys.executable, "-m", "tuner", *OURS[service]["command"]]
            environment = self.environment(service)
            process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log
            )
        self.processes.append(process)
        return process

    def is_healthy(self, service: str) -> bool:
        """Do the service's health check once."""
        how, program, *arguments = OURS[service]["healthcheck"]["test"]
        assert (how, program) == ("CMD", "python")
        command = [sys.executable, *map(self._map, arguments)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def ask(self, path: str, token: str, body: object = None) -> tuple[int, str]:
        """Send a request to the published port; return status and body."""
        port = self.here["8080"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=200) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def stack(private_postgres: PrivatePostgres, tmp_path: Path) -> Iterator[Stack]:
    """Return the stack with its database running, as `db` makes it, and its secret."""
    secret = tmp_path / COMPOSE["secrets"]["database-password"]["file"]
    secret.parent.mkdir(mode=0o700)
    secret.write_text("p:w/d@%\n")
    made = SERVICES["db"]["environment"]
    user, database = made["POSTGRES_USER"], made["POSTGRES_DB"]
    server = private_postgres.url
    execute(
        server,
        f"CREATE ROLE {user} LOGIN PASSWORD 'p\\:w/d@%'",
        f"CREATE DATABASE {database} OWNER {user}",
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    here = {
        "8080": str(port),
        "0.0.0.0": "127.0.0.1",
        "9464": "0",  # here the workers would share the port
        "@db/": f"@127.0.0.1:{server.port}/",
        "/run/secrets/database-password": str(secret),
        "/data": str(tmp_path / "data"),
    }
    assert all(there in TEXT for there in here)
    stack = Stack(tmp_path, here)
    yield stack
    for process in stack.processes:
        process.kill()
        process.wait()
    execute(server, f"DROP DATABASE {database} WITH (FORCE)", f"DROP ROLE {user}")


def _token(stack: Stack, call: Cli, role: str) -> str:
    created = call("token", "create", "--role", role, **stack.environment("serve"))
    return str(created.stdout.strip())


@pytest.mark.db
@pytest.mark.slow
@pytest.mark.long
def test_compose_stack_from_an_empty_database_to_the_best_lambda(stack: Stack, call: Cli) -> None:
    """As a new user goes: a user, tokens, a study over HTTP, two workers, the answer, the end."""
    assert "was empty, has tables now" in stack.run("migrate")
    adding = ("user", "add", "ada", "--role", "admin", "--password-stdin")
    assert stack.run("serve", *adding, stdin=f"{PASSWORD}\n") == "User 'ada' is admin\n"
    operator, viewer = (_token(stack, call, role) for role in ("operator", "viewer"))
    serve, *workers = [stack.start(name) for name in ("serve", "worker", "worker")]
    says = stack.folder / "serve-0.log"
    wait_until(lambda: "sign in, or send a token" in says.read_text())
    assert stack.is_healthy("serve")

    assert stack.ask("/v1/studies", viewer, SHORT)[0] == 403
    assert stack.ask("/v1/studies", operator, SHORT)[0] == 201
    path = f"/v1/studies/{SHORT['name']}"
    n_trials = SHORT["n_trials"]
    wait_until(lambda: json.loads(stack.ask(path, viewer)[1])["n_finished"] == n_trials)
    status, best = stack.ask(f"{path}/best?format=toml", viewer)
    assert status == 200
    assert 1e-5 <= tomllib.loads(best)["weight_decay"] <= 1e-2

    assert stack.ask("/v1/studies", operator, LONG)[0] == 201
    loaded = load_study(open_storage(stack.storage_url()), LONG["name"])
    wait_until(lambda: n_reporting(loaded) == LONG["n_trials"])  # four of each worker
    for process in stack.processes:
        process.send_signal(signal.SIGTERM)
    assert [worker.wait(200) for worker in workers] == [130, 130]
    assert serve.wait(200) == 0
    attributes = [trial.user_attrs for trial in loaded.study.get_trials()]
    assert [a[GIVEN_BACK] for a in attributes if GIVEN_BACK in a] == ["SIGTERM"] * LONG["n_trials"]
    budget = loaded.load_budget()
    assert (budget.n_leased, budget.n_finished) == (0, 0)
