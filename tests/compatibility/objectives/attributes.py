"""Attributes of any kind and size."""

import datetime
import decimal
from typing import Any

import numpy as np
import optuna

from tests.compatibility.objectives import attempt, note


def plain(trial: optuna.Trial) -> float:
    """Attributes of every kind that JSON knows, nested and empty."""
    trial.set_user_attr("text", "Ünïcode 🎉 'q' \"d\" \\ % \n\t\0")
    trial.set_user_attr("numbers", [0, -1, 2**70, 0.1, 1e308, 5e-324, -0.0])
    trial.set_user_attr("truth", [True, False, None])
    trial.set_user_attr("empty", [[], {}, "", None])
    trial.set_user_attr("nested", {"a": {"b": [{"c": [[["d"]]]}]}})
    note(trial, seen=[trial.user_attrs[name] for name in ("text", "numbers", "nested")])
    return float(trial.number)


def not_finite(trial: optuna.Trial) -> float:
    """Attributes of NaN and infinity."""
    trial.set_user_attr("nan", float("nan"))
    trial.set_user_attr("infinite", [float("inf"), float("-inf")])
    return float(trial.number)


def as_json_turns_them(trial: optuna.Trial) -> float:
    """A tuple becomes a list and a numbered dictionary one of texts, but not for the objective."""
    trial.set_user_attr("tuple", (1, (2,)))
    trial.set_user_attr("numbered", {1: "one", None: "none"})
    trial.set_user_attr("float", np.float64(0.5))
    note(trial, seen=trial.user_attrs["tuple"], keys=sorted(map(str, trial.user_attrs["numbered"])))
    return float(trial.number)


def again(trial: optuna.Trial) -> float:
    """An attribute that is set again and again: the last value stays."""
    for value in (1, "two", [3], None, {"five": 5}):
        trial.set_user_attr("a", value)
    return float(trial.number)


def changed_later(trial: optuna.Trial) -> float:
    """A list that changes after it was set, and what is changed in what was read."""
    values = [1]
    trial.set_user_attr("a", values)
    values.append(2)
    trial.user_attrs["b"] = 3
    note(trial, b="b" in trial.user_attrs)
    return float(trial.number)


def many(trial: optuna.Trial) -> float:
    """Sixty attributes."""
    for i in range(60):
        trial.set_user_attr(f"a{i}", i)
    return float(trial.number)


def history(trial: optuna.Trial) -> float:
    """A history of a thousand losses, and a text of 60,000 letters."""
    trial.set_user_attr("losses", [1 / (i + 1) for i in range(1000)])
    trial.set_user_attr("text", "x" * 60_000)
    return float(trial.number)


def too_long(trial: optuna.Trial) -> float:
    """An attribute of 100 KB, which MySQL and MariaDB do not take."""
    x = trial.suggest_float("x", 0, 1)
    trial.report(x, 1)
    if trial.number == 0:
        trial.set_user_attr("long", "x" * 100_000)
    return x


def too_long_but_caught(trial: optuna.Trial) -> float:
    """The same, in an objective that catches the error and goes on."""
    seen = attempt(lambda: trial.set_user_attr("long", "x" * 100_000))
    note(trial, was_refused=seen.startswith("raises"))
    return float(trial.number)


def too_long_letters(trial: optuna.Trial) -> float:
    """20,000 letters that take more room as JSON than as text."""
    trial.set_user_attr("long", "λ" * 20_000)
    return float(trial.number)


def _set(trial: optuna.Trial, value: Any) -> float:
    note(trial, seen=attempt(lambda: trial.set_user_attr("a", value)))
    if trial.number == 0:
        trial.set_user_attr("b", value)
    return float(trial.number)


def of_array(trial: optuna.Trial) -> float:
    """An attribute that is a NumPy array."""
    return _set(trial, np.zeros(3))


def of_numpy_scalar(trial: optuna.Trial) -> float:
    """An attribute that is a NumPy float of 32 bits."""
    return _set(trial, np.float32(1.5))


def of_tensor(trial: optuna.Trial) -> float:
    """An attribute that is a tensor."""
    import torch

    return _set(trial, torch.tensor(1.5))


def of_other_things(trial: optuna.Trial) -> float:
    """Attributes that are dates, decimals, sets, bytes and functions."""
    things = {
        "date": datetime.date(2026, 1, 1),
        "decimal": decimal.Decimal("0.1"),
        "set": {1},
        "bytes": b"a",
        "function": print,
        "tuple as key": {(1, 2): 3},
    }
    for name, thing in things.items():
        note(trial, **{name: attempt(lambda n=name, t=thing: trial.set_user_attr(n, t))})  # type: ignore[misc]
    return float(trial.number)


def of_itself(trial: optuna.Trial) -> float:
    """An attribute that contains itself."""
    ring: list[Any] = []
    ring.append(ring)
    return _set(trial, ring)
