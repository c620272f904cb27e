"""An SQLite file that goes under those who use it: they say so, and train nothing into the void."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from storage import ReplacedError, create_storage, open_storage
from storage.engine import reading
from tests.tuner.conftest import FUNCTION, Crew, n_reporting, wait_until


def _remove(file: Path) -> None:
    for each in file.parent.glob(f"{file.name}*"):
        each.unlink()


def _remove_alone(file: Path) -> None:
    file.unlink()


def _replace(file: Path) -> None:
    shutil.copy(file, file.with_name("old.db"))
    file.with_name("old.db").replace(file)


_WAYS = pytest.mark.parametrize("take_away", [_remove, _remove_alone, _replace])


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "worker"])
@_WAYS
def test_run_whose_file_is_gone_ends_at_once(
    crew: Crew, take_away: Callable[[Path], None], command: str
) -> None:
    """One line and status 1; that finished trials are kept is not said, and no file is made."""
    loaded = crew.create(FUNCTION, n_trials=24)
    file = Path(crew.url.removeprefix("sqlite:///"))
    process = crew.start(command, "--workers", "2")
    wait_until(lambda: n_reporting(loaded))
    loaded.storage.engine.dispose()
    take_away(file)
    identity = file.stat().st_ino if file.exists() else None
    assert process.wait(60) == 1
    logged = process.logged()
    assert logged.count("was in use") == logged.count("nothing can be written to it any more") == 1
    assert "kept" not in logged
    assert "Traceback" not in logged
    assert "WARNING" not in logged
    assert (file.stat().st_ino if file.exists() else None) == identity


@_WAYS
def test_storage_whose_file_is_gone_says_so(
    sqlite_url: str, take_away: Callable[[Path], None]
) -> None:
    """Whoever has opened it: the service, a dashboard, a command."""
    engines = [create_storage(sqlite_url).engine, open_storage(sqlite_url, read_only=True).engine]
    take_away(Path(sqlite_url.removeprefix("sqlite:///")))
    for engine in engines:
        with pytest.raises(ReplacedError, match="start again"), reading(engine):
            raise AssertionError("a connection was given")
