"""What an objective may return, and what it may not."""

import decimal
import fractions
from typing import Any

import numpy as np
import optuna


class Number:
    """Something that can be made a float."""

    def __float__(self) -> float:
        return 0.25


class NoNumber:
    """Something that says it can, and raises."""

    def __float__(self) -> float:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("not even that")


# By what they are: the objectives below return them, one a trial.
_NUMBERS: list[Any] = [
    1,
    True,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    0.1 + 0.2,
    np.float64(0.5),
    np.float32(0.1),
    np.int64(3),
    np.bool_(1),
    np.array(0.5),
    fractions.Fraction(1, 3),
    decimal.Decimal("0.1"),
    Number(),
]
_SEQUENCES: list[Any] = [
    (1.5,),
    [2.5],
    (np.float32(0.5),),
    (True,),
    range(1),
    b"5",
    memoryview(b"5"),
]
_NOT_NUMBERS: list[Any] = [
    None,
    "",
    "loss",
    (),
    (1.0, 2.0),
    [None],
    ("a",),
    {"loss": 1.0},
    {1.0},
    1j,
    object,
    np.array([1.0, 2.0]),
    np.array(["a"]),
]


def numbers(trial: optuna.Trial) -> Any:
    """Numbers of Python's, NumPy's and anybody's classes."""
    return _NUMBERS[trial.number]


def sequences(trial: optuna.Trial) -> Any:
    """Tuples, lists and texts of length one."""
    return _SEQUENCES[trial.number]


def not_numbers(trial: optuna.Trial) -> Any:
    """Nothing, texts, several values, dictionaries, complex numbers, classes."""
    return _NOT_NUMBERS[trial.number]


def array_of_one(trial: optuna.Trial) -> Any:
    """An array with one element."""
    return np.array([[trial.number + 0.5]])


def not_finite(trial: optuna.Trial) -> Any:
    """NaN, which fails, and infinities, which count."""
    return [float("nan"), float("inf"), float("-inf"), np.float32("nan"), (float("nan"),), 1.0][
        trial.number
    ]


def tensors(trial: optuna.Trial) -> Any:
    """Tensors: of one number, with a gradient, of half precision, and of two numbers."""
    import torch

    return [
        torch.tensor(0.5),
        torch.tensor([0.25]),
        torch.tensor(1.5, requires_grad=True),
        torch.tensor(0.1, dtype=torch.float16),
        torch.tensor([1.0, 2.0]),
        torch.tensor(float("nan")),
    ][trial.number]


def too_large(trial: optuna.Trial) -> Any:
    """An integer that no float can be."""
    return float(trial.number) if trial.number else 10**400


def no_number(trial: optuna.Trial) -> Any:
    """Something whose conversion, and whose text, raise."""
    return float(trial.number) if trial.number else NoNumber()


def the_trial(trial: optuna.Trial) -> Any:
    """The trial itself, and its study."""
    return [trial, trial.study][trial.number]


def megabytes(trial: optuna.Trial) -> Any:
    """Megabytes of something that is no number."""
    return float(trial.number) if trial.number else ["x" * 5_000_000, 1]


def texts(trial: optuna.Trial) -> Any:
    """Texts that are numbers."""
    return ["0.5", "-5", "nan", 1.0][trial.number]


def ties(trial: optuna.Trial) -> float:
    """The same value in each trial, after two reports and after one."""
    for step in range(2 - trial.number):
        trial.report(1.0, step)
    return 1.0
