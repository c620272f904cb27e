"""A user's own small function: ``tuner run`` beside plain Optuna, processes from start to end."""

import shutil
import statistics
import uuid
from pathlib import Path

from benchmarks import small_network
from benchmarks.commands import ROOT, run_python
from benchmarks.section import Figure, Section
from benchmarks.setting import Setting, show_spread, spread

NOTE = """\
Seconds of whole processes, start-up included, each on a fresh SQLite file, {rounds} round(s) in
turn: {n_trials} trials of `benchmarks/small_network.py` (30 epochs of 14 batches of a 30-64-2
network), once by `study.optimize` in one process with torch's default number of threads, once by
`tuner run --workers 2 --no-confirm`."""

_PLAIN, _OURS = "plain Optuna, one process", "`tuner run --workers 2`"


def measure(setting: Setting) -> Section:
    """Run the same trials by both programs in turn."""
    n_rounds = 1 if setting.is_quick else 5
    seconds: dict[str, list[float]] = {_PLAIN: [], _OURS: []}
    for number in range(n_rounds):
        setting.announce(f"plain function, round {number + 1} of {n_rounds}")
        seconds[_PLAIN].append(run_plain_function(setting))
        seconds[_OURS].append(run_our_function(setting))
    ratio = statistics.median(seconds[_OURS]) / statistics.median(seconds[_PLAIN])
    return Section(
        title="A plain function",
        note=NOTE.format(rounds=n_rounds, n_trials=small_network.N_TRIALS),
        headings=("program", "median s", "min s", "max s"),
        rows=[[name, *show_spread(values)] for name, values in seconds.items()],
        figures=[
            Figure(
                "plain function: seconds beside plain Optuna", ratio, " times", 1, at_least=False
            )
        ],
        raw={name: spread(values) for name, values in seconds.items()},
    )


def run_plain_function(setting: Setting) -> float:
    """Run the trials by plain Optuna; return the seconds of its process."""
    return run_python(setting, [_copy_script(setting).name, _new_database(setting)])


def run_our_function(setting: Setting, root: Path = ROOT) -> float:
    """Run the trials by the `tuner run` of a checkout; return the seconds of its process."""
    command = [
        *("-m", "tuner", "run", "--no-confirm", "--storage", _new_database(setting)),
        *("--objective", f"{_copy_script(setting).stem}:objective"),
        *("--trials", f"{small_network.N_TRIALS}", "--workers", "2"),
        *("--output", str(setting.folder / "best.json")),
    ]
    return run_python(setting, command, root)


def _copy_script(setting: Setting) -> Path:
    """Return the script where a user has it: in the folder where the commands are started."""
    return Path(shutil.copy(small_network.__file__, setting.folder))


def _new_database(setting: Setting) -> str:
    return f"sqlite:///{setting.folder / uuid.uuid4().hex}.db"
