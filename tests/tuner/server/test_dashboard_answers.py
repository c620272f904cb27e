"""What browsers are sent of the dashboard: long studies thinned out and compressed."""

import gzip
from typing import Any

import pytest
from optuna.trial import TrialState, create_trial
from starlette.testclient import TestClient

from storage import Role, create_storage, create_token, list_audit
from tests.tuner.server.conftest import ORIGIN, Served
from tuner.curves import ATTRIBUTE, MOST_CURVES
from tuner.server.app import create_service
from tuner.server.settings import ServerSettings
from tuner.study import create_or_resume

_BEST, _RUNNING, _N_TRIALS = 7, 9, MOST_CURVES + 20


@pytest.fixture(scope="module")
def long_study(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what a page gets of a study with more trials than curves."""
    url = f"sqlite:///{tmp_path_factory.mktemp('long') / 'tuner.db'}"
    storage = create_storage(url)
    study = create_or_resume(storage, "long", {}, n_trials=_N_TRIALS).study
    study.add_trials(
        [
            create_trial(
                state=TrialState.RUNNING if i == _RUNNING else TrialState.COMPLETE,
                value=None if i == _RUNNING else float(i == _BEST),
                intermediate_values={1: 0.25, 2: 0.5},
                user_attrs={"worker": "here:1"},
            )
            for i in range(_N_TRIALS)
        ]
    )
    _, token = create_token(storage.engine, Role.VIEWER)
    headers = {"Authorization": f"Bearer {token}"}
    service = create_service(ServerSettings(url))
    with TestClient(service.asgi, base_url=ORIGIN, headers=headers) as client:
        document: dict[str, Any] = client.get("/api/studies/1").json()
    return document


def test_long_study_comes_with_the_curves_of_newest_best_and_running_trials(
    long_study: dict[str, Any],
) -> None:
    """A browser draws a hundred curves at once, thousands not."""
    trials = long_study["trials"]
    drawn = {trial["number"] for trial in trials if trial["intermediate_values"]}
    assert len(trials) == _N_TRIALS
    assert drawn == {_BEST, _RUNNING, *range(_N_TRIALS - MOST_CURVES, _N_TRIALS)}


def test_trial_without_a_curve_still_shows_each_epoch(long_study: dict[str, Any]) -> None:
    """The numbers are among its attributes; other trials have no such attribute."""
    shown = [
        {attribute["key"]: attribute["value"] for attribute in trial["user_attrs"]}
        for trial in long_study["trials"]
    ]
    assert shown[0] == {"worker": "here:1", ATTRIBUTE: "1: 0.25, 2: 0.5"}
    assert [attributes for attributes in shown[-MOST_CURVES:] if ATTRIBUTE in attributes] == []


def test_study_is_sent_compressed_to_who_takes_it(served: Served) -> None:
    """A tenth of the bytes on the wire; a program that does not ask for gzip gets none."""
    path = "/api/studies/1"
    plain = served.request("GET", path, token="viewer", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    request = served.client.build_request(
        "GET",
        path,
        headers={
            "Authorization": f"Bearer {served.accounts.tokens['viewer']}",
            "Accept-Encoding": "gzip",
        },
    )
    answer = served.client.send(request, stream=True)
    assert answer.headers["content-encoding"] == "gzip"
    sent = b"".join(answer.iter_raw())
    assert gzip.decompress(sent) == plain.content
    assert len(sent) < len(plain.content) / 5


def test_write_of_a_dashboard_is_in_the_audit_by_name(served: Served) -> None:
    """An id is another's once its study is deleted."""
    note = {"version": 1, "body": "a note"}
    for study_id in (1, 99, 10**30):
        served.request("PUT", f"/api/studies/{study_id}/note", token="admin", json=note)
    actions = [entry.action for entry in list_audit(served.engine)][::-1]
    assert actions[0] == "204 PUT /api/studies/1/note of 'digits'"
    assert [action.rpartition(" ")[0] for action in actions[1:]] == ["404 PUT"] * 2
