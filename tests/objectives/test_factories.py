"""A function that makes a problem is told from one of a trial, and gets its options."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from objectives.errors import ObjectiveError, UnknownNameError
from objectives.functions import LoadedProblem, load_objective

_MODULE = """
from torch import nn
from tuner import Problem

def made(**options):
    return Problem(lambda: nn.Linear(1, 1), (), fixed=options)

def annotated(width, depth=1) -> Problem:
    return made(width=width, depth=depth)

def by_text(width) -> "Problem":
    return made(width=width)

def by_name(*, width=8):
    return made(width=width)

def without_annotation(width=8):
    return made(width=width)

def by_place(width, /) -> Problem:
    return made(width=width)

def raises(width=8) -> Problem:
    raise ValueError("no such width")

def other(width=8):
    return width

def function(trial, width=8):
    return trial

value = made()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a user's folder with one file, forgotten by ``sys.path`` after the test."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "user_factories.py").write_text(_MODULE)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("annotated", {"width": 3}, {"width": 3, "depth": 1}),
        ("annotated", {"depth": 2, "width": 3}, {"width": 3, "depth": 2}),
        ("by_text", {"width": "x"}, {"width": "x"}),
        ("by_name", {}, {"width": 8}),
        ("by_name", {"width": None}, {"width": None}),
        ("without_annotation", {"width": 3}, {"width": 3}),
        ("made", {"a": 1, "b": True}, {"a": 1, "b": True}),
    ],
)
def test_factory_is_called_with_its_options(
    folder: Path, name: str, options: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """Whatever says that it is one: its annotation, what it takes, or that it misses nothing."""
    loaded = load_objective(f"user_factories.py:{name}", str(folder), options)
    assert isinstance(loaded, LoadedProblem)
    assert loaded.problem.fixed == expected


@pytest.mark.parametrize("name", ["without_annotation", "function"])
def test_function_that_takes_something_by_place_is_one_of_a_trial(folder: Path, name: str) -> None:
    """Unless options or its annotation say otherwise: so it was before there were options."""
    assert not isinstance(load_objective(f"user_factories.py:{name}", str(folder)), LoadedProblem)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("annotated", {"widht": 3}, r"annotated\(\) takes no option 'widht': did you mean 'width'"),
        ("annotated", {"x": 3}, r"takes no option 'x': it takes width, depth"),
        ("annotated", {}, r"annotated\(\) needs --objective-option width=VALUE"),
        ("without_annotation", {"widht": 3}, "did you mean 'width'"),
        ("by_place", {"width": 3}, "takes no option 'width': it takes none"),
        ("function", {"width": 3}, "is a function of a trial, which takes no --objective-option"),
        ("value", {"width": 3}, "is a problem already: leave --objective-option out"),
        ("absent", {"width": 3}, "has no function 'absent'"),
    ],
)
def test_options_that_are_not_taken_or_missing_are_told(
    folder: Path, name: str, options: Mapping[str, Any], said: str
) -> None:
    """Wrong usage, with the nearest name."""
    with pytest.raises(UnknownNameError, match=said) as raised:
        load_objective(f"user_factories.py:{name}", str(folder), options)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises", r"raises\(width=3\) raised ValueError: no such width"),
        ("other", r"other\(width=3\) takes no trial, so it makes a problem, and it returned int"),
    ],
)
def test_factory_that_makes_no_problem_says_with_which_options(
    folder: Path, name: str, said: str
) -> None:
    """In one line, and not as a misspelt name."""
    with pytest.raises(ObjectiveError, match=said) as raised:
        load_objective(f"user_factories.py:{name}", str(folder), {"width": 3})
    assert not isinstance(raised.value, UnknownNameError)
