"""Data of any kind as parts that give batches: tensors in memory, examples, ready-made batches.

What is not in memory comes through torch's DataLoader, one for all lanes of a trainer.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from objectives.errors import ProblemError


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
        yield from map(as_tensors, self.make())

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


def as_tensors(data: Any) -> Any:
    """Turn arrays, at any depth, into tensors that share their memory where they can."""
    if isinstance(data, torch.Tensor):
        return data.detach()
    if isinstance(data, Mapping):
        return {name: as_tensors(each) for name, each in data.items()}
    if isinstance(data, tuple) or (isinstance(data, list) and not _is_array(data)):
        return tuple(as_tensors(each) for each in data)
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
