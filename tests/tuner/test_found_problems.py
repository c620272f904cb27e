"""A study of somebody's problem may be created where nobody can look at it, as by the service."""

from pathlib import Path
from typing import Any

import pytest

from objectives import ObjectiveError, ProblemFoundError
from storage import create_storage, find_directions
from tuner.allowed import AllowedObjectives
from tuner.confirmation.wish import ask
from tuner.errors import ContradictionError, UsageError
from tuner.report import load_status
from tuner.selection import find_confirmation
from tuner.server.catalog import Catalog
from tuner.study import LoadedStudy, create_or_resume, load_study
from tuner.wishes import fulfil, list_due
from tuner.workers.config import WorkerConfig
from tuner.workers.coordinator import run_worker
from tuner.workers.fleet import Duty, run_fleet_worker
from tuner.workers.jobs import look_at_new
from tuner.workers.shutdown import Leaving

_PROBLEM = """
import torch
from torch import nn
from tuner import Problem

def problem():
    inputs = torch.randn(120, 3, generator=torch.Generator().manual_seed(0))
    return Problem(lambda: nn.Linear(3, 1), (inputs, inputs[:, :1] * 2), metric="rmse", epochs=3)
"""
_FUNCTION = """
def problem(trial):
    return trial.suggest_float("lr", 0, 1)
"""


@pytest.fixture(autouse=True)
def _user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "found.py").write_text(_PROBLEM)
    monkeypatch.chdir(tmp_path)


def _create(url: str, **options: Any) -> LoadedStudy:
    options = {"objective": "found.py:problem", **options}
    return create_or_resume(create_storage(url), "s", options, n_trials=4)


def _serve(url: str) -> None:
    config = WorkerConfig(url, "", allowed=AllowedObjectives(frozenset({"found.py"})), n_lanes=2)
    duty = Duty(list_due, fulfil)
    assert run_fleet_worker(config, Leaving(), exits_when_idle=True, duty=duty) == 0


@pytest.mark.heavy
def test_worker_stores_what_a_problem_says_of_itself_and_trains_it(storage_url: str) -> None:
    """With its direction, epochs and space, and the service knows it; then λ is confirmed."""
    created = _create(storage_url)
    catalog = Catalog(created.storage, created.storage)
    assert catalog.get("s").spec.is_function
    ask(created, n_seeds=2)
    _serve(storage_url)
    found = load_study(created.storage, "s")
    assert find_directions(found.storage.engine, found.study_id) == ["minimize"]
    assert found.spec.facts.metric.name == "validation rmse"
    assert found.spec.epochs == 3
    assert found.study.metric_names == ["validation rmse"]
    assert sum(trial.value is not None for trial in found.own_trials()) == 4
    assert find_confirmation(found) is not None
    assert catalog.get("s").spec == found.spec
    assert (load_status(found).program or "").startswith(("2 trials side by side", "one by one: "))


def test_what_a_study_was_given_precedes_what_its_problem_says(sqlite_url: str) -> None:
    """As where it is created by somebody who can look."""
    loaded = _create(sqlite_url, epochs=2, seed=7, pruner="none")
    run_worker(WorkerConfig(sqlite_url, "s"), Leaving())
    spec = load_study(loaded.storage, "s").spec
    assert (spec.epochs, spec.seed, spec.pruner) == (2, 7, "none")
    assert {len(t.intermediate_values) for t in load_study(loaded.storage, "s").own_trials()} == {2}


_SEARCHED = _PROBLEM.replace("lambda: nn.Linear(3, 1)", "network").replace(
    "def problem", "def network(width):\n    return nn.Linear(3, 1)\n\ndef problem"
)


def test_ranges_given_to_a_study_are_searched_as_on_the_command_line(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Of the training and of the model; so are settings, and what equals a default of ours."""
    (tmp_path / "found.py").write_text(_SEARCHED)
    given = {"search": {"l1": (1e-6, 1e-2), "width": [4, 8]}, "lr": (1e-3, 1.0), "epochs": 5}
    options = {**given, "fixed": {"momentum": 0.5}, "patience": 4, "objective": "found.py:problem"}
    loaded = _create(sqlite_url, **options)
    create_or_resume(loaded.storage, "s", options)
    _serve(sqlite_url)
    found = load_study(loaded.storage, "s")
    told = look_at_new("sqlite:///new.db", "s", options)
    assert found.spec == create_or_resume(create_storage("sqlite:///new.db"), "s", told).spec
    assert (found.spec.epochs, found.spec.patience) == (5, 4)
    assert (found.spec.facts.space or {}).keys() == {"weight_decay", "l1", "lr", "width"}
    assert all({"l1", "width"} <= trial.params.keys() for trial in found.own_trials())
    assert load_status(found).why_not is None
    create_or_resume(loaded.storage, "s", options)
    with pytest.raises(ContradictionError, match=r"with l1 1e-06 to 0\.01, log, not l1 1e-06 to 0"):
        create_or_resume(loaded.storage, "s", {"search": {"l1": (1e-6, 1e-1)}})


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (_SEARCHED, {"search": {"widht": [4, 8]}}, "did you mean 'width'?"),
        (_SEARCHED, {"objective_options": {"n": 3}}, "problem() takes no option 'n'"),
        (_FUNCTION, {"search": {"l1": (1e-6, 1e-2)}}, "--search has no effect on found.py:problem"),
        (_FUNCTION, {"lr": (1e-3, 1.0)}, "--search has no effect on found.py:problem: a function"),
        (_FUNCTION, {"optimizer": "adam"}, "--optimizer has no effect on found.py:problem"),
    ],
)
def test_study_shows_why_no_worker_trains_it(
    sqlite_url: str, tmp_path: Path, module: str, options: dict[str, Any], said: str
) -> None:
    """In one line, until one does."""
    (tmp_path / "found.py").write_text(module)
    loaded = _create(sqlite_url, **options)
    with pytest.raises((ObjectiveError, UsageError)):
        run_worker(WorkerConfig(sqlite_url, "s"), Leaving())
    why_not = load_status(load_study(loaded.storage, "s")).why_not
    assert why_not is not None
    assert said in why_not
    assert "\n" not in why_not
    assert not loaded.own_trials()


def test_reason_why_no_worker_trains_a_study_goes_with_the_first_that_does(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Say once its module has been mended."""
    (tmp_path / "found.py").write_text("raise ValueError('not yet')")
    loaded = _create(sqlite_url)
    with pytest.raises(ObjectiveError, match="not yet"):
        run_worker(WorkerConfig(sqlite_url, "s"), Leaving())
    assert "not yet" in str(load_status(load_study(loaded.storage, "s")).why_not)
    (tmp_path / "found.py").write_text(_PROBLEM)
    _serve(sqlite_url)
    assert load_status(load_study(loaded.storage, "s")).why_not is None


def test_options_of_a_study_reach_the_function_that_makes_its_problem(
    sqlite_url: str, tmp_path: Path
) -> None:
    """The one that describes it, and those that train it."""
    made = _PROBLEM.replace("problem():", "problem(n):").replace("120", "n")
    (tmp_path / "found.py").write_text(made)
    loaded = _create(sqlite_url, objective_options={"n": 200})
    _serve(sqlite_url)
    found = load_study(loaded.storage, "s")
    assert found.spec.facts.data is not None
    assert found.spec.facts.data.n_train == 160
    assert found.spec.objective_options == {"n": 200}
    assert sum(trial.value is not None for trial in found.own_trials()) == 4


def test_study_that_has_trained_a_function_is_never_a_problem(
    sqlite_url: str, tmp_path: Path
) -> None:
    """Its trials would be those of two objectives."""
    (tmp_path / "found.py").write_text(_FUNCTION)
    loaded = _create(sqlite_url)
    run_worker(WorkerConfig(sqlite_url, "s"), Leaving())
    (tmp_path / "found.py").write_text(_PROBLEM)
    create_or_resume(loaded.storage, "s", {}, n_trials=6)
    with pytest.raises(ProblemFoundError, match=r"found.py:problem' makes a problem here, and"):
        run_worker(WorkerConfig(sqlite_url, "s"), Leaving())
    assert load_study(loaded.storage, "s").spec.is_function
