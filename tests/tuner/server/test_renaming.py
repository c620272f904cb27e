"""The dashboard's rename: a study keeps all that is known of it, under its new name."""

import uuid

import pytest
from optuna.trial import TrialState
from sqlalchemy import text

from storage import list_exports, register_worker, sign_off_worker
from tests.tuner.answers import confirm, trial
from tests.tuner.server.conftest import Served
from tuner.answer.record import Wish, publish
from tuner.selection import find_confirmation
from tuner.study import LoadedStudy, create_or_resume, load_study, open_confirmation


@pytest.fixture
def study(served: Served) -> LoadedStudy:
    """Return a study with trials, a confirmation, two exported versions and a pin."""
    loaded = create_or_resume(served.service.storage, uuid.uuid4().hex, {}, n_trials=5)
    for value in (0.9, 0.97, 0.95):
        loaded.study.add_trial(trial(value, 1e-3, TrialState.COMPLETE))
    open_confirmation(loaded)
    confirm(loaded)
    publish(loaded)
    publish(loaded, Wish(pin=2, reason="mine"))
    return loaded


def _rename(
    served: Served, study: LoadedStudy, name: object, token: str = "admin"
) -> tuple[int, str]:
    path = f"/api/studies/{study.study_id}/rename"
    response = served.request("POST", path, token=token, json={"study_name": name})
    return response.status_code, str(response.json().get("reason", ""))


def test_renamed_study_keeps_budget_versions_and_pin(served: Served, study: LoadedStudy) -> None:
    """It is the same study for the dashboard, the API, plain SQL and the command line."""
    shown = served.request("GET", f"/api/studies/{study.study_id}?after=0", token="viewer").json()
    assert shown["name"] == study.name
    new = f"t{study.name}"
    path = f"/api/studies/{study.study_id}/rename"
    response = served.request("POST", path, token="admin", json={"study_name": new})
    assert response.status_code == 201
    assert (response.json()["study_id"], response.json()["study_name"]) == (study.study_id, new)

    assert served.request("GET", f"/v1/studies/{study.name}", token="viewer").status_code == 404
    status = served.request("GET", f"/v1/studies/{new}", token="viewer").json()
    assert (status["study"], status["n_trials"]) == (new, 5)
    shown = served.request("GET", f"/api/studies/{study.study_id}?after=0", token="viewer").json()
    assert (shown["name"], len(shown["trials"])) == (new, 3)
    exports = list_exports(served.engine, study.study_id)
    assert [(e.version, e.pinned_trial) for e in exports] == [(1, None), (2, 2)]
    with served.engine.connect() as connection:
        query = text("SELECT trial, version, pinned_trial FROM tuner_best WHERE study = :name")
        assert connection.execute(query, {"name": new}).one() == (2, 2, 2)


def test_confirmation_is_renamed_with_its_study(served: Served, study: LoadedStudy) -> None:
    """It confirms the study by its new name, and is found as that study's."""
    before = load_study(served.service.storage, f"{study.name}/confirm")
    new = f"t{study.name}"
    assert _rename(served, study, new) == (201, "")
    renamed = load_study(served.service.storage, new)
    after = open_confirmation(renamed)
    assert (after.study_id, after.spec.confirms) == (before.study_id, new)
    confirmation = find_confirmation(renamed)
    assert confirmation is not None
    assert confirmation.study == f"{new}/confirm"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("digits", "There is a study 'digits' already"),
        ("x/confirm", "names that end in /confirm"),
        ("", "a name has 1 to 250"),
        ("x" * 251, "a name has 1 to 250"),
        (None, "study_name is missing"),
        (7, "study_name is missing"),
    ],
)
def test_name_that_no_study_may_have_is_refused(
    served: Served, study: LoadedStudy, name: object, reason: str
) -> None:
    """The answer says why, and the study keeps its name."""
    status, said = _rename(served, study, name)
    assert status == 400
    assert reason in said
    assert load_study(served.service.storage, study.name).study_id == study.study_id


def test_study_is_not_renamed_under_its_workers(served: Served, study: LoadedStudy) -> None:
    """They would look for the old name; when they have left, it is."""
    worker_id, _ = register_worker(served.engine, study.study_id, "host", 1)
    status, said = _rename(served, study, f"t{study.name}")
    assert status == 409
    assert "has 1 workers" in said
    sign_off_worker(served.engine, worker_id)
    assert _rename(served, study, f"t{study.name}")[0] == 201


def test_confirmation_alone_is_not_renamed(served: Served, study: LoadedStudy) -> None:
    """Its name says which study it confirms."""
    confirming = load_study(served.service.storage, f"{study.name}/confirm")
    status, said = _rename(served, confirming, "else")
    assert status == 400
    assert f"is the confirmation of {study.name!r}: rename that one" in said


def test_rename_of_a_study_that_is_gone_or_by_others_is_refused(
    served: Served, study: LoadedStudy
) -> None:
    """404 for what is not there; only admins rename."""
    assert _rename(served, study, "new", token="operator")[0] == 403
    served.service.storage.delete_study(study.study_id)
    assert _rename(served, study, "new")[0] == 404


def test_study_of_another_program_is_renamed_in_place(served: Served) -> None:
    """All studies keep their id, and what else stands by it."""
    other = served.service.storage.get_study_id_from_name("digits")
    for name in ("theirs", "digits"):
        path = f"/api/studies/{other}/rename"
        response = served.request("POST", path, token="admin", json={"study_name": name})
        assert (response.status_code, response.json()["study_id"]) == (201, other)
