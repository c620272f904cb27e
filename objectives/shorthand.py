"""A problem's search space as Optuna writes distributions as JSON; Optuna is not imported."""

import difflib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from objectives.errors import ProblemError
from objectives.penalties import BOUNDS, explain_fault
from objectives.problem import Problem

# What training itself takes; whatever else a space names is the model's.
TRAINING_NAMES = ("lr", "momentum", *BOUNDS)
_BOUNDS = {**BOUNDS, "lr": (0.0, math.inf), "momentum": (0.0, 1.0)}
_BY_MAGNITUDE = tuple(name for name, (_, high) in _BOUNDS.items() if high == math.inf)
_RANGES = {
    "weight_decay": {"sgd": (1e-5, 1e-2), "adam": (1e-5, 1e-2), "adamw": (1e-4, 1.0)},
    "lr": {"sgd": (1e-3, 1.0), "adam": (1e-4, 1e-1), "adamw": (1e-4, 1e-1)},
}

Space = dict[str, dict[str, Any]]


def find_space(problem: Problem, given: Mapping[str, Any]) -> Space:
    """Return what is searched, by name; ``given`` has precedence over the problem's own.

    Raises ProblemError for a name that nobody takes, and for a range that is none.
    """
    stated = {**problem.space, **given}
    if problem.strength in problem.penalties and problem.strength not in given:
        raise ProblemError(
            f"penalties: {problem.strength} is the strength that is asked about: give it a range "
            "in space, or name another strength"
        )
    asked = [problem.strength, *([] if problem.companion is None else [problem.companion])]
    for name in asked:
        if name not in stated and name in _RANGES:
            stated[name] = _RANGES[name][problem.optimizer]
        elif name not in stated:
            raise ProblemError(f"strength or companion {name!r} is not in the space: add its range")
    _check_names(problem.model, stated)
    fault = explain_fault({**problem.penalties, **stated}, is_proximal=problem.proximal)
    if fault is not None:
        raise ProblemError(fault)
    return {name: read_range(name, stated[name]) for name in sorted(stated, key=_rank(asked))}


def model_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a trial's parameters that are the model's arguments."""
    return {name: value for name, value in params.items() if name not in TRAINING_NAMES}


def middle(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return one point of a space, to try a problem with."""
    return {name: _middle_of(**each) for name, each in space.items()}


def _rank(asked: Sequence[str]) -> Callable[[str], int]:
    """Sort those that are asked about first, the others as they were written."""
    return lambda name: asked.index(name) if name in asked else len(asked)


def _check_names(model: Callable[..., Any], names: Mapping[str, Any]) -> None:
    taken = _keywords(model)
    if taken is None:
        return
    if both := [name for name in names if name in taken and name in TRAINING_NAMES]:
        raise ProblemError(
            f"space names {both[0]!r}, which is the training's: give the model's argument another "
            "name"
        )
    known = [*TRAINING_NAMES, *taken]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ProblemError(f"space names {name!r}, which the model does not take: {hint}")


def _keywords(model: Callable[..., Any]) -> list[str] | None:
    """Return the names of a function's arguments; None if it takes any."""
    try:
        parameters = inspect.signature(model).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(each.kind == each.VAR_KEYWORD for each in parameters):
        return None
    return [
        each.name
        for each in parameters
        if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]


def read_range(name: str, stated: Any) -> dict[str, Any]:
    """Return a distribution that a space states: Optuna's own, a tuple, or choices as a list.

    Raises ProblemError for what is none, and for one with values that the name cannot have.
    """
    found = _read_range(name, stated)
    attributes = found["attributes"]
    values = attributes.get("choices") or (attributes["low"], attributes["high"])
    low, high = _BOUNDS.get(name, (-math.inf, math.inf))
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if name in _BOUNDS and not (is_number and low <= value <= high):
            allowed = "0 or more" if high == math.inf else f"{low:g} to {high:g}"
            raise ProblemError(f"space {name!r}: {value!r} is outside of what it takes, {allowed}")
    return found


def _read_range(name: str, stated: Any) -> dict[str, Any]:
    match stated:
        case list():
            return _check_choices(name, stated)
        case (low, high) | (low, high, _) if isinstance(stated, tuple):
            log = len(stated) == 3 or (name in _BY_MAGNITUDE and low > 0)
            if len(stated) == 3 and stated[2] != "log":
                raise ProblemError(f"space {name!r}: the third of {stated!r} can only be 'log'")
            return _range(name, low, high, log=log)
    if hasattr(stated, "_asdict"):
        return {"name": type(stated).__name__, "attributes": dict(stated._asdict())}
    raise ProblemError(
        f"space {name!r}: {stated!r} is no distribution, (low, high), or list of choices"
    )


def _check_choices(name: str, choices: list[Any]) -> dict[str, Any]:
    odd = [c for c in choices if c is not None and not isinstance(c, bool | int | float | str)]
    if odd or not choices:
        what = f"{odd[0]!r} cannot be stored" if odd else "there is none"
        raise ProblemError(f"space {name!r}: choices are numbers, texts, True, False, None; {what}")
    return {"name": "CategoricalDistribution", "attributes": {"choices": choices}}


def _range(name: str, low: Any, high: Any, *, log: bool) -> dict[str, Any]:
    numbers = all(
        isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each)
        for each in (low, high)
    )
    if not numbers or low > high or (log and low <= 0):
        needs = "0 < low <= high for a logarithmic one" if log else "low <= high, both finite"
        raise ProblemError(f"space {name!r}: ({low!r}, {high!r}) is no range; it needs {needs}")
    if isinstance(low, int) and isinstance(high, int) and name not in TRAINING_NAMES:
        attributes = {"log": log, "step": 1, "low": low, "high": high}
        return {"name": "IntDistribution", "attributes": attributes}
    bounds = {"low": float(low), "high": float(high)}
    return {"name": "FloatDistribution", "attributes": {"step": None, **bounds, "log": log}}


def _middle_of(name: str, attributes: Mapping[str, Any]) -> Any:
    if name == "CategoricalDistribution":
        return attributes["choices"][0]
    low, high = attributes["low"], attributes["high"]
    value = math.sqrt(low * high) if attributes["log"] else (low + high) / 2
    return int(value) if name == "IntDistribution" else value
