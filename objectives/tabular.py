"""Read the small data sets of scikit-learn, from its files: importing it takes a second.

Splitting and scaling them is left to ``objectives.datasets``.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from objectives.errors import DataError

_Arrays = tuple[NDArray[Any], NDArray[Any]]


def read_scikit_learn(name: str) -> _Arrays:
    """Return inputs ``(n, inputs)`` and targets ``(n,)`` as scikit-learn has them; DataError."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise DataError(f"Data set {name} comes with scikit-learn: pip install scikit-learn")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data"
    try:
        return _READERS[name](folder)
    except OSError as error:
        raise DataError(f"Data set {name}: {error}; install scikit-learn again") from error


def _read_digits(folder: Path) -> _Arrays:
    rows = np.loadtxt(folder / "digits.csv.gz", delimiter=",")
    return rows[:, :-1].astype(np.uint8), rows[:, -1].astype(np.int64)


def _read_classes(file: str) -> Callable[[Path], _Arrays]:
    def read(folder: Path) -> _Arrays:
        rows = np.loadtxt(folder / file, delimiter=",", skiprows=1)
        return rows[:, :-1], rows[:, -1].astype(np.int64)

    return read


def _read_diabetes(folder: Path) -> _Arrays:
    targets = np.loadtxt(folder / "diabetes_target.csv.gz")
    return np.loadtxt(folder / "diabetes_data_raw.csv.gz"), targets


_READERS: dict[str, Callable[[Path], _Arrays]] = {
    "digits": _read_digits,
    "breast-cancer": _read_classes("breast_cancer.csv"),
    "wine": _read_classes("wine_data.csv"),
    "diabetes": _read_diabetes,
}
