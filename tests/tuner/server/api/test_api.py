"""What holds for all of the API: its errors, its roles, its document, each kind of database."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from optuna.trial import TrialState

from storage import create_storage
from tests.tuner.server.api.conftest import PROBLEM, get, json_of, problem_of
from tests.tuner.server.conftest import DIGITS, ORIGIN, Served, add_accounts
from tuner.report import list_trials
from tuner.server.app import create_service
from tuner.server.settings import ServerSettings
from tuner.study import create_or_resume


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/studies/none", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1", 404),
        ("GET", "/v1/studies/none/trials", 404),
        ("POST", "/v1/studies/none/pause", 404),
        ("POST", "/v1/studies/none", 405),
        ("PUT", "/v1/studies", 405),
        ("OPTIONS", "/v1/studies", 405),
        ("PATCH", "/api/studies", 405),
        ("GET", "/v1/studies?limit=0", 422),
        ("GET", "/v1/studies/digits/best?format=xml", 422),
    ],
)
def test_every_error_is_a_problem_document(
    served: Served, method: str, path: str, status: int
) -> None:
    """Also those that no route of the API answers."""
    problem_of(served.request(method, path, token="operator"), status)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/studies"),
        ("PATCH", "/v1/studies/digits"),
        ("PUT", "/api/studies/1/note"),
        ("POST", "/v1/studies/digits/pause"),
    ],
)
@pytest.mark.parametrize(
    "kind",
    [None, "application/x-www-form-urlencoded", "text/plain", "json", "application/jsonp", ",;/"],
)
def test_body_that_is_not_said_to_be_json_is_refused_with_the_remedy(
    served: Served, method: str, path: str, kind: str | None
) -> None:
    """What `curl -d` sends without a header, too; nothing is changed."""
    before = json_of(get(served, "/v1/studies/digits"))
    headers = {} if kind is None else {"Content-Type": kind}
    body = b'{"name": "planted", "n_trials": 77}'
    response = served.request(method, path, token="admin", headers=headers, content=body)
    assert "send Content-Type: application/json" in problem_of(response, 415)
    assert json_of(get(served, "/v1/studies/digits")) == before


@pytest.mark.parametrize(
    "kind",
    ["application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"],
)
def test_body_that_is_said_to_be_json_is_taken(served: Served, kind: str) -> None:
    """By any of its names; a write without a body needs none."""
    path = "/v1/studies/digits"
    given = {"headers": {"Content-Type": kind}, "content": b'{"priority": 0}'}
    assert served.request("PATCH", path, token="operator", **given).status_code == 200
    assert served.request("POST", f"{path}/resume", token="operator").status_code == 200


def test_viewer_cannot_write(served: Served) -> None:
    """Each of the API's writes is refused, and changes nothing."""
    before = json_of(get(served, "/v1/studies"))
    for method, path in [
        ("POST", "/v1/studies"),
        ("PATCH", "/v1/studies/digits"),
        ("DELETE", "/v1/studies/digits"),
        *(("POST", f"/v1/studies/digits/{command}") for command in ("pause", "resume", "stop")),
    ]:
        body = {"name": "planted"}
        problem_of(served.request(method, path, token="viewer", json=body), 403)
    assert json_of(get(served, "/v1/studies")) == before


def test_openapi_document_describes_the_api_alone(served: Served) -> None:
    """Every operation names its errors as problem documents; login and dashboard are not in it."""
    document = json_of(get(served, "/v1/openapi.json"))
    assert len(document["paths"]) == 10
    assert all(path.startswith("/v1/") for path in document["paths"])
    for operations in document["paths"].values():
        for operation in operations.values():
            assert list(operation["responses"]["422"]["content"]) == [PROBLEM]


@pytest.fixture
def away(served: Served) -> Iterator[Served]:
    """Return a service whose database is away for all that the API asks of it."""
    import sqlalchemy

    def fail(*arguments: Any) -> None:
        if "tuner_tokens" not in arguments[2]:
            refused = OSError("connection refused: s3cret")
            raise sqlalchemy.exc.OperationalError("SELECT", {}, refused)

    sqlalchemy.event.listen(served.engine, "before_cursor_execute", fail)
    yield served
    sqlalchemy.event.remove(served.engine, "before_cursor_execute", fail)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/studies"),
        ("GET", "/v1/studies/digits"),
        ("GET", "/v1/studies/digits/best"),
        ("GET", "/v1/studies/digits/trials"),
        ("POST", "/v1/studies/digits/pause"),
        ("POST", "/v1/studies"),
    ],
)
def test_database_that_is_away_is_said_in_a_problem(
    away: Served, method: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """503 with Retry-After, no traceback, and nothing of what the driver says."""
    body = {"name": "x"} if method == "POST" else None
    response = away.request(method, path, token="operator", json=body)
    assert "database does not answer" in problem_of(response, 503)
    assert response.headers["retry-after"] == "5"
    assert "s3cret" not in response.text
    assert "Traceback" not in caplog.text


def test_api_on_other_databases(storage_url: str) -> None:
    """Create, list, page and delete on each kind of database."""
    storage = create_storage(storage_url)
    accounts = add_accounts(storage.engine)
    loaded = create_or_resume(storage, "digits/part", DIGITS, n_trials=3)
    for value in (0.5, None, 0.7):
        trial = loaded.study.ask()
        trial.set_user_attr("worker", "host:1")
        trial.suggest_float("lr", 0.1, 1, log=True)
        loaded.study.tell(trial, value, TrialState.COMPLETE if value else TrialState.FAIL)
    headers = {"Authorization": f"Bearer {accounts.tokens['admin']}"}
    with TestClient(
        create_service(ServerSettings(storage_url)).asgi, base_url=ORIGIN, headers=headers
    ) as client:
        path = "/v1/studies/digits/part"
        page = client.get(f"{path}/trials?sort=value&order=desc&state=COMPLETE").json()
        assert [row["value"] for row in page["trials"]] == [0.7, 0.5]
        page = client.get(f"{path}/trials?sort=value").json()
        assert [row["value"] for row in page["trials"]] == [0.5, 0.7, None]
        assert page["trials"] == json.loads(
            json.dumps(sorted(list_trials(loaded), key=lambda row: row["value"] or 9))
        )
        assert client.get(f"{path}/workers").json() == {"workers": []}
        assert client.get("/v1/studies").json()["total"] == 1
        assert client.delete(path).status_code == 204
        assert client.get("/v1/studies").json()["total"] == 0
