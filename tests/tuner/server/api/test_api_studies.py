"""Studies are created, watched and steered over HTTP."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from optuna.trial import create_trial
from sqlalchemy import text

from storage import create_storage, list_audit
from tests.tuner.server.api.conftest import get, json_of, post, problem_of
from tests.tuner.server.conftest import DIGITS, ORIGIN, Served
from tuner.allowed import AllowedObjectives
from tuner.brakes import Brakes, load_brakes
from tuner.confirmation.wish import Wish, find_wish
from tuner.server.app import create_service
from tuner.server.models import BrakeOptions, SpecOptions
from tuner.server.settings import ServerSettings
from tuner.space import find_space
from tuner.spec import Spec
from tuner.study import create_or_resume, load_study, open_confirmation
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.shutdown import Leaving


def test_create_is_idempotent_and_a_contradiction_is_a_conflict(served: Served) -> None:
    """201, then 200 with the budget that was given; another spec of the same name is 409."""
    body = {"name": "new", "spec": DIGITS, "n_trials": 5, "priority": 3}
    created = post(served, "/v1/studies", body)
    assert json_of(created, 201)["spec"]["dataset"] == "digits"
    assert created.headers["location"] == "/v1/studies/new"
    again = json_of(post(served, "/v1/studies", {**body, "n_trials": 6}))
    assert (again["n_trials"], again["priority"], again["state"]) == (6, 3, "open")
    detail = problem_of(post(served, "/v1/studies", {"name": "new", "spec": {"epochs": 3}}), 409)
    assert "created with epochs 2, not 3" in detail
    actions = [entry.action for entry in list_audit(served.engine)]
    assert "create study 'new'" in actions


def test_study_is_taught_by_an_earlier_one(served: Served) -> None:
    """Its complete trials are there, and count for no budget; one that is missing is 404."""
    body = {"name": "taught", "spec": DIGITS}
    missing = {**body, "warm_start": "none"}
    assert "no study 'none'" in problem_of(post(served, "/v1/studies", missing), 404)
    earlier = create_or_resume(served.service.storage, "earlier", DIGITS)
    space = find_space(earlier.spec)
    params = {"weight_decay": 1e-3, "lr": 0.1}
    earlier.study.add_trial(create_trial(value=0.9, params=params, distributions=space))
    created = json_of(post(served, "/v1/studies", {**body, "warm_start": "earlier"}), 201)
    assert (created["n_finished"], created["states"], created["best"]) == (0, {"COMPLETE": 1}, None)


@pytest.mark.parametrize("name", ["s/part", "ä ö", "x?y#z", "trials", "100%"])
def test_study_of_any_usual_name_has_a_path(served: Served, name: str) -> None:
    """Slashes stand as they are, or percent-encoded; the rest is encoded as usual."""
    from urllib.parse import quote

    created = post(served, "/v1/studies", {"name": name, "spec": DIGITS})
    assert created.status_code in (200, 201)
    path = created.headers["location"]
    assert json_of(get(served, path))["study"] == name
    assert json_of(get(served, f"/v1/studies/{quote(name, safe='')}"))["study"] == name
    assert json_of(get(served, f"{path}/trials"))["total"] == 0


@pytest.mark.parametrize(
    "name",
    ["a/trials", "a//b", "../a", "a/", "a\\b", "a\nb", " ", "x" * 251, "s/confirm", "s/CONFIRM "],
)
def test_name_without_a_path_of_its_own_is_refused(served: Served, name: str) -> None:
    """Such a study could not be reached afterwards, or would be taken for a confirmation."""
    problem_of(post(served, "/v1/studies", {"name": name, "spec": DIGITS}), 422)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "x", "spec": {"dataset": "none"}}, "Unknown data set"),
        ({"name": "x", "spec": {"weight_decay": [1, 0]}}, "LOW < HIGH"),
        ({"name": "x", "spec": {"data_dir": "/etc"}}, "data_dir"),
        ({"name": "x", "spec": {"device": "cuda"}}, "device"),
        ({"name": "x", "spec": {"confirms": "digits"}}, "confirms"),
        ({"name": "x", "spec": {"objective_options": {"width": [1]}}}, "objective_options"),
        ({"name": "x", "spec": {"objective_options": {"width": 1}}}, "no effect on simplenet"),
        ({"name": "x", "n_trials": 0}, "n_trials"),
        ({"name": "x", "timeout_seconds": -1}, "timeout_seconds"),
        ({"n_trials": 1}, "name"),
        ([], "body"),
    ],
)
def test_what_is_no_study_is_refused_with_the_reason(served: Served, body: Any, said: str) -> None:
    """422 as a problem document; what belongs to workers, as folders and devices, is refused."""
    assert said in problem_of(post(served, "/v1/studies", body), 422)


def test_code_is_refused_unless_its_module_was_allowed(
    module_url: str, served: Served, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is never imported by the service, not even for a study that is there already."""
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')")
    (tmp_path / "fine.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    body = {"name": "code", "spec": {"objective": "evil:f"}}
    assert "--allow-objective evil" in problem_of(post(served, "/v1/studies", body), 403)
    assert get(served, "/v1/studies/code").status_code == 404
    settings = ServerSettings(module_url, allowed=AllowedObjectives(frozenset({"fine"})))
    with TestClient(create_service(settings).asgi, base_url=ORIGIN) as client:
        headers = {"Authorization": f"Bearer {served.accounts.tokens['operator']}"}
        options = {"width": 64, "data": "big.csv", "is_deep": True, "rate": 0.5, "other": None}
        fine = {"name": "fine", "spec": {"objective": "fine:f", "objective_options": options}}
        created = json_of(client.post("/v1/studies", json=fine, headers=headers), 201)
        assert json.dumps(created["spec"]["objective_options"]) == json.dumps(options)
        json_of(client.post("/v1/studies", json=fine, headers=headers))
        search = {"l1": "1e-6..1e-2", "width": "8,16"}
        rich = {"name": "ranges", "spec": {**fine["spec"], "search": search, "lr": [1e-3, 1]}}
        created = json_of(client.post("/v1/studies", json=rich, headers=headers), 201)
        assert created["spec"]["search"].keys() == {"l1", "width", "lr"}
        assert created["why_not"] is None
        json_of(client.post("/v1/studies", json=rich, headers=headers))
        search["l1"] = "1e-6..1e-3"
        problem_of(client.post("/v1/studies", json=rich, headers=headers), 409)
        options["width"] = 32
        problem_of(client.post("/v1/studies", json=fine, headers=headers), 409)
    assert "--allow-objective fine" in problem_of(
        post(served, "/v1/studies", {"name": "fine"}), 403
    )


def test_study_may_search_and_fix_what_training_and_model_take(served: Served) -> None:
    """Ranges are Optuna's distributions as JSON; resuming it with the same is no contradiction."""
    dropout = {
        "name": "FloatDistribution",
        "attributes": {"step": None, "low": 0.0, "high": 0.5, "log": False},
    }
    spec = {**DIGITS, "objective": "cnn", "search": {"dropout": dropout}, "fixed": {"channels": 4}}
    body = {"name": "rich", "spec": {**spec, "optimizer": "adamw", "patience": 3}}
    created = json_of(post(served, "/v1/studies", body), 201)["spec"]
    assert created["search"] == {"dropout": dropout}
    assert (created["fixed"], created["patience"]) == ({"channels": 4}, 3)
    assert created["lr"] == [1e-4, 1e-1]
    json_of(post(served, "/v1/studies", body))


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"search": {"l1": {"name": "Evil", "attributes": {}}}}, "no distribution"),
        ({"search": {"l1": {"name": "FloatDistribution"}}}, "no distribution"),
        (
            {
                "search": {
                    "l1": {
                        "name": "FloatDistribution",
                        "attributes": {"low": "x", "high": [], "log": True, "step": None},
                    }
                }
            },
            "is no range",
        ),
        ({"search": {"dropuot": {"name": "IntDistribution", "attributes": {}}}}, "dropuot"),
        ({"fixed": {"l1": -1}}, "it takes 0 or more"),
        ({"search": {"l1": "many"}}, "write NAME=LOW..HIGH"),
        ({"objective": "m:f", "fixed": {"l1": 1}}, "m:f"),
    ],
)
def test_range_or_value_that_cannot_be_is_refused(
    served: Served, spec: dict[str, Any], reason: str
) -> None:
    """In one line, before anything is stored."""
    answer = post(served, "/v1/studies", {"name": "bad", "spec": spec})
    assert answer.status_code in (400, 403, 422)
    assert reason in answer.text or answer.status_code == 403


def test_spec_options_are_those_of_the_spec() -> None:
    """A new field of the spec has to be offered, or left to the program, by decision."""
    assert set(SpecOptions.model_fields) == set(Spec.model_fields) - {
        *("grid", "confirms", "problem", "stated")
    }


def test_brakes_of_a_study_are_those_of_the_command_line(served: Served, module_url: str) -> None:
    """Each can be given, when the study is created or later; what is left out stays."""
    assert set(BrakeOptions.model_fields) == set(Brakes.model_fields)
    body = {"name": "braked", "brakes": {"max_failures": 3, "retry_on": ["MemoryError"]}}
    json_of(post(served, "/v1/studies", body), 201)
    json_of(post(served, "/v1/studies", {"name": "braked", "brakes": {"trial_timeout": 60}}))
    found = load_brakes(load_study(create_storage(module_url), "braked").study)
    assert found == Brakes(max_failures=3, retry_on=("MemoryError",), trial_timeout=60)


def test_status_is_that_of_the_command_line(served: Served) -> None:
    """Less where the database is."""
    status = json_of(get(served, "/v1/studies/digits"))
    assert (status["n_finished"], status["n_trials"], status["is_spent"]) == (12, 12, True)
    assert sum(status["states"].values()) == 12
    assert status["best"]["params"].keys() == {"weight_decay", "lr"}
    assert "sqlite" not in json.dumps(status)


def test_states_and_budget_are_changed_and_seen_at_once(served: Served) -> None:
    """A write is seen by the next read, although reads are shared."""
    post(served, "/v1/studies", {"name": "steered", "spec": DIGITS, "timeout_seconds": 1000})
    path = "/v1/studies/steered"
    for command, state in (("pause", "paused"), ("resume", "open"), ("stop", "stopped")):
        assert json_of(get(served, path))["study"] == "steered"
        assert json_of(post(served, f"{path}/{command}")) == {"study": "steered", "state": state}
        assert json_of(get(served, path))["state"] == state
    change = served.request("PATCH", path, token="operator", json={"n_trials": 7, "priority": -4})
    assert json_of(change)["n_trials"] == 7
    assert json_of(get(served, path))["priority"] == -4
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
    post(served, "/v1/studies", {"name": "searched", "spec": DIGITS})
    assert json_of(get(served, path))["confirmation_study"] is None
    open_confirmation(load_study(create_storage(f"{served.engine.url}"), "searched"))
    for command, state in (("pause", "paused"), ("resume", "open")):
        post(served, f"{path}/confirm/{command}")
        assert json_of(get(served, path))["confirmation_study"] == {
            "study": "searched/confirm",
            "state": state,
            "n_trials": 0,
            "n_finished": 0,
            "n_in_training": 0,
            "eta_seconds": 0,
        }


def test_confirmation_is_wished_with_a_study_or_later(served: Served) -> None:
    """By default, unless it is left out; later once more; never of a confirmation."""
    post(served, "/v1/studies", {"name": "wished", "spec": DIGITS})
    post(served, "/v1/studies", {"name": "plain", "spec": DIGITS, "confirm": False})
    waiting = {"state": "waiting", "why_not": None}
    assert json_of(get(served, "/v1/studies/wished"))["confirmation"] == waiting
    assert json_of(get(served, "/v1/studies/plain"))["confirmation"] is None
    asked = post(served, "/v1/studies/plain/confirm", {"n_seeds": 4})
    assert asked.json()["confirmation"] == waiting
    loaded = load_study(create_storage(f"{served.engine.url}"), "plain")
    assert find_wish(loaded.study.user_attrs) == Wish(n_seeds=4)
    assert "confirm study 'plain'" in [entry.action for entry in list_audit(served.engine)]
    open_confirmation(loaded)
    refused = post(served, "/v1/studies/plain/confirm/confirm", {})
    assert "is a confirmation: name 'plain'" in problem_of(refused, 409)
    problem_of(post(served, "/v1/studies/plain/confirm", {"n_seeds": 1}), 422)


def test_deleted_study_is_gone_and_its_name_free(served: Served) -> None:
    """A study made anew under the same name and id shows none of the old one's trials."""
    url = f"{served.engine.url}"
    create_or_resume(create_storage(url), "gone", DIGITS, n_trials=2)
    run_worker(WorkerConfig(url, "gone"), Leaving())
    assert json_of(get(served, "/v1/studies/gone"))["n_finished"] == 2
    assert served.request("DELETE", "/v1/studies/gone", token="operator").status_code == 403
    assert served.request("DELETE", "/v1/studies/gone", token="admin").status_code == 204
    assert "no study 'gone'" in problem_of(get(served, "/v1/studies/gone"), 404)
    post(served, "/v1/studies", {"name": "gone", "spec": DIGITS})
    status = json_of(get(served, "/v1/studies/gone"))
    assert (status["n_finished"], status["states"], status["best"]) == (0, {}, None)


def test_list_of_studies_is_paged(served: Served) -> None:
    """The newest first, with the number of all."""
    first = json_of(get(served, "/v1/studies", params={"limit": 1}))
    rest = json_of(get(served, "/v1/studies", params={"limit": 1000, "offset": 1}))
    names = [study["name"] for study in first["studies"] + rest["studies"]]
    assert len(names) == first["total"] == len(set(names))
    assert names[-1] == "digits"
