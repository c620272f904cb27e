"""Whoever can write to the database does not choose what code a command imports."""

from pathlib import Path

import pytest
from sqlalchemy import text

from storage import open_storage
from tests.conftest import Cli

_THEIRS = "def objective(trial):\n    return trial.suggest_float('x', 0, 1)\n"
_PLANTED = "open('imported', 'w').close()\ndef main(trial):\n    return 1.0\n"


@pytest.fixture
def tampered(call: Cli, tmp_path: Path) -> None:
    """Make a study whose spec somebody has changed in the database."""
    (tmp_path / "theirs.py").write_text(_THEIRS)
    (tmp_path / "deploy_script.py").write_text(_PLANTED)
    created = call("create", "--study", "s", "--objective", "theirs:objective", "--trials", "2")
    assert created.returncode == 0, created.stderr
    engine = open_storage(f"sqlite:///{tmp_path / 'tuner.db'}").engine
    with engine.begin() as connection:
        change = "UPDATE study_user_attributes SET value_json = REPLACE(value_json, :a, :b)"
        names = {"a": "theirs:objective", "b": "deploy_script:main"}
        assert connection.execute(text(change), names).rowcount


@pytest.mark.usefixtures("tampered")
@pytest.mark.parametrize("option", [("--trials", "5"), ("--priority", "3")])
def test_create_on_a_study_that_exists_imports_nothing(
    call: Cli, tmp_path: Path, option: tuple[str, str]
) -> None:
    """It trains nothing, and asks the file nothing."""
    assert call("create", "--study", "s", *option).returncode == 0
    assert not (tmp_path / "imported").exists()


@pytest.mark.usefixtures("tampered")
@pytest.mark.parametrize("command", ["run", "worker", "confirm"])
def test_whoever_trains_asks_the_list(call: Cli, tmp_path: Path, command: str) -> None:
    """One line, and the module is not imported."""
    options = ("--study", "s", "--allow-objective", "theirs")
    result = call(command, *options)
    assert result.returncode != 0
    assert not (tmp_path / "imported").exists()


@pytest.mark.usefixtures("tampered")
def test_refusal_names_the_option(call: Cli) -> None:
    """From the environment, too."""
    result = call("run", "--study", "s", "--workers", "1", TUNER_ALLOW_OBJECTIVE="theirs")
    assert "--allow-objective deploy_script" in result.stderr
