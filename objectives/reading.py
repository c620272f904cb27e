"""Read what somebody gives as data: which kind it is, whether it can be kept in memory.

What fits a quarter of the free memory, and is the same whenever it is read, is read once and kept.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from objectives.data import (
    BatchPart,
    ExamplePart,
    TensorPart,
    as_tensors,
    batch_length,
    leaves,
    map_tensors,
    seed_draws,
)
from objectives.errors import DataError, ProblemError, first_line

_MEMORY_SHARE = 0.25
# How many examples tell how much memory all of them take.
_SAMPLE = 64


def read_part(
    data: Any, name: str, collate: Callable[[list[Any]], Any] | None = None, n_workers: int = 0
) -> TensorPart | ExamplePart | BatchPart:
    """Return data as a part; ``name`` is that of the problem's field, for messages.

    Raises ProblemError for what is none of the kinds, or has no examples.
    """
    if isinstance(data, TensorPart | ExamplePart | BatchPart):
        return data
    if isinstance(data, TensorDataset):
        data = data.tensors
    has_examples = isinstance(data, Dataset) or _is_list_of_examples(data)
    if has_examples or (collate is not None and hasattr(data, "__getitem__")):
        part: TensorPart | ExamplePart | BatchPart = _read_examples(data, name, collate, n_workers)
    elif isinstance(data, DataLoader) or callable(data):
        part = _read_batches(data, name)
    else:
        part = _read_tensors(data, name)
    if part.n == 0:
        raise ProblemError(f"{name}: there is no example in it")
    return part


def _read_batches(data: Any, name: str) -> BatchPart:
    """Return the batches of a loader, or of a function that makes them, which are counted."""
    if not isinstance(data, DataLoader):
        lengths = [batch_length(as_tensors(batch)) for batch in _explained(name, data)]
        return BatchPart(data, len(lengths), sum(lengths), lengths[0] if lengths else 0)
    first = next((batch_length(batch) for batch in _explained(name, lambda: data)), 0)
    n_examples = min(len(data.sampler), len(data) * first)  # type: ignore[arg-type]
    return BatchPart(lambda: data, len(data), n_examples, first)


def _is_list_of_examples(data: Any) -> bool:
    """Tell a list of examples from a list of tensors, by its first item."""
    return isinstance(data, list) and bool(data) and isinstance(data[0], tuple | Mapping)


def _read_tensors(data: Any, name: str) -> TensorPart:
    try:
        tree = as_tensors(data)
    except (TypeError, ValueError) as error:
        raise ProblemError(f"{name}: {type(data).__name__} is no data: {error}") from error
    tensors = list(leaves(tree))
    if not tensors or any(tensor.dim() == 0 for tensor in tensors):
        raise ProblemError(f"{name}: there is no axis of examples in it")
    lengths = list(dict.fromkeys(len(tensor) for tensor in tensors))
    if len(lengths) > 1:
        told = " and ".join(map(str, lengths[:3]))
        raise ProblemError(
            f"{name}: its tensors have {told} examples: give as many targets as inputs"
        )
    for position, tensor in enumerate(tensors):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            n_odd = int((~torch.isfinite(tensor)).reshape(len(tensor), -1).any(1).sum())
            raise ProblemError(
                f"{name}: {n_odd} of {len(tensor)} examples hold NaN or infinity (tensor "
                f"{position}): drop or fill them"
            )
    return TensorPart(map_tensors(_narrowed, tree if isinstance(tree, tuple | dict) else (tree,)))


# Of bytes, images are kept as they are, and torch takes them as labels.
_SHORT = (torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64)


def _narrowed(tensor: torch.Tensor) -> torch.Tensor:
    """Return float64 as float32, which models are made of, and short integers as int64."""
    if tensor.dtype == torch.float64:
        return tensor.float()
    return tensor.long() if tensor.dtype in _SHORT else tensor


def _read_examples(
    data: Any, name: str, collate: Callable[[list[Any]], Any] | None, n_workers: int
) -> TensorPart | ExamplePart:
    try:
        n = len(data)
    except TypeError as error:
        raise ProblemError(
            f"{name}: {type(data).__name__} has no length: give a map-style data set, or a "
            "function that returns its batches"
        ) from error
    put_together = collate or default_collate
    indices = np.arange(n)
    if n == 0 or not _can_be_kept(data, name, n):
        return ExamplePart(data, put_together, n_workers, in_memory=False, indices=indices)
    examples = list(_explained(name, lambda: (data[i] for i in range(n))))
    if collate is None:
        try:
            return _read_tensors(default_collate(examples), name)
        except (RuntimeError, TypeError) as error:
            raise ProblemError(
                f"{name}: its examples do not fit in one batch ({first_line(error)}): give "
                "collate, which puts a list of them together"
            ) from error
    return ExamplePart(examples, put_together, n_workers, in_memory=True, indices=indices)


def _explained(name: str, make: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """Yield what somebody's own code gives; turn what it raises into one line."""
    try:
        yield from make()
    except Exception as error:
        raise DataError(f"{name}: reading it raised {type(error).__name__}: {error}") from error


def _can_be_kept(data: Any, name: str, n: int) -> bool:
    """Tell whether examples fit into memory, and are the same whenever they are read.

    Those that are drawn anew each time, as by transforms that augment images, are to be.
    """
    few = range(0, n, math.ceil(n / _SAMPLE))

    def read(seed: int) -> list[Any]:
        seed_draws(seed)
        return list(_explained(name, lambda: (data[i] for i in few)))

    sample = read(0)
    n_bytes = n * sum(_bytes_of(each) for each in sample) / len(sample)
    return n_bytes <= _MEMORY_SHARE * _free_bytes() and _is_equal(sample, read(1))


def _is_equal(one: Any, other: Any) -> bool:
    """Tell whether examples hold the same numbers."""
    pair = [list(_numbers(each)) for each in (one, other)]
    return len(pair[0]) == len(pair[1]) and all(map(torch.equal, *pair))


def _numbers(examples: Any) -> Iterator[torch.Tensor]:
    if isinstance(examples, Mapping):
        examples = list(examples.values())
    if isinstance(examples, tuple | list):
        for each in examples:
            yield from _numbers(each)
    elif isinstance(examples, torch.Tensor | np.ndarray | int | float):
        with contextlib.suppress(TypeError):  # an array of objects
            yield torch.as_tensor(examples).nan_to_num()


def _bytes_of(example: Any) -> int:
    if isinstance(example, torch.Tensor | np.ndarray):
        return int(example.nbytes) + 100
    if isinstance(example, Mapping):
        return sum(map(_bytes_of, example.values()))
    if isinstance(example, tuple | list):
        return sum(map(_bytes_of, example))
    return 100


def _free_bytes() -> float:
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):  # not on every system
        return 4e9
