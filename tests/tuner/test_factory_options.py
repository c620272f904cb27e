"""`--objective-option`: what the function takes that makes a problem is kept with its study."""

import json
from pathlib import Path
from typing import Any

import pytest

from storage import create_storage
from tests.conftest import Cli
from tuner.errors import UsageError
from tuner.factory_options import read_options, tell_options
from tuner.spec import Spec
from tuner.study import load_study

_MODULE = """
import torch
from torch import nn
from tuner import Problem

def problem(width: int, act="ReLU", scale=1.0, is_wide=False) -> Problem:
    assert isinstance(width, int) and isinstance(scale, float) and isinstance(is_wide, bool)
    inputs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    def network():
        return nn.Sequential(nn.Linear(3, width), getattr(nn, act)(), nn.Linear(width, 2))
    return Problem(network, (inputs * scale, (inputs.prod(1) > 0).long()), epochs=2)

value = problem(3)

def function(trial):
    return trial.suggest_float("x", 0, 1)
"""
_OBJECTIVE = ("--objective", "mine.py:problem")
_OPTIONS = ("--objective-option", "width=5", "--objective-option", "act=Tanh")


@pytest.fixture(autouse=True)
def _user_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(_MODULE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64", 64),
        ("1_000", 1000),
        ("-0.1", -0.1),
        ("1e-3", 1e-3),
        ("true", True),
        ("null", None),
        ('"64"', "64"),
        ("'a b'", "a b"),
        ("big.csv", "big.csv"),
        ("a=b", "a=b"),
        ("64 # wide", "64 # wide"),
        ("007", "007"),
        ("True", "True"),
        ("nan", "nan"),
        ("1e999", "1e999"),
        ("[1, 2]", "[1, 2]"),
        ("2026-11-27", "2026-11-27"),
    ],
)
def test_value_is_a_scalar_or_else_a_text(text: str, value: Any) -> None:
    """Of JSON or TOML; and told as it is read."""
    found = read_options([f"x={text}"])
    assert json.dumps(found) == json.dumps({"x": value})
    assert read_options([tell_options(found)]) == found


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["width"], "'width': write NAME=VALUE"),
        (["width="], "'width=': write NAME=VALUE"),
        (["two words=3"], "write NAME=VALUE"),
        (["width=3", "width=3"], "width is given twice"),
    ],
)
def test_text_that_is_no_option_is_refused(texts: list[str], said: str) -> None:
    """With the text itself."""
    with pytest.raises(UsageError, match=said):
        read_options(texts)


def test_study_without_options_is_stored_as_before() -> None:
    """Older workers know no such field, and a spec keeps its hash."""
    assert "objective_options" not in Spec().model_dump()
    assert Spec(objective="m:f", objective_options={}) == Spec(objective="m:f")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((*_OBJECTIVE, "--objective-option", "widht=5"), "did you mean 'width'?"),
        (_OBJECTIVE, "problem() needs --objective-option width=VALUE"),
        ((*_OBJECTIVE, "--objective-option", "width"), "'width': write NAME=VALUE"),
        (("--objective", "mine.py:value", *_OPTIONS), "is a problem already"),
        (("--objective", "mine.py:function", *_OPTIONS), "is a function of a trial, which takes"),
        (_OPTIONS, "--objective-option has no effect on simplenet"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_stored(
    fork: Cli, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Exit status 2, one line, no database."""
    result = fork("run", *arguments, "--trials", "2")
    assert result.returncode == 2
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("*.db"))


def test_study_keeps_its_options_from_search_to_replay(
    fork: Cli, tmp_path: Path, sqlite_url: str
) -> None:
    """A study file gives them with their types; search, confirmation, replay and answer use them;
    none resume it, others are refused.
    """
    (tmp_path / "study.toml").write_text(
        'objective = "mine.py:problem"\nstudy = "s"\npruner = "none"\nseeds = 2\ntrials = 3\n'
        f'storage = "{sqlite_url}"\n'
        '[objective_options]\nwidth = 5\nact = "Tanh"\nscale = 2.0\nis_wide = true\n'
    )
    config = ("--config", "study.toml")
    ran = fork("run", *config)
    assert ran.returncode == 0, ran.stderr
    options = {"width": 5, "act": "Tanh", "scale": 2.0, "is_wide": True}
    for name in ("s", "s/confirm"):
        spec = load_study(create_storage(sqlite_url), name).spec
        assert spec.objective_options == options
        assert "Tanh()" in str(spec.facts.recipe)
    meaning = json.loads((tmp_path / "best_lambda.json").read_text())["meaning"]
    assert meaning["objective_options"] == options
    where = ("--storage", sqlite_url, "--study", "s")
    replayed = json.loads(fork("train", *where, "--trial", "1", "--json").stdout)
    assert [each["validation_accuracy"] for each in replayed] == pytest.approx(
        [each["recorded"] for each in replayed], abs=1e-4
    )
    assert fork("run", *where, "--trials", "4", "--no-confirm").returncode == 0
    assert fork("run", *config, "--trials", "5", "--no-confirm").returncode == 0
    other = fork("run", *where, "--objective-option", "width=7")
    assert other.returncode == 2
    assert (
        "Study 's' was created with objective_options width=5, act=Tanh, scale=2.0, is_wide=true, "
        "not width=7: leave the option out to resume it" in other.stderr
    )


def test_problem_is_trained_once_with_its_options(fork: Cli) -> None:
    """Outside of any search; the variable gives them, too."""
    given = ("--weight-decay", "1e-4", "--lr", "0.1", "--json")
    ran = fork("train", *_OBJECTIVE, *given, TUNER_OBJECTIVE_OPTIONS="width=5 act=Tanh")
    assert ran.returncode == 0, ran.stderr
    assert len(json.loads(ran.stdout)) == 2
