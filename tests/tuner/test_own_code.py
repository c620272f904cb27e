"""Whatever a user's own code does ends its own trial, and nothing else."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from objectives import ObjectiveError, UnknownNameError
from storage import GIVEN_BACK, create_storage
from tests.conftest import ROOT
from tests.tuner.conftest import Crew, n_reporting, wait_until
from tuner.errors import StudyFailedError
from tuner.study import LoadedStudy, create_or_resume
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.jobs import look_at_objective
from tuner.workers.shutdown import Leaving

MINE = Path(__file__).with_name("own_code.py")


@pytest.fixture(autouse=True)
def _user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in a folder of a user's, which holds objectives."""
    (tmp_path / "mine.py").write_text(MINE.read_text())
    monkeypatch.chdir(tmp_path)


def _run(url: str, name: str, n_trials: int, **settings: Any) -> LoadedStudy:
    options = {"pruner": settings.pop("pruner", "none")}
    loaded = _create(url, name, n_trials, options, **settings.pop("brakes", {}))
    run_worker(WorkerConfig(url, "s", **settings), Leaving())
    return loaded


def _create(
    url: str, name: str, n_trials: int, given: Mapping[str, Any] | None = None, **brakes: Any
) -> LoadedStudy:
    options = {"objective": f"mine:{name}", "sampler": "random", "pruner": "none", **(given or {})}
    return create_or_resume(
        create_storage(url), "s", options, n_trials=n_trials, max_retries=1, brakes=brakes
    )


def _trials(loaded: LoadedStudy) -> list[FrozenTrial]:
    return loaded.study.get_trials(deepcopy=False)


def _states(loaded: LoadedStudy) -> list[str]:
    return [t.state.name for t in _trials(loaded) if GIVEN_BACK not in t.user_attrs]


def _errors(loaded: LoadedStudy) -> list[str | None]:
    return [t.user_attrs.get("error") for t in _trials(loaded)]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("exits", "SystemExit: not supported"),
        ("parses_the_command_line", "SystemExit: 2"),
        ("interrupts_itself", "KeyboardInterrupt: "),
        ("raises_a_base_exception", "Odd: x"),
        ("raises_what_has_no_text", "Mute: a Mute"),
        ("returns_text", "the objective returned 'abc', not a number"),
        ("returns_two_values", "the objective returned (1, 2), 2 values: studies here have one"),
        ("returns_what_cannot_be_shown", "the objective returned a Shy, not a number"),
        ("raises_what_leaves_when_shown", "Leaver: a Leaver"),
        ("returns_what_leaves_when_read", "the objective returned a Leaver, not a number"),
        ("keeps_what_is_too_deep", "user attribute 'tree' is nested in more than 100 levels"),
        ("queues_what_is_too_deep", "user attribute 'tree' is nested in more than 100 levels"),
        ("takes_the_mark_of_what_is_run_again", "'given_back' is the attribute of a trial that is"),
        ("returns_nan", "the objective returned NaN"),
        ("a_coroutine", "not a number"),
        ("takes_too_many_arguments", "TypeError: takes_too_many_arguments() missing 1 required"),
    ],
)
def test_trial_whose_code_raises_or_returns_anything_fails_with_the_reason(
    sqlite_url: str, name: str, error: str
) -> None:
    """Every second trial does so; the others, the worker and the budget are untouched."""
    loaded = _run(sqlite_url, name, 4)
    assert _states(loaded) == ["COMPLETE", "FAIL", "COMPLETE", "FAIL"]
    assert error in str(_errors(loaded)[1])
    budget = loaded.load_budget()
    assert (budget.n_finished, budget.n_leased) == (4, 0)


@pytest.mark.parametrize("name", ["swallows_interrupts", "takes_signals_over"])
def test_trial_that_swallows_the_order_to_leave_is_given_back(crew: Crew, name: str) -> None:
    """Half a training is never COMPLETE, and the worker leaves in time all the same."""
    loaded = _create(crew.url, name, 2)
    worker = crew.start("worker")
    wait_until(lambda: n_reporting(loaded))
    worker.interrupt(signal.SIGTERM)
    assert worker.wait() == 130
    left, rerun = _trials(loaded)
    assert (left.state, left.user_attrs[GIVEN_BACK]) == (TrialState.FAIL, "SIGTERM")
    assert (rerun.state, rerun.system_attrs["fixed_params"]) == (TrialState.WAITING, left.params)
    assert "Traceback" not in worker.logged()


@pytest.mark.parametrize("queued", [0.0, -1.0, "much"])
def test_queued_parameter_that_cannot_be_fails_its_own_trial(sqlite_url: str, queued: Any) -> None:
    """No weight decay on a log scale, or words, cost one slot, and say which parameter."""
    options = {"dataset": "digits", "epochs": 1, "train_size": 100, "sampler": "random"}
    loaded = create_or_resume(create_storage(sqlite_url), "s", options, n_trials=3)
    loaded.study.enqueue_trial({"weight_decay": queued, "lr": 0.1})
    loaded.study.enqueue_trial({"weight_decay": "1e-4", "lr": 0.1})
    assert run_worker(WorkerConfig(sqlite_url, "s", n_lanes=2), Leaving()) == 0
    assert _states(loaded) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert "ValueError" in str(_errors(loaded)[0])
    assert _trials(loaded)[1].params["weight_decay"] == 1e-4


@pytest.mark.parametrize(
    ("name", "brakes", "reason"),
    [
        ("hangs", {"trial_timeout": 1.0}, "no end after 1 s"),
        ("falls_silent", {"silence_timeout": 1.0}, "no report for 1 s"),
        ("hangs_deaf", {"trial_timeout": 1.0}, "no end after 1 s"),
    ],
)
def test_trial_without_an_end_is_ended(
    sqlite_url: str, name: str, brakes: dict[str, float], reason: str
) -> None:
    """The third of four fails with the limit; its neighbours and the budget are untouched."""
    loaded = _run(sqlite_url, name, 4, brakes=brakes, n_trainers=2)
    assert sorted(_states(loaded)) == ["COMPLETE", "COMPLETE", "COMPLETE", "FAIL"]
    assert reason in str(_errors(loaded)[2])
    assert loaded.load_budget().n_finished == 4


@pytest.mark.parametrize(
    ("name", "n_said"), [("takes_long_beside_complete", 1), ("takes_long_beside_pruned", 0)]
)
def test_trial_that_takes_ten_times_the_complete_ones_is_said_once(
    sqlite_url: str, name: str, n_said: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Those that were pruned after their first epoch say nothing of how long others take."""
    _run(sqlite_url, name, 6)
    assert caplog.text.count("Trial 5 has taken 5 s, more than 10 times") == n_said


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("kills_its_process", "was killed by SIGKILL"),
        ("ends_its_process", "ended with status 3"),
        ("crashes", "was killed by SIGSEGV"),
    ],
)
def test_trial_that_kills_its_process_is_retried_and_then_fails(
    sqlite_url: str, name: str, how: str
) -> None:
    """As often as --max-retries says; all others are complete."""
    loaded = _run(sqlite_url, name, 4, n_trainers=2)
    assert sorted(_states(loaded)) == ["COMPLETE", "COMPLETE", "COMPLETE", "FAIL"]
    (failed,) = [error for error in _errors(loaded) if error]
    assert failed == f"its trainer {how}"
    assert loaded.load_budget().n_finished == 4


def test_objective_that_leaks_costs_no_trial(sqlite_url: str) -> None:
    """A process that dies at each fourth trial is replaced as often as it takes."""
    loaded = _run(sqlite_url, "leaks", 24, n_trainers=2)
    assert _states(loaded) == ["COMPLETE"] * 24


def test_process_is_renewed_after_as_many_trials_as_wanted(sqlite_url: str) -> None:
    """The objective that leaks never gets so far."""
    loaded = _run(sqlite_url, "tells_its_process", 6, brakes={"trials_per_process": 2})
    pids = [trial.user_attrs["pid"] for trial in _trials(loaded)]
    assert pids[0::2] == pids[1::2]
    assert len(set(pids)) == 3


def test_objective_that_always_fails_stops_the_study(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After ten in a row, with the first error and one traceback; the other slots are kept."""
    loaded = _create(sqlite_url, "typo", 200)
    with pytest.raises(StudyFailedError, match="last 10 trials failed, the first with Attribute"):
        run_worker(WorkerConfig(sqlite_url, "s"), Leaving())
    assert _states(loaded) == ["FAIL"] * 10
    assert (loaded.load_budget().state, loaded.load_budget().n_leased) == ("stopped", 0)
    assert caplog.text.count("Traceback") == 1


def test_trainer_whose_trials_fail_while_those_of_others_succeed_leaves(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A process whose device has died takes three slots, not all of them."""
    loaded = _run(sqlite_url, "breaks_in_one_process", 12, n_trainers=2)
    assert _states(loaded).count("FAIL") == 3
    assert "3 trials in a row failed in trainer" in caplog.text


def test_error_that_may_pass_is_retried(sqlite_url: str) -> None:
    """Out of memory once is no failure of the trial's parameters."""
    loaded = _run(sqlite_url, "is_out_of_memory_once", 2, brakes={"retry_on": ["out-of-memory"]})
    assert _states(loaded) == ["COMPLETE", "COMPLETE"]
    assert _trials(loaded)[0].user_attrs[GIVEN_BACK].startswith("MemoryError")


def test_nothing_that_a_trial_sets_is_there_in_the_next(sqlite_url: str) -> None:
    """Directory, environment, generators, modes, handlers, streams, paths, filters."""
    loaded = _run(sqlite_url, "leaves_everything_changed", 3)
    first, second, third = [trial.user_attrs["found"] for trial in _trials(loaded)]
    assert first == second == third


def test_trial_that_closes_its_streams_leaves_the_next_its_own(sqlite_url: str) -> None:
    """It has a process of its own: what cannot be put back is renewed."""
    assert _errors(_run(sqlite_url, "closes_its_streams", 3)) == [None] * 3


def test_generators_begin_anew_in_each_trial_by_its_number(tmp_path: Path) -> None:
    """Two studies of one seed draw the same; two trials do not."""
    drawn = []
    for name in "ab":
        loaded = _run(f"sqlite:///{tmp_path}/{name}.db", "draws", 3)
        drawn.append([trial.user_attrs["drawn"] for trial in _trials(loaded)])
    assert drawn[0] == drawn[1]
    assert len({tuple(numbers) for numbers in drawn[0]}) == 3


@pytest.mark.parametrize(("n", "expected"), [(None, 1), (2, 2)])
def test_function_has_as_many_threads_as_it_was_given(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, n: int | None, expected: int
) -> None:
    """Of torch, OpenMP and BLAS, and what it starts inherits it."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    loaded = _run(sqlite_url, "counts_threads", 1, n_threads=n)
    (trial,) = _trials(loaded)
    assert set(trial.user_attrs["threads"].values()) == {expected}
    assert trial.user_attrs["variable"] == str(expected)


@pytest.mark.parametrize(
    ("device", "expected"),
    [("auto", {"4", "5", "6"}), ("cuda:0,cuda:2", {"4", "6"})],
)
def test_each_trainer_sees_a_gpu_of_its_own(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, device: str, expected: set[str]
) -> None:
    """By the variable that CUDA reads; trainers share evenly if they are more."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    from tuner.workers import devices

    config = WorkerConfig(sqlite_url, "s", device=device)
    seen = set()
    for slot in range(6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
            devices.choose_device(config.seat(slot))
            seen.add(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == expected


def test_function_sees_its_gpu_before_it_is_imported(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of those that CUDA_VISIBLE_DEVICES lists."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    loaded = _run(sqlite_url, "tells_its_device", 6, n_trainers=2)
    assert {trial.user_attrs["visible"] for trial in _trials(loaded)} <= {"0", "1"}


def test_unknown_device_is_refused_for_functions_too(sqlite_url: str) -> None:
    """In one line, before anything is claimed."""
    loaded = _create(sqlite_url, "tells_its_device", 1)
    with pytest.raises(UnknownNameError, match="'nonsense'"):
        run_worker(WorkerConfig(sqlite_url, "s", device="nonsense"), Leaving())
    assert not _trials(loaded)


@pytest.mark.parametrize(
    "name", ["in_threads", "in_forked_processes", "in_spawned_processes", "in_joblib"]
)
def test_trial_may_be_handed_to_threads_and_processes(sqlite_url: str, name: str) -> None:
    """What they report, set and suggest is the trial's."""
    loaded = _run(sqlite_url, name, 2)
    assert _errors(loaded) == [None, None]
    for trial in _trials(loaded):
        assert trial.intermediate_values == {step: step / 4 for step in range(4)}
        assert set(trial.params) == {"x", "y"}
        assert trial.user_attrs["seen"] == trial.params["x"]


def test_folder_for_temporary_files_may_have_a_long_name(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No socket of ours lies in it: their names are short on every system."""
    folder = tmp_path / ("long" * 50)
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    assert _errors(_run(sqlite_url, "in_forked_processes", 1)) == [None]


def test_objective_reads_its_study_and_stops_it(sqlite_url: str) -> None:
    """As within Optuna: the trial that stops it is finished, and no other begins."""
    loaded = _run(sqlite_url, "stops_after_three", 100)
    assert _states(loaded) == ["COMPLETE"] * 3
    assert loaded.study.user_attrs["told"] == [0, 1, 2]
    assert loaded.load_budget().state == "stopped"


def test_generator_reports_what_it_yields_and_the_last_is_its_value(sqlite_url: str) -> None:
    """An epoch a step, from 1; its `finally` has run when the trial ends."""
    (trial,) = _trials(_run(sqlite_url, "yields_an_epoch", 1))
    x = trial.params["x"]
    assert trial.intermediate_values == {step: x + step for step in range(1, 5)}
    assert trial.value == x + 4
    assert trial.user_attrs["cleaned up"] is True


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("yields_nothing", "the objective returned None, not a number"),
        ("yields_text", "TypeError: The `value` argument"),
    ],
)
def test_generator_that_yields_no_number_fails(sqlite_url: str, name: str, error: str) -> None:
    """As a function that returns none."""
    (found,) = _errors(_run(sqlite_url, name, 1))
    assert found is not None
    assert error in found


def test_generator_is_closed_when_its_trial_is_pruned(sqlite_url: str) -> None:
    """Median pruning ends the sixth trial, worse than the five before."""
    loaded = _run(sqlite_url, "yields_worse_by_trial", 6, pruner="median")
    *before, last = _trials(loaded)
    assert {trial.state for trial in before} == {TrialState.COMPLETE}
    assert last.state is TrialState.PRUNED
    assert last.user_attrs["last epoch"] < 19


@pytest.mark.parametrize(
    ("name", "n_trainers"), [("waits_for_others_to_end", 2), ("reports_worse_by_a_process", 1)]
)
def test_trial_is_pruned_by_what_its_process_cannot_know(
    sqlite_url: str, name: str, n_trainers: int
) -> None:
    """Trials that ended since it began count, and so do reports of a process that it started."""
    loaded = _run(sqlite_url, name, 8, pruner="median", n_trainers=n_trainers)
    pruned = [t.number for t in _trials(loaded) if t.state is TrialState.PRUNED]
    assert pruned == [6 if n_trainers == 1 else 2]
    assert _states(loaded).count("COMPLETE") == 7


def test_objective_may_queue_trials(sqlite_url: str) -> None:
    """What it enqueues is run next."""
    loaded = _run(sqlite_url, "queues_a_trial", 3)
    assert [trial.params["x"] for trial in _trials(loaded)][1] == 0.25


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys; sys.exit(2)", "importing its module ended the program (SystemExit: 2)"),
        ("1 / 0", "raised ZeroDivisionError: division by zero"),
        ("import optuna; optuna.create_study()", "calls create_study while it is imported"),
        ("from optuna import create_study as c; c()", "calls create_study while it is imported"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of"),
        ("import os; os._exit(4)", "the process that imported its module ended with status 4"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
    ],
)
def test_module_that_cannot_be_imported_is_told_in_one_line(
    tmp_path: Path, source: str, message: str
) -> None:
    """Before anything is stored, whatever it does."""
    (tmp_path / "broken.py").write_text(f"{source}\n\ndef objective(trial):\n    return 1.0\n")
    with pytest.raises(ObjectiveError) as error:
        look_at_objective("broken:objective", {})
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("Objective 'broken:objective': ")


@pytest.mark.parametrize("name", ["storage", "objectives", "tuner"])
def test_module_may_be_called_as_ours(tmp_path: Path, sqlite_url: str, name: str) -> None:
    """The user's own is the one that the user's code imports."""
    (tmp_path / f"{name}.py").write_text(
        "VALUE = 0.75\n\ndef objective(trial):\n    return VALUE\n"
    )
    (tmp_path / "uses.py").write_text(
        f"from {name} import VALUE\n\ndef objective(trial):\n    return VALUE\n"
    )
    storage = create_storage(sqlite_url)
    for study, objective in (("a", f"{name}:objective"), ("b", "uses:objective")):
        loaded = create_or_resume(storage, study, {"objective": objective}, n_trials=1)
        look_at_objective(objective, {})
        assert run_worker(WorkerConfig(sqlite_url, study), Leaving()) == 0
        assert _trials(loaded)[0].value == 0.75


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    """Return the user's folder, with modules of the names of ours and of what we import."""
    for name in ("storage", "objectives", "optuna", "rich", "torch"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    return tmp_path


def test_command_by_its_module_imports_nothing_of_the_users_folder(hidden: Path) -> None:
    """`python -m` and PYTHONPATH put it on the path."""
    program = [sys.executable, "-m", "tuner", "train", "--dataset", "digits", "--epochs", "1"]
    options = ["--train-size", "64", "--weight-decay", "1e-4", "--lr", "0.1"]
    path = os.pathsep.join([str(hidden), str(ROOT)])
    found = subprocess.run(
        [*program, *options],
        cwd=hidden,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("Epoch 1,")


def test_users_script_beside_an_objectives_of_its_own_reads_answers(hidden: Path) -> None:
    """What needs our own package of that name says which file hides it."""
    (hidden / "script.py").write_text(
        "import tuner\n"
        "for read in (lambda: tuner.load_best('none.json'), lambda: tuner.Problem):\n"
        "    try:\n"
        "        read()\n"
        "    except (tuner.AnswerError, ImportError) as error:\n"
        "        print(error)\n"
    )
    found = subprocess.run(
        [sys.executable, "script.py"],
        cwd=hidden,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines() == [
        "Cannot read none.json: No such file or directory",
        f"lambda-tuner's package 'objectives' is hidden by {hidden / 'objectives.py'}: rename it",
    ]


def test_objective_may_be_a_file(tmp_path: Path, sqlite_url: str) -> None:
    """Named by its path, it finds the modules beside it."""
    folder = tmp_path / "my code"
    folder.mkdir()
    (folder / "beside.py").write_text("VALUE = 0.5\n")
    (folder / "train-it.py").write_text(
        "from beside import VALUE\n\ndef objective(trial):\n    return VALUE\n"
    )
    options = {"objective": "my code/train-it.py:objective"}
    look_at_objective(options["objective"], options)
    loaded = create_or_resume(create_storage(sqlite_url), "s", options, n_trials=1)
    assert run_worker(WorkerConfig(sqlite_url, "s"), Leaving()) == 0
    assert _trials(loaded)[0].value == 0.5


def test_coordinator_imports_neither_torch_nor_the_users_module(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    """It answers whatever those do."""
    script = tmp_path / "coordinate.py"
    script.write_text(
        "import sys\n"
        "from tuner.workers import coordinator, fleet, local\n"
        "from tuner import run\n"
        "print(sorted({'torch', 'mine'} & set(sys.modules)))\n"
    )
    found = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=True
    )
    assert found.stdout == "[]\n", call
    assert optuna.__name__ not in found.stderr
