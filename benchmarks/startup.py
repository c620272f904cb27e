"""How long a user waits: for help, and from the start of ``tuner run`` to the first training step.

The first step is observed from outside: Optuna stores when a trial was asked for (a naive UTC
moment with microseconds), which a worker does when torch, data and lanes are ready, milliseconds
before its first step. From it goes the wall clock's time just before the process was started. A
bare ``import torch`` is timed in turn with it, as both vary with the load.
"""

import datetime
import sqlite3
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

from benchmarks.commands import ROOT, tuner_run
from benchmarks.section import Figure, Section
from benchmarks.setting import Setting, show_spread, spread

N_WORKERS = (1, 2)
NOTE = """\
Process starts in turn, {rounds} rounds. The first training step of `tuner run` (a fresh SQLite
file, MNIST) is taken from the first trial's start as the database has it."""

_TORCH, _HELP = 'python -c "import torch"', "tuner --help"


def measure(setting: Setting) -> Section:
    """Time bare torch, the help text, and the way to the first step with some workers."""
    n_rounds = 1 if setting.is_quick else 5
    seconds: dict[str, list[float]] = {}
    for number in range(n_rounds):
        setting.announce(f"start-up, round {number + 1} of {n_rounds}")
        seconds.setdefault(_TORCH, []).append(_time_python("-c", "import torch"))
        seconds.setdefault(_HELP, []).append(_time_python("-m", "tuner", "--help"))
        for n_workers in N_WORKERS:
            waited = time_to_first_step(setting, n_workers)
            seconds.setdefault(_first_step(n_workers), []).append(waited)
    return Section(
        title="Start-up",
        note=NOTE.format(rounds=n_rounds),
        headings=("what", "median s", "min s", "max s"),
        rows=[[name, *show_spread(values)] for name, values in seconds.items()],
        figures=_figures(seconds),
        raw={name: spread(values) for name, values in seconds.items()},
    )


def _first_step(n_workers: int) -> str:
    return f"first training step, --workers {n_workers}"


def _figures(seconds: dict[str, list[float]]) -> list[Figure]:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    figures = [
        Figure(
            f"{_first_step(n_workers)}, beyond import torch",
            medians[_first_step(n_workers)] - medians[_TORCH],
            " s",
            1.5,
            at_least=False,
        )
        for n_workers in N_WORKERS
    ]
    return [*figures, Figure(_HELP, medians[_HELP], " s", 0.5, at_least=False)]


def _time_python(*arguments: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def time_to_first_step(setting: Setting, n_workers: int, root: Path = ROOT) -> float:
    """Return the seconds from `tuner run`, in the checkout ``root``, to its first training step."""
    file = setting.folder / f"{uuid.uuid4().hex}.db"
    options = ["--trials", str(n_workers), "--epochs", "1", "--workers", str(n_workers)]
    started_at = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    tuner_run(setting, f"sqlite:///{file}", options, root=root)
    with sqlite3.connect(file) as connection:
        (first,) = connection.execute("SELECT min(datetime_start) FROM trials").fetchone()
    connection.close()
    return (datetime.datetime.fromisoformat(first) - started_at).total_seconds()
