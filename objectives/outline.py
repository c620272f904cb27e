"""What is known of a built-in problem without making it: from its names, no torch and no data."""

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from objectives.catalog import DATASETS, OBJECTIVES
from objectives.coefficients import WITH_ZERO
from objectives.errors import ProblemError
from objectives.facts import DataFacts, Facts
from objectives.problem import Problem
from objectives.settings import apply_settings
from objectives.shorthand import ends, find_space
from objectives.telling import tell_recipe


def check_names(objective: str, dataset: str) -> None:
    """Raise ValueError for a model or data set that there is not, or that do not go together."""
    models = f"choose {', '.join(OBJECTIVES)} or package.module:function"
    _check_known("objective", objective, OBJECTIVES, models)
    _check_known("data set", dataset, DATASETS, f"choose one of {', '.join(DATASETS)}")
    if OBJECTIVES[objective].needs_images and DATASETS[dataset].shape is None:
        those = ", ".join(name for name, facts in DATASETS.items() if facts.shape is not None)
        raise ValueError(
            f"--objective {objective}: it reads images, and --dataset {dataset} has none: choose "
            f"{those}, or simplenet or linear"
        )


def _check_known(what: str, name: str, known: Collection[str], choose: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else choose
        raise ValueError(f"unknown {what} {name!r}: {hint}")


def outline(
    objective: str, dataset: str, given: Mapping[str, Any], *, n_train: int | None = None
) -> Facts:
    """Return what is known of a built-in problem, with what was given as ``apply_settings`` takes.

    Raises ProblemError for what does not go together.
    """
    model, data = OBJECTIVES[objective], DATASETS[dataset]
    loss = "cross-entropy" if data.n_classes else "mean squared error"
    problem = apply_settings(Problem(_unused, ()), given)
    space = find_space(problem, model.arguments)
    n_train, n_validation = n_train or data.n_train, data.n_validation
    if problem.folds is not None:  # the first is among the largest
        n_all = n_train + n_validation
        n_validation = -(-n_all // problem.folds)
        n_train = n_all - n_validation
    _check(problem, space, data.n_classes, n_train)
    return Facts(
        metric=data.metric,
        space=space,
        strength=problem.strength,
        companion=None if problem.companion in problem.fixed else problem.companion,
        with_zero=problem.strength in WITH_ZERO,
        can_train_again=True,
        recipe=tell_recipe(problem, space, objective, model.text, loss),
        data=DataFacts(n_train, n_validation, data.n_test, data.sha256),
    )


def _check(problem: Problem, space: Mapping[str, Any], n_classes: int, n_train: int) -> None:
    if not n_classes and "label_smoothing" in {**problem.fixed, **space}:
        raise ProblemError("label_smoothing: the targets are numbers, not classes: leave it out")
    if "batch_size" in space:
        size = max(ends(space["batch_size"]))
        if size > n_train:
            raise ProblemError(f"batch_size={size}: there are {n_train} training examples")


def _unused(**arguments: Any) -> Any:
    raise AssertionError(f"an outline makes no model: {arguments}")
