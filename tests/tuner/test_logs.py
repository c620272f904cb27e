"""`--log-format json`: whatever a command says on stderr is one JSON object a line."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storage import create_storage
from tests.conftest import Cli, clean_environment

_THEIRS = """
import sys
import threading
import warnings

def objective(trial):
    x = trial.suggest_float("x", 0, 1)
    trial.report(x, 1)
    if trial.number == 0:
        print("said on stdout")
        print("said on stderr", file=sys.stderr)
        warnings.warn("careful")
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
    if trial.number == 1:
        raise ValueError("broken\\non two lines")
    return x
"""


_PRINTING = """
import logging, sys
from tuner.logs import set_up_logging

set_up_logging(logging.INFO, "json")
for i in range(100_000):
    sys.stderr.write(f"\\r{i:6d} " + "#" * 60)
sys.stderr.write("\\n  begun\\r\\n")
for _ in range(20_000):
    sys.stderr.write(".")
"""


def _lines(text: str) -> list[dict[str, Any]]:
    """Return the objects, one of each line; fails if any line is none."""
    return [json.loads(line) for line in text.splitlines()]


def _with(lines: list[dict[str, Any]], part: str) -> dict[str, Any]:
    """Return the only line whose message has this part."""
    (line,) = (line for line in lines if part in line["message"])
    return line


@pytest.mark.slow
def test_run_logs_each_line_as_json_with_study_worker_and_trial(fork: Cli, tmp_path: Path) -> None:
    """Progress, workers, and what an objective prints, warns of and raises."""
    (tmp_path / "theirs.py").write_text(_THEIRS)
    options = ("--study", "s", "--trials", "3", "--workers", "1", "--no-confirm", "--verbose")
    logging = ("--log-format", "json")
    result = fork("run", "--objective", "theirs:objective", *options, *logging, FORCE_COLOR="1")
    assert result.returncode == 0, result.stderr
    lines = _lines(result.stderr)
    for line in lines:
        assert line["study"] == "s"
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
    ended = _with(lines, "Trial 2 COMPLETE")
    assert (ended["level"], ended["logger"], ended["trial"]) == (
        "INFO",
        "tuner.workers.booking",
        2,
    )
    assert re.fullmatch(r".+:\d+", ended["worker"])
    failed = _with(lines, "Trial 1: ValueError: broken")
    assert failed["trial"] == 1
    assert failed["exception"].endswith("ValueError: broken\non two lines")
    assert _with(lines, "careful")["logger"] == "py.warnings"
    assert "ZeroDivisionError" in _with(lines, "division by zero")["exception"]
    for printed in ("said on stdout", "said on stderr", "3/3 finished (2 COMPLETE, 1 FAIL)"):
        assert _with(lines, printed)["logger"] == "stderr"


def test_progress_bar_is_logged_as_its_last_state() -> None:
    """It takes no memory, nor ever more time; what has no end is logged now and then."""
    result = subprocess.run(
        [sys.executable, "-c", _PRINTING],
        stderr=subprocess.PIPE,
        text=True,
        timeout=200,
        check=True,
    )
    bar, begun, dots = (line["message"] for line in _lines(result.stderr))
    assert bar == " 99999 " + "#" * 60
    assert begun == "  begun"
    assert 1_000 < len(dots) < 20_000
    assert set(dots) == {"."}


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--trials", "many"], 2, "Invalid value for '--trials'"),
        (["--storage", "sqlite:////nowhere/tuner.db"], 1, "Cannot open storage"),
    ],
    ids=["wrong usage", "failure"],
)
def test_failure_is_told_as_json(fork: Cli, options: list[str], status: int, message: str) -> None:
    """The one line that says why a command failed is for programs then, too."""
    result = fork("run", *options, TUNER_LOG_FORMAT="json")
    assert result.returncode == status
    (line,) = _lines(result.stderr)
    assert line["level"] == "ERROR"
    assert message in line["message"]


def test_unknown_format_is_wrong_usage(fork: Cli) -> None:
    """One line that names those there are."""
    result = fork("worker", "--log-format", "xml")
    assert result.returncode == 2
    assert result.stderr.endswith("'xml' is none of text, json\n")
    assert result.stderr.count("\n") == 1


def test_worker_told_to_end_logs_no_error(tmp_path: Path) -> None:
    """Whoever is alerted by errors sleeps through an orderly end."""
    create_storage(f"sqlite:///{tmp_path / 'tuner.db'}").engine.dispose()
    command = [sys.executable, "-m", "tuner", "worker", "--log-format", "json"]
    environment = clean_environment()
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stderr is not None
        assert "waiting" in json.loads(worker.stderr.readline())["message"]
        worker.terminate()
        (last,) = _lines(worker.stderr.read())
    assert worker.returncode == 130
    assert (last["level"], last["message"]) == ("INFO", "interrupted")
