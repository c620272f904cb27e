"""Several trainers of a problem: one process opens its study, and they are forked from that."""

import os
import re
import signal
from pathlib import Path

import pytest

from storage import create_storage
from tests.processes import children_of, is_alive, trainers_of
from tests.tuner.conftest import Crew, Process, n_reporting, wait_until
from tuner.study import LoadedStudy, load_study

pytestmark = pytest.mark.slow

_MEBIBYTE = 1 << 20
# 128 MiB of data; each process that imports this, and each that makes a model, says so.
_PROBLEM = """
import os
import threading
import torch
from torch import nn
from tuner import Problem

def note(file):
    with open(file, "a") as log:
        log.write(f"{os.getpid()}\\n")

def make_model():
    note("models")
    return nn.Linear(256, 2)

note("imports")
inputs = torch.randn(131072, 256)
labels = (inputs[:, 0] > 0).long()
half = 65536
train, validation = (inputs[:half], labels[:half]), (inputs[half:], labels[half:])
"""
_IN_MEMORY = "problem = Problem(make_model, train=train, validation=validation, epochs={epochs})"
_WITH_THREAD = f"threading.Thread(target=threading.Event().wait, daemon=True).start()\n{_IN_MEMORY}"
_STREAMED = """
def batches():
    yield from zip(train[0].split(64), train[1].split(64))
problem = Problem(make_model, train=batches, validation=validation, epochs={epochs})
"""
# Imports that do not end; the second does not obey either.
_ENDLESS = """
import pathlib, threading
pathlib.Path("begun").touch()
threading.Event().wait()
"""
_DEAF = """
import pathlib, time
pathlib.Path("begun").touch()
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
"""
_N_TRAINERS = 3


def _start(crew: Crew, kind: str, epochs: int) -> Process:
    (crew.folder / "mine.py").write_text(_PROBLEM + kind.format(epochs=epochs))
    sizes = ["--trials", "6", "--workers", str(_N_TRAINERS), "--lanes", "1", "--pruner", "none"]
    return crew.start("run", "--objective", "mine.py:problem", *sizes, "--no-confirm")


def _pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()]


def _wait_for_all(crew: Crew) -> LoadedStudy:
    """Wait until all trainers train; return the study."""
    loaded: list[LoadedStudy] = []

    def is_there() -> bool:
        storage = create_storage(crew.url)
        if any("spec" in study.user_attrs for study in storage.get_all_studies()):
            loaded.append(load_study(storage, "s"))
        return bool(loaded)

    wait_until(is_there)
    wait_until(lambda: n_reporting(loaded[0]) == _N_TRAINERS)
    return loaded[0]


@pytest.mark.parametrize(
    ("kind", "n_openings"),
    [
        (_IN_MEMORY, 1),
        (_WITH_THREAD, _N_TRAINERS),
        pytest.param(_STREAMED, _N_TRAINERS, marks=pytest.mark.long),
    ],
    ids=["in memory", "module has a thread", "batches of a function"],
)
def test_study_is_opened_once_where_a_fork_finds_all_of_it(
    crew: Crew, kind: str, n_openings: int
) -> None:
    """Else each trainer opens it: a thread is in no fork, and who reads batches shares nothing."""
    process = _start(crew, kind, epochs=2)
    assert process.wait() == 0, process.logged()
    assert "6 of 6 trials finished" in process.logged()
    looked_at, *opened = _pids(crew.folder / "imports")
    assert len(opened) == n_openings
    trainers = set(_pids(crew.folder / "models")) - {looked_at, *opened}
    assert bool(trainers) == (n_openings == 1)


def test_data_in_memory_is_there_once_for_all_trainers(crew: Crew) -> None:
    """They have their own weights, and next to nothing of what the study's process has read."""
    process = _start(crew, _IN_MEMORY, epochs=100_000)
    _wait_for_all(crew)
    (opened,) = trainers_of(process.popen.pid)
    trainers = children_of(opened)
    assert len(trainers) == _N_TRAINERS
    assert _bytes(opened, "Rss") > 128 * _MEBIBYTE
    for trainer in trainers:
        assert _bytes(trainer, "Private_Dirty") < 96 * _MEBIBYTE


def test_built_in_problem_is_opened_once(crew: Crew) -> None:
    """Though its test set is not read by then."""
    sizes = ["--trials", "6", "--workers", str(_N_TRAINERS), "--lanes", "1", "--pruner", "none"]
    process = crew.start("run", "--dataset", "digits", "--epochs", "100000", *sizes)
    _wait_for_all(crew)
    (opened,) = trainers_of(process.popen.pid)
    assert len(children_of(opened)) == _N_TRAINERS


def _bytes(pid: int, kind: str) -> int:
    """Return how much of a process's memory is of this kind."""
    told = re.search(rf"^{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    assert told is not None
    return int(told[1]) * 1024


def test_killed_process_that_has_opened_a_study_is_replaced_with_its_trainers(crew: Crew) -> None:
    """kill -9 of it ends its trainers; their trials are given back, and run by new ones."""
    process = _start(crew, _IN_MEMORY, epochs=100_000)
    loaded = _wait_for_all(crew)
    (opened,) = trainers_of(process.popen.pid)
    trainers = children_of(opened)
    os.kill(opened, signal.SIGKILL)
    wait_until(lambda: len(loaded.study.trials) == 2 * _N_TRAINERS)
    wait_until(lambda: n_reporting(loaded) == _N_TRAINERS)
    assert not any(map(is_alive, trainers))
    assert len(trainers_of(process.popen.pid)) == 1


@pytest.mark.long
def test_kill_of_a_run_ends_what_was_forked_from_what_it_has_opened(crew: Crew) -> None:
    """kill -9 of `tuner run` leaves no process behind."""
    process = _start(crew, _IN_MEMORY, epochs=100_000)
    _wait_for_all(crew)
    opened = trainers_of(process.popen.pid)
    processes = [*opened, *children_of(opened[0])]
    assert len(processes) == 1 + _N_TRAINERS
    process.popen.kill()
    wait_until(lambda: not any(map(is_alive, processes)))


@pytest.mark.parametrize(
    "text", [_ENDLESS, pytest.param(_DEAF, marks=pytest.mark.long)], ids=["endless", "deaf"]
)
def test_run_obeys_while_its_problem_is_opened_for_all(crew: Crew, text: str) -> None:
    """Status 130 and one line; what imports the module is ended, by force if need be."""
    assert _start(crew, _IN_MEMORY, epochs=1).wait() == 0
    (crew.folder / "mine.py").write_text(text)
    process = crew.start("run", "--trials", "9", "--workers", "3", "--no-confirm")
    wait_until((crew.folder / "begun").exists)
    opening = trainers_of(process.popen.pid)
    process.interrupt(signal.SIGINT)
    assert process.wait() == 130
    assert process.logged().strip().splitlines()[-1] == "tuner: interrupted"
    wait_until(lambda: not any(map(is_alive, opening)))


@pytest.mark.long
def test_module_that_ends_its_process_is_told_in_one_line(crew: Crew) -> None:
    """Three processes that die while they open a problem are no accident."""
    assert _start(crew, _IN_MEMORY, epochs=1).wait() == 0
    (crew.folder / "mine.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    process = crew.start("run", "--trials", "9", "--workers", "3", "--no-confirm")
    assert process.wait() == 1
    last = process.logged().strip().splitlines()[-1]
    assert last.startswith("tuner: A trainer was killed by SIGSEGV while it was starting, 3 times")
