"""The service for the API's tests: one for all of them, each with studies of its own."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from storage import create_storage
from tests.tuner.server.conftest import ORIGIN, Served, add_accounts, train_study
from tuner.server.app import create_service
from tuner.server.settings import ServerSettings

PROBLEM = "application/problem+json"


@pytest.fixture(scope="session")
def module_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a file with a finished study."""
    url = f"sqlite:///{tmp_path_factory.mktemp('api') / 'tuner.db'}"
    train_study(url, n_trials=12, n_lanes=4)
    return url


@pytest.fixture(scope="session")
def served(module_url: str) -> Iterator[Served]:
    """Return one service with accounts of each role."""
    accounts = add_accounts(create_storage(module_url).engine)
    service = create_service(ServerSettings(module_url))
    with TestClient(
        service.asgi, base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=False
    ) as client:
        yield Served(service, client, accounts)


def json_of(response: Any, status: int = 200) -> Any:
    """Return what was answered, with this status."""
    assert response.status_code == status, response.text
    return response.json()


def problem_of(response: Any, status: int) -> str:
    """Return the detail of a problem document with this status."""
    document = json_of(response, status)
    assert response.headers["content-type"] == PROBLEM
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["status"] == status
    detail: str = document["detail"]
    return detail


def post(served: Served, path: str, body: Any = None) -> Any:
    """Send what an operator may send."""
    return served.request("POST", path, token="operator", json=body)


def get(served: Served, path: str, **given: Any) -> Any:
    """Ask as a viewer."""
    return served.request("GET", path, token="viewer", **given)
