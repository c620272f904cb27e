"""A worker without --study serves all open studies, and runs only code that it was allowed to."""

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from storage import create_storage, set_study_state
from tests.conftest import ROOT
from tests.tuner.conftest import FUNCTION, Crew, Process, n_reporting, wait_until
from tuner.allowed import AllowedObjectives
from tuner.confirmation.plan import make_trial
from tuner.confirmation.wish import ask
from tuner.errors import NotAllowedError
from tuner.report import load_status
from tuner.selection import find_confirmation
from tuner.study import LoadedStudy, create_or_resume, load_study, open_confirmation
from tuner.wishes import fulfil, list_due
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.fleet import Duty, run_fleet_worker
from tuner.workers.shutdown import Leaving

_MODULE = """
import sqlite3
from pathlib import Path

Path("imported").touch()

def first(trial):
    with Path("calls").open("a") as calls:
        print(trial.study.study_name, trial.number, file=calls)
    return trial.suggest_float("x", 0, 1)

def raises_the_other(trial):
    if (trial.study.study_name, trial.number) == ("first", 0):
        with sqlite3.connect("tuner.db", timeout=60) as connection:
            connection.execute("UPDATE tuner_budgets SET priority = 5 WHERE priority = -1")
        connection.close()
    return first(trial)
"""
ALLOWED = AllowedObjectives(frozenset({"theirs_fleet"}))
DIGITS = {"dataset": "digits", "epochs": 1, "train_size": 100, "pruner": "none"}


@pytest.fixture(autouse=True)
def _user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be in a folder of a user's, which holds the module `theirs_fleet`."""
    (tmp_path / "theirs_fleet.py").write_text(_MODULE)
    monkeypatch.chdir(tmp_path)


def _calls() -> list[tuple[str, int]]:
    """Return by which studies and trials the functions have been called, in order."""
    try:
        lines = Path("calls").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(name, int(number)) for name, number in map(str.split, lines)]


def _create(
    url: str, name: str, n_trials: int = 2, function: str = "first", **options: Any
) -> LoadedStudy:
    return create_or_resume(
        create_storage(url),
        name,
        {"objective": f"theirs_fleet:{function}", "sampler": "random", "pruner": "none"},
        n_trials=n_trials,
        **options,
    )


def _serve(url: str, allowed: AllowedObjectives | None = ALLOWED, **settings: Any) -> int:
    config = WorkerConfig(url, "", allowed=allowed, n_lanes=2, **settings)
    return run_fleet_worker(config, Leaving(), exits_when_idle=True)


@pytest.mark.heavy
def test_fleet_worker_takes_studies_by_priority_then_age(storage_url: str) -> None:
    """The most urgent first, then the oldest, each to the end of its budget."""
    for name, priority in (("old", 0), ("young", 0), ("urgent", 7), ("later", -1)):
        _create(storage_url, name, priority=priority)
    assert _serve(storage_url) == 0
    order = ["urgent", "old", "young", "later"]
    assert _calls() == [(name, number) for name in order for number in (0, 1)]


def test_name_that_is_too_long_for_a_folder_keeps_no_study_waiting(
    sqlite_url: str, tmp_path: Path
) -> None:
    """With --checkpoint-dir its trials are kept and removed as those of others."""
    options = {**DIGITS, "epochs": 2}
    studies = [
        create_or_resume(create_storage(sqlite_url), name, options, n_trials=1)
        for name in ("L" * 240, "after")
    ]
    config = WorkerConfig(sqlite_url, "", checkpoint_dir=tmp_path / "kept")
    assert run_fleet_worker(config, Leaving(), exits_when_idle=True) == 0
    assert [loaded.load_budget().n_finished for loaded in studies] == [1, 1]
    folders = list((tmp_path / "kept").iterdir())
    assert len(folders) == len(studies)
    assert not any(list(folder.iterdir()) for folder in folders)


def test_fleet_worker_passes_over_studies_that_are_not_open(sqlite_url: str) -> None:
    """Paused, stopped and overdue studies get no trial, and keep nobody waiting."""
    for name, state in (("paused", "paused"), ("stopped", "stopped")):
        loaded = _create(sqlite_url, name)
        set_study_state(loaded.storage.engine, loaded.study_id, state)
    _create(sqlite_url, "overdue", timeout_seconds=1e-6)
    _create(sqlite_url, "open")
    assert _serve(sqlite_url) == 0
    assert {name for name, _ in _calls()} == {"open"}


def test_fleet_worker_turns_to_a_study_that_has_become_urgent(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two trials it looks for one of higher priority, and comes back afterwards."""
    monkeypatch.setattr("tuner.workers.fleet._LOOK_SECONDS", 0.0)
    _create(sqlite_url, "first", n_trials=3, function="raises_the_other")
    _create(sqlite_url, "second", n_trials=1, priority=-1)
    assert _serve(sqlite_url) == 0
    assert _calls() == [("first", 0), ("second", 0), ("first", 1), ("first", 2)]


def test_fleet_worker_runs_no_code_that_was_not_allowed_whatever_the_database_says(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Such studies are left alone, with one line; the module is not even imported."""
    caplog.set_level(logging.WARNING)
    _create(sqlite_url, "code", priority=9)
    create_or_resume(create_storage(sqlite_url), "digits", DIGITS, n_trials=1)
    assert _serve(sqlite_url, allowed=None) == 0
    assert not Path("imported").exists()
    refusals = [r.message for r in caplog.records if "--allow-objective" in r.message]
    assert len(refusals) == 1
    assert "'code' is left to other workers" in refusals[0]


def test_worker_of_a_named_study_trains_it_unless_told_what_is_allowed(sqlite_url: str) -> None:
    """Who names the study has chosen its code; with --allow-objective the list decides."""
    _create(sqlite_url, "code")
    config = WorkerConfig(sqlite_url, "code", allowed=AllowedObjectives(frozenset({"other"})))
    with pytest.raises(NotAllowedError, match="--allow-objective theirs_fleet"):
        run_worker(config, Leaving())
    assert not Path("imported").exists()
    assert run_worker(WorkerConfig(sqlite_url, "code"), Leaving()) == 0
    assert len(_calls()) == 2


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ("simplenet", True),
        ("mine:f", True),
        ("mine.sub:f", False),
        ("other:f", True),
        ("other:g", False),
        ("minefield:f", False),
    ],
)
def test_allowed_objectives_are_modules_or_single_functions(
    objective: str, expected: object
) -> None:
    """A module allows its own functions, not those of modules below it or like it."""
    assert AllowedObjectives(frozenset({"mine", "other:f"})).includes(objective) is expected


def test_fleet_worker_survives_a_study_that_cannot_be_opened(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A spec of a newer version, or a module that fails, keeps nobody else waiting."""
    broken = _create(sqlite_url, "broken", priority=1)
    broken.study.set_user_attr("spec", {"from_the_future": 1})
    _create(sqlite_url, "whole")
    with create_storage(sqlite_url).engine.begin() as connection:  # its lease keeps it open
        connection.execute(text("UPDATE tuner_budgets SET n_trials = 1 WHERE priority = 1"))
    assert _serve(sqlite_url) == 0
    assert {name for name, _ in _calls()} == {"whole"}
    assert "'broken' is left to other workers: " in caplog.text
    assert "'broken' has a spec that this version does not know (from_the_future)" in caplog.text


def test_fleet_worker_trains_confirmations_too(sqlite_url: str) -> None:
    """The queue of NAME/confirm is served like any study, trial by trial as it was queued."""
    from storage import set_queue
    from tuner.confirmation.box import make_box

    searched = create_or_resume(create_storage(sqlite_url), "s", DIGITS, n_trials=1)
    assert _serve(sqlite_url) == 0
    confirming = open_confirmation(searched)
    box = make_box(searched.own_trials(), searched.spec.facts)
    wanted = [make_trial(box, ((1e-3, 0.1), seed)) for seed in (0, 1)]
    set_queue(searched.storage.engine, confirming.study_id, wanted, "not wanted")
    assert _serve(sqlite_url) == 0
    trials = confirming.study.get_trials(deepcopy=False)
    assert [(trial.state.name, trial.params["weight_decay"]) for trial in trials] == [
        ("COMPLETE", 1e-3)
    ] * 2


def test_fleet_of_processes_finishes_all_budgets_exactly(
    make_crew: Callable[[str], Crew], postgres_url: str
) -> None:
    """Two workers, three studies, one worker leaves on the way: each budget to the trial."""
    crew = make_crew(postgres_url)
    studies = [
        create_or_resume(create_storage(postgres_url), f"s/{i}", DIGITS, n_trials=9 + i)
        for i in range(3)
    ]
    fleet = [_start(crew, "--exit-when-idle"), _start(crew)]
    wait_until(lambda: any(n_finished(study) for study in studies))
    fleet[1].interrupt(signal.SIGTERM)
    assert fleet[1].wait() == 130
    assert fleet[0].wait() == 0, fleet[0].logged()
    for i, study in enumerate(studies):
        budget = study.load_budget()
        assert (budget.n_finished, budget.n_leased) == (9 + i, 0)
        states = [t.state.name for t in study.study.get_trials(deepcopy=False)]
        assert states.count("COMPLETE") == 9 + i


def n_finished(study: LoadedStudy) -> int:
    """Return how many slots of a study are finished."""
    return study.load_budget().n_finished


def _start(crew: Crew, *options: str) -> Process:
    """Start a worker that is told no study."""
    where = ("--storage", crew.url, "--data-dir", str(ROOT / "data"))
    return crew.start_command("worker", *where, *options)


def test_fleet_worker_goes_on_when_its_study_is_stopped(crew: Crew) -> None:
    """`tuner stop` ends its work at the study, not the worker; its trial is given back."""
    stopped = crew.create(FUNCTION, n_trials=3)
    worker = _start(crew, "--allow-objective", "theirs")
    wait_until(lambda: n_reporting(stopped))
    crew.order("stop")
    wait_until(lambda: "tuner stop" in worker.logged())
    other = create_or_resume(create_storage(crew.url), "other", DIGITS, n_trials=1)
    wait_until(lambda: n_finished(other) == 1)
    assert stopped.load_budget().n_leased == 0
    assert worker.popen.poll() is None


CONFIRMED = {**DIGITS, "lr": (0.05, 0.5)}
DUTY = Duty(list_due, fulfil)


def _serve_and_confirm(url: str, allowed: AllowedObjectives | None = None) -> None:
    config = WorkerConfig(url, "", allowed=allowed, n_lanes=16)
    assert run_fleet_worker(config, Leaving(), exits_when_idle=True, duty=DUTY) == 0


@pytest.mark.heavy
def test_fleet_worker_confirms_what_somebody_wishes_once_its_search_is_over(
    storage_url: str,
) -> None:
    """Once; and once more when the search was extended."""
    loaded = create_or_resume(create_storage(storage_url), "s", CONFIRMED, n_trials=4)
    plain = create_or_resume(create_storage(storage_url), "plain", CONFIRMED, n_trials=2)
    ask(loaded, n_seeds=2)
    assert load_status(loaded).confirmation == {"state": "waiting", "why_not": None}
    _serve_and_confirm(storage_url)
    assert load_status(loaded).confirmation == {"state": "done", "why_not": None}
    assert find_confirmation(load_study(loaded.storage, "s")) is not None
    assert find_confirmation(load_study(loaded.storage, "plain")) is None
    assert load_status(plain).confirmation is None
    assert list_due(loaded.storage.engine) == []
    create_or_resume(loaded.storage, "s", CONFIRMED, n_trials=5)
    _serve_and_confirm(storage_url)
    assert load_status(loaded).confirmation == {"state": "done", "why_not": None}


def test_fleet_worker_says_why_a_wish_cannot_be_fulfilled(sqlite_url: str) -> None:
    """A function without λ has nothing to confirm; nobody tries again until somebody asks."""
    loaded = _create(sqlite_url, "s")
    ask(loaded)
    _serve_and_confirm(sqlite_url, ALLOWED)
    found = load_status(loaded).confirmation
    assert found is not None
    assert found["state"] == "refused"
    assert "weight_decay" in found["why_not"]
    assert list_due(loaded.storage.engine) == []


def test_fleet_worker_confirms_no_code_that_it_may_not_run(sqlite_url: str) -> None:
    """What the database names is nobody's order to run it."""
    loaded = _create(sqlite_url, "s", function="first")
    _serve(sqlite_url)
    ask(loaded)
    _serve_and_confirm(sqlite_url, AllowedObjectives())
    assert load_status(loaded).confirmation == {"state": "waiting", "why_not": None}
