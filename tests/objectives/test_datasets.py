"""Data sets come whole, in the sizes promised, split once and for all by the study's seed."""

import dataclasses
import functools
import gzip
import hashlib
import pickle
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from objectives import datasets, raw_files
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


def _write_kmnist(folder: Path) -> tuple[dict[str, str], list[Split]]:
    """Write files as its authors do; return their MD5 sums and what is in them."""
    draws, parts, md5 = np.random.default_rng(0), [], {}
    names = list(raw_files.KMNIST.md5)
    for n, own in ((60_000, names[:2]), (10_000, names[2:])):
        images = draws.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = draws.integers(0, 10, n, dtype=np.uint8)
        parts.append(Split(images.reshape(n, -1), labels.astype(np.int64), white=255))
        for name, array in zip(own, (images, labels), strict=True):
            head = struct.pack(f">4B{array.ndim}i", 0, 0, 8, array.ndim, *array.shape)
            content = gzip.compress(head + array.tobytes(), 0)
            path = folder / "KMNIST" / "raw" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            md5[name] = hashlib.md5(content).hexdigest()
    return md5, parts


def _write_cifar(folder: Path) -> tuple[dict[str, str], list[Split]]:
    """Write pickles as Python 2 and its NumPy did; return their MD5 sums and what is in them."""
    draws, batches, md5 = np.random.default_rng(0), [], {}
    (folder / "cifar-10-batches-py").mkdir()
    for name in raw_files.CIFAR10.md5:
        images = draws.integers(0, 256, (10_000, 3072), dtype=np.uint8)
        labels = draws.integers(0, 10, 10_000)
        batch = {"data": images, "labels": labels.tolist(), "batch_label": name}
        content = pickle.dumps(batch, protocol=2).replace(b"cnumpy._core.", b"cnumpy.core.")
        (folder / "cifar-10-batches-py" / name).write_bytes(content)
        md5[name] = hashlib.md5(content).hexdigest()
        batches.append(Split(images, labels, white=255))
    return md5, batches


_WRITERS = {
    "kmnist": (_write_kmnist, datasets._load_mnist_like, raw_files.KMNIST),
    "cifar10": (_write_cifar, datasets._load_cifar, raw_files.CIFAR10),
}


@pytest.mark.parametrize("name", _WRITERS)
def test_files_of_its_authors_form_are_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image with its label, in the sizes of the catalog; other files of that name are not."""
    write, load, raw = _WRITERS[name]
    md5, batches = write(tmp_path)
    with pytest.raises(DataError, match="is damaged: its MD5 sum is"):
        load_test_data(name, data_dir=tmp_path)
    own = functools.partial(load, dataclasses.replace(raw, md5=md5))
    monkeypatch.setitem(datasets._LOADERS, name, own)
    train, validation = load_training_data(name, seed=0, data_dir=tmp_path)
    test = load_test_data(name, data_dir=tmp_path)
    facts = DATASETS[name]
    sizes = [facts.n_train, facts.n_validation, facts.n_test]
    assert [len(split) for split in (train, validation, test)] == sizes
    assert _identities(train, validation, test) == _identities(*batches)
    assert _identities(test) == _identities(batches[-1])


@pytest.mark.long
def test_cifar_is_as_torchvision_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three channels, one after another, each by rows; and its sums are torchvision's."""
    from torchvision.datasets import CIFAR10

    theirs = [tuple(each) for each in (*CIFAR10.train_list, *CIFAR10.test_list)]
    assert list(raw_files.CIFAR10.md5.items()) == theirs
    md5, _ = _write_cifar(tmp_path)
    content = pickle.dumps({"label_names": list("abcdefghij")}, protocol=2)
    (tmp_path / "cifar-10-batches-py" / "batches.meta").write_bytes(content)
    own = list(map(list, md5.items()))
    meta = {**CIFAR10.meta, "md5": hashlib.md5(content).hexdigest()}
    for name, value in (("train_list", own[:-1]), ("test_list", own[-1:]), ("meta", meta)):
        monkeypatch.setattr(CIFAR10, name, value)
    read = CIFAR10(str(tmp_path), train=False)
    raw = dataclasses.replace(raw_files.CIFAR10, md5=md5)
    ours = datasets._load_cifar(raw, "test", tmp_path)
    assert np.array_equal(ours.images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), read.data)
    assert ours.labels.tolist() == read.targets


@pytest.mark.parametrize(
    ("name", "raw"), [("kmnist", raw_files.KMNIST), ("cifar10", raw_files.CIFAR10)]
)
def test_catalog_checksum_is_that_of_the_sums_where_nobody_has_the_files(
    name: str, raw: raw_files.RawDataset
) -> None:
    """An export names the very files: whatever was read had these sums."""
    assert hashlib.sha256("".join(raw.md5.values()).encode()).hexdigest() == DATASETS[name].sha256
