"""Run ``tuner run`` and the textbook script as their users do: as processes, start to end."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.setting import DATASET, Setting

ROOT = Path(__file__).parent.parent
_SCRIPT = Path(__file__).parent / "textbook_script.py"


def tuner_run(
    setting: Setting, storage_url: str, options: Sequence[str], root: Path = ROOT
) -> float:
    """Run a study by ``tuner run`` with these options; return the seconds it took."""
    command = [
        *("-m", "tuner", "run", "--no-confirm", "--storage", storage_url, "--dataset", DATASET),
        *("--data-dir", str(setting.data_dir), "--output", str(setting.folder / "best.json")),
        *options,
    ]
    return run_python(setting, command, root)


def textbook_script(setting: Setting, storage_url: str, options: Sequence[str]) -> float:
    """Run a study by the textbook script with these options; return the seconds it took."""
    command = [str(_SCRIPT), "--storage", storage_url, "--data-dir", str(setting.data_dir)]
    return run_python(setting, [*command, *options])


def run_python(setting: Setting, command: Sequence[str], root: Path = ROOT) -> float:
    """Return the seconds of a Python process that uses a checkout's code.

    Raises CalledProcessError, with stderr shown, if it fails.
    The tuner's own environment variables would be options that nobody sees in the results.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith("TUNER_")}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *command],
        cwd=setting.folder,
        env={**kept, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()
    return seconds
