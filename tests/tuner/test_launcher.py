"""`tuner run` under real signals: what was in training is given back, the dead are replaced."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from storage import GIVEN_BACK, create_storage, list_workers
from tests.conftest import Cli, clean_environment
from tests.tuner.conftest import wait_until
from tuner.study import LoadedStudy, load_study

# Long enough that a signal meets trials in training.
SLOW = (
    "--dataset",
    "digits",
    "--pruner",
    "none",
    "--workers",
    "2",
    "--lanes",
    "1",
    "--no-confirm",
)

pytestmark = pytest.mark.slow


@pytest.fixture
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Start `tuner run` on 5 trials as a terminal would: in a process group of its own.

    Of 100 epochs each, or as many as the test asks for.
    """
    options = ["--study", "s", "--trials", "5", "--epochs", getattr(request, "param", "100")]
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "run", *options, *SLOW, "--json"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _wait_for_study(folder: Path) -> LoadedStudy:
    wait_until((folder / "tuner.db").exists, seconds=60)
    storage = create_storage(f"sqlite:///{folder / 'tuner.db'}")
    # What makes it a study of ours is written last.
    wait_until(
        lambda: any("spec" in study.user_attrs for study in storage.get_all_studies()), seconds=60
    )
    loaded = load_study(storage, "s")
    wait_until(lambda: len(_running(loaded)) == 2, seconds=60)
    return loaded


def _running(loaded: LoadedStudy) -> list[int]:
    trials = loaded.study.get_trials(states=(TrialState.RUNNING,))
    return [trial.number for trial in trials if trial.intermediate_values]


@pytest.mark.parametrize(
    "send",
    [
        pytest.param(lambda p: os.killpg(p.pid, signal.SIGINT), id="Ctrl-C to the group"),
        pytest.param(lambda p: p.terminate(), id="SIGTERM to the launcher"),
    ],
)
def test_interrupted_run_gives_back_and_resumes_to_the_exact_budget(
    running: subprocess.Popen[str], tmp_path: Path, call: Cli, send: Callable[..., None]
) -> None:
    """Status 130, one line, no trial left RUNNING; the same command finishes the study."""
    loaded = _wait_for_study(tmp_path)
    send(running)
    stdout, stderr = running.communicate(timeout=30)
    assert running.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
    assert stderr.strip().splitlines()[-1] == "tuner: interrupted"
    trials = loaded.study.get_trials()
    assert not [t for t in trials if t.state is TrialState.RUNNING]
    assert len([t for t in trials if GIVEN_BACK in t.user_attrs]) == 2

    resumed = call("run", "--study", "s", "--workers", "2", "--no-confirm", "--json")
    answer = json.loads(resumed.stdout)
    assert (answer["n_finished"], answer["states"]) == (5, {"COMPLETE": 5})
    assert answer["n_given_back"] == 2


@pytest.mark.parametrize("seconds", [0, 1, 2.5])
def test_run_interrupted_while_it_starts_ends_in_one_line(
    running: subprocess.Popen[str], tmp_path: Path, seconds: float
) -> None:
    """Ctrl-C while torch is being imported gives no traceback, of whatever process."""
    wait_until((tmp_path / "tuner.db").exists, seconds=60)
    time.sleep(seconds)
    os.killpg(running.pid, signal.SIGINT)
    _, stderr = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in stderr
    assert stderr.strip().splitlines()[-1] == "tuner: interrupted"


def test_run_whose_study_is_deleted_says_so(running: subprocess.Popen[str], tmp_path: Path) -> None:
    """Deleting a study under its workers ends them in one line."""
    loaded = _wait_for_study(tmp_path)
    optuna.delete_study(study_name="s", storage=loaded.storage)
    _, stderr = running.communicate(timeout=30)
    assert running.returncode == 1
    assert "Traceback" not in stderr
    assert "has been deleted" in stderr.strip().splitlines()[-1]


# So many that no trial has just ended when the workers are killed: what it was worth is written up
# to 0.4 s later, and lost with its worker, so that it would be given back too.
@pytest.mark.parametrize("running", ["500"], indirect=True, ids=["long trials"])
def test_killed_workers_are_replaced_and_their_trials_repeated(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    """kill -9 of all workers costs no trial of the budget, nor waiting for their leases."""
    loaded = _wait_for_study(tmp_path)
    for victim in list_workers(loaded.storage.engine, loaded.study_id):
        os.kill(victim.pid, signal.SIGKILL)
    stdout, stderr = running.communicate(timeout=50)
    assert running.returncode == 0, stderr
    answer = json.loads(stdout)
    assert answer["states"] == {"COMPLETE": 5}
    assert answer["n_given_back"] == 2
    assert "was killed: starting another" in stderr


def test_workers_of_a_killed_launcher_give_back_and_leave(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    """kill -9 of `tuner run` itself leaves no worker behind and nothing RUNNING."""
    loaded = _wait_for_study(tmp_path)
    os.kill(running.pid, signal.SIGKILL)
    wait_until(lambda: not list_workers(loaded.storage.engine, loaded.study_id), seconds=20)
    assert not loaded.study.get_trials(states=(TrialState.RUNNING,))
    assert loaded.load_budget().n_leased == 0
