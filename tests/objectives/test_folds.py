"""Folds: each example validates once, and a trial is the mean over trainings that are apart."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from sklearn.model_selection import GroupKFold

from objectives import ProblemError, UnfitStateError
from objectives.data import TensorPart
from objectives.folds import FoldedLanes
from objectives.gradients import OneByOne, Stacked
from objectives.parts import read_parts
from objectives.problem import Problem
from objectives.problem_lanes import ProblemLanes, open_problem_lanes
from objectives.program_choice import Choice
from objectives.ready import Ready, make_ready
from tests.objectives.test_problem import CLASSES, CONFIG, EPOCHS, INPUTS, PROBLEM, TRIALS, N

FOLDED = replace(PROBLEM, folds=4, metric="accuracy")
# An example is known by its own number.
NUMBERS = torch.arange(N, dtype=torch.float32).unsqueeze(1)


def _numbers(part: Any) -> list[int]:
    assert isinstance(part, TensorPart)
    return sorted(int(each) for each in part.tree[0][:, 0])


def _folds(problem: Problem) -> list[Ready]:
    metric = open_problem_lanes(replace(problem, folds=None), CONFIG, 1)._ready.metric  # type: ignore[union-attr]
    return [replace(each, metric=metric) for each in make_ready(problem, CONFIG)]


def test_each_example_that_is_not_tested_validates_once() -> None:
    """Whatever is divided: shares of data, or training and validation parts that are given."""
    whole = replace(PROBLEM, data=(NUMBERS, CLASSES), folds=4)
    given = replace(
        whole,
        data=None,
        train=(NUMBERS[:100], CLASSES[:100]),
        validation=(NUMBERS[100:], CLASSES[100:]),
    )
    for problem, n_test in ((whole, 15), (given, 0)):
        folds = read_parts(problem, seed=1)
        assert len(folds) == 4
        tested = [] if folds[0].test is None else _numbers(folds[0].test)
        assert len(tested) == n_test
        validated = sorted(n for each in folds for n in _numbers(each.validation))
        assert sorted([*validated, *tested]) == list(range(N))
        for each in folds:
            assert not set(_numbers(each.train)) & set(_numbers(each.validation))
            assert len(_numbers(each.train)) + len(_numbers(each.validation)) == N - n_test
    again, other = (read_parts(whole, seed)[2].train.digest() for seed in (1, 2))
    assert again == read_parts(whole, seed=1)[2].train.digest() != other


def test_groups_are_kept_together_in_each_fold() -> None:
    """By scikit-learn's splitter, all of whose divisions are folds."""
    groups = [n // 10 for n in range(N)]
    problem = replace(
        PROBLEM,
        data=None,
        train=(NUMBERS, CLASSES),
        folds=3,
        splitter=GroupKFold(3),
        groups=groups,
    )
    for each in read_parts(problem, seed=0):
        sides = [{n // 10 for n in _numbers(part)} for part in (each.train, each.validation)]
        assert not sides[0] & sides[1]


@pytest.mark.parametrize("program", [OneByOne, Stacked])
def test_trial_is_the_mean_over_trainings_that_are_apart(program: Any) -> None:
    """Each with batches, weights and validation part of its own."""
    readies = _folds(FOLDED)
    together = FoldedLanes([ProblemLanes(each, Choice(program, 2)) for each in readies])
    alone = [[ProblemLanes(each, Choice(OneByOne, 1)) for each in readies] for _ in TRIALS]
    for number, params in enumerate(TRIALS):
        together.add(number, params)
        for lanes in alone[number]:
            lanes.add(number, params)
    for _ in range(EPOCHS):
        results = together.train_pass()
        for number in range(len(TRIALS)):
            values = [lanes.train_pass()[number] for lanes in alone[number]]
            assert results[number].by_fold == pytest.approx([each.value for each in values])
            assert results[number].value == pytest.approx(sum(each.value for each in values) / 4)
            assert results[number].loss == pytest.approx(
                sum(each.loss for each in values) / 4, rel=1e-4
            )
    tested = [lanes.test_value(0) for lanes in alone[0]]
    assert together.test_value(0) == pytest.approx(sum(tested) / 4)
    assert len(set(tested)) > 1


def test_trial_on_folds_goes_on_from_a_checkpoint() -> None:
    """Of all its models; one of another number of folds does not fit."""

    def new() -> FoldedLanes:
        lanes = open_problem_lanes(FOLDED, CONFIG, 2)
        assert isinstance(lanes, FoldedLanes)
        return lanes

    whole, resumed = new(), new()
    whole.add(0, TRIALS[0])
    whole.train_pass()
    state = whole.state(0)
    resumed.go_to_pass(1)
    resumed.add(0, TRIALS[0], 1, state)
    assert resumed.train_pass() == whole.train_pass()
    with pytest.raises(UnfitStateError, match="a state of 1 folds, not of 4"):
        new().add(0, TRIALS[0], 1, {"fold 0": state["fold 0"]})


_BAD: list[tuple[dict[str, Any], str]] = [
    ({"folds": N + 1}, f"folds={N + 1}: there are 135 examples"),
    ({"folds": 3, "splitter": GroupKFold(5), "groups": list(range(N))}, "splitter gives 5"),
    ({"data": None, "train": lambda: [(INPUTS, CLASSES)], "folds": 3}, "give train, validation"),
]


@pytest.mark.parametrize(("fields", "words"), _BAD)
def test_what_cannot_be_folded_is_told_in_one_line(fields: dict[str, Any], words: str) -> None:
    """With the value and the remedy."""
    with pytest.raises(ProblemError, match=words):
        read_parts(replace(PROBLEM, **fields), seed=0)


def test_one_fold_is_none() -> None:
    """There is nothing left to validate with."""
    with pytest.raises(ValueError, match="folds=1: give 2 or more"):
        replace(PROBLEM, folds=1)
