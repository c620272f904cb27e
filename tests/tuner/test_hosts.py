"""Hosts that are not as they should be: wrong clocks, full disks, no data."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from tests.conftest import ROOT, Cli
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


def test_worker_with_a_wrong_clock_keeps_its_leases_and_takes_no_others(
    crew: Crew, tmp_path: Path
) -> None:
    """Leases live by the database's clock, whatever the hosts' clocks and time zones."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_WRONG_CLOCK)
    loaded = crew.create(FUNCTION, n_trials=2)
    workers = [
        crew.start_python(
            "worker", "--lease", "2s", TZ=zone, WRONG_BY_DAYS=days, PYTHONPATH=f"{site}:{ROOT}"
        )
        for zone, days in (("Asia/Tokyo", "-1"), ("America/Los_Angeles", "1"))
    ]
    wait_until(lambda: n_reporting(loaded) == 2)
    with loaded.storage.engine.connect() as connection:
        query = text("SELECT ends_at - (julianday('now') - 2440587.5) * 86400 FROM tuner_leases")
        left = list(connection.execute(query).scalars())
    assert all(0 < seconds <= 2 for seconds in left)
    crew.finish()
    assert [worker.wait() for worker in workers] == [0, 0]
    trials = loaded.study.get_trials()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 2
    assert all(trial.duration < timedelta(minutes=1) for trial in trials)
    ago = [datetime.now(UTC) - trial.datetime_start.astimezone(UTC) for trial in trials]
    assert {round(since / timedelta(days=1)) for since in ago} == {-1, 1}  # the clocks were wrong


_FULL = """
import os
from pathlib import Path
from sqlalchemy import Engine, event
from theirs import until_told as epochs

def limit(connection):
    n = 1 if Path("full").exists() else 1_000_000_000
    connection.exec_driver_sql(f"PRAGMA max_page_count = {n}")

if "WITH_LIMIT" in os.environ:  # in the worker, not where the study is created: in this process
    event.listen(Engine, "begin", limit)

def until_told(trial):
    trial.set_user_attr("long", "x" * 100_000)
    return epochs(trial)
"""


def test_full_disk_is_waited_for(crew: Crew, tmp_path: Path) -> None:
    """SQLite's own "database or disk is full": all is written once there is room again."""
    (tmp_path / "full.py").write_text(_FULL)
    loaded = crew.create({**FUNCTION, "objective": "full:until_told"}, n_trials=2)
    (tmp_path / "full").touch()
    worker = crew.start("worker", WITH_LIMIT="yes")
    wait_until(lambda: "has no space left, trying again" in worker.logged())
    (tmp_path / "full").unlink()
    crew.finish()
    assert worker.wait() == 0
    assert "answers again" in worker.logged()
    assert "Traceback" not in worker.logged()
    assert [row["state"] for row in rows(loaded)] == ["COMPLETE"] * 2


def test_worker_without_data_claims_nothing(crew: Crew, call: Cli) -> None:
    """One line and status 1, however often it is started: the budget is as it was."""
    loaded = crew.create({"dataset": "mnist"}, n_trials=2)
    no_network = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    where = ("--storage", crew.url, "--study", "s", "--data-dir", "none")
    result = call("worker", *where, **no_network, PATH="")  # no npm either
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "could not be fetched" in result.stderr.strip().splitlines()[-1]
    budget = loaded.load_budget()
    assert (budget.n_finished, budget.n_leased, rows(loaded)) == (0, 0, [])
