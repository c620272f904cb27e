"""A λ that is an exponent is refused with the remedy, and no answer names it."""

import re
from typing import Any

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.distributions import IntDistribution as Ints
from optuna.trial import TrialState, create_trial

import tuner
from objectives import Facts
from storage import create_storage
from tests.conftest import Cli
from tests.tuner.histories import SPACE
from tuner.answer.best import Pin
from tuner.answer.document import build_document
from tuner.confirmation.box import make_box
from tuner.errors import NoResultError, TunerError, UsageError
from tuner.exponents import (
    find_reason_against,
    find_reason_against_range,
    find_reason_against_trial,
)
from tuner.study import LoadedStudy, create_or_resume

REMEDY = "is it an exponent? Suggest λ itself (log=True), or name the parameter otherwise"
EXPONENT = FloatDistribution(-6, -2)


def _complete(distributions: dict[str, BaseDistribution], **params: Any) -> Any:
    return create_trial(
        state=TrialState.COMPLETE,
        value=1.0,
        params=params,
        distributions=distributions,
        user_attrs={"worker": "host:1"},  # one of ours
    )


@pytest.fixture
def study(sqlite_url: str) -> LoadedStudy:
    """Return the study of a function objective, without trials."""
    options = {"objective": "tests.tuner.test_exponents:objective"}
    return create_or_resume(create_storage(sqlite_url), "s", options, n_trials=1)


def objective(trial: Any) -> float:
    """Suggest exponents, as many do."""
    trial.set_user_attr("worker", "host:1")  # as one of ours
    return float(trial.suggest_float("weight_decay", -6, -2) + trial.suggest_float("lr", -3, 0))


def test_range_below_zero_is_refused_with_the_remedy() -> None:
    """The line has the range and what to do."""
    reason = find_reason_against_range("weight_decay", -6, -2, log=False)
    assert reason == f"weight_decay was suggested in [-6, -2]: {REMEDY}"
    reason = find_reason_against_range("lr", -3.5, 0, log=False)
    assert reason is not None
    assert reason.startswith("lr was suggested in [-3.5, 0]: is it an exponent? Suggest the learn")


@pytest.mark.parametrize(
    ("choices", "is_refused"),
    [([-6, -5, -4.5], True), ([0, 1e-4, 1e-3], False), (["none", None, True], False)],
)
def test_choices_below_zero_are_refused_with_the_remedy(
    choices: list[Any], *, is_refused: bool
) -> None:
    """As ranges are, before anything is trained."""
    reason = find_reason_against("weight_decay", CategoricalDistribution(choices))
    assert (reason is not None) == is_refused
    assert not is_refused or str(reason).startswith("weight_decay was suggested in [-6, -4.5]: ")


@pytest.mark.parametrize(
    ("name", "low", "high", "log"),
    [
        ("weight_decay", 0, 0.1, False),
        ("weight_decay", 1e-6, 1, True),
        ("lr", 1e-6, 1, True),
        ("log_weight_decay", -6, -2, False),
        ("x", -1, 1, False),
    ],
)
def test_range_that_may_be_one_of_its_name_is_taken(
    name: str,
    low: float,
    high: float,
    log: bool,  # noqa: FBT001
) -> None:
    """From 0 on; and what is named otherwise is nobody's λ."""
    assert find_reason_against_range(name, low, high, log) is None


@pytest.mark.parametrize(
    ("distribution", "value", "told"),
    [
        (EXPONENT, -3.4, "weight_decay is -3.4 in trial -1"),
        (FloatDistribution(-6, 2), 1.0, "weight_decay was suggested in [-6, 2]"),
        (Ints(-6, -2), -4, "weight_decay is -4 in trial -1"),
        (CategoricalDistribution([-4, -3]), -4, "weight_decay is -4 in trial -1"),
    ],
    ids=["value", "range", "whole number", "choice"],
)
def test_trial_with_an_exponent_is_no_answer(
    study: LoadedStudy, distribution: BaseDistribution, value: float, told: str
) -> None:
    """Neither of the rule nor pinned; the line says in which trial, and what to do."""
    trial = _complete({"weight_decay": distribution}, weight_decay=value)
    reason = find_reason_against_trial(trial)
    assert reason == f"{told}: {REMEDY}"
    study.study.add_trial(trial)
    for pin in (None, Pin(0, None, "a@b")):
        with pytest.raises(NoResultError, match=re.escape(REMEDY)):
            build_document(study, pin=pin)


def test_export_and_load_best_of_an_exponent_are_refused(
    study: LoadedStudy, sqlite_url: str, call: Cli
) -> None:
    """No form of the document is printed, and none is loaded."""
    study.study.optimize(objective, n_trials=3)
    for form in ("json", "toml", "env", "python"):
        result = call("export", "--study", "s", "--format", form, TUNER_STORAGE=sqlite_url)
        assert (result.returncode, result.stdout) == (1, "")
        assert REMEDY in result.stderr
    with pytest.raises(TunerError, match=re.escape(REMEDY)):
        tuner.load_best(sqlite_url)


@pytest.mark.parametrize(
    ("space", "params", "told"),
    [
        ({**SPACE, "weight_decay": EXPONENT}, (-3.0, 0.1), "in [-6, -2]: is it"),
        ({**SPACE, "weight_decay": FloatDistribution(-6, 2)}, (1.0, 0.1), "in [-6, 2]: is it"),
        (
            {**SPACE, "lr": FloatDistribution(-3, 0)},
            (1e-3, -1.0),
            "lr was suggested in [-3, 0]: is it",
        ),
    ],
    ids=["exponent", "exponent above 0", "exponent of lr"],
)
def test_confirmation_of_an_exponent_is_refused_in_one_line(
    space: dict[str, BaseDistribution], params: tuple[float, float], told: str
) -> None:
    """With the range or the value as it was suggested, before anything is trained."""
    trial = _complete(space, weight_decay=params[0], lr=params[1])
    with pytest.raises(UsageError, match=re.escape(told)):
        make_box([trial], Facts())


def test_confirm_names_the_real_range(study: LoadedStudy, sqlite_url: str, call: Cli) -> None:
    """`tuner confirm` ends with status 2 and has made no study."""
    study.study.optimize(objective, n_trials=3)
    result = call("confirm", "--study", "s", TUNER_STORAGE=sqlite_url)
    assert (result.returncode, result.stdout) == (2, "")
    assert f"weight_decay was suggested in [-6, -2]: {REMEDY}" in result.stderr
    assert len(study.storage.get_all_studies()) == 1
