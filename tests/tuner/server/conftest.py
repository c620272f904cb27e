"""The service within this process, and as a process of its own, with accounts of each kind."""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pytest
from playwright.sync_api import Browser
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from storage import (
    Role,
    create_session,
    create_storage,
    create_token,
    create_user,
    find_password_hash,
    revoke_token,
)
from tests.conftest import clean_environment
from tests.forked import Tuner
from tests.hashes import QUICK
from tests.tuner.server.watched import starting_browser
from tuner.server import passwords
from tuner.server.app import Service, create_service
from tuner.server.passwords import hash_password
from tuner.server.settings import ServerSettings
from tuner.study import create_or_resume
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving

PASSWORD = "correct horse battery"
ORIGIN = "http://localhost"
DIGITS = {"dataset": "digits", "epochs": 2, "train_size": 100}


@pytest.fixture(scope="package", autouse=True)
def _hashed_quickly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", QUICK)
        passwords.dummy_hash.cache_clear()
        yield
    passwords.dummy_hash.cache_clear()


def add_study(url: str, name: str = "digits", n_trials: int = 12) -> None:
    """Put a study with finished trials into a database."""
    study = optuna.create_study(storage=create_storage(url), study_name=name, direction="maximize")
    floats = optuna.distributions.FloatDistribution
    space = {"weight_decay": floats(1e-5, 1e-2, log=True), "lr": floats(1e-3, 1, log=True)}
    for i in range(n_trials):
        params = {"weight_decay": 1e-5 * 1.7**i, "lr": 1e-3 * 1.7**i}
        values = {step: 0.5 + step / 20 + i / 100 for step in range(5)}
        study.add_trial(
            optuna.create_trial(
                value=values[4], params=params, distributions=space, intermediate_values=values
            )
        )


def train_study(url: str, n_trials: int, n_lanes: int) -> None:
    """Put a study "digits" into a database that a worker has trained to its end."""
    create_or_resume(create_storage(url), "digits", DIGITS, n_trials=n_trials)
    run_worker(WorkerConfig(url, "digits", n_lanes=n_lanes), Leaving())


@dataclass(frozen=True)
class Accounts:
    """Secrets of each role, and some that are no good."""

    tokens: dict[str, str]
    sessions: dict[str, str]


@functools.cache
def _password_hash() -> str:
    return hash_password(PASSWORD)


def _session(engine: Engine, user_id: int, password_hash: str) -> str:
    secret = create_session(engine, user_id, password_hash)
    assert secret is not None
    return secret


def add_accounts(engine: Engine) -> Accounts:
    """Make a user and a token of each role, and tokens that are over."""
    password_hash = _password_hash()
    tokens: dict[str, str] = {}
    sessions: dict[str, str] = {}
    for role in Role:
        create_user(engine, role.value, password_hash, role)
        found = find_password_hash(engine, role.value)
        assert found is not None
        sessions[role.value] = _session(engine, *found)
        tokens[role.value] = create_token(engine, role, name=f"a-{role.value}")[1]
    number, tokens["revoked"] = create_token(engine, Role.ADMIN)
    revoke_token(engine, number)
    number, tokens["expired"] = create_token(engine, Role.ADMIN, lifetime_seconds=60)
    with engine.begin() as connection:
        statement = text("UPDATE tuner_tokens SET expires_at = 1 WHERE token_id = :number")
        connection.execute(statement, {"number": number})
    tokens["unknown"] = "tuner_" + "x" * 43
    return Accounts(tokens, sessions)


@dataclass
class Served:
    """A service within this process: a client that is nobody, and secrets to be somebody."""

    service: Service
    client: TestClient
    accounts: Accounts

    def request(
        self, method: str, path: str, *, token: str = "", session: str = "", **given: Any
    ) -> Any:
        """Send a request with a token's or a session's secret, by the name of its role."""
        headers = dict(given.pop("headers", {}))
        if token:
            headers["Authorization"] = f"Bearer {self.accounts.tokens[token]}"
        if session:
            headers["Cookie"] = f"tuner_session={self.accounts.sessions[session]}"
        self.client.cookies.clear()
        return self.client.request(method, path, headers=headers, **given)

    @property
    def engine(self) -> Engine:
        """The service's database."""
        return self.service.storage.engine


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return the Chromium that is installed here; to it this machine is also lab.example.org."""
    with starting_browser("--host-resolver-rules=MAP lab.example.org 127.0.0.1") as browser:
        yield browser


@pytest.fixture(scope="module")
def module_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a file with a study in it, for all tests of a module."""
    url = f"sqlite:///{tmp_path_factory.mktemp('served') / 'tuner.db'}"
    add_study(url)
    return url


@pytest.fixture
def served(module_url: str) -> Iterator[Served]:
    """Return a service with accounts of each role, made anew for each test."""
    engine = create_storage(module_url).engine
    with engine.begin() as connection:
        for table in ("sessions", "users", "tokens", "former_users", "logins", "audit"):
            connection.execute(text(f"DELETE FROM tuner_{table}"))
    accounts = add_accounts(engine)
    service = create_service(ServerSettings(module_url))
    with TestClient(
        service.asgi, base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=False
    ) as client:
        yield Served(service, client, accounts)


@dataclass
class Server:
    """`tuner serve` as a process."""

    popen: Tuner
    log: Path
    port: int = field(default=0)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def logged(self) -> str:
        """Return what it has logged."""
        return self.log.read_text()


StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Return a function that starts `tuner serve` on a free port; it ends with the module."""
    folder = tmp_path_factory.mktemp("server")
    servers: list[Server] = []

    def start(url: str, *options: str) -> Server:
        log = folder / f"{len(servers)}.log"
        arguments = ("serve", "--storage", url, "--port", "0", *options)
        server = Server(Tuner(arguments, folder, clean_environment(), log), log)
        servers.append(server)
        _wait_for_port(server)
        return server

    yield start
    for server in servers:
        server.popen.kill()
        server.popen.wait()


def _wait_for_port(server: Server) -> None:
    from tests.tuner.conftest import wait_until

    def has_said() -> bool:
        assert server.popen.poll() is None, server.logged()
        said = re.search(r"Service: http://\S+:(\d+)/", server.logged())
        server.port = int(said[1]) if said else 0
        return said is not None

    wait_until(has_said)
