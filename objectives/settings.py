"""What a study says of a problem's training, in place of what the problem says itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from objectives.errors import ProblemError
from objectives.problem import Problem, is_share

# Fields of a problem that a study may set, by option, API and study file.
SETTINGS = (
    *("strength", "optimizer", "nesterov", "schedule", "decay", "decays", "proximal"),
    *("clip_norm", "patience", "folds", "validation", "test"),
)


def apply_settings(problem: Problem, given: Mapping[str, Any]) -> Problem:
    """Return a problem with what was given in place of its own: settings, ``search`` and ``fixed``.

    What is searched is not fixed any more, and what is fixed not searched. Raises ProblemError.
    """
    _check_shares(problem, given)
    fields = {name: given[name] for name in SETTINGS if given.get(name) is not None}
    search, fixed = given.get("search") or {}, given.get("fixed") or {}
    if both := search.keys() & fixed.keys():
        raise ProblemError(f"{min(both)} is fixed and searched: give it a value or a range")
    space = {**problem.space, **search}
    own = {**problem.fixed, **fixed}
    try:
        return replace(
            problem,
            space={name: each for name, each in space.items() if name not in fixed},
            fixed={name: value for name, value in own.items() if name not in search},
            **fields,
        )
    except ValueError as error:
        raise ProblemError(str(error)) from error


def _check_shares(problem: Problem, given: Mapping[str, Any]) -> None:
    """Refuse a share of data that would have no effect, or hide a part."""
    for name in ("validation", "test"):
        if given.get(name) is None:
            continue
        if problem.splitter is not None:
            reason = "the problem's splitter decides"
        elif name == "validation" and (given.get("folds") or problem.folds):
            reason = "each fold is a validation part"
        elif not is_share(getattr(problem, name)) or (name == "test" and problem.data is None):
            reason = "the problem brings its own parts"
        else:
            continue
        raise ProblemError(f"{name}={given[name]:g}: {reason}; leave it out")
