"""What plain SQL shows of trials is what Optuna knows, on SQLite, PostgreSQL and MariaDB alike."""

import uuid
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from sqlalchemy import text

from storage import create_storage
from tuner.selection import find_best_trial
from tuner.spec import Spec

pytestmark = pytest.mark.db

_FLOAT = optuna.distributions.FloatDistribution(1e-9, 10, log=True)
_CHOICE = optuna.distributions.CategoricalDistribution([0.5, 0.7])


@pytest.fixture(params=["maximize", "minimize"])
def study(shared_url: str, request: pytest.FixtureRequest) -> optuna.Study:
    """Return a new study for each direction."""
    return _new_study(shared_url, directions=[request.param])


def _new_study(url: str, **options: Any) -> optuna.Study:
    return optuna.create_study(storage=create_storage(url), study_name=uuid.uuid4().hex, **options)


def _add(study: optuna.Study, value: float | None, n_epochs: int = 1, **more: Any) -> None:
    """Add a trial that trained for some epochs; COMPLETE unless said otherwise."""
    params = {"weight_decay": 1e-3 * (len(study.trials) + 1), "lr": 0.25}
    given = {
        "state": TrialState.COMPLETE,
        "params": params,
        "distributions": dict.fromkeys(params, _FLOAT),
        "intermediate_values": dict.fromkeys(range(1, n_epochs + 1), 0.5),
        "user_attrs": {"worker": "host:1"},
    }
    study.add_trial(create_trial(value=value, **{**given, **more}))


def _rows(study: optuna.Study, view: str) -> list[dict[str, Any]]:
    query = text(f"SELECT * FROM {view} WHERE study = :study")
    with study._storage._backend.engine.connect() as connection:  # type: ignore[attr-defined]
        return [
            dict(row) for row in connection.execute(query, {"study": study.study_name}).mappings()
        ]


def test_trials_are_shown_as_optuna_knows_them(shared_url: str) -> None:
    """One row a trial: numbers, states, real units, epochs, times and the worker's name."""
    study = _new_study(shared_url)
    _add(study, 0.75, 3, user_attrs={"worker": "host:1", "note": "x"})
    _add(study, None, 2, state=TrialState.FAIL)
    study.ask()
    first, second, third = sorted(_rows(study, "tuner_trials"), key=lambda row: row["number"])
    started, finished = first.pop("started"), first.pop("finished")
    assert str(started)[:10] <= str(finished)[:10]
    assert first == {
        "study": study.study_name,
        "number": 0,
        "state": "COMPLETE",
        "weight_decay": 1e-3,
        "lr": 0.25,
        "value": 0.75,
        "epochs": 3,
        "worker": "host:1",
    }
    assert (second["state"], second["value"], second["epochs"]) == ("FAIL", None, 2)
    assert (third["state"], third["lr"], third["finished"]) == ("RUNNING", None, None)


def test_infinite_values_keep_their_place(shared_url: str) -> None:
    """What Optuna stores without a number is shown as infinite, or the largest there is."""
    study = _new_study(shared_url)
    for value in (float("inf"), float("-inf"), 1e300):
        _add(study, value)
    shown = {row["number"]: row["value"] for row in _rows(study, "tuner_trials")}
    assert shown[0] > shown[2] > shown[1]
    assert _rows(study, "tuner_best")[0]["trial"] == 1


def test_parameter_without_real_units_is_not_shown(shared_url: str) -> None:
    """What is stored of a choice is its index, which is no learning rate."""
    study = _new_study(shared_url)
    _add(study, 1.0, params={"lr": 0.7}, distributions={"lr": _CHOICE})
    (row,) = _rows(study, "tuner_trials")
    assert (row["lr"], row["weight_decay"]) == (None, None)
    assert _rows(study, "tuner_best")[0]["l2_penalty"] is None


def test_best_of_a_function_has_no_textbook_penalty(shared_url: str) -> None:
    """What a function does with weight_decay nobody knows; of the built-in it is half."""
    shown = {}
    for objective in ("mine.py:objective", "simplenet"):
        study = _new_study(shared_url)
        study.set_user_attr("spec", {"objective": objective, "dataset": "mnist", "x": "a:b"})
        _add(study, 1.0)
        (row,) = _rows(study, "tuner_best")
        shown[objective] = (row["weight_decay"], row["l2_penalty"])
    assert shown == {"mine.py:objective": (1e-3, None), "simplenet": (1e-3, 5e-4)}


def test_best_is_the_trial_that_the_tuner_selects(study: optuna.Study) -> None:
    """By value, then fewer epochs, then the lower number; never a pruned or failed trial."""
    value = {"MAXIMIZE": 0.9, "MINIMIZE": 0.1}[study.direction.name]
    _add(study, 0.5)
    _add(study, value, 5)
    _add(study, value, 3)
    _add(study, value, 3)
    _add(study, 0.999 if value == 0.9 else 0.001, state=TrialState.PRUNED)
    best = find_best_trial(study.trials, study.direction.name.lower())
    assert best is not None
    assert best.number == 2
    assert _rows(study, "tuner_best") == [
        {
            "study": study.study_name,
            "weight_decay": best.params["weight_decay"],
            "l2_penalty": best.params["weight_decay"] / 2,
            "lr": 0.25,
            "value": value,
            "trial": best.number,
            "direction": study.direction.name.lower(),
            "rule": "best",
            **dict.fromkeys(
                ["mean", "standard_error", "version", "pinned_trial", "exported_at"], None
            ),
        }
    ]


def test_study_without_a_complete_trial_has_no_best(study: optuna.Study) -> None:
    """A pruned trial's value is that of an earlier epoch."""
    _add(study, 0.5, state=TrialState.PRUNED)
    assert _rows(study, "tuner_best") == []


def test_confirmation_is_no_answer_of_its_own(shared_url: str) -> None:
    """The best of its trials is the luckiest seed; they are shown as trials all the same."""
    study = _new_study(shared_url)
    _add(study, 0.5)
    study.set_user_attr("spec", Spec().model_dump(mode="json"))
    assert [row["trial"] for row in _rows(study, "tuner_best")] == [0]
    study.set_user_attr("spec", Spec(confirms="s").model_dump(mode="json"))
    assert _rows(study, "tuner_best") == []
    assert [row["value"] for row in _rows(study, "tuner_trials")] == [0.5]


def test_study_with_two_objectives_has_no_best(shared_url: str) -> None:
    """A best by the first of them would claim what nobody asked."""
    study = _new_study(shared_url, directions=["minimize", "maximize"])
    _add(study, None, values=[1.0, 2.0])
    assert _rows(study, "tuner_best") == []
    assert [row["value"] for row in _rows(study, "tuner_trials")] == [1.0]
