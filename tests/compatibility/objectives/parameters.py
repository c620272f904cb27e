"""Kinds and ranges of parameters, in the ways that Optuna's documentation shows and allows."""

import warnings
from typing import Any

import numpy as np
import optuna

from tests.compatibility.objectives import attempt, note


def floats(trial: optuna.Trial) -> float:
    """Floats: within one, negative, tiny, huge, and of ten orders of magnitude."""
    x = trial.suggest_float("x", 0, 1)
    trial.suggest_float("negative", -3.5, -1.5)
    trial.suggest_float("tiny", 1e-300, 2e-300)
    trial.suggest_float("huge", -1e300, 1e300)
    note(trial, x=x, log=trial.suggest_float("log", 1e-8, 1e2, log=True))
    return x


def float_steps(trial: optuna.Trial) -> float:
    """Floats in steps, one of which does not divide its range."""
    x = trial.suggest_float("x", -1, 1, step=0.25)
    note(
        trial, y=trial.suggest_float("y", 0, 1, step=0.3), z=trial.suggest_float("z", 0, 9, step=3)
    )
    return x


def ints(trial: optuna.Trial) -> float:
    """Integers: small, negative, on a log scale, and beyond 32 bits."""
    n = trial.suggest_int("n", 1, 8)
    trial.suggest_int("negative", -9, -1)
    note(trial, log=trial.suggest_int("log", 1, 1024, log=True))
    note(trial, long=trial.suggest_int("long", 2**40, 2**50))
    return n


def int_steps(trial: optuna.Trial) -> float:
    """Integers in steps, one of which does not divide its range."""
    note(trial, n=trial.suggest_int("n", 16, 128, step=16), m=trial.suggest_int("m", 0, 10, step=3))
    return trial.params["n"] / trial.params["m"] if trial.params["m"] else 0.5


def longest_ints(trial: optuna.Trial) -> float:
    """Integers that a float cannot tell apart."""
    note(trial, n=trial.suggest_int("n", 2**53 - 2, 2**53 + 8), m=trial.suggest_int("m", 0, 2**62))
    return float(trial.number)


def single_values(trial: optuna.Trial) -> float:
    """Ranges and choices with a single value."""
    x = trial.suggest_float("x", 0.5, 0.5)
    n = trial.suggest_int("n", 3, 3)
    note(trial, x=x, n=n, c=trial.suggest_categorical("c", ["only"]))
    note(
        trial, y=trial.suggest_float("y", 0, 0.1, step=0.2), m=trial.suggest_int("m", 1, 2, step=5)
    )
    return x + n + trial.suggest_float("z", 1e-3, 1e-3, log=True)


def numpy_bounds(trial: optuna.Trial) -> float:
    """Bounds that are NumPy scalars, integers of a float's range, and truth values."""
    floats: list[Any] = [np.float32(0.5), np.float64(2)]
    ints: list[Any] = [np.int64(1), np.int32(4)]
    truths = [False, True]
    x = trial.suggest_float("x", *floats)
    note(trial, n=trial.suggest_int("n", *ints), b=trial.suggest_int("b", *truths))
    note(trial, f=trial.suggest_float("f", 1, 2))
    return x


def old_names(trial: optuna.Trial) -> float:
    """The methods that Optuna has deprecated, and bounds given by position."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = trial.suggest_uniform("x", 0, 1)
        note(trial, y=trial.suggest_loguniform("y", 1e-3, 1))
        note(trial, z=trial.suggest_discrete_uniform("z", 0, 1, 0.25))
        note(trial, n=attempt(lambda: trial.suggest_int("n", 0, 10, 5)))  # type: ignore[call-arg]
    return x


def nothing(trial: optuna.Trial) -> float:
    """No parameter at all."""
    return float(trial.number)


def many(trial: optuna.Trial) -> float:
    """Parameters, twenty of them, named in a loop."""
    return sum(trial.suggest_float(f"layer{i}.dropout", 0, 0.5) for i in range(20))


def conditional(trial: optuna.Trial) -> float:
    """A space that depends on what was chosen, as classifiers with their own parameters."""
    if trial.suggest_categorical("classifier", ["svc", "forest"]) == "svc":
        return trial.suggest_float("svc_c", 1e-10, 1e10, log=True)
    depths = [
        trial.suggest_int(f"depth{i}", 2, 32, log=True)
        for i in range(trial.suggest_int("trees", 1, 3))
    ]
    return float(sum(depths))


def moving_range(trial: optuna.Trial) -> float:
    """A range that moves from trial to trial."""
    return trial.suggest_float("x", trial.number, trial.number + 0.5)


def same_again(trial: optuna.Trial) -> float:
    """The same parameter asked for again, also with another range: the first value stays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = trial.suggest_float("x", 0, 1)
        note(trial, same=trial.suggest_float("x", 0, 1) == x)
        note(trial, other=trial.suggest_float("x", 5, 6) == x)
    return x


def same_as_another_kind(trial: optuna.Trial) -> float:
    """The same parameter asked for again as another kind."""
    x = trial.suggest_float("x", 0, 1)
    note(trial, int=attempt(lambda: trial.suggest_int("x", 0, 1)))
    trial.suggest_categorical("x", [0.0, 1.0])
    return x


def kind_of_the_day(trial: optuna.Trial) -> float:
    """A parameter whose kind is another one in the next trial."""
    if trial.number:
        return trial.suggest_int("x", 0, 1)
    return trial.suggest_float("x", 0, 1)


def impossible_ranges(trial: optuna.Trial) -> float:
    """Ranges that there cannot be: upside down, log of zero, with NaN, log with a step."""
    tries: list[tuple[Any, dict[str, Any]]] = [
        (trial.suggest_float, {"low": 1, "high": 0}),
        (trial.suggest_int, {"low": 1, "high": 0}),
        (trial.suggest_float, {"low": 0, "high": 1, "log": True}),
        (trial.suggest_int, {"low": 0, "high": 1, "log": True}),
        (trial.suggest_float, {"low": float("nan"), "high": 1}),
        (trial.suggest_float, {"low": 1, "high": 2, "log": True, "step": 0.5}),
        (trial.suggest_float, {"low": 1, "high": 2, "step": 0}),
        (trial.suggest_int, {"low": 1, "high": 2, "step": -1}),
        (trial.suggest_float, {"low": "a", "high": 1}),
        (trial.suggest_int, {"low": 0, "high": float("inf")}),
    ]
    for i, (suggest, bounds) in enumerate(tries):
        note(trial, **{f"try{i}": attempt(lambda f=suggest, b=bounds, i=i: f(f"p{i}", **b))})  # type: ignore[misc]
    return trial.suggest_float("x", 0, 1)


def upside_down(trial: optuna.Trial) -> float:
    """A range upside down, whose error nobody catches."""
    return trial.suggest_float("x", 2, 1)


def infinite_range(trial: optuna.Trial) -> float:
    """A range without an end."""
    return trial.suggest_float("x", 0, float("inf"))


def too_long_int(trial: optuna.Trial) -> float:
    """An integer range beyond what a float can be."""
    return trial.suggest_int("n", 0, 10**400)


def proportions(trial: optuna.Trial) -> float:
    """Proportions that add up to one, as Optuna's questions and answers make them."""
    x = [-np.log(trial.suggest_float(f"x{i}", 0, 1)) for i in range(4)]
    parts = [part / sum(x) for part in x]
    for i, part in enumerate(parts):
        trial.set_user_attr(f"p{i}", part)
    return float(parts[0])


def permutation(trial: optuna.Trial) -> float:
    """A permutation by its Lehmer code, as in the same place."""
    left = list(range(5))
    order = [left.pop(trial.suggest_int(f"code{i}", 0, 4 - i)) for i in range(5)]
    trial.set_user_attr("order", order)
    return float(order.index(0))


def of_each_kind(trial: optuna.Trial) -> float:
    """A float, an integer and a choice."""
    note(trial, x=trial.suggest_float("x", 0, 1), n=trial.suggest_int("n", 1, 8))
    note(trial, c=trial.suggest_categorical("c", ["a", "b"]))
    return float(trial.params["x"] + trial.params["n"])


def strength(trial: optuna.Trial) -> float:
    """A strength on a log scale."""
    strength = trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True)
    note(trial, strength=strength)
    return float(strength)
