"""`tuner run` under real signals: what was in training is given back, the dead are replaced."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from storage import GIVEN_BACK, create_storage
from tests.conftest import Cli, clean_environment
from tests.processes import children_of, is_alive, parent_of, trainers_of
from tests.tuner.conftest import Crew, wait_until
from tuner.study import LoadedStudy, load_study
from tuner.workers.config import WorkerConfig
from tuner.workers.messages import Job
from tuner.workers.nursery import open_nursery

OPTIONS = ("--pruner", "none", "--workers", "2", "--no-confirm", "--json")
# However long it takes until what a test waits for is there.
UNTIL_TOLD = ("--objective", "theirs:until_told")
ENDLESS = ("--dataset", "digits", "--epochs", "100000", "--lanes", "1")

pytestmark = pytest.mark.slow


@pytest.fixture
def running(
    tmp_path: Path,
    crew: Crew,  # noqa: ARG001 (its folder holds the function)
    request: pytest.FixtureRequest,
) -> Iterator[subprocess.Popen[str]]:
    """Start `tuner run` on 5 trials as a terminal would: in a process group of its own."""
    options = ["--study", "s", "--trials", "5", *getattr(request, "param", UNTIL_TOLD), *OPTIONS]
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", "run", *options],
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
    wait_until((folder / "tuner.db").exists)
    storage = create_storage(f"sqlite:///{folder / 'tuner.db'}")
    # What makes it a study of ours is written last.
    wait_until(lambda: any("spec" in study.user_attrs for study in storage.get_all_studies()))
    loaded = load_study(storage, "s")
    wait_until(lambda: len(_running(loaded)) == 2)
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
    running: subprocess.Popen[str],
    tmp_path: Path,
    crew: Crew,
    call: Cli,
    send: Callable[..., None],
) -> None:
    """Status 130, one line, no trial left RUNNING; the same command finishes the study."""
    loaded = _wait_for_study(tmp_path)
    send(running)
    stdout, stderr = running.communicate(timeout=300)
    assert running.returncode == 130
    assert stdout == ""
    assert "Traceback" not in stderr
    assert stderr.strip().splitlines()[-1] == "tuner: interrupted"
    trials = loaded.study.get_trials()
    assert not [t for t in trials if t.state is TrialState.RUNNING]
    assert len([t for t in trials if GIVEN_BACK in t.user_attrs]) == 2

    crew.finish()
    resumed = call("run", "--study", "s", "--workers", "2", "--no-confirm", "--json")
    answer = json.loads(resumed.stdout)
    assert (answer["n_finished"], answer["states"]) == (5, {"COMPLETE": 5})
    assert answer["n_given_back"] == 2


@pytest.mark.parametrize("running", [ENDLESS], indirect=True, ids=["endless trials"])
@pytest.mark.parametrize(
    "find",
    [
        pytest.param(lambda pid: [pid], id="study is made"),
        pytest.param(children_of, id="torch is imported"),
        pytest.param(trainers_of, id="trainers begin"),
    ],
)
def test_run_interrupted_while_it_starts_ends_in_one_line(
    running: subprocess.Popen[str], tmp_path: Path, find: Callable[[int], list[int]]
) -> None:
    """Ctrl-C, whatever has been started by then, gives no traceback of whatever process."""
    wait_until((tmp_path / "tuner.db").exists)
    wait_until(lambda: find(running.pid))
    os.killpg(running.pid, signal.SIGINT)
    _, stderr = running.communicate(timeout=300)
    assert running.returncode == 130
    assert "Traceback" not in stderr
    assert stderr.strip().splitlines()[-1] == "tuner: interrupted"


@pytest.fixture
def endless_module(tmp_path: Path) -> None:
    """Put a module into the user's folder whose import has no end."""
    text = "import pathlib, threading; pathlib.Path('begun').touch(); threading.Event().wait()"
    (tmp_path / "endless.py").write_text(text)


@pytest.mark.usefixtures("endless_module")
@pytest.mark.parametrize("running", [("--objective", "endless.py:problem")], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_obeys_while_a_users_module_is_imported(
    running: subprocess.Popen[str], tmp_path: Path, number: signal.Signals
) -> None:
    """Nothing is stored by then, and no process is left."""
    wait_until((tmp_path / "begun").exists)
    importing = trainers_of(running.pid)
    running.send_signal(number)
    _, stderr = running.communicate(timeout=300)
    assert running.returncode == 130
    assert stderr.strip().splitlines()[-1] == "tuner: interrupted"
    assert not (tmp_path / "tuner.db").exists()
    assert importing
    wait_until(lambda: not any(map(is_alive, importing)))


def test_run_whose_study_is_deleted_says_so(running: subprocess.Popen[str], tmp_path: Path) -> None:
    """Deleting a study under its workers ends them in one line."""
    loaded = _wait_for_study(tmp_path)
    optuna.delete_study(study_name="s", storage=loaded.storage)
    _, stderr = running.communicate(timeout=300)
    assert running.returncode == 1
    assert "Traceback" not in stderr
    assert "has been deleted" in stderr.strip().splitlines()[-1]


def test_killed_trainers_are_replaced_and_their_trials_repeated(
    running: subprocess.Popen[str], tmp_path: Path, crew: Crew
) -> None:
    """kill -9 of all trainers costs no trial of the budget, nor waiting for a lease."""
    _wait_for_study(tmp_path)
    for victim in trainers_of(running.pid):
        os.kill(victim, signal.SIGKILL)
    crew.finish()
    stdout, stderr = running.communicate(timeout=300)
    assert running.returncode == 0, stderr
    answer = json.loads(stdout)
    assert answer["states"] == {"COMPLETE": 5}
    assert answer["n_given_back"] == 2
    assert stderr.count("A trainer was killed by SIGKILL: starting another") == 2


@pytest.mark.long
def test_killed_fork_server_is_replaced_with_all_its_trainers(
    running: subprocess.Popen[str], tmp_path: Path, crew: Crew
) -> None:
    """Trainers end with it, their trials are given back, and all of them are run again."""
    _wait_for_study(tmp_path)
    trainers = trainers_of(running.pid)
    (server,) = children_of(running.pid)
    os.kill(server, signal.SIGKILL)
    crew.finish()
    stdout, stderr = running.communicate(timeout=300)
    assert running.returncode == 0, stderr
    assert json.loads(stdout)["states"] == {"COMPLETE": 5}
    assert not any(map(is_alive, trainers))


def test_trainers_end_with_their_server_though_another_is_opened_at_once() -> None:
    """Whoever trained there is told of as ended: nobody waits for what will never speak."""
    nursery = open_nursery()
    trainer = nursery.fork(WorkerConfig("sqlite://", "s").seat(0), Job("time:sleep", 600))
    while trainer.pid is None:
        nursery.wait([trainer], 10)
        nursery.look()
    os.kill(parent_of(trainer.pid), signal.SIGKILL)
    wait_until(lambda: nursery.is_gone)
    assert open_nursery() is not nursery
    assert trainer.describe_end() == "was killed by SIGKILL"
    victim = trainer.pid
    wait_until(lambda: not is_alive(victim))
    trainer.channel.close()


def test_trainers_of_a_killed_run_end_with_it(
    running: subprocess.Popen[str], tmp_path: Path
) -> None:
    """kill -9 of `tuner run` itself leaves no process behind; its leases end."""
    loaded = _wait_for_study(tmp_path)
    processes = [*children_of(running.pid), *trainers_of(running.pid)]
    assert len(processes) == 3
    os.kill(running.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, processes)))
    assert loaded.load_budget().n_leased == 2
