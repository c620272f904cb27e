"""Whether a study's budget was spent exactly, and how fast: plain SQL, none of our own queries."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy
from sqlalchemy import Connection, DateTime, String

from storage import parse_url

# The database holds one study.
_COUNTS = """
SELECT
    (SELECT COUNT(*) FROM trials t
        WHERE t.state IN ('COMPLETE', 'PRUNED') OR (t.state = 'FAIL' AND NOT EXISTS (
            SELECT 1 FROM trial_user_attributes a
            WHERE a.trial_id = t.trial_id AND a.key = 'given_back'))) AS n_finished,
    (SELECT COUNT(*) FROM trials) AS n_rows,
    (SELECT COUNT(DISTINCT number) FROM trials) AS n_numbers,
    (SELECT COALESCE(MAX(number), -1) FROM trials) AS last_number,
    (SELECT COUNT(*) FROM studies) AS n_studies,
    (SELECT COUNT(*) FROM tuner_leases) AS n_leases,
    (SELECT COUNT(*) FROM tuner_workers) AS n_workers,
    b.n_trials, b.n_claimed
FROM tuner_budgets b
"""

_TIMES = sqlalchemy.text("""
SELECT t.datetime_start, t.datetime_complete, a.value_json
FROM trials t JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = 'worker'
""").columns(datetime_start=DateTime, datetime_complete=DateTime, value_json=String)


def find_problems(url: str, n_trials: int, n_workers: int) -> list[str]:
    """Return in which ways a study did not spend its budget exactly; best is nothing."""
    with _connect(url) as connection:
        found = connection.exec_driver_sql(_COUNTS).one()
    due = {
        "n_finished": n_trials,
        "n_rows": n_trials,
        "n_numbers": n_trials,
        "last_number": n_trials - 1,
        "n_studies": 1,
        "n_leases": 0,
        "n_workers": n_workers,
        "n_trials": n_trials,
        "n_claimed": n_trials,
    }
    return [
        f"{name} {getattr(found, name)}, not {value}"
        for name, value in due.items()
        if getattr(found, name) != value
    ]


@dataclass(frozen=True)
class Steady:
    """The time in which all workers were at work."""

    seconds: float
    n_finished: int

    @property
    def trials_a_second(self) -> float:
        """The throughput of all workers together."""
        return self.n_finished / self.seconds


def find_steady(url: str) -> Steady:
    """Count what was finished between the last worker's first trial and the last trial's start."""
    with _connect(url) as connection:
        rows = connection.execute(_TIMES).all()
    first_starts: dict[str, datetime] = {}
    for started_at, _, worker in rows:
        first_starts[worker] = min(started_at, first_starts.get(worker, started_at))
    began_at = max(first_starts.values())
    ended_at = max(started_at for started_at, _, _ in rows)
    n_finished = sum(began_at < completed_at <= ended_at for _, completed_at, _ in rows)
    return Steady((ended_at - began_at).total_seconds(), n_finished)


def _connect(url: str) -> Connection:
    return sqlalchemy.create_engine(parse_url(url), poolclass=sqlalchemy.NullPool).connect()
