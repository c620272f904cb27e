"""Whole studies, processes from start to end: a textbook Optuna script beside ``tuner run``.

Both store in SQLite. Epochs are counted in the databases: a trial reports once an epoch.
"""

import sqlite3
import statistics
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.commands import textbook_script, tuner_run
from benchmarks.section import Figure, Section
from benchmarks.setting import Setting, show_spread, spread

Command = Callable[[Setting, str, Sequence[str]], float]

_TEXTBOOK, _OURS = "textbook script", "`tuner run`"
_COMMANDS: dict[str, Command] = {_TEXTBOOK: textbook_script, _OURS: tuner_run}
_OWN_OPTIONS = {_TEXTBOOK: [], _OURS: ["--workers", "2"]}

NOTE = """\
Seconds of whole processes, start-up and (for `tuner run`, with 2 workers) test-set scoring and
export included, on a fresh SQLite file. {size} training images, 10,000 for validation. The script
(`benchmarks/textbook_script.py`) is one process with torch's default number of threads. {scaled}"""
SCALED = """\
With pruning the script ran only {n_trials} trials x {epochs} epochs, which gave its seconds an
epoch; its seconds in the table are these times the epochs that `tuner run` trained."""


@dataclass(frozen=True)
class Size:
    """How large a study is."""

    n_trials: int
    epochs: int
    pruner: str
    repetitions: int = 1

    def options(self, train_size: int | None) -> list[str]:
        """Return the options that both commands have in common."""
        options = ["--trials", str(self.n_trials), "--epochs", str(self.epochs)]
        options += ["--pruner", self.pruner]
        return options if train_size is None else [*options, "--train-size", str(train_size)]

    def __str__(self) -> str:
        pruning = "no pruning" if self.pruner == "none" else f"{self.pruner} pruner"
        return f"{self.n_trials} x {self.epochs}, {pruning}"


@dataclass(frozen=True)
class Amounts:
    """What is measured: a study without pruning, one with, and the script's part of the latter."""

    unpruned: Size
    pruned: Size
    script_pruned: Size
    train_size: int | None = None


FULL = Amounts(Size(8, 3, "none", 3), Size(50, 5, "median"), Size(6, 5, "median"))
QUICK = Amounts(Size(4, 2, "none"), Size(8, 3, "median"), Size(2, 2, "median"), train_size=2_000)


@dataclass
class Measured:
    """A study's seconds and epochs, once a repetition."""

    program: str
    size: Size
    seconds: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Epochs a second, of all trials together: the median of the repetitions."""
        return statistics.median(e / s for e, s in zip(self.epochs, self.seconds, strict=True))


def measure(setting: Setting) -> Section:
    """Run the studies and compare epochs a second."""
    amounts = QUICK if setting.is_quick else FULL
    unpruned = [_run(setting, name, amounts.unpruned, amounts.train_size) for name in _COMMANDS]
    script = _run(setting, _TEXTBOOK, amounts.script_pruned, amounts.train_size)
    ours = _run(setting, _OURS, amounts.pruned, amounts.train_size)
    # Not measured at this size: see SCALED.
    scaled = Measured(f"{_TEXTBOOK} (scaled)", amounts.pruned, epochs=ours.epochs)
    scaled.seconds.append(scaled.epochs[0] / script.speed)
    note = NOTE.format(
        size=f"{amounts.train_size or 50_000:,}",
        scaled=SCALED.format(n_trials=script.size.n_trials, epochs=script.size.epochs),
    )
    return Section(
        title="Whole studies",
        note=note,
        headings=("study", "program", "epochs", "median s", "min s", "max s", "epochs/s"),
        rows=[_row(measured) for measured in (*unpruned, scaled, ours)],
        figures=_figures(unpruned, scaled, ours),
        raw={"studies": [_raw(measured) for measured in (*unpruned, script, ours)]},
    )


def _run(setting: Setting, program: str, size: Size, train_size: int | None) -> Measured:
    measured = Measured(program, size)
    # The script takes minutes, in which the load evens out.
    repetitions = 1 if program == _TEXTBOOK else size.repetitions
    for _ in range(repetitions):
        setting.announce(f"studies, {program}, {size}")
        file = setting.folder / f"{uuid.uuid4().hex}.db"
        options = [*size.options(train_size), *_OWN_OPTIONS[program]]
        measured.seconds.append(_COMMANDS[program](setting, f"sqlite:///{file}", options))
        with sqlite3.connect(file) as connection:
            query = "SELECT count(*) FROM trial_intermediate_values"
            measured.epochs.append(connection.execute(query).fetchone()[0])
        connection.close()
    return measured


def _row(measured: Measured) -> list[str]:
    return [
        str(measured.size),
        measured.program,
        f"{statistics.median(measured.epochs):.0f}",
        *show_spread(measured.seconds),
        f"{measured.speed:.2f}",
    ]


def _figures(unpruned: list[Measured], scaled: Measured, ours: Measured) -> list[Figure]:
    script, ours_unpruned = unpruned
    share = 100 * scaled.speed / ours.speed
    return [
        Figure(f"study of {ours_unpruned.size}: epochs a second against the script",
               ours_unpruned.speed / script.speed, " times", 25, at_least=True),
        Figure(f"study of {ours.size}: share of the script's seconds", share, " %", 10,
               at_least=False),
    ]  # fmt: skip


def _raw(measured: Measured) -> dict[str, Any]:
    return {
        "program": measured.program,
        "study": str(measured.size),
        "seconds": spread(measured.seconds),
        "epochs": measured.epochs,
    }
