"""How much of a problem's data validates and tests, as a study may say it."""

import re
from typing import Any

import pytest
import torch
from sklearn.model_selection import KFold
from torch import nn

from objectives import ProblemError
from objectives.parts import read_parts
from objectives.problem import Problem
from objectives.settings import apply_settings

_DATA = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 2


def _problem(**fields: Any) -> Problem:
    return Problem(lambda: nn.Linear(3, 2), **{"data": _DATA, **fields})


@pytest.mark.parametrize(
    ("given", "sizes"),
    [
        ({}, (160, 20, 20)),
        ({"validation": 0.25}, (130, 50, 20)),
        ({"validation": 30.0, "test": 0.05}, (160, 30, 10)),
        ({"test": 0.0}, (180, 20, None)),
    ],
)
def test_share_or_number_of_a_study_is_taken_in_place_of_the_problems(
    given: dict[str, float], sizes: tuple[int, int, int | None]
) -> None:
    """Below one it is a share of all examples, else their number; 0 leaves the test part out."""
    (parts,) = read_parts(apply_settings(_problem(), given), seed=1)
    test = None if parts.test is None else parts.test.n
    assert (parts.train.n, parts.validation.n, test) == sizes


@pytest.mark.parametrize(
    ("fields", "given", "said"),
    [
        ({"validation": _DATA}, {"validation": 0.2}, "validation=0.2: the problem brings its own"),
        ({"data": None, "train": _DATA}, {"test": 0.2}, "test=0.2: the problem brings its own"),
        ({"splitter": KFold(5)}, {"validation": 0.2}, "validation=0.2: the problem's splitter"),
        ({}, {"validation": 0.2, "folds": 3}, "validation=0.2: each fold is a validation part"),
    ],
)
def test_share_without_an_effect_is_refused(
    fields: dict[str, Any], given: dict[str, Any], said: str
) -> None:
    """In one line, with the name, the value, and what decides in its place."""
    with pytest.raises(ProblemError, match=re.escape(said)):
        apply_settings(_problem(**fields), given)
