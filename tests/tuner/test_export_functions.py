"""Of a user's function nothing is known, so its answer claims nothing, and leaves nothing out."""

import json
from typing import Any

import jsonschema
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import create_trial

from storage import create_storage
from tests.tuner.answers import confirm
from tuner.answer.document import build_document
from tuner.answer.export import SCHEMA_FILE, render
from tuner.confirmation.values import make_candidate
from tuner.errors import NoResultError
from tuner.study import LoadedStudy, create_or_resume

SPACE: dict[str, Any] = {
    "weight_decay": FloatDistribution(1e-5, 1e-2, log=True),
    "lr": FloatDistribution(1e-3, 1, log=True),
    "width": IntDistribution(8, 64),
    "act": CategoricalDistribution(["relu", "tanh"]),
}


def objective(_trial: Any) -> float:
    """Is named in the spec, and never called."""
    return 0.0


@pytest.fixture
def loaded(sqlite_url: str) -> LoadedStudy:
    """Return a study of a function, without trials."""
    options = {"objective": "tests.tuner.test_export_functions:objective"}
    return create_or_resume(create_storage(sqlite_url), "s", options, n_trials=3)


def _add(loaded: LoadedStudy, value: float, space: Any = None, **params: Any) -> None:
    given = {"weight_decay": 2e-4, "lr": 0.1, "width": 32, "act": "tanh", **params}
    space = {name: (space or SPACE)[name] for name in given if name in (space or SPACE)}
    given = {name: given[name] for name in space}
    ours = {"worker": "host:1"}
    loaded.study.add_trial(
        create_trial(value=value, params=given, distributions=space, user_attrs=ours)
    )


def _build(loaded: LoadedStudy, rule: Any = None) -> dict[str, Any]:
    """Return the document, which is what the schema says."""
    document = build_document(loaded, rule)
    jsonschema.validate(document, json.loads(SCHEMA_FILE.read_text()))
    return document


def test_weight_decay_of_a_function_is_no_textbook_penalty(loaded: LoadedStudy) -> None:
    """Whether its half multiplies a squared norm only the function knows; forms leave it out."""
    _add(loaded, 0.9)
    document = _build(loaded)
    assert (document["weight_decay"], document["l2_penalty"], document["lr"]) == (2e-4, None, 0.1)
    assert document["params"] == {"weight_decay": 2e-4, "lr": 0.1, "width": 32, "act": "tanh"}
    assert "L2_PENALTY = None\n" in render(document, "python")
    assert not any("l2_penalty" in render(document, form).lower() for form in ("toml", "env"))


@pytest.mark.parametrize("rule", ["min", "1se"])
def test_params_are_all_that_were_confirmed(loaded: LoadedStudy, rule: Any) -> None:
    """Fresh seeds trained complete configurations: all of it is in the answer."""
    for width in (8, 32):
        _add(loaded, 0.9 + width / 1000, width=width)
    confirmation = confirm(loaded, test={})
    own = {"min": (0.0, 0.3), "1se": (1e-3, 0.2)}[rule]
    params = {"width": 32, "act": "tanh", "weight_decay": own[0], "lr": own[1]}
    rungs = [
        rung.model_copy(
            update={"candidate": make_candidate(rung.candidate.strength, params, "zero")}
        )
        for rung in confirmation.rungs
    ]
    confirm(loaded, test={}, rungs=tuple(rungs))
    document = _build(loaded, rule)
    assert document["params"] == params
    assert (document["weight_decay"], document["lr"]) == own


def test_confirmation_of_before_takes_the_other_parameters_from_its_trial(
    loaded: LoadedStudy,
) -> None:
    """It did not keep them; where the trial is gone, the line says how to get an answer."""
    for width in (8, 32):
        _add(loaded, 0.9 + width / 1000, width=width)
    confirm(loaded, test={}, lacks_others=True)
    assert _build(loaded, "min")["params"]["width"] == 32
    confirm(loaded, test={}, lacks_others=True, search_trial=7)
    with pytest.raises(NoResultError, match=r"has no trial 7: .*run `tuner confirm` again"):
        build_document(loaded, "min")


@pytest.mark.parametrize(
    ("distribution", "value", "range_", "edge"),
    [
        (FloatDistribution(1e-5, 1e-2, log=True), 1.1e-5, [1e-5, 1e-2], "low"),
        (FloatDistribution(1e-5, 1e-2, log=True), 9e-3, [1e-5, 1e-2], "high"),
        (FloatDistribution(1e-5, 1e-2, log=True), 1e-3, [1e-5, 1e-2], None),
        (FloatDistribution(0, 0.1), 0.001, [0, 0.1], None),  # nothing lies below it
        (FloatDistribution(0, 0.1), 0.0, [0, 0.1], None),
        (FloatDistribution(0, 0.1), 0.099, [0, 0.1], "high"),
        (FloatDistribution(0.01, 0.1), 0.011, [0.01, 0.1], "low"),
        (FloatDistribution(0.1, 0.1), 0.1, [0.1, 0.1], None),
        (IntDistribution(1, 100), 50, [1, 100], None),
        (CategoricalDistribution([1e-3, 1e-2]), 1e-3, None, None),
    ],
)
def test_range_and_edge_of_a_function_are_those_that_it_suggested(
    loaded: LoadedStudy, distribution: Any, value: float, range_: Any, edge: str | None
) -> None:
    """On the scale that was searched; a list of choices is no range."""
    _add(loaded, 0.9, {**SPACE, "weight_decay": distribution}, weight_decay=value)
    evidence = _build(loaded)["evidence"]
    assert (evidence["range"], evidence["edge"]) == (range_, edge)


def test_range_is_from_the_lowest_to_the_highest_that_trials_had(loaded: LoadedStudy) -> None:
    """A function may widen its range between two runs."""
    _add(loaded, 0.9)
    wider = FloatDistribution(1e-6, 1e-3, log=True)
    _add(loaded, 0.8, {**SPACE, "weight_decay": wider})
    assert _build(loaded)["evidence"]["range"] == [1e-6, 1e-2]


@pytest.mark.parametrize(
    ("choice", "shown"), [("none", None), (None, None), (True, None), (0, 0), (1e-3, 1e-3)], ids=str
)
def test_weight_decay_that_is_no_number_is_a_parameter_alone(
    loaded: LoadedStudy, choice: Any, shown: float | None
) -> None:
    """The convenience is null; nothing is lost, and the document is what its schema says."""
    choices = CategoricalDistribution([choice])
    _add(
        loaded,
        0.9,
        {**SPACE, "weight_decay": choices, "lr": choices},
        weight_decay=choice,
        lr=choice,
    )
    document = _build(loaded)
    assert (document["weight_decay"], document["lr"]) == (shown, shown or None)
    assert document["params"]["weight_decay"] is choice or document["params"]["lr"] == choice


def test_function_without_weight_decay_has_an_answer_too(loaded: LoadedStudy) -> None:
    """Its parameters, and nothing about a λ that it does not have."""
    _add(loaded, 0.9, {"width": SPACE["width"]})
    document = _build(loaded)
    assert (document["weight_decay"], document["l2_penalty"], document["lr"]) == (None, None, None)
    assert (document["params"], document["evidence"]["range"]) == ({"width": 32}, None)
