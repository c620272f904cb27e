"""Data sets as arrays in memory, with a fixed split into training, validation and test images.

Arrays are NumPy's, so that this module does not load torch; training shares their memory.
"""

import functools
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from objectives import raw_files
from objectives.catalog import DATASETS, DatasetFacts
from objectives.errors import DataError, UnknownNameError
from objectives.seeds import derive_seed, permutation
from objectives.tabular import read_scikit_learn

Part = Literal["train", "test"]

# What comes with scikit-learn has no official test set: ours is that of all studies.
_TEST_SEED = 0


@dataclass(frozen=True)
class Split:
    """Images ``(n, inputs)`` uint8 in 0..white and labels ``(n,)`` int64 in 0..n_classes-1.

    Kept as the files have them, a quarter of what float32 takes; training divides by ``white``.
    Inputs of tables are float32, and their targets, if they are numbers.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    white: int

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> "Split":
        """Return the images and labels at these indices."""
        return Split(self.images[indices], self.labels[indices], self.white)


def _parse_idx(content: bytes) -> NDArray[np.uint8]:
    """Parse the IDX format: magic (two zeros, type, number of axes), big-endian sizes, bytes."""
    n_axes = content[3]
    shape = np.frombuffer(content, dtype=">i4", count=n_axes, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def _load_mnist_like(raw: raw_files.RawDataset, part: Part, data_dir: Path) -> Split:
    kinds = {
        "train": (raw_files.TRAIN_IMAGES, raw_files.TRAIN_LABELS),
        "test": (raw_files.TEST_IMAGES, raw_files.TEST_LABELS),
    }[part]
    names = (next(name for name in raw.md5 if name.startswith(kind)) for kind in kinds)
    images, labels = (_parse_idx(raw_files.read_raw_file(raw, name, data_dir)) for name in names)
    return Split(images.reshape(len(images), -1), labels.astype(np.int64), white=255)


def _load_cifar(raw: raw_files.RawDataset, part: Part, data_dir: Path) -> Split:
    """Return images whose channels lie one after another; pickles, whose MD5 sums are known."""
    names = raw_files.CIFAR_TRAIN if part == "train" else (raw_files.CIFAR_TEST,)
    batches = [
        pickle.loads(raw_files.read_raw_file(raw, name, data_dir), encoding="latin1")
        for name in names
    ]
    images = np.concatenate([batch["data"] for batch in batches])
    labels = np.concatenate([batch["labels"] for batch in batches])
    return Split(images, labels.astype(np.int64), white=255)


def _load_digits(part: Part, data_dir: Path) -> Split:  # noqa: ARG001 (the others need it)
    images, labels = read_scikit_learn("digits")
    rest, test = _part_off_test("digits", len(labels))
    return Split(images, labels, white=16).take(test if part == "test" else rest)


def _load_table(name: str, part: Part, data_dir: Path) -> Split:  # noqa: ARG001
    """Return inputs, and targets that are numbers, of mean 0 and variance 1 but for the test part.

    By what is no test example, whatever the seed; so a study's λ does not depend on units.
    """
    inputs, targets = read_scikit_learn(name)
    rest, test = _part_off_test(name, len(targets))
    inputs = (inputs - inputs[rest].mean(0)) / inputs[rest].std(0)
    if not DATASETS[name].n_classes:
        targets = ((targets - targets[rest].mean()) / targets[rest].std()).astype(np.float32)
    everything = Split(inputs.astype(np.float32), targets, white=1)
    return everything.take(test if part == "test" else rest)


def _part_off_test(name: str, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the examples that train or validate, and those of the test part."""
    order = permutation(n, derive_seed(_TEST_SEED, f"{name}-test"))
    n_test = DATASETS[name].n_test
    return order[n_test:], order[:n_test]


_LOADERS: dict[str, Callable[[Part, Path], Split]] = {
    "mnist": functools.partial(_load_mnist_like, raw_files.MNIST),
    "fashion-mnist": functools.partial(_load_mnist_like, raw_files.FASHION_MNIST),
    "kmnist": functools.partial(_load_mnist_like, raw_files.KMNIST),
    "cifar10": functools.partial(_load_cifar, raw_files.CIFAR10),
    "digits": _load_digits,
    "breast-cancer": functools.partial(_load_table, "breast-cancer"),
    "wine": functools.partial(_load_table, "wine"),
    "diabetes": functools.partial(_load_table, "diabetes"),
}


@functools.lru_cache(maxsize=1)
def load_training_data(
    name: str, *, seed: int, train_size: int | None = None, data_dir: Path = Path("data")
) -> tuple[Split, Split]:
    """Return (training, validation) images; the test set is not touched.

    The split depends on ``seed`` alone; ``train_size`` keeps its first N training images, so
    that the validation images are the same for every N. What was loaded last is kept, so that
    processes forked from this one have it in shared memory: it is not to be written to. Raises
    DataError or UnknownNameError.
    """
    dataset = _get_facts(name)
    if train_size is not None and not 0 < train_size <= dataset.n_train:
        raise DataError(f"Data set {name} has 1 to {dataset.n_train} training images: {train_size}")
    everything = _LOADERS[name]("train", data_dir)
    order = permutation(len(everything), derive_seed(seed, "split"))
    train, validation = order[: dataset.n_train], order[dataset.n_train :]
    return everything.take(train[:train_size]), everything.take(validation)


def load_test_data(name: str, *, data_dir: Path = Path("data")) -> Split:
    """Return the test images: to be read once, after selection, never by a trial."""
    _get_facts(name)
    return _LOADERS[name]("test", data_dir)


def _get_facts(name: str) -> DatasetFacts:
    if name not in DATASETS:
        raise UnknownNameError(f"Unknown data set {name!r}: choose one of {', '.join(DATASETS)}")
    return DATASETS[name]
