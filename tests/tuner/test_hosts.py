"""Hosts that are not as they should be: wrong clocks, full disks, no data."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from tests.conftest import ROOT
from tests.tuner.conftest import FUNCTION, Crew, n_reporting, rows, wait_until

# What Python runs first, in a folder of PYTHONPATH: its clock is some days off.
_WRONG_CLOCK = """
import datetime, os, time
days = float(os.environ["WRONG_BY_DAYS"])
right, Right = time.time, datetime.datetime
time.time = lambda: right() + 86400 * days

class Wrong(Right):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)

datetime.datetime = Wrong
"""


def _site(folder: Path, program: str) -> str:
    """Return a PYTHONPATH on which there is a program that runs first."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(program)
    return f"{site}:{ROOT}"


def test_worker_with_a_wrong_clock_keeps_its_leases_and_takes_no_others(
    crew: Crew, tmp_path: Path
) -> None:
    """Leases live by the database's clock, whatever the hosts' clocks and time zones."""
    path = _site(tmp_path, _WRONG_CLOCK)
    loaded = crew.create(FUNCTION, n_trials=2)
    workers = [
        crew.start_python("worker", "--lease", "10s", TZ=zone, WRONG_BY_DAYS=days, PYTHONPATH=path)
        for zone, days in (("Asia/Tokyo", "-1"), ("America/Los_Angeles", "1"))
    ]
    wait_until(lambda: n_reporting(loaded) == 2)
    with loaded.storage.engine.connect() as connection:
        query = text("SELECT ends_at - (julianday('now') - 2440587.5) * 86400 FROM tuner_leases")
        left = list(connection.execute(query).scalars())
    assert all(0 < seconds <= 10 for seconds in left)
    crew.finish()
    assert [worker.wait() for worker in workers] == [0, 0]
    trials = loaded.study.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert all(trial.duration < timedelta(minutes=1) for trial in trials)
    ago = [datetime.now(UTC) - trial.datetime_start.astimezone(UTC) for trial in trials]
    assert {round(since / timedelta(days=1)) for since in ago} == {-1, 1}  # the clocks were wrong


# The same for a database that cannot grow while there is a file `full`.
_FULL_DISK = """
from pathlib import Path
from sqlalchemy import Engine, event

def limit(connection):
    n = 1 if Path("full").exists() else 1_000_000_000
    connection.exec_driver_sql(f"PRAGMA max_page_count = {n}")

event.listen(Engine, "begin", limit)
"""

_LONG = """
from theirs import until_told as epochs

def until_told(trial):
    trial.set_user_attr("long", "x" * 100_000)
    return epochs(trial)
"""


def test_full_disk_is_waited_for(crew: Crew, tmp_path: Path) -> None:
    """SQLite's own "database or disk is full": all is written once there is room again."""
    (tmp_path / "long.py").write_text(_LONG)
    loaded = crew.create({**FUNCTION, "objective": "long:until_told"}, n_trials=2)
    (tmp_path / "full").touch()
    worker = crew.start_python("worker", PYTHONPATH=_site(tmp_path, _FULL_DISK))
    wait_until(lambda: "has no space left, trying again" in worker.logged())
    (tmp_path / "full").unlink()
    crew.finish()
    assert worker.wait() == 0
    assert "answers again" in worker.logged()
    assert "Traceback" not in worker.logged()
    assert [row["state"] for row in rows(loaded)] == ["COMPLETE"] * 2


def test_worker_without_data_claims_nothing(crew: Crew) -> None:
    """One line and status 1, however often it is started: the budget is as it was."""
    loaded = crew.create({"dataset": "mnist"}, n_trials=2)
    no_network = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    worker = crew.start_python("worker", "--data-dir", "none", **no_network, PATH="")  # nor npm
    assert worker.wait() == 1
    assert "Traceback" not in worker.logged()
    assert "could not be fetched" in worker.logged().strip().splitlines()[-1]
    budget = loaded.load_budget()
    assert (budget.n_finished, budget.n_leased, rows(loaded)) == (0, 0, [])


_WATCHING = """
import time
from optuna.trial import TrialState

def until_another_reports(trial):
    trial.report(trial.number + 0.5, 7)
    for _ in range(3_000):
        for other in trial.study.trials:
            if other.number != trial.number and other.state is TrialState.COMPLETE:
                return 0  # it has seen this one
            if other.number != trial.number and other.intermediate_values:
                return other.intermediate_values[7] - other.number
        time.sleep(0.1)
    raise TimeoutError("nobody else has reported")
"""


def test_objective_sees_what_trials_of_other_hosts_report(crew: Crew, tmp_path: Path) -> None:
    """As with Optuna, though workers themselves read no reports of trials that are in training."""
    (tmp_path / "watching.py").write_text(_WATCHING)
    options = {**FUNCTION, "objective": "watching:until_another_reports", "pruner": "none"}
    loaded = crew.create(options, n_trials=2)
    workers = [crew.start("worker", "--workers", "1") for _ in range(2)]
    assert [worker.wait() for worker in workers] == [0, 0]
    assert [row["state"] for row in rows(loaded)] == ["COMPLETE"] * 2
    assert 0.5 in [trial.value for trial in loaded.study.get_trials()]


def test_crew_whose_function_is_another_says_so(crew: Crew, tmp_path: Path) -> None:
    """With both digests, once a crew; comments are free. The study goes on: people edit scripts."""
    source, told = "def f(trial):\n    return trial.suggest_float('x', 0, 1)", []
    edited = [source, f"{source}  # as before", f"{source} / 2", source]
    for n_trials, content in enumerate(edited, 1):
        (tmp_path / "edited.py").write_text(content)
        crew.create({"objective": "edited:f", "pruner": "none"}, n_trials=n_trials)
        worker = crew.start("worker", "--workers", "1")
        assert worker.wait() == 0, worker.logged()
        told.append(worker.logged().count("for the crew before"))
    assert told == [0, 0, 1, 1]
