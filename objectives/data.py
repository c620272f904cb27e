"""Data of any kind as parts that give batches: tensors in memory, examples, ready-made batches.

What fits a quarter of the free memory is read once and kept; what does not comes through torch's
DataLoader, one for all lanes of a trainer.
"""

import contextlib
import hashlib
import math
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from objectives.errors import DataError, ProblemError, first_line

_MEMORY_SHARE = 0.25
# How many examples tell how much memory all of them take.
_SAMPLE = 64


class Part(Protocol):
    """Examples of one purpose: training, validation or test."""

    @property
    def n(self) -> int:
        """How many examples there are; batches, where those are ready-made."""
        ...

    @property
    def in_memory(self) -> bool:
        """Tell whether reading it again costs next to nothing."""
        ...

    def to(self, device: torch.device) -> "Part":
        """Return the part on a device, if it is in memory as tensors."""
        ...

    def batches(self, order: NDArray[np.int64], size: int) -> Iterator[Any]:
        """Yield batches of the examples in this order, ``(m,)``; on the CPU if not in memory."""
        ...

    def digest(self) -> str:
        """Return a SHA-256 of what is in it; of its size alone where that would be too much."""
        ...


@dataclass(frozen=True)
class TensorPart:
    """Tensors whose first axis are the examples, in tuples, lists and dictionaries of any depth."""

    tree: Any
    in_memory = True

    @property
    def n(self) -> int:
        """How many examples there are."""
        return len(next(leaves(self.tree)))

    def take(self, indices: NDArray[np.int64]) -> "TensorPart":
        """Return the part with these examples."""
        return TensorPart(_select(self.tree, torch.from_numpy(indices)))

    def to(self, device: torch.device) -> "TensorPart":
        """Return the part on a device."""
        return TensorPart(map_tensors(lambda tensor: tensor.to(device), self.tree))

    def batches(self, order: NDArray[np.int64], size: int) -> Iterator[Any]:
        """Yield batches of the examples in this order."""
        there = torch.from_numpy(order).to(next(leaves(self.tree)).device)
        for indices in torch.split(there, size):
            yield _select(self.tree, indices)

    def digest(self) -> str:
        """Return a SHA-256 of types, shapes and contents."""
        sha256 = hashlib.sha256()
        for tensor in leaves(self.tree):
            sha256.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            sha256.update(raw.numpy().data)
        return sha256.hexdigest()


@dataclass(frozen=True)
class ExamplePart:
    """Examples that are put together batch by batch: of different sizes, or too many to keep."""

    examples: Any  # a map-style data set, or a list
    collate: Callable[[list[Any]], Any]
    n_workers: int
    in_memory: bool
    indices: NDArray[np.int64]

    @property
    def n(self) -> int:
        """How many examples there are."""
        return len(self.indices)

    def take(self, indices: NDArray[np.int64]) -> "ExamplePart":
        """Return the part with these examples."""
        own = self.indices[indices]
        return ExamplePart(self.examples, self.collate, self.n_workers, self.in_memory, own)

    def to(self, _device: torch.device) -> "ExamplePart":
        """Return itself: batches are moved when they are made."""
        return self

    def batches(self, order: NDArray[np.int64], size: int) -> Iterator[Any]:
        """Yield batches of the examples in this order."""
        chosen = self.indices[order].tolist()
        if self.in_memory:
            for start in range(0, len(chosen), size):
                yield self.collate([self.examples[i] for i in chosen[start : start + size]])
            return
        yield from DataLoader(
            self.examples,
            batch_size=size,
            sampler=chosen,
            collate_fn=self.collate,
            num_workers=self.n_workers,
        )

    def digest(self) -> str:
        """Return a SHA-256 of how many there are, and of the first and the last."""
        ends = sorted({0, self.n - 1})
        return _digest_few(self.n, lambda: self.batches(np.array(ends), len(ends)))


@dataclass(frozen=True)
class BatchPart:
    """Batches that somebody's own function gives, in its own order each time; ``n`` of them."""

    make: Callable[[], Iterable[Any]]
    n: int
    n_examples: int
    size: int  # of the first
    in_memory = False

    def to(self, _device: torch.device) -> "BatchPart":
        """Return itself: batches are moved when they come."""
        return self

    def batches(self, order: NDArray[np.int64], size: int) -> Iterator[Any]:  # noqa: ARG002
        """Yield the batches as they come."""
        yield from map(_as_tensors, self.make())

    def digest(self) -> str:
        """Return a SHA-256 of how many there are, and of the first."""
        return _digest_few(self.n, lambda: self.batches(np.arange(1), 1))


def _digest_few(n: int, read: Callable[[], Iterator[Any]]) -> str:
    """Return a SHA-256 of a number and of the first batch, if that is the same whenever read."""
    digests = set()
    for _ in range(2):
        seed_draws(0)  # say for a DataLoader that shuffles
        digests.add(TensorPart(next(read())).digest())
    first = digests.pop() if len(digests) == 1 else ""
    return hashlib.sha256(f"{n}{first}".encode()).hexdigest()


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
        lengths = [batch_length(_as_tensors(batch)) for batch in _explained(name, data)]
        return BatchPart(data, len(lengths), sum(lengths), lengths[0] if lengths else 0)
    first = next((batch_length(batch) for batch in _explained(name, lambda: data)), 0)
    n_examples = min(len(data.sampler), len(data) * first)  # type: ignore[arg-type]
    return BatchPart(lambda: data, len(data), n_examples, first)


def _is_list_of_examples(data: Any) -> bool:
    """Tell a list of examples from a list of tensors, by its first item."""
    return isinstance(data, list) and bool(data) and isinstance(data[0], tuple | Mapping)


def seed_draws(seed: int) -> None:
    """Let data draw what it draws, as transforms do, from a seed of its own."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


def leaves(tree: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of tuples, lists and dictionaries of any depth."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for each in tree.values():
            yield from leaves(each)
    elif isinstance(tree, tuple | list):
        for each in tree:
            yield from leaves(each)


def map_tensors(function: Callable[[torch.Tensor], Any], tree: Any) -> Any:
    """Return tuples, lists and dictionaries of the same form with a function of each tensor."""
    if isinstance(tree, torch.Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {name: map_tensors(function, each) for name, each in tree.items()}
    if isinstance(tree, tuple | list):
        return tuple(map_tensors(function, each) for each in tree)
    return tree


def join(batches: Sequence[Any]) -> Any:
    """Return what batches hold as one: tensors one after another along their first axis."""
    first = batches[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(list(batches))
    if isinstance(first, Mapping):
        return {name: join([batch[name] for batch in batches]) for name in first}
    if isinstance(first, tuple | list):
        return tuple(join(each) for each in zip(*batches, strict=True))
    return first


def batch_length(batch: Any) -> int:
    """Return how many examples a batch has; raises ProblemError if it holds no tensor."""
    for tensor in leaves(batch):
        if tensor.dim() > 0:
            return len(tensor)
    raise ProblemError("a batch holds no tensor with an axis of examples")


def _select(tree: Any, indices: torch.Tensor) -> Any:
    # `index_select` takes a batch twice as fast as indexing by a tensor.
    return map_tensors(lambda tensor: tensor.index_select(0, indices), tree)


def _as_tensors(data: Any) -> Any:
    """Turn arrays, at any depth, into tensors that share their memory where they can."""
    if isinstance(data, torch.Tensor):
        return data.detach()
    if isinstance(data, Mapping):
        return {name: _as_tensors(each) for name, each in data.items()}
    if isinstance(data, tuple) or (isinstance(data, list) and not _is_array(data)):
        return tuple(_as_tensors(each) for each in data)
    if hasattr(data, "to_numpy"):  # pandas, polars
        data = data.to_numpy()
    array = np.require(np.asarray(data), requirements=["W", "C"])
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{array.dtype} cannot be made a tensor, give numbers")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _is_array(values: list[Any]) -> bool:
    """Tell numbers, in lists of any depth, from lists of tensors and arrays."""
    while values and isinstance(values[0], list):
        values = values[0]
    return not values or isinstance(values[0], int | float | np.number)


def _read_tensors(data: Any, name: str) -> TensorPart:
    try:
        tree = _as_tensors(data)
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
