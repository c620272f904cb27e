"""A worker without --study serves all open studies, and runs only code that it was allowed to."""

import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from storage import change_budget, create_storage, set_study_state
from tests.conftest import ROOT
from tests.tuner.conftest import FUNCTION, Crew, Process, n_reporting, wait_until
from tuner.allowed import AllowedObjectives
from tuner.confirmation.plan import make_trial
from tuner.errors import NotAllowedError
from tuner.fleet import run_fleet_worker
from tuner.leaving import Leaving
from tuner.study import LoadedStudy, create_or_resume, open_confirmation
from tuner.worker import WorkerConfig, run_worker

_MODULE = """
import theirs_log

def first(trial):
    theirs_log.calls.append((trial.study.study_name, trial.number))
    return trial.suggest_float("x", 0, 1)
"""
ALLOWED = AllowedObjectives(frozenset({"theirs_fleet"}))
DIGITS = {"dataset": "digits", "epochs": 1, "train_size": 100, "pruner": "none"}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return what the objective `theirs_fleet:first` will have been called with."""
    (tmp_path / "theirs_fleet.py").write_text(_MODULE)
    (tmp_path / "theirs_log.py").write_text("calls = []\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("theirs_fleet", "theirs_log"):
        sys.modules.pop(name, None)
    import theirs_log  # type: ignore[import-not-found]

    found: list[tuple[str, int]] = theirs_log.calls
    return found


def _create(url: str, name: str, n_trials: int = 2, **options: Any) -> LoadedStudy:
    return create_or_resume(
        create_storage(url),
        name,
        {"objective": "theirs_fleet:first", "sampler": "random", "pruner": "none"},
        n_trials=n_trials,
        **options,
    )


def _serve(url: str, allowed: AllowedObjectives | None = ALLOWED, **settings: Any) -> int:
    config = WorkerConfig(url, "", allowed=allowed, n_lanes=2, **settings)
    return run_fleet_worker(config, Leaving(), exits_when_idle=True)


def test_fleet_worker_takes_studies_by_priority_then_age(
    storage_url: str, calls: list[tuple[str, int]]
) -> None:
    """The most urgent first, then the oldest, each to the end of its budget."""
    for name, priority in (("old", 0), ("young", 0), ("urgent", 7), ("later", -1)):
        _create(storage_url, name, priority=priority)
    assert _serve(storage_url) == 0
    order = ["urgent", "old", "young", "later"]
    assert calls == [(name, number) for name in order for number in (0, 1)]


def test_fleet_worker_passes_over_studies_that_are_not_open(
    sqlite_url: str, calls: list[tuple[str, int]]
) -> None:
    """Paused, stopped and overdue studies get no trial, and keep nobody waiting."""
    for name, state in (("paused", "paused"), ("stopped", "stopped")):
        loaded = _create(sqlite_url, name)
        set_study_state(loaded.storage.engine, loaded.study_id, state)
    _create(sqlite_url, "overdue", timeout_seconds=1e-6)
    _create(sqlite_url, "open")
    assert _serve(sqlite_url) == 0
    assert {name for name, _ in calls} == {"open"}


@pytest.mark.usefixtures("calls")
def test_fleet_worker_turns_to_a_study_that_has_become_urgent(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two trials it looks for one of higher priority, and comes back afterwards."""
    monkeypatch.setattr("tuner.fleet._LOOK_SECONDS", 0.0)
    first = _create(sqlite_url, "first", n_trials=3)
    second = _create(sqlite_url, "second", n_trials=1, priority=-1)

    class Urgent(list[tuple[str, int]]):
        def append(self, call: tuple[str, int]) -> None:
            super().append(call)
            if call == ("first", 0):
                change_budget(
                    first.storage.engine,
                    second.study_id,
                    n_trials=None,
                    timeout_seconds=None,
                    priority=5,
                )

    sys.modules["theirs_log"].calls = urgent = Urgent()  # type: ignore[attr-defined]
    assert _serve(sqlite_url) == 0
    assert urgent == [("first", 0), ("second", 0), ("first", 1), ("first", 2)]


def test_fleet_worker_runs_no_code_that_was_not_allowed_whatever_the_database_says(
    sqlite_url: str, calls: list[tuple[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    """Such studies are left alone, with one line; the module is not even imported."""
    caplog.set_level(logging.WARNING)
    _create(sqlite_url, "code", priority=9)
    create_or_resume(create_storage(sqlite_url), "digits", DIGITS, n_trials=1)
    sys.modules.pop("theirs_fleet")
    assert _serve(sqlite_url, allowed=None) == 0
    assert calls == []
    assert "theirs_fleet" not in sys.modules
    refusals = [r.message for r in caplog.records if "--allow-objective" in r.message]
    assert len(refusals) == 1
    assert "'code' is left to other workers" in refusals[0]


def test_worker_of_a_named_study_trains_it_unless_told_what_is_allowed(
    sqlite_url: str, calls: list[tuple[str, int]]
) -> None:
    """Who names the study has chosen its code; with --allow-objective the list decides."""
    _create(sqlite_url, "code")
    config = WorkerConfig(sqlite_url, "code", allowed=AllowedObjectives(frozenset({"other"})))
    with pytest.raises(NotAllowedError, match="--allow-objective theirs_fleet"):
        run_worker(config, Leaving())
    assert calls == []
    assert run_worker(WorkerConfig(sqlite_url, "code"), Leaving()) == 0
    assert len(calls) == 2


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
    sqlite_url: str, calls: list[tuple[str, int]], caplog: pytest.LogCaptureFixture
) -> None:
    """A spec of a newer version, or a module that fails, keeps nobody else waiting."""
    broken = _create(sqlite_url, "broken", priority=1)
    broken.study.set_user_attr("spec", {"from_the_future": 1})
    _create(sqlite_url, "whole")
    with create_storage(sqlite_url).engine.begin() as connection:  # its lease keeps it open
        connection.execute(text("UPDATE tuner_budgets SET n_trials = 1 WHERE priority = 1"))
    assert _serve(sqlite_url) == 0
    assert {name for name, _ in calls} == {"whole"}
    assert "'broken' is left to other workers: ValidationError" in caplog.text


def test_fleet_worker_trains_confirmations_too(sqlite_url: str) -> None:
    """The queue of NAME/confirm is served like any study, trial by trial as it was queued."""
    from storage import set_queue
    from tuner.confirmation.values import Candidate

    searched = create_or_resume(create_storage(sqlite_url), "s", DIGITS, n_trials=1)
    assert _serve(sqlite_url) == 0
    confirming = open_confirmation(searched)
    candidate = Candidate(weight_decay=1e-3, lr=0.1, source="ladder")
    wanted = [make_trial(candidate, seed, {"weight_decay": 1e-3, "lr": 0.1}) for seed in (0, 1)]
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
