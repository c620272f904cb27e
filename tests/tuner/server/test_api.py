"""The API: studies are created, watched and steered, and the best λ is fetched, over HTTP."""

import json
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from optuna.trial import TrialState
from sqlalchemy import text

from storage import create_storage, list_audit
from tests.tuner.server.conftest import ORIGIN, Served, add_accounts
from tuner.allowed import AllowedObjectives
from tuner.leaving import Leaving
from tuner.report import list_trials
from tuner.server.app import create_service
from tuner.server.best import MEDIA_TYPES
from tuner.server.models import SpecOptions
from tuner.server.settings import ServerSettings
from tuner.spec import Spec
from tuner.study import create_or_resume, load_study, open_confirmation
from tuner.worker import WorkerConfig, run_worker

DIGITS = {"dataset": "digits", "epochs": 2, "train_size": 100}
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def module_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the URL of a file with a finished study, for all tests of this module."""
    url = f"sqlite:///{tmp_path_factory.mktemp('api') / 'tuner.db'}"
    create_or_resume(create_storage(url), "digits", DIGITS, n_trials=12)
    run_worker(WorkerConfig(url, "digits", n_lanes=4), Leaving())
    return url


@pytest.fixture(scope="module")
def served(module_url: str) -> Iterator[Served]:
    """Return one service for all tests of this module: each has studies of its own."""
    accounts = add_accounts(create_storage(module_url).engine)
    service = create_service(ServerSettings(module_url))
    with TestClient(
        service.asgi, base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=False
    ) as client:
        yield Served(service, client, accounts)


def _json(response: Any, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.json()


def _problem(response: Any, status: int) -> str:
    document = _json(response, status)
    assert response.headers["content-type"] == PROBLEM
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["status"] == status
    detail: str = document["detail"]
    return detail


def _post(served: Served, path: str, body: Any = None) -> Any:
    return served.request("POST", path, token="operator", json=body)


def _get(served: Served, path: str, **given: Any) -> Any:
    return served.request("GET", path, token="viewer", **given)


def test_create_is_idempotent_and_a_contradiction_is_a_conflict(served: Served) -> None:
    """201, then 200 with the budget that was given; another spec of the same name is 409."""
    body = {"name": "new", "spec": DIGITS, "n_trials": 5, "priority": 3}
    created = _post(served, "/v1/studies", body)
    assert _json(created, 201)["spec"]["dataset"] == "digits"
    assert created.headers["location"] == "/v1/studies/new"
    again = _json(_post(served, "/v1/studies", {**body, "n_trials": 6}))
    assert (again["n_trials"], again["priority"], again["state"]) == (6, 3, "open")
    detail = _problem(_post(served, "/v1/studies", {"name": "new", "spec": {"epochs": 3}}), 409)
    assert "created with epochs 2, not 3" in detail
    actions = [entry.action for entry in list_audit(served.engine)]
    assert "create study 'new'" in actions


@pytest.mark.parametrize("name", ["s/part", "ä ö", "x?y#z", "trials", "100%"])
def test_study_of_any_usual_name_has_a_path(served: Served, name: str) -> None:
    """Slashes stand as they are, or percent-encoded; the rest is encoded as usual."""
    from urllib.parse import quote

    created = _post(served, "/v1/studies", {"name": name, "spec": DIGITS})
    assert created.status_code in (200, 201)
    path = created.headers["location"]
    assert _json(_get(served, path))["study"] == name
    assert _json(_get(served, f"/v1/studies/{quote(name, safe='')}"))["study"] == name
    assert _json(_get(served, f"{path}/trials"))["total"] == 0


@pytest.mark.parametrize(
    "name",
    ["a/trials", "a//b", "../a", "a/", "a\\b", "a\nb", " ", "x" * 251, "s/confirm", "s/CONFIRM "],
)
def test_name_without_a_path_of_its_own_is_refused(served: Served, name: str) -> None:
    """Such a study could not be reached afterwards, or would be taken for a confirmation."""
    _problem(_post(served, "/v1/studies", {"name": name, "spec": DIGITS}), 422)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "x", "spec": {"dataset": "none"}}, "Unknown data set"),
        ({"name": "x", "spec": {"weight_decay": [1, 0]}}, "LOW < HIGH"),
        ({"name": "x", "spec": {"data_dir": "/etc"}}, "data_dir"),
        ({"name": "x", "spec": {"device": "cuda"}}, "device"),
        ({"name": "x", "spec": {"confirms": "digits"}}, "confirms"),
        ({"name": "x", "n_trials": 0}, "n_trials"),
        ({"name": "x", "timeout_seconds": -1}, "timeout_seconds"),
        ({"n_trials": 1}, "name"),
        ([], "body"),
    ],
)
def test_what_is_no_study_is_refused_with_the_reason(served: Served, body: Any, said: str) -> None:
    """422 as a problem document; what belongs to workers, as folders and devices, is refused."""
    assert said in _problem(_post(served, "/v1/studies", body), 422)


def test_code_is_refused_unless_its_module_was_allowed(
    module_url: str, served: Served, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is never imported by the service, not even for a study that is there already."""
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    (tmp_path / "fine.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    body = {"name": "code", "spec": {"objective": "evil:f"}}
    assert "--allow-objective evil" in _problem(_post(served, "/v1/studies", body), 403)
    assert _get(served, "/v1/studies/code").status_code == 404
    settings = ServerSettings(module_url, allowed=AllowedObjectives(frozenset({"fine"})))
    with TestClient(create_service(settings).asgi, base_url=ORIGIN) as client:
        headers = {"Authorization": f"Bearer {served.accounts.tokens['operator']}"}
        fine = {"name": "fine", "spec": {"objective": "fine:f"}}
        assert client.post("/v1/studies", json=fine, headers=headers).status_code == 201
    assert "--allow-objective fine" in _problem(_post(served, "/v1/studies", {"name": "fine"}), 403)


def test_spec_options_are_those_of_the_spec() -> None:
    """A new field of the spec has to be offered, or left to the program, by decision."""
    assert set(SpecOptions.model_fields) == set(Spec.model_fields) - {"grid", "confirms"}


def test_status_is_that_of_the_command_line(served: Served) -> None:
    """Less where the database is."""
    status = _json(_get(served, "/v1/studies/digits"))
    assert (status["n_finished"], status["n_trials"], status["is_spent"]) == (12, 12, True)
    assert sum(status["states"].values()) == 12
    assert status["best"]["params"].keys() == {"weight_decay", "lr"}
    assert "sqlite" not in json.dumps(status)


def test_states_and_budget_are_changed_and_seen_at_once(served: Served) -> None:
    """A write is seen by the next read, although reads are shared."""
    _post(served, "/v1/studies", {"name": "steered", "spec": DIGITS, "timeout_seconds": 1000})
    path = "/v1/studies/steered"
    for command, state in (("pause", "paused"), ("resume", "open"), ("stop", "stopped")):
        assert _json(_get(served, path))["study"] == "steered"
        assert _json(_post(served, f"{path}/{command}")) == {"study": "steered", "state": state}
        assert _json(_get(served, path))["state"] == state
    change = served.request("PATCH", path, token="operator", json={"n_trials": 7, "priority": -4})
    assert _json(change)["n_trials"] == 7
    assert _json(_get(served, path))["priority"] == -4
    deadline = "SELECT deadline FROM tuner_budgets WHERE priority = -4"
    with served.engine.connect() as connection:
        assert connection.execute(text(deadline)).scalar() is not None
    served.request("PATCH", path, token="operator", json={"timeout_seconds": None})
    with served.engine.connect() as connection:
        assert connection.execute(text(deadline)).scalar() is None
    assert "change study 'steered': n_trials=7, priority=-4" in [
        entry.action for entry in list_audit(served.engine)
    ]


def test_status_tells_how_far_the_confirmation_is(served: Served) -> None:
    """A write to the confirmation is seen at once in the searched study's status."""
    path = "/v1/studies/searched"
    _post(served, "/v1/studies", {"name": "searched", "spec": DIGITS})
    assert _json(_get(served, path))["confirmation_study"] is None
    open_confirmation(load_study(create_storage(f"{served.engine.url}"), "searched"))
    for command, state in (("pause", "paused"), ("resume", "open")):
        _post(served, f"{path}/confirm/{command}")
        assert _json(_get(served, path))["confirmation_study"] == {
            "study": "searched/confirm",
            "state": state,
            "n_trials": 0,
            "n_finished": 0,
            "n_in_training": 0,
            "eta_seconds": 0,
        }


def test_deleted_study_is_gone_and_its_name_free(served: Served) -> None:
    """A study made anew under the same name and id shows none of the old one's trials."""
    url = f"{served.engine.url}"
    create_or_resume(create_storage(url), "gone", DIGITS, n_trials=2)
    run_worker(WorkerConfig(url, "gone"), Leaving())
    assert _json(_get(served, "/v1/studies/gone"))["n_finished"] == 2
    assert served.request("DELETE", "/v1/studies/gone", token="operator").status_code == 403
    assert served.request("DELETE", "/v1/studies/gone", token="admin").status_code == 204
    assert "no study 'gone'" in _problem(_get(served, "/v1/studies/gone"), 404)
    _post(served, "/v1/studies", {"name": "gone", "spec": DIGITS})
    status = _json(_get(served, "/v1/studies/gone"))
    assert (status["n_finished"], status["states"], status["best"]) == (0, {}, None)


def test_list_of_studies_is_paged(served: Served) -> None:
    """The newest first, with the number of all."""
    first = _json(_get(served, "/v1/studies", params={"limit": 1}))
    rest = _json(_get(served, "/v1/studies", params={"limit": 1000, "offset": 1}))
    names = [study["name"] for study in first["studies"] + rest["studies"]]
    assert len(names) == first["total"] == len(set(names))
    assert names[-1] == "digits"


def test_trials_are_those_of_the_command_line_page_by_page(served: Served) -> None:
    """All pages together are what `tuner trials --json` prints."""
    loaded = load_study(create_storage(f"{served.engine.url}"), "digits")
    pages = [
        _json(_get(served, "/v1/studies/digits/trials", params={"limit": 5, "offset": offset}))
        for offset in (0, 5, 10, 15)
    ]
    assert [len(page["trials"]) for page in pages] == [5, 5, 2, 0]
    assert {page["total"] for page in pages} == {12}
    rows = [row for page in pages for row in page["trials"]]
    assert rows == json.loads(json.dumps(list_trials(loaded)))


def test_trials_are_filtered_and_sorted(served: Served) -> None:
    """By several states, and by any column either way."""
    query = {"state": ["COMPLETE", "PRUNED"], "sort": "value", "order": "desc"}
    page = _json(_get(served, "/v1/studies/digits/trials", params=query))
    values = [row["value"] for row in page["trials"]]
    assert values == sorted(values, reverse=True)
    assert len(values) == page["total"] == 12
    none = _json(_get(served, "/v1/studies/digits/trials", params={"state": "WAITING"}))
    assert (none["trials"], none["total"]) == ([], 0)
    by_lr = _json(_get(served, "/v1/studies/digits/trials", params={"sort": "lr"}))["trials"]
    rates = [row["params"]["lr"] for row in by_lr]
    assert rates == sorted(rates)
    _problem(_get(served, "/v1/studies/digits/trials", params={"sort": "password"}), 422)


_READERS = {
    "json": json.loads,
    "yaml": yaml.safe_load,
    "toml": tomllib.loads,
    "python": lambda source: _run(source)["BEST"],
}


def _run(source: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(source, names)
    return names


@pytest.mark.parametrize("form", _READERS)
def test_best_is_the_export_in_its_form(served: Served, form: str) -> None:
    """Each form has its media type and says the same λ."""
    response = _get(served, "/v1/studies/digits/best", params={"format": form, "rule": "best"})
    assert response.status_code == 200
    assert response.headers["content-type"] == MEDIA_TYPES.get(form, "text/x-python; charset=utf-8")
    best = _READERS[form](response.text)
    assert (
        best["weight_decay"]
        == _json(_get(served, "/v1/studies/digits"))["best"]["params"]["weight_decay"]
    )


@pytest.mark.parametrize("form", ["env", "torch", "keras", "optax", "sklearn"])
def test_best_comes_as_lines_too(served: Served, form: str) -> None:
    """Shell variables, and lines for each framework."""
    response = _get(served, "/v1/studies/digits/best", params={"format": form})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/")
    query = {"format": form, "optimizer": "adamw"}
    _problem(_get(served, "/v1/studies/digits/best", params=query), 422)


def test_best_that_is_known_already_is_not_sent_again(served: Served) -> None:
    """The tag holds as long as nothing but the time differs, and is another for each form."""
    first = _get(served, "/v1/studies/digits/best")
    tag = first.headers["etag"]
    for known in (tag, f'"x", {tag}', "*", tag.removeprefix("W/")):
        response = _get(served, "/v1/studies/digits/best", headers={"If-None-Match": known})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag
    other = _get(
        served,
        "/v1/studies/digits/best",
        params={"format": "toml"},
        headers={"If-None-Match": tag},
    )
    assert other.status_code == 200
    with served.engine.connect() as connection:
        assert connection.execute(text("SELECT COUNT(*) FROM tuner_exports")).scalar() == 0


def test_best_of_a_study_without_one_is_a_conflict(served: Served) -> None:
    """No complete trial, or no fresh seeds yet: to ask again later makes sense."""
    _post(served, "/v1/studies", {"name": "empty", "spec": DIGITS})
    _problem(_get(served, "/v1/studies/empty/best"), 409)
    detail = _problem(_get(served, "/v1/studies/digits/best", params={"rule": "1se"}), 409)
    assert "tuner confirm" in detail


def test_events_tell_a_study_to_its_end(served: Served) -> None:
    """An event for each change, and one at the end; of a study that is over, both at once."""
    response = _get(served, "/v1/studies/digits/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    kinds = [line for line in response.text.splitlines() if line.startswith("event:")]
    assert kinds == ["event: status", "event: end"]
    data = json.loads(response.text.splitlines()[1].removeprefix("data: "))
    assert (data["study"], data["is_spent"]) == ("digits", True)
    _problem(_get(served, "/v1/studies/none/events"), 404)


def test_events_follow_a_study_that_is_stopped_meanwhile(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others do is told while the client listens."""
    import threading

    monkeypatch.setattr("tuner.server.events._LOOK_SECONDS", 0.05)
    _post(served, "/v1/studies", {"name": "followed", "spec": DIGITS})
    timer = threading.Timer(0.3, lambda: _post(served, "/v1/studies/followed/stop"))
    timer.start()
    response = _get(served, "/v1/studies/followed/events")
    timer.join()
    states = [
        json.loads(line.removeprefix("data: "))["state"]
        for line in response.text.splitlines()
        if line.startswith("data: ")
    ]
    assert states == ["open", "stopped", "stopped"]


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
    _problem(served.request(method, path, token="operator"), status)


def test_viewer_cannot_write(served: Served) -> None:
    """Each of the API's writes is refused, and changes nothing."""
    before = _json(_get(served, "/v1/studies"))
    for method, path in [
        ("POST", "/v1/studies"),
        ("PATCH", "/v1/studies/digits"),
        ("DELETE", "/v1/studies/digits"),
        *(("POST", f"/v1/studies/digits/{command}") for command in ("pause", "resume", "stop")),
    ]:
        body = {"name": "planted"}
        _problem(served.request(method, path, token="viewer", json=body), 403)
    assert _json(_get(served, "/v1/studies")) == before


def test_openapi_document_describes_the_api_alone(served: Served) -> None:
    """Every operation names its errors as problem documents; login and dashboard are not in it."""
    document = _json(_get(served, "/v1/openapi.json"))
    assert len(document["paths"]) == 9
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
    assert "database does not answer" in _problem(response, 503)
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
