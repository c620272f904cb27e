"""The corpus under plain Optuna and here, on each database: what comes of it is the same."""

from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage

from storage import create_storage
from tests.compatibility import page, table
from tests.compatibility.case import Case, Difference, enqueued
from tests.compatibility.corpus import THEMES
from tests.compatibility.outcomes import compare, outcome_here, outcome_of_optuna
from tests.compatibility.running import (
    REFERENCE,
    Worker,
    create_here,
    run_here,
    run_under_optuna,
)
from tests.conftest import Cli

_PARAMS = [{"x": n / 8, "n": n + 1, "c": "ab"[n % 2]} for n in range(6)]
_RESUMED = Case(
    "parameters:of_each_kind",
    4,
    "resumed",
    added=tuple(enqueued(**params) for params in _PARAMS),
)
CASES = [case for cases in THEMES.values() for case in cases]


@pytest.mark.long
@pytest.mark.db
@pytest.mark.parametrize("theme", THEMES)
def test_objectives_end_as_under_optuna(storage_url: str, theme: str, tmp_path: Path) -> None:
    """Trials with all that is in them, and the best one, are Optuna's, or in the table."""
    cases = THEMES[theme]
    storage = create_storage(storage_url)
    run_under_optuna(storage, cases, tmp_path)
    culprits = run_here(storage, cases, tmp_path)
    wrong = [f"{case.name}: {line}" for case in cases for line in _judge(storage, case)]
    wrong += [f"{name}: ended the worker" for name in culprits]
    assert wrong == [], "\n".join(wrong)


def test_two_workers_do_together_what_one_optimize_does(storage_url: str, tmp_path: Path) -> None:
    """Each enqueued trial is trained once, with what was enqueued."""
    case = replace(_RESUMED, n_trials=6, variant="two workers")
    storage = create_storage(storage_url)
    run_under_optuna(storage, [case], tmp_path)
    case.prepare(create_here(storage, case).study)
    workers = [Worker(storage.url, tmp_path, "--study", case.name) for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert _judge(storage, case) == []


def test_study_that_another_process_resumes_ends_as_if_there_had_been_one(
    storage_url: str, tmp_path: Path
) -> None:
    """A raised budget is spent on the trials that still wait."""
    storage = create_storage(storage_url)
    run_under_optuna(storage, [_RESUMED], tmp_path)
    _RESUMED.prepare(create_here(storage, replace(_RESUMED, n_trials=2)).study)
    for n_trials in (2, 4):
        create_here(storage, replace(_RESUMED, n_trials=n_trials))
        assert Worker(storage.url, tmp_path, "--study", _RESUMED.name).wait() == 0
    assert _judge(storage, _RESUMED) == []


def test_commands_of_a_terminal_do_what_optimize_does(
    sqlite_url: str, cli: Cli, fork: Cli, tmp_path: Path
) -> None:
    """`tuner create` and `tuner worker` as they are typed, with an objective that spawns."""
    case = Case("elsewhere:spawned", 1)
    of_study = ("--storage", sqlite_url, "--study", case.name)
    spec = ("--objective", case.path, "--direction", "minimize", "--sampler", "random")
    created = fork("create", *of_study, *spec, "--pruner", "none", "--trials", "1")
    assert created.returncode == 0, created.stderr
    worked = cli("worker", *of_study)
    assert worked.returncode == 0, worked.stderr
    storage = create_storage(sqlite_url)
    run_under_optuna(storage, [case], tmp_path)
    assert _judge(storage, case) == [], worked.stderr


def test_page_lists_the_corpus_and_its_differences() -> None:
    """What is equal and what is not stands in the docs as it is tested."""
    assert page.render() in page.PATH.read_text(), "run: python -m tests.compatibility.page"


def test_corpus_has_a_case_for_each_objective_and_each_row_of_the_table() -> None:
    """No objective and no difference is left lying about untested."""
    used = {case.objective for case in CASES}
    rows = {case.differs for case in CASES if case.differs}
    assert page.find_objectives() <= used
    assert rows == {row for row in vars(table).values() if isinstance(row, Difference)}
    assert len({case.name for case in CASES}) == len(CASES) > 60


def _judge(storage: RDBStorage, case: Case) -> list[str]:
    """Return what is not as it should be, a line each."""
    theirs = outcome_of_optuna(optuna.load_study(storage=storage, study_name=REFERENCE + case.name))
    loaded = create_here(storage, case)
    ours, budget = outcome_here(loaded), loaded.load_budget()
    if budget.n_leased or (budget.state == "open" and budget.n_finished != case.n_trials):
        return [f"the budget is not exact: {budget}"]
    difference = case.find_difference(storage.engine.dialect.name)
    found = compare(theirs, ours)
    if difference is None:
        return found
    expected, got = (difference.states, difference.best), (ours.states, ours.best)
    lines = [] if got == expected else [f"{expected} is in the table, {got} was found"]
    is_missing = difference.is_certain and not found
    return [*lines, "in the table, but as under Optuna"] if is_missing else lines
