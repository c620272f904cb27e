"""Workers as real processes that a test may kill, freeze and interrupt, and what they search."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from storage import create_storage
from tests.conftest import clean_environment
from tests.forked import Tuner
from tuner import cli
from tuner.report import list_trials
from tuner.study import LoadedStudy, create_or_resume

# A trial goes on, reporting 20 times a second, until there is a file `finish`.
_THEIRS = """
import os
import random
import time
from pathlib import Path

def until_told(trial, by="finish"):
    x = trial.suggest_float("x", 0, 1)
    step = 0
    while step < 5 or not Path(by).exists():
        step += 1
        trial.report(x, step)
        time.sleep(0.05)
    return x

def drawn(trial):
    value = random.SystemRandom().random()
    trial.set_user_attr("drawn", value)
    until_told(trial, os.environ["FINISH"])
    return value

def deaf(trial):
    trial.report(1, 1)
    while True:
        try:
            time.sleep(1)
        except BaseException:
            pass
"""
FUNCTION = {"objective": "theirs:until_told", "pruner": "none"}
# Trials of some seconds.
LANES = {"dataset": "digits", "train_size": 128, "epochs": 1500, "pruner": "none"}


def wait_until(condition: Callable[[], object], seconds: float = 300) -> None:
    """Wait until a condition holds; fail if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen"
        time.sleep(0.02)


@dataclass
class Process:
    """A `tuner` command that runs, and what it has logged."""

    popen: subprocess.Popen[bytes] | Tuner
    log: Path

    def logged(self) -> str:
        """Return stdout and stderr so far."""
        return self.log.read_text()

    def interrupt(self, number: signal.Signals) -> None:
        """Send a signal: Ctrl-C to the whole group, as a terminal does."""
        if number == signal.SIGINT:
            os.killpg(self.popen.pid, number)
        else:
            self.popen.send_signal(number)

    def wait(self, seconds: float = 300) -> int:
        """Return the exit status, once it has ended."""
        return self.popen.wait(seconds)


@dataclass
class Crew:
    """A study in a folder of its own, and the processes that work on it."""

    folder: Path
    url: str
    processes: list[Process] = field(default_factory=list)

    def create(self, options: dict[str, Any], n_trials: int) -> LoadedStudy:
        """Create the study `s`."""
        return create_or_resume(create_storage(self.url), "s", options, n_trials=n_trials)

    def start(self, command: str, *options: str, **environment: str) -> Process:
        """Start a `tuner` command on the study, in a process group of its own."""
        return self.start_command(command, *self._where, *options, **environment)

    def start_command(self, *arguments: str, **environment: str) -> Process:
        """Start any `tuner` command."""
        log = self._next_log()
        return self._add(Tuner(arguments, self.folder, clean_environment(**environment), log), log)

    def start_python(self, command: str, *options: str, **environment: str) -> Process:
        """Start a `tuner` command on the study in a Python that is started for it."""
        log = self._next_log()
        with log.open("wb") as stream:
            popen = subprocess.Popen(
                [sys.executable, "-m", "tuner", command, *self._where, *options],
                cwd=self.folder,
                env=clean_environment(**environment),
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        return self._add(popen, log)

    @property
    def _where(self) -> tuple[str, ...]:
        return ("--storage", self.url, "--study", "s")

    def _next_log(self) -> Path:
        return self.folder / f"{len(self.processes)}.log"

    def _add(self, popen: subprocess.Popen[bytes] | Tuner, log: Path) -> Process:
        self.processes.append(Process(popen, log))
        return self.processes[-1]

    def order(self, command: str, *options: str) -> None:
        """Carry out a quick `tuner` command within this process."""
        cli.app([command, "--storage", self.url, "--study", "s", *options], standalone_mode=False)

    def finish(self) -> None:
        """Let the trials of `until_told` come to their end."""
        (self.folder / "finish").touch()

    def end(self) -> None:
        """End what is left of all process groups."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.popen.pid, signal.SIGKILL)
            process.popen.kill()  # one that has no group yet
            process.popen.wait()


@pytest.fixture
def make_crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Crew]]:
    """Return a function that makes a crew for a storage URL, in a folder with a user's module."""
    (tmp_path / "theirs.py").write_text(_THEIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    crews: list[Crew] = []

    def make(url: str) -> Crew:
        crews.append(Crew(tmp_path, url))
        return crews[-1]

    yield make
    for crew in crews:
        crew.end()
    sys.modules.pop("theirs", None)


@pytest.fixture
def crew(make_crew: Callable[[str], Crew], sqlite_url: str) -> Crew:
    """Return a crew whose study is in an SQLite file."""
    return make_crew(sqlite_url)


def rows(loaded: LoadedStudy) -> list[dict[str, Any]]:
    """Return the study's trials as `tuner trials --json` prints them."""
    return list_trials(loaded)


def n_reporting(loaded: LoadedStudy) -> int:
    """Return how many trials are in training and have reported."""
    return sum(row["state"] == "RUNNING" and row["epochs"] > 0 for row in rows(loaded))
