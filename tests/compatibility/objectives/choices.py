"""Choices of every kind that can be written as JSON, and of kinds that cannot."""

import enum
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna

from tests.compatibility.objectives import attempt, note


class Colour(enum.Enum):
    """Something that JSON does not know."""

    RED = 1
    BLUE = 2


class Size(enum.StrEnum):
    """A text to JSON."""

    SMALL = "small"
    LARGE = "large"


def _choose(trial: optuna.Trial, name: str, choices: Sequence[Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns of kinds that it will not keep
        chosen = trial.suggest_categorical(name, choices)
    note(trial, **{name: chosen})
    return chosen


def plain(trial: optuna.Trial) -> float:
    """Choices of text, numbers, truth values and nothing."""
    _choose(trial, "text", ("sgd", "adam", ""))
    _choose(trial, "number", [1, 2.5, -3])
    _choose(trial, "truth", [True, False])
    _choose(trial, "nothing", [None, "something"])
    return float(trial.number)


def alike(trial: optuna.Trial) -> float:
    """Choices that Python takes for equal: 1, 1.0 and True."""
    for i in range(4):
        _choose(trial, f"c{i}", [1, 1.0, True, 0, False])
    return float(trial.number)


def twice(trial: optuna.Trial) -> float:
    """A choice that is given twice."""
    _choose(trial, "c", ["a", "a", "b"])
    return float(trial.number)


def not_finite(trial: optuna.Trial) -> float:
    """Choices of NaN and infinity."""
    _choose(trial, "infinite", [float("inf"), float("-inf")])
    _choose(trial, "nan", [float("nan"), 0.5])
    return float(trial.number)


def nested(trial: optuna.Trial) -> float:
    """Choices of tuples, lists and dictionaries: the objective gets its own, the database lists."""
    _choose(trial, "layers", [(64,), (64, 32)])
    _choose(trial, "lists", [[1, [2, 3]], []])
    _choose(trial, "records", [{"lr": 0.1, "on": True}, {"lr": None}])
    return float(trial.number)


def letters(trial: optuna.Trial) -> float:
    """Choices of letters of any alphabet, quotes, line ends and a NUL."""
    _choose(trial, "c", ["λ", "Ünïcode 🎉", "日本"])
    _choose(
        trial, "quoted", ["it's", 'say "x"', "a\\b", "%s %(x)s :y ?", "'; DROP TABLE trials; --"]
    )
    _choose(trial, "white", [" ", "\t", "two\nlines"])
    _choose(trial, "nul", ["a\0b", "\ud800"])
    return float(trial.number)


def string_enum(trial: optuna.Trial) -> float:
    """Choices of an enumeration that is text."""
    chosen = _choose(trial, "size", list(Size))
    note(trial, same=chosen is Size(chosen))
    return float(trial.number)


def hundreds(trial: optuna.Trial) -> float:
    """Three hundred choices."""
    return float(_choose(trial, "c", range(300)))


def kilobytes(trial: optuna.Trial) -> float:
    """Choices that take more room than one column of some databases has."""
    _choose(trial, "c", ["x" * 40_000, "y" * 40_000])
    return float(trial.number)


def same_object(trial: optuna.Trial) -> float:
    """The choice is the object that was given, not a copy."""
    given: list[Any] = [["a"], ["b"]]
    chosen = trial.suggest_categorical("c", given)
    note(trial, same=any(chosen is one for one in given))
    return float(trial.number)


def another_list(trial: optuna.Trial) -> float:
    """A list of choices that changes from trial to trial, which Optuna refuses."""
    _choose(trial, "c", ["a", "b", "c"][: 3 - trial.number])
    return float(trial.number)


def none_at_all(trial: optuna.Trial) -> float:
    """No choice at all."""
    note(trial, empty=attempt(lambda: trial.suggest_categorical("c", [])))
    trial.suggest_categorical("d", ())
    return float(trial.number)


def of_enum(trial: optuna.Trial) -> float:
    """Choices of an enumeration."""
    return float(_choose(trial, "c", list(Colour)).value)


def of_classes(trial: optuna.Trial) -> float:
    """Choices of classes and functions."""
    return float(_choose(trial, "c", [int, abs])(1.0))


def of_bytes(trial: optuna.Trial) -> float:
    """Choices of bytes."""
    return float(len(_choose(trial, "c", [b"a", b"bc"])))


def of_numpy(trial: optuna.Trial) -> float:
    """Choices of NumPy's integers."""
    return float(_choose(trial, "c", list(np.arange(3))))


def of_numpy_floats(trial: optuna.Trial) -> float:
    """Choices of NumPy's floats, which are floats to JSON too."""
    return float(_choose(trial, "c", list(np.linspace(0, 1, 3))))


def of_arrays(trial: optuna.Trial) -> float:
    """Choices of NumPy arrays."""
    return float(_choose(trial, "c", [np.zeros(2), np.ones(2)]).sum())


def of_sets(trial: optuna.Trial) -> float:
    """Choices of sets, after one that is kept."""
    trial.suggest_float("x", 0, 1)
    return float(len(_choose(trial, "c", [{1}, {1, 2}])))
