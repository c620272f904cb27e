"""Data sets as arrays in memory, with a fixed split into training, validation and test images.

Arrays are NumPy's, so that this module does not load torch; training shares their memory.
"""

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from objectives import raw_files
from objectives.catalog import DATASETS, DatasetFacts
from objectives.errors import DataError, UnknownNameError
from objectives.seeds import derive_seed, permutation

Part = Literal["train", "test"]

# The digits have no official test set: ours is fixed for all studies, whatever their seed.
_DIGITS_TEST_SEED = 0


@dataclass(frozen=True)
class Split:
    """Images ``(n, inputs)`` in 0..white and labels ``(n,)`` in 0..n_classes-1.

    Kept as the files have them, a quarter of what float32 takes; training divides by ``white``.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
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
    names = {
        "train": (raw_files.TRAIN_IMAGES, raw_files.TRAIN_LABELS),
        "test": (raw_files.TEST_IMAGES, raw_files.TEST_LABELS),
    }[part]
    images, labels = (_parse_idx(raw_files.read_raw_file(raw, name, data_dir)) for name in names)
    return Split(images.reshape(len(images), -1), labels.astype(np.int64), white=255)


def _load_digits(part: Part, data_dir: Path) -> Split:  # noqa: ARG001 (the others need it)
    """Read the file that ``sklearn.datasets.load_digits`` reads; importing it takes a second."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise DataError("Data set digits comes with scikit-learn: pip install scikit-learn")
    file = Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    try:
        rows = np.loadtxt(file, delimiter=",")
    except OSError as error:
        raise DataError(f"Data set digits: {error}; install scikit-learn again") from error
    everything = Split(rows[:, :-1].astype(np.uint8), rows[:, -1].astype(np.int64), white=16)
    order = permutation(len(everything), derive_seed(_DIGITS_TEST_SEED, "digits-test"))
    n_test = DATASETS["digits"].n_test
    return everything.take(order[:n_test] if part == "test" else order[n_test:])


_LOADERS: dict[str, Callable[[Part, Path], Split]] = {
    "mnist": functools.partial(_load_mnist_like, raw_files.MNIST),
    "fashion-mnist": functools.partial(_load_mnist_like, raw_files.FASHION_MNIST),
    "digits": _load_digits,
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
