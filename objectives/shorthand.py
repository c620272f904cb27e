"""A problem's search space as Optuna writes distributions as JSON; Optuna is not imported."""

import difflib
import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from objectives.coefficients import BY_MAGNITUDE, TRAINING_NAMES, takes, tell_bounds
from objectives.errors import ProblemError
from objectives.penalties import explain_fault
from objectives.problem import Optimizer, Problem

# What one kind of optimizer takes, and not the other.
_OF_SGD, _OF_ADAM = ("momentum",), ("beta1", "beta2")
# The range of a strength or companion that has none of its own, by optimizer.
_RANGES = {
    "weight_decay": {"sgd": (1e-5, 1e-2), "adam": (1e-5, 1e-2), "adamw": (1e-4, 1.0)},
    "lr": {"sgd": (1e-3, 1.0), "adam": (1e-4, 1e-1), "adamw": (1e-4, 1e-1)},
    "l2_penalty": {"sgd": (5e-6, 5e-3)},
    "l1": {"sgd": (1e-6, 1e-2)},
    "alpha": {"sgd": (1e-6, 1e-2)},
    "label_smoothing": {"sgd": (1e-3, 0.5)},
}

Space = dict[str, dict[str, Any]]


def find_space(problem: Problem, taken: Collection[str] | None) -> Space:
    """Return what is searched, by name; ``taken`` are the model's arguments, None if it takes any.

    Raises ProblemError for a name that nobody takes, and for a range that is none.
    """
    stated = dict(problem.space)
    asked = [problem.strength, *([] if problem.companion is None else [problem.companion])]
    if problem.strength in problem.fixed:
        raise ProblemError(
            f"fixed: {problem.strength} is the strength that is asked about: give it a range, or "
            "name another strength"
        )
    for name in asked:
        if name not in stated and name not in problem.fixed:
            stated[name] = find_default(name, problem.optimizer)
    given = {**problem.fixed, **stated}
    if taken is not None:
        _check_names(taken, given)
    _check_optimizer(problem, given)
    if (fault := explain_fault(given, is_proximal=problem.proximal)) is not None:
        raise ProblemError(fault)
    return {name: read_range(name, stated[name]) for name in sorted(stated, key=_rank(asked))}


def find_default(name: str, optimizer: Optimizer) -> tuple[float, float]:
    """Return the range of a strength or companion that none was given for, or ProblemError."""
    ranges = _RANGES.get(name)
    if ranges is None:
        raise ProblemError(f"strength or companion {name!r} is not in the space: add its range")
    return ranges.get(optimizer, ranges["sgd"])


def model_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a trial's parameters that are the model's arguments."""
    return {name: value for name, value in params.items() if name not in TRAINING_NAMES}


def middle(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return one point of a space, to try a problem with."""
    return {name: _middle_of(**each) for name, each in space.items()}


def ends(distribution: Mapping[str, Any]) -> list[Any]:
    """Return what stands for all that is searched of a parameter: both ends, or the choices."""
    attributes = distribution["attributes"]
    return list(attributes.get("choices") or (attributes["low"], attributes["high"]))


def _rank(asked: Sequence[str]) -> Callable[[str], int]:
    """Sort those that are asked about first, the others as they were written."""
    return lambda name: asked.index(name) if name in asked else len(asked)


def _check_names(taken: Collection[str], names: Mapping[str, Any]) -> None:
    known = [*TRAINING_NAMES, *taken]
    for name in names:
        if name in taken and name in TRAINING_NAMES:
            raise ProblemError(
                f"space names {name!r}, which is the training's: give the model's argument another "
                "name"
            )
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ProblemError(f"space names {name!r}, which the model does not take: {hint}")


def _check_optimizer(problem: Problem, names: Mapping[str, Any]) -> None:
    is_sgd = problem.optimizer == "sgd"
    for name in _OF_ADAM if is_sgd else _OF_SGD:
        if name in names:
            takes = " and ".join(_OF_SGD if is_sgd else _OF_ADAM)
            raise ProblemError(
                f"space names {name!r}, which {problem.optimizer} does not take: it takes {takes}"
            )
    if problem.nesterov and not (is_sgd and (problem.momentum or "momentum" in names)):
        raise ProblemError("nesterov=True: it is of sgd with momentum: give one, or leave it out")


def find_arguments(model: Callable[..., Any]) -> list[str] | None:
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
    for value in ends(found):
        if not takes(name, value):
            raise ProblemError(
                f"space {name!r}: {value!r} is outside of what it takes: {tell_bounds(name)}"
            )
    return found


def _read_range(name: str, stated: Any) -> dict[str, Any]:
    match stated:
        case list():
            return _check_choices(name, stated)
        case (low, high) | (low, high, _) if isinstance(stated, tuple):
            log = len(stated) == 3 or (name in BY_MAGNITUDE and low > 0)
            if len(stated) == 3 and stated[2] != "log":
                raise ProblemError(f"space {name!r}: the third of {stated!r} can only be 'log'")
            return _range(name, low, high, log=log)
        case {"name": "CategoricalDistribution", "attributes": {"choices": list(choices)}}:
            return _check_choices(name, choices)
        case {
            "name": "FloatDistribution" | "IntDistribution" as kind,
            "attributes": {"low": low, "high": high, "log": bool(log), "step": step},
        }:
            _check_bounds(name, low, high, log=log)
            kinds = int if kind.startswith("Int") else int | float
            if not (step is None or (isinstance(step, kinds) and step > 0)):
                raise ProblemError(f"space {name!r}: step {step!r} is no positive number")
            return {
                "name": kind,
                "attributes": {"step": step, "low": low, "high": high, "log": log},
            }
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


def _check_bounds(name: str, low: Any, high: Any, *, log: bool) -> None:
    numbers = all(
        isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each)
        for each in (low, high)
    )
    if not numbers or low > high or (log and low <= 0):
        needs = "0 < low <= high for a logarithmic one" if log else "low <= high, both finite"
        raise ProblemError(f"space {name!r}: ({low!r}, {high!r}) is no range; it needs {needs}")


def _range(name: str, low: Any, high: Any, *, log: bool) -> dict[str, Any]:
    _check_bounds(name, low, high, log=log)
    of_floats = name in TRAINING_NAMES and name != "batch_size"
    if isinstance(low, int) and isinstance(high, int) and not of_floats:
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
