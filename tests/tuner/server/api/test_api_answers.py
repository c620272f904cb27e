"""Trials, the best λ and progress as it comes, over HTTP."""

import json
import math
import tomllib
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from storage import Role, create_storage, create_token, revoke_token
from tests.tuner.server.api.conftest import get, json_of, post, problem_of
from tests.tuner.server.conftest import DIGITS, Served
from tests.tuner.test_strict_json import objective
from tuner.report import list_trials
from tuner.server.best import MEDIA_TYPES
from tuner.study import create_or_resume, load_study


def test_trials_are_those_of_the_command_line_page_by_page(served: Served) -> None:
    """All pages together are what `tuner trials --json` prints."""
    loaded = load_study(create_storage(f"{served.engine.url}"), "digits")
    pages = [
        json_of(get(served, "/v1/studies/digits/trials", params={"limit": 5, "offset": offset}))
        for offset in (0, 5, 10, 15)
    ]
    assert [len(page["trials"]) for page in pages] == [5, 5, 2, 0]
    assert {page["total"] for page in pages} == {12}
    rows = [row for page in pages for row in page["trials"]]
    assert rows == json.loads(json.dumps(list_trials(loaded)))


def test_trials_are_filtered_and_sorted(served: Served) -> None:
    """By several states, and by any column either way."""
    query = {"state": ["COMPLETE", "PRUNED"], "sort": "value", "order": "desc"}
    page = json_of(get(served, "/v1/studies/digits/trials", params=query))
    values = [row["value"] for row in page["trials"]]
    assert values == sorted(values, reverse=True)
    assert len(values) == page["total"] == 12
    none = json_of(get(served, "/v1/studies/digits/trials", params={"state": "WAITING"}))
    assert (none["trials"], none["total"]) == ([], 0)
    by_lr = json_of(get(served, "/v1/studies/digits/trials", params={"sort": "lr"}))["trials"]
    rates = [row["params"]["lr"] for row in by_lr]
    assert rates == sorted(rates)
    problem_of(get(served, "/v1/studies/digits/trials", params={"sort": "password"}), 422)


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
def test_infinite_values_are_null_and_infinite_parameters_text(served: Served) -> None:
    """In the list of trials, in the status and in the answer, which says which are text."""
    options = {"objective": "tests.tuner.test_strict_json:objective"}
    loaded = create_or_resume(create_storage(f"{served.engine.url}"), "odd", options, n_trials=2)
    loaded.study.optimize(objective, n_trials=2)
    trial = json_of(get(served, "/v1/studies/odd/trials"))["trials"][0]
    best = json_of(get(served, "/v1/studies/odd"))["best"]
    answer = json_of(get(served, "/v1/studies/odd/best"))
    assert (trial["value"], best["value"], answer["evidence"]["search_value"]) == (None,) * 3
    for shown in (trial, best, answer):
        assert shown["params"]["max_norm"] == "inf"
    assert answer["params_as_text"] == ["max_norm", "both"]
    shell = get(served, "/v1/studies/odd/best", params={"format": "python"}).text
    assert _run(shell)["BEST"]["params"]["max_norm"] == math.inf


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
    response = get(served, "/v1/studies/digits/best", params={"format": form, "rule": "best"})
    assert response.status_code == 200
    assert response.headers["content-type"] == MEDIA_TYPES.get(form, "text/x-python; charset=utf-8")
    best = _READERS[form](response.text)
    assert (
        best["weight_decay"]
        == json_of(get(served, "/v1/studies/digits"))["best"]["params"]["weight_decay"]
    )


@pytest.mark.parametrize("form", ["env", "torch", "keras", "optax", "sklearn"])
def test_best_comes_as_lines_too(served: Served, form: str) -> None:
    """Shell variables, and lines for each framework."""
    response = get(served, "/v1/studies/digits/best", params={"format": form})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/")
    query = {"format": form, "optimizer": "adamw"}
    problem_of(get(served, "/v1/studies/digits/best", params=query), 422)


def test_best_that_is_known_already_is_not_sent_again(served: Served) -> None:
    """The tag holds as long as nothing but the time differs, and is another for each form."""
    first = get(served, "/v1/studies/digits/best")
    tag = first.headers["etag"]
    for known in (tag, f'"x", {tag}', "*", tag.removeprefix("W/")):
        response = get(served, "/v1/studies/digits/best", headers={"If-None-Match": known})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == tag
    other = get(
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
    post(served, "/v1/studies", {"name": "empty", "spec": DIGITS})
    problem_of(get(served, "/v1/studies/empty/best"), 409)
    detail = problem_of(get(served, "/v1/studies/digits/best", params={"rule": "1se"}), 409)
    assert "tuner confirm" in detail


def test_events_tell_a_study_to_its_end(served: Served) -> None:
    """An event for each change, and one at the end; of a study that is over, both at once."""
    response = get(served, "/v1/studies/digits/events")
    assert response.headers["content-type"].startswith("text/event-stream")
    kinds = [line for line in response.text.splitlines() if line.startswith("event:")]
    assert kinds == ["event: status", "event: end"]
    data = json.loads(response.text.splitlines()[1].removeprefix("data: "))
    assert (data["study"], data["is_spent"]) == ("digits", True)
    problem_of(get(served, "/v1/studies/none/events"), 404)


def test_events_follow_a_study_that_is_stopped_meanwhile(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others do is told while the client listens."""
    import threading

    monkeypatch.setattr("tuner.server.events._LOOK_SECONDS", 0.05)
    post(served, "/v1/studies", {"name": "followed", "spec": DIGITS})
    timer = threading.Timer(0.3, lambda: post(served, "/v1/studies/followed/stop"))
    timer.start()
    response = get(served, "/v1/studies/followed/events")
    timer.join()
    states = [
        json.loads(line.removeprefix("data: "))["state"]
        for line in response.text.splitlines()
        if line.startswith("data: ")
    ]
    assert states == ["open", "stopped", "stopped"]


def test_events_end_with_the_token_that_asked(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is revoked hears nothing more; its last event is no end of the study."""
    import threading

    monkeypatch.setattr("tuner.server.events._LOOK_SECONDS", 0.05)
    post(served, "/v1/studies", {"name": "overheard", "spec": DIGITS})
    number, served.accounts.tokens["leaver"] = create_token(served.engine, Role.VIEWER)
    timer = threading.Timer(0.3, lambda: revoke_token(served.engine, number))
    timer.start()
    response = served.request("GET", "/v1/studies/overheard/events", token="leaver")
    timer.join()
    kinds = [line for line in response.text.splitlines() if line.startswith("event:")]
    assert kinds == ["event: status"]
