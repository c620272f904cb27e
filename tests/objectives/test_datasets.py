"""Data sets come whole, in the sizes promised, split once and for all by the study's seed."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from objectives import raw_files
from objectives.catalog import DATASETS
from objectives.datasets import Split, load_test_data, load_training_data
from objectives.errors import DataError


@pytest.fixture(params=["digits", "mnist"])
def dataset(request: pytest.FixtureRequest) -> tuple[str, Path]:
    """Return a data set's name and the directory that holds it."""
    if request.param == "mnist":
        return request.param, request.getfixturevalue("mnist_dir")
    return request.param, Path("digits need no directory")


def _identities(*splits: Split) -> Counter[tuple[int, int]]:
    """Count each image with its label; 64 bits of hash are enough to tell 70,000 apart."""
    return Counter(
        (hash(image.tobytes()), int(label))
        for split in splits
        for image, label in zip(split.images, split.labels, strict=True)
    )


def test_parts_of_a_data_set_are_as_the_catalog_says(dataset: tuple[str, Path]) -> None:
    """Each part has the size, shape, types and ranges that objectives rely on."""
    name, data_dir = dataset
    facts = DATASETS[name]
    train, validation = load_training_data(name, seed=0, data_dir=data_dir)
    test = load_test_data(name, data_dir=data_dir)
    sizes = [facts.n_train, facts.n_validation, facts.n_test]
    for split, n in zip((train, validation, test), sizes, strict=True):
        assert len(split) == n
        assert split.images.shape == (n, facts.n_inputs)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int64)
        assert (split.images.min(), split.images.max()) == (0, split.white)
        assert set(split.labels.tolist()) == set(range(facts.n_classes))


def test_parts_of_a_data_set_share_no_image(dataset: tuple[str, Path]) -> None:
    """No image that trained a model ever scores it."""
    name, data_dir = dataset
    train, validation = load_training_data(name, seed=0, data_dir=data_dir)
    parts = [train, validation, load_test_data(name, data_dir=data_dir)]
    together = _identities(*parts)
    assert len(together) == sum(len(part) for part in parts)


def test_split_with_another_seed_divides_the_same_images_differently(
    dataset: tuple[str, Path],
) -> None:
    """The seed decides which images validate; it neither loses one nor touches the test set."""
    name, data_dir = dataset
    first = load_training_data(name, seed=0, data_dir=data_dir)
    second = load_training_data(name, seed=1, data_dir=data_dir)
    assert _identities(*first) == _identities(*second)
    assert _identities(first[1]) != _identities(second[1])


def test_split_with_the_same_seed_is_the_same(dataset: tuple[str, Path]) -> None:
    """Every worker of a study sees the same images in the same order."""
    name, data_dir = dataset
    once = load_training_data(name, seed=3, data_dir=data_dir)
    again = load_training_data(name, seed=3, data_dir=data_dir)
    for left, right in zip(once, again, strict=True):
        assert np.array_equal(left.images, right.images)
        assert np.array_equal(left.labels, right.labels)


def test_split_with_train_size_keeps_the_first_images_and_all_of_validation(
    dataset: tuple[str, Path],
) -> None:
    """Trials on fewer images are scored on the same ones, so their values compare."""
    name, data_dir = dataset
    whole, validation = load_training_data(name, seed=0, data_dir=data_dir)
    few, same_validation = load_training_data(name, seed=0, train_size=100, data_dir=data_dir)
    assert np.array_equal(few.images, whole.images[:100])
    assert np.array_equal(few.labels, whole.labels[:100])
    assert np.array_equal(same_validation.images, validation.images)
    assert np.array_equal(same_validation.labels, validation.labels)


@pytest.mark.parametrize("train_size", [-1, 0, 1101])
def test_split_with_train_size_out_of_range_is_refused(train_size: int) -> None:
    """A size that the data set cannot give is refused with the sizes that it can."""
    with pytest.raises(DataError, match=f"1 to 1100 training images: {train_size}"):
        load_training_data("digits", seed=0, train_size=train_size)


def test_split_with_train_size_of_every_image_is_the_whole_training_set() -> None:
    """The largest size allowed means the same as none."""
    train, _ = load_training_data("digits", seed=0, train_size=1100)
    whole, _ = load_training_data("digits", seed=0)
    assert np.array_equal(train.images, whole.images)


def test_digits_in_all_parts_are_those_of_scikit_learn() -> None:
    """Every image comes with its own label, and none is missing or twice."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    original = Split(digits.data.astype(np.uint8), digits.target.astype(np.int64), white=16)
    parts = [*load_training_data("digits", seed=0), load_test_data("digits")]
    assert _identities(*parts) == _identities(original)


def test_mnist_in_all_parts_is_as_torchvision_reads_it(mnist_dir: Path) -> None:
    """Our reader of the raw files agrees with the one that everybody uses."""
    import torchvision

    theirs = [
        torchvision.datasets.MNIST(str(mnist_dir), train=is_train) for is_train in (True, False)
    ]
    expected = [
        Split(part.data.flatten(1).numpy(), part.targets.numpy(), white=255) for part in theirs
    ]
    parts = [
        *load_training_data("mnist", seed=0, data_dir=mnist_dir),
        load_test_data("mnist", data_dir=mnist_dir),
    ]
    assert _identities(*parts) == _identities(*expected)


def test_catalog_checksum_of_digits_is_that_of_the_arrays() -> None:
    """An export names the very pixels and labels that were trained on, each as one byte."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    content = digits.data.astype(np.uint8).tobytes() + digits.target.astype(np.uint8).tobytes()
    assert hashlib.sha256(content).hexdigest() == DATASETS["digits"].sha256


def test_catalog_checksum_of_mnist_is_that_of_the_raw_files(mnist_dir: Path) -> None:
    """An export names the very files that were trained on, one after another."""
    content = b"".join(
        raw_files.read_raw_file(raw_files.MNIST, name, mnist_dir) for name in raw_files.MNIST.md5
    )
    assert hashlib.sha256(content).hexdigest() == DATASETS["mnist"].sha256
