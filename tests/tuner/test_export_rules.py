"""The document says what the rule chose, what fresh seeds found, and who has overridden it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from storage import create_storage
from tests.tuner.answers import confirm, make_study, trial
from tuner.answer import document as answer
from tuner.answer import export
from tuner.answer.best import Pin
from tuner.answer.document import build_document
from tuner.errors import NoResultError, UsageError
from tuner.study import LoadedStudy, create_or_resume


@pytest.fixture
def loaded(sqlite_url: str) -> LoadedStudy:
    """Return a study that fresh seeds have not judged yet."""
    return make_study(sqlite_url)


def _validate(document: Any) -> None:
    schema = json.loads(export.SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def test_rule_is_1se_once_the_study_is_confirmed(loaded: LoadedStudy) -> None:
    """The largest λ within one standard error, with the mean over fresh seeds and the verdict."""
    assert build_document(loaded)["rule"] == "best"
    confirm(loaded)
    document = build_document(loaded)
    assert (document["rule"], document["weight_decay"], document["lr"]) == ("1se", 1e-3, 0.2)
    assert document["l2_penalty"] == 5e-4
    assert document["evidence"] == {
        "metric": "validation accuracy",
        "direction": "maximize",
        "search_value": 0.97,
        "mean": 0.9615,
        "standard_error": 0.0008,
        "n_seeds": 5,
        "optimism": 0.009,
        "test_accuracy": 0.9595,
        "test_standard_error": 0.0012,
        "test_n_seeds": 5,
        "range": [1e-5, 1e-2],
        "edge": None,
        "verdict": {
            "kind": "does not matter",
            "text": "λ does not matter here.",
            "suggested_range": None,
        },
        "strength": "weight_decay",
        "companion": "lr",
        "companion_range": None,
        "companion_edge": None,
        "clock": {
            "tau_epochs": pytest.approx(6.4),
            "tau_trainings": pytest.approx(1.28),
            "initial_share": pytest.approx(0.4578, abs=1e-4),
            "prior_width": pytest.approx(0.1414, abs=1e-4),
            "ridge_slope": None,
            "ridge_interval": None,
            "scale_invariant": None,
            "mean_factor": 1.0,
        },
        "n_folds": 0,
        "fold_standard_error": None,
    }
    provenance = document["provenance"]
    assert (provenance["trial"], provenance["source"]) == (None, "ladder")
    assert provenance["confirmation"] == "s's/confirm"


def test_lambda_min_may_be_no_penalty_at_all(loaded: LoadedStudy) -> None:
    """λ = 0 is a choice like any other; it is at no edge of a range on a log scale."""
    confirm(loaded)
    document = build_document(loaded, "min")
    assert (document["weight_decay"], document["l2_penalty"]) == (0, 0)
    assert document["provenance"]["source"] == "zero"
    assert (document["evidence"]["edge"], document["evidence"]["mean"]) == (None, 0.962)


def test_best_of_a_confirmed_study_carries_its_mean_over_fresh_seeds(loaded: LoadedStudy) -> None:
    """Whoever wants the best trial all the same sees what its value was worth."""
    confirm(loaded)
    document = build_document(loaded, "best")
    evidence = document["evidence"]
    assert (document["provenance"]["trial"], document["weight_decay"]) == (1, 2e-4)
    assert (evidence["search_value"], evidence["mean"], evidence["n_seeds"]) == (0.97, 0.961, 5)
    assert (evidence["test_accuracy"], evidence["test_n_seeds"]) == (0.965, 1)


def test_best_trial_that_is_newer_than_the_confirmation_has_no_mean(loaded: LoadedStudy) -> None:
    """Fresh seeds of an earlier best trial say nothing of a later one."""
    confirm(loaded)
    loaded.study.add_trial(trial(0.99, 3e-4))
    evidence = build_document(loaded, "best")["evidence"]
    assert (evidence["mean"], evidence["n_seeds"], evidence["optimism"]) == (None, 0, None)


@pytest.mark.parametrize("rule", ["min", "1se"])
def test_rule_of_fresh_seeds_without_them_names_the_command(
    loaded: LoadedStudy, rule: answer.Rule
) -> None:
    """No rule is silently replaced by another."""
    with pytest.raises(NoResultError, match=rf"Rule {rule} .*`tuner confirm`"):
        build_document(loaded, rule)


def test_pinned_trial_stands_in_place_of_the_rule_visibly(loaded: LoadedStudy) -> None:
    """The document says which rule is overridden, by whom and why."""
    confirm(loaded)
    document = build_document(loaded, pin=Pin(2, "as in the paper", "a@b"))
    assert (document["rule"], document["weight_decay"]) == ("1se", 1e-4)
    assert document["pinned"] == {"trial": 2, "reason": "as in the paper", "by": "a@b"}
    assert (document["evidence"]["search_value"], document["evidence"]["mean"]) == (0.95, None)
    assert document["evidence"]["test_accuracy"] is None


def test_pin_of_a_trial_that_is_not_there_or_not_complete_is_refused(loaded: LoadedStudy) -> None:
    """Only a complete trial has a value to stand for it."""
    loaded.study.ask()
    for number, problem in ((3, "is RUNNING"), (9, "has no trial 9")):
        with pytest.raises(UsageError, match=problem):
            build_document(loaded, pin=Pin(number, None, "a@b"))


def test_published_schema_is_that_of_the_document() -> None:
    """The kept file is what the types say."""
    command = (
        "python -c 'from tuner.answer.document import schema_text; print(schema_text(), end=\"\")'"
        " > tuner/answer/best.schema.json"
    )
    assert export.SCHEMA_FILE.read_text() == answer.schema_text(), f"run: {command}"


def test_documents_are_what_the_schema_says(loaded: LoadedStudy) -> None:
    """Before and after confirmation, by each rule, and pinned."""
    _validate(build_document(loaded))
    confirm(loaded)
    for rule in ("best", "min", "1se"):
        _validate(build_document(loaded, rule))
    _validate(build_document(loaded, pin=Pin(0, None, "a@b")))


def test_document_of_a_function_is_what_the_schema_says(sqlite_url: str) -> None:
    """What a function keeps to itself is null; so is a value that no JSON can hold."""
    options = {"objective": "tests.tuner.test_export_rules:objective", "direction": "minimize"}
    loaded = create_or_resume(create_storage(sqlite_url), "f", options, n_trials=1)
    loaded.study.optimize(objective, n_trials=1)
    document = build_document(loaded)
    _validate(document)
    assert document["params"] == {"a b": 1.0}
    assert (document["weight_decay"], document["evidence"]["search_value"]) == (None, None)
    assert document["meaning"]["optimizer"] is None


def objective(trial: Any) -> float:
    """Return what no JSON can hold."""
    trial.set_user_attr("worker", "host:1")
    trial.suggest_float("a b", 1.0, 1.0)
    return float("inf")


@pytest.mark.parametrize(
    "change", [{"weight_decay": -1}, {"rule": "median"}, {"evidence": {}}, {"schema": "other"}]
)
def test_schema_refuses_what_is_no_answer(loaded: LoadedStudy, change: dict[str, Any]) -> None:
    """The schema says more than that there is an object."""
    with pytest.raises(jsonschema.ValidationError):
        _validate({**build_document(loaded), **change})


def test_schema_file_is_part_of_the_package() -> None:
    """It lies beside the modules, which the wheel takes whole."""
    assert export.SCHEMA_FILE.parent == Path(export.__file__).parent
