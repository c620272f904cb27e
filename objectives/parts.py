"""A problem's data in three parts, by the study's seed: training, validation and test."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from objectives.data import BatchPart, Part, TensorPart, join, leaves
from objectives.errors import ProblemError
from objectives.problem import Problem, is_share
from objectives.reading import read_part
from objectives.seeds import derive_seed, permutation

_Indices = NDArray[np.int64]
# More examples than this are not compared one by one.
_MOST_COMPARED = 500_000
# So many more of one part may be in another than are twice in it: real data has equal examples.
_MOST_EQUAL = 0.02


@dataclass(frozen=True)
class Parts:
    """What trains, what prunes and selects, and what is read once, after selection."""

    train: Part
    validation: Part
    test: Part | None

    @property
    def in_memory(self) -> bool:
        """Tell whether reading what trials see again costs next to nothing."""
        return self.train.in_memory and self.validation.in_memory

    def to(self, device: torch.device) -> "Parts":
        """Return the parts on a device."""
        test = None if self.test is None else self.test.to(device)
        return Parts(self.train.to(device), self.validation.to(device), test)


def read_parts(problem: Problem, seed: int) -> list[Parts]:
    """Return a problem's parts, by fold if it has folds; else one.

    Those that are shares of others are drawn by ``seed`` alone. Raises ProblemError and DataError.
    """
    name = "train" if problem.data is None else "data"
    whole = _read(problem, name)
    rest: _Indices = np.arange(whole.n)
    test: Any = None
    if not is_share(problem.test):
        test = _read(problem, "test")
    elif problem.test and name == "data":  # what is given as training data has no test examples
        rest, off = _part_off(problem, whole, rest, "test", seed)
        test = whole.take(off)
    if problem.folds is not None:
        if not is_share(problem.validation):
            whole = _join(whole, _read(problem, "validation"))
            rest = np.arange(whole.n)
        pairs = _fold(problem, whole, rest, seed)
        return [Parts(whole.take(kept), whole.take(off), test) for kept, off in pairs]
    if not is_share(problem.validation):
        train = whole if len(rest) == whole.n else whole.take(rest)
        return [Parts(train, _read(problem, "validation"), test)]
    rest, off = _part_off(problem, whole, rest, "validation", seed)
    return [Parts(whole.take(rest), whole.take(off), test)]


def _join(train: Any, validation: Any) -> TensorPart:
    if not (isinstance(train, TensorPart) and isinstance(validation, TensorPart)):
        raise ProblemError("folds: give data, which is divided, in place of train and validation")
    return TensorPart(join([train.tree, validation.tree]))


def _fold(
    problem: Problem, whole: Any, indices: _Indices, seed: int
) -> list[tuple[_Indices, _Indices]]:
    """Return for each fold who trains and who validates."""
    n = problem.folds
    assert n is not None
    _check_can_be_split(whole, "folds")
    own = derive_seed(seed, "folds")
    if problem.splitter is not None:
        pairs = _split_by(problem, whole, indices, own)
        if len(pairs) != n:
            raise ProblemError(f"folds={n}: splitter gives {len(pairs)}; give the same number")
        return pairs
    if n > len(indices):
        raise ProblemError(f"folds={n}: there are {len(indices)} examples; give at most that many")
    pieces = np.array_split(indices[permutation(len(indices), own)], n)
    return [
        (np.sort(np.concatenate(pieces[:k] + pieces[k + 1 :])), np.sort(off))
        for k, off in enumerate(pieces)
    ]


def check_apart(parts: Parts) -> None:
    """Raise ProblemError if examples of training are in another part, too."""
    if not isinstance(parts.train, TensorPart) or parts.train.n > _MOST_COMPARED:
        return
    seen = list(_fingerprints(parts.train))
    train = set(seen)
    twice = 1 - len(train) / len(seen)
    for name in ("validation", "test"):
        part = getattr(parts, name)
        if isinstance(part, TensorPart):
            n_seen = sum(each in train for each in _fingerprints(part))
            if n_seen > part.n * (twice + _MOST_EQUAL):
                raise ProblemError(
                    f"{name}: {n_seen} of its {part.n} examples are in train, too: its value would "
                    "be that of what was learnt by heart"
                )


def _read(problem: Problem, name: str) -> Any:
    return read_part(getattr(problem, name), name, problem.collate, problem.loader_workers)


def _part_off(
    problem: Problem, whole: Any, indices: _Indices, name: str, seed: int
) -> tuple[_Indices, _Indices]:
    """Divide some of the examples into those that stay and those of another part."""
    _check_can_be_split(whole, name)
    own = derive_seed(seed, f"split {name}")
    if problem.splitter is not None:
        pairs = _split_by(problem, whole, indices, own)
        return pairs[own % len(pairs)]
    share = getattr(problem, name) or 0
    n_off = int(share) if share >= 1 else round(share * whole.n)
    if not 0 < n_off < len(indices):
        raise ProblemError(
            f"{name}={share!r} of {whole.n} examples are {n_off}: give a share that leaves some on "
            "both sides"
        )
    order = indices[permutation(len(indices), own)]
    return np.sort(order[n_off:]), np.sort(order[:n_off])


def _check_can_be_split(whole: Any, name: str) -> None:
    if isinstance(whole, BatchPart):
        what = "validation" if name == "folds" else name
        raise ProblemError(
            f"{name}: a function of batches cannot be split: give train, {what} as parts"
        )


def _split_by(
    problem: Problem, whole: Any, indices: _Indices, own: int
) -> list[tuple[_Indices, _Indices]]:
    """Divide by scikit-learn's splitter: who stays and who goes, in each way that it gives."""
    splitter = copy.copy(problem.splitter)
    if getattr(splitter, "random_state", 0) is None:
        splitter.random_state = own % 2**32
    targets = groups = None
    if isinstance(whole, TensorPart):
        *_, last = leaves(whole.tree)
        targets = last[indices].cpu().numpy()
    if problem.groups is not None:
        groups = np.asarray(problem.groups)
        if len(groups) != whole.n:
            raise ProblemError(f"groups: {len(groups)} for {whole.n} examples: give one for each")
        groups = groups[indices]
    try:
        folds = list(splitter.split(indices, targets, groups))
    except Exception as error:
        raise ProblemError(f"splitter: {type(error).__name__}: {error}") from error
    return [(indices[kept], indices[off]) for kept, off in folds]


def _fingerprints(part: TensorPart) -> Iterable[int]:
    flat = (tensor.cpu().contiguous().reshape(len(tensor), -1) for tensor in leaves(part.tree))
    rows = [tensor.view(torch.uint8).numpy() for tensor in flat]  # NumPy knows no bfloat16
    for index in range(part.n):
        yield hash(tuple(row[index].tobytes() for row in rows))
