"""The benchmarks measure what they say, and write what the README can quote."""

import json
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from benchmarks.databases import database_on
from benchmarks.programs import PLAIN, SERVICE, Limit, create_filled, grant, run_plain, run_service
from benchmarks.results import find_quote
from benchmarks.section import Figure, markdown_table
from storage import UnreachableError, open_storage
from tests.conftest import ROOT, clean_environment


def _benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.long
def test_quick_run_of_one_benchmark_writes_table_and_data(tmp_path: Path, mnist_dir: Path) -> None:
    """A run leaves a table to quote and the same rows as data, beside versions and cores."""
    options = ("--quick", "--only", "throughput", "--storage-url", "none")
    done = _benchmark(*options, "--data-dir", str(mnist_dir), "--results-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "quick.json").read_text())
    assert document["machine"]["cores"] > 0
    rates = document["measurements"]["throughput"]["trials_a_second"]
    assert set(rates) == {PLAIN, SERVICE}
    assert min(rates.values()) > 0
    text = (tmp_path / "quick.md").read_text()
    assert f"| {SERVICE} | {rates[SERVICE]:.1f} |" in text
    assert document["machine"]["torch"] in find_quote(text)


def test_unknown_benchmark_is_refused_in_one_line() -> None:
    """A misspelt name measures nothing and names those there are."""
    done = _benchmark("--only", "lane")
    assert done.returncode == 2
    assert "choose one of startup, lanes" in " ".join(done.stderr.replace("│", " ").split())


def test_filled_study_is_what_optuna_would_have_stored(storage_url: str) -> None:
    """Optuna reads the trials filled in as complete, with parameters, reports and best value."""
    create_filled(PLAIN, storage_url, "filled", 12)
    study = optuna.load_study(storage=open_storage(storage_url), study_name="filled")
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(12))
    assert all(trial.state is optuna.trial.TrialState.COMPLETE for trial in trials)
    assert all(len(trial.intermediate_values) == 5 for trial in trials)
    assert study.best_value == max(trial.value for trial in trials if trial.value is not None)
    assert all(1e-5 <= trial.params["weight_decay"] <= 1e-2 for trial in trials)


def test_both_programs_add_the_trials_asked_for(sqlite_url: str) -> None:
    """Plain Optuna and a worker go on after the trials filled in, and each start is told."""
    limit = Limit(n_trials=3, n_new_trials=3)
    for program, run in ((PLAIN, run_plain), (SERVICE, run_service)):
        create_filled(program, sqlite_url, program, 10)
        if program == SERVICE:
            grant(sqlite_url, program, limit)
        assert len(run(sqlite_url, program, limit)) == 3
        study = optuna.load_study(storage=open_storage(sqlite_url), study_name=program)
        assert len(study.get_trials()) == 13


def test_database_of_a_benchmark_is_dropped(postgres_url: str, tmp_path: Path) -> None:
    """What is measured in a database of its own leaves nothing on the server."""
    with database_on(postgres_url, tmp_path) as url:
        create_filled(PLAIN, url, "s", 1)
        assert url != postgres_url
    with pytest.raises(UnreachableError, match="does not exist"):
        open_storage(url)


@pytest.mark.parametrize(
    ("value", "at_least", "is_reached"),
    [(2.0, True, True), (1.99, True, False), (2.0, False, True), (2.01, False, False)],
)
def test_figure_at_its_aim_is_reached(*, value: float, at_least: bool, is_reached: bool) -> None:
    """An aim is a bound that may be touched."""
    figure = Figure("speed", value, " times", 2.0, at_least=at_least)
    assert figure.is_reached is is_reached
    assert figure.row[-1] == ("yes" if is_reached else "no")


def test_table_aligns_numbers_to_the_right() -> None:
    """Columns of numbers are read from their last digit."""
    table = markdown_table(("way", "s"), [["loop", "1.5"], ["hand", "-"]])
    assert table.splitlines() == ["| way | s |", "| --- | ---: |", "| loop | 1.5 |", "| hand | - |"]
